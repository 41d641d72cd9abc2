"""The training loop of all networks."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matlode.artefacts import (
    MAX_TEXT_BYTES,
    convert_read_errors,
    read_arrays,
    write_atomically,
    write_text,
)
from matlode.errors import ArtefactError
from matlode.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a network is trained: everything besides the data that determines the result."""

    optimizer: str = "adamw"
    """One of OPTIMIZERS."""
    learning_rate: float = 1e-3
    """Peak value of the schedule."""
    schedule: str = "one_cycle"
    """"one_cycle" (linear warm-up over a tenth, cosine to zero) or "constant"."""
    batch_size: int = 128
    max_epochs: int = 12
    patience: int = 4
    """Epochs without a better validation loss after which training stops."""
    warm_up_epochs: float = 1.0
    """Epochs over which the KL weight rises from 0 to 1."""
    clip_norm: float = 5.0
    """Largest norm of the gradient; longer gradients are scaled down to it."""
    l1: float = 0.0
    """Σ|w| of kernels is added to the loss with this weight."""
    l2: float = 0.0
    """Σw² of kernels is added to the loss with this weight."""
    precision: str = "float32"
    """Of matrix products and convolutions during training, one of PRECISIONS. Weights, their
    updates and held-out losses are always in single precision. "bfloat16" is faster on processors
    with instructions for it, and slower on others."""
    seed: int = 0


PRECISIONS = ("float32", "bfloat16")


class Trainable(Protocol):
    """Interface of a network (an nn.Module) that ``train`` accepts."""

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float) -> dict[str, Tensor]:
        """Loss terms by name, averaged over the batch; "loss" is minimised. ``warmth`` (0..1)
        is the weight of the KL term, if there is one."""


OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


@dataclass
class TrainingState:
    """State of a training run after a whole number of epochs, from which it can continue."""

    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    log: list[dict[str, float]] = field(default_factory=list)


