"""Labels as they come, made into columns: numbers, text, or nothing; known names, known units."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from matlode.data.crystals import ALL_CRYSTAL_COLUMNS
from matlode.data.formulas import parse_formula
from matlode.data.spool import SpooledTables
from matlode.data.units import UNITS, to_canonical
from matlode.errors import InputError
from matlode.records import legible

MISSING_TEXTS = frozenset({"", "-", "--", "—", "?", ".", "na", "n/a", "nan", "none", "null"})
"""Cells that say there is no value, in lower case."""
NAMES = ("id", "formula", "source", "source_id", "licence")
"""Columns that are texts, whatever stands there: 007 is a name."""
NEVER_MISSING = ("id", "formula")
"""Whose texts say what they say: NaN is sodium nitride."""
RESERVED = (
    *("formula", "space_group", "n_sites", "volume", "volume_per_atom", "disordered", "is_file"),
    *ALL_CRYSTAL_COLUMNS,
)
"""Columns that no label becomes: the crystal itself, what is computed from it, a mark of ours."""


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
        name, equals, rest = legible(text).partition("=")
        theirs, colon, unit = rest.partition(":")
        if not (name and equals and theirs) or (colon and not unit):
            raise InputError(
                f'"{text}" tells of no column; write NAME=THEIRS or NAME=THEIRS:UNIT, such as '
                "bulk_modulus_vrh=k_vrh:Mbar."
            )
        if name in RESERVED:
            raise InputError(f'matlode fills "{name}" itself; choose another name in "{text}".')
        column = cls(name, theirs, unit or None)
        if column.unit:
            to_canonical(
                np.ones(1), name, unit, atoms_per_cell=np.ones(1), atoms_per_formula=np.ones(1)
            )
        return column


class Kind(StrEnum):
    """What the values of a column are, all of them."""

    NOTHING = "nothing"
    """Not a single value."""
    FLAGS = "flags"
    INTEGERS = "integers"
    NUMBERS = "numbers"
    TEXTS = "texts"


ARROW_TYPES = {
    Kind.NOTHING: pa.float64(),
    Kind.FLAGS: pa.bool_(),
    Kind.INTEGERS: pa.int64(),
    Kind.NUMBERS: pa.float64(),
    Kind.TEXTS: pa.string(),
}
"""How a column of each kind is written."""
_AS_GIVEN = pa.struct([("text", pa.string()), ("number", pa.float64())])
"""A value in a column of any values: as text, and the number that the text is, if any."""
_INTEGER = r"^-?(0|[1-9]\d{0,17})$"
"""What 64 bits hold, whatever its digits are."""


def common_kind(kinds: Iterable[Kind]) -> Kind:
    """What values of several kinds are together: texts, where they are not alike.

    >>> common_kind([Kind.NOTHING, Kind.INTEGERS, Kind.NUMBERS])
    <Kind.NUMBERS: 'numbers'>
    """
    present = set(kinds) - {Kind.NOTHING}
    if len(present) <= 1:
        return present.pop() if present else Kind.NOTHING
    return Kind.NUMBERS if present == {Kind.INTEGERS, Kind.NUMBERS} else Kind.TEXTS


class RawLabels:
    """Label columns of a source as they stand there, part by part, on the disk.

    What a column is shows when all of it was seen: it is asked for after the last part.
    """

    def __init__(self, spool: SpooledTables) -> None:
        """The spool may be shared with other sources."""
        self._spool = spool
        self._parts: list[tuple[slice, NDArray[np.float64]]] = []
        self._kinds: dict[str, Kind] = {}

    def add(self, frame: pd.DataFrame, atoms_per_cell: NDArray[Any]) -> None:
        """The next rows, with the atoms in the cell of each, which values per cell refer to.

        Raises WriteError if the disk has no room for them.
        """
        columns = {name: _packed(frame[name], name) for name in frame.columns}
        for name, values in columns.items():
            self._kinds[name] = common_kind([self._kinds.get(name, Kind.NOTHING), _kind(values)])
        place = self._spool.add(pa.table(columns))
        self._parts.append((place, np.asarray(atoms_per_cell, dtype=float)))

    @property
    def names(self) -> list[str]:
        """Of all columns that any part has."""
        return list(self._kinds)

    def cleaned(self, *, known: Iterable[Column] = (), asked: Iterable[Column] = ()) -> CleanLabels:
        """The columns in our names and units.

        ``asked`` columns are converted where they are there (the first of several for one name),
        ``known`` ones where these leave them. Columns with our names and no conversion are taken
        to be in our units; other columns keep their names and values.
        """
        chosen: dict[str, Column] = {}
        for columns in (asked, known):
            taken = {column.theirs for column in chosen.values()}
            for column in columns:
                if column.theirs in self._kinds and column.theirs not in taken:
                    chosen.setdefault(column.name, column)
        taken = {column.theirs for column in chosen.values()} - set(NEVER_MISSING)
        kept = {name: Column(name, name) for name in self._kinds if name not in taken}
        return CleanLabels(self, kept | chosen)

    def kind(self, column: Column) -> Kind:
        """What a column of it is, with our name."""
        if column.name in NAMES:
            return Kind.TEXTS
        return Kind.NUMBERS if column.name in UNITS else self._kinds[column.theirs]

    def parts(self) -> Iterator[tuple[pa.Table, NDArray[np.float64]]]:
        """The rows as they came, with the atoms in the cell of each; again and again."""
        return ((self._spool.read(place), atoms) for place, atoms in self._parts)


@dataclass(frozen=True)
class CleanLabels:
    """Label columns in our names and units, of a source."""

    raw: RawLabels
    columns: Mapping[str, Column]
    """By our names."""

    @property
    def kinds(self) -> dict[str, Kind]:
        """Of each column, by our names."""
        return {name: self.raw.kind(column) for name, column in self.columns.items()}

    def parts(self, kinds: Mapping[str, Kind] | None = None) -> Iterator[CleanPart]:
        """The rows part by part, as they came; again and again.

        Each part has just the columns of ``kinds`` (default: all of the source), which may be of
        a wider kind than the source's own, and empty where it has none.
        """
        kinds = self.kinds if kinds is None else kinds
        for table, atoms in self.raw.parts():
            columns, unreadable = {}, {}
            for name, kind in kinds.items():
                column = self.columns.get(name)
                if column is None or column.theirs not in table.column_names:
                    columns[name] = pa.nulls(len(table), ARROW_TYPES[kind])
                    continue
                given = table[column.theirs].combine_chunks()
                columns[name] = values = _converted(_as(given, kind), column, table, atoms)
                if lost := _n_values(given) - (len(values) - values.null_count):
                    unreadable[name] = lost
            yield CleanPart(pa.table(columns), unreadable)


@dataclass(frozen=True)
class CleanPart:
    """Some rows of clean labels, and what had to be left empty for it."""

    table: pa.Table
    unreadable: Mapping[str, int]
    """Per column: values that are no finite number."""


def _packed(column: pd.Series[Any], name: str) -> pa.Array:
    """Flags, integers and numbers by their type; all else as text and, where it is one, number."""
    typed = isinstance(column.dtype, np.dtype) and name not in NAMES
    if typed and column.dtype.kind == "b":
        return pa.array(column, pa.bool_())
    if typed and column.dtype.kind in "iu" and column.max() < 2**63:
        return pa.array(column.to_numpy(np.int64))
    if typed and column.dtype.kind == "f":
        return pa.array(column.to_numpy(np.float64), from_pandas=True)
    plain = [_plain(value, keep_all=name in NEVER_MISSING) for value in column]
    # true and false are 1 and 0 to pandas
    numbers = pd.Series([None if isinstance(v, bool) else v for v in plain], dtype=object)
    return pa.StructArray.from_arrays(
        [
            pa.array([None if v is None else str(v) for v in plain], pa.string()),
            pa.array(pd.to_numeric(numbers, errors="coerce").to_numpy(float), from_pandas=True),
        ],
        fields=list(_AS_GIVEN),
    )


def _plain(value: Any, *, keep_all: bool) -> bool | float | str | None:
    """None for what is missing, JSON for what is nested, text for what is no number."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, default=_nested)
    if isinstance(value, str):
        return None if not keep_all and value.strip().lower() in MISSING_TEXTS else value
    if pd.isna(value):
        return None
    return value if isinstance(value, bool | float) else str(value)


