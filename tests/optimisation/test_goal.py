import numpy as np
import pytest

from matlode.optimisation.goal import Goal, Objective, Range, Scale, compute_merit
from matlode.properties.endpoints import ENDPOINTS, Estimates
from matlode.records import Prediction

K = Objective("bulk_modulus", "maximise")
E_F = Objective("formation_energy", "minimise")


def estimates(values, half=0.0):
    values = np.asarray(values, dtype=float)
    return Estimates(values, values - half, values + half)


def goal(*objectives, ranges=(), **more):
    return Goal(
        objectives=objectives or (K,), ranges=ranges, preferences={}, allowed=("B", "C"), **more
    )


def scale_of(asked, known):
    return Scale.fit(asked, {"hull_probability_50_mev": estimates([0.5, 1]), **known}, ENDPOINTS)


def test_merit_rises_with_every_gain_and_falls_with_every_shortfall():
    gains = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    asked = goal(K, E_F)
    assert np.all(np.diff(compute_merit(asked, gains, np.zeros((3, 2)))) > 0)
    assert np.all(np.diff(compute_merit(asked, gains * 0, np.arange(6.0).reshape(3, 2))) < 0)


def test_weights_are_relative():
    gains = np.array([[1.0, 0.0]])
    for factor in (1.0, 10.0):
        weighed = (Objective("bulk_modulus", "maximise", weight=3 * factor),
                   Objective("formation_energy", "minimise", weight=factor))  # fmt: skip
        assert compute_merit(goal(*weighed), gains, np.zeros((1, 0))) == pytest.approx(0.75)


def test_scale_puts_the_median_at_zero_and_the_best_twentieth_at_one():
    asked = goal(K, E_F)
    ramp = np.linspace(0, 100, 2001)
    known = {"bulk_modulus": estimates(ramp), "formation_energy": estimates(-ramp)}
    gains = scale_of(asked, known).gains(asked, known)
    np.testing.assert_allclose(np.median(gains, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.quantile(gains, 0.95, axis=0), 1)


def test_chances_are_measured_by_what_chances_can_be():
    sure = {"hull_probability_50_mev": estimates(np.linspace(0.99, 0.994, 101))}
    asked = goal(Objective("hull_probability_50_mev", "maximise"))
    scale = Scale.fit(asked, sure, ENDPOINTS)
    even, certain = scale.gains(asked, {"hull_probability_50_mev": estimates([0.5, 1.0])})[:, 0]
    assert -1 < even < certain < 0.1


def test_a_wished_value_is_best_where_it_is_met():
    asked = goal(Objective("band_gap", "near", target=1.4))
    known = {"band_gap": estimates(np.linspace(0, 6, 601))}
    gains = scale_of(asked, known).gains(asked, known)[:, 0]
    assert gains.argmax() == 140
    below, above = gains[:141], gains[140:]
    assert np.all(np.diff(below) > 0)
    assert np.all(np.diff(above) < 0)


def test_constant_property_does_not_divide_by_zero():
    known = {"bulk_modulus": estimates(np.ones(5))}
    assert np.isfinite(scale_of(goal(), known).gains(goal(), known)).all()


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1.0, 1e9])
def test_gains_have_no_unit(unit):
    ramp = np.linspace(1, 2, 101)
    known, same = ({"bulk_modulus": estimates(u * ramp)} for u in (1.0, unit))
    np.testing.assert_allclose(
        scale_of(goal(), same).gains(goal(), same), scale_of(goal(), known).gains(goal(), known)
    )


def shortfall(wish, values, half, risk=0.5):
    return wish.shortfall(estimates(values, half), span=1.0, is_probability=False, risk=risk)


@pytest.mark.parametrize("wish", [Range("band_gap", 1, 2), Range("band_gap", low=1, high=None)])
def test_a_range_that_is_surely_kept_costs_nothing_and_one_that_is_missed_ever_more(wish):
    assert shortfall(wish, [1.5], 0.01) == pytest.approx(0, abs=1e-9)
    missed = shortfall(wish, [0.9, 0.5, 0.0, -3], 0.01)
    assert np.all(np.diff(missed) > 0)
    assert missed[0] > 1


