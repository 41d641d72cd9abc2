"""Energies above hull are those of the phases that compete, with the corrections they need."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from matlode.errors import InputError
from matlode.evidence.hull import (
    MAX_ATOMS,
    Competitors,
    collect_element_structures,
    compute_energy_above_products,
    compute_formation_energy,
    compute_hull_position,
    correct_energy,
    find_competing_phases,
)

ELEMENTS = {"Cu": -3.0, "Au": -4.0}


def rock_salt(first, second):
    return Structure.from_spacegroup(
        225, Lattice.cubic(4.2), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def gold_copper(n_gold):
    edge = Lattice.cubic(3.9)
    sites = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return Structure(edge, ["Au"] * n_gold + ["Cu"] * (4 - n_gold), sites)


def position(n_gold, formation, competitors):
    """Of a crystal of given formation energy, beside others: (n_gold, formation energy)."""

    def energy(n, above):
        return n / 4 * ELEMENTS["Au"] + (1 - n / 4) * ELEMENTS["Cu"] + above

    found = [(f"p{i}", gold_copper(n), energy(n, e)) for i, (n, e) in enumerate(competitors)]
    counts = Competitors({}, n_known=7, n_too_large=1)
    return compute_hull_position(
        gold_copper(n_gold), energy(n_gold, formation), found, ELEMENTS, "chgnet", counts
    )


def test_without_competitors_the_hull_is_the_elements():
    found = position(2, -0.1, [])
    assert found.formation_energy_ev == pytest.approx(-0.1)
    assert found.energy_above_hull_ev == pytest.approx(-0.1)
    assert found.decomposition == {"Au": 0.5, "Cu": 0.5}


def test_the_tie_line_decides():
    found = position(2, -0.1, [(1, -0.12), (3, -0.2)])
    assert found.energy_above_hull_ev == pytest.approx(0.06)
    assert found.decomposition == {"AuCu3": 0.5, "Au3Cu": 0.5} or found.decomposition == {
        "Cu3Au": 0.5, "CuAu3": 0.5
    }  # fmt: skip
    assert (found.n_competing, found.n_known, found.n_too_large) == (2, 7, 1)


@pytest.mark.parametrize(
    ("n_gold", "competitors"), [(2, [(1, -0.12), (3, -0.2)]), (1, [(2, -0.3)]), (2, [])]
)
def test_above_the_products_is_above_the_hull(n_gold, competitors):
    found = position(n_gold, -0.1, competitors)
    own = n_gold / 4 * ELEMENTS["Au"] + (1 - n_gold / 4) * ELEMENTS["Cu"] - 0.1
    energies = ELEMENTS | {
        f"p{i}": n / 4 * ELEMENTS["Au"] + (1 - n / 4) * ELEMENTS["Cu"] + e
        for i, (n, e) in enumerate(competitors)
    }
    above = compute_energy_above_products(own, found.products, energies)
    assert above == pytest.approx(found.energy_above_hull_ev)


def test_below_the_hull_is_negative():
    assert position(2, -0.3, [(2, -0.1)]).energy_above_hull_ev == pytest.approx(-0.2)


def test_raw_energies_are_corrected_and_others_left_alone():
    fluoride = rock_salt("Li", "F")
    # Wang et al. 2021, Table 1: -0.462 eV per fluorine
    assert correct_energy(fluoride, -5.0, "sevennet-0") == pytest.approx(-5.0 - 0.462 / 2)
    assert correct_energy(fluoride, -5.0, "chgnet") == -5.0
    # of GGA+U: oxygen's and nickel's
    nickel = correct_energy(rock_salt("Ni", "O"), -5.0, "sevennet-0")
    assert nickel == pytest.approx(-5.0 - (0.687 + 2.541) / 2)
    metal = gold_copper(2)
    assert correct_energy(metal, -3.5, "sevennet-0") == -3.5


def test_formation_energy_is_counted_from_the_elements():
    assert compute_formation_energy(gold_copper(1), -3.25, ELEMENTS, "chgnet") == pytest.approx(0.0)


def test_phases_of_the_system_compete(starter):
    found = find_competing_phases(starter, ["Al", "O", "Si"])
    assert found.structures
    assert len(found.structures) <= found.n_known
    frame = starter.frame.set_index("id")
    for identifier, structure in found.structures.items():
        assert {e.symbol for e in structure.composition.elements} <= {"Al", "O", "Si"}
        assert len(structure.composition.elements) > 1
        assert len(structure) <= MAX_ATOMS
        assert not frame.loc[identifier, "energy_above_hull"] > 0.05


def test_lowest_crystals_of_an_element_come_first(starter):
    found = collect_element_structures(starter, "Al")
    rows = starter.frame[starter.frame["formula"] == "Al"]
    lowest = rows.loc[rows["energy_above_hull"].idxmin(), "id"]
    assert next(iter(found)) == lowest
    assert np.isclose(found["ASE's reference state"].lattice.a, 2.86, atol=0.01)
    with pytest.raises(InputError, match="no crystal of the element Pm"):
        collect_element_structures(starter, "Pm")
