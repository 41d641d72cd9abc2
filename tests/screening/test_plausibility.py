from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from matlode.artefacts import save_artefact
from matlode.errors import ArtefactError
from matlode.representation.characteristics import CHARACTERISTICS, pattern_characteristics
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.plausibility import (
    BAND_QUANTILES,
    MAX_OUTSIDE,
    PLAUSIBILITY_MODEL,
    PatternBands,
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
    passed = [verdict.passed for verdict in bands.judge(real[1::2])]
    assert np.mean(passed) > 0.9


@pytest.mark.parametrize("name", strange_patterns())
def test_what_no_crystal_gives_is_turned_down_with_its_reasons(bands, name):
    (verdict,) = bands.judge(strange_patterns()[name][None])
    assert not verdict.passed
    assert verdict.rule == "plausible_pattern"
    assert verdict.value > verdict.limit == MAX_OUTSIDE
    assert verdict.reason.startswith(f"{verdict.value:.0f} of {len(CHARACTERISTICS)} ")
    assert any(f"{name} " in verdict.reason for name in CHARACTERISTICS)


def test_the_value_counts_the_bands_that_are_left(bands, real):
    patterns = np.vstack([real, list(strange_patterns().values())])
    values = pattern_characteristics(patterns)
    outside = ((values < bands.low) | (values > bands.high)).sum(axis=1)
    verdicts = bands.judge(patterns)
    assert set(outside) > set(range(MAX_OUTSIDE + 2))
    assert [verdict.value for verdict in verdicts] == outside.tolist()
    assert [verdict.passed for verdict in verdicts] == (outside <= MAX_OUTSIDE).tolist()


def test_each_band_holds_its_share_of_the_patterns_it_was_fitted_on(bands, real):
    values = pattern_characteristics(real[::2])
    inside = ((values >= bands.low) & (values <= bands.high)).mean(axis=0)
    assert (inside >= BAND_QUANTILES[1] - BAND_QUANTILES[0] - 2 / len(values)).all()
    assert (bands.low <= bands.high).all()


def test_a_batch_is_its_patterns_one_by_one(bands, real):
    together = bands.judge(real[:20])
    assert together == [bands.judge(row[None])[0] for row in real[:20]]


def test_saved_bands_judge_alike(bands, real, tmp_path):
    bands.save(tmp_path, {"trained_on": "half of a sample"})
    loaded = PatternBands.load(tmp_path)
    assert loaded.names == bands.names == tuple(CHARACTERISTICS)
    assert_array_equal(loaded.low, bands.low)
    assert_array_equal(loaded.high, bands.high)
    assert loaded.judge(real[:20]) == bands.judge(real[:20])


def test_another_artefact_is_refused(tmp_path):
    save_artefact(tmp_path / PLAUSIBILITY_MODEL, kind="head", header={}, arrays={})
    with pytest.raises(ArtefactError, match='is a "head", wanted a "bands"'):
        PatternBands.load(tmp_path)
