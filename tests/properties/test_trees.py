"""Fitting trees while others watch."""

import numpy as np
import pytest

from matlode.properties.trees import TreeSettings, Watch, fit_trees

HALF_PRECISION = 2e-3
"""Of the leaves that are kept, relative to labels of size 1."""
FEW = TreeSettings(n_rounds=30, max_depth=3, eta=0.3)


def rows(n, seed):
    x = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    return x, x[:, 0] - x[:, 1] ** 2


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_the_last_loss_told_is_that_of_the_trees(scale):
    heard = []
    x, y = rows(300, 0)
    held_x, held_y = rows(80, 1)
    watch = Watch(
        features=held_x, labels=scale * held_y, every=10, report=lambda *row: heard.append(row)
    )
    forest = fit_trees(x, scale * y, FEW, objective="reg:squarederror", watch=watch)
    assert [rounds for rounds, _ in heard] == [10, 20, 30]
    error = np.abs(forest.predict(held_x) - scale * held_y).mean()
    assert heard[-1][1] == pytest.approx(error, rel=HALF_PRECISION)
    # watching changes nothing
    alone = fit_trees(x, scale * y, FEW, objective="reg:squarederror")
    assert np.array_equal(alone.predict(held_x), forest.predict(held_x))


def test_chances_are_told_by_their_log_loss_and_a_watcher_may_end_it():
    x, y = rows(300, 0)
    heard = []

    def stop(rounds, loss):
        heard.append(loss)
        raise KeyboardInterrupt

    watch = Watch(features=x, labels=(y > 0).astype(float), report=stop, every=5)
    with pytest.raises(KeyboardInterrupt):
        fit_trees(x, (y > 0).astype(float), FEW, objective="binary:logistic", watch=watch)
    assert len(heard) == 1
    assert 0 < heard[0] < np.log(2)
