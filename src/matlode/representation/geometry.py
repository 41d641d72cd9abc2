"""Volume, density and interatomic distances of many crystals at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals
from matlode.data.formulas import element_symbols
from matlode.representation.composition import (
    composition_vectors,
    compute_densities,
    compute_mean_masses,
)

BOUND_RATIO = 2.0
"""An atom whose nearest neighbour is further than this multiple of the sum of their radii is
isolated."""
MAX_REDUCTIONS = 1000
"""Largest number of steps of the reduction of a cell; usual cells take fewer than ten."""


@dataclass(frozen=True)
class Geometry:
    """Volumes and distances of n crystals, (n,) each."""

    volume_per_atom_a3: NDArray[np.float64]
    density_g_cm3: NDArray[np.float64]
    shortest_distance_ratio: NDArray[np.float64]
    """Shortest interatomic distance over the sum of the covalent radii of the pair."""
    n_isolated: NDArray[np.int64]
    """Number of atoms whose nearest neighbour is further than BOUND_RATIO."""


def measure_geometry(crystals: Crystals) -> Geometry:
    """Measure volumes, densities and distances; 8,192 crystals take 0.1 s.

    Distances include periodic images. Two atoms of a disordered crystal whose occupancies sum to
    at most 1 may exclude each other, so their distance is ignored.
    """
    volumes = crystals.volumes_per_atom_a3
    masses = compute_mean_masses(composition_vectors(crystals))
    radii = tabulate_covalent_radii()[crystals.numbers - 1]
    nearest = _find_nearest_ratios(
        np.ascontiguousarray(crystals.lattices),
        np.ascontiguousarray(crystals.frac_coords),
        radii,
        crystals.occupancies,
        crystals.offsets,
    )
    isolated = (nearest > BOUND_RATIO).astype(np.int64)
    return Geometry(
        volumes,
        compute_densities(volumes, masses),
        np.minimum.reduceat(nearest, crystals.offsets[:-1]),
        np.add.reduceat(isolated, crystals.offsets[:-1]),
    )


@cache
def tabulate_covalent_radii() -> NDArray[np.float64]:
    """Return (100,), covalent radii in Å (Cordero et al., Dalton Trans. 2832, 2008).

    The radius of curium is used for the elements after it.
    """
    from pymatgen.analysis.molecule_structure_comparator import CovalentRadius

    known = CovalentRadius.radius
    symbols = element_symbols()
    assert len(symbols) == MAX_ATOMIC_NUMBER
    return np.array([known.get(symbol, known["Cm"]) for symbol in symbols])


@njit(cache=True, nogil=True)
def _find_nearest_ratios(lattices, frac_coords, radii, occupancies, offsets):
    """Return (m,), for each atom the smallest distance to another atom or image over the sum of
    the two radii.

    In a Minkowski-reduced cell, the nearest image is among the 27 around the one whose fractional
    coordinates differ by at most a half.
    """
    nearest = np.full(len(radii), np.inf)
    for crystal in range(len(lattices)):
        cell = reduce_cell(lattices[crystal].copy())
        first, last = offsets[crystal], offsets[crystal + 1]
        frac = frac_coords[first:last] @ lattices[crystal] @ np.linalg.inv(cell)
        shifts = np.empty((27, 3))
        for image in range(27):
            steps = image // 9 - 1, image // 3 % 3 - 1, image % 3 - 1
            for axis in range(3):
                shifts[image, axis] = (
                    steps[0] * cell[0, axis] + steps[1] * cell[1, axis] + steps[2] * cell[2, axis]
                )
        for i in range(last - first):
            for j in range(i, last - first):
                if i != j and occupancies[first + i] + occupancies[first + j] <= 1.0:
                    continue
                distance = _find_nearest_image(frac[i], frac[j], cell, shifts, i == j)
                ratio = distance / (radii[first + i] + radii[first + j])
                nearest[first + i] = min(nearest[first + i], ratio)
                nearest[first + j] = min(nearest[first + j], ratio)
    return nearest


@njit(cache=True, nogil=True)
def _find_nearest_image(here, there, cell, shifts, is_same):
    """Return the distance of an atom to the nearest image of another, or of itself."""
    x = y = z = 0.0
    for axis in range(3):
        step = there[axis] - here[axis]
        step -= np.rint(step)
        x += step * cell[axis, 0]
        y += step * cell[axis, 1]
        z += step * cell[axis, 2]
    best = np.inf
    for image in range(27):
        if is_same and image == 13:  # no shift: the atom itself
            continue
        dx, dy, dz = x + shifts[image, 0], y + shifts[image, 1], z + shifts[image, 2]
        best = min(best, dx * dx + dy * dy + dz * dz)
    return math.sqrt(best)


@njit(cache=True, nogil=True)
def reduce_cell(cell):
    """Return a Minkowski-reduced cell of the lattice (Semaev, CaLC 2001, LNCS 2146, 181)."""
    for _ in range(MAX_REDUCTIONS):
        cell = cell[np.argsort((cell**2).sum(axis=1))]
        a, b, c = cell[0], cell[1], cell[2]
        aa, ab, bb = a @ a, a @ b, b @ b
        n = np.rint(ab / aa)
        if n != 0 and (b - n * a) @ (b - n * a) < bb * (1 - 1e-9):
            cell[1] = b - n * a
            continue
        # the lattice point of the plane that is nearest to c
        determinant = aa * bb - ab * ab
        u = np.floor((bb * (a @ c) - ab * (b @ c)) / determinant)
        v = np.floor((aa * (b @ c) - ab * (a @ c)) / determinant)
        best, shortest = c.copy(), (c @ c) * (1 - 1e-9)
        for i in range(2):
            for j in range(2):
                moved = c - (u + i) * a - (v + j) * b
                if moved @ moved < shortest:
                    best, shortest = moved, moved @ moved
        if (best == c).all():
            return cell
        cell[2] = best
    return cell
