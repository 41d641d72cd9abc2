"""The arena measures what it says it does."""

import numpy as np
import pytest

from matlode.benchmarks.search import (
    EXTERNAL_SAMPLERS,
    TEST_FUNCTIONS,
    HyperoptSampler,
    _count_evaluations,
    bench_functions,
    bench_latent,
    bench_search,
    bench_suggestions,
    compute_regrets,
)
from matlode.errors import GoalError
from matlode.optimisation.sampler import History
from matlode.optimisation.samplers import SAMPLERS


@pytest.mark.parametrize("name", TEST_FUNCTIONS)
def test_no_point_is_below_the_known_minimum_and_some_are_near(name):
    test = TEST_FUNCTIONS[name]
    axes = [np.linspace(*ends, 801) for ends in test.bounds]
    values = test.function(*np.meshgrid(*axes))
    assert values.min() >= test.minimum - 1e-6
    # a step of the grid away from the minimum, where slopes are at most that of these functions
    assert values.min() - test.minimum < 0.02 * np.quantile(values, 0.1)


def test_regrets_never_rise_and_random_ones_are_random():
    found = compute_regrets(TEST_FUNCTIONS["Branin"], SAMPLERS["random"], seed=0, n=40)
    assert found.shape == (40,)
    assert (np.diff(found) <= 0).all()
    assert not np.array_equal(
        found, compute_regrets(TEST_FUNCTIONS["Branin"], SAMPLERS["random"], seed=1, n=40)
    )


@pytest.mark.parametrize("name", EXTERNAL_SAMPLERS)
def test_rivals_are_samplers_too(name):
    if isinstance(EXTERNAL_SAMPLERS[name], HyperoptSampler):
        pytest.importorskip("hyperopt", reason="matlode[bench]")
    rng = np.random.default_rng(0)
    points = rng.random((30, 2))
    history = History(points, -((points - 0.2) ** 2).sum(axis=1))
    box = np.array([[0.0, 1.0], [0.0, 1.0]])
    found = EXTERNAL_SAMPLERS[name].suggest(history, box, 3, np.random.default_rng(1))
    assert found.shape == (3, 2)
    assert ((found >= 0) & (found <= 1)).all()
    same = EXTERNAL_SAMPLERS[name].suggest(history, box, 3, np.random.default_rng(1))
    np.testing.assert_array_equal(found, same)


def test_a_best_is_reached_in_whole_batches():
    best = [0.5, 1.0, 2.0]
    assert _count_evaluations(best, 0.9) == 128
    assert _count_evaluations(best, 3.0) is None


def test_functions_are_tabled_and_drawn(tmp_path):
    few = {name: SAMPLERS[name] for name in ("tpe", "random")}
    rows = bench_functions(samplers=few, n_seeds=2, n_evaluations=14, out=tmp_path)
    assert [row["function"] for row in rows] == list(TEST_FUNCTIONS)
    assert {"tpe", "random"} <= rows[0].keys()
    assert (tmp_path / "s8-functions.png").stat().st_size > 10_000


def test_suggestions_are_timed():
    rows = bench_suggestions(
        samplers={"random": SAMPLERS["random"]}, external={}, n_seen=20, n_dimensions=3, repeats=1
    )
    assert rows[0]["batch"] == 64
    assert rows[0]["ms each"] > 0


def test_samplers_meet_in_the_latent_space(tmp_path):
    few = {name: SAMPLERS[name] for name in ("tpe-independent", "random")}
    paper, random = bench_latent(samplers=few, n_seeds=1, n_trials=128, n_start=300, out=tmp_path)
    assert float(paper["best merit"].split()[0]) > 0
    assert int(paper["evaluations to the paper's best"]) in (64, 128)
    assert random["sampler"] == "random"
    # that model never saw the latent space, yet knows hard materials when it sees them
    assert (
        float(paper["of these, by element statistics"].split()[0])
        > float(random["of these, by element statistics"].split()[0]) - 1.0
    )
    assert (tmp_path / "latent-samplers.png").exists()


def test_unknown_samplers_are_told(tmp_path):
    with pytest.raises(GoalError, match='Did you mean "tpe"'):
        bench_search(["tpee"], out=tmp_path)
