from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from matlode.representation.characteristics import (
    CHARACTERISTICS,
    FLOOR,
    compute_characteristics,
)
from matlode.representation.diffraction import simulate_patterns
from matlode.testing import ROUND_OFF, SMALL_CRYSTALS


def _lagged(x: np.ndarray, lag: int) -> float:
    centred = x - x.mean()
    return float((centred[lag:] * centred[:-lag]).sum() / ((len(x) - lag) * x.var()))


def _entropy(x: np.ndarray) -> float:
    share = np.histogram(x, bins=10)[0] / len(x)
    return float(stats.entropy(share))


def _n_peaks(x: np.ndarray) -> int:
    return sum(
        all(x[i] > x[j] for j in range(i - 3, i + 4) if j != i) for i in range(3, len(x) - 3)
    )


def _longest_run(above: np.ndarray) -> int:
    return max((len(list(run)) for high, run in groupby(above) if high), default=0)


DEFINITIONS = {
    "mean": np.mean,
    "standard_deviation": np.std,
    "skewness": stats.skew,
    "kurtosis": lambda x: stats.kurtosis(x, fisher=False),
    "abs_energy": lambda x: np.dot(x, x),
    "mean_abs_change": lambda x: np.mean(np.abs(np.diff(x))),
    "cid_ce": lambda x: np.linalg.norm(np.diff(x)),
    "count_above_mean": lambda x: np.count_nonzero(x > x.mean()),
    "longest_strike_above_mean": lambda x: _longest_run(x > x.mean()),
    "number_peaks_3": _n_peaks,
    "ratio_beyond_3_sigma": lambda x: np.mean(np.abs(x - x.mean()) > 3 * x.std()),
    "autocorrelation_3": lambda x: _lagged(x, 3),
    "autocorrelation_10": lambda x: _lagged(x, 10),
    "c3_6": lambda x: np.mean(x[12:] * x[6:-6] * x[:-12]),
    "binned_entropy_10": _entropy,
    "first_location_of_maximum": lambda x: np.argmax(x) / len(x),
    "index_mass_quantile_0.5": lambda x: (
        (np.argmax(np.cumsum(x) / x.sum() >= 0.5 - 1e-12) + 1) / len(x)
    ),
    "energy_ratio_by_chunks_4_0": lambda x: np.sum(np.array_split(x, 4)[0] ** 2) / np.sum(x**2),
    "energy_ratio_by_chunks_4_3": lambda x: np.sum(np.array_split(x, 4)[3] ** 2) / np.sum(x**2),
    "linear_trend_slope": lambda x: stats.linregress(np.arange(len(x)), x).slope,
}
"""One series at a time, as tsfresh's documentation defines them (version 0.21)."""

# half steps: no value lies on the edge of a bin of the entropy
series = st.lists(st.integers(0, 999), min_size=30, max_size=60).map(
    lambda drawn: np.array([0, *(np.array(drawn) + 0.5), 1000]) / 1000
)


@given(series)
def test_values_are_those_of_the_definitions(x):
    (found,) = compute_characteristics(x[None])
    kept = np.where(x < FLOOR, 0, x)
    expected = [DEFINITIONS[name](kept) for name in CHARACTERISTICS]
    assert_allclose(found, expected, rtol=1e-9, atol=ROUND_OFF)


def test_values_of_real_patterns_are_those_of_the_definitions():
    for x in simulate_patterns([build() for build in SMALL_CRYSTALS.values()], dtype=float):
        (found,) = compute_characteristics(x[None])
        kept = np.where(x < FLOOR, 0, x)
        expected = [DEFINITIONS[name](kept) for name in CHARACTERISTICS]
        assert_allclose(found, expected, rtol=1e-9, atol=ROUND_OFF)


