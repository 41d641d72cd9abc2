import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from matlode.artefacts import find_shipped_models, load_header
from matlode.data.splits import TRAIN
from matlode.evaluation import accuracy as job
from matlode.evaluation import accuracy_data as accuracy_figures
from matlode.evaluation import accuracy_page as page
from matlode.evaluation.published import PAPER, PEERS
from matlode.properties.derived import GAS_CONSTANT
from matlode.properties.network import NETWORK_MODEL
from matlode.training.table import TrainingTable

SHA = load_header(find_shipped_models() / NETWORK_MODEL)["trained_on"]["sha256"]


@pytest.fixture
def folds(tmp_path):
    """Four of five folds, and a space-group classifier, of numbers that exist nowhere else."""
    folder = tmp_path / "folds"
    folder.mkdir()
    rng = np.random.default_rng(1)
    names = [quantity.endpoint for section in page.SECTIONS for quantity in section.quantities]
    keys = ("mae", "r2", "mae_ln", "r2_ln", "auc", "accuracy", "f1", "coverage")

    def scores() -> dict[str, float]:
        return {"rows": 77, **dict(zip(keys, rng.uniform(0.1, 0.9, len(keys)), strict=True))}

    for number in range(4):
        fold = {name: {"standard": scores(), "ridge": scores()} for name in names}
        path = folder / f"chemical_system-{number}-of-5-{SHA[:12]}.json"
        path.write_text(json.dumps(fold))
    (folder / f"random-0-of-5-{'0' * 12}.json").write_text("folds of another table")
    cases = {
        f"decoded pattern, {known} composition": {"space_group": share, "crystal_system": 0.777}
        for known, share in (("with", 0.611), ("without", 0.333))
    }
    (folder / f"reference-space-group-random-{SHA[:12]}.json").write_text(json.dumps(cases))
    return folder


@pytest.fixture
def small_table(monkeypatch):
    monkeypatch.delenv("MATLODE_DATA", raising=False)
    table = TrainingTable.load()
    rows = np.sort(np.random.default_rng(0).permutation(len(table.materials))[:2000])
    small = dataclasses.replace(table, materials=table.materials.take(rows))
    monkeypatch.setattr(TrainingTable, "load", classmethod(lambda cls, path=None: small))
    return small


