"""Labels as they come, made into columns: numbers, text, or nothing; known names, known units."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.data.units import UNITS, to_canonical
from matlode.errors import InputError, suggest

MISSING_TEXTS = frozenset({"", "-", "--", "—", "?", ".", "na", "n/a", "nan", "none", "null"})
"""Cells that say there is no value, in lower case."""
NOT_LABELS = ("id", "formula")
"""Text columns that are left as they are: NaN is sodium nitride, and 007 is a name."""


@dataclass(frozen=True)
class Column:
    """How a column of a source becomes one of ours."""

    name: str
    """Ours."""
    theirs: str
    unit: str | None = None
    """Theirs; None if it is ours already."""

    @classmethod
    def parse(cls, text: str) -> Column:
        """From NAME=THEIRS[:UNIT]; raises InputError if the text is not so, or the unit is wrong.

        >>> Column.parse("bulk_modulus_vrh=k_vrh:Mbar")
        Column(name='bulk_modulus_vrh', theirs='k_vrh', unit='Mbar')
        """
        name, equals, rest = text.partition("=")
        theirs, colon, unit = rest.partition(":")
        if not (name and equals and theirs) or (colon and not unit):
            raise InputError(
                f'"{text}" tells of no column; write NAME=THEIRS or NAME=THEIRS:UNIT, such as '
                "bulk_modulus_vrh=k_vrh:Mbar."
            )
        column = cls(name, theirs, unit or None)
        if column.unit:
            to_canonical(
                np.ones(1), name, unit, atoms_per_cell=np.ones(1), atoms_per_formula=np.ones(1)
            )
        return column


@dataclass(frozen=True)
class CleanLabels:
    """Label columns in our names and units, and what had to be left empty for it."""

    frame: pd.DataFrame
    unreadable: dict[str, int]
    """Per column: values that are no finite number."""


def clean_labels(
    frame: pd.DataFrame,
    *,
    known: Iterable[Column] = (),
    asked: Iterable[Column] = (),
    atoms_per_cell: NDArray[Any],
    atoms_per_formula: NDArray[Any],
) -> CleanLabels:
    """Numbers where all values are numbers, text otherwise, NaN where there is none.

    ``known`` columns of the source are converted where it has them, ``asked`` ones must be
    there (else InputError). Columns with our names and no conversion are taken to be in our
    units; other columns keep their names and values.
    """
    chosen = _chosen(frame, known, asked)
    renamed = {column.theirs: column.name for column in chosen}
    kept = [c for c in frame.columns if c in renamed or c not in renamed.values()]
    cleaned: dict[str, Any] = {}
    unreadable: dict[str, int] = {}
    for theirs in kept:
        name = renamed.get(theirs, theirs)
        if name in NOT_LABELS:
            cleaned[name] = frame[theirs]
            continue
        values, lost = _values(frame[theirs], numeric=name in UNITS)
        if lost:
            unreadable[name] = lost
        # at once: lists of Python's texts take several times as much
        cleaned[name] = pd.Series(values, index=frame.index)
    for column in chosen:
        if column.unit:
            cleaned[column.name] = to_canonical(
                cleaned[column.name],
                column.name,
                column.unit,
                atoms_per_cell=atoms_per_cell,
                atoms_per_formula=atoms_per_formula,
            )
    return CleanLabels(pd.DataFrame(cleaned, index=frame.index), unreadable)


def _chosen(
    frame: pd.DataFrame, known: Iterable[Column], asked: Iterable[Column]
) -> Sequence[Column]:
    asked = list(asked)
    missing = [column.theirs for column in asked if column.theirs not in frame]
    if missing:
        raise InputError(
            f'no column "{missing[0]}". {suggest(missing[0], map(str, frame.columns))}'
        )
    names, theirs = {c.name for c in asked}, {c.theirs for c in asked}
    others = [
        c for c in known if c.theirs in frame and c.name not in names and c.theirs not in theirs
    ]
    return [*asked, *others]


def _values(column: pd.Series[Any], *, numeric: bool) -> tuple[Any, int]:
    """The column as floats, bools or text, and how many values of it were lost."""
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_integer_dtype(column):
        return (column.to_numpy(float, na_value=np.nan) if numeric else column), 0
    if pd.api.types.is_float_dtype(column):
        infinite = np.isinf(column.to_numpy(float, na_value=np.nan))
        return column.mask(infinite), int(infinite.sum())
    plain = [_plain(value) for value in column]
    present = [value for value in plain if value is not None]
    numbers = pd.to_numeric(pd.Series(plain, dtype=object), errors="coerce").to_numpy(float)
    all_numbers = not np.isnan(numbers[[value is not None for value in plain]]).any()
    if present and {str(value).lower() for value in present} <= {"true", "false"} and not numeric:
        return [None if v is None else str(v).lower() == "true" for v in plain], 0
    if numeric or (present and all_numbers):
        finite = np.isfinite(numbers)
        return np.where(finite, numbers, np.nan), len(present) - int(finite.sum())
    return [None if value is None else str(value) for value in plain], 0


def _plain(value: Any) -> Any:
    """None for what is missing, JSON for what is nested, else the value."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str)
    if isinstance(value, str):
        return None if value.strip().lower() in MISSING_TEXTS else value
    return None if pd.isna(value) else value
