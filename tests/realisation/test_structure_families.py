"""Names of structure families against structures that everyone knows."""

import re

import pytest

from matlode.data.formulas import canonicalise_formula
from matlode.errors import GoalError, InputError
from matlode.realisation.structure_families import (
    FAMILIES,
    find_family,
    find_templates,
    has_corner_octahedra,
    normalise_label,
)
from matlode.realisation.structure_types import read_types
from matlode.testing import perovskite


@pytest.fixture(scope="module")
def types():
    return read_types(None)


def has(starter, ids, formula):
    frame = starter.frame
    rows = frame[frame["formula"] == canonicalise_formula(formula)]
    assert len(rows)
    return bool(set(rows["id"].astype(str)) & ids)


@pytest.mark.parametrize(
    ("name", "formulas", "others"),
    [
        # BaNiO3 shares faces of octahedra, CsPbBr3 is here of the NH4CdCl3 type
        ("perovskite", "CaTiO3 BaTiO3 LaNiO3 BiFeO3 YFeO3 PbTiO3 CsSnI3 KCuF3",
         "BaNiO3 CsPbBr3 CaCO3 KNO3 MnCO3 CuSeO3 LiIO3"),
        ("cubic perovskite", "CaTiO3 BaSnO3", "YFeO3"),
        ("rock salt", "NaCl SrS LiF", "GaSb"),
        ("spinel", "MgAl2O4 MgTi2O4", "Sr2MnO4"),
        ("half-Heusler", "TiFeSb LiZnP", "Mn2AlV"),
        ("wurtzite", "ZnO CdSe", "NaCl"),
        ("zinc blende", "GaSb AlAs", "NaCl"),
        ("Laves", "MgCu2 YNi2 CaCd2", "NaCl"),
        ("pyrochlore", "Sm2Ti2O7", "MgAl2O4"),
    ],
)  # fmt: skip
def test_well_known_structures_belong_to_their_family(starter, types, name, formulas, others):
    ids = find_templates(starter, types, name)
    assert [f for f in formulas.split() if not has(starter, ids, f)] == []
    assert [f for f in others.split() if has(starter, ids, f)] == []


def test_of_the_forms_of_cairo3_only_the_perovskite_counts(starter, types):
    ids = find_templates(starter, types, "perovskite")
    assert "mp-555735" in ids  # Pnma
    assert "mp-20198" not in ids  # Cmcm, post-perovskite


def test_every_family_has_templates_of_its_stoichiometry(starter, types):
    frame = starter.frame
    formula_of = dict(zip(frame["id"].astype(str), frame["formula"], strict=True))
    for name in FAMILIES.keys() - {"garnet"}:  # the starter set has none
        wanted = list_amounts(FAMILIES[name].stoichiometry)
        for i in find_templates(starter, types, name):
            assert list_amounts(formula_of[i]) == wanted, (name, formula_of[i])


def list_amounts(formula):
    return sorted(int(n or 1) for n in re.findall(r"[A-Z][a-z]?(\d*)", formula))


def test_octahedra_of_a_perovskite_share_corners():
    assert has_corner_octahedra(perovskite("SrTiO3", a_angstrom=3.905))


def test_labels_do_not_depend_on_the_order_of_the_elements():
    assert normalise_label("AB3C_oP20_62_a_cd_c") == normalise_label("ABC3_oP20_62_c_a_cd")
    assert normalise_label("ABC3_oP20_62_c_c_cd") != normalise_label("ABC3_oP20_62_c_a_cd")


@pytest.mark.parametrize("name", ["Perovskite", "ROCK_SALT", "half heusler", "sphalerite"])
def test_names_may_be_written_in_any_way(name):
    assert find_family(name)[1] in FAMILIES.values()


def test_unknown_names_and_families_without_templates_are_told(starter, types):
    with pytest.raises(GoalError, match='Did you mean "perovskite"'):
        find_family("perovskit")
    with pytest.raises(InputError, match="no known structure is a garnet"):
        find_templates(starter, types, "garnet")
    with pytest.raises(InputError, match="matlode data prototypes"):
        find_templates(starter, {}, "spinel")
