import pytest

from matlode.realisation.prototypes import MAX_PER_TYPE, describe


@pytest.fixture(scope="module")
def library(known):
    return known.prototypes


def test_templates_have_the_stoichiometry_asked_for(library):
    for used in library.substitutions("CaO3Ti", 30):
        amounts = sorted(library.materials.crystals.numbers[
            library.materials.crystals.atoms(used.template)
        ].tolist())  # fmt: skip
        counts = sorted(amounts.count(z) for z in set(amounts))
        assert counts[0] * 3 == counts[2]
        assert counts[0] == counts[1]


def test_nearest_chemistry_comes_first(library):
    found = library.substitutions("O2Zr", 20)
    distances = [used.distance for used in found]
    assert distances == sorted(distances)


def test_own_entries_are_left_out_when_asked(library):
    formulas = library.materials.frame["formula"]
    own = library.substitutions("O2Ti", 50, exclude_own=False)
    without = library.substitutions("O2Ti", 50, exclude_own=True)
    assert any(formulas.iloc[used.template] == "O2Ti" for used in own)
    assert all(formulas.iloc[used.template] != "O2Ti" for used in without)


def test_one_structure_type_does_not_crowd_out_the_others(library):
    found = library.substitutions("ClNa", 60)
    kinds = [
        (library.space_groups[u.template], library.materials.crystals.n_atoms[u.template])
        for u in found
    ]
    assert max(kinds.count(kind) for kind in kinds) <= MAX_PER_TYPE


def test_unknown_stoichiometry_has_no_template(library):
    assert library.substitutions("B17C3N11", 5) == []


def test_exchange_is_told_in_words(library):
    (used,) = library.substitutions("HfO2", 1, exclude_own=True)
    assert "→ Hf" in describe(used)
