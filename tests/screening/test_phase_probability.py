"""The probability of the first phase grows with its score and its lead."""

from types import SimpleNamespace

import pytest

from matlode.screening import phase_probability as module
from matlode.screening.phase_probability import CONFIDENCE, Overlap


@pytest.fixture
def compute(monkeypatch):
    monkeypatch.setattr(module, "measure_overlap", lambda match, seen: Overlap(0.9, 0.1))
    return lambda *scores: CONFIDENCE.compute([SimpleNamespace(score=s) for s in scores], None)


def test_score_and_margin_raise_the_probability(compute):
    assert compute(0.98, 0.90) > compute(0.98, 0.97) > compute(0.7, 0.69)
    assert compute(0.98) == compute(0.98, 0.5)  # a single phase leads by far
    assert compute(0.98, 0.9) > 0.9
    assert compute(0.6, 0.6) < 0.5


def test_no_match_has_no_probability():
    assert CONFIDENCE.compute([], None) == 0.0
