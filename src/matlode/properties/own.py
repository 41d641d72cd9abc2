"""User-defined properties: each line of a TOML file defines an endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import read_toml
from matlode.data.splits import CALIBRATION, TEST, TRAIN
from matlode.data.tables import Materials
from matlode.errors import GoalError, InputError, suggest
from matlode.properties.derived import DERIVATIONS
from matlode.properties.endpoints import ENDPOINTS, Endpoint

KEYS = {
    "column": "text",
    "unit": "text",
    "description": "text",
    "kind": "text",
    "transform": "text",
    "at_most": "number",
    "at_least": "number",
    "equals": "text",
    "lowest": "number",
    "highest": "number",
    "vintage_column": "text",
    "vintages": "list of texts",
}
"""Keys of a property and the type of their values."""

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""Names become folders and columns; lower case avoids clashes on file systems that ignore case."""

TAKEN = {
    *("rank", "formula", "chemical_system", "space_group", "crystal_system", "prototype"),
    *("structure_file", "charge_neutral", "novelty", "nearest_known", "verdict", "reasons"),
    *("merit", "in_ranges", "trial", "origin", "composition_vae", "pattern_vae"),
}
"""Names of columns in the tables of a run, and of models other than heads."""
TAKEN_BEGINNING, TAKEN_ENDS = "structure_", ("_low", "_high")
"""Beginnings and ends of further columns in the tables of a run."""

MIN_ROWS: Mapping[str, int] = {TRAIN: 50, CALIBRATION: 10, TEST: 10}
"""role → smallest number of labelled rows of a head. With nine calibration rows or fewer a 90 %
interval is infinite (``intervals.compute_conformal_quantile``) or nearly so; fewer test rows
give no meaningful score."""


def read_properties(path: Path) -> dict[str, Endpoint]:
    """Read the properties in a TOML file: name → endpoint, in the order of the file.

    Raises InputError for an unreadable file and GoalError for an invalid property; the messages
    name file, property and key.
    """
    content = read_toml(path)
    if not content:
        raise GoalError(
            f'{path} defines no property; write one per line, such as name = {{ column = "..." }}.'
        )
    return {
        name: _endpoint(name, given, f'{path}: property "{name}"')
        for name, given in content.items()
    }


def _endpoint(name: str, given: object, origin: str) -> Endpoint:
    _check_name(name, origin)
    if not isinstance(given, dict):
        raise GoalError(f'{origin} is {given!r}; expected a table such as {{ column = "..." }}.')
    for key, value in given.items():
        _check_value(key, value, origin)
    kind = _choice(given, "kind", ("regression", "classification"), origin)
    transform: Literal["none", "log"] = (
        "log" if _choice(given, "transform", ("none", "log"), origin) == "log" else "none"
    )
    classification = kind == "classification"
    _check_together(given, classification, origin)
    rest = {k: v for k, v in given.items() if k not in ("kind", "transform", "unit", "vintages")}
    if classification:
        rest |= {"lowest": 0.0, "highest": 1.0}
    return Endpoint(
        name=name,
        unit="probability" if classification else given.get("unit", ""),
        task="probability" if classification else "regression",
        transform=transform,
        vintages=tuple(given.get("vintages", ())),
        **{"column": name, **rest},
    )


def _check_name(name: str, origin: str) -> None:
    if not NAME.fullmatch(name):
        raise GoalError(
            f"{origin}: invalid name; use lower-case letters, digits and underscores, beginning "
            'with a letter, such as "debye_temperature".'
        )
    if name in ENDPOINTS or name in DERIVATIONS:
        raise GoalError(f"{origin}: this name belongs to a built-in property; choose another name.")
    if name in TAKEN or name.startswith(TAKEN_BEGINNING) or name.endswith(TAKEN_ENDS):
        raise GoalError(
            f"{origin}: this name is reserved for a column or model; choose another name."
        )


def _check_value(key: str, value: object, origin: str) -> None:
    if key not in KEYS:
        raise GoalError(f'{origin}: unknown key "{key}". {suggest(key, KEYS)}')
    fits = {
        "text": isinstance(value, str),
        # bool is a subclass of int in Python
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "list of texts": isinstance(value, list) and all(isinstance(v, str) for v in value),
    }
    if not fits[KEYS[key]] or value != value:
        raise GoalError(f"{origin}: {key} = {value!r}; expected a {KEYS[key]}.")


def _choice(given: Mapping[str, object], key: str, known: tuple[str, ...], origin: str) -> str:
    value = str(given.get(key, known[0]))
    if value not in known:
        raise GoalError(f'{origin}: unknown {key} "{value}". {suggest(value, known)}')
    return value


