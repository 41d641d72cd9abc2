"""Combine several sources into one table, keeping the rows on disk until it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from matlode.data.cells import Cell, count_sites, is_disordered, reduce_cells
from matlode.data.crystals import ALL_CRYSTAL_COLUMNS, Crystals
from matlode.data.labels import (
    ARROW_TYPES,
    Column,
    Kind,
    RawLabels,
    find_common_kind,
    finite,
)
from matlode.data.readers.source import Source
from matlode.data.spool import SpooledCrystals
from matlode.data.symmetry import find_space_group
from matlode.data.tables import PART_ROWS, append_crystals, regroup_tables
from matlode.data.units import PER_CELL_COLUMNS, UNITS
from matlode.errors import InputError, suggest
from matlode.progress import Progress
from matlode.records import DroppedRow

ORIGIN_COLUMNS = ("source", "source_id", "licence")
"""Origin of each row; rows that state their origin keep it."""
_REPLACED = ("space_group", "n_sites", "volume", "disordered")
"""Columns that are always recomputed for the imported cell."""
_COMPUTED = (*_REPLACED, "volume_per_atom", "density")
"""Columns of every row; a density given by the source is kept."""
_SYMMETRIES_AT_ONCE = 1024
_G_PER_CM3 = 1.66053906660
"""One atomic mass unit per Å³, CODATA 2018."""


@dataclass
class Given:
    """A source and what was read from it, without the crystals."""

    source: Source
    licence: str
    """Licence of rows that do not state theirs."""
    labels: RawLabels
    scales: list[NDArray[np.float64]] = field(default_factory=list)
    """For each part, volume ratios of the new and the given cells."""
    dropped: list[DroppedRow] = field(default_factory=list)

    def reduce(self, cell: Cell) -> Iterator[Crystals]:
        """Yield the crystals in the wanted cell; keep labels, scales and dropped rows."""
        for chunk in self.source.chunks:
            given = chunk.crystals
            reduced = reduce_cells(given, cell)
            self.labels.add(
                chunk.frame.drop(columns=[*ALL_CRYSTAL_COLUMNS, "is_file"], errors="ignore"),
                atoms_per_cell=np.add.reduceat(given.occupancies, given.offsets[:-1]),
            )
            self.scales.append(reduced.volumes_a3 / given.volumes_a3)
            self.dropped += chunk.dropped
            yield reduced


@dataclass(frozen=True)
class Survey:
    """What is needed of all rows at once to choose among them."""

    ids: pa.ChunkedArray
    formulas: pa.ChunkedArray
    n_labels: NDArray[np.int64]
    space_groups: NDArray[np.int64]
    disordered: NDArray[np.bool_]
    unreadable: Sequence[Mapping[str, int]]
    """For each source, column → number of unreadable labels."""

    def id(self, row: int) -> str:
        """Id of a row."""
        return str(self.ids[row].as_py())


class Pool:
    """All sources as one table, its rows on disk."""

    def __init__(
        self, given: Sequence[Given], cell: Cell, requested: Sequence[Column], progress: Progress
    ) -> None:
        """Read the sources. Raises InputError if one cannot be read, or if a requested column
        exists in none of them."""
        self._given = given
        self.crystals = SpooledCrystals(_read(given, cell, progress))
        _check_columns(given, requested)
        self.labels = [
            one.labels.cleaned(known=one.source.columns, asked=requested) for one in given
        ]
        texts = [dict.fromkeys(names, Kind.TEXTS) for names in (("id", "formula"), ORIGIN_COLUMNS)]
        found = [texts[0], *(labels.kinds for labels in self.labels), texts[1]]
        self._kinds = {
            name: find_common_kind(kinds[name] for kinds in found if name in kinds)
            for name in dict.fromkeys(name for kinds in found for name in kinds)
            if name not in _REPLACED
        }

    @property
    def columns(self) -> list[str]:
        """Columns of the table, without the crystals."""
        return list(dict.fromkeys([*self._kinds, *_COMPUTED]))

    def survey(self, progress: Progress) -> Survey:
        """Collect what is needed to choose rows. Raises InputError if a column cannot be
        converted."""
        counted = [name for name in self._kinds if name in UNITS and name not in _COMPUTED]
        names: list[pa.Table] = [
            pa.schema([("id", pa.string()), ("formula", pa.string())]).empty_table()
        ]
        n_labels = [np.zeros(0, np.int64)]
        unreadable = []
        for labels in self.labels:
            lost: Counter[str] = Counter()
            for part in labels.parts(self._kinds):
                # copied, since a column keeps the whole part in memory
                rows = np.arange(len(part.table))
                names.append(part.table.select(["id", "formula"]).take(rows))
                n_labels.append(_count_values(part.table.select(counted)))
                lost.update(part.unreadable)
            unreadable.append(dict(lost))
        all_names = pa.concat_tables(names)
        space_groups, disordered = self._find_symmetries(progress)
        return Survey(
            all_names["id"],
            all_names["formula"],
            np.concatenate(n_labels),
            space_groups,
            disordered,
            unreadable,
        )

    def _find_symmetries(self, progress: Progress) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        groups: list[int] = []
        disordered = []
        n = len(self.crystals.crystals)
        for rows, crystals in self.crystals.parts(_SYMMETRIES_AT_ONCE):
            progress("space groups", rows.start, n)
            groups += [find_space_group(crystals, index) for index in range(len(crystals))]
            disordered.append(is_disordered(crystals))
        progress("space groups", n, n)
        return np.array(groups, dtype=np.int64), np.concatenate(disordered)

    def tables(self, survey: Survey, *, without: Sequence[int]) -> Iterator[pa.Table]:
        """Yield the table part by part, leaving out the rows ``without``."""
        keep = np.ones(len(survey.ids), dtype=bool)
        keep[list(without)] = False
        mixed = bool(survey.disordered[keep].any())
        parts = zip(
            self.crystals.parts(PART_ROWS), regroup_tables(self._rows(), PART_ROWS), strict=True
        )
        for (rows, crystals), labels in parts:
            table = _add_computed(labels, crystals, survey.space_groups[rows])
            yield append_crystals(table, crystals, mixed=mixed).filter(pa.array(keep[rows]))

    def _rows(self) -> Iterator[pa.Table]:
        """Yield labels, converted to the new cells, and origins, part by part."""
        yield pa.schema(
            [(name, ARROW_TYPES[kind]) for name, kind in self._kinds.items()]
        ).empty_table()
        for one, labels in zip(self._given, self.labels, strict=True):
            for part, scales in zip(labels.parts(self._kinds), one.scales, strict=True):
                yield _add_origin(_rescale(part.table, scales), one.source.name, one.licence)


def _read(given: Sequence[Given], cell: Cell, progress: Progress) -> Iterator[Crystals]:
    for done, one in enumerate(given):
        progress("read", done, len(given), note=one.source.name)
        yield from one.reduce(cell)
    progress("read", len(given), len(given))


def _check_columns(given: Sequence[Given], requested: Sequence[Column]) -> None:
    names = [name for one in given for name in one.labels.names]
    for column in requested:
        if column.theirs not in names:
            raise InputError(f'no column "{column.theirs}". {suggest(column.theirs, names)}')


def _count_values(table: pa.Table) -> NDArray[np.int64]:
    """(n,), number of columns with a value."""
    counts = np.zeros(len(table), np.int64)
    for column in table.columns:
        counts += column.is_valid().to_numpy()
    return counts


def _rescale(table: pa.Table, scales: NDArray[np.float64]) -> pa.Table:
    """Convert labels that are proportional to the cell to the new cell."""
    for name in set(PER_CELL_COLUMNS) & set(table.column_names):
        table = _set_column(table, name, finite(pc.multiply(table[name], pa.array(scales))))
    return table


def _add_origin(table: pa.Table, source: str, licence: str) -> pa.Table:
    """Add the origin of rows that do not state it."""
    values = dict(
        zip(ORIGIN_COLUMNS, (pa.scalar(source), table["id"], pa.scalar(licence)), strict=True)
    )
    for name, value in values.items():
        table = _set_column(table, name, pc.coalesce(table[name], value))
    return table


def _add_computed(table: pa.Table, crystals: Crystals, space_groups: NDArray[np.int64]) -> pa.Table:
    """Add the columns that follow from the crystals."""
    densities = pa.array(_compute_densities(crystals))
    known = "density" in table.column_names
    facts = {
        "space_group": pa.array(space_groups),
        "n_sites": pa.array(count_sites(crystals)),
        "volume": pa.array(crystals.volumes_a3),
        "disordered": pa.array(is_disordered(crystals)),
        "density": pc.coalesce(table["density"], densities) if known else densities,
    }
    for name, values in facts.items():
        table = _set_column(table, name, values)
    return table


def _set_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values)


def _compute_densities(crystals: Crystals) -> NDArray[np.float64]:
    """(n,), in g/cm³."""
    from pymatgen.core import Element

    kinds = np.unique(crystals.numbers)
    masses = np.zeros(int(kinds.max(initial=0)) + 1)
    masses[kinds] = [float(Element.from_Z(int(z)).atomic_mass) for z in kinds]
    weights = masses[crystals.numbers] * crystals.occupancies
    return np.add.reduceat(weights, crystals.offsets[:-1]) / crystals.volumes_a3 * _G_PER_CM3
