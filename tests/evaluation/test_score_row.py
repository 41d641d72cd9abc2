"""What `matlode evaluate --json` prints: other programs read it, so its keys stay."""

import json

from matlode.evaluation.latent import LatentMeasure
from matlode.evaluation.properties import stored_scores
from matlode.evaluation.score_row import ScoreRow

ROW_KEYS = ["endpoint", "unit", "model", "rows", "split", "scores"]


def test_a_row_is_one_json_object():
    row = ScoreRow(
        endpoint="bulk_modulus", unit="GPa", model="mean", rows=12, split="by formula",
        scores={"mae": 51.5},
    )  # fmt: skip
    assert row.to_json() == {
        "endpoint": "bulk_modulus",
        "unit": "GPa",
        "model": "mean",
        "rows": 12,
        "split": "by formula",
        "scores": {"mae": 51.5},
    }
    assert list(row.to_json()) == ROW_KEYS


def test_a_latent_measure_has_a_key_per_face():
    measure = LatentMeasure("exact formula", {"standard": 0.98, "reference": None}, "9 formulas")
    assert measure.to_json() == {
        "measure": "exact formula", "standard": 0.98, "reference": None, "on": "9 formulas",
    }  # fmt: skip


def test_stored_scores_keep_their_schema():
    rows = json.loads(json.dumps([row.to_json() for row in stored_scores(["bulk_modulus"])]))
    assert {tuple(row) for row in rows} == {tuple(ROW_KEYS)}
    types = {"endpoint": str, "unit": str, "model": str, "rows": int, "split": str, "scores": dict}
    for row in rows:
        assert {key: type(value) for key, value in row.items()} == types
        assert all(type(value) is float for value in row["scores"].values())
    ours = next(row for row in rows if row["model"] == "standard, crystal")
    assert set(ours["scores"]) == {
        "mae", "rmse", "r2", "mae_ln", "r2_ln", "coverage", "interval_width",
    }  # fmt: skip
