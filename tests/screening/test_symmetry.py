from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from pymatgen.symmetry.groups import SpaceGroup

from matlode.data.crystals import Crystals
from matlode.data.symmetry import CRYSTAL_SYSTEMS, N_SPACE_GROUPS, crystal_system
from matlode.errors import InputError
from matlode.records import Candidate
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.symmetry import (
    ClearSymmetry,
    SymmetryClassifier,
    compute_logits,
    compute_system_probabilities,
    fit_set_level,
    fit_temperature,
)
from matlode.screening.symmetry_answers import N_RELATIVE, RELATIVE_RANGE, compute_relative_patterns
from matlode.testing import ROUND_OFF, rock_salt
from matlode.training.recipes import score_space_groups

TEMPERATURE_NOISE = 0.05
"""Relative error of a temperature fitted on 4,000 draws."""


class Echo:
    """Answers with what it is given."""

    weights: ClassVar = {}

    def __call__(self, patterns, compositions):
        return patterns[:, :N_SPACE_GROUPS] + compositions[:, :1]


SHARES = hnp.arrays(float, (4, N_SPACE_GROUPS), elements=st.floats(0, 1)).map(
    lambda weights: (weights + 1e-3) / (weights + 1e-3).sum(axis=1, keepdims=True)
)


@given(SHARES)
def test_systems_share_the_probability_of_the_groups(space_groups):
    systems = compute_system_probabilities(space_groups)
    assert systems.shape == (4, 7)
    assert (systems >= 0).all()
    assert_allclose(systems.sum(axis=1), 1, atol=ROUND_OFF)


@given(st.integers(1, N_SPACE_GROUPS))
def test_a_certain_group_is_a_certain_system(number):
    certain = np.zeros((1, N_SPACE_GROUPS))
    certain[0, number - 1] = 1
    (systems,) = compute_system_probabilities(certain)
    assert dict(zip(CRYSTAL_SYSTEMS, systems, strict=True))[crystal_system(number)] == 1


def test_systems_have_the_number_of_groups_of_the_international_tables():
    systems = [crystal_system(number) for number in range(1, N_SPACE_GROUPS + 1)]
    counts = [systems.count(name) for name in CRYSTAL_SYSTEMS]
    assert counts == [2, 13, 59, 68, 25, 27, 36]


@pytest.mark.parametrize("number", [1, 2, 3, 15, 16, 74, 75, 142, 143, 167, 168, 194, 195, 230])
def test_systems_agree_with_pymatgen(number):
    assert crystal_system(number) == SpaceGroup.from_int_number(number).crystal_system


@pytest.mark.parametrize("number", [0, -1, 231])
def test_other_numbers_are_no_space_groups(number):
    with pytest.raises(InputError, match=rf"unknown space group {number};"):
        crystal_system(number)


def drawn(temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are ``temperature`` times too large for the labels drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(4000, 12))
    odds = np.exp(logits)
    totals = odds.cumsum(axis=1)
    labels = (rng.uniform(size=(4000, 1)) * totals[:, -1:] > totals).sum(axis=1)
    return temperature * logits, labels


def log_loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    scaled = logits / temperature
    rows = np.arange(len(labels))
    return float(np.mean(np.logaddexp.reduce(scaled, axis=1) - scaled[rows, labels]))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_overconfidence_is_measured(temperature):
    fitted = fit_temperature(*drawn(temperature))
    assert fitted == pytest.approx(temperature, rel=TEMPERATURE_NOISE)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_other_temperature_has_a_lower_log_loss(seed):
    logits, labels = drawn(2.0, seed)
    fitted = fit_temperature(logits, labels)
    best = log_loss(logits, labels, fitted)
    others = fitted * np.array([0.5, 0.9, 0.99, 1.01, 1.1, 2.0])
    assert all(log_loss(logits, labels, other) > best for other in others)


@given(shift=st.floats(-50, 50))
def test_a_constant_added_to_the_logits_changes_nothing(shift):
    logits, labels = drawn(2.0)
    some = slice(200)
    assert fit_temperature(logits[some] + shift, labels[some]) == pytest.approx(
        fit_temperature(logits[some], labels[some]), rel=1e-4
    )


