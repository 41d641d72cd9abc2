"""Patterns made as if measured are counts of what the crystal scatters."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from matlode.benchmarks.measured_like import (
    LADDER,
    MEASUREMENT,
    Difficulty,
    simulate_measured_pattern,
)
from matlode.data.crystals import Crystals
from matlode.representation.diffraction import simulate_peaks
from matlode.testing import rock_salt, rutile

CRYSTALS = Crystals.from_structures([rutile(), rock_salt()])
QUIET = Difficulty(name="quiet", background=0.0, counts=1e7)


def made(difficulty, seed=0):
    return simulate_measured_pattern(CRYSTALS, 0, 1, difficulty, np.random.default_rng(seed))


def test_the_strongest_peak_is_where_the_crystal_has_it():
    peaks = simulate_peaks(rutile(), MEASUREMENT)
    pattern = made(QUIET)
    top = pattern.two_theta_deg[pattern.intensity.argmax()]
    # the first of the doublet is at a shorter wavelength than its mean
    assert top == pytest.approx(peaks.two_theta_deg[peaks.intensity.argmax()], abs=0.1)


def test_the_same_seed_gives_the_same_counts():
    assert_array_equal(made(LADDER[4]).intensity, made(LADDER[4]).intensity)
    assert (made(LADDER[4]).intensity != made(LADDER[4], seed=1).intensity).any()


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_intensities_are_counts(rung):
    counts = made(rung).intensity
    assert (counts >= 0).all()
    assert_array_equal(counts, np.round(counts))
    assert 0.5 * rung.counts < counts.max() < 2 * rung.counts


def test_an_impurity_adds_lines_of_the_other_crystal():
    strongest = simulate_peaks(rock_salt(), MEASUREMENT)
    angle = strongest.two_theta_deg[strongest.intensity.argmax()]
    there = np.abs(MEASUREMENT.grid - angle) < 0.05
    mixed = made(Difficulty(name="mixed", background=0.0, impurity=0.5, counts=1e6))
    pure = made(Difficulty(name="pure", background=0.0, counts=1e6))
    assert mixed.intensity[there].max() > 5 * pure.intensity[there].max()


def test_a_crystal_without_lines_has_no_pattern():
    tiny = Crystals.from_structures([rock_salt(a_angstrom=0.8)])
    assert simulate_measured_pattern(tiny, 0, 0, QUIET, np.random.default_rng(0)) is None
