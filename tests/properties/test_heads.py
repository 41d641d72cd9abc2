import numpy as np
import pytest

from matlode.errors import ArtefactError
from matlode.properties.endpoints import ENDPOINTS
from matlode.properties.heads import CASES, Head, fit_head
from matlode.properties.trees import TreeSettings, fit_trees

QUICK = TreeSettings(n_rounds=80, max_depth=3, eta=0.1, difficulty_rounds=80, cross_fit_rounds=60)

SAME_TREES = 1e-3
"""Labels in another unit round differently in float32, and so do the leaves they make."""


def draws(rng, n):
    x = rng.normal(size=(n, 6)).astype(np.float32)
    # noise grows with the first variable: intervals must follow
    y = 50 + 10 * x[:, 0] + rng.normal(size=n) * (1 + 4 * (x[:, 0] > 0))
    return x, y


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    x, y = draws(rng, 1500)
    held = draws(rng, 800)
    return fit_head(
        ENDPOINTS["bulk_modulus"],
        "standard",
        x,
        y,
        rng.random(1500) < 0.5,
        dict.fromkeys(CASES, held),
        settings=QUICK,
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_intervals_cover_what_they_promise_and_adapt(fitted, seed):
    x, y = draws(np.random.default_rng(seed), 2000)
    estimates = fitted.predict(x, case="simulated")
    inside = (y >= estimates.low) & (y <= estimates.high)
    # 800 calibration rows and 2,000 test rows: two standard errors are about 0.025
    assert 0.87 <= inside.mean() <= 0.94
    width = estimates.high - estimates.low
    assert width[x[:, 0] > 0.5].mean() > 1.5 * width[x[:, 0] < -0.5].mean()


def test_a_head_comes_back_from_disk_as_it_was(fitted, tmp_path):
    fitted.save(tmp_path / "head")
    again = Head.load(tmp_path / "head")
    x, _ = draws(np.random.default_rng(5), 50)
    for case in CASES:
        for name in ("value", "low", "high"):
            np.testing.assert_array_equal(
                getattr(fitted.predict(x, case=case), name),
                getattr(again.predict(x, case=case), name),
            )


def test_probabilities_are_calibrated():
    rng = np.random.default_rng(3)
    endpoint = ENDPOINTS["hull_probability_100_mev"]

    def coins(n):
        x = rng.normal(size=(n, 4)).astype(np.float32)
        chance = 1 / (1 + np.exp(-2 * x[:, 0]))
        return x, (rng.random(n) < chance).astype(float), chance

    x, y, _ = coins(2000)
    held = coins(1500)[:2]
    halves = rng.random(2000) < 0.5
    held_out = dict.fromkeys(CASES, held)
    head = fit_head(endpoint, "standard", x, y, halves, held_out, settings=QUICK)
    new, _, chance = coins(4000)
    estimates = head.predict(new, case="decoded")
    assert np.abs(estimates.value - chance).mean() < 0.07
    for low, high in ((0.1, 0.3), (0.4, 0.6), (0.7, 0.9)):
        chosen = (estimates.value > low) & (estimates.value < high)
        assert estimates.value[chosen].mean() == pytest.approx(chance[chosen].mean(), abs=0.05)


def test_another_kind_of_artefact_is_refused():
    from matlode.artefacts import find_shipped_models

    with pytest.raises(ArtefactError, match='is a "bands", expected a "head"'):
        Head.load(find_shipped_models() / "pattern-characteristics")


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1.0, 1e7])
def test_trees_learn_in_any_unit(unit):
    x, y = draws(np.random.default_rng(0), 400)
    plain, scaled = (
        fit_trees(x, u * y, QUICK, objective="reg:squarederror").predict(x) / u for u in (1.0, unit)
    )
    assert np.std(plain) > 0.5 * np.std(y)
    np.testing.assert_allclose(scaled, plain, rtol=SAME_TREES)


def test_a_rare_class_stays_a_class():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3)).astype(np.float32)
    y = (x[:, 0] > 2.5).astype(float)
    assert 0 < y.std() < 0.1
    trees = fit_trees(x, y, TreeSettings(n_rounds=100, eta=0.3), objective="binary:logistic")
    chance = trees.predict(x)
    assert ((chance > 0) & (chance < 1)).all()
    assert chance[y == 1].mean() > 10 * chance[y == 0].mean()
