from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.descriptors import (
    compute_composition_descriptors,
    compute_pattern_descriptors,
    list_composition_descriptors,
    list_pattern_descriptors,
)
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns
from matlode.representation.series import PEAK_THRESHOLD, find_peak_indices
from matlode.testing import GRID_STEP_DEG, SMALL_CRYSTALS, diamond, rock_salt
from tests.strategies import SYMBOLS, formula_texts

FLOAT32 = 2e-7
"""Relative rounding of a stored descriptor."""


def by_name(formula: str) -> dict[str, float]:
    (row,) = compute_composition_descriptors(compute_formula_vectors([formula]))
    return dict(zip(list_composition_descriptors(), row.tolist(), strict=True))


def pattern_by_name(pattern: np.ndarray) -> dict[str, float]:
    (row,) = compute_pattern_descriptors(pattern[None])
    return dict(zip(list_pattern_descriptors(), row.tolist(), strict=True))


def gaussians(centres_deg: list[float], heights: list[float]) -> np.ndarray:
    offsets = (STANDARD_SETTINGS.two_theta_deg - np.array(centres_deg)[:, None]) / 0.15
    return np.array(heights) @ np.exp(-0.5 * offsets**2)


@given(st.lists(formula_texts(), min_size=1, max_size=4))
def test_every_number_is_known_and_named(formulas):
    values = compute_composition_descriptors(compute_formula_vectors(formulas))
    names = list_composition_descriptors()
    assert values.shape == (len(formulas), len(names))
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert len(set(names)) == len(names)


@given(formula_texts(max_elements=6))
def test_statistics_lie_between_the_extremes(formula):
    row = by_name(formula)
    for name in ("Z", "X", "atomic_mass", "melting_point", "d_electrons"):
        low, mean, high = (row[f"{how}_{name}"] for how in ("min", "mean", "max"))
        slack = FLOAT32 * (abs(low) + abs(high))
        assert low - slack <= mean <= high + slack
        assert row[f"range_{name}"] == pytest.approx(high - low, abs=slack)
        # Popoviciu's inequality
        assert row[f"std_{name}"] <= (high - low) / 2 + slack


@given(st.sampled_from(SYMBOLS))
def test_one_element_has_no_spread(symbol):
    row = by_name(symbol)
    assert row["n_elements"] == 1
    for name in ("Z", "X", "bulk_modulus", "max_oxidation_state"):
        assert row[f"min_{name}"] == row[f"mean_{name}"] == row[f"max_{name}"]
        assert row[f"std_{name}"] == row[f"range_{name}"] == 0


@given(st.lists(formula_texts(), min_size=2, max_size=4))
def test_composition_rows_do_not_touch_each_other(formulas):
    vectors = compute_formula_vectors(formulas)
    singles = np.vstack([compute_composition_descriptors(row[None]) for row in vectors])
    assert_array_equal(compute_composition_descriptors(vectors), singles)


def test_long_batches_are_their_parts():
    vectors = np.tile(compute_formula_vectors(["NaCl", "SrTiO3", "Si"]), (500, 1))
    assert_array_equal(
        compute_composition_descriptors(vectors),
        np.tile(compute_composition_descriptors(vectors[:3]), (500, 1)),
    )


def test_descriptors_of_salt_are_those_of_the_periodic_table():
    # IUPAC masses 22.990 and 35.45, Pauling electronegativities 0.93 and 3.16
    row = by_name("NaCl")
    assert (row["fraction_11"], row["fraction_17"], row["n_elements"]) == (0.5, 0.5, 2)
    assert (row["mean_Z"], row["std_Z"], row["range_Z"]) == (14, 3, 6)
    assert row["mean_atomic_mass"] == pytest.approx((22.990 + 35.45) / 2, abs=0.005)
    assert row["min_X"] == pytest.approx(0.93)
    assert row["max_X"] == pytest.approx(3.16)
    assert (row["min_group"], row["max_group"], row["max_row"]) == (1, 17, 3)
    assert (row["max_s_electrons"], row["max_p_electrons"], row["max_d_electrons"]) == (6, 11, 0)


def test_weights_are_the_atomic_fractions():
    row = by_name("Fe2O3")
    assert row["mean_Z"] == pytest.approx((2 * 26 + 3 * 8) / 5)
    assert row["std_Z"] == pytest.approx(18 * np.sqrt(0.4 * 0.6))


