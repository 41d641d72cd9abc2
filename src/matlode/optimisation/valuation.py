"""What a goal makes of materials whose properties are predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.optimisation.goal import Goal, Scale, compute_merit
from matlode.optimisation.preferences import Decoded, Familiar, Preference
from matlode.properties.endpoints import Estimates


@dataclass(frozen=True)
class Valuation:
    """A goal with the scale of its properties and its preferences."""

    goal: Goal
    scale: Scale
    preferences: tuple[Preference, ...] = ()
    """Those of ``Goal.preferences``, in their order, followed by any others (of weight 1)."""

    def compute_gains(
        self, decoded: Decoded, estimates: Mapping[str, Estimates]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gains (n, n_objectives) and shortfalls (n, n_ranges + n_preferences) of materials with
        predicted properties ``estimates``."""
        weights = [*self.goal.preferences.values(), *([1.0] * len(self.preferences))]
        penalties = [
            weight * preference.shortfall(decoded)
            for weight, preference in zip(weights, self.preferences, strict=False)
        ]
        shortfalls = np.column_stack([self.scale.shortfalls(self.goal, estimates), *penalties])
        return self.scale.gains(self.goal, estimates), shortfalls

    def compute_known_merits(
        self, gains: NDArray[np.float64], shortfalls: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """(n,), merits of known materials, from gains (n, n_objectives) and shortfalls (n, n_ranges
        + n_preferences): without familiarity, which says nothing about them."""
        counts = [True] * len(self.goal.ranges)
        counts += [not isinstance(preference, Familiar) for preference in self.preferences]
        return compute_merit(self.goal, gains, shortfalls * np.array(counts))

    def score_formulas(self, formulas: Sequence[str]) -> NDArray[np.float64]:
        """(n,), how much the goal prefers formulas before anything is predicted, larger is better:
        their familiarity, or 0 if it does not count."""
        for preference in self.preferences:
            if isinstance(preference, Familiar):
                return preference.familiarity.score(formulas)
        return np.zeros(len(formulas))

    def tabulate(self, estimates: Mapping[str, Estimates]) -> NDArray[np.float64]:
        """(n, n_endpoints), the values in the order of ``Goal.endpoints``."""
        return np.column_stack([estimates[name].value for name in self.goal.endpoints])

    @property
    def widths(self) -> tuple[int, int, int]:
        """Numbers of objectives, of shortfalls and of endpoints."""
        goal = self.goal
        n_shortfalls = len(goal.ranges) + len(self.preferences)
        return len(goal.objectives), n_shortfalls, len(goal.endpoints)
