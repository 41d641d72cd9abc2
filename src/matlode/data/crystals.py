"""Batches of crystals as arrays, the input of all fast computations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from matlode.data.batches import split_range
from matlode.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Element, Structure

CRYSTAL_COLUMNS = ("lattice", "numbers", "frac_coords")
"""Columns of a structure table that describe the crystal."""

OCCUPANCY_COLUMN = "occupancies"
"""Optional column with one number per atom; without it all sites are fully occupied."""

ALL_CRYSTAL_COLUMNS = (*CRYSTAL_COLUMNS, OCCUPANCY_COLUMN)
"""All columns that are not labels."""

FULL_SITE = 1.06
"""Largest sum of the occupancies of a site; more than 1 because of rounding."""

MAX_ATOMIC_NUMBER = 100
"""Compositions are vectors over Z = 1..100 (hydrogen to fermium)."""


@dataclass(frozen=True, repr=False)
class Crystals:
    """A batch of n periodic crystals with m atoms in total.

    A mixed site is represented by several atoms at one place whose occupancies sum to at most 1.
    """

    lattices: NDArray[np.float64]
    """(n, 3, 3), Å; rows are the cell vectors a, b, c."""
    numbers: NDArray[np.int64]
    """(m,), atomic numbers."""
    frac_coords: NDArray[np.float64]
    """(m, 3), in units of the cell vectors."""
    occupancies: NDArray[np.float64]
    """(m,), 0..1."""
    offsets: NDArray[np.int64]
    """(n + 1,); the atoms of crystal i are offsets[i]:offsets[i + 1]."""

    def __len__(self) -> int:
        return len(self.lattices)

    def __repr__(self) -> str:
        return f"Crystals({len(self)} crystals, {len(self.numbers)} atoms)"

    @property
    def n_atoms(self) -> NDArray[np.int64]:
        """(n,), atoms per cell (each species of a mixed site counts)."""
        return np.diff(self.offsets)

    @property
    def volumes_a3(self) -> NDArray[np.float64]:
        """(n,), cell volumes in Å³."""
        return np.abs(np.linalg.det(self.lattices))

    @property
    def volumes_per_atom_a3(self) -> NDArray[np.float64]:
        """(n,), Å³ per occupied atom."""
        return self.volumes_a3 / np.add.reduceat(self.occupancies, self.offsets[:-1])

    def atoms(self, index: int | np.intp) -> slice:
        """Return the slice of the atom arrays that belongs to one crystal."""
        return slice(self.offsets[index], self.offsets[index + 1])

    def take(self, indices: Sequence[int] | NDArray[np.integer | np.bool_]) -> Crystals:
        """Return the crystals at ``indices`` (integers or a boolean mask), in that order."""
        # NumPy would convert an empty list to floats
        chosen = np.arange(len(self))[np.asarray(indices, None if len(indices) else int)]
        counts = self.n_atoms[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        atoms = np.repeat(self.offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Crystals(
            self.lattices[chosen],
            self.numbers[atoms],
            self.frac_coords[atoms],
            self.occupancies[atoms],
            offsets,
        )

    def parts(self, n: int) -> Iterator[tuple[slice, Crystals]]:
        """Yield slices of rows and their crystals, ``n`` at a time, in order.

        If there are no crystals, one empty part is yielded.
        """
        for rows in split_range(len(self), n) or [slice(0, 0)]:
            yield rows, self.take(np.arange(rows.start, rows.stop))

    def structure(self, index: int) -> Structure:
        """Convert one crystal to a pymatgen Structure."""
        from pymatgen.core import Structure

        rows = self.atoms(index)
        occupancies = self.occupancies[rows]
        if np.all(occupancies == 1):
            return Structure(self.lattices[index], self.numbers[rows], self.frac_coords[rows])
        sites: dict[tuple[float, ...], dict[Element, float]] = {}
        for z, xyz, part in zip(
            self.numbers[rows], self.frac_coords[rows], occupancies, strict=True
        ):
            sites.setdefault(tuple(xyz), {})[_make_element(int(z))] = float(part)
        return Structure(self.lattices[index], list(sites.values()), list(sites))

    def structures(self) -> list[Structure]:
        """Convert all crystals to pymatgen Structures."""
        return [self.structure(index) for index in range(len(self))]

    @classmethod
    def concatenate(cls, batches: Sequence[Crystals]) -> Crystals:
        """Concatenate batches in order."""
        counts = np.concatenate([np.zeros(1, np.int64), *[b.n_atoms for b in batches]])
        return cls(
            np.concatenate([b.lattices for b in batches]).reshape(-1, 3, 3),
            np.concatenate([b.numbers for b in batches]),
            np.concatenate([b.frac_coords for b in batches]).reshape(-1, 3),
            np.concatenate([b.occupancies for b in batches]),
            np.cumsum(counts),
        )

    @classmethod
    def from_arrays(
        cls,
        lattices: Iterable[NDArray[np.floating | np.integer]],
        numbers: Iterable[NDArray[np.integer]],
        frac_coords: Iterable[NDArray[np.floating | np.integer]],
    ) -> Crystals:
        """Pack ordered crystals, given as one array of each kind per crystal."""
        numbers = [np.asarray(z, dtype=np.int64) for z in numbers]
        atoms = np.concatenate(numbers) if numbers else np.zeros(0, np.int64)
        frac = [np.asarray(x, dtype=float).reshape(-1, 3) for x in frac_coords]
        cells = [np.asarray(cell, dtype=float).reshape(3, 3) for cell in lattices]
        return cls(
            np.array(cells).reshape(-1, 3, 3),
            atoms,
            np.concatenate(frac) if frac else np.zeros((0, 3)),
            np.ones(len(atoms)),
            np.cumsum([0, *map(len, numbers)]),
        )

    @classmethod
    def from_structures(cls, structures: Iterable[Structure]) -> Crystals:
        """Pack pymatgen Structures, with their partial and mixed occupancies."""
        lattices: list[NDArray[np.float64]] = []
        numbers: list[int] = []
        frac: list[NDArray[np.float64]] = []
        parts: list[float] = []
        counts = [0]
        for structure in structures:
            lattices.append(structure.lattice.matrix)
            before = len(numbers)
            for site in structure:
                for species, part in site.species.items():
                    numbers.append(species.Z)
                    frac.append(site.frac_coords)
                    parts.append(part)
            counts.append(len(numbers) - before)
        return cls(
            np.array(lattices, dtype=float).reshape(-1, 3, 3),
            np.array(numbers, dtype=np.int64),
            np.array(frac, dtype=float).reshape(-1, 3),
            np.array(parts, dtype=float),
            np.cumsum(counts),
        )

    @classmethod
    def from_table(cls, table: pa.Table | pd.DataFrame, *, first_row: int = 0) -> Crystals:
        """Pack the columns lattice (9 numbers, Å), numbers (Z) and frac_coords (3N) of a table.

        The column ``occupancies`` (N, 0..1) is optional; without it all sites are fully occupied.
        Raises InputError if a column is missing or the lengths disagree; the message contains
        the row number, counted from ``first_row``.
        """
        names = table.column_names if isinstance(table, pa.Table) else list(table.columns)
        missing = [name for name in CRYSTAL_COLUMNS if name not in names]
        if missing:
            raise InputError(
                f"the table has no column {', '.join(missing)}; a structure table needs "
                f"{', '.join(CRYSTAL_COLUMNS)} (9, N and 3N numbers per row)."
            )
        cells, numbers, frac = (_read_lists(table, name) for name in CRYSTAL_COLUMNS)
        counts = np.diff(numbers.offsets.to_numpy())
        bad = np.flatnonzero(
            (np.diff(cells.offsets.to_numpy()) != 9)
            | (np.diff(frac.offsets.to_numpy()) != 3 * counts)
        )
        if len(bad):
            raise InputError(
                f"row {first_row + bad[0]}: lattice must hold 9 numbers and frac_coords 3 per atom "
                f"({counts[bad[0]]} atoms in numbers); {len(bad)} such rows."
            )
        atoms = numbers.flatten().to_numpy()
        return cls(
            cells.flatten().to_numpy().reshape(-1, 3, 3),
            atoms,
            frac.flatten().to_numpy().reshape(-1, 3),
            _read_occupancies(table, counts, first_row)
            if OCCUPANCY_COLUMN in names
            else np.ones(len(atoms)),
            np.concatenate([[0], np.cumsum(counts)]),
        )

    def columns(self, *, mixed: bool | None = None) -> dict[str, pa.ListArray]:
        """Return the columns that ``from_table`` reads.

        ``mixed``: whether to include ``occupancies``; None: if a site is not fully occupied.
        """
        columns = {
            "lattice": _pack_lists(9 * np.arange(len(self) + 1), self.lattices.ravel()),
            "numbers": _pack_lists(self.offsets, self.numbers.astype(np.uint8)),
            "frac_coords": _pack_lists(3 * self.offsets, self.frac_coords.ravel()),
        }
        if (self.occupancies != 1).any() if mixed is None else mixed:
            columns[OCCUPANCY_COLUMN] = _pack_lists(self.offsets, self.occupancies)
        return columns


def _pack_lists(offsets: NDArray[np.int64], values: NDArray[np.generic]) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _read_occupancies(
    table: pa.Table | pd.DataFrame, counts: NDArray[np.int64], first_row: int
) -> NDArray[np.float64]:
    column = _read_lists(table, OCCUPANCY_COLUMN)
    found = np.diff(column.offsets.to_numpy())
    bad = np.flatnonzero(found != counts)
    if len(bad):
        raise InputError(
            f"row {first_row + bad[0]}: occupancies must hold one number per atom, but it has "
            f"{found[bad[0]]} for {counts[bad[0]]} atoms; {len(bad)} such rows."
        )
    return column.flatten().to_numpy()


def _read_lists(table: pa.Table | pd.DataFrame, name: str) -> pa.ListArray:
    """Return a column of lists of numbers, in one chunk and without missing values."""
    kind = pa.list_(pa.int64() if name == "numbers" else pa.float64())
    try:
        if isinstance(table, pa.Table):
            column = table[name].combine_chunks().cast(kind)
        else:
            column = pa.array([list(row) for row in table[name]], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError) as error:
        raise InputError(f"column {name} must hold a list of numbers per row ({error}).") from error
    if column.null_count or column.values.null_count:
        raise InputError(f"column {name} has missing values; remove these rows.")
    return column


def pack_crystals(source: Crystals | pa.Table | pd.DataFrame | Sequence[Structure]) -> Crystals:
    """Convert a table or a list of structures to one batch."""
    if isinstance(source, Crystals):
        return source
    if isinstance(source, pa.Table) or hasattr(source, "columns"):
        return Crystals.from_table(source)
    return Crystals.from_structures(source)


def _make_element(z: int) -> Element:
    from pymatgen.core import Element

    return Element.from_Z(z)
