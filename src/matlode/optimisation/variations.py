"""Formulas by chemical analogy: the best trials with another element or other amounts."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from matlode.data.formulas import element_symbols, parse_formula
from matlode.latent.formula_limits import FormulaLimits
from matlode.optimisation.formula_edits import FormulaEditor
from matlode.optimisation.goal import Goal
from matlode.optimisation.sampler import History, select_best_rows
from matlode.optimisation.trials import Trials
from matlode.realisation.prototypes import PrototypeLibrary

N_PARENTS = 64
"""Trials, the best ones, that are varied; at most MAX_PER_SYSTEM of one chemical system."""
MAX_PER_SYSTEM = 3
N_DRAWN = 4
"""Variations that are drawn for one that is evaluated, the most familiar."""
MAX_ATTEMPTS = 50
"""Most attempts for one that is evaluated: many are not new, or beyond the limits."""


@dataclass(frozen=True)
class Variations:
    """Proposes formulas beside the sampler."""

    goal: Goal
    library: PrototypeLibrary
    """Templates that may be used."""
    opening: tuple[str, ...]
    """Formulas of the first trials, canonical."""
    share: float
    """Share of each later batch."""

    def count(self, first: int, n: int) -> tuple[int, int]:
        """Numbers of the proposals ``first`` to ``first + n`` that are of the opening, and that
        are variations of the best trials."""
        n_opening = len(self.opening[first : first + n])
        return n_opening, round(self.share * (n - n_opening))

    def vary(
        self, n: int, trials: Trials, seen: Container[str], rng: np.random.Generator
    ) -> list[str]:
        """Draw N_DRAWN new formulas for each of ``n`` that will be evaluated, or fewer; they have a
        template and meet the limits of the goal."""
        if n == 0:
            return []
        merits = trials.merits(self.goal)
        history = History(trials.points, merits, trials.systems)
        parents = select_best_rows(history, N_PARENTS, max_per_group=MAX_PER_SYSTEM)
        found: dict[str, None] = {}
        for _ in range(MAX_ATTEMPTS * n):
            if len(found) == N_DRAWN * n:
                break
            amounts = parse_formula(str(trials.formulas[rng.choice(parents)]))
            edit = (
                self._editor.exchange_element
                if rng.random() < 0.5
                else self._editor.exchange_amounts
            )
            formula = edit(amounts, rng)
            if formula in seen or not self._limits.admit(formula):
                continue
            if self.library.has_template(formula):
                found.setdefault(formula)
        return list(found)

    @cached_property
    def _limits(self) -> FormulaLimits:
        return self.goal.limits

    @cached_property
    def _editor(self) -> FormulaEditor:
        allowed = [element_symbols()[z] for z in np.flatnonzero(self._limits.allowed)]
        return FormulaEditor(self.library, allowed)
