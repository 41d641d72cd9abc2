"""A search from its first point to its list of distinct formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import chemical_system
from matlode.latent.networks import COMPOSITION_LATENT
from matlode.latent.space import LatentSpace
from matlode.optimisation.goal import STABILITY, Goal, Scale, merit
from matlode.optimisation.samplers import Sampler
from matlode.progress import Progress, silent
from matlode.properties.models import PropertyModels
from matlode.representation.composition import formulas_of

BATCH = 64
"""Points per suggestion: decoding and prediction cost least in batches."""


@dataclass(frozen=True)
class Trials:
    """Evaluated latent points, in the order in which they were tried."""

    points: NDArray[np.float64]
    """(n, 88)."""
    amounts: NDArray[np.int64]
    """(n, 100), atoms of each element in the reduced formula."""
    formulas: NDArray[np.str_]
    """(n,), canonical."""
    systems: NDArray[np.str_]
    """(n,), chemical systems."""
    gains: NDArray[np.float64]
    """(n, n_objectives), see ``Scale``."""
    values: Mapping[str, NDArray[np.float64]]
    """endpoint → (n,) predictions."""

    def __len__(self) -> int:
        return len(self.points)

    @property
    def compositions(self) -> NDArray[np.float64]:
        """(n, 100), fractions of the integer formulas."""
        return self.amounts / self.amounts.sum(axis=1, keepdims=True)

    def merits(
        self, goal: Goal, weights: NDArray[np.floating] | None = None
    ) -> NDArray[np.float64]:
        """(n,), see ``goal.merit``."""
        return merit(goal, self.gains, self.values[STABILITY], weights)

    def joined(self, other: Trials) -> Trials:
        """These trials, then the others."""
        return Trials(
            np.concatenate([self.points, other.points]),
            np.concatenate([self.amounts, other.amounts]),
            np.concatenate([self.formulas, other.formulas]),
            np.concatenate([self.systems, other.systems]),
            np.concatenate([self.gains, other.gains]),
            {name: np.concatenate([v, other.values[name]]) for name, v in self.values.items()},
        )

    def take(self, rows: NDArray[np.intp]) -> Trials:
        """The trials at ``rows``."""
        return replace(
            self,
            points=self.points[rows],
            amounts=self.amounts[rows],
            formulas=self.formulas[rows],
            systems=self.systems[rows],
            gains=self.gains[rows],
            values={name: v[rows] for name, v in self.values.items()},
        )


@dataclass(frozen=True)
class Campaign:
    """Searches the latent space for a goal.

    Several objectives are weighed anew for every batch (random weights, as ParEGO does,
    Knowles 2006), over all trials so far: the front is explored, not one mixture of wishes.
    """

    goal: Goal
    space: LatentSpace
    models: PropertyModels
    scale: Scale
    sampler: Sampler

    def evaluate(self, points: NDArray[np.floating]) -> Trials:
        """Decode points (n, 88) and predict what the decoded objects do.

        Formulas keep the goal's elements, number of elements and atoms by construction, and
        the predictions are for the integer formula and the decoded pattern.
        """
        amounts = self.space.formulas(
            points,
            allowed=self.goal.allowed_mask,
            max_elements=self.goal.max_elements,
            max_atoms=self.goal.max_atoms,
        )
        patterns = self.space.pattern.decode(points[:, COMPOSITION_LATENT:])
        compositions = amounts / amounts.sum(axis=1, keepdims=True)
        estimates = self.models.predict(
            compositions, patterns, case="decoded", names=self.goal.endpoints
        )
        formulas = formulas_of(amounts)
        return Trials(
            np.asarray(points, dtype=float),
            amounts,
            np.array(formulas),
            np.array([chemical_system(formula) for formula in formulas]),
            self.scale.gains(self.goal, estimates),
            {name: estimate.value for name, estimate in estimates.items()},
        )

    def run(
        self,
        start: NDArray[np.floating],
        n_trials: int,
        rng: np.random.Generator,
        *,
        progress: Progress = silent,
    ) -> tuple[Trials, int]:
        """``n_trials`` trials after those of the known points ``start`` (m, 88).

        Returns all trials and how many of them, the first, are the known points.
        """
        trials = self.evaluate(start)
        bounds = self.space.bounds
        done = 0
        while done < n_trials:
            n = min(BATCH, n_trials - done)
            weights = rng.dirichlet(np.ones(len(self.goal.objectives)))
            points = self.sampler.suggest(
                trials.points,
                trials.merits(self.goal, weights),
                bounds,
                n,
                rng,
                groups=trials.systems,
            )
            trials = trials.joined(self.evaluate(points))
            done += n
            best = trials.merits(self.goal)[len(start) :].max()
            progress("search", done, n_trials, f"best merit {best:.2f}")
        return trials, len(start)


def select_diverse(
    trials: Trials, merits: NDArray[np.floating], n: int, *, max_per_system: int
) -> NDArray[np.intp]:
    """Rows of the n best distinct formulas, at most ``max_per_system`` per chemical system.

    The best trial stands for its formula. If the rule leaves fewer than n, it stays so.
    """
    seen: set[str] = set()
    per_system: dict[str, int] = {}
    chosen = []
    for row in np.argsort(-merits, kind="stable"):
        formula, system = str(trials.formulas[row]), str(trials.systems[row])
        if formula in seen or per_system.get(system, 0) >= max_per_system:
            continue
        seen.add(formula)
        per_system[system] = per_system.get(system, 0) + 1
        chosen.append(row)
        if len(chosen) == n:
            break
    return np.array(chosen, dtype=np.intp)