def tables(text: str) -> dict[str, list[list[str]]]:
    """heading → lines of the table below it, the first its own heading."""
    found = {}
    for section in text.split("\n## ")[1:]:
        lines = [line for line in section.splitlines() if line.startswith("| ")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        found[section.splitlines()[0]] = [cells[0], *cells[2:]]
    return found


def test_every_number_of_the_page_stands_in_a_source(tmp_path, folds):
    out = job.write_accuracy(folds=folds, out=tmp_path / "docs" / "accuracy.md")
    rows = [
        *job.stored_scores(),
        *job.read_fold_rows(folds, SHA),
        *job.read_symmetry_rows(folds, None, SHA, None),
        *job.read_plausibility_rows(None),
    ]
    known = {f"{row.rows:,}" for row in rows if row.rows is not None}
    for value in (v for row in rows for v in row.scores.values()):
        scaled = (value, value / GAS_CONSTANT)
        known |= {write(v) for v in scaled for write in (page.format_number, page.format_share)}
    for source in (PAPER, *PEERS):
        known |= {page._format_value(v) for of in source.numbers.values() for v in of.values()}
    found = tables(out.read_text())
    del found["Published numbers"]
    for title, (headings, *lines) in found.items():
        # the first columns say what, how split
        first = 1 if headings[0] in ("property", "patterns") else 2
        for cell in (cell for line in lines for cell in line[first:]):
            for text in re.findall(r"(?<![\w.])-?\d[\d,.]*\d|\d+", cell.replace("–", "")):
                assert text in known, (title, cell)


def test_folds_are_means_with_deviations_and_say_how_many_there_are(folds):
    rows = {(row.endpoint, row.model): row for row in job.read_fold_rows(folds, SHA)}
    ours = rows["bulk_modulus", page.OURS]
    parts = [
        json.loads(file.read_text())["bulk_modulus"]["standard"]["mae"]
        for file in sorted(folds.glob("chemical*"))
    ]
    assert ours.split == "4 of 5 folds by chemical system"
    assert ours.rows == 4 * 77
    assert ours.scores["mae"] == pytest.approx(np.mean(parts))
    assert ours.scores["mae_sd"] == pytest.approx(np.std(parts, ddof=1))


def test_folds_of_the_papers_recipe_stand_beside_ours(folds):
    recipe = {"bulk_modulus": {"reference": {"rows": 77, "mae": 25.5}}}
    (folds / f"reference-chemical_system-2-of-5-{SHA[:12]}.json").write_text(json.dumps(recipe))
    rows = {(row.endpoint, row.model): row for row in job.read_fold_rows(folds, SHA)}
    assert rows["bulk_modulus", "reference, simulated pattern"].scores == {"mae": 25.5}
    assert rows["bulk_modulus", page.OURS].split == "4 of 5 folds by chemical system"


def test_heat_capacities_are_per_boltzmann_constant(tmp_path, folds):
    out = job.write_accuracy(folds=folds, out=tmp_path / "accuracy.md")
    lines = tables(out.read_text())["Thermal properties"]
    line = next(line for line in lines if "Cᵥ" in line[0] and "folds" in line[1])
    rows = {(row.endpoint, row.model): row for row in job.read_fold_rows(folds, SHA)}
    mae = rows["heat_capacity_cv", page.OURS].scores["mae"] / GAS_CONSTANT
    assert line[3].startswith(f"{page.format_number(mae)} ± ")


def test_what_was_not_measured_says_so(tmp_path):
    out = job.write_accuracy(folds=tmp_path / "none", out=tmp_path / "accuracy.md")
    found = tables(out.read_text())
    assert {section.title for section in page.SECTIONS} < set(found)
    moduli = [line for line in found["Elastic moduli"] if line[1] == page.HARD]
    assert len(moduli) == 6
    assert all(set(line[2:10]) == {page.MISSING} for line in moduli)
    symmetry = [line for line in found["Space group and crystal system"] if "recipe" in line[0]]
    assert all(set(line[3:]) == {page.MISSING} for line in symmetry)
    # what others printed stands there all the same
    assert "24.6 / 0.81" in found["Elastic moduli"][1]


def test_the_papers_classifier_is_shown_without_composition_alone(tmp_path, folds):
    out = job.write_accuracy(folds=folds, out=tmp_path / "accuracy.md")
    lines = tables(out.read_text())["Space group and crystal system"]
    (recipe,) = (line for line in lines if line[0] == "paper's recipe")
    assert recipe[1:5] == [
        "decoded pattern, without composition",
        job_split(),
        "not stored",
        "0.333",
    ]


def job_split() -> str:
    return page.RANDOM_TENTH


def test_published_quantities_are_ours():
    ours = {
        quantity.printed or quantity.endpoint
        for section in page.SECTIONS
        for quantity in section.quantities
    }
    for source in (PAPER, *PEERS):
        assert set(source.numbers) <= ours | {"space_group"}


@pytest.mark.slow
def test_figures_are_drawn_and_derived_properties_scored(tmp_path, small_table, folds, monkeypatch):
    seen = []

    def draw(folder, held, progress):
        seen.append(held)
        return accuracy_figures.draw_accuracy_figures(folder, held, progress)

    monkeypatch.setattr(job, "draw_accuracy_figures", draw)
    out = job.write_accuracy(
        folds=folds, figures=tmp_path / "figures", out=tmp_path / "docs" / "accuracy.md"
    )
    text = out.read_text()
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert all((out.parent / picture).is_file() for picture in pictures)
    # the starter set knows neither gaps nor moments, so there is no S7
    stems = {"s6-parity", "s9-stability", "s9-space-groups",
             "s9-crystal-systems", "s10-characteristics", "reliability", "coverage",
             "abstention-space-groups"}  # fmt: skip
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    errors = (out.parent / job.ERRORS_PAGE).read_text()
    for title in ("By chemistry", "By stiffness", "By distance to the hull", "By element"):
        assert f"## {title}" in errors
    assert drawn == stems == {picture.rsplit("/")[-1].removesuffix(".png") for picture in pictures}
    hardness = [line for line in tables(text)["Other properties"] if "Mazhnik" in line[0]]
    measured = next(line for line in hardness if line[1] == "test formulas of starter set")
    assert float(measured[3].split(" / ")[0]) < 5
    # nothing that is drawn was learned from
    assert (seen[0].table.roles != TRAIN).all()


def test_chances_that_are_right_lie_on_the_diagonal():
    chance = np.random.default_rng(0).random(20_000)
    truth = (np.random.default_rng(1).random(20_000) < chance).astype(float)
    curve = accuracy_figures.measure_reliability(truth, chance)
    assert len(curve.chance) == accuracy_figures.N_BINS
    assert np.abs(curve.share - curve.chance).max() < 5 * curve.error.max()
    assert curve.brier == pytest.approx(1 / 6, abs=0.01)
    sure = accuracy_figures.measure_reliability(np.ones(100), np.ones(100))
    assert sure.brier == 0
    assert (sure.error > 0).all()


def test_exchangeable_errors_are_covered_as_promised():
    errors = np.random.default_rng(0).exponential(size=40_000)
    curve = accuracy_figures.measure_coverage(errors[:20_000], errors[20_000:])
    np.testing.assert_allclose(curve, accuracy_figures.LEVELS, atol=0.02)
    assert (np.diff(curve) > 0).all()


def test_own_models_bring_their_own_page(tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(find_shipped_models() / NETWORK_MODEL, folder / NETWORK_MODEL)
    path = folder / NETWORK_MODEL / "model.json"
    header = json.loads(path.read_text())
    header["scores"]["bulk_modulus"][page.OURS]["mae"] = 3.21
    path.write_text(json.dumps(header))
    out = job.write_accuracy(models=folder, folds=tmp_path, out=tmp_path / "accuracy.md")
    assert "| 3.21 / " in out.read_text()
