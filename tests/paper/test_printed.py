"""The printed scores: folds of the paper's recipe, and the table that compares them."""

from dataclasses import replace

import numpy as np
import pytest

from matlode.evaluation.published import PAPER
from matlode.paper import printed_scores as job
from matlode.paper.printed_figures import draw_printed
from matlode.paper.printed_scores import QUANTITIES, FoldSettings, Predicted
from matlode.paper.printed_table import tabulate_printed
from matlode.progress import silent
from matlode.training.encoding import EncodedTable
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer

ENERGY, STABLE = QUANTITIES["formation_energy"], QUANTITIES["formation_probability"]
FEW = FoldSettings(
    n_folds=2,
    trees=replace(FoldSettings().trees, n_rounds=60),
    network=replace(FoldSettings().network, max_epochs=2),
)


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    monkeypatch.delenv("MATLODE_DATA", raising=False)
    monkeypatch.setattr(job, "hash_foundations", lambda folder, face: {})
    # the reference's autoencoders do not ship: fractions of elements stand for latent variables
    points = property(lambda self: np.split(self.table.compositions[:, :88], [24], axis=1))
    monkeypatch.setattr(EncodedTable, "points", points)
    whole = TrainingTable.load()
    few = np.sort(np.random.default_rng(0).permutation(len(whole.materials))[:500])
    return Trainer.of(replace(whole, materials=whole.materials.take(few)), tmp_path, silent)


def test_each_row_is_predicted_once_by_a_model_that_did_not_learn_it(trainer, tmp_path):
    for split in job.SPLITS:
        folds = job.measure_folds(trainer, ENERGY, split, tmp_path / "parts", FEW)
        labels = job.read_labels(ENERGY, trainer.table)
        truth = np.concatenate([fold.truth for fold in folds])
        assert sorted(truth) == sorted(labels[~np.isnan(labels)])
        scores = job.average_scores(folds, ENERGY)
        assert 0.1 < scores["r2"][0] < 0.99
        assert scores["mae"][0] < scores["rmse"][0]


def test_finished_folds_are_read_and_others_made(trainer, tmp_path, monkeypatch):
    first = job.measure_folds(trainer, STABLE, "random", tmp_path, FEW)
    assert all(((fold.value > 0) & (fold.value < 1)).all() for fold in first)
    monkeypatch.setattr(job, "train_stability", None)
    again = job.measure_folds(trainer, STABLE, "random", tmp_path, FEW)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.value, other.value)
    with pytest.raises(TypeError):  # of other settings: nothing is there, nothing can train
        job.measure_folds(trainer, STABLE, "random", tmp_path, replace(FEW, n_folds=3))


def test_a_table_without_labels_gives_no_folds(trainer, tmp_path):
    # the starter set has no Debye temperatures
    quantity = QUANTITIES["debye_temperature"]
    assert job.measure_folds(trainer, quantity, "random", tmp_path, FEW) == []


def test_a_table_with_one_class_gives_no_folds(trainer, tmp_path, monkeypatch):
    labels = np.repeat([0.0, 1.0], [491, 9])
    monkeypatch.setattr(job, "read_labels", lambda quantity, table: labels)
    assert job.measure_folds(trainer, STABLE, "random", tmp_path, FEW) == []


def test_more_rows_make_better_models(trainer):
    curve = job.measure_learning_curve(trainer, ENERGY, (0.1, 1.0), FEW)
    (few, worse), (many, better) = curve.items()
    assert few < many
    assert worse["mae"] > better["mae"]


def test_every_printed_score_has_a_row_beside_the_papers():
    truth = np.array([0.0, 1.0, 2.0, 4.0])
    exact = [Predicted(truth, truth), Predicted(truth, truth + 1)]
    folds = {("bulk_modulus", "random"): exact, ("bulk_modulus", "formula"): []}
    rows = tabulate_printed(
        folds, {"random": {"space_group": 0.5}}, {"bulk_modulus": {"mae": 9.0}}, n_crystals=7
    )
    assert len(rows) == sum(map(len, PAPER.numbers.values()))
    found = {(row["quantity"], row["metric"]): row for row in rows}
    bulk = found["bulk modulus, GPa", "mae"]
    assert (bulk["paper"], bulk["reference_random"], bulk["standard"]) == (24.6, 0.5, 9.0)
    assert bulk["reference_formula"] is None
    assert (bulk["rows_paper"], bulk["rows_here"]) == (2721, 8)
    group = found["space group", "space_group"]
    assert (group["paper"], group["reference_random"], group["rows_here"]) == (0.54, 0.5, 7)


def test_logarithms_are_scored_as_the_paper_prints_them():
    quantity = QUANTITIES["thermal_expansion"]
    scores = Predicted(np.array([-10.0, -9.0]), np.array([-10.5, -9.0])).score(quantity)
    assert scores["mae_ln"] == pytest.approx(0.25)
    assert set(scores) >= set(PAPER.numbers["thermal_expansion"])


def test_figures_are_drawn_of_what_was_measured(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 60).astype(float)
    folds = {
        "bulk_modulus": [Predicted(rng.random(60), rng.random(60)) for _ in range(2)],
        "formation_probability": [Predicted(truth, rng.random(60)) for _ in range(2)],
        "shear_modulus": [],
    }
    names = [file.name for file in draw_printed(tmp_path, folds)]
    assert names == ["printed-s6-parity.png", "printed-s9-stability.png"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)
