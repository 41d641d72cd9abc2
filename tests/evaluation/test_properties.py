import pytest

from matlode.errors import GoalError
from matlode.evaluation.properties import measure_scores, stored_scores
from matlode.properties.scores import BASELINES


def test_stored_scores_stand_beside_their_baselines():
    rows = stored_scores(["bulk_modulus"])
    models = {row.model: row.scores for row in rows}
    assert set(BASELINES) <= set(models)
    ours = models["standard, simulated pattern"]
    assert all(ours["mae"] < models[name]["mae"] for name in BASELINES)
    assert 0.85 <= ours["coverage"] <= 0.95


@pytest.mark.slow
def test_scores_are_measured_anew_on_the_starter_set(monkeypatch):
    monkeypatch.delenv("MATLODE_DATA", raising=False)
    rows = measure_scores(["bulk_modulus"])
    models = {row.model: row.scores for row in rows}
    assert models["standard, simulated pattern"]["mae"] < models["mean"]["mae"] / 2
    assert all(row.rows >= 50 for row in rows)


def test_unknown_endpoints_are_told():
    with pytest.raises(GoalError, match="unknown property"):
        stored_scores(["hardness"])
