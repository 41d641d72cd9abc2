from dataclasses import replace

import numpy as np
import pytest

from matlode.errors import GoalError
from matlode.evaluation import cross_validation as job
from matlode.properties.scores import BASELINES
from matlode.training.encoding import EncodedTable
from matlode.training.table import TrainingTable


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MATLODE_DATA", raising=False)
        table = TrainingTable.load()
        few = np.sort(np.random.default_rng(0).permutation(len(table.materials))[:700])
        small = replace(table, materials=table.materials.take(few))
        patch.setattr(TrainingTable, "load", classmethod(lambda cls, path=None: small))
        patch.setattr(job, "BASELINES", {"mean": BASELINES["mean"]})
        folder = tmp_path_factory.mktemp("folds")
        first = job.cross_validate(split="formula", n_folds=2, out=folder)
        # finished folds are read, not made: nothing is left to train with
        patch.setattr(job, "fit_network", None)
        return small, first, job.cross_validate(split="formula", n_folds=2, out=folder)


def test_every_labelled_row_is_tested_once_and_beats_the_mean(rows):
    table, first, again = rows
    assert first == again
    found = {(row.endpoint, row.model): row for row in first}
    for name in ("formation_energy", "volume_per_atom"):
        ours, mean = found[name, "standard, crystal"], found[name, "mean"]
        labels = table.labels(job.ENDPOINTS[name])
        assert ours.rows == mean.rows == (~np.isnan(labels)).sum()
        assert ours.split == "2 folds by formula"
        assert ours.scores["mae"] < 0.7 * mean.scores["mae"]
        assert ours.scores["mae_sd"] >= 0
    # density is derived; its truth follows from the volumes
    assert found["density", "standard, crystal"].scores["mae"] < 2


def test_the_papers_recipe_is_measured_on_the_same_folds(rows, tmp_path, monkeypatch):
    table, ours, _ = rows
    monkeypatch.setattr(TrainingTable, "load", classmethod(lambda cls, path=None: table))
    # its autoencoders do not ship: elements say as much about a formula as its latents would
    monkeypatch.setattr(
        EncodedTable,
        "points",
        property(lambda self: np.split(self.table.compositions, [60], axis=1)),
    )
    found = job.cross_validate(split="formula", n_folds=2, faces=["reference"], out=tmp_path)
    reference = {row.endpoint: row for row in found}
    theirs = {row.endpoint: row for row in ours if row.model == "standard, crystal"}
    for name in ("formation_energy", "formation_probability"):
        assert reference[name].model == "reference, simulated pattern"
        assert reference[name].rows == theirs[name].rows
    assert reference["formation_energy"].scores["r2"] > 0.3
    assert len(list(tmp_path.glob("reference-formula-*-of-2-*.json"))) == 2


def test_unknown_faces_are_told(tmp_path):
    with pytest.raises(GoalError, match='Did you mean "standard"'):
        job.cross_validate(faces=["standart"], out=tmp_path)


def test_unknown_splits_are_told(tmp_path):
    with pytest.raises(GoalError, match='Did you mean "chemical_system"'):
        job.cross_validate(split="chemical-systems", out=tmp_path)
