"""A small search for stiff borides, carbides and nitrides, shared by tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.starts import Prepared, SearchSettings, prepare_campaign
from matlode.optimisation.evaluators import CrystalEvaluator
from matlode.optimisation.goal_file import make_goal
from matlode.optimisation.proposals import Proposals
from matlode.optimisation.trials import Trials

ELEMENTS = ("B", "C", "N", "O", "Al", "Si", "Ti", "V", "Cr", "Nb", "Mo", "W")
SETTINGS = SearchSettings(trials=150, n_start=64, seed=1)
SECTIONS = {
    "maximize": ["bulk_modulus"],
    "prefer": {"charge_neutral": 1.0, "familiar": False},
    "elements": {"allowed": list(ELEMENTS), "number": "2..3"},
    "formula": {"max_atoms": 9},
}


def prepare_search(models: Models, known: Known, **settings: object) -> Prepared:
    """The search with other settings."""
    goal = make_goal(SECTIONS, known_elements=known.elements, endpoints=models.endpoints)
    chosen = SearchSettings(**{**vars(SETTINGS), **settings})
    return prepare_campaign(goal, models, known, chosen)


def evaluate_formulas(evaluator: CrystalEvaluator, formulas: Sequence[str]) -> Trials:
    """The trials of formulas that come from no point."""
    n = len(formulas)
    points = np.full((n, evaluator.space.size), np.nan, dtype=np.float32)
    return evaluator.evaluate(Proposals(points, tuple(formulas), np.zeros(n, dtype=np.int8)))


def assert_same(a: Trials, b: Trials) -> None:
    """That two trials are equal to the last bit."""
    for name in vars(a):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
