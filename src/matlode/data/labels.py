"""Convert label columns of sources to typed columns with the names and units of matlode."""

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
from matlode.data.units import UNITS, convert_to_canonical
from matlode.errors import InputError
from matlode.records import replace_surrogates

MISSING_TEXTS = frozenset({"", "-", "--", "—", "?", ".", "na", "n/a", "nan", "none", "null"})
"""Texts of cells without a value, in lower case."""
NAMES = ("id", "formula", "source", "source_id", "licence")
"""Columns that are always text: the id 007 is not a number."""
NEVER_MISSING = ("id", "formula")
"""Columns in which MISSING_TEXTS are values: NaN is sodium nitride."""
RESERVED = (
    *("formula", "space_group", "n_sites", "volume", "volume_per_atom", "disordered", "is_file"),
    *ALL_CRYSTAL_COLUMNS,
)
"""Names that labels cannot have: crystal columns, computed columns and internal flags."""


@dataclass(frozen=True)
class Column:
    """Conversion of a column of a source to a column of matlode."""

    name: str
    """Name in matlode."""
    theirs: str
    """Name in the source."""
    unit: str | None = None
    """Unit in the source; None if it needs no conversion."""

    @classmethod
    def parse(cls, text: str) -> Column:
        """Parse NAME=THEIRS[:UNIT].

        Raises InputError if the text has another form, or the unit does not fit the column.

        >>> Column.parse("bulk_modulus_vrh=k_vrh:Mbar")
        Column(name='bulk_modulus_vrh', theirs='k_vrh', unit='Mbar')
        """
        name, equals, rest = replace_surrogates(text).partition("=")
        theirs, colon, unit = rest.partition(":")
        if not (name and equals and theirs) or (colon and not unit):
            raise InputError(
                f'invalid column "{text}"; expected NAME=THEIRS or NAME=THEIRS:UNIT, such as '
                "bulk_modulus_vrh=k_vrh:Mbar."
            )
        if name in RESERVED:
            raise InputError(
                f'"{name}" in "{text}" is a reserved name, which matlode computes itself; choose '
                "another name."
            )
        column = cls(name, theirs, unit or None)
        if column.unit:
            convert_to_canonical(
                np.ones(1), name, unit, atoms_per_cell=np.ones(1), atoms_per_formula=np.ones(1)
            )
        return column


class Kind(StrEnum):
    """Common type of all values of a column."""

    NOTHING = "nothing"
    """The column has no values."""
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
"""Arrow type of a column of each kind."""
_AS_GIVEN = pa.struct([("text", pa.string()), ("number", pa.float64())])
"""Type of a column of arbitrary values: each as text, and as a number if the text is one."""
_INTEGER = r"^-?(0|[1-9]\d{0,17})$"
"""Integers with at most 18 digits, which always fit into 64 bits."""


def find_common_kind(kinds: Iterable[Kind]) -> Kind:
    """Return the kind that can hold values of all ``kinds``: texts if they do not agree.

    >>> find_common_kind([Kind.NOTHING, Kind.INTEGERS, Kind.NUMBERS])
    <Kind.NUMBERS: 'numbers'>
    """
    present = set(kinds) - {Kind.NOTHING}
    if len(present) <= 1:
        return present.pop() if present else Kind.NOTHING
    return Kind.NUMBERS if present == {Kind.INTEGERS, Kind.NUMBERS} else Kind.TEXTS


