"""A strain keeps its lattice's symmetry, and a fit finds the strain that was put in."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from matlode.data.crystals import Crystals
from matlode.representation.diffraction import (
    DiffractionSettings,
    simulate_patterns,
    simulate_peaks,
)
from matlode.representation.observation import MATCH_SETTINGS, Observation
from matlode.representation.patterns import MeasuredPattern
from matlode.representation.strained_lines import FitCosts, StrainedLines, find_lattice_strains
from matlode.testing import diamond, hexagonal_close_packed, rutile

FINE = DiffractionSettings(n_points=4001, peak_sigma_deg=0.08)
GRID_STEP = 1e-3
"""Relative: what lengths are told by on steps of 0.04°."""


def observed(structure, zero_deg=0.0):
    (curve,) = simulate_patterns([structure], FINE)
    return Observation.of(
        MeasuredPattern(
            two_theta_deg=FINE.grid + zero_deg,
            intensity=1000.0 * curve + 10,
            sigma=None,
            wavelength_angstrom=FINE.wavelength_angstrom,
            source="made",
        )
    )


def fitted(structure, seen):
    lines = StrainedLines.of(Crystals.from_structures([structure]), 0)
    fit = lines.scaled(0.0)
    for sigma in (0.6, 0.3, 0.15):
        fit = lines.fitted(fit, seen.view(sigma), FitCosts(), strain_only=sigma == 0.6)
    return lines, fit


@pytest.mark.parametrize(
    ("cell", "n"),
    [
        (np.diag([4.0, 4, 4]), 1),
        (np.array([[0, 2.0, 2], [2, 0, 2], [2, 2, 0]]), 1),  # the primitive cell of a cubic one
        (np.diag([4.0, 4, 6]), 2),
        (np.array([[3.0, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5]]), 2),
        (np.diag([4.0, 5, 6]), 3),
        (np.array([[4.0, 0, 0], [0, 5, 0], [-1, 0, 6]]), 4),
        (np.array([[4.0, 0, 0], [0.7, 5, 0], [-1, 0.4, 6]]), 6),
    ],
)
def test_as_many_strains_as_the_lattice_has_free_numbers(cell, n):
    tensors = find_lattice_strains(cell)
    flat = tensors.reshape(len(tensors), -1)
    assert len(tensors) == n
    assert_allclose(flat @ flat.T, np.eye(n), atol=1e-9)
    assert_allclose(tensors, tensors.transpose(0, 2, 1), atol=1e-9)
    assert_allclose(tensors[0], np.eye(3) / 3**0.5)


def test_lines_without_strain_are_those_of_the_engine():
    peaks = simulate_peaks(rutile(), MATCH_SETTINGS)
    lines = StrainedLines.of(Crystals.from_structures([rutile()]), 0)
    strong = peaks.two_theta_deg[peaks.intensity > 0.01]
    angles = lines.two_theta_deg(lines.scaled(0.0))
    assert np.abs(strong[:, None] - angles).min(axis=1).max() < 1e-3


@pytest.mark.parametrize("structure", [diamond(), rutile(), hexagonal_close_packed()])
def test_a_fit_finds_a_strain_that_keeps_the_symmetry(structure):
    lengths = np.array(structure.lattice.abc)
    equal = np.isclose(lengths, lengths[0])
    strain = np.diag(np.where(equal, 0.012, -0.008))
    strained = structure.copy()
    strained.lattice = structure.lattice.matrix @ (np.eye(3) + strain)
    lines, fit = fitted(structure, observed(strained))
    assert fit.match > 0.97
    assert_allclose(lines.strain(fit), strain, atol=GRID_STEP)


@pytest.mark.parametrize("zero_deg", [-0.1, 0.1])
def test_a_zero_shift_hides_no_crystal_and_is_seen(zero_deg):
    lines, fit = fitted(rutile(), observed(rutile(), zero_deg=zero_deg))
    assert fit.match > 0.97
    # a strain does some of it
    assert 0.2 < fit.zero_deg / zero_deg < 1.2
    assert np.abs(lines.strain(fit)).max() < 3 * GRID_STEP


def test_a_strain_costs():
    seen = observed(rutile())
    lines, fit = fitted(rutile(), seen)
    far = lines.fitted(
        replace(fit, strains=fit.strains + 0.01),
        seen.view(0.15),
        FitCosts(scale=1e-9, shape=1e-9, zero_per_deg2=0, damping_per_a4=0),
        strain_only=True,
    )
    assert far.score <= far.match
    assert fit.score < fit.match


def test_the_profile_of_the_right_crystal_explains_the_pattern():
    seen = observed(rutile())
    lines, fit = fitted(rutile(), seen)
    view = seen.view(0.15)
    common = np.minimum(lines.profile(fit, view), view.roots**2).sum()
    assert common > 0.9