def test_values_of_real_patterns_are_those_of_tsfresh():
    library = pytest.importorskip("tsfresh.feature_extraction.feature_calculators")
    own = {
        "kurtosis": None,  # of another definition: bias-corrected excess
        "skewness": None,
        "number_peaks_3": lambda x: library.number_peaks(x, 3),
        "ratio_beyond_3_sigma": lambda x: library.ratio_beyond_r_sigma(x, 3),
        "autocorrelation_3": lambda x: library.autocorrelation(x, 3),
        "autocorrelation_10": lambda x: library.autocorrelation(x, 10),
        "c3_6": lambda x: library.c3(x, 6),
        "cid_ce": lambda x: library.cid_ce(x, False),
        "binned_entropy_10": lambda x: library.binned_entropy(x, 10),
        "index_mass_quantile_0.5": lambda x: dict(library.index_mass_quantile(x, [{"q": 0.5}]))[
            "q_0.5"
        ],
        "linear_trend_slope": lambda x: dict(library.linear_trend(x, [{"attr": "slope"}]))[
            'attr_"slope"'
        ],
    }
    for focus in (0, 3):
        own[f"energy_ratio_by_chunks_4_{focus}"] = lambda x, focus=focus: (
            library.energy_ratio_by_chunks(x, [{"num_segments": 4, "segment_focus": focus}])[0][1]
        )
    patterns = simulate_patterns([build() for build in SMALL_CRYSTALS.values()], dtype=float)
    for x in patterns:
        (found,) = compute_characteristics(x[None])
        kept = np.where(x < FLOOR, 0, x)
        for name, value in zip(CHARACTERISTICS, found, strict=True):
            calculate = own.get(name, getattr(library, name, None))
            if calculate is not None:
                assert calculate(kept) == pytest.approx(value, rel=1e-9, abs=ROUND_OFF), name


@given(st.lists(series.map(lambda x: x[:30]), min_size=2, max_size=4))
def test_a_batch_is_its_patterns_one_by_one(batch):
    together = compute_characteristics(np.array(batch))
    assert_allclose(
        together, np.vstack([compute_characteristics(x[None]) for x in batch]), atol=ROUND_OFF
    )


def test_long_batches_are_their_parts():
    patterns = np.random.default_rng(0).random((3, 40))
    tiled = compute_characteristics(np.tile(patterns, (500, 1)))
    assert_array_equal(tiled, np.tile(tiled[:3], (500, 1)))
    assert_allclose(tiled[:3], compute_characteristics(patterns), atol=ROUND_OFF)


@given(series, st.floats(0, 0.99))
def test_what_is_below_the_floor_does_not_count(x, part):
    noise = np.where(x < FLOOR, part * FLOOR, x)
    assert_array_equal(compute_characteristics(noise[None]), compute_characteristics(x[None]))


@given(series)
def test_reversing_the_axis_changes_nothing_but_signs_of_time(x):
    there, back = (
        dict(zip(CHARACTERISTICS, compute_characteristics(y[None])[0], strict=True))
        for y in (x, x[::-1])
    )
    assert back.pop("linear_trend_slope") == pytest.approx(-there.pop("linear_trend_slope"))
    for name in DIRECTED:
        del there[name], back[name]
    # none of the others looks at the direction of the axis
    assert_allclose(list(back.values()), list(there.values()), atol=1e-9)


DIRECTED = (
    "first_location_of_maximum",
    "index_mass_quantile_0.5",
    "energy_ratio_by_chunks_4_0",
    "energy_ratio_by_chunks_4_3",
)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_flat_patterns_have_finite_characteristics(level):
    values = dict(
        zip(CHARACTERISTICS, compute_characteristics(np.full((1, 100), level))[0], strict=True)
    )
    assert values.pop("mean") == level
    assert values.pop("abs_energy") == 100 * level
    assert values.pop("c3_6") == level
    assert values.pop("index_mass_quantile_0.5") in (0.01, 0.5)
    assert values.pop("energy_ratio_by_chunks_4_0") == level / 4
    assert values.pop("energy_ratio_by_chunks_4_3") == level / 4
    assert set(values.values()) == {0.0}


def test_no_patterns_have_no_characteristics():
    assert compute_characteristics(np.zeros((0, 1601))).shape == (0, len(CHARACTERISTICS))
