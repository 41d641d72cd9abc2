"""Unlikely crystals have lower priors, and the probability grows with score and margin."""

import numpy as np
import pytest

from matlode.screening.phase_prior import Prior, find_made


def compute(n_strains=1, made=True, hull=0.0):
    return float(Prior().compute(np.array([n_strains]), np.array([made]), np.array([hull]))[0])


def test_each_disadvantage_lowers_the_prior():
    best = compute()
    assert compute(n_strains=6) < best
    assert compute(made=False) < best
    assert compute(hull=0.03) < best
    assert compute(hull=np.nan) == compute(hull=1.0) == pytest.approx(compute(hull=0.05))
    worst = compute(n_strains=6, made=False, hull=np.nan)
    assert worst == pytest.approx(Prior().worst)


def test_made_formulas_are_known():
    assert find_made(["ClNa", "Cl7Na3Xe9"]).tolist() == [True, False]
