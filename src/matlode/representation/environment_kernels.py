"""Compiled loops over the surroundings of atoms, for ``environments``."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from matlode.representation.geometry import reduce_cell

FIRST_RATIO, RATIO_STEP, N_SHELLS = 0.6, 0.1, 15
"""Centres of the Gaussian shells in which neighbours are counted, in sums of radii. The standard
deviation of a shell is RATIO_STEP / √2."""
MAX_RATIO = FIRST_RATIO + (N_SHELLS + 1) * RATIO_STEP
MAX_DISTANCE_A = 7.0
"""Atoms further than either limit are not neighbours."""
BOND_RATIO, BOND_SOFTNESS = 1.3, 0.05
"""Where the weight of a bond falls from 1 to 0, and how fast: a Fermi function of the ratio."""
STRENGTH_DECAY = 0.2
"""The strength of a bond falls by a factor of e over this difference in ratio, as bond valences do
over 0.37 Å (Brown and Altermatt, Acta Cryst. B 41, 244, 1985)."""
DEGREES = (1, 2, 3, 4, 6)
"""Degrees of the bond-orientational order parameters (Steinhardt, Nelson and Ronchetti, Phys. Rev.
B 28, 784, 1983)."""
MAX_IMAGES = 8
"""Largest number of cells in one direction; only impossibly dense crystals need more."""
MAX_BONDS = 256
"""Largest number of bonds of one atom; likewise."""
SAME_PLACE_A = 0.1
"""Atoms that a translation brings closer than this to each other are equivalent."""


@njit(cache=True, nogil=True)
def describe_surroundings(
    lattices,
    frac_coords,
    numbers,
    radii,
    attractions,
    occupancies,
    offsets,
    shells,
    sites,
    n_primitive,
):
    """Describe crystals in place.

    ``radii`` are covalent (Å), ``attractions`` electronegativities of the m atoms. Counts of
    neighbours per atom are added to ``shells`` (n, 4, N_SHELLS), the surroundings of each atom are
    written to ``sites`` (m, 9), the numbers of atoms of the primitive cells to ``n_primitive``.
    """
    for crystal in range(len(lattices)):
        cell = reduce_cell(lattices[crystal].copy())
        atoms = slice(offsets[crystal], offsets[crystal + 1])
        frac = frac_coords[atoms] @ lattices[crystal] @ np.linalg.inv(cell)
        frac -= np.floor(frac)
        n_primitive[crystal] = _count_primitive_atoms(cell, frac, numbers[atoms])
        _describe_atoms(
            cell,
            frac,
            numbers[atoms],
            radii[atoms],
            attractions[atoms],
            occupancies[atoms],
            shells[crystal],
            sites[atoms],
        )
        shells[crystal] /= occupancies[atoms].sum()


@njit(cache=True, nogil=True)
def _describe_atoms(cell, frac, numbers, radii, attractions, occupancies, shells, sites):
    """Add the neighbours of all atoms to ``shells`` (4, N_SHELLS), and fill ``sites`` (n, 9)."""
    n_images = _count_images(cell)
    places = frac @ cell
    bonds = np.empty((MAX_BONDS, 3))
    weights = np.empty(MAX_BONDS)
    for i in range(len(frac)):
        n_bonds = 0
        coordination = strength = contrasts = 0.0
        nearest = 3.0
        for a in range(-n_images[0], n_images[0] + 1):
            for b in range(-n_images[1], n_images[1] + 1):
                for c in range(-n_images[2], n_images[2] + 1):
                    x = a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0] - places[i, 0]
                    y = a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1] - places[i, 1]
                    z = a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2] - places[i, 2]
                    for j in range(len(frac)):
                        dx, dy, dz = places[j, 0] + x, places[j, 1] + y, places[j, 2] + z
                        square = dx * dx + dy * dy + dz * dz
                        reach = min(MAX_DISTANCE_A, MAX_RATIO * (radii[i] + radii[j]))
                        if square > reach * reach or (i == j and a == b == c == 0):
                            continue
                        distance = max(math.sqrt(square), 0.1)
                        ratio = distance / (radii[i] + radii[j])
                        # species of a mixed site exclude each other
                        if ratio < 0.3 and occupancies[i] + occupancies[j] <= 1.0:
                            continue
                        contrast = abs(attractions[i] - attractions[j])
                        part = occupancies[j]
                        _count_in_shells(
                            ratio,
                            part * occupancies[i],
                            contrast,
                            attractions[i] * attractions[j],
                            numbers[i] == numbers[j],
                            shells,
                        )
                        nearest = min(nearest, ratio)
                        weight = part / (1 + math.exp((ratio - BOND_RATIO) / BOND_SOFTNESS))
                        coordination += weight
                        pull = part * math.exp((1 - max(ratio, 0.3)) / STRENGTH_DECAY)
                        strength += pull
                        contrasts += pull * contrast
                        if weight > 0.01 and n_bonds < MAX_BONDS:
                            bonds[n_bonds] = dx / distance, dy / distance, dz / distance
                            weights[n_bonds] = weight
                            n_bonds += 1
        sites[i, 0], sites[i, 1], sites[i, 3] = coordination, strength, nearest
        sites[i, 2] = contrasts / strength if strength > 0 else 0.0
        _compute_order(bonds[:n_bonds], weights[:n_bonds], sites[i, 4:])


@njit(cache=True, nogil=True)
def _count_in_shells(ratio, part, contrast, product, is_same, shells):
    nearest = int((ratio - FIRST_RATIO) / RATIO_STEP)
    for k in range(max(0, nearest - 2), min(N_SHELLS, nearest + 4)):
        off = (ratio - FIRST_RATIO) / RATIO_STEP - k
        count = part * math.exp(-off * off)
        shells[0, k] += count
        shells[1, k] += count * contrast
        shells[2, k] += count * product
        if is_same:
            shells[3, k] += count


@njit(cache=True, nogil=True)
def _compute_order(bonds, weights, order):
    """Fill ``order`` (5,) with the order parameters of DEGREES: the root of the weighted mean of
    Legendre polynomials of the cosines between all pairs of bonds."""
    total = 0.0
    sums = np.zeros(5)
    for i in range(len(weights)):
        for j in range(len(weights)):
            x = bonds[i, 0] * bonds[j, 0] + bonds[i, 1] * bonds[j, 1] + bonds[i, 2] * bonds[j, 2]
            weight, square = weights[i] * weights[j], x * x
            total += weight
            sums[0] += weight * x
            sums[1] += weight * (1.5 * square - 0.5)
            sums[2] += weight * (2.5 * square - 1.5) * x
            sums[3] += weight * ((35 * square - 30) * square + 3) / 8
            sums[4] += weight * (((231 * square - 315) * square + 105) * square - 5) / 16
    if total > 0:
        for k in range(5):
            order[k] = math.sqrt(max(sums[k] / total, 0.0))


@njit(cache=True, nogil=True)
def _count_images(cell):
    """Cells in each direction that contain all atoms within MAX_DISTANCE_A, at most MAX_IMAGES."""
    volume = abs(np.linalg.det(cell))
    counts = np.empty(3, np.int64)
    for axis in range(3):
        normal = np.cross(cell[(axis + 1) % 3], cell[(axis + 2) % 3])
        height = volume / math.sqrt((normal**2).sum())
        counts[axis] = min(MAX_IMAGES, math.ceil(MAX_DISTANCE_A / height))
    return counts


@njit(cache=True, nogil=True)
def _count_primitive_atoms(cell, frac, numbers):
    """Number of atoms of the primitive cell: those of the cell divided by its translations."""
    rarest, fewest = 0, len(numbers) + 1
    for i in range(len(numbers)):
        count = (numbers == numbers[i]).sum()
        if count < fewest:
            rarest, fewest = i, count
    n_translations = 0
    for j in range(len(numbers)):
        if numbers[j] == numbers[rarest]:
            n_translations += _is_translation(cell, frac, numbers, frac[j] - frac[rarest])
    return len(numbers) / max(n_translations, 1)


@njit(cache=True, nogil=True)
def _is_translation(cell, frac, numbers, shift):
    """Whether each atom moved by ``shift`` is at the place of an atom of the same element."""
    for i in range(len(numbers)):
        found = False
        for j in range(len(numbers)):
            if numbers[i] == numbers[j]:
                step = frac[j] - frac[i] - shift
                step -= np.rint(step)
                if ((step @ cell) ** 2).sum() < SAME_PLACE_A**2:
                    found = True
                    break
        if not found:
            return False
    return True
