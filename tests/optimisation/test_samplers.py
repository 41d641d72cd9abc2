import numpy as np
import pytest

from matlode.optimisation.samplers import SAMPLERS, TPESampler
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
        new = sampler.suggest(points, -branin(points), BOX, batch, rng)
        points = np.concatenate([points, new])
    return branin(points[:n]).min() - BRANIN_MINIMUM


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_keeps_the_contract(name):
    check_sampler(SAMPLERS[name])


@pytest.mark.parametrize("name", ["tpe", "tpe-independent"])
def test_tpe_beats_random_draws_on_branin(name):
    won = [
        minimise_branin(SAMPLERS[name], seed) < minimise_branin(SAMPLERS["random"], seed)
        for seed in range(10)
    ]
    assert sum(won) >= 8


def test_good_points_are_spread_over_groups():
    sampler = TPESampler(n_good=4, max_per_group=2)
    merits = np.arange(40.0)
    groups = np.where(merits >= 30, "same", np.arange(40).astype(str))
    good = sampler._good(merits, groups)
    assert sorted(good) == [28, 29, 38, 39]


def test_joint_density_is_the_mixture_of_truncated_gaussians():
    sampler = TPESampler(bandwidth=0.2)
    centres = np.array([[0.1], [0.7]])
    x = np.linspace(0, 1, 20001)[:, None]
    density = np.exp(sampler._log_density(x, centres)) / (0.2 * np.sqrt(2 * np.pi))
    assert np.trapezoid(density, x[:, 0]) == pytest.approx(1, abs=1e-6)
