from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from matlode.errors import ArtefactError
from matlode.latent.networks import StandardCompositionVAE
from matlode.latent.training import (
    OPTIMIZERS,
    TrainingSettings,
    evaluate_loss,
    learning_rate_factor,
    train,
)
from matlode.representation.composition import compute_formula_vectors
from matlode.testing import SINGLE_PRECISION
from tests.strategies import reals

CPU = torch.device("cpu")
SHORT = TrainingSettings(max_epochs=6, batch_size=16, patience=6, seed=3)


class Regressor(nn.Module):
    """Predicts the second tensor from the first; chance enters through dropout."""

    def __init__(self, *, width: int = 8, dropout: float = 0.2) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(5, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, 1)
        )
        self.warmths: list[float] = []
        self.batches_left = math.inf

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float) -> dict[str, Tensor]:
        if self.training:
            self.warmths.append(warmth)
            self.batches_left -= 1
            if self.batches_left < 0:
                raise KeyboardInterrupt
        x, y = batch
        return {"loss": ((self.net(x) - y) ** 2).mean()}


def regressor(**options: float) -> Regressor:
    torch.manual_seed(11)
    return Regressor(**options)


def rows(n: int = 100, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 5, generator=generator)
    return x, (x[:, :1] - 0.5 * x[:, 1:2]).tanh()


def weights(model: nn.Module) -> list[Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def assert_same(one: list[Tensor], other: list[Tensor]) -> None:
    for left, right in zip(one, other, strict=True):
        assert torch.equal(left, right)


def differ(one: list[Tensor], other: list[Tensor]) -> bool:
    return any(not torch.equal(left, right) for left, right in zip(one, other, strict=True))


def fit(
    settings: TrainingSettings, model: nn.Module | None = None, checkpoint: Path | None = None
) -> tuple[nn.Module, list[dict[str, float]]]:
    model = model or regressor()
    log = train(model, rows(), rows(40, seed=1), settings, checkpoint=checkpoint, device=CPU)
    return model, log


def without_times(log: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in log]


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before():
    torch.manual_seed(0)
    one, log = fit(SHORT)
    torch.rand(17)
    other, again = fit(SHORT)
    assert_same(weights(one), weights(other))
    assert without_times(log) == without_times(again)
    another, _ = fit(replace(SHORT, seed=4))
    assert differ(weights(one), weights(another))


def test_training_leaves_the_callers_chance_alone():
    model = regressor()
    before = torch.get_rng_state()
    fit(SHORT, model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("n_batches", [12, 20])
def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path, optimizer, n_batches):
    # 100 rows in batches of 16 are 6 an epoch: stopped after the second, and within the fourth
    settings = replace(SHORT, optimizer=optimizer)
    undisturbed, log = fit(settings)
    checkpoint = tmp_path / "deep" / "checkpoint.npz"
    interrupted = regressor()
    interrupted.batches_left = n_batches
    with pytest.raises(KeyboardInterrupt):
        fit(settings, interrupted, checkpoint)
    # a fresh process: other weights, other chance
    torch.manual_seed(99)
    resumed = Regressor()
    torch.rand(5)
    _, resumed_log = fit(settings, resumed, checkpoint)
    assert_same(weights(resumed), weights(undisturbed))
    assert without_times(resumed_log) == without_times(log)


def test_a_training_interrupted_between_epochs_goes_on_too(tmp_path):
    def stop(stage: str, done: float, total: float, note: str = "") -> None:
        if done == 4:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint.npz"
    with pytest.raises(KeyboardInterrupt):
        train(
            regressor(),
            rows(),
            rows(40, seed=1),
            SHORT,
            checkpoint=checkpoint,
            progress=stop,
            device=CPU,
        )
    resumed, log = fit(SHORT, Regressor(), checkpoint)
    assert_same(weights(resumed), weights(fit(SHORT)[0]))
    assert [row["epoch"] for row in log] == [1, 2, 3, 4, 5, 6]


def test_a_finished_training_is_not_repeated(tmp_path):
    checkpoint = tmp_path / "checkpoint.npz"
    model, log = fit(SHORT, checkpoint=checkpoint)
    again = Regressor()
    assert fit(SHORT, again, checkpoint)[1] == log
    assert again.warmths == []
    assert_same(weights(again), weights(model))


def contradictory_rows() -> tuple[Tensor, Tensor]:
    x, y = rows(40, seed=1)
    return x, -y


def test_training_stops_when_held_out_loss_no_longer_falls():
    settings = TrainingSettings(max_epochs=50, patience=3, schedule="constant", batch_size=16)
    model = regressor(dropout=0.0)
    log = train(model, rows(), contradictory_rows(), settings, device=CPU)
    held_out = [row["validation_loss"] for row in log]
    best = int(np.argmin(held_out))
    assert len(log) == best + 1 + settings.patience < settings.max_epochs
    # training went on, so the weights that are kept are not the last ones
    assert log[-1]["loss"] < log[best]["loss"]
    kept = evaluate_loss(model, contradictory_rows(), 16, CPU)["loss"]
    assert kept == pytest.approx(min(held_out), rel=SINGLE_PRECISION)
    assert not model.training


def test_early_stopping_survives_an_interruption(tmp_path):
    settings = TrainingSettings(max_epochs=50, patience=3, schedule="constant", batch_size=16)
    undisturbed, interrupted = regressor(), regressor()
    log = train(undisturbed, rows(), contradictory_rows(), settings, device=CPU)
    interrupted.batches_left = 6 * (len(log) - 1) + 2
    checkpoint = tmp_path / "checkpoint.npz"
    for model in (interrupted, resumed := Regressor()):
        try:
            again = train(
                model, rows(), contradictory_rows(), settings, checkpoint=checkpoint, device=CPU
            )
        except KeyboardInterrupt:
            assert model is interrupted
    assert_same(weights(resumed), weights(undisturbed))
    assert without_times(again) == without_times(log)


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"max_epochs": 7}, {"learning_rate": 2e-3}, {"optimizer": "adam"}]
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path, change):
    checkpoint = tmp_path / "checkpoint.npz"
    fit(replace(SHORT, max_epochs=6), checkpoint=checkpoint)
    with pytest.raises(
        ArtefactError, match="was written with other training settings; delete it to start again"
    ):
        fit(replace(SHORT, **change), checkpoint=checkpoint)