def test_large_logits_do_not_overflow():
    logits, labels = drawn(1000.0)
    assert np.isfinite(fit_temperature(logits, labels))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sets_hold_the_truth_nine_times_in_ten_and_are_small_where_it_is_clear(seed):
    logits, labels = drawn(1.0, seed)
    odds = np.zeros((len(labels), N_SPACE_GROUPS))
    odds[:, :12] = np.exp(logits)
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    level = fit_set_level(probabilities[:2000], labels[:2000])
    classifier = SymmetryClassifier(Echo(), 1.0, {"simulated": level})
    inside = classifier.sets(probabilities[2000:], case="simulated")
    held = inside[np.arange(2000), labels[2000:]].mean()
    # 2,000 calibration and 2,000 test rows
    assert held == pytest.approx(0.9, abs=0.03)
    assert inside.any(axis=1).all()
    sure = probabilities[2000:].max(axis=1) > 0.9
    assert inside[sure].sum(axis=1).mean() < inside[~sure].sum(axis=1).mean()


def test_the_surest_half_is_right_more_often():
    logits, labels = drawn(1.0)
    odds = np.zeros((len(labels), N_SPACE_GROUPS))
    odds[:, :12] = np.exp(logits)
    scores = score_space_groups(odds / odds.sum(axis=1, keepdims=True), labels)
    assert scores["space_group"] < scores["space_group_of_surest_half"]
    assert scores["space_group"] < scores["space_group_top_5"]
    assert scores["space_group"] <= scores["crystal_system"]


def test_cubic_lattices_of_any_size_look_alike_from_their_first_peak():
    sizes = (4.0, 4.4, 5.0)
    crystals = Crystals.from_structures([rock_salt("NaCl", a_angstrom=a) for a in sizes])
    patterns = simulate_patterns(crystals)
    relative = compute_relative_patterns(patterns) ** 0.5
    apart = patterns**0.5
    for seen, at_least, at_most in ((relative, 0.9, 1.0), (apart, 0.0, 0.5)):
        unit = seen / np.linalg.norm(seen, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[np.triu_indices(3, 1)]
        assert at_least <= cosines.min()
        assert cosines.max() <= at_most + ROUND_OFF


def test_an_empty_pattern_has_an_empty_relative_one():
    assert not compute_relative_patterns(np.zeros((1, 1601), np.float32)).any()


def test_the_first_peak_stands_at_one_to_a_tenth_of_a_step():
    """Its top lies between grid points, most often."""
    sizes = np.linspace(4.0, 6.0, 41)
    crystals = Crystals.from_structures([rock_salt("NaCl", a_angstrom=a) for a in sizes])
    relative = compute_relative_patterns(simulate_patterns(crystals))
    nearest, farthest = RELATIVE_RANGE
    step = np.log(farthest / nearest) / (N_RELATIVE - 1)
    expected = -np.log(nearest) / step
    window = slice(round(expected) - 4, round(expected) + 5)
    weight = relative[:, window]
    tops = (weight * np.arange(N_RELATIVE)[window]).sum(axis=1) / weight.sum(axis=1)
    assert_allclose(tops, expected, atol=0.1)


def test_beyond_the_grid_is_nothing():
    places = np.arange(1601, dtype=np.float32)
    pattern = np.exp(-0.5 * ((places - 1000) / 5) ** 2)
    pattern[-20:] = 0.5
    (relative,) = compute_relative_patterns(pattern[None])
    assert relative[: N_RELATIVE // 2].max() > 0.9
    assert not relative[N_RELATIVE // 2 :].any()


def test_every_row_is_answered_in_its_place():
    patterns = np.arange(4500, dtype=np.float32)[:, None] * np.ones((1, 1601), np.float32)
    compositions = np.zeros((4500, 100))
    compositions[:, 0] = 0.5
    logits = compute_logits(Echo(), patterns, compositions)
    assert_allclose(logits, (np.arange(4500) + 0.5)[:, None] * np.ones((1, N_SPACE_GROUPS)))
    assert_allclose(compute_logits(Echo(), patterns, None), patterns[:, :N_SPACE_GROUPS])


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ((225,), "likeliest space group 225 with 0.90"),
        ((225, 221), "likeliest space group 225 with 0.90; one of 225, 221 with 90 % coverage"),
        (tuple(range(219, 226)), "; the true one is among 7 with 90 % coverage"),
    ],
)
def test_a_set_is_told_in_words(members, words):
    chances = np.full(N_SPACE_GROUPS, 0.1 / 229)
    chances[224] = 0.9
    candidate = Candidate("ClNa", np.zeros(100), np.zeros(1601), {}, chances, members)
    reason = ClearSymmetry().check(candidate).reason
    assert reason.startswith("cubic with probability")
    assert words in reason
    assert ("coverage" in reason) == (len(members) > 1)
