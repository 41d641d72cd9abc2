from __future__ import annotations

import pytest

from matlode.benchmarks.prediction import bench_prediction


@pytest.mark.slow
def test_every_stage_is_measured_beside_the_whole():
    found = bench_prediction(n_structures=30, n_starts=1)
    start_up, stages = found.values()
    assert list(found) == ["start-up", "prediction of 30 structures"]
    assert start_up[0]["seconds"] > 0
    names = [row["stage"] for row in stages]
    assert names[:4] == ["everything", "patterns", "properties", "symmetry"]
    assert {"screen expected_volume", "screen novel", "nearest known"} <= {*names}
    assert "space group, distances" in names
    for row in stages:
        assert row["ms per structure"] * row["structures per second"] == pytest.approx(1000)
