"""Fits of cells to a pattern: in volume, and in all strains that their symmetry allows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.data.symmetry import find_dataset
from matlode.representation.diffraction import (
    STANDARD_SETTINGS,
    DiffractionSettings,
    simulate_possible,
)

COARSE_SCALES = np.linspace(0.93, 1.07, 15)
"""Cell lengths relative to those at the expected volume."""
FINE_SCALES = np.linspace(-0.012, 0.012, 9)
"""Relative changes of the best coarse scale."""


def _with_width(sigma_deg: float) -> DiffractionSettings:
    return replace(STANDARD_SETTINGS, peak_sigma_deg=sigma_deg)


BROAD = _with_width(0.45)
"""For the first pass: wide peaks overlap over larger shifts, so the right minimum is found."""


@dataclass(frozen=True)
class Generation:
    """One generation of a fit by the cross-entropy method."""

    strain: float
    """Standard deviation of the strains that are tried."""
    settings: DiffractionSettings
    share: float
    """Fraction of the cells, the best so far, that are continued."""


FIT = tuple(
    Generation(strain, _with_width(width), share)
    for strain, width, share in (
        (0.04, 0.6, 1.0), (0.025, 0.6, 1.0), (0.02, 0.45, 1.0), (0.014, 0.45, 0.75),
        (0.01, 0.3, 0.75), (0.006, 0.3, 0.5), (0.004, 0.2, 0.5), (0.003, 0.15, 0.5),
        (0.0015, 0.15, 0.35), (0.0008, 0.15, 0.35),
    )
)  # fmt: skip
"""Peak widths and strains decrease together, so that a fit is not trapped by single peaks before it
reaches the minimum."""
N_TRIED = 40
"""Strains per cell and generation."""
N_ELITE = 6
"""Number of the best strains, whose weighted mean is the centre of the next generation."""


def find_free_strains(crystals: Crystals) -> NDArray[np.float64]:
    """Find the strains that preserve the point group of each crystal.

    Returns an orthonormal basis (n, 6, 3, 3), filled with zeros.
    """
    found = np.zeros((len(crystals), 6, 3, 3))
    for index in range(len(crystals)):
        rotations = _rotations(crystals, index)
        inverses = rotations.transpose(0, 2, 1)
        means = [(rotations @ unit @ inverses).mean(axis=0).ravel() for unit in _UNITS]
        _, sizes, basis = np.linalg.svd(np.array(means))
        free = basis[: int((sizes > 1e-6).sum())]
        found[index, : len(free)] = free.reshape(-1, 3, 3)
    return found


_UNITS = [
    np.array([[float({i, j} == {a, b}) for b in range(3)] for a in range(3)])
    for i in range(3)
    for j in range(i, 3)
]
"""Basis of the symmetric tensors."""


def _rotations(crystals: Crystals, index: int) -> NDArray[np.float64]:
    """(k, 3, 3), the point group of a crystal as rotations in its Cartesian frame."""
    from moyopy import operations_from_number

    dataset = find_dataset(crystals, index)
    if dataset is None:
        return np.eye(3)[None]
    # those of the conventional cell: a supercell has fewer
    operations = operations_from_number(dataset.number)
    basis = np.array(dataset.std_cell.basis).T
    turn = np.array(dataset.std_rotation_matrix)
    rotations = basis @ np.array(operations.rotations) @ np.linalg.inv(basis)
    return np.asarray(turn.T @ rotations @ turn)


def find_best_scales(
    crystals: Crystals,
    target: NDArray[np.floating],
    scales: NDArray[np.float64],
    settings: DiffractionSettings,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the best of several isotropic scales for each crystal.

    ``scales`` (n, m) of cell lengths are tried; those whose pattern has the largest cosine with
    ``target`` (1601,) are returned, (n,), with these cosines (n,).
    """
    n, m = scales.shape
    lattices = crystals.lattices[:, None] * scales[:, :, None, None]
    match = compute_matches(_with_lattices(crystals, lattices), target, settings).reshape(n, m)
    best = match.argmax(axis=1)
    return scales[np.arange(n), best], match[np.arange(n), best]


def fit_cells(
    crystals: Crystals, strains: NDArray[np.float64], target: NDArray[np.floating]
) -> tuple[Crystals, NDArray[np.float64]]:
    """Strain crystals to match the pattern ``target`` (1601,); returns them and their cosines (n,).

    Strains are combinations of the basis ``strains`` (n, 6, 3, 3). The cross-entropy method
    (Rubinstein, Methodol. Comput. Appl. Probab. 1, 127, 1999) runs for all crystals together with
    the widths of FIT; a crystal that is no longer among the best keeps its last cell. All
    crystals share the same random numbers, so the result does not depend on their order.
    """
    rng = np.random.default_rng(0)
    weights = np.arange(N_ELITE, 0, -1.0)
    weights /= weights.sum()
    centres = np.zeros((len(crystals), 3, 3))
    match = compute_matches(crystals, target, STANDARD_SETTINGS)
    going = np.arange(len(crystals))
    for generation in FIT:
        room = max(1, round(generation.share * len(crystals)))
        going = going[np.argsort(-match[going], kind="stable")[:room]]
        steps = generation.strain * rng.standard_normal((N_TRIED, 6))
        steps[0] = 0
        tried = centres[going, None] + np.einsum("sk,nkij->nsij", steps, strains[going])
        lattices = crystals.lattices[going, None] @ (np.eye(3) + tried)
        found = compute_matches(
            _with_lattices(crystals.take(going), lattices), target, generation.settings
        ).reshape(len(going), N_TRIED)
        order = np.argsort(-found, axis=1, kind="stable")
        elite = np.take_along_axis(tried, order[:, :N_ELITE, None, None], axis=1)
        wide = generation.settings.peak_sigma_deg > STANDARD_SETTINGS.peak_sigma_deg
        centres[going] = np.einsum("s,nsij->nij", weights, elite) if wide else elite[:, 0]
        match[going] = found.max(axis=1)
    fitted = replace(crystals, lattices=crystals.lattices @ (np.eye(3) + centres))
    return fitted, compute_matches(fitted, target, STANDARD_SETTINGS)


def compute_matches(
    crystals: Crystals, target: NDArray[np.floating], settings: DiffractionSettings
) -> NDArray[np.float64]:
    """Compute cosines (n,) of square-root patterns of crystals with that of ``target`` (1601,).

    Square roots give weak peaks weight. The cosine is 0 for a crystal without a pattern.
    """
    rows, patterns, _ = simulate_possible(crystals, settings)
    patterns, wanted = np.sqrt(patterns), np.sqrt(target)
    norms = np.linalg.norm(patterns, axis=1) * max(float(np.linalg.norm(wanted)), 1e-12)
    found = np.zeros(len(crystals))
    found[rows] = patterns @ wanted / norms
    return found


def scale_to_volume(crystals: Crystals, volumes_per_atom_a3: NDArray[np.floating]) -> Crystals:
    """Scale crystals isotropically to volumes per atom (n,), in Å³."""
    factors = (volumes_per_atom_a3 / crystals.volumes_per_atom_a3) ** (1 / 3)
    return replace(crystals, lattices=crystals.lattices * factors[:, None, None])


def _with_lattices(crystals: Crystals, lattices: NDArray[np.float64]) -> Crystals:
    """Combine each of n crystals with each of its ``lattices`` (n, m, 3, 3): n · m crystals."""
    n, m = lattices.shape[:2]
    many = crystals.take(np.repeat(np.arange(n), m))
    return replace(many, lattices=lattices.reshape(-1, 3, 3))
