import dataclasses

import numpy as np
import pytest

from matlode.evaluation.latent import compare_peaks, compute_wasserstein_deg, measure_latent
from matlode.evaluation.latent_figures import draw_latent_figures
from matlode.testing import draw_gaussians
from matlode.training.table import TrainingTable


def pattern(angles: list[float], shift: float = 0.0) -> np.ndarray:
    return draw_gaussians(np.array(angles) + shift, np.ones(len(angles)))[None]


@pytest.fixture
def small_table(request, monkeypatch):
    monkeypatch.delenv("MATLODE_DATA", raising=False)
    table = TrainingTable.load()
    n = getattr(request, "param", 1500)
    rows = np.sort(np.random.default_rng(0).permutation(len(table.materials))[:n])
    small = dataclasses.replace(table, materials=table.materials.take(rows))
    monkeypatch.setattr(TrainingTable, "load", classmethod(lambda cls, path=None: small))
    return small


def test_a_pattern_has_all_peaks_of_itself():
    true = pattern([20.0, 30.0, 55.0])
    assert compare_peaks(true, true, 0.05) == (1.0, 0.0)


def test_peaks_are_found_within_a_fifth_of_a_degree():
    true = pattern([20.0, 30.0, 55.0])
    assert compare_peaks(pattern([20.0, 30.0, 55.0], shift=0.2), true, 0.05) == (1.0, 0.0)
    assert compare_peaks(pattern([20.0, 30.0, 55.0], shift=0.25), true, 0.05) == (0.0, 1.0)


def test_lost_and_false_peaks_are_counted():
    found, false = compare_peaks(pattern([20.0, 40.0]), pattern([20.0, 30.0, 55.0]), 0.05)
    assert found == pytest.approx(1 / 3)
    assert false == pytest.approx(1 / 2)


def test_weak_peaks_count_at_low_thresholds_only():
    true = draw_gaussians(np.array([20.0, 40.0]), np.array([1.0, 0.1]))[None]
    alone = pattern([20.0])
    assert compare_peaks(alone, true, 0.05) == (0.5, 0.0)
    assert compare_peaks(alone, true, 0.2) == (1.0, 0.0)
    assert compare_peaks(true, alone, 0.05) == (1.0, 0.5)


@pytest.mark.parametrize("shift", [0.05, 0.5, 5.0])
def test_the_distance_of_a_shifted_pattern_is_the_shift(shift):
    distance = compute_wasserstein_deg(pattern([30.0, 50.0], shift=shift), pattern([30.0, 50.0]))
    assert distance == pytest.approx(shift, rel=1e-3)


def test_half_the_weight_moved_is_half_the_distance():
    distance = compute_wasserstein_deg(pattern([30.0, 60.0]), pattern([30.0, 50.0]))
    assert distance == pytest.approx(5.0, rel=1e-3)


def test_the_latent_space_is_measured(small_table):
    rows = {row.name: row for row in measure_latent(n_prior=200)}
    standard = {name: row.by_face["standard"] for name, row in rows.items()}
    assert standard["exact formula"] > 0.9
    assert standard["pattern cosine, median"] > 0.95
    assert standard["peaks of ≥ 20% found within 0.2°"] > 0.8
    assert 0.5 < standard["pairs told from shuffled pairs, AUC"] <= 1
    for half, alike in (
        ("composition", "elements shared"),
        ("pattern", "same crystal system"),
        ("whole", "same prototype"),
    ):
        name = f"{half} neighbours: {alike}"
        assert standard[name] > standard[f"{name}, by chance"]
    # shipped without weights, so nothing can be measured
    assert all(row.by_face["reference"] is None for row in rows.values())


@pytest.mark.parametrize(
    "small_table", [300, pytest.param(1500, marks=pytest.mark.laboratory)], indirect=True
)
@pytest.mark.usefixtures("small_table")
def test_figures_are_drawn(tmp_path):
    files = draw_latent_figures(tmp_path, seed=3)
    assert len(files) == 15
    assert {path.name.split("-")[0] for path in files} == {"s2", "s3", "s4", "s5"}
    assert all("seed3" in path.name and path.stat().st_size > 5000 for path in files)