@pytest.mark.parametrize(("risk", "outside"), [(0, 0), (0.25, 0.05), (0.5, 0.15), (1, 0.35)])
def test_a_range_is_judged_between_the_value_and_the_bad_end_of_its_interval(risk, outside):
    wish = Range("band_gap", low=1.0)
    cost = outside + min(outside / 0.1, 1)
    assert shortfall(wish, [1.05], 0.4, risk) == pytest.approx(cost)


def test_no_objective_outweighs_a_missed_range():
    asked = goal(K, ranges=(Range("band_gap", low=3.0),))
    known = {"bulk_modulus": estimates(np.linspace(0, 100, 101)),
             "band_gap": estimates(np.linspace(0, 6, 101))}  # fmt: skip
    found = {"bulk_modulus": estimates([1e6, 10.0]), "band_gap": estimates([2.0, 3.5])}
    scale = scale_of(asked, known)
    merits = compute_merit(asked, scale.gains(asked, found), scale.shortfalls(asked, found))
    assert merits[0] < -1 < merits[1]


@pytest.mark.parametrize("risk", [0, 0.25, 0.5, 1])
@pytest.mark.parametrize(
    ("objective", "bad_end"),
    [(K, 90), (E_F, -110), (Objective("band_gap", "near", target=103), -13)],
)
def test_objectives_are_judged_between_the_value_and_the_bad_end(objective, bad_end, risk):
    value, worst = objective.raw_gain(estimates([100], 10), 0), bad_end
    assert objective.raw_gain(estimates([100], 10), risk)[0] == pytest.approx(
        value[0] + risk * (worst - value[0])
    )


def test_of_equal_values_the_surer_one_is_better_unless_no_risk_counts():
    asked = goal(K)
    known = {"bulk_modulus": estimates(np.linspace(0, 100, 101))}
    unsure = Estimates(np.full(2, 50.0), np.array([45.0, 10.0]), np.array([55.0, 90.0]))
    for risk, is_better in ((0.0, False), (0.25, True), (1.0, True)):
        judged = goal(K, risk=risk)
        gains = scale_of(asked, known).gains(judged, {"bulk_modulus": unsure})[:, 0]
        assert (gains[0] > gains[1]) == is_better


@pytest.mark.parametrize(
    ("wish", "inside"),
    [(Range("band_gap", 1, 2), [False, True, True, True, False]),
     (Range("band_gap", low=1), [False, True, True, True, True]),
     (Range("band_gap", high=2), [True, True, True, True, False])],
)  # fmt: skip
def test_ranges_hold_what_lies_between_their_ends(wish, inside):
    np.testing.assert_array_equal(wish.holds(np.array([0.9, 1, 1.5, 2, 2.1])), inside)


def test_what_misses_a_range_is_told_with_what_was_asked():
    asked = goal(ranges=(Range("bulk_modulus", low=300), Range("hull_probability_50_mev", low=0.5)))
    kept = {"bulk_modulus": Prediction(310, 290, 330, "GPa"),
            "hull_probability_50_mev": Prediction(0.9, 0.8, 1, "")}  # fmt: skip
    assert asked.missed(kept) == []
    soft = kept | {"bulk_modulus": Prediction(279.3, 260, 300, "GPa")}
    assert asked.missed(soft) == ["bulk modulus ≥ 300 is required, 279.3 GPa is predicted"]


def test_half_of_a_wanted_chance_costs_a_half():
    wish = Range("hull_probability_50_mev", low=0.5)
    found = wish.shortfall(estimates([0, 0.25, 0.5, 1]), span=1.0, is_probability=True, risk=0.5)
    np.testing.assert_allclose(found, [1, 0.5, 0, 0])


def test_words_tell_what_is_asked():
    asked = goal(
        K, Objective("band_gap", "near", target=1.4), ranges=(Range("density", high=5.0),),
        required=("B",), space_groups=(225,), without=("noble gases",),
    )  # fmt: skip
    words = asked.in_words()
    for part in ("maximise bulk modulus", "band gap near 1.4", "density ≤ 5", "with B", "225",
                 "without noble gases"):  # fmt: skip
        assert part in words
