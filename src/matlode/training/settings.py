"""Files of hyper-parameters: reading, checking and writing them."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TypeGuard

from matlode.artefacts import read_toml, write_text
from matlode.errors import GoalError, suggest
from matlode.latent.layers import ACTIVATIONS, INITIALIZERS
from matlode.latent.training import OPTIMIZERS, PRECISIONS
from matlode.training.model_spec import ModelSpec, Setting

CHOICES: Mapping[str, Collection[str]] = {
    "activation": ACTIVATIONS,
    "initializer": INITIALIZERS,
    "optimizer": OPTIMIZERS,
    "precision": PRECISIONS,
    "schedule": ("one_cycle", "constant"),
}
SHARES = ("subsample", "colsample_bytree", "colsample_bylevel")
"""Shares of rows and columns: above 0, at most 1."""
SPELLINGS = {"lambda": "lambda_"}
"""Names in files → names in Python, where a file may use a word reserved in Python."""


def read_settings(path: Path, models: Mapping[str, ModelSpec]) -> dict[str, dict[str, Setting]]:
    """model → hyper-parameters of a settings file: TOML, one table per model.

    Raises InputError for a file that is not TOML, GoalError for an unknown model, an unknown
    hyper-parameter or a value out of range; all messages name the file.
    """
    known = {name: spec for name, spec in models.items() if spec.settings is not None}
    found: dict[str, dict[str, Setting]] = {}
    for model, given in read_toml(path).items():
        if model not in known:
            raise GoalError(f'{path}: "{model}" has no settings. {suggest(model, known)}')
        if not isinstance(given, dict):
            raise GoalError(f"{path}: write a table, [{model}], not {model} = {given!r}.")
        defaults = known[model].list_settings()
        origin = f"{path}: [{model}]"
        found[model] = {}
        for written, value in given.items():
            key = SPELLINGS.get(written, written)
            if key not in defaults:
                raise GoalError(f'{origin} has no "{written}". {suggest(written, defaults)}')
            check_value(key, value, defaults[key], f"{origin} {written}")
            found[model][key] = value
    return found


def write_settings(path: Path, model: str, values: Mapping[str, Setting], note: str) -> None:
    """Write a file that ``read_settings`` accepts; ``note`` becomes the comment at its top."""
    written = {theirs: key for key, theirs in SPELLINGS.items()}
    lines = [f"# {line}" for line in note.splitlines()]
    lines += [f"[{model}]"]
    lines += [f"{written.get(key, key)} = {json.dumps(value)}" for key, value in values.items()]
    write_text(path, "\n".join(lines) + "\n")


def check_value(key: str, value: object, default: Setting, origin: str) -> None:
    """Raise GoalError for a value that a hyper-parameter cannot have; ``default`` is one that it
    can have."""
    if isinstance(default, list):
        if not isinstance(value, list) or len(value) != len(default):
            raise GoalError(f"{origin} is {value!r}; expected a list of {len(default)}.")
        for one, other in zip(value, default, strict=True):
            check_value(key, one, other, origin)
    elif isinstance(default, str):
        if value not in CHOICES[key]:
            raise GoalError(f"{origin} is {value!r}. {suggest(str(value), CHOICES[key])}")
    elif isinstance(default, int):
        lowest = 0 if key == "seed" else 1
        if not _is_number(value) or value != int(value) or value < lowest:
            raise GoalError(f"{origin} is {value!r}; expected a whole number from {lowest} on.")
    elif not _is_number(value) or not _in_limits(key, value):
        raise GoalError(f"{origin} is {value!r}; expected a number {_limits_in_words(key)}.")


def _is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; an integer too large for a double is not."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


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
