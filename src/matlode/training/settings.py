"""Hyper-parameters as data: what each model is trained with, and what a file may change of it."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from matlode.artefacts import read_toml, write_text
from matlode.errors import GoalError, suggest
from matlode.latent.layers import ACTIVATIONS, INITIALIZERS
from matlode.latent.networks import AUTOENCODERS
from matlode.latent.pairing import PAIRING_MODEL
from matlode.latent.training import OPTIMIZERS, TrainingSettings
from matlode.properties.formation_net import FORMATION_NET, ReferenceFormationNet
from matlode.properties.network import NETWORK_MODEL
from matlode.properties.trees import SETTINGS, TreeSettings
from matlode.screening.symmetry_answers import REFERENCE_SYMMETRY_MODEL, SYMMETRY_MODEL
from matlode.screening.symmetry_nets import SYMMETRY_NETS

TRAINING = {
    "standard-composition-vae": TrainingSettings(
        learning_rate=2e-3, max_epochs=60, batch_size=256, patience=60, warm_up_epochs=2.0
    ),
    "standard-pattern-vae": TrainingSettings(learning_rate=1.5e-3, max_epochs=48, patience=48),
    PAIRING_MODEL: TrainingSettings(batch_size=256, max_epochs=30, patience=30),
    # Table S1; epochs, batch size and learning rate are not in it: Keras' defaults
    "reference-composition-vae": TrainingSettings(
        optimizer="nadam", schedule="constant", batch_size=64, max_epochs=60, patience=6,
        warm_up_epochs=0.0, l1=1.94e-7, l2=1.09e-6,
    ),
    "reference-pattern-vae": TrainingSettings(
        optimizer="adamax", schedule="constant", batch_size=64, max_epochs=60, patience=4,
        warm_up_epochs=0.0, l1=1.46e-6, l2=6.42e-7,
    ),
    FORMATION_NET: TrainingSettings(
        optimizer="adam", schedule="constant", batch_size=64, max_epochs=60, patience=6
    ),
    NETWORK_MODEL: TrainingSettings(
        learning_rate=1.2e-3, batch_size=256, max_epochs=13, patience=13
    ),
    SYMMETRY_MODEL: TrainingSettings(max_epochs=20, patience=20, batch_size=256),
    REFERENCE_SYMMETRY_MODEL: TrainingSettings(
        optimizer="adamax", schedule="constant", batch_size=128, max_epochs=12, patience=4
    ),
}  # fmt: skip
"""model → how its network is trained."""

NETWORKS: Mapping[str, Callable[..., nn.Module]] = {
    **{f"{face}-{view}-vae": network for (face, view), network in AUTOENCODERS.items()},
    **SYMMETRY_NETS,
    FORMATION_NET: ReferenceFormationNet,
}
"""model → network, where the network's sizes may be set too."""

WITHOUT_SETTINGS = ("pattern-characteristics", "known-formulas")
CHOICES: Mapping[str, Iterable[str]] = {
    "activation": ACTIVATIONS,
    "initializer": INITIALIZERS,
    "optimizer": OPTIMIZERS,
    "schedule": ("one_cycle", "constant"),
}
SHARES = ("subsample", "colsample_bytree", "colsample_bylevel")
"""Of rows and columns: above 0, at most 1."""
SPELLINGS = {"lambda": "lambda_"}
"""Names in files that Python cannot have."""


def is_head(model: str) -> bool:
    """Whether a model of `matlode train models` is boosted trees."""
    return model not in TRAINING and model not in WITHOUT_SETTINGS


