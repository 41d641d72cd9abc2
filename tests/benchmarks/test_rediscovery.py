"""What is hidden is hidden from everything, and only from the list."""

import shutil
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest

from matlode.artefacts import find_shipped_models
from matlode.benchmarks import rediscovery as bench
from matlode.benchmarks.hidden_phases import DRAWN, HARD, MAX_ATOMS, draw_hidden
from matlode.benchmarks.rediscovery import (
    EPOCHS,
    SETTINGS,
    TOPS,
    Recall,
    bench_rediscovery,
    hide_formulas,
    list_contestants,
    read_recall,
)
from matlode.data.formulas import parse_formula
from matlode.data.tables import find_starter, read_table
from matlode.errors import InputError
from matlode.run_folder import RunFolder
from matlode.screening.formula_lists import FormulaLists

BRIEF = replace(SETTINGS, trials=64, n_start=40, n_screened=20, n_candidates=12)
QUICK = replace(
    SETTINGS, trials=128, n_start=60, n_screened=40,
    n_candidates=30,
)  # fmt: skip


def test_hidden_formulas_leave_both_tables_and_nothing_else_does(tmp_path):
    whole = pq.read_table(find_starter())
    source = tmp_path / "table.parquet"
    pq.write_table(whole, source)
    extra = pd.DataFrame({"formula": ["SiC", "NaCl"], "source": "a", "value": [1.0, 2.0]})
    extra.to_parquet(tmp_path / "compositions.parquet")
    counts = hide_formulas(["CSi", "B2Ti"], source, tmp_path / "out")
    formulas = whole.column("formula").to_pandas()
    n_rows = formulas.isin(["CSi", "B2Ti"]).sum()
    assert counts["CSi"] == (formulas == "CSi").sum() + 1
    kept = read_table(tmp_path / "out" / "structures.parquet").frame["formula"]
    assert len(kept) == len(formulas) - n_rows
    assert not kept.isin(["CSi", "B2Ti"]).any()
    assert pd.read_parquet(tmp_path / "out" / "compositions.parquet")["formula"].tolist() == [
        "NaCl"
    ]


def test_a_list_of_which_nothing_is_known_is_told(tmp_path):
    with pytest.raises(InputError, match="none of the"):
        hide_formulas(["B17C3N11"], find_starter(), tmp_path)
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    with pytest.raises(InputError, match="one per line"):
        bench_rediscovery(empty, out=tmp_path)


def test_the_hard_list_is_twenty_distinct_phases():
    assert len(set(HARD.phases)) == 20


def test_phases_are_drawn_by_their_labels_and_never_twice():
    drawn = draw_hidden(find_starter(), lambda formula: formula != "O2Ti")
    assert list(drawn) == list(DRAWN)
    phases = [formula for of in drawn.values() for formula in of.phases]
    assert phases
    assert len(set(phases)) == len(phases)
    assert not {"O2Ti", *HARD.phases} & set(phases)
    oxides = drawn["oxide, wide gap, high n"].phases
    assert all("O" in parse_formula(f) for f in oxides)
    assert all(sum(parse_formula(f).values()) <= MAX_ATOMS for f in phases)
    again = draw_hidden(find_starter(), lambda formula: formula != "O2Ti")
    assert again == drawn


def test_contestants_evaluate_as_many_proposals_and_list_as_many_rows():
    of = list_contestants(SETTINGS).values()
    assert len({(s.trials, s.n_start, s.n_screened, s.n_candidates) for s in of}) == 1


def test_phases_are_counted_at_each_stage():
    sets = [frozenset("ABCDE"), frozenset("ABCD"), frozenset("ABC")]
    recall = Recall(sets[0], dict.fromkeys(TOPS, sets[1]), sets[1], sets[2], ("X", "A", "B"))
    assert list(recall.count(["A", "C", "E", "Z"]).values()) == [3, 2, 2, 2, 2, 1, 1]


