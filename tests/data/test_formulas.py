from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from matlode.data.crystals import Crystals
from matlode.data.formulas import (
    atomic_numbers,
    canonicalise_formula,
    chemical_system,
    compute_formulas,
    element_symbols,
    format_formula,
    parse_formula,
    write_formula,
)
from matlode.errors import InputError
from matlode.testing import SMALL_CRYSTALS, perovskite
from tests.strategies import amounts, crystals, formula_texts


@given(amounts(), st.integers(1, 7))
def test_writing_undoes_parsing_whatever_the_multiple(counts, multiple):
    text = "".join(f"{symbol}{multiple * n}" for symbol, n in counts.items())
    assert dict(parse_formula(text)) == counts
    assert parse_formula(write_formula(counts)) == counts


@given(amounts(), st.randoms(use_true_random=False))
def test_order_of_the_elements_does_not_matter(counts, random):
    shuffled = list(counts.items())
    random.shuffle(shuffled)
    assert write_formula(dict(shuffled)) == write_formula(counts)
    text = "".join(f"{symbol}{n}" for symbol, n in shuffled)
    assert canonicalise_formula(text) == write_formula(counts)


@given(formula_texts())
def test_the_canonical_formula_is_canonical(text):
    once = canonicalise_formula(text)
    assert canonicalise_formula(once) == once
    assert canonicalise_formula(format_formula(once)) == once


@given(amounts())
def test_the_chemical_system_is_the_elements(counts):
    assert chemical_system(write_formula(counts)).split("-") == sorted(counts)


@given(crystals(max_atoms=6), st.randoms(use_true_random=False))
def test_formula_of_a_crystal_ignores_site_order_and_supercell(structure, random):
    shuffled = structure.copy()
    sites = list(shuffled)
    random.shuffle(sites)
    batch = [structure, Structure.from_sites(sites), structure * (2, 1, 2)]
    assert len(set(compute_formulas(Crystals.from_structures(batch)))) == 1
    expected = write_formula(Counter(site.specie.symbol for site in structure))
    assert compute_formulas(Crystals.from_structures([structure])) == [expected]


@pytest.mark.parametrize(
    ("written", "canonical", "conventional"),
    [
        ("NaCl", "ClNa", "NaCl"),
        ("Ti2O4", "O2Ti", "TiO2"),
        ("Fe4(SiO4)2", "Fe2O4Si", "Fe2SiO4"),
        ("Ca(OH)2", "CaH2O2", "Ca(OH)2"),
        ("Ca10(PO4)6(OH)2", "Ca5HO13P3", "Ca5HP3O13"),
        ("Y3Al5O12", "Al5O12Y3", "Y3Al5O12"),
        ("O2", "O", "O"),
        ("Fe0.5O0.5", "FeO", "FeO"),
        ("La0.7Sr0.3MnO3", "La7Mn10O30Sr3", "Sr3La7Mn10O30"),
        ("CW", "CW", "WC"),
        ("NaN", "NNa", "NNa"),  # which table readers would take for a missing value
    ],
)
def test_formulas_as_chemists_write_them(written, canonical, conventional):
    assert canonicalise_formula(written) == canonical
    assert format_formula(canonical) == conventional