def choose_device() -> torch.device:
    """Choose a CUDA or Apple GPU if available, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def train(
    model: nn.Module,
    train_data: Sequence[Tensor],
    validation_data: Sequence[Tensor],
    settings: TrainingSettings,
    *,
    fresh: Callable[[int], Sequence[Tensor]] | None = None,
    checkpoint: Path | None = None,
    log_file: Path | None = None,
    progress: Progress = silent,
    stage: str = "training",
    report: Callable[[int, float], None] | None = None,
    device: torch.device | None = None,
) -> list[dict[str, float]]:
    """Train ``model`` in place to its best validation loss; returns one log row per epoch.

    The data are tensors of equal first dimension. If given, ``fresh`` is called with the epoch
    (from 0) and returns the training data of that epoch, for example augmented ones. Random
    numbers depend only on ``settings.seed`` and the epoch, so a run that continues from
    ``checkpoint`` (written after each epoch) gives the same result as an uninterrupted one.
    ``log_file`` receives the log rows as CSV. ``report`` is a callback that receives each epoch
    (from 1) and its validation loss; an exception that it raises ends the training.

    Raises ArtefactError if the checkpoint was written with other settings or is damaged, or if
    the training diverges.
    """
    device = device or choose_device()
    model.to(device)
    optimizer = _optimizer(model, settings)
    state = TrainingState()
    if checkpoint is not None and checkpoint.exists():
        _load_checkpoint(checkpoint, model, optimizer, state, settings)
    while state.epoch < settings.max_epochs:
        if state.epoch - state.best_epoch >= settings.patience and state.log:
            break
        started = time.perf_counter()
        data = train_data if fresh is None else fresh(state.epoch)
        terms = _train_epoch(model, optimizer, data, settings, state.epoch, device)
        validation = evaluate_loss(model, validation_data, settings.batch_size, device)
        state.epoch += 1
        row = {"epoch": float(state.epoch), **terms}
        row |= {f"validation_{name}": value for name, value in validation.items()}
        row["seconds"] = round(time.perf_counter() - started, 2)
        state.log.append(row)
        if validation["loss"] < state.best_loss:
            state.best_loss, state.best_epoch = validation["loss"], state.epoch
            state.best_weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
        if checkpoint is not None:
            _save_checkpoint(checkpoint, model, optimizer, state, settings)
        if log_file is not None:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            write_text(log_file, pd.DataFrame(state.log).to_csv(index=False))
        note = f"loss {terms['loss']:.2f}, held-out {validation['loss']:.2f}"
        progress(stage, state.epoch, settings.max_epochs, note)
        if report is not None:
            report(state.epoch, validation["loss"])
    if state.best_weights:
        model.load_state_dict(state.best_weights)
    model.eval()
    model.to("cpu")
    return state.log


def evaluate_loss(
    model: nn.Module, data: Sequence[Tensor], batch_size: int, device: torch.device | None = None
) -> dict[str, float]:
    """Mean loss terms on held-out data, without noise and dropout."""
    model.eval()
    totals: dict[str, float] = {}
    n = len(data[0])
    with torch.inference_mode():
        for at in range(0, n, batch_size):
            batch = tuple(tensor[at : at + batch_size].to(device) for tensor in data)
            for name, value in _loss(model, batch, warmth=1.0).items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(batch[0]) / n
    return totals


def learning_rate_factor(settings: TrainingSettings, done: float) -> float:
    """Learning rate relative to its peak when a fraction ``done`` (0..1) of the training is
    complete."""
    if settings.schedule == "constant":
        return 1.0
    warm = 0.1
    if done < warm:
        return 0.04 + 0.96 * done / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))


def _train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Sequence[Tensor],
    settings: TrainingSettings,
    epoch: int,
    device: torch.device,
) -> dict[str, float]:
    model.train()
    n = len(data[0])
    n_batches = max(n // settings.batch_size, 1)
    totals: dict[str, float] = {}
    kernels = [p for p in model.parameters() if p.ndim > 1]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(1_000_003 * settings.seed + epoch)
        for step, rows in enumerate(
            torch.randperm(n)[: n_batches * settings.batch_size].split(settings.batch_size)
        ):
            fraction = epoch + step / n_batches
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * learning_rate_factor(
                    settings, fraction / settings.max_epochs
                )
            warmth = (
                min(1.0, fraction / settings.warm_up_epochs) if settings.warm_up_epochs else 1.0
            )
            batch = tuple(tensor[rows].to(device) for tensor in data)
            with torch.autocast(
                device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
            ):
                terms = _loss(model, batch, warmth=warmth)
            optimizer.zero_grad()
            terms["loss"].backward()
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            _add_penalty_gradients(kernels, settings)
            optimizer.step()
            for name, value in terms.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / n_batches
    if not math.isfinite(totals["loss"]):
        raise ArtefactError(
            f"training diverged in epoch {epoch + 1} (loss {totals['loss']}); lower "
            f"learning_rate (now {settings.learning_rate:g})."
        )
    return totals


def _add_penalty_gradients(kernels: Sequence[nn.Parameter], settings: TrainingSettings) -> None:
    """Add the gradient of l1 Σ|w| + l2 Σw²: equivalent to terms in the loss, at a tenth of their
    cost."""
    if not (settings.l1 or settings.l2):
        return
    with torch.no_grad():
        for kernel in kernels:
            if kernel.grad is not None:
                kernel.grad.add_(kernel.sign(), alpha=settings.l1)
                kernel.grad.add_(kernel, alpha=2 * settings.l2)


def _loss(model: nn.Module, batch: tuple[Tensor, ...], *, warmth: float) -> dict[str, Tensor]:
    return cast(Trainable, model).training_loss(batch, warmth=warmth)


def _optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    # the base class takes other arguments than the optimizers
    make = cast(Callable[..., torch.optim.Optimizer], OPTIMIZERS[settings.optimizer])
    return make(model.parameters(), lr=settings.learning_rate)


def _save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    settings: TrainingSettings,
) -> None:
    arrays = {f"model/{name}": _numpy(value) for name, value in model.state_dict().items()}
    arrays |= {f"best/{name}": _numpy(value) for name, value in state.best_weights.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            arrays[f"optimizer/{index}/{name}"] = _numpy(torch.as_tensor(value))
    header = {
        "settings": asdict(settings),
        "epoch": state.epoch,
        "best_loss": state.best_loss,
        "best_epoch": state.best_epoch,
        "log": state.log,
    }
    arrays["header"] = np.array(json.dumps(header))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda stream: np.savez(stream, allow_pickle=False, **arrays))


def _load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    settings: TrainingSettings,
) -> None:
    # two sets of weights and up to three moments of each, as float32, and the header
    of_model = sum(value.numel() for value in model.state_dict().values())
    stored = read_arrays(path, max_bytes=8 * 4 * of_model + MAX_TEXT_BYTES)
    with convert_read_errors(f"{path} (delete it to start again)"):
        header = json.loads(str(stored.pop("header")))
        if header["settings"] != asdict(settings):
            raise ArtefactError(
                f"{path} was written with other training settings; delete it to start again."
            )
        arrays = {name: torch.from_numpy(array) for name, array in stored.items()}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _below("optimizer/", arrays):
            index, key = name.split("/")
            moments.setdefault(int(index), {})[key] = value
        best = dict(_below("best/", arrays))
        _check_checkpoint(model, moments, best)
        model.load_state_dict(dict(_below("model/", arrays)))
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        state.epoch, state.best_epoch = int(header["epoch"]), int(header["best_epoch"])
        state.best_loss = float(header["best_loss"])
        state.log = [{str(k): float(v) for k, v in row.items()} for row in header["log"]]
        state.best_weights = best


def _check_checkpoint(
    model: nn.Module, moments: Mapping[int, Mapping[str, Tensor]], best: Mapping[str, Tensor]
) -> None:
    """Raise ValueError if the parts of a checkpoint do not belong to the model; PyTorch would
    fail in the middle of an epoch."""
    weights = model.state_dict()
    if best and {n: v.shape for n, v in best.items()} != {n: v.shape for n, v in weights.items()}:
        raise ValueError("the best weights belong to another network")
    shapes = [p.shape for p in model.parameters()]
    if moments and (
        sorted(moments) != list(range(len(shapes)))
        or len({frozenset(of_one) for of_one in moments.values()}) > 1
    ):
        raise ValueError("the state of the optimizer is incomplete")
    for index, of_one in moments.items():
        if any(v.ndim and v.shape != shapes[index] for v in of_one.values()):
            raise ValueError("the state of the optimizer belongs to another network")


def _below(prefix: str, arrays: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in arrays.items():
        if name.startswith(prefix):
            yield name.removeprefix(prefix), value


def _numpy(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor.detach().cpu().numpy()
    return array
