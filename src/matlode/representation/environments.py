"""Descriptors of crystals: what a structure states beyond its composition and its pattern.

They are volumes, symmetry, and averages over the surroundings of the atoms. Distances are divided
by the sum of the covalent radii of the two atoms, so that one scale serves all elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals
from matlode.data.symmetry import CRYSTAL_SYSTEMS, N_SPACE_GROUPS, find_space_group
from matlode.records import CrystalFacts
from matlode.representation.composition import (
    composition_vectors,
    compute_densities,
    compute_mean_masses,
)
from matlode.representation.diffraction import run_in_chunks
from matlode.representation.environment_kernels import DEGREES, N_SHELLS, describe_surroundings
from matlode.representation.geometry import (
    measure_geometry,
    tabulate_covalent_radii,
)

LN_VOLUME = 0
"""Column of the logarithm of the volume per atom in Å³."""
DIGITS = 4
"""Decimal digits of the other columns."""
_COUNTS = ("all", "contrast", "product", "same_element")
_SITES = ("coordination", "strength", "contrast", "nearest", *(f"order_{n}" for n in DEGREES))
_PARTS = 4
"""The first columns of _SITES, whose extremes and averages by kind of atom are included, too."""


def list_crystal_descriptors() -> list[str]:
    """Return the names of the columns of ``compute_crystal_descriptors``."""
    first = _SITES[:_PARTS]
    return [
        "ln_volume_per_atom",
        "ln_density",
        "ln_packing_fraction",
        "space_group",
        "ln_atoms_primitive",
        "strength_spread_of_elements",
        *CRYSTAL_SYSTEMS,
        *(f"{kind}_shell_{k}" for kind in _COUNTS for k in range(N_SHELLS)),
        *(f"{how}_{name}" for how in ("mean", "std") for name in _SITES),
        *(f"{how}_{name}" for how in ("min", "max") for name in first),
        *(
            f"{how}_{name}_{kind}"
            for kind in ("anions", "cations")
            for how in ("mean", "std")
            for name in first
        ),
    ]


def compute_crystal_descriptors(
    crystals: Crystals, space_groups: Sequence[int] | NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return descriptors (n, n_columns) of crystals with these space-group numbers.

    They do not depend on the choice of the cell. Neighbours are counted in shells: all of them,
    weighted by the difference or the product of electronegativities, and those of the same
    element. "Anions" are the atoms of the most electronegative element, "cations" those of the
    least electronegative one.
    """
    n, offsets, occupancies = len(crystals), crystals.offsets, crystals.occupancies
    if not n:
        return np.zeros((0, len(list_crystal_descriptors())))
    radii = tabulate_covalent_radii()[crystals.numbers - 1]
    attractions = _tabulate_electronegativities()[crystals.numbers - 1]
    shells = np.zeros((n, len(_COUNTS), N_SHELLS))
    sites = np.zeros((len(crystals.numbers), len(_SITES)))
    n_primitive = np.ones(n)

    def fill(rows: slice) -> None:
        atoms = slice(offsets[rows.start], offsets[rows.stop])
        describe_surroundings(
            np.ascontiguousarray(crystals.lattices[rows]),
            np.ascontiguousarray(crystals.frac_coords[atoms]),
            crystals.numbers[atoms],
            radii[atoms],
            attractions[atoms],
            occupancies[atoms],
            offsets[rows.start : rows.stop + 1] - offsets[rows.start],
            shells[rows],
            sites[atoms],
            n_primitive[rows],
        )

    run_in_chunks(fill, n, None)
    pool = _Pool(crystals)
    volumes = crystals.volumes_per_atom_a3
    densities = compute_densities(volumes, compute_mean_masses(composition_vectors(crystals)))
    spheres = pool.average(4 / 3 * np.pi * radii[:, None] ** 3)[:, 0]
    groups = np.asarray(space_groups, dtype=float)
    last = [numbers[1] for numbers in CRYSTAL_SYSTEMS.values()]
    systems = np.eye(len(last))[np.searchsorted(last, groups)]
    anions = attractions >= pool.spread(np.maximum, attractions)
    cations = attractions <= pool.spread(np.minimum, attractions)
    first = sites[:, :_PARTS]
    columns = [
        np.log([volumes, densities, spheres / volumes]).T,
        groups[:, None] / N_SPACE_GROUPS,
        np.log(n_primitive)[:, None],
        _measure_spread_of_elements(sites[:, 1], crystals)[:, None],
        systems,
        shells.reshape(n, -1),
        *pool.summarise(sites),
        np.minimum.reduceat(first, offsets[:-1]),
        np.maximum.reduceat(first, offsets[:-1]),
        *pool.summarise(first, anions),
        *pool.summarise(first, cations),
    ]
    found = np.hstack(columns)
    # boosted trees would tell numbers apart that differ by the rounding of coordinates
    found[:, LN_VOLUME + 1 :] = found[:, LN_VOLUME + 1 :].round(DIGITS)
    return found


