"""Labelled scans are read with canonical formulas, and a perfect table finds them."""

import numpy as np
import pandas as pd
import pytest

from matlode.benchmarks.identify_scans import bench_scans, compute_calibration_error
from matlode.benchmarks.labelled_scans import is_for_learning, read_mixtures, read_scans
from matlode.data.tables import write_materials
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns


@pytest.fixture
def folder(starter, tmp_path):
    """Scans of cassiterite, with a phase that the table has and one that it lacks."""
    (row,) = np.flatnonzero((starter.frame.formula == "O2Sn") & (starter.frame.space_group == 136))
    (curve,) = simulate_patterns(starter.crystals.take([row]))
    rows = [
        {"id": name, "formula": formula, "crystal_system": "tetragonal",
         "two_theta_deg": STANDARD_SETTINGS.grid, "intensity": 1000 * curve + 10}
        for name, formula in (("a", "SnO2"), ("b", "SnO7"))
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(tmp_path / "single_phase.parquet")
    write_materials(starter.take(np.unique([*range(0, 5000, 50), row])), tmp_path / "table")
    return tmp_path


def test_scans_are_read(folder):
    scans = read_scans(folder)
    assert [(s.id, s.formula, s.family) for s in scans] == [
        ("a", "O2Sn", "tetragonal"), ("b", "O7Sn", "tetragonal"),
    ]  # fmt: skip
    assert read_mixtures(folder) == []
    halves = [is_for_learning(f"R{n:06}") for n in range(200)]
    assert 70 < sum(halves) < 130


def test_known_phases_are_counted(folder):
    table = folder / "table" / "materials.parquet"
    found = bench_scans(folder, table, folder / "index", folder / "out")
    assert (folder / "out" / "reliability.png").exists()
    assert [row["n"] for row in found["single phases"][:3]] == [1, 1, 1]
    assert [row["rank 1"] for row in found["single phases"][:3]] == [1, 1, 1]
    assert [row["n"] for row in found["probability"][:3]] == [2, 2, 2]
    assert all(0 <= row["error of a calibrated answer"] <= 0.5 for row in found["probability"])
    first, second = found["each scan"]
    assert first["in the table"]
    assert first["rank, blind"] == 1
    assert not second["in the table"]


def test_the_calibration_error_is_that_of_the_bins():
    stated = np.repeat([0.1, 0.5, 0.9], 10)
    right = np.concatenate([np.arange(10) < n for n in (1, 5, 9)])
    assert compute_calibration_error(stated, right) < 0.2
    assert compute_calibration_error(np.ones(10), np.zeros(10, bool)) == pytest.approx(1)
