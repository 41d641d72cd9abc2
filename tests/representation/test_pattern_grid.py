from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pymatgen.core import Structure

from matlode.errors import GridMismatchError, InputError
from matlode.representation.diffraction import (
    STANDARD_SETTINGS,
    DiffractionSettings,
    simulate_patterns,
)
from matlode.representation.pattern_grid import (
    GAP_STEPS,
    MIN_COVERED,
    GriddedPattern,
    to_grid,
)
from matlode.representation.patterns import MeasuredPattern, read_pattern
from matlode.representation.radiation import find_wavelength
from matlode.testing import ROUND_OFF, diamond, rock_salt
from tests.strategies import crystals, reals

GRID = STANDARD_SETTINGS.two_theta_deg
CU = STANDARD_SETTINGS.wavelength_angstrom
LOST_TO_BACKGROUND = 0.02
"""Of the strongest point: what the background takes from, or leaves at, the feet of peaks."""
CROWDED = 0.995
"""Cosine that stays where peaks stand so close that their feet look like background."""
WIDTH_ESTIMATE = 0.04
"""Difference of profiles whose width was read off at half height on the grid."""
STEPS_OF_0_01 = DiffractionSettings(n_points=8001, peak_sigma_deg=0.05)
"""As a diffractometer measures: peaks three times sharper than the model's."""


def measured(
    intensity: np.ndarray, two_theta: np.ndarray = GRID, wavelength_angstrom: float = CU
) -> MeasuredPattern:
    return MeasuredPattern(
        two_theta_deg=two_theta,
        intensity=intensity,
        sigma=None,
        wavelength_angstrom=wavelength_angstrom,
        source="test",
    )


def simulated(
    structure: Structure, like: DiffractionSettings = STANDARD_SETTINGS
) -> MeasuredPattern:
    (curve,) = simulate_patterns([structure], like, dtype=float, n_threads=1)
    return measured(curve, like.two_theta_deg, like.wavelength_angstrom)


def as_it_stands(pattern: MeasuredPattern, like: DiffractionSettings = STANDARD_SETTINGS):
    return to_grid(pattern, like, background=None, match_width=False)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def smooth_background(two_theta: np.ndarray) -> np.ndarray:
    """Air scatter, a constant, and an amorphous hump."""
    hump = np.exp(-(((two_theta - 25) / 6) ** 2) / 2)
    return 200 * np.exp(-(two_theta - 10) / 12) + 150 + 120 * hump


# Laws --------------------------------------------------------------------------------------


@given(crystals(max_atoms=3))
def test_a_pattern_on_the_grid_stays(structure):
    pattern = simulated(structure)
    gridded = as_it_stands(pattern)
    assert_allclose(gridded.intensity, pattern.intensity, atol=ROUND_OFF)
    assert gridded.measured.all()
    assert gridded.notes == ()


@given(crystals(max_atoms=3))
def test_a_simulated_pattern_has_no_background_and_the_models_width(structure):
    pattern = simulated(structure)
    gridded = to_grid(pattern, peak_sigma_deg=STANDARD_SETTINGS.peak_sigma_deg)
    assert cosine(gridded.intensity, pattern.intensity) > CROWDED


@settings(max_examples=10)
@given(reals(1e-3, 1e6))
def test_the_unit_of_intensity_does_not_matter(scale):
    pattern = simulated(rock_salt())
    counts = 900 * pattern.intensity + smooth_background(GRID)
    assert_allclose(
        to_grid(measured(scale * counts)).intensity,
        to_grid(measured(counts)).intensity,
        atol=1e-3,  # where the iteration of the background ends
    )


@pytest.mark.parametrize("structure", [rock_salt(), diamond("Si")], ids=["NaCl", "Si"])
def test_a_smooth_background_is_taken_away(structure):
    pattern = simulated(structure)
    counts = 5000 * pattern.intensity + smooth_background(GRID)
    assert_allclose(to_grid(measured(counts)).intensity, pattern.intensity, atol=LOST_TO_BACKGROUND)
    assert to_grid(measured(counts), background=None).intensity.min() > 0.02


