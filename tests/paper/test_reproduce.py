"""The paper's tables and figures from few rows: that all are there, and say what was measured."""

import csv
import re

import pytest

from matlode.artefacts import load_header
from matlode.data.splits import TEST
from matlode.evaluation import properties as evaluate
from matlode.evaluation.published import PAPER
from matlode.paper import reproduce as job
from matlode.paper.reproduce import reproduce
from matlode.properties.scores import BASELINES
from matlode.training import property_recipes
from matlode.training.model_table import MODELS
from matlode.training.table import TrainingTable


def make_page(folder, rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MATLODE_DATA", raising=False)
        patch.setattr(job, "QUICK_ROWS", rows)
        patch.setattr(job, "QUICK_EVALUATIONS", 12)
        few = {"n_rounds": 40, "difficulty_rounds": 20, "cross_fit_rounds": 20}
        for name, spec in MODELS.items():
            if spec.is_head:
                patch.setitem(MODELS, name, spec.with_settings(few))
        patch.setattr(property_recipes, "BASELINES", {"mean": BASELINES["mean"]})
        patch.setattr(evaluate, "BASELINES", {job.BASELINE: BASELINES["ridge"]})
        return reproduce(out=folder, quick=True, n_seeds=1)


@pytest.fixture(scope="module")
def full_page(tmp_path_factory):
    """Of as many rows as formation energies need to be scored."""
    return make_page(tmp_path_factory.mktemp("paper"), 900)


@pytest.fixture(scope="module", params=[300, pytest.param(900, marks=pytest.mark.laboratory)])
def page(request, tmp_path_factory):
    if request.param == 900:
        return request.getfixturevalue("full_page")
    return make_page(tmp_path_factory.mktemp("paper"), request.param)


def table(page, name):
    with (page.parent / "tables" / f"{name}.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_every_table_and_figure_of_the_supplement_is_there(page):
    text = page.read_text()
    for number in ("S1", "S2", "S3", "S4"):
        assert re.search(rf"<h2[^>]*>Tables? [^<]*{number}", text), number
    for number in range(2, 11):
        assert (page.parent / "figures").glob(f"s{number}-*.png"), number
        assert re.search(rf"<h2[^>]*>[^<]*\bS{number}\b", text), number


def test_the_page_holds_its_pictures_and_asks_nobody(page):
    text = page.read_text()
    assert text.count("data:image/png;base64,") >= 8
    assert "http://" not in text
    assert "https://" not in text
    for link in re.findall(r'href="([^#"]+)"', text):
        assert (page.parent / link).is_file()


@pytest.mark.laboratory
def test_what_the_paper_prints_stands_beside_what_was_measured(full_page):
    assert full_page.read_text().count("data:image/png;base64,") >= 9
    rows = table(full_page, "tables-s3-s4-figures-s6-s7-s9-c-d")
    printed = {row["quantity"]: row for row in rows if row["score"].startswith("MAE")}
    energy = printed["formation energy"]
    assert float(energy["paper"]) == PAPER.numbers["formation_energy"]["mae"]
    # one epoch of its autoencoders, forty trees
    assert float(energy["matlode, pattern"]) < float(energy["the paper's recipe here"])
    # the starter set knows nothing of it
    assert printed["debye temperature"]["matlode, pattern"] == ""
    assert "debye temperature" in full_page.read_text().split("not measured:")[1][:300]


def test_scores_are_of_test_rows(page):
    sample = TrainingTable.load(page.parent / "sample.parquet")
    (row, *_) = table(page, "figure-s9-a-b")
    assert int(row["rows"]) == (sample.roles == TEST).sum()
    assert load_header(page.parent / "models" / "reference-space-group")["epochs"] == 1


def test_ranges_are_those_that_are_searched(page):
    rows = {(r["model"], r["hyper-parameter"]): r for r in table(page, "table-s2")}
    depth = rows["reference-bulk-modulus", "max_depth"]
    assert (depth["range"], depth["the paper's optimum, or ours"]) == ("3-11", "6")


def test_a_quick_run_says_that_it_means_nothing(page):
    assert "Its numbers mean nothing" in page.read_text()
