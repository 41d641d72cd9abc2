"""The phases of a simulated mixture are named, with their weight fractions."""

from dataclasses import replace

import numpy as np
import pytest

from matlode.data.crystals import MAX_ATOMIC_NUMBER, pack_crystals
from matlode.data.tables import Materials
from matlode.representation.diffraction import DiffractionSettings
from matlode.representation.observation import Observation
from matlode.representation.patterns import MeasuredPattern
from matlode.screening.known_lines import STANDARD_MATCH, KnownLines
from matlode.screening.mixtures import compute_rwp, find_mixture
from matlode.testing import diamond, rock_salt, rutile

STEPS = DiffractionSettings(n_points=4001, peak_sigma_deg=0.08)
STRUCTURES = [
    rock_salt(),
    rutile(),
    diamond("Si", a_angstrom=5.431),
    diamond("Ge", a_angstrom=5.658),
]


@pytest.fixture(scope="module")
def known():
    import pandas as pd

    formulas = ["ClNa", "O2Ti", "Si", "Ge"]
    frame = pd.DataFrame({"id": formulas, "formula": formulas, "space_group": [225, 136, 227, 227]})
    return KnownLines.build(Materials(frame, pack_crystals(STRUCTURES)))


def mix(weights):
    """A pattern whose phases have these weights, with the intensities of pymatgen, |F|²·m·LP of
    the cell, per mass and volume of the cell."""
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    calculator = XRDCalculator(STEPS.wavelength_angstrom)
    total = np.zeros(STEPS.n_points)
    for row, weight in weights.items():
        structure = STRUCTURES[row]
        peaks = calculator.get_pattern(structure, scaled=False, two_theta_range=(5, 95))
        amount = weight / (float(structure.composition.weight) * structure.volume)
        for position, intensity in zip(peaks.x, peaks.y, strict=True):
            shape = np.exp(-0.5 * ((STEPS.grid - position) / STEPS.peak_sigma_deg) ** 2)
            total += amount * intensity * shape
    counts = np.random.default_rng(0).poisson(2e4 * total / total.max() + 50)
    return Observation.of(
        MeasuredPattern(
            two_theta_deg=STEPS.grid, intensity=counts.astype(float), sigma=None,
            wavelength_angstrom=STEPS.wavelength_angstrom, source="made",
        )
    )  # fmt: skip


def name(known, found):
    return {str(known.formulas[phase.match.row]): phase.weight_fraction for phase in found}


@pytest.mark.parametrize("weights", [{0: 0.6, 1: 0.4}, {0: 0.2, 1: 0.5, 2: 0.3}, {2: 1.0}])
def test_phases_and_fractions_are_found(known, weights):
    seen = mix(weights)
    found = find_mixture(known, seen, np.arange(len(known)), STANDARD_MATCH)
    parts = name(known, found)
    assert set(parts) == {str(known.formulas[row]) for row in weights}
    for row, weight in weights.items():
        assert parts[str(known.formulas[row])] == pytest.approx(weight, abs=0.06)
    assert sum(parts.values()) == pytest.approx(1)
    assert [p.weight_fraction for p in found] == sorted(parts.values(), reverse=True)


def test_elements_of_the_sample_decide_between_equal_fits(known):
    seen = mix({2: 1.0})
    rows = np.array([3])
    wanted = np.zeros(MAX_ATOMIC_NUMBER, bool)
    wanted[31] = True
    with_element = find_mixture(known, seen, rows, STANDARD_MATCH, wanted=wanted)
    assert len(with_element) >= len(find_mixture(known, seen, rows, STANDARD_MATCH))


def test_rwp_is_smaller_for_the_right_phase(known):
    seen = mix({1: 1.0})
    right, wrong = (known.search(seen, np.array([row]))[0] for row in (1, 0))
    assert compute_rwp(right, seen) < 0.2 < compute_rwp(wrong, seen)
    weaker = replace(right, fit=replace(right.fit, zero_deg=right.fit.zero_deg + 0.3))
    assert compute_rwp(right, seen) < compute_rwp(weaker, seen)
