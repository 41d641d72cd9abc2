from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from matlode.data.crystals import Crystals
from matlode.errors import InputError
from matlode.representation.augmentation import (
    MEASURED_LIKE,
    Augmentation,
    simulate_augmented_patterns,
)
from matlode.representation.diffraction import DiffractionSettings, simulate_patterns
from matlode.representation.series import find_peak_indices
from matlode.testing import SMALL_CRYSTALS, rock_salt

NOTHING = Augmentation(
    strain=0, texture=1, sigma_deg=(0.15, 0.15), eta=(0, 0), zero_shift_deg=0, background=0,
    counts=0,
)  # fmt: skip
OTHER_KERNEL = 1e-6
"""Gaussians by recurrence, and from a table."""


@pytest.fixture(scope="module")
def some() -> Crystals:
    return Crystals.from_structures([build() for build in SMALL_CRYSTALS.values()] * 20)


def draw(crystals, seed=0, augmentation=MEASURED_LIKE, **options):
    return simulate_augmented_patterns(
        crystals, np.random.default_rng(seed), augmentation, **options
    )


def test_no_augmentation_is_the_simulated_pattern(some):
    assert_allclose(draw(some, augmentation=NOTHING), simulate_patterns(some), atol=OTHER_KERNEL)


def test_the_same_seed_gives_the_same_patterns_on_any_number_of_threads(some):
    assert_array_equal(draw(some, n_threads=1), draw(some, n_threads=3))
    assert (draw(some, seed=0) != draw(some, seed=1)).any(axis=1).all()


def test_strongest_point_is_one_and_none_is_negative(some):
    patterns = draw(some)
    assert (patterns.max(axis=1) == 1).all()
    assert patterns.min() >= 0


def test_strain_keeps_the_symmetry():
    # one lattice parameter: as many peaks, moved by one factor in d
    salt = Crystals.from_structures([rock_salt()] * 50)
    only = replace(NOTHING, strain=0.01, sigma_deg=(0.05, 0.05))
    plain = find_peak_indices(draw(salt.take([0]), augmentation=replace(only, strain=0))[0], 0.05)
    grid = DiffractionSettings().two_theta_deg
    for pattern in draw(salt, augmentation=only):
        peaks = find_peak_indices(pattern, 0.05)
        ratio = np.sin(np.radians(grid[peaks[:4]] / 2)) / np.sin(np.radians(grid[plain[:4]] / 2))
        assert_allclose(ratio, ratio.mean(), atol=2e-3)


def test_texture_changes_heights_and_nothing_else(some):
    only = replace(NOTHING, texture=3.0)
    textured, plain = draw(some, augmentation=only), simulate_patterns(some)
    assert (abs(textured - plain).max(axis=1) > 0.01).mean() > 0.5
    # where nothing was, nothing is
    assert textured[plain < 1e-7].max() < 1e-5


def test_mean_weight_of_a_random_texture_is_one():
    """March's function conserves scattering matter (Dollase 1986): its mean over directions."""
    r, cosine = 0.6, np.linspace(0, 1, 200001)
    weights = (r * r * cosine**2 + (1 - cosine**2) / r) ** -1.5
    assert np.trapezoid(weights, cosine) == pytest.approx(1, abs=1e-6)


def test_noise_grows_as_the_square_root_of_counts(some):
    clean = draw(some, augmentation=NOTHING)
    noisy = draw(some, augmentation=replace(NOTHING, counts=400))
    deviation = (noisy - clean)[clean > 0.9].std()
    assert deviation == pytest.approx(1 / np.sqrt(400), rel=0.3)


def test_zero_shift_moves_a_whole_pattern():
    salt = Crystals.from_structures([rock_salt()] * 40)
    shifted = draw(salt, augmentation=replace(NOTHING, zero_shift_deg=0.5))
    plain = find_peak_indices(simulate_patterns(salt.take([0]))[0])[:6]
    moved = np.array([find_peak_indices(pattern)[:6] for pattern in shifted]) - plain
    assert (np.ptp(moved, axis=1) <= 1).all()
    assert moved[:, 0].std() * 0.05 == pytest.approx(0.5, rel=0.4)


def test_what_cannot_be_says_so(some):
    with pytest.raises(InputError, match="at least 1"):
        Augmentation(texture=0.5)
    with pytest.raises(InputError, match="axis 2θ"):
        draw(some, settings=DiffractionSettings(axis="q"))


def test_strain_has_the_width_that_was_asked_for():
    """Of a cubic crystal the mean of three diagonal components is left: σ/√3."""
    salt = Crystals.from_structures([rock_salt(a_angstrom=4.2)] * 400)
    only = replace(NOTHING, strain=0.01, sigma_deg=(0.05, 0.05))
    fine = DiffractionSettings(two_theta_min_deg=36, two_theta_max_deg=50, n_points=7001)
    patterns = simulate_augmented_patterns(salt, np.random.default_rng(0), only, fine)
    top = fine.two_theta_deg[patterns.argmax(axis=1)]
    spacing = 1 / np.sin(np.radians(top / 2))
    assert np.std(spacing / spacing.mean()) == pytest.approx(0.01 / np.sqrt(3), rel=0.1)