@pytest.mark.parametrize("radiation", ["MoKa", "AgKa1", "CoKa", "CrKa1"])
def test_other_radiation_gives_the_pattern_of_the_models(radiation):
    # only what both see: Cr reaches down to 1.15 Å on 10..170°
    wavelength = find_wavelength(radiation)
    theirs = DiffractionSettings(
        wavelength_angstrom=wavelength,
        two_theta_min_deg=2.0,
        two_theta_max_deg=170.0,
        n_points=84001,
        peak_sigma_deg=0.01,
    )
    gridded = to_grid(simulated(rock_salt(), theirs), background=None)
    ours = simulated(rock_salt()).intensity
    # widths in 2θ change with the wavelength, so heights agree to how well one width fits all
    assert_allclose(
        gridded.intensity[gridded.measured], ours[gridded.measured], atol=WIDTH_ESTIMATE
    )
    assert gridded.measured[GRID < 80].all()


def test_other_radiation_keeps_the_area_of_peaks():
    theirs = DiffractionSettings(
        wavelength_angstrom=find_wavelength("MoKa"),
        two_theta_min_deg=2.0,
        two_theta_max_deg=50.0,
        n_points=48001,
        peak_sigma_deg=0.01,
    )
    gridded = as_it_stands(simulated(rock_salt(), theirs)).intensity
    ours = simulated(rock_salt()).intensity
    first, second = (GRID > 30) & (GRID < 33), (GRID > 44) & (GRID < 47)
    assert gridded[second].sum() / gridded[first].sum() == pytest.approx(
        ours[second].sum() / ours[first].sum(), rel=1e-3
    )


@settings(max_examples=10)
@given(st.integers(2, 40), reals(-0.02, 0.02))
def test_averaging_keeps_the_area(n_per_step, shift):
    step = 0.05 / n_per_step
    two_theta = np.arange(9.9, 90.2, step) + shift
    # a peak far sharper than the grid
    sharp = np.exp(-0.5 * ((two_theta - 40.013) / 0.01) ** 2) + 1e-3
    gridded = as_it_stands(measured(sharp, two_theta)).intensity
    area = gridded.sum() * 0.05 * (sharp[0] / gridded[0])
    expected = 0.01 * np.sqrt(2 * np.pi) + 1e-3 * 1601 * 0.05
    assert area == pytest.approx(expected, rel=2e-3 if step < 0.015 else 0.2)


def test_a_line_stays_a_line_however_it_is_sampled():
    # means and interpolation are both exact for it
    two_theta = np.sort(np.random.default_rng(3).uniform(9, 91, 3000))
    line = 5 + 0.1 * two_theta
    gridded = as_it_stands(measured(line, two_theta)).intensity
    assert_allclose(gridded, (5 + 0.1 * GRID) / 14, atol=ROUND_OFF)


@given(st.integers(0, 1500), st.integers(201, 1600), st.integers(0, 1600), st.integers(0, 300))
def test_the_mask_is_true_exactly_where_covered(start, length, hole, width):
    kept = np.zeros(1601, dtype=bool)
    kept[start : start + length] = True
    kept[hole + 1 : hole + width] = False
    on = np.flatnonzero(kept)
    if kept.mean() < MIN_COVERED + 0.01:
        return
    two_theta = GRID[kept]
    gridded = as_it_stands(measured(np.ones(len(two_theta)), two_theta))
    expected = kept.copy()
    for a, b in pairwise(on):
        if b - a <= GAP_STEPS:  # interpolated
            expected[a:b] = True
    assert_array_equal(gridded.measured, expected)
    assert_array_equal(gridded.intensity, expected.astype(float))


def test_a_range_between_grid_points_covers_those_inside():
    two_theta = np.arange(20.01, 50, 0.02)
    gridded = as_it_stands(measured(np.ones(len(two_theta)), two_theta))
    assert_allclose(GRID[gridded.measured][[0, -1]], [20.05, 49.95])


@settings(max_examples=8)
@given(reals(0.03, 0.12))
def test_the_width_of_strong_peaks_is_found(sigma):
    fine = replace(STEPS_OF_0_01, peak_sigma_deg=sigma)
    pattern = simulated(diamond("Si"), fine)
    (note,) = to_grid(pattern, background=None).notes
    found = float(note.split("σ = ")[1].split("°")[0])
    # sampling on steps of 0.05° widens by 0.05 / √12, most where the peak is sharpest
    assert found == pytest.approx(np.hypot(sigma, 0.05 / np.sqrt(12)), abs=0.012)


def test_the_instruments_width_can_be_given():
    pattern = simulated(diamond("Si"), STEPS_OF_0_01)
    given_ = to_grid(pattern, background=None, peak_sigma_deg=0.05)
    assert given_.notes == ("peaks of σ = 0.050° broadened to 0.15°.",)
    ours = simulated(diamond("Si")).intensity
    assert_allclose(given_.intensity, ours, atol=WIDTH_ESTIMATE)