def describe_crystals(
    crystals: Crystals, space_groups: Sequence[int] | None = None
) -> list[CrystalFacts]:
    """Return what models and screening rules need to know of each crystal.

    ``space_groups`` may be given if they are known; else moyopy determines them, which takes much
    longer than all distances.
    """
    if not len(crystals):
        return []
    if space_groups is None:
        space_groups = [find_space_group(crystals, index) for index in range(len(crystals))]
    found = measure_geometry(crystals)
    columns = zip(
        found.volume_per_atom_a3.tolist(),
        found.density_g_cm3.tolist(),
        map(int, space_groups),
        found.shortest_distance_ratio.tolist(),
        found.n_isolated.tolist(),
        compute_crystal_descriptors(crystals, space_groups),
        [partial(crystals.structure, index) for index in range(len(crystals))],
        strict=True,
    )
    return [CrystalFacts(*row) for row in columns]


class _Pool:
    """Averages of per-atom values over the atoms of each crystal, weighted by occupancy."""

    def __init__(self, crystals: Crystals) -> None:
        self.starts, self.counts = crystals.offsets[:-1], crystals.n_atoms
        self.occupancies = crystals.occupancies

    def average(
        self, values: NDArray[np.float64], mask: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """(n, k) of values (m, k), over the atoms of ``mask``."""
        weights = self.occupancies if mask is None else self.occupancies * mask
        total = np.add.reduceat(values * weights[:, None], self.starts)
        return total / np.add.reduceat(weights, self.starts)[:, None]

    def summarise(
        self, values: NDArray[np.float64], mask: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and standard deviations, (n, k) each."""
        mean = self.average(values, mask)
        variance = self.average(values**2, mask) - mean**2
        return mean, np.sqrt(np.maximum(variance, 0.0))

    def spread(self, reduce: np.ufunc, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(m,): for each atom, the reduction of the values (m,) of its crystal."""
        return np.repeat(reduce.reduceat(values, self.starts), self.counts)


def _measure_spread_of_elements(
    strengths: NDArray[np.float64], crystals: Crystals
) -> NDArray[np.float64]:
    """(n,), mean deviation of the bond strength of an atom from the mean of its element: zero if
    all atoms of an element have the same surroundings."""
    owners = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    _, kinds = np.unique(owners * (MAX_ATOMIC_NUMBER + 1) + crystals.numbers, return_inverse=True)
    parts = crystals.occupancies
    means = np.bincount(kinds, strengths * parts) / np.bincount(kinds, parts)
    deviations = np.bincount(owners, abs(strengths - means[kinds]) * parts, len(crystals))
    return deviations / np.bincount(owners, parts, len(crystals))


@cache
def _tabulate_electronegativities() -> NDArray[np.float64]:
    """(100,), Pauling electronegativities; 1.5 for elements without one."""
    import warnings

    from pymatgen.core import Element

    with warnings.catch_warnings():
        # pymatgen warns that noble gases have no electronegativity
        warnings.simplefilter("ignore")
        found = [float(Element.from_Z(z).X) for z in range(1, MAX_ATOMIC_NUMBER + 1)]
    return np.nan_to_num(np.array(found), nan=1.5)
