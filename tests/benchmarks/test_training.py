from dataclasses import replace

import numpy as np
import pytest

from matlode.benchmarks.training import TIMED, bench_training
from matlode.training.model_table import MODELS
from matlode.training.table import TrainingTable


def test_the_cost_of_a_training_is_that_of_its_epochs(monkeypatch):
    monkeypatch.delenv("MATLODE_DATA", raising=False)
    whole = TrainingTable.load()
    few = np.sort(np.random.default_rng(0).permutation(len(whole.materials))[:300])
    small = replace(whole, materials=whole.materials.take(few))
    monkeypatch.setattr(TrainingTable, "load", classmethod(lambda cls, path=None: small))
    (rows,) = bench_training().values()
    assert [row["model"] for row in rows[:-1]] == list(TIMED)
    for row in rows[:-1]:
        assert row["epochs"] == MODELS[row["model"]].training.max_epochs
        assert row["minutes"] == pytest.approx(row["s per epoch"] * row["epochs"] / 60, abs=0.06)
    assert rows[-1]["minutes"] == pytest.approx(sum(r["minutes"] for r in rows[:-1]), abs=0.1)
