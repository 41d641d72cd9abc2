"""Formulas by chemical analogy: the best trials with another element or other amounts."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import element_symbols, parse_formula, write_formula
from matlode.latent.formula_search import FormulaLimits
from matlode.optimisation.evaluators import CrystalEvaluator
from matlode.optimisation.sampler import History, select_best_rows
from matlode.optimisation.trials import Trials
from matlode.realisation.prototypes import compute_element_distances

N_PARENTS = 64
"""Trials, the best ones, that are varied; at most MAX_PER_SYSTEM of one chemical system."""
MAX_PER_SYSTEM = 3
N_SUBSTITUTES = 8
"""Elements that may replace one, the nearest in electronegativity and radius."""
MAX_ATTEMPTS = 50
"""Variations that are drawn for one that is new and meets the limits."""


@dataclass(frozen=True)
class Variations:
    """Proposes formulas beside the sampler and evaluates their crystals."""

    evaluator: CrystalEvaluator
    opening: tuple[str, ...]
    """Formulas of the first trials, canonical."""
    share: float
    """Share of each later batch."""

    def count(self, first: int, n: int) -> tuple[int, int]:
        """Numbers of the proposals ``first`` to ``first + n`` that are of the opening, and that
        are variations of the best trials."""
        n_opening = len(self.opening[first : first + n])
        return n_opening, round(self.share * (n - n_opening))

    def evaluate(
        self, first: int, n: int, trials: Trials, seen: Collection[str], rng: np.random.Generator
    ) -> Trials:
        """Evaluate those of the proposals ``first`` to ``first + n`` that are made here (see
        ``count``); ``trials`` are finished, ``seen`` are their formulas."""
        n_opening, n_varied = self.count(first, n)
        opening = [f for f in self.opening[first : first + n_opening] if f not in seen]
        varied = self._vary(n_varied, trials, {*seen, *opening}, rng)
        return Trials.concatenate(
            [
                self.evaluator.evaluate_formulas(opening, proposer="substitution"),
                self.evaluator.evaluate_formulas(varied, proposer="variation"),
            ]
        )

    def _vary(
        self, n: int, trials: Trials, seen: Container[str], rng: np.random.Generator
    ) -> list[str]:
        """Up to ``n`` new formulas with a template that meet the limits of the goal."""
        if n == 0:
            return []
        merits = trials.merits(self.evaluator.valuation.goal)
        history = History(trials.points, merits, trials.systems)
        parents = select_best_rows(history, N_PARENTS, max_per_group=MAX_PER_SYSTEM)
        found: dict[str, None] = {}
        for _ in range(MAX_ATTEMPTS * n):
            if len(found) == n:
                break
            amounts = parse_formula(str(trials.formulas[rng.choice(parents)]))
            vary = self._exchange_element if rng.random() < 0.5 else self._exchange_amounts
            formula = vary(amounts, rng)
            if formula not in seen and self._is_possible(formula):
                found.setdefault(formula)
        return list(found)

    def _exchange_element(self, amounts: Mapping[str, int], rng: np.random.Generator) -> str:
        old = str(rng.choice(sorted(amounts)))
        near = [symbol for symbol in self._substitutes[old] if symbol not in amounts]
        new = str(rng.choice(near[:N_SUBSTITUTES])) if near else old
        return write_formula({new if s == old else s: amount for s, amount in amounts.items()})

    def _exchange_amounts(self, amounts: Mapping[str, int], rng: np.random.Generator) -> str:
        ways, weights = self._stoichiometries.get(len(amounts), ([tuple(amounts.values())], None))
        chosen = rng.permutation(ways[rng.choice(len(ways), p=weights)])
        return write_formula(dict(zip(amounts, chosen.tolist(), strict=True)))

    def _is_possible(self, formula: str) -> bool:
        return self._limits.admit(formula) and self.evaluator.library.has_template(formula)

    @cached_property
    def _limits(self) -> FormulaLimits:
        return self.evaluator.valuation.goal.limits

    @cached_property
    def _substitutes(self) -> dict[str, list[str]]:
        """Element → allowed elements, the nearest first."""
        allowed = np.flatnonzero(self._limits.allowed)
        order = np.argsort(compute_element_distances()[1:][:, allowed + 1], axis=1, kind="stable")
        return {
            symbol: [element_symbols()[allowed[at]] for at in of_one]
            for symbol, of_one in zip(element_symbols(), order, strict=False)
        }

    @cached_property
    def _stoichiometries(
        self,
    ) -> dict[int, tuple[list[tuple[int, ...]], NDArray[np.float64] | None]]:
        """Number of elements → amounts that have templates, and their shares of these."""
        counts: dict[int, dict[tuple[int, ...], int]] = {}
        for amounts, known in self.evaluator.library.by_amounts.items():
            if sum(amounts) <= self._limits.max_atoms:
                counts.setdefault(len(amounts), {})[amounts] = len(known.rows)
        return {
            size: (list(of), np.array(list(of.values())) / sum(of.values()))
            for size, of in counts.items()
        }
