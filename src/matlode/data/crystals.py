"""Many crystals in few arrays: what the fast parts of matlode compute on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from matlode.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

CRYSTAL_COLUMNS = ("lattice", "numbers", "frac_coords")
"""Columns of a structure table that hold the crystal itself."""

OCCUPANCY_COLUMN = "occupancies"
"""One number per atom, for tables with mixed or partly filled sites; without it all are full."""

ALL_CRYSTAL_COLUMNS = (*CRYSTAL_COLUMNS, OCCUPANCY_COLUMN)
"""What is no label."""

MAX_ATOMIC_NUMBER = 100
"""Compositions are vectors over Z = 1..100 (hydrogen to fermium)."""


@dataclass(frozen=True)
class Crystals:
    """A batch of n periodic crystals with m atoms in all.

    A mixed site stands as several atoms at one place whose occupancies sum to at most 1.
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
    """(n + 1,); crystal i owns the atoms offsets[i]:offsets[i + 1]."""

    def __len__(self) -> int:
        return len(self.lattices)

    @property
    def n_atoms(self) -> NDArray[np.int64]:
        """(n,), atoms per cell (species of a mixed site counted apart)."""
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
        """The atoms of one crystal, as a slice of the atom arrays."""
        return slice(self.offsets[index], self.offsets[index + 1])

    def take(self, indices: Sequence[int] | NDArray[Any]) -> Crystals:
        """The crystals at ``indices`` (integers or a boolean mask), in that order."""
        # an empty list has no type of its own
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
        """Rows and their crystals, ``n`` at a time, in order; of none an empty part."""
        for at in range(0, max(len(self), 1), n):
            rows = slice(at, min(at + n, len(self)))
            yield rows, self.take(np.arange(rows.start, rows.stop))

    def structure(self, index: int) -> Structure:
        """One crystal as a pymatgen Structure."""
        from pymatgen.core import Structure

        rows = self.atoms(index)
        occupancies = self.occupancies[rows]
        if np.all(occupancies == 1):
            return Structure(self.lattices[index], self.numbers[rows], self.frac_coords[rows])
        sites: dict[tuple[float, ...], dict[Any, float]] = {}
        for z, xyz, part in zip(
            self.numbers[rows], self.frac_coords[rows], occupancies, strict=True
        ):
            sites.setdefault(tuple(xyz), {})[_element(int(z))] = float(part)
        return Structure(self.lattices[index], list(sites.values()), list(sites))

    def structures(self) -> list[Structure]:
        """All crystals as pymatgen Structures."""
        return [self.structure(index) for index in range(len(self))]

    @classmethod
    def concatenate(cls, batches: Sequence[Crystals]) -> Crystals:
        """One batch from several, in order."""
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
        lattices: Iterable[NDArray[Any]],
        numbers: Iterable[NDArray[Any]],
        frac_coords: Iterable[NDArray[Any]],
    ) -> Crystals:
        """Pack ordered crystals given as one array of each kind per crystal."""
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
        """Pack pymatgen Structures; partial and mixed occupancies are kept."""
        lattices: list[Any] = []
        numbers: list[int] = []
        frac: list[Any] = []
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

        ``occupancies`` (N, 0..1) is read where the table has it; without it all sites are full.
        Raises InputError if a column is missing or the lengths disagree, with the number of the
        row, counted from ``first_row``.
        """
        names = table.column_names if isinstance(table, pa.Table) else list(table.columns)
        missing = [name for name in CRYSTAL_COLUMNS if name not in names]
        if missing:
            raise InputError(
                f"table has no column {', '.join(missing)}; a structure table needs "
                f"{', '.join(CRYSTAL_COLUMNS)} (9, N and 3N numbers per row)."
            )
        cells, numbers, frac = (_list_column(table, name) for name in CRYSTAL_COLUMNS)
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
            _occupancies(table, counts, first_row)
            if OCCUPANCY_COLUMN in names
            else np.ones(len(atoms)),
            np.concatenate([[0], np.cumsum(counts)]),
        )

    def columns(self, *, mixed: bool | None = None) -> dict[str, pa.ListArray]:
        """What ``from_table`` reads; ``occupancies`` if ``mixed`` (default: where a site is not
        full)."""
        columns = {
            "lattice": _lists(9 * np.arange(len(self) + 1), self.lattices.ravel()),
            "numbers": _lists(self.offsets, self.numbers.astype(np.uint8)),
            "frac_coords": _lists(3 * self.offsets, self.frac_coords.ravel()),
        }
        if (self.occupancies != 1).any() if mixed is None else mixed:
            columns[OCCUPANCY_COLUMN] = _lists(self.offsets, self.occupancies)
        return columns


def _lists(offsets: NDArray[Any], values: NDArray[Any]) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _occupancies(
    table: pa.Table | pd.DataFrame, counts: NDArray[np.int64], first_row: int
) -> NDArray[np.float64]:
    column = _list_column(table, OCCUPANCY_COLUMN)
    found = np.diff(column.offsets.to_numpy())
    bad = np.flatnonzero(found != counts)
    if len(bad):
        raise InputError(
            f"row {first_row + bad[0]}: occupancies must hold one number per atom, has "
            f"{found[bad[0]]} for {counts[bad[0]]} atoms; {len(bad)} such rows."
        )
    return column.flatten().to_numpy()


def _list_column(table: pa.Table | pd.DataFrame, name: str) -> pa.ListArray:
    """A column of lists of numbers, in one chunk and without holes."""
    kind = pa.list_(pa.int64() if name == "numbers" else pa.float64())
    try:
        if isinstance(table, pa.Table):
            column = table[name].combine_chunks().cast(kind)
        else:
            column = pa.array([list(row) for row in table[name]], kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, TypeError) as error:
        raise InputError(f"column {name} must hold a list of numbers per row ({error}).") from error
    if column.null_count or column.values.null_count:
        raise InputError(f"column {name} has missing values; leave such rows out.")
    return column


def pack_crystals(source: Crystals | pa.Table | pd.DataFrame | Sequence[Structure]) -> Crystals:
    """Whatever holds crystals, as one batch."""
    if isinstance(source, Crystals):
        return source
    if isinstance(source, pa.Table) or hasattr(source, "columns"):
        return Crystals.from_table(source)
    return Crystals.from_structures(source)


def _element(z: int) -> Any:
    from pymatgen.core import Element

    return Element.from_Z(z)