def test_peaks_wider_than_the_models_stay():
    pattern = simulated(rock_salt(), replace(STANDARD_SETTINGS, peak_sigma_deg=0.4))
    gridded = to_grid(pattern, background=None)
    assert_allclose(gridded.intensity, pattern.intensity, atol=ROUND_OFF)
    (note,) = gridded.notes
    assert note.endswith("°; not broadened to σ = 0.15°.")


def test_a_pattern_without_peaks_is_not_broadened():
    gridded = to_grid(measured(1 + GRID), background=None)
    assert gridded.notes == ("no peak tells its width; not broadened to σ = 0.15°.",)


@pytest.mark.parametrize("structure", [rock_salt(), diamond("Si")], ids=["NaCl", "Si"])
def test_a_noisy_measurement_looks_like_the_model(structure):
    sharp = simulated(structure, STEPS_OF_0_01)
    mean = 5000 * sharp.intensity + smooth_background(sharp.two_theta_deg)
    counts = np.random.default_rng(11).poisson(mean).astype(float)
    pattern = replace(sharp, intensity=counts)
    ours = simulated(structure).intensity
    assert cosine(to_grid(pattern).intensity, ours) > 0.998
    # each step earns its place
    assert cosine(to_grid(pattern, match_width=False).intensity, ours) < 0.9
    assert cosine(to_grid(pattern, background=None).intensity, ours) < 0.9


def test_a_file_goes_all_the_way(tmp_path):
    sharp = simulated(rock_salt(), replace(STEPS_OF_0_01, n_points=4001))
    path = tmp_path / "halite.xy"
    np.savetxt(path, np.column_stack([sharp.two_theta_deg, 1e4 * sharp.intensity + 300]))
    gridded = to_grid(read_pattern(path))
    assert isinstance(gridded, GriddedPattern)
    assert cosine(gridded.intensity, simulated(rock_salt()).intensity) > 0.999
    assert gridded.settings == STANDARD_SETTINGS
    assert gridded.notes[0].startswith("no wavelength in the file")


def test_other_settings_have_their_grid():
    narrow = DiffractionSettings(two_theta_min_deg=20.0, two_theta_max_deg=60.0, n_points=801)
    gridded = as_it_stands(simulated(rock_salt()), narrow)
    assert_allclose(gridded.intensity, simulated(rock_salt(), narrow).intensity, atol=1e-7)


def test_inputs_are_left_as_they_were():
    pattern = simulated(rock_salt())
    before = pattern.intensity.copy()
    to_grid(pattern)
    assert_array_equal(pattern.intensity, before)


def test_a_strongest_point_of_one_and_nothing_below_zero():
    noise = np.random.default_rng(5).normal(0, 1, 1601) + 50 * simulated(rock_salt()).intensity
    curve = to_grid(measured(noise)).intensity
    assert (curve.max(), curve.min()) == (1, 0)


# Errors ------------------------------------------------------------------------------------


def test_too_little_of_the_grid_is_told():
    two_theta = np.arange(2, 12, 0.01)
    with pytest.raises(GridMismatchError) as caught:
        to_grid(measured(np.ones(len(two_theta)), two_theta))
    assert str(caught.value) == (
        "test: 2.00..11.99° at λ = 1.54184 Å covers 2% of the grid 10..90° at λ = 1.54184 Å; "
        "expected at least 12.5%. Check the wavelength, or measure a wider range."
    )


def test_nothing_in_reach_of_the_models_wavelength_is_told():
    two_theta = np.linspace(170, 179, 100)
    pattern = measured(np.ones(100), two_theta, find_wavelength("AgKa"))
    with pytest.raises(GridMismatchError, match="covers 0% of the grid"):
        to_grid(pattern)


def test_a_pattern_below_zero_on_the_grid_is_told():
    with pytest.raises(InputError, match="test: no intensity above the background on the grid"):
        to_grid(measured(-1 - np.sin(GRID) ** 2), background=None)


def test_unknown_backgrounds_and_negative_widths_are_told():
    with pytest.raises(InputError, match='unknown background method "snips"'):
        to_grid(simulated(rock_salt()), background="snips")
    with pytest.raises(InputError, match="peak_sigma_deg is -1; expected 0 or more"):
        to_grid(simulated(rock_salt()), peak_sigma_deg=-1)
