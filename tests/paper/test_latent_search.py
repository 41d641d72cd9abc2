"""The paper's search on a stand-in for its latent space."""

import numpy as np
import torch

from matlode.latent.networks import ReferenceCompositionVAE, ReferencePatternVAE
from matlode.latent.space import LatentSpace, View
from matlode.optimisation.sampler import History
from matlode.paper.latent_search import filter_points, search_points
from matlode.screening.plausibility import PatternBands

BOUNDS = np.tile([-1.0, 1.0], (88, 1))


def evaluate(points):
    """Largest in the corner where all variables are 1."""
    return points.sum(axis=1)


def make_space():
    torch.manual_seed(0)
    composition = ReferenceCompositionVAE(units=(12, 8)).eval()
    pattern = ReferencePatternVAE(filters=(2, 3, 2), units=(8, 6)).eval()
    return LatentSpace(View(composition, BOUNDS[:24]), View(pattern, BOUNDS[24:]), "reference")


def search(seed, n_trials=320):
    rng = np.random.default_rng(seed)
    start = rng.uniform(-1, 1, (64, 88))
    known = History(start, evaluate(start), n_known=64)
    return known, search_points(BOUNDS, evaluate, known, n_trials=n_trials, rng=rng)


def test_the_search_stays_in_the_box_and_improves_on_what_was_known():
    known, found = search(0)
    assert found.points.shape == (320, 88)
    assert (abs(found.points) <= 1).all()
    assert found.merits.max() > known.merits.max()
    np.testing.assert_array_equal(search(0)[1].points, found.points)


def test_proposals_are_the_best_points_decoded_with_a_verdict_of_each_filter():
    _, found = search(1, n_trials=64)
    space = make_space()
    proposals = filter_points(
        found,
        space,
        n=5,
        stability=lambda points: np.where(points[:, 0] > 0, 0.9, 0.1),
        groups=lambda patterns: np.full((len(patterns), 230), 1 / 230),
        bands=PatternBands.load(),
        match=lambda amounts, pattern: 0.95 if amounts[0] % 2 else 0.1,
    )
    assert proposals.merits[0] == found.merits.max()
    assert (np.diff(proposals.merits) <= 0).all()
    np.testing.assert_array_equal(proposals.stable, proposals.points[:, 0] > 0)
    assert (proposals.passed <= proposals.stable).all()
    table = proposals.tabulate()
    assert len(table) == 5
    assert all(row["formula"] for row in table)
    np.testing.assert_array_equal(proposals.crystals, proposals.amounts[:, 0] % 2 == 1)
    assert {row["stable"] for row in table} <= {"yes", "no"}
