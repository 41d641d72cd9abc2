import numpy as np
import pytest

from matlode.errors import GoalError
from matlode.optimisation.goal import Scale, check_symbols, make_goal, merit
from matlode.properties.endpoints import Estimates

KNOWN = ("B", "C", "N", "O", "Co", "W")


def estimates(values):
    values = np.asarray(values, dtype=float)
    return Estimates(values, values, values)


def goal(**wishes):
    return make_goal(known_elements=KNOWN, **({"maximize": ["bulk_modulus"]} | wishes))


def test_excluded_elements_are_not_allowed():
    asked = goal(elements=["b", "C", "W"], exclude=["W"])
    assert asked.allowed == ("B", "C")
    assert asked.allowed_mask.sum() == 2


def test_merit_rises_with_every_gain_and_with_stability():
    asked = goal(minimize=["formation_energy"])
    gains = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    stable = np.ones(3)
    assert np.all(np.diff(merit(asked, gains, stable)) > 0)
    assert np.all(merit(asked, gains, stable) > merit(asked, gains, stable * 0.1))


def test_stability_beyond_the_wish_gains_nothing():
    asked = goal()
    gains = np.zeros((2, 1))
    assert np.ptp(merit(asked, gains, np.array([0.6, 1.0]))) == 0


def test_scale_puts_the_median_at_zero_and_the_best_twentieth_at_one():
    asked = goal(maximize=["bulk_modulus"], minimize=["formation_energy"])
    ramp = np.linspace(0, 100, 2001)
    known = {"bulk_modulus": estimates(ramp), "formation_energy": estimates(-ramp)}
    gains = Scale.fit(asked, known).gains(asked, known)
    np.testing.assert_allclose(np.median(gains, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.quantile(gains, 0.95, axis=0), 1)


def test_constant_property_does_not_divide_by_zero():
    known = {"bulk_modulus": estimates(np.ones(5))}
    assert np.isfinite(Scale.fit(goal(), known).gains(goal(), known)).all()


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({"maximize": ["bulk_module"]}, 'Did you mean "bulk_modulus"'),
        ({"maximize": []}, "nothing to search for"),
        ({"minimize": ["bulk_modulus"]}, "named more than once"),
        ({"elements": ["B"], "exclude": ["B"]}, "no element is left"),
        ({"elements": ["Xx"]}, "is not an element"),
        ({"elements": ["He"]}, "no known material here holds it"),
        ({"max_atoms": 0}, "must be positive"),
    ],
)
def test_impossible_goals_are_told_at_once(wishes, text):
    with pytest.raises(GoalError, match=text):
        goal(**wishes)


def test_symbols_are_kept_once_in_order():
    assert check_symbols(["w", "C", "W"]) == ["W", "C"]


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0, 1e9])
def test_gains_have_no_unit(unit):
    ramp = np.linspace(1, 2, 101)
    known, same = ({"bulk_modulus": estimates(u * ramp)} for u in (1.0, unit))
    np.testing.assert_allclose(
        Scale.fit(goal(), same).gains(goal(), same), Scale.fit(goal(), known).gains(goal(), known)
    )