def test_a_training_that_diverges_says_so():
    settings = replace(SHORT, optimizer="sgd", learning_rate=1e30, schedule="constant")
    with pytest.raises(ArtefactError, match=r"diverged in epoch \d .*lower learning_rate"):
        fit(settings)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_trained_regressor_beats_the_mean(seed):
    settings = TrainingSettings(
        max_epochs=30, batch_size=16, learning_rate=1e-2, patience=30, seed=seed
    )
    torch.manual_seed(seed)
    model, _ = fit(settings, Regressor(width=32, dropout=0.0))
    x, y = rows(500, seed=2)
    mean_loss = float(((y - rows()[1].mean()) ** 2).mean())
    assert evaluate_loss(model, (x, y), 100, CPU)["loss"] < 0.2 * mean_loss


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_trained_autoencoder_beats_the_mean_composition(seed, starter):
    formulas = starter.frame["formula"].drop_duplicates()[:400]
    x = torch.from_numpy(compute_formula_vectors(formulas.tolist())).float()
    learned, unseen = x[:300], x[300:]
    torch.manual_seed(seed)
    model = StandardCompositionVAE(width=96, blocks=1)
    settings = TrainingSettings(
        max_epochs=40, batch_size=30, learning_rate=3e-3, patience=40, seed=seed
    )
    train(model, [learned], [unseen], settings, device=CPU)
    with torch.inference_mode():
        error = (model.decode(model.encode(unseen)[0]) - unseen).abs().sum(1).mean()
    baseline = (learned.mean(0) - unseen).abs().sum(1).mean()
    assert error < 0.8 * baseline


def test_the_learning_rate_rises_over_a_tenth_and_falls_to_zero():
    settings = TrainingSettings(schedule="one_cycle")
    done = np.linspace(0, 1, 2001)
    factors = np.array([learning_rate_factor(settings, part) for part in done])
    assert factors.argmax() == 200
    assert factors.max() == pytest.approx(1)
    assert (np.diff(factors[:201]) > 0).all()
    assert (np.diff(factors[200:]) < 0).all()
    assert factors[-1] == pytest.approx(0)
    assert np.abs(np.diff(factors)).max() < 0.01


@given(reals(0, 1))
def test_a_constant_learning_rate_is_constant(done):
    assert learning_rate_factor(TrainingSettings(schedule="constant"), done) == 1


def test_the_kl_weight_rises_over_the_warm_up():
    model = regressor()
    fit(replace(SHORT, max_epochs=3, warm_up_epochs=2.0), model)
    assert model.warmths == pytest.approx([min(1, step / 12) for step in range(18)])
    at_once = regressor()
    fit(replace(SHORT, max_epochs=1, warm_up_epochs=0.0), at_once)
    assert set(at_once.warmths) == {1.0}