def default_settings(model: str) -> dict[str, Any]:
    """Every hyper-parameter of a model with the value that it has unless it is set."""
    if is_head(model):
        return asdict(SETTINGS[model.partition("-")[0]])
    found: dict[str, Any] = {}
    if model in NETWORKS:
        arguments = inspect.signature(NETWORKS[model]).parameters.values()
        found = {a.name: a.default for a in arguments if a.default is not a.empty}
    values = found | (asdict(TRAINING[model]) if model in TRAINING else {})
    return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def training_settings(model: str, given: Mapping[str, Any]) -> TrainingSettings:
    """How a network is trained, with what is ``given`` of it."""
    own = asdict(TRAINING[model])
    return replace(TRAINING[model], **{key: v for key, v in given.items() if key in own})


def tree_settings(model: str, given: Mapping[str, Any]) -> TreeSettings:
    """The hyper-parameters of a head, with what is ``given`` of them."""
    return replace(SETTINGS[model.partition("-")[0]], **given)


def architecture(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``given`` are arguments of the network."""
    trained = asdict(TRAINING[model])
    return {key: value for key, value in given.items() if key not in trained}


def read_settings(path: Path, models: Iterable[str]) -> dict[str, dict[str, Any]]:
    """model → hyper-parameters of a settings file: TOML, one table per model.

    Raises InputError for a file that is no TOML, GoalError for a model, a hyper-parameter or a
    value that there cannot be; all name the file.
    """
    known = [name for name in models if name not in WITHOUT_SETTINGS]
    found: dict[str, dict[str, Any]] = {}
    for model, given in read_toml(path).items():
        if model not in known:
            raise GoalError(f'{path}: "{model}" has no settings. {suggest(model, known)}')
        if not isinstance(given, dict):
            raise GoalError(f"{path}: write a table, [{model}], not {model} = {given!r}.")
        defaults = default_settings(model)
        origin = f"{path}: [{model}]"
        found[model] = {}
        for written, value in given.items():
            key = SPELLINGS.get(written, written)
            if key not in defaults:
                raise GoalError(f'{origin} has no "{written}". {suggest(written, defaults)}')
            check_value(key, value, defaults[key], f"{origin} {written}")
            found[model][key] = value
    return found


def write_settings(path: Path, model: str, values: Mapping[str, Any], note: str) -> None:
    """Write a file that ``read_settings`` takes; ``note`` stands above it as a comment."""
    written = {theirs: key for key, theirs in SPELLINGS.items()}
    lines = [f"# {line}" for line in note.splitlines()]
    lines += [f"[{model}]"]
    lines += [f"{written.get(key, key)} = {json.dumps(value)}" for key, value in values.items()]
    write_text(path, "\n".join(lines) + "\n")


def check_value(key: str, value: Any, default: Any, origin: str) -> None:
    """Raise GoalError for a value that a hyper-parameter cannot have, beside its default."""
    if isinstance(default, list):
        if not isinstance(value, list) or len(value) != len(default):
            raise GoalError(f"{origin} is {value!r}; wanted a list of {len(default)}.")
        for one, other in zip(value, default, strict=True):
            check_value(key, one, other, origin)
    elif isinstance(default, str):
        if value not in CHOICES[key]:
            raise GoalError(f"{origin} is {value!r}. {suggest(str(value), CHOICES[key])}")
    elif isinstance(default, int):
        lowest = 0 if key == "seed" else 1
        if not _is_number(value) or value != int(value) or value < lowest:
            raise GoalError(f"{origin} is {value!r}; wanted a whole number from {lowest} on.")
    elif not _is_number(value) or not _in_limits(key, value):
        raise GoalError(f"{origin} is {value!r}; wanted a number {_limits_in_words(key)}.")


def _is_number(value: Any) -> bool:
    """An integer that no double holds is none, like infinity."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and abs(value) <= sys.float_info.max


def _in_limits(key: str, value: float) -> bool:
    if "dropout" in key:
        return 0 <= value < 1
    if key in SHARES:
        return 0 < value <= 1
    return value >= 0


def _limits_in_words(key: str) -> str:
    if "dropout" in key:
        return "from 0 to below 1"
    return "above 0, at most 1" if key in SHARES else "from 0 on"