class RawLabels:
    """Unconverted label columns of a source, stored part by part on disk.

    The kind of a column depends on all its values, so ``kind`` and ``cleaned`` must be called
    after the last part has been added.
    """

    def __init__(self, spool: SpooledTables) -> None:
        """Store the parts in ``spool``, which may be shared with other sources."""
        self._spool = spool
        self._parts: list[tuple[slice, NDArray[np.float64]]] = []
        self._kinds: dict[str, Kind] = {}

    def add(self, frame: pd.DataFrame, atoms_per_cell: NDArray[np.floating | np.integer]) -> None:
        """Add the next n rows; ``atoms_per_cell`` (n,) is used to convert values per cell.

        Raises WriteError if the disk is full.
        """
        columns = {name: _pack_column(frame[name], name) for name in frame.columns}
        for name, values in columns.items():
            kinds = self._kinds.get(name, Kind.NOTHING), _find_kind(values)
            self._kinds[name] = find_common_kind(kinds)
        place = self._spool.add(pa.table(columns))
        self._parts.append((place, np.asarray(atoms_per_cell, dtype=float)))

    @property
    def names(self) -> list[str]:
        """Names of the columns that occur in any part."""
        return list(self._kinds)

    def cleaned(self, *, known: Iterable[Column] = (), asked: Iterable[Column] = ()) -> CleanLabels:
        """Convert the columns to the names and units of matlode.

        ``asked`` conversions apply to the columns that exist (the first one if several have the
        same name), then ``known`` conversions to the remaining columns. Columns that already have
        a name of matlode are assumed to have its unit; all others keep their names and values.
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
        """Return the kind of a column after the conversion."""
        if column.name in NAMES:
            return Kind.TEXTS
        return Kind.NUMBERS if column.name in UNITS else self._kinds[column.theirs]

    def parts(self) -> Iterator[tuple[pa.Table, NDArray[np.float64]]]:
        """Yield tables of the rows in order, and their atoms per cell; may be called repeatedly."""
        return ((self._spool.read(place), atoms) for place, atoms in self._parts)


@dataclass(frozen=True)
class CleanLabels:
    """Label columns of a source with the names and units of matlode."""

    raw: RawLabels
    columns: Mapping[str, Column]
    """Conversions by the name in matlode."""

    @property
    def kinds(self) -> dict[str, Kind]:
        """Kind of each column, by the name in matlode."""
        return {name: self.raw.kind(column) for name, column in self.columns.items()}

    def parts(self, kinds: Mapping[str, Kind] | None = None) -> Iterator[CleanPart]:
        """Yield the converted rows part by part, in order; may be called repeatedly.

        Each part has exactly the columns of ``kinds`` (default: all columns of the source). These
        kinds may be more general than those of the source; missing columns are empty.
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
                columns[name] = values = _convert(_cast(given, kind), column, table, atoms)
                if lost := _count_values(given) - (len(values) - values.null_count):
                    unreadable[name] = lost
            yield CleanPart(pa.table(columns), unreadable)


@dataclass(frozen=True)
class CleanPart:
    """Part of the converted labels, with the number of values that could not be converted."""

    table: pa.Table
    unreadable: Mapping[str, int]
    """Number of values per column that are not finite numbers."""


def _pack_column(column: pd.Series, name: str) -> pa.Array:
    """Keep flags, integers and numbers; store other values as text and, if possible, as number."""
    typed = isinstance(column.dtype, np.dtype) and name not in NAMES
    if typed and column.dtype.kind == "b":
        return pa.array(column, pa.bool_())
    if typed and column.dtype.kind in "iu" and column.max() < 2**63:
        return pa.array(column.to_numpy(np.int64))
    if typed and column.dtype.kind == "f":
        return pa.array(column.to_numpy(np.float64), from_pandas=True)
    plain = [_simplify(value, keep_all=name in NEVER_MISSING) for value in column]
    # without booleans, which pandas would convert to 1 and 0
    numbers = pd.Series([None if isinstance(v, bool) else v for v in plain], dtype=object)
    return pa.StructArray.from_arrays(
        [
            pa.array([None if v is None else str(v) for v in plain], pa.string()),
            pa.array(pd.to_numeric(numbers, errors="coerce").to_numpy(float), from_pandas=True),
        ],
        fields=list(_AS_GIVEN),
    )


def _simplify(value: Any, *, keep_all: bool) -> bool | float | str | None:
    """Convert a missing value to None, a nested one to JSON, others except numbers to text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, default=_simplify_nested)
    if isinstance(value, str):
        return None if not keep_all and value.strip().lower() in MISSING_TEXTS else value
    if pd.isna(value):
        return None
    return value if isinstance(value, bool | float) else str(value)


def _simplify_nested(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _find_kind(values: pa.Array) -> Kind:
    if _count_values(values) == 0:
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


def _count_values(values: pa.Array) -> int:
    given = values.field("text") if values.type == _AS_GIVEN else values
    return len(given) - given.null_count


def _cast(values: pa.Array, kind: Kind) -> pa.Array:
    """Cast values of ``_pack_column`` to the kind of their column; null if impossible."""
    if _count_values(values) == 0:
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
    """Replace NaN and infinity by null."""
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))


def _convert(
    values: pa.Array, column: Column, table: pa.Table, atoms_per_cell: NDArray[np.float64]
) -> pa.Array:
    if column.unit is None:
        return values
    formulas = table["formula"].combine_chunks().field("text").to_pylist()
    with np.errstate(over="ignore"):
        numbers = convert_to_canonical(
            values.to_numpy(zero_copy_only=False),
            column.name,
            column.unit,
            atoms_per_cell=atoms_per_cell,
            atoms_per_formula=np.array([sum(parse_formula(f).values()) for f in formulas], float),
        )
    return finite(pa.array(numbers))
