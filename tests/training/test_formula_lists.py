"""Which formulas the models that a user trains count as known."""

import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from matlode.artefacts import load_header
from matlode.data.tables import find_starter
from matlode.errors import ArtefactError, InputError
from matlode.screening.formula_lists import FORMULA_LISTS, FormulaLists
from matlode.training.formula_lists import read_lists
from matlode.training.train import train_models


def hash_formulas(*formulas):
    digests = (hashlib.sha256(formula.encode()).digest()[:8] for formula in formulas)
    return np.sort(np.array([int.from_bytes(digest, "big") for digest in digests], np.uint64))


@pytest.fixture
def table(tmp_path):
    """Ten structures of the starter set."""
    rows = pq.read_table(find_starter()).slice(0, 10)
    folder = tmp_path / "data"
    folder.mkdir()
    pq.write_table(rows, folder / "structures.parquet")
    return folder / "structures.parquet"


def train(table, out):
    train_models([FORMULA_LISTS], data=table, out=out)
    return FormulaLists.load(out)


def describe(lists):
    return [(each.name, each.n_formulas) for each in lists.lists]


def test_the_lists_beside_the_table_are_taken(table, tmp_path):
    formulas = pq.read_table(table).column("formula").to_pylist()
    np.savez(
        table.with_name("known_formulas.npz"),
        synthesised=hash_formulas("B17Ne", formulas[0]),
        computed=hash_formulas("B18Ne"),
    )
    lists = train(table, tmp_path / "models")
    assert describe(lists) == [
        ("made", 2), ("computed", 1), ("trained on", len(set(formulas)) - 1)
    ]  # fmt: skip
    found = [each.name for each in lists.find(["B17Ne", "B18Ne", formulas[0], formulas[-1]])]
    assert found == ["made", "computed", "made", "trained on"]
    assert "B19Ne" not in lists


def test_without_them_the_shipped_lists_are_carried_over(table, tmp_path):
    lists = train(table, tmp_path / "models")
    # the starter set is in the shipped lists
    assert describe(lists) == describe(FormulaLists.load())


def test_an_artefact_of_another_kind_is_made_anew(table, tmp_path):
    train(table, tmp_path)
    path = tmp_path / FORMULA_LISTS / "model.json"
    path.write_text(path.read_text().replace('"formula-lists"', '"filter"'))
    train(table, tmp_path)
    assert load_header(tmp_path / FORMULA_LISTS)["kind"] == "formula-lists"


def test_other_arrays_are_refused(tmp_path):
    path = tmp_path / "known_formulas.npz"
    np.savez(path, synthesised=np.zeros(3, np.uint64))
    with pytest.raises(ArtefactError, match="computed"):
        read_lists(path)
    np.savez(path, synthesised=np.zeros(3, np.uint64), computed=np.zeros((2, 2)))
    with pytest.raises(InputError, match=r'"computed" is float64\[2, 2\]; expected uint64\[n\]'):
        read_lists(path)
