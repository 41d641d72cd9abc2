from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from matlode.artefacts import save_artefact
from matlode.errors import ArtefactError
from matlode.representation.characteristics import CHARACTERISTICS, compute_characteristics
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.plausibility import (
    BAND_QUANTILES,
    MAX_OUTSIDE,
    MAX_RARITY,
    PLAUSIBILITY_MODEL,
    PatternBands,
    shuffle_peaks,
)


@pytest.fixture(scope="module")
def real(starter) -> np.ndarray:
    """Patterns of 800 known crystals."""
    return simulate_patterns(starter.crystals.take(np.arange(0, 5600, 7)))


@pytest.fixture(scope="module")
def bands(real) -> PatternBands:
    return PatternBands.fit(real[::2])


def strange_patterns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    axis = np.linspace(0, 1, 1601)
    noise = rng.uniform(size=1601)
    walk = np.abs(rng.normal(size=1601).cumsum())
    return {
        "noise": noise / noise.max(),
        "nothing": np.zeros(1601),
        "a flat line": np.ones(1601),
        "a ramp": axis,
        "one hump": np.exp(-(((axis - 0.5) / 0.2) ** 2)),
        "a comb": (np.arange(1601) % 8 == 0).astype(float),
        "a random walk": walk / walk.max(),
    }


def test_unseen_real_patterns_pass(bands, real):
    passed = [verdict.passed for verdict in bands.check_all(real[1::2])]
    assert np.mean(passed) > 0.9


@pytest.mark.parametrize("name", strange_patterns())
def test_what_no_crystal_gives_is_turned_down_with_its_reasons(bands, name):
    (verdict,) = bands.check_all(strange_patterns()[name][None])
    assert not verdict.passed
    assert verdict.rule == "plausible_pattern"
    assert verdict.reason.startswith("more unusual than ")
    assert f" of {len(CHARACTERISTICS)} " in verdict.reason
    assert any(f"{name} " in verdict.reason for name in CHARACTERISTICS)


def test_a_verdict_follows_from_rarity_and_bands(bands, real):
    patterns = np.vstack([real, list(strange_patterns().values())])
    values = compute_characteristics(patterns)
    outside = ((values < bands.low) | (values > bands.high)).sum(axis=1)
    rarity = bands.rarity(patterns)
    verdicts = bands.check_all(patterns)
    assert [verdict.value for verdict in verdicts] == rarity.tolist()
    passed = (rarity <= MAX_RARITY) & (outside <= MAX_OUTSIDE)
    assert [verdict.passed for verdict in verdicts] == passed.tolist()
    lenient = bands.check_all(patterns, max_rarity=1.0, max_outside=len(CHARACTERISTICS))
    assert all(verdict.passed for verdict in lenient)


def test_rarity_is_uniform_over_real_patterns_and_high_for_others(bands, real):
    rarity = bands.rarity(real[1::2])
    # 400 patterns: the largest deviation of a uniform sample is 0.068 at 95 %
    assert stats.kstest(rarity, "uniform").statistic < 0.15
    strange = np.array(list(strange_patterns().values()))
    assert (bands.rarity(strange) > 0.98).all()


def test_shuffled_peaks_are_the_same_points_in_another_order(real):
    shuffled = shuffle_peaks(real[:50], np.random.default_rng(0))
    assert_array_equal(np.sort(shuffled, axis=1), np.sort(real[:50], axis=1))
    assert (shuffled != real[:50]).any(axis=1).mean() > 0.9


def test_each_band_holds_its_share_of_the_patterns_it_was_fitted_on(bands, real):
    values = compute_characteristics(real[::2])
    inside = ((values >= bands.low) & (values <= bands.high)).mean(axis=0)
    assert (inside >= BAND_QUANTILES[1] - BAND_QUANTILES[0] - 2 / len(values)).all()
    assert (bands.low <= bands.high).all()


def test_a_batch_is_its_patterns_one_by_one(bands, real):
    together = bands.check_all(real[:20])
    assert together == [bands.check_all(row[None])[0] for row in real[:20]]


def test_saved_bands_judge_alike(bands, real, tmp_path):
    bands.save(tmp_path, {"trained_on": "half of a sample"})
    loaded = PatternBands.load(tmp_path)
    assert loaded.names == bands.names == tuple(CHARACTERISTICS)
    assert_array_equal(loaded.quantiles, bands.quantiles)
    assert loaded.check_all(real[:20]) == bands.check_all(real[:20])


def test_another_artefact_is_refused(tmp_path):
    save_artefact(tmp_path / PLAUSIBILITY_MODEL, kind="head", header={}, arrays={})
    with pytest.raises(ArtefactError, match='is a "head", expected a "bands"'):
        PatternBands.load(tmp_path)


def test_strangeness_is_the_squared_distance_of_correlated_normal_variables(bands, real):
    """Its mean over the patterns that it was fitted on is about the number of characteristics:
    somewhat less, since correlations are held 5 % smaller than they are."""
    mean = bands.strangeness(real[::2]).mean()
    assert 0.5 * len(CHARACTERISTICS) < mean <= len(CHARACTERISTICS)


def test_the_ends_of_a_band_belong_to_it(bands, real):
    values = compute_characteristics(real[:1])[0]
    quantiles = bands.quantiles.copy()
    quantiles[round(BAND_QUANTILES[0] * (len(quantiles) - 1))] = values
    (verdict,) = replace(bands, quantiles=quantiles).check_all(real[:1])
    assert "; 0 of " in verdict.reason


@pytest.mark.parametrize("name", ["quantiles", "precision", "distances"])
def test_distributions_of_no_patterns_are_refused(tmp_path, name):
    bands = PatternBands.load()
    values = getattr(bands, name).copy()
    values[3] = 1e300
    replace(bands, **{name: values}).save(tmp_path, {})
    with pytest.raises(ArtefactError, match="quantiles decrease or correlations are impossible"):
        PatternBands.load(tmp_path)
