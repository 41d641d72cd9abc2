"""The probability of the first phase grows with its score and its lead."""

from types import SimpleNamespace

import numpy as np
import pytest

from matlode.screening.phase_probability import CONFIDENCE

SULFIDES = np.array([True, True, False, False])
OXIDES = np.array([True, False, True, True])


@pytest.fixture
def compute():
    """Probability for the scores of HgS, cinnabar; HgS of the same system; HgO2."""
    known = SimpleNamespace(
        formulas=np.array(["HgS", "HgS", "HgO2"]),
        space_groups=np.array([152, 154, 62]),
        elements=np.array([SULFIDES, SULFIDES, OXIDES]),
    )

    def compute(*scores, n_searched=70_000, allowed=None, rows=(0, 2)):
        matches = [SimpleNamespace(score=s, row=r) for s, r in zip(scores, rows, strict=False)]
        return CONFIDENCE.compute(matches, known, n_searched, allowed)

    return compute


def test_score_and_lead_raise_the_probability(compute):
    assert compute(0.98, 0.90) > compute(0.98, 0.97) > compute(0.7, 0.69)
    assert compute(0.98) == compute(0.98, 0.5)  # a single phase leads by far
    assert compute(0.98, 0.9) > 0.9
    assert compute(0.6, 0.6) < 0.5


def test_a_lead_tells_more_among_many_crystals(compute):
    gains = [compute(0.8, 0.7, n_searched=n) - compute(0.8, 0.795, n_searched=n) for n in (9, 9999)]
    assert gains[0] < gains[1]


def test_the_same_phase_of_another_space_group_is_no_rival(compute):
    assert compute(0.9, 0.899, 0.8, rows=(0, 1, 2)) == compute(0.9, 0.8)


def test_allowed_elements_that_the_phase_lacks_lower_the_probability(compute):
    assert compute(0.9, 0.8, allowed=SULFIDES) == compute(0.9, 0.8)
    assert compute(0.9, 0.8, allowed=SULFIDES | OXIDES) < compute(0.9, 0.8)


def test_no_match_has_no_probability(compute):
    assert compute() == 0.0