USUAL = """
    NaCl TiO2 Fe2SiO4 Ca(OH)2 Y3Al5O12 FeO WC NiTiO3 FeTiO3 MnTiO3 CoTiO3 PbTiO3 SrTiO3
    BaTiO3 CaTiO3 CuInSe2 AgInS2 CuFeS2 ZnAl2O4 MgAl2O4 FeCr2O4 CuAlO2 CuWO4 PbWO4 BiVO4
    AgNbO3 LiNbO3 KNbO3 ZnWO4 La2CuO4 LaNiO3 LaMnO3 LaAlO3 BiFeO3 CoFe2O4 NiFe2O4 ZnFe2O4
    NiCo2O4 LiCoO2 LiFePO4 LiNiO2 CsPbI3 CsSnBr3 BiOCl KClO4 NaIO4 CaCO3 Na2SO4 KNO3
    Ca3(PO4)2 Al2(SO4)3 Mg(OH)2 LiOH NaHCO3 KH2PO4 H2O NH3 CH4 LiBH4 NaBH4 W2B WB2 Os2B5
    NiW2B4 CoWB TiB2 B4C BN BP SiC Si3N4 GaN GaAs InSb Bi2Te3 Sb2Te3 PbTe GeTe SnS Mg2Si
    Mg3Sb2 Cr2AlC Ti3SiC2 Ti3AlC2 Ti2AlN Nb3Sn V3Ga LaNi5 MgZn2 CaCu5 SmCo5 Co2P Fe3C
    Cu2ZnSnS4 CuGaS2 ZrSiO4 Zn2SiO4 BaFe2As2 LaFeAsO Li7La3Zr2O12 PbZrO3 BaSnO3 ZnSnO3
    Y2Ir2O7 LaOF OF2 XeF2 SiO2 Al2O3 ReB2 CrB FeB MnB ReB Re3B RuB2 FeW2B2 TaB MoB2 IrB AlB2
    MgB2 CaB6 YB12 LaB6 Mo2C TaC HfN VN Mo2N MoS2 WSe2 PtSe2 K2PtCl6 Cs2AgBiBr6 Na3PS4
    Li10GeP2S12 Li6PS5Cl NaAlH4 MgH2 LiH TiH2 H3BO3 Ni3Sn Cu3Au ZrV2 ScAlO3 FeAl2O4 Fe2TiO4
    LiMn2O4 CaMg(CO3)2 Mg2TiO4 LiAlSi2O6 NaAlSi3O8 ZnO CuO Ag2O HgTe CdTe TiAl TiNi ZrNi
    CoSi FeSi2 MnSi GdFeO3 YMnO3 NaBa2OsO6 Sr2FeMoO6
"""  # as databases and reviews write them


@pytest.mark.parametrize("formula", USUAL.split())
def test_elements_come_in_the_usual_order(formula):
    assert format_formula(canonicalise_formula(formula)) == formula


def test_small_crystals_have_the_formulas_on_their_labels():
    found = compute_formulas(Crystals.from_structures([f() for f in SMALL_CRYSTALS.values()]))
    labels = ["NaCl", "CsCl", "CaF2", "ZnS", "Si", "Fe", "Cu", "Mg", "TiO2", "SrTiO3"]
    assert [format_formula(formula) for formula in found] == labels


def test_occupancies_become_whole_amounts():
    thirds = Structure(
        Lattice.cubic(4), [{"Na": 1 / 3, "K": 2 / 3}, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    assert compute_formulas(Crystals.from_structures([thirds])) == ["Cl3K2Na"]


def test_elements_run_from_hydrogen_to_fermium():
    symbols = element_symbols()
    assert (symbols[0], symbols[25], symbols[99]) == ("H", "Fe", "Fm")
    assert len(set(symbols)) == 100
    assert all(symbols[z - 1] == symbol for symbol, z in atomic_numbers().items())


@pytest.mark.parametrize("text", ["", "  ", "Xx2O", "na", "NaCl2-", "Na+", "(((", "2NaCl", "Fe-1"])
def test_what_is_no_formula_is_quoted(text):
    with pytest.raises(InputError) as caught:
        parse_formula(text)
    assert str(caught.value).startswith(f'"{text}" is not a formula')


def test_a_formula_of_nothing_is_refused():
    with pytest.raises(InputError, match=r'"Fe0" is not a formula: it names no element\.'):
        parse_formula("Fe0")


def test_elements_beyond_fermium_are_refused():
    with pytest.raises(InputError, match=r"LrCl3: element Lr is outside H\.\.Fm \(Z = 1\.\.100\)"):
        parse_formula("LrCl3")


def test_a_crystal_of_empty_sites_has_no_formula():
    packed = Crystals.from_structures([perovskite()])
    empty = Crystals(
        packed.lattices,
        packed.numbers,
        packed.frac_coords,
        np.zeros_like(packed.occupancies),
        packed.offsets,
    )
    with pytest.raises(InputError, match="crystal 0: no element has a positive amount"):
        compute_formulas(empty)
