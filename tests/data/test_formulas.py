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
        ("Ca(OH)2", "CaH2O2", "Ca(HO)2"),
        ("Ca10(PO4)6(OH)2", "Ca5HO13P3", "Ca5P3HO13"),
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
