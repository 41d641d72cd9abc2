"""Read a crystal from a POSCAR file of VASP 4, 5 or 6."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.data.atom_types import parse_atom_type
from matlode.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?")


def parse_poscar(text: str) -> Structure:
    """Return the crystal of a POSCAR.

    The elements are those of line 6, else (VASP 4) of the title, else behind the coordinates.
    Raises InputError if there are none, or if lines are missing or not of their form.
    """
    from pymatgen.core import Structure

    lines = text.lstrip("\ufeff").splitlines()
    if len(lines) < 8:
        raise InputError(
            f"not readable as a crystal structure: no CIF, and {len(lines)} lines; a POSCAR has 8 "
            "or more"
        )
    lattice, factors = _read_lattice(lines)
    counts_at = 5 if _leading_numbers(lines[5]) else 6
    counts = _read_counts(lines[counts_at], counts_at + 1)
    at = counts_at + 1
    if lines[at].strip()[:1].upper() == "S" and len(lines) > at + 1:
        at += 1  # selective dynamics
    mode = lines[at].strip()
    if not mode[:1].isalpha():
        raise InputError(f'line {at + 1} is "{mode[:40]}"; expected Direct or Cartesian')
    n_atoms = sum(counts)
    rows = lines[at + 1 : at + 1 + n_atoms]
    places = _read_places(rows, n_atoms, at + 2)
    numbers = _find_elements(lines[0], lines[5] if counts_at == 6 else None, counts, rows)
    if mode[0] in "cCkK":
        places = np.asarray(np.linalg.solve(lattice.T, (places * factors).T).T, dtype=np.float64)
    return Structure(lattice, numbers, places)


def _read_lattice(lines: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lattice (3, 3) in Å, and the factors (3,) of Cartesian coordinates."""
    scales = _leading_numbers(lines[1])
    if len(scales) not in (1, 3) or 0 in scales or (len(scales) == 3 and min(scales) < 0):
        raise InputError(
            f'line 2 is "{lines[1].strip()[:40]}"; expected one or three scale factors'
        )
    vectors = [_leading_numbers(line)[:3] for line in lines[2:5]]
    if any(len(vector) != 3 for vector in vectors):
        raise InputError("lines 3 to 5 are not three vectors of three numbers")
    lattice = np.array(vectors)
    volume = abs(float(np.linalg.det(lattice)))
    if not (np.isfinite(volume) and volume > 0):
        raise InputError(f"the cell has the volume {volume:g} Å³")
    if scales[0] < 0:  # the volume of the cell
        scales = [(-scales[0] / volume) ** (1 / 3)]
    factors = np.array(scales * 3 if len(scales) == 1 else scales)
    return lattice * factors, factors


def _read_counts(line: str, number: int) -> list[int]:
    """Return the numbers of atoms, to which a comment may follow."""
    counts = []
    for word in line.split():
        if not (word.isascii() and word.isdecimal() and len(word) < 10):
            break
        counts.append(int(word))
    if not counts or sum(counts) == 0:
        raise InputError(f'line {number} is "{line.strip()[:40]}"; expected numbers of atoms')
    return counts


def _read_places(rows: Sequence[str], n_atoms: int, first: int) -> NDArray[np.float64]:
    places = []
    for at, row in enumerate(rows):
        numbers = _leading_numbers(row)[:3]
        if len(numbers) != 3:
            raise InputError(
                f'line {first + at} is "{row.strip()[:40]}"; expected three coordinates of atom '
                f"{at + 1} of {n_atoms}"
            )
        places.append(numbers)
    if len(places) < n_atoms:
        raise InputError(f"POSCAR promises {n_atoms:.6g} atoms, but has {len(places)}")
    return np.array(places)


def _find_elements(
    title: str, symbols: str | None, counts: Sequence[int], rows: Sequence[str]
) -> list[int]:
    """Return the atomic number of each atom."""
    if symbols is not None:
        words = re.split(r"[!#]", symbols)[0].split()
        if len(words) != len(counts):
            raise InputError(f"{len(words)} elements for {len(counts)} numbers of atoms")
        kinds = [parse_atom_type(re.split(r"[_/.]", word)[0]) for word in words]
    else:
        found = _parse_title(title, len(counts)) or _parse_ends(rows, counts)
        if found is None:
            raise InputError("POSCAR names no elements")
        kinds = found
    return [z for z, count in zip(kinds, counts, strict=True) for _ in range(count)]


def _parse_title(title: str, n_kinds: int) -> list[int] | None:
    """Return the elements of a title that consists of them (VASP 4); None for any other."""
    words = title.split()
    try:
        kinds = [parse_atom_type(word) for word in words if word.isalpha() and word.istitle()]
    except InputError:
        return None
    return kinds if len(kinds) == len(words) == n_kinds else None


def _parse_ends(rows: Sequence[str], counts: Sequence[int]) -> list[int] | None:
    """Return the elements that are written behind the coordinates; None if they are not."""
    ends = [[word for word in row.split()[3:] if word not in ("T", "F")][:1] for row in rows]
    try:
        atoms = [parse_atom_type(end[0]) if end else 0 for end in ends]
    except InputError:
        return None
    starts = np.cumsum([0, *counts])
    kinds = [set(atoms[a:b]) for a, b in itertools.pairwise(starts)]
    if any(len(kind) > 1 or 0 in kind for kind in kinds):
        return None
    return [kind.pop() if kind else 1 for kind in kinds]


def _leading_numbers(line: str) -> list[float]:
    """Return the numbers at the beginning of a line, with exponents of Fortran."""
    numbers: list[float] = []
    for word in line.replace(",", " ").split():
        if not _NUMBER.fullmatch(word):
            break
        numbers.append(float(word.replace("d", "e").replace("D", "e")))
    return numbers
