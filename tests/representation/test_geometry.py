"""Distances and densities of crystals: laws of the cell, pymatgen, and handbooks."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pymatgen.core import Lattice, Structure

from matlode.data.crystals import Crystals
from matlode.representation.environments import describe_crystals
from matlode.representation.geometry import (
    measure_geometry,
    tabulate_covalent_radii,
)
from matlode.testing import ROUND_OFF, SMALL_CRYSTALS, body_centred_cubic, diamond, rock_salt


def find_ratio_with_pymatgen(structure, cutoff_a=8.0):
    radii = tabulate_covalent_radii()
    return min(
        neighbour.nn_distance / (radii[site.specie.Z - 1] + radii[neighbour.specie.Z - 1])
        for site, neighbours in zip(structure, structure.get_all_neighbors(cutoff_a), strict=True)
        for neighbour in neighbours
    )


@pytest.fixture(scope="module")
def skewed():
    """Small crystals in cells that share their lattice but are far from reduced."""
    rng = np.random.default_rng(0)
    found = []
    for build in SMALL_CRYSTALS.values():
        structure = build().get_primitive_structure()
        for _ in range(3):
            steps = np.eye(3, dtype=int)
            for _ in range(4):
                i, j = rng.permutation(3)[:2]
                steps[i] += rng.integers(-3, 4) * steps[j]
            found.append((structure, structure.make_supercell(steps, in_place=False)))
    return found


def test_distances_do_not_depend_on_the_choice_of_cell(skewed):
    plain, changed = (
        measure_geometry(Crystals.from_structures(column)) for column in zip(*skewed, strict=True)
    )
    for name in ("volume_per_atom_a3", "density_g_cm3", "shortest_distance_ratio"):
        assert_allclose(getattr(plain, name), getattr(changed, name), rtol=1e4 * ROUND_OFF)


def test_pymatgen_finds_the_same_distances(starter):
    chosen = starter.crystals.take(np.flatnonzero(starter.crystals.n_atoms <= 12)[::60])
    expected = [find_ratio_with_pymatgen(structure) for structure in chosen.structures()]
    found = measure_geometry(chosen).shortest_distance_ratio
    assert_allclose(found, expected, rtol=1e4 * ROUND_OFF)


def test_scaling_a_cell_scales_its_distances(starter):
    chosen = starter.crystals.take(np.arange(50))
    double = replace(chosen, lattices=2 * chosen.lattices)
    small, large = measure_geometry(chosen), measure_geometry(double)
    assert_allclose(large.shortest_distance_ratio, 2 * small.shortest_distance_ratio)
    assert_allclose(large.density_g_cm3, small.density_g_cm3 / 8)


def test_facts_of_known_crystals():
    silicon, iron, salt = describe_crystals(
        Crystals.from_structures([diamond(), body_centred_cubic(), rock_salt()])
    )
    # CRC Handbook: 2.33, 7.87 and 2.17 g/cm³
    assert silicon.density_g_cm3 == pytest.approx(2.33, abs=0.01)
    assert iron.density_g_cm3 == pytest.approx(7.87, abs=0.02)
    assert salt.density_g_cm3 == pytest.approx(2.17, abs=0.01)
    assert [c.space_group for c in (silicon, iron, salt)] == [227, 229, 225]
    # the bond of silicon, 2.35 Å, over twice 1.11 Å
    assert silicon.shortest_distance_ratio == pytest.approx(2.352 / 2.22, abs=0.001)
    assert salt.n_isolated == 0


def test_an_atom_far_from_all_others_is_isolated():
    cell = Structure(Lattice.orthorhombic(5, 5, 12), ["Si", "Si", "Xe"],
                     [[0, 0, 0], [0, 0, 2.3 / 12], [0.5, 0.5, 0.6]])  # fmt: skip
    (facts,) = describe_crystals(Crystals.from_structures([cell]), [1])
    assert facts.n_isolated == 0  # 5 Å are less than four radii of xenon, 6.5 Å are more
    (wider,) = describe_crystals(
        Crystals.from_structures([cell.copy().apply_strain(0.3, inplace=False)]), [1]
    )
    assert wider.n_isolated == 1


def test_species_that_share_a_site_have_no_distance():
    mixed = Structure(Lattice.cubic(2.8), [{"Fe": 0.5, "Al": 0.5}], [[0, 0, 0]])
    (facts,) = describe_crystals(Crystals.from_structures([mixed]))
    assert facts.shortest_distance_ratio == pytest.approx(2.8 / (2 * 1.42))


def test_no_crystals_give_no_facts():
    assert describe_crystals(Crystals.from_structures([])) == []