def one_step(**change: float) -> tuple[Tensor, Tensor, Tensor]:
    """First kernel before and after one plain gradient step of length 1, and the gradient."""
    settings = TrainingSettings(
        optimizer="sgd", schedule="constant", learning_rate=1.0, batch_size=100, max_epochs=1,
        **{"clip_norm": math.inf, **change},
    )  # fmt: skip
    model = regressor(dropout=0.0)
    before = model.net[0].weight.detach().clone()
    model.training_loss(rows(), warmth=1.0)["loss"].backward()
    gradient = model.net[0].weight.grad.clone()
    fit(settings, model)
    return before, model.net[0].weight.detach(), gradient


def test_penalties_are_those_of_terms_in_the_loss():
    before, after, gradient = one_step(l1=0.01, l2=0.003)
    expected = before - gradient - 0.01 * before.sign() - 2 * 0.003 * before
    torch.testing.assert_close(after, expected, rtol=0, atol=SINGLE_PRECISION)


def test_long_gradients_are_shortened():
    before, after, gradient = one_step(clip_norm=1e-3)
    step = before - after
    assert step.norm() <= 1e-3 * (1 + SINGLE_PRECISION) < gradient.norm()
    cosine = torch.nn.functional.cosine_similarity(step.flatten(), gradient.flatten(), dim=0)
    assert cosine > 1 - 1e-4


@given(st.integers(1, 60))
def test_held_out_loss_does_not_depend_on_the_batches(batch_size):
    model, data = regressor(), rows(50)
    expected = ((model.eval().net(data[0]) - data[1]) ** 2).mean().item()
    assert evaluate_loss(model, data, batch_size, CPU)["loss"] == pytest.approx(expected, rel=1e-5)


def test_fewer_rows_than_a_batch_are_one_batch():
    model = regressor()
    train(model, rows(7), rows(5), replace(SHORT, max_epochs=2), device=CPU)
    assert len(model.warmths) == 2


def test_progress_is_told_after_every_epoch():
    told = []

    def progress(stage: str, done: float, total: float, note: str = "") -> None:
        told.append((stage, done, total, note))

    train(
        regressor(),
        rows(),
        rows(40, seed=1),
        replace(SHORT, max_epochs=2),
        progress=progress,
        stage="regressor",
        device=CPU,
    )
    assert [entry[:3] for entry in told] == [("regressor", 1, 2), ("regressor", 2, 2)]
    assert all("held-out" in note for *_, note in told)


def test_products_in_bfloat16_lead_to_about_the_same_loss():
    _, exact = fit(SHORT)
    model, log = fit(replace(SHORT, precision="bfloat16"))
    assert log != exact
    # the three digits of bfloat16
    assert log[-1]["validation_loss"] == pytest.approx(exact[-1]["validation_loss"], rel=0.05)
    assert all(weight.dtype == torch.float32 for weight in weights(model))


def test_the_log_is_written_as_csv_too(tmp_path):
    path = tmp_path / "logs" / "net.csv"
    log = train(regressor(), rows(), rows(40, seed=1), SHORT, log_file=path, device=CPU)
    written = pd.read_csv(path)
    assert list(written.columns) == list(log[0])
    np.testing.assert_allclose(written.to_numpy(), pd.DataFrame(log).to_numpy())


def test_augmented_data_are_made_for_every_epoch_and_after_an_interruption(tmp_path):
    asked: list[int] = []

    def fresh(epoch: int) -> tuple[Tensor, Tensor]:
        asked.append(epoch)
        return rows(100, seed=epoch)

    def run(model: Regressor, checkpoint: Path) -> list[dict[str, float]]:
        data = rows(), rows(40, seed=1)
        return train(model, *data, SHORT, fresh=fresh, checkpoint=checkpoint, device=CPU)

    whole = regressor()
    run(whole, tmp_path / "whole.npz")
    assert asked == list(range(SHORT.max_epochs))
    broken = regressor()
    broken.batches_left = 15  # 6 batches an epoch
    with pytest.raises(KeyboardInterrupt):
        run(broken, tmp_path / "broken.npz")
    resumed = regressor()
    run(resumed, tmp_path / "broken.npz")
    for one, two in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_each_epoch_is_told_and_the_listener_may_end_it():
    heard: list[tuple[int, float]] = []
    log = train(regressor(), rows(), rows(seed=1), SHORT, report=lambda *row: heard.append(row))
    assert heard == [(int(row["epoch"]), row["validation_loss"]) for row in log]

    def stop(epoch: int, loss: float) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    model = regressor()
    with pytest.raises(KeyboardInterrupt):
        train(model, rows(), rows(seed=1), SHORT, report=stop)
    assert len(model.warmths) == 2 * (100 // SHORT.batch_size)