def test_stages_of_a_search_lose_formulas_one_after_the_other(hard_run):
    recall = read_recall(RunFolder(hard_run.folder))
    assert recall.accepted <= recall.screened <= recall.evaluated
    assert set(recall.listed) <= recall.accepted
    assert recall.first[100] <= recall.first[200] <= recall.evaluated
    accepted = hard_run.candidates["verdict"] == "accepted"
    assert len(recall.listed) == accepted.sum()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    out = tmp_path_factory.mktemp("rediscovery")
    table = pq.read_table(find_starter())
    formulas = table.column("formula").to_pandas()
    # rows for every property that is learned, and the phases that are hidden
    elastic = table.column("bulk_modulus_vrh").to_pandas().notna()
    rows = formulas.isin(["B2Ti", "CTi", "CSi"]) | (formulas.index % 6 == 0)
    rows |= elastic & (formulas.index % 2 == 0)
    pq.write_table(table.filter(rows.tolist()), out / "few.parquet")
    listed = out / "hidden.txt"
    listed.write_text("TiB2  # a boride\nSiC\n")
    arguments = {
        "settings": QUICK,
        "n_seeds": 1,
        "epochs": dict.fromkeys(EPOCHS, 1),
        "data": out / "few.parquet",
        "out": out / "made",
    }
    return out / "made", bench_rediscovery(listed, **arguments), listed, arguments


@pytest.mark.laboratory
def test_no_model_knows_what_is_hidden(found):
    out, _, _, _ = found
    known = FormulaLists.load(out / "models")
    assert "B2Ti" not in known
    assert "CSi" not in known
    assert "CTi" in known
    made = {path.parent.name for path in (out / "models").glob("*/model.json")}
    assert made == {*EPOCHS, "pattern-characteristics", "known-formulas"}


@pytest.mark.laboratory
def test_every_contestant_and_phase_has_its_row(found):
    out, tables, _, _ = found
    counts, ranks = tables.values()
    assert [row["contestant"] for row in counts] == list(list_contestants(QUICK))
    assert [row["phase"] for row in ranks] == ["TiB2", "SiC"]
    assert all(row["rows hidden"] > 0 for row in ranks)
    substituted = pd.read_csv(out / "runs" / "element-substitution-alone-0" / "trials.csv")
    assert set(substituted["origin"]) == {"known", "substitution"}
    random = pd.read_csv(out / "runs" / "random-points-0" / "trials.csv")
    assert set(random["origin"]) == {"known", "sampler"}


@pytest.mark.laboratory
def test_nothing_is_made_twice(found, monkeypatch):
    _, tables, listed, arguments = found
    monkeypatch.setattr(bench, "search", never)
    assert bench_rediscovery(listed, **arguments) == tables


def never(**_):
    raise AssertionError("searched again")


def copy_shipped(*, data, out, epochs, progress):
    """In place of training: the shipped models; their lists have what is hidden."""
    shutil.copytree(find_shipped_models(), out, dirs_exist_ok=True)


def test_two_contestants_search_without_training(tmp_path, monkeypatch):
    two = {
        name: of for name, of in list_contestants(BRIEF).items() if name.endswith(("h", "points"))
    }
    monkeypatch.setattr(bench, "list_contestants", lambda settings: two)
    monkeypatch.setattr(bench, "train_models", copy_shipped)
    arguments = {"settings": BRIEF, "n_seeds": 1, "out": tmp_path}
    tables = bench_rediscovery(["TiB2", "SiC"], **arguments)
    lists = FormulaLists.load(tmp_path / "models")
    assert lists.find(["B2Ti", "CSi"]) == [None, None]
    assert lists.n_formulas == FormulaLists.load().n_formulas - 2
    counts, ranks = tables.values()
    assert [row["contestant"] for row in counts] == ["search", "random points"]
    assert [row["phase"] for row in ranks] == ["TiB2", "SiC"]
    assert all(row["rows hidden"] > 0 for row in ranks)
    random = pd.read_csv(tmp_path / "runs" / "random-points-0" / "trials.csv")
    assert set(random["origin"]) == {"known", "sampler"}
    monkeypatch.setattr(bench, "search", never)
    assert bench_rediscovery(["TiB2", "SiC"], **arguments) == tables