def _check_together(given: Mapping[str, object], classification: bool, origin: str) -> None:
    """Raise GoalError for keys that contradict each other or need each other."""
    wrong = ("unit", "transform", "lowest", "highest") if classification else (
        "at_most", "at_least", "equals"
    )  # fmt: skip
    for key in wrong:
        if key in given:
            kind, other = ("classification", "regression")[:: 1 if classification else -1]
            raise GoalError(
                f'{origin}: {key} is not allowed for a {kind}; remove it or set kind = "{other}".'
            )
    if "equals" in given and ("at_most" in given or "at_least" in given):
        raise GoalError(
            f"{origin}: equals cannot be combined with at_most or at_least; keep equals for text "
            "or at_most and at_least for numbers."
        )
    numbers = {key: value for key, value in given.items() if isinstance(value, int | float)}
    for low, high in (("lowest", "highest"), ("at_least", "at_most")):
        if low in numbers and high in numbers and not numbers[low] <= numbers[high]:
            raise GoalError(
                f"{origin}: {low} = {numbers[low]} is above {high} = {numbers[high]}; correct one."
            )
    if given.get("transform") == "log" and numbers.get("highest", 1) <= 0:
        raise GoalError(
            f"{origin}: highest = {numbers['highest']} leaves no positive value for the "
            'logarithm; raise it or set transform = "none".'
        )
    if ("vintage_column" in given) != ("vintages" in given):
        raise GoalError(f"{origin}: vintage_column and vintages must be given together.")


def check_labels(endpoint: Endpoint, materials: Materials, *, table: str) -> NDArray[np.float64]:
    """Labels (n,) of a table for training, NaN where unknown, after checking them.

    Raises InputError, with the ids of rows, for a missing column, text, infinite values, values
    without a logarithm, values outside the limits, and a classification without two classes. For
    built-in properties, invalid values are replaced by NaN instead, since the tables of matlode
    contain a few.
    """
    origin = f'property "{endpoint.name}": column "{endpoint.column}" of {table}'
    columns = [endpoint.column, *([endpoint.vintage_column] if endpoint.vintage_column else [])]
    if endpoint.column not in materials.frame or (
        # for built-in properties, tables of one vintage may lack the column
        endpoint.name not in ENDPOINTS and columns[-1] not in materials.frame
    ):
        missing = next(c for c in columns if c not in materials.frame)
        raise InputError(
            f'property "{endpoint.name}": {table} has no column "{missing}". '
            f"{suggest(missing, map(str, materials.frame.columns))}"
        )
    labels = endpoint.labels(materials)
    known = ~np.isnan(labels)
    if endpoint.task == "probability":
        _check_classes(endpoint, labels[known], origin)
        return labels
    for bad, what, advice in (
        (np.isinf(labels), "infinite values", "correct them or leave them empty"),
        (
            (labels <= 0) & (endpoint.transform == "log"),
            "values without a logarithm",
            'correct them or set transform = "none"',
        ),
        (
            (labels < endpoint.lowest) | (labels > endpoint.highest),
            f"values outside {endpoint.lowest:g}..{endpoint.highest:g} {endpoint.unit}".rstrip(),
            "correct the values or the limits",
        ),
    ):
        if endpoint.name in ENDPOINTS:
            labels = np.where(bad, np.nan, labels)
        elif bad.any():
            rows = np.flatnonzero(bad)[:3]
            examples = [f"{materials.frame['id'].iloc[row]}: {labels[row]:g}" for row in rows]
            raise InputError(
                f"{origin} contains {bad.sum()} {what} ({', '.join(examples)}); {advice}."
            )
    if known.any() and np.ptp(labels[known]) == 0:
        raise InputError(
            f"{origin} is {labels[known][0]:g} in every row; training needs different values."
        )
    return labels


def _check_classes(endpoint: Endpoint, labels: NDArray[np.float64], origin: str) -> None:
    values = np.unique(labels)
    if not np.isin(values, (0, 1)).all():
        raise InputError(
            f"{origin} contains {', '.join(f'{v:g}' for v in values[:4])} ...; a classification "
            "needs 0 and 1, or a threshold (at_most, at_least)."
        )
    if len(values) == 1:
        raise InputError(
            f"{origin}: every label is {values[0]:g}; a classification needs both classes "
            "(check at_most, at_least, equals)."
        )


def check_rows(
    endpoint: Endpoint, labels: NDArray[np.float64], roles: NDArray[np.str_], *, table: str
) -> None:
    """Raise InputError if a role has fewer labelled rows than MIN_ROWS, or only one class."""
    counts = {role: labels[(roles == role) & ~np.isnan(labels)] for role in MIN_ROWS}
    short = [role for role, rows in counts.items() if len(rows) < MIN_ROWS[role]]
    if short:
        found = ", ".join(f"{len(rows)} {role}" for role, rows in counts.items())
        expected = ", ".join(f"{n} {role}" for role, n in MIN_ROWS.items())
        raise InputError(
            f'property "{endpoint.name}": too few rows with a value in {table}: '
            f"{sum(map(len, counts.values()))} ({found}); expected at least {expected}; add rows."
        )
    if endpoint.task == "probability":
        for role, rows in counts.items():
            if np.ptp(rows) == 0:
                raise InputError(
                    f'property "{endpoint.name}": all {len(rows)} {role} rows of {table} are '
                    f"{rows[0]:g}; add rows of the other class."
                )
