"""Strains keep the symmetry that they are free in, and fits undo them."""

from dataclasses import replace

import numpy as np
import pytest

from matlode.data.symmetry import crystal_system, find_space_group
from matlode.realisation.cell_fit import (
    compute_matches,
    find_free_strains,
    fit_cells,
    scale_to_volume,
)
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns

N_FREE = {
    "triclinic": 6, "monoclinic": 4, "orthorhombic": 3, "tetragonal": 2, "trigonal": 2,
    "hexagonal": 2, "cubic": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def crystals(starter):
    """A few of every crystal system."""
    materials = starter
    small = materials.crystals.n_atoms <= 16
    systems = np.array([crystal_system(int(g)) for g in materials.frame["space_group"]])
    rows = [np.flatnonzero(small & (systems == system))[5:8] for system in N_FREE]
    return materials.crystals.take(np.concatenate(rows))


@pytest.fixture(scope="module")
def strains(crystals):
    return find_free_strains(crystals)


def test_as_many_strains_are_free_as_the_crystal_system_has_cell_parameters(crystals, strains):
    for index in range(len(crystals)):
        system = crystal_system(find_space_group(crystals, index))
        assert np.count_nonzero(np.abs(strains[index]).sum(axis=(1, 2))) == N_FREE[system]


def test_free_strains_are_symmetric_orthonormal_and_hold_the_volume(strains):
    np.testing.assert_allclose(strains, strains.transpose(0, 1, 3, 2), atol=1e-9)
    flat = strains.reshape(len(strains), 6, 9)
    for basis in flat:
        free = basis[np.abs(basis).sum(axis=1) > 0]
        np.testing.assert_allclose(free @ free.T, np.eye(len(free)), atol=1e-9)
        # scaling is always free
        scaling = np.eye(3).ravel()
        np.testing.assert_allclose(free.T @ (free @ scaling), scaling, atol=1e-6)


def test_strained_crystals_keep_their_space_group(crystals, strains):
    rng = np.random.default_rng(0)
    steps = 0.03 * rng.standard_normal((len(crystals), 6))
    moved = crystals.lattices @ (np.eye(3) + np.einsum("nk,nkij->nij", steps, strains))
    strained = replace(crystals, lattices=moved)
    for index in range(len(crystals)):
        assert find_space_group(strained, index) == find_space_group(crystals, index)


def test_a_fit_undoes_strains_of_several_percent(crystals, strains):
    """Each crystal's own pattern is the target, its cell another one."""
    rng = np.random.default_rng(1)
    found = []
    for index in range(0, len(crystals), 2):
        one = crystals.take([index])
        (target,) = simulate_patterns(one)
        steps = np.clip(0.025 * rng.standard_normal(6), -0.04, 0.04)
        moved = one.lattices @ (np.eye(3) + np.einsum("k,kij->ij", steps, strains[index]))
        strained = replace(one, lattices=moved)
        before = compute_matches(strained, target, STANDARD_SETTINGS)[0]
        fitted, (match,) = fit_cells(strained, strains[index : index + 1], target)
        assert match >= before - 1e-6
        assert match == pytest.approx(compute_matches(fitted, target, STANDARD_SETTINGS)[0])
        found.append(match)
    assert np.median(found) > 0.98
    assert np.mean(np.array(found) > 0.9) >= 0.8


def test_fits_do_not_depend_on_the_order_of_crystals(crystals, strains):
    (target,) = simulate_patterns(crystals.take([9]))
    rows = np.array([3, 9, 15])
    one, match = fit_cells(crystals.take(rows), strains[rows], target)
    other, turned = fit_cells(crystals.take(rows[::-1]), strains[rows[::-1]], target)
    np.testing.assert_allclose(match, turned[::-1], atol=1e-6)
    np.testing.assert_allclose(one.lattices, other.lattices[::-1], atol=1e-4)


def test_volumes_are_those_asked_for(crystals):
    wanted = np.linspace(8, 30, len(crystals))
    np.testing.assert_allclose(scale_to_volume(crystals, wanted).volumes_per_atom_a3, wanted)
