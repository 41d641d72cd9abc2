import numpy as np
import pytest

from matlode.optimisation.sampler import History, select_best_rows
from matlode.optimisation.samplers import SAMPLERS
from matlode.optimisation.tpe import TPESampler
from matlode.testing import check_sampler

BOX = np.array([[-5.0, 10.0], [0.0, 15.0]])
BRANIN_MINIMUM = 0.397887  # Surjanovic and Bingham, Virtual Library of Simulation Experiments


def branin(x):
    a, b = x.T
    return (
        (b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2
        + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a)
        + 10
    )


def minimise_branin(sampler, seed, n=120, batch=8):
    rng = np.random.default_rng(seed)
    points = rng.uniform(BOX[:, 0], BOX[:, 1], (16, 2))
    while len(points) < n:
        new = sampler.suggest(History(points, -branin(points), n_known=16), BOX, batch, rng)
        points = np.concatenate([points, new])
    return branin(points[:n]).min() - BRANIN_MINIMUM


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_keeps_the_contract(name):
    check_sampler(SAMPLERS[name], History)


@pytest.mark.parametrize(("name", "n_seeds"), [("tpe", 10), ("tpe-independent", 10), ("gp", 3)])
def test_models_of_the_function_beat_random_draws_on_branin(name, n_seeds):
    won = [
        minimise_branin(SAMPLERS[name], seed) < minimise_branin(SAMPLERS["random"], seed)
        for seed in range(n_seeds)
    ]
    assert sum(won) >= 0.8 * n_seeds


@pytest.mark.parametrize("name", ["cma-es", "gradient", "map-elites"])
def test_populations_climb_a_slope_in_many_dimensions(name):
    bounds = np.tile([-2.0, 2.0], (20, 1))
    rng = np.random.default_rng(0)
    points = rng.uniform(-2, 2, (200, 20))
    for _ in range(3):
        seen = History(points, -((points - 0.5) ** 2).sum(axis=1), n_known=200)
        points = np.concatenate([points, SAMPLERS[name].suggest(seen, bounds, 32, rng)])
    distance = ((points - 0.5) ** 2).sum(axis=1)
    assert distance[-32:].mean() < distance[:200].mean()
    assert distance[200:].min() < distance[:200].min()


def test_good_points_are_spread_over_groups():
    merits = np.arange(40.0)
    groups = np.where(merits >= 30, "same", np.arange(40).astype(str))
    seen = History(np.zeros((40, 2)), merits, groups)
    assert select_best_rows(seen, 4, max_per_group=2).tolist() == [39, 38, 29, 28]


def test_joint_density_is_the_mixture_of_truncated_gaussians():
    sampler = TPESampler(bandwidth=0.2)
    centres = np.array([[0.1], [0.7]])
    x = np.linspace(0, 1, 20001)[:, None]
    density = np.exp(sampler._log_density(x, centres)) / (0.2 * np.sqrt(2 * np.pi))
    assert np.trapezoid(density, x[:, 0]) == pytest.approx(1, abs=1e-6)