def _nested(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _kind(values: pa.Array) -> Kind:
    if _n_values(values) == 0:
        return Kind.NOTHING
    if values.type != _AS_GIVEN:
        return next(k for k, t in ARROW_TYPES.items() if t == values.type and k != Kind.NOTHING)
    texts, numbers = values.flatten()
    present = texts.drop_null()
    if pc.all(pc.is_in(pc.utf8_lower(present), pa.array(["true", "false"]))).as_py():
        return Kind.FLAGS
    if pc.all(pc.match_substring_regex(present, _INTEGER)).as_py():
        return Kind.INTEGERS
    return Kind.NUMBERS if numbers.null_count == texts.null_count else Kind.TEXTS


def _n_values(values: pa.Array) -> int:
    given = values.field("text") if values.type == _AS_GIVEN else values
    return len(given) - given.null_count


def _as(values: pa.Array, kind: Kind) -> pa.Array:
    """Values as ``_packed`` gives them, as what their column is; nothing, where they cannot be."""
    if _n_values(values) == 0:
        return pa.nulls(len(values), ARROW_TYPES[kind])
    as_given = values.type == _AS_GIVEN
    if kind is Kind.TEXTS and as_given:
        return values.field("text")
    if kind is Kind.TEXTS:
        return pa.array([None if v is None else str(v) for v in values.to_pylist()], pa.string())
    if kind is Kind.FLAGS:
        return pc.equal(pc.utf8_lower(values.field("text")), "true") if as_given else values
    if kind is Kind.INTEGERS:
        return values.field("text").cast(pa.int64()) if as_given else values
    if pa.types.is_boolean(values.type):
        return pa.nulls(len(values), pa.float64())
    return finite((values.field("number") if as_given else values).cast(pa.float64(), safe=False))


def finite(numbers: pa.Array) -> pa.Array:
    """Numbers, but for those that are none or endless."""
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))


def _converted(
    values: pa.Array, column: Column, table: pa.Table, atoms_per_cell: NDArray[np.float64]
) -> pa.Array:
    if column.unit is None:
        return values
    formulas = table["formula"].combine_chunks().field("text").to_pylist()
    with np.errstate(over="ignore"):
        numbers = to_canonical(
            values.to_numpy(zero_copy_only=False),
            column.name,
            column.unit,
            atoms_per_cell=atoms_per_cell,
            atoms_per_formula=np.array([sum(parse_formula(f).values()) for f in formulas], float),
        )
    return finite(pa.array(numbers))
