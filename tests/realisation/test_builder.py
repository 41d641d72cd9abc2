from dataclasses import replace

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from matlode.realisation.builder import Builder
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.records import Candidate
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.testing import fluorite, rock_salt

MATCHER = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)


@pytest.fixture(scope="module")
def builder(known):
    return Builder(known.prototypes)


def candidate(structure, formula):
    return Candidate(
        formula=formula,
        composition=composition_vectors([structure])[0],
        pattern=simulate_patterns([structure])[0],
        predictions={},
        space_groups=np.full(230, 1 / 230),
    )


@pytest.mark.parametrize(
    ("structure", "formula"),
    [
        (rock_salt("MgO", a_angstrom=4.21), "MgO"),
        (fluorite("CaF2", a_angstrom=5.46), "CaF2"),
    ],
)
def test_true_pattern_and_formula_give_the_true_structure(builder, structure, formula):
    # every entry of the formula is hidden; the volume is wrong by 8 %
    volume = 1.08 * structure.volume / len(structure)
    built = next(builder.structures(candidate(structure, formula), volume, exclude_own=True))
    assert MATCHER.fit(built.structure, structure)
    assert built.space_group == 225
    assert built.match > 0.9
    assert built.structure.volume / len(built.structure) == pytest.approx(
        structure.volume / len(structure), rel=0.02
    )


def test_without_a_template_atoms_are_placed_at_random(starter):
    # one unrelated crystal is all that is known
    row = np.flatnonzero(starter.frame["formula"] == "Al2O3")[:1]
    builder = Builder(PrototypeLibrary.build(starter.take(row)))
    structure = rock_salt("MgO", a_angstrom=4.21)
    chances = np.where(np.arange(230) == 224, 1.0, 0.0)
    wanted = replace(candidate(structure, "MgO"), space_groups=chances)
    built = next(builder.structures(wanted, 1.05 * structure.volume / len(structure)))
    assert MATCHER.fit(built.structure, structure)
    assert "at random on sites of space group 225" in built.origin.substitution
    assert built.origin.template_id == "none"


def test_what_is_too_large_for_a_random_cell_has_no_structure(builder):
    structure = rock_salt("MgO", a_angstrom=4.21)
    assert list(builder.structures(candidate(structure, "B33C3N11"), 10.0)) == []


def test_atoms_on_top_of_each_other_are_refused(builder):
    structure = rock_salt("MgO", a_angstrom=2.0)
    assert list(builder.structures(candidate(structure, "MgO"), 1.0)) == []
