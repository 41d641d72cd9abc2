from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from matlode.artefacts import find_shipped_models, load_artefact, save_artefact
from matlode.data.formulas import canonicalise_formula
from matlode.errors import ArtefactError
from matlode.screening.formula_lists import (
    COMPUTED,
    FORMULA_LISTS,
    KIND,
    MADE,
    FormulaList,
    FormulaLists,
    compute_hashes,
)
from tests.strategies import formula_texts

MAX_FALSE_POSITIVES = 1e-4
MAX_BYTES = 1_000_000

formulas = st.lists(formula_texts().map(canonicalise_formula), max_size=30)


def numbered(letter: str, n: int) -> list[str]:
    return [f"{letter}{i}O{j}" for i in range(1, n + 1) for j in range(1, 101)]


def build(made: list[str], computed: list[str]) -> FormulaLists:
    return FormulaLists(
        (FormulaList.build(MADE, "a lab", made), FormulaList.build(COMPUTED, "a table", computed))
    )


def find_names(lists: FormulaLists, names: list[str]) -> list[str | None]:
    return [None if found is None else found.name for found in lists.find(names)]


@given(formulas, formulas)
def test_no_formula_of_a_list_is_ever_missed(made, computed):
    lists = build(made, computed)
    assert find_names(lists, made) == [MADE] * len(made)
    assert all(formula in lists for formula in computed)
    assert lists.n_formulas == len(set(made)) + len(set(computed))


def test_the_first_list_that_has_a_formula_is_found():
    lists = build(["ClNa", "O2Ti"], ["O2Ti", "CSi"])
    assert find_names(lists, ["CSi", "O2Ti", "ClNa", "BN"]) == [COMPUTED, MADE, MADE, None]
    assert "BN" not in lists


def test_a_hash_is_the_first_33_bits_of_sha_256():
    (found,) = compute_hashes(["ClNa"]).tolist()
    assert f"{found:033b}" == f"{int(hashlib.sha256(b'ClNa').hexdigest(), 16):0256b}"[:33]


def test_lists_of_nothing_contain_nothing():
    empty = build([], [])
    assert empty.n_formulas == 0
    assert find_names(empty, numbered("A", 1)) == [None] * 100
    assert empty.find([]) == []


def test_hidden_formulas_are_in_none_of_the_lists_and_only_they():
    lists = build(numbered("A", 3), numbered("B", 3))
    hidden = [*numbered("A", 1), *numbered("B", 2), *numbered("C", 1)]
    left = lists.without(hidden)
    assert [each.n_formulas for each in left.lists] == [200, 100]
    assert find_names(left, hidden) == [None] * len(hidden)
    kept = [name for name in numbered("A", 3) + numbered("B", 3) if name not in hidden]
    assert find_names(left, kept) == find_names(lists, kept)
    assert all(formula in lists for formula in hidden[:300])


@pytest.mark.parametrize("n", [0, 1, 30])
def test_saved_lists_answer_alike(tmp_path, n):
    lists = build(numbered("A", n), ["ClNa"])
    lists.save(tmp_path, {"trained_on": "a sample"})
    loaded = FormulaLists.load(tmp_path)
    for before, after in zip(lists.lists, loaded.lists, strict=True):
        assert_array_equal(after.hashes, before.hashes)
        assert (after.name, after.source) == (before.name, before.source)
        assert after.n_formulas == before.n_formulas


@pytest.mark.parametrize(
    ("key", "value"), [("n_hashes", 3), ("n_hashes", 10**30), ("n_hashes", -1), ("name", "other")]
)
def test_a_header_that_does_not_fit_the_arrays_is_refused(tmp_path, key, value):
    build(["ClNa", "O2Ti"], []).save(tmp_path, {})
    artefact = load_artefact(tmp_path / FORMULA_LISTS)
    artefact.header["lists"][0][key] = value
    save_artefact(
        tmp_path / FORMULA_LISTS, kind=KIND, header=artefact.header, arrays=artefact.arrays
    )
    with pytest.raises(ArtefactError, match="damaged or has an unexpected format"):
        FormulaLists.load(tmp_path)


def test_another_artefact_is_refused(tmp_path):
    save_artefact(tmp_path / FORMULA_LISTS, kind="filter", header={}, arrays={})
    with pytest.raises(ArtefactError, match='is a "filter", expected a "formula-lists"'):
        FormulaLists.load(tmp_path)


@pytest.fixture(scope="module")
def shipped() -> FormulaLists:
    return FormulaLists.load()


def test_shipped_lists_are_small_and_named(shipped):
    folder = find_shipped_models() / FORMULA_LISTS
    assert sum(file.stat().st_size for file in folder.iterdir()) < MAX_BYTES
    sizes = {each.name: each.n_formulas for each in shipped.lists}
    assert sizes == {MADE: 41_911, COMPUTED: 375_089}  # shared/data/README.md


def test_shipped_lists_hold_every_formula_of_the_starter_set(shipped, starter):
    """Their hashes were computed by another program: the hash is part of the format."""
    assert None not in shipped.find(starter.frame["formula"].tolist())


def test_compounds_of_the_textbooks_were_made(shipped):
    known = ["AlN", "HfO2", "NbB2", "NaCl", "TiO2", "SiC", "YBa2Cu3O7"]
    names = [canonicalise_formula(name) for name in known]
    assert find_names(shipped, names) == [MADE] * len(names)


def test_few_other_formulas_are_found_by_chance(shipped):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**33, 1_000_000, dtype=np.uint64)
    found = [each.find(hashes) for each in shipped.lists]
    assert np.logical_or(*found).mean() < MAX_FALSE_POSITIVES
    # no compounds: argon and neon in amounts that nobody computes
    names = [canonicalise_formula(f"Ar{i}Ne{j}") for i in range(31, 101) for j in range(31, 101)]
    assert sum(each is not None for each in shipped.find(names)) < 5