@given(
    st.lists(st.integers(0, 38), min_size=1, max_size=15, unique=True),
    st.lists(st.floats(0.05, 1), min_size=15, max_size=15),
)
def test_peaks_are_found_where_they_were_put(places, heights):
    centres = sorted(12.0 + 2.0 * place for place in places)
    pattern = gaussians(centres, heights[: len(centres)])
    found = STANDARD_SETTINGS.two_theta_deg[find_peak_indices(pattern)]
    assert_allclose(found, centres, atol=GRID_STEP_DEG / 2)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=60))
def test_a_peak_is_higher_than_its_neighbours_and_the_threshold(values):
    pattern = np.array(values)
    for index in find_peak_indices(pattern):
        assert pattern[index] > PEAK_THRESHOLD
        assert pattern[index] == pattern[index - 1 : index + 2].max()
        assert pattern[index] > pattern[index - 1]


def test_a_flat_top_is_one_peak_and_noise_is_none():
    assert find_peak_indices(np.array([0, 0.5, 1, 1, 0.5, 0])).tolist() == [2]
    assert find_peak_indices(np.array([0, PEAK_THRESHOLD / 2, 0, 1, 0])).tolist() == [3]


def test_pattern_rows_do_not_touch_each_other():
    patterns = simulate_patterns([build() for build in SMALL_CRYSTALS.values()])
    singles = np.vstack([compute_pattern_descriptors(row[None]) for row in patterns])
    values = compute_pattern_descriptors(patterns)
    assert_array_equal(values, singles)
    assert values.shape == (len(patterns), len(list_pattern_descriptors()))
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("structure", "squares", "strongest"),
    [(rock_salt(), (3, 4, 8, 12, 16), (4, 8)), (diamond(), (3, 8, 11, 16, 19, 24), (3, 8))],
    ids=["NaCl", "Si"],
)
def test_spacings_are_those_of_the_lattice(structure, squares, strongest):
    """Bragg's law; the (311) of NaCl is below the threshold, as in PDF 5-0628 (2 %)."""
    row = pattern_by_name(simulate_patterns([structure])[0])
    a = structure.lattice.a
    # a step of 2θ moves d by d cot θ dθ, most for the first peak
    slack = a * np.radians(GRID_STEP_DEG / 2) / 0.23
    first = [row[f"d_first_{i}"] for i in range(len(squares))]
    assert_allclose(first, a / np.sqrt(squares), atol=slack)
    strong = [row[f"d_strongest_{i}"] for i in range(2)]
    assert_allclose(strong, a / np.sqrt(strongest), atol=slack)
    assert row["intensity_strongest_0"] == 1
    assert row["n_peaks"] >= len(squares)


def test_moments_of_one_peak():
    row = pattern_by_name(gaussians([45.0], [1.0]))
    assert row["n_peaks"] == 1
    assert row["centroid_two_theta_deg"] == pytest.approx(45.0, rel=FLOAT32)
    assert row["total_intensity"] == pytest.approx(0.15 * np.sqrt(2 * np.pi) / GRID_STEP_DEG)
    assert row["d_first_1"] == row["d_strongest_1"] == row["intensity_strongest_1"] == 0


def test_a_pattern_of_nothing_has_no_peaks():
    assert set(pattern_by_name(np.zeros(STANDARD_SETTINGS.n_points)).values()) == {0.0}


def test_fractions_lead_the_row():
    vectors = compute_formula_vectors(["SrTiO3", "NaCl"])
    leading = compute_composition_descriptors(vectors)[:, :MAX_ATOMIC_NUMBER]
    assert_array_equal(leading, vectors.astype(np.float32))


def test_rows_of_many_compositions_are_those_of_each():
    fractions = np.random.default_rng(0).dirichlet(np.ones(4), 2500)
    many = np.zeros((2500, MAX_ATOMIC_NUMBER))
    many[:, [7, 12, 21, 55]] = fractions
    together = compute_composition_descriptors(many)
    for rows in (slice(0, 10), slice(1020, 1030), slice(2490, 2500)):
        assert_array_equal(compute_composition_descriptors(many[rows]), together[rows])
