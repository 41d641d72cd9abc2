"""Rivals propose new formulas, each once, and shares count what they say they count."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from matlode.benchmarks.discovery import (
    Proposed,
    _format_shares,
    _sample_prior,
    _substitute_elements,
)
from matlode.evidence.dossier import Evidence
from matlode.evidence.elasticity import Elasticity
from matlode.evidence.hull import HullPosition
from matlode.evidence.relaxation import Relaxed
from matlode.jobs.wishes import KnownFormulas
from matlode.records import Prediction


@pytest.mark.parametrize("rival", ["substitution", "prior"])
def test_rivals_propose_new_formulas_once(models, known, rival):
    proposed = _substitute_elements(6, models, known) if rival == "substitution" else _sample_prior(
        6, models, known, seed=0
    )  # fmt: skip
    formulas = [p.formula for p in proposed]
    assert len(formulas) == len(set(formulas)) == 6
    old = KnownFormulas(known.catalogue, models.formula_lists)
    assert not any(formula in old for formula in formulas)
    assert all(p.predicted is None for p in proposed)


def rock_salt(first, second):
    return Structure.from_spacegroup(
        225, Lattice.cubic(4.3), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def evidence(structure, *, above=0.0, bulk=100.0, converged=True, broken="", other=0.0):
    relaxed = Relaxed([], [], [], 0.0, 0.0, 0.0, 1, 1.0, converged, broken)
    stiff = Elasticity([], bulk, 50.0, bulk, True, 5.0, 1, 1.0)
    position = HullPosition(above, -0.5, {}, 1, 1, 0, {})
    return Evidence(
        primary=relaxed, secondary=relaxed, formation_energy_ev=-0.5,
        secondary_formation_energy_ev=-0.9, hull=position,
        secondary_energy_above_hull_ev=above + other, elasticity=stiff,
        structure=structure, space_group=225, unchanged=True,
    )  # fmt: skip


def proposals(*items):
    return [(Proposed(name, e.structure, predicted), e) for name, e, predicted in items]


def shares(known, *items):
    return _format_shares([proposals(*items)], known.materials)


def test_format_shares_count_what_is_kept(known):
    new, twin = rock_salt("Re", "B"), rock_salt("Re", "B")
    found = shares(
        known,
        ("BRe", evidence(new, above=0.05, bulk=350), Prediction(340, 300, 380, "GPa")),
        ("BRe", evidence(twin, above=-0.1, bulk=350), Prediction(250, 200, 300, "GPa")),
        ("BOs", evidence(rock_salt("Os", "B"), above=0.3, bulk=310, other=0.2), None),
        ("BW", evidence(rock_salt("W", "B"), above=-0.1, bulk=290), None),
    )
    assert found["unique"] == "3 of 4"
    assert found["potentials agree (G12)"] == "3 of 4"
    assert found["MetaSUN, 0.1 eV (G13)"] == "2 of 4"
    assert found["SUN, 0 eV"] == "1 of 4"
    assert found["K ≥ 300 GPa (G14)"] == "3 of 4"
    assert found["both"] == "1 of 4"
    assert found["K in its 90 % interval (G17)"] == "1 of 2"


def test_seeds_are_added_and_what_is_unique_is_asked_of_each(known):
    stiff = proposals(("BRe", evidence(rock_salt("Re", "B"), bulk=350), None))
    soft = proposals(
        ("BRe", evidence(rock_salt("Re", "B"), bulk=200), None),
        ("BW", evidence(rock_salt("W", "B"), bulk=350), None),
        ("BOs", evidence(rock_salt("Os", "B"), bulk=350), None),
    )
    found = _format_shares([stiff, soft], known.materials)
    assert found["relaxed"] == "4"
    assert found["unique"] == "4 of 4 (1-3)"
    assert found["K ≥ 300 GPa (G14)"] == "3 of 4 (1-2)"
    assert found["K in its 90 % interval (G17)"] == "–"


def test_a_known_structure_is_not_novel(known, starter):
    row = int(np.flatnonzero(starter.frame["formula"] == "FLi")[0])
    structure = starter.crystals.structure(row)
    found = shares(known, ("FLi", evidence(structure), None))
    assert found["novel"] == "0 of 1"
    assert found["MetaSUN, 0.1 eV (G13)"] == "0 of 1"


def test_what_fell_apart_keeps_nothing(known):
    broken = evidence(rock_salt("Re", "B"), converged=False, broken="no neighbour", bulk=400)
    found = shares(known, ("BRe", broken, None))
    assert found["hold together"] == "0 of 1"
    assert found["potentials agree (G12)"] == "0 of 1"
    assert found["MetaSUN, 0.1 eV (G13)"] == "0 of 1"
