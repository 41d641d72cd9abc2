"""Descriptors of crystals: independent of the cell, and right where handbooks state them."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pymatgen.core import Lattice, Structure

from matlode.data.crystals import Crystals
from matlode.data.symmetry import find_space_group
from matlode.representation.environment_kernels import BOND_RATIO, BOND_SOFTNESS, N_SHELLS
from matlode.representation.environments import (
    LN_VOLUME,
    compute_crystal_descriptors,
    describe_crystals,
    list_crystal_descriptors,
)
from matlode.representation.geometry import tabulate_covalent_radii
from matlode.testing import (
    SINGLE_PRECISION,
    SMALL_CRYSTALS,
    body_centred_cubic,
    diamond,
    rock_salt,
)


def describe(*structures):
    crystals = Crystals.from_structures(structures)
    groups = [find_space_group(crystals, row) for row in range(len(crystals))]
    rows = compute_crystal_descriptors(crystals, groups)
    return [dict(zip(list_crystal_descriptors(), row.tolist(), strict=True)) for row in rows]


def test_descriptors_do_not_depend_on_the_choice_of_cell():
    rng = np.random.default_rng(0)
    plain = [build().get_primitive_structure() for build in SMALL_CRYSTALS.values()]
    changed = []
    for structure in plain:
        steps = np.diag(rng.integers(1, 3, 3))
        for _ in range(3):
            i, j = rng.permutation(3)[:2]
            steps[i] += rng.integers(-2, 3) * steps[j]
        moved = structure.make_supercell(steps, in_place=False)
        moved.translate_sites(range(len(moved)), rng.random(3))
        changed.append(moved)
    for one, other in zip(describe(*plain), describe(*changed), strict=True):
        assert_allclose(list(one.values()), list(other.values()), atol=20 * SINGLE_PRECISION)


def test_handbook_values():
    polonium = Structure(Lattice.cubic(3.35), ["Po"], [[0, 0, 0]])
    simple, salt, carbon = describe(polonium, rock_salt(), diamond("C", a_angstrom=3.567))
    # octahedra; chlorine has no other neighbours than sodium
    assert simple["mean_coordination"] == pytest.approx(6, rel=0.15)
    assert salt["mean_coordination_anions"] == pytest.approx(6, rel=0.02)
    assert carbon["mean_coordination"] == pytest.approx(4, rel=0.02)
    # Steinhardt et al.: octahedron 0.764 and 0.354, tetrahedron 0.745
    assert simple["mean_order_4"] == pytest.approx(0.764, abs=0.002)
    assert simple["mean_order_6"] == pytest.approx(0.354, abs=0.002)
    assert simple["mean_order_1"] == pytest.approx(0, abs=1e-3)
    assert carbon["mean_order_3"] == pytest.approx(0.745, abs=0.002)
    found = (simple, salt, carbon)
    assert [np.exp(x["ln_atoms_primitive"]) for x in found] == pytest.approx([1, 2, 2], rel=1e-3)
    assert [x["cubic"] for x in found] == [1, 1, 1]
    assert np.exp(carbon["ln_density"]) == pytest.approx(3.515, abs=0.01)
    assert salt["strength_spread_of_elements"] == pytest.approx(0, abs=1e-6)


def test_neighbours_are_those_that_pymatgen_finds(starter):
    crystals = starter.crystals.take(np.flatnonzero(starter.crystals.n_atoms <= 12)[::80])
    at = list_crystal_descriptors().index("mean_coordination")
    found = compute_crystal_descriptors(crystals, np.ones(len(crystals)))[:, at]
    radii = tabulate_covalent_radii()
    expected = []
    for structure in crystals.structures():
        pairs = [
            n.nn_distance / (radii[site.specie.Z - 1] + radii[n.specie.Z - 1])
            for site, near in zip(structure, structure.get_all_neighbors(7.0), strict=True)
            for n in near
        ]
        weights = 1 / (1 + np.exp((np.array(pairs) - BOND_RATIO) / BOND_SOFTNESS))
        expected.append(weights.sum() / len(structure))
    assert_allclose(found, expected, rtol=1e-4)


def test_elements_at_the_same_distance_differ_in_contrast_only():
    salt, copper = describe(rock_salt(), body_centred_cubic("Cu", a_angstrom=2.9))
    shells = [f"contrast_shell_{k}" for k in range(N_SHELLS)]
    assert sum(salt[name] for name in shells) > 1
    assert sum(copper[name] for name in shells) == 0
    same = [f"same_element_shell_{k}" for k in range(N_SHELLS)]
    every = [f"all_shell_{k}" for k in range(N_SHELLS)]
    assert [copper[name] for name in same] == [copper[name] for name in every]


def test_species_of_a_mixed_site_are_no_neighbours():
    mixed = Structure(Lattice.cubic(3.9), [{"Cu": 0.5, "Au": 0.5}], [[0, 0, 0]])
    (found,) = describe(mixed)
    assert found["min_nearest"] > 1
    assert np.isfinite(list(found.values())).all()


def test_impossible_crystals_have_finite_descriptors():
    crystals = Crystals.from_structures([rock_salt()] * 3)
    scales = np.array([0.05, 1.0, 20.0])[:, None, None]
    rows = compute_crystal_descriptors(
        replace(crystals, lattices=crystals.lattices * scales), [225] * 3
    )
    assert np.isfinite(rows).all()


def test_facts_hold_the_descriptors():
    crystals = Crystals.from_structures([diamond()])
    (facts,) = describe_crystals(crystals)
    assert facts.space_group == 227
    assert np.exp(facts.descriptors[LN_VOLUME]) == pytest.approx(
        facts.volume_per_atom_a3, rel=10 * SINGLE_PRECISION
    )
    assert compute_crystal_descriptors(crystals.take([]), []).shape[0] == 0
