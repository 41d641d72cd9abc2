"""From latent points and formulas to trials: judged as crystals, or as the decoders give them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from matlode.latent.networks import COMPOSITION_LATENT
from matlode.latent.space import LatentSpace
from matlode.optimisation.goal import STABILITY
from matlode.optimisation.preferences import Decoded, Near
from matlode.optimisation.trials import Proposer, Trials
from matlode.optimisation.valuation import Valuation
from matlode.properties.models import PropertyModels
from matlode.realisation.blueprints import Blueprints, find_substitutions
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.realisation.volumes import TemplateVolumes
from matlode.representation.composition import compute_formula_vectors, write_formulas
from matlode.representation.diffraction import simulate_possible
from matlode.representation.environments import compute_crystal_descriptors

N_FORMULAS = 8
"""Likeliest formulas of a point, of which one is evaluated."""
N_CRYSTALS = 8
"""Crystals per formula."""


class Evaluator(ABC):
    """Evaluates what a search proposes."""

    valuation: Valuation

    @abstractmethod
    def evaluate_points(self, points: NDArray[np.floating], seen: Container[str] = ()) -> Trials:
        """Decode points (n, 88) and evaluate the results: at most n trials.

        Formulas meet the limits of the goal by construction. ``seen`` are formulas that were
        evaluated before.
        """


@dataclass(frozen=True)
class PointEvaluator(Evaluator):
    """Predicts properties of the decoded formula and pattern, as in Korolev et al. 2020."""

    valuation: Valuation
    space: LatentSpace
    models: PropertyModels

    def evaluate_points(self, points: NDArray[np.floating], seen: Container[str] = ()) -> Trials:
        """See Evaluator; formulas may repeat."""
        points = np.asarray(points, dtype=np.float32)
        goal = self.valuation.goal
        amounts = self.space.formulas(points, goal.limits)
        patterns = self.space.pattern.decode(points[:, COMPOSITION_LATENT:])
        compositions = amounts / amounts.sum(axis=1, keepdims=True)
        estimates = self.models.predict(
            compositions, patterns, case="decoded", names=goal.endpoints
        )
        formulas = write_formulas(amounts)
        decoded = Decoded(points, formulas, compositions, patterns)
        gains, shortfalls = self.valuation.compute_gains(decoded, estimates)
        return Trials.of(points, formulas, gains, shortfalls, self.valuation.tabulate(estimates))


@dataclass(frozen=True)
class CrystalEvaluator(Evaluator):
    """Builds crystals of each formula from templates, and predicts properties of these.

    A formula is represented by the crystal that is likeliest to be stable.
    """

    valuation: Valuation
    space: LatentSpace
    models: PropertyModels
    library: PrototypeLibrary
    """Templates that may be used."""
    volumes: TemplateVolumes

    def evaluate_points(self, points: NDArray[np.floating], seen: Container[str] = ()) -> Trials:
        """See Evaluator; each formula is new: of the likeliest ones of a point, the most familiar.
        Points without a new formula that has a template are left out."""
        points = np.asarray(points, dtype=np.float32)
        likeliest = self.space.list_formulas(points, N_FORMULAS, self.valuation.goal.limits)
        choices = [
            [
                formula
                for formula in write_formulas(amounts[amounts.any(axis=1)])
                if formula not in seen and self.library.has_template(formula)
            ]
            for amounts in likeliest
        ]
        chosen = self._choose_formulas(choices)
        rows = [row for row, formula in enumerate(chosen) if formula is not None]
        formulas = [formula for formula in chosen if formula is not None]
        return self.evaluate_formulas(formulas, points[rows], proposer="sampler")

    def _choose_formulas(self, choices: Sequence[Sequence[str]]) -> list[str | None]:
        """The best formula of each list, before anything is predicted; of equals, the first. None
        if all are taken by the lists before."""
        distinct = list(dict.fromkeys(formula for of_one in choices for formula in of_one))
        score = dict(zip(distinct, self.valuation.score_formulas(distinct).tolist(), strict=True))
        taken: set[str] = set()
        chosen: list[str | None] = []
        for of_one in choices:
            free = [formula for formula in of_one if formula not in taken]
            best = max(free, key=score.__getitem__) if free else None
            chosen.append(best)
            if best is not None:
                taken.add(best)
        return chosen

    def evaluate_formulas(
        self,
        formulas: Sequence[str],
        points: NDArray[np.float32] | None = None,
        *,
        proposer: Proposer,
    ) -> Trials:
        """Evaluate the best crystal of each formula; those without any are left out.

        ``points`` (n, 88) are the latent points that decode to the formulas (default: those of
        the crystals).
        """
        owners, crystals, patterns = self._evaluate(formulas, points, proposer)
        chances = crystals.values[:, self.valuation.goal.endpoints.index(STABILITY)]
        # the first of equals is the substitution of smallest distance
        order = np.lexsort([np.arange(len(owners)), -chances, owners])
        best = order[np.unique(owners[order], return_index=True)[1]]
        chosen = crystals.take(best)
        if points is not None or not len(best):
            return chosen
        encoded = self.space.encode(chosen.compositions, patterns[best], refine=0)
        return replace(chosen, points=encoded)

    def evaluate_crystals(
        self, formulas: Sequence[str], *, proposer: Proposer
    ) -> tuple[NDArray[np.intp], Trials]:
        """Evaluate up to N_CRYSTALS crystals of each formula.

        Returns the places (m,) of the formulas that they belong to, and the crystals as trials
        whose latent points are not known (NaN).
        """
        owners, crystals, _ = self._evaluate(formulas, None, proposer)
        return owners, crystals

    def _evaluate(
        self, formulas: Sequence[str], points: NDArray[np.float32] | None, proposer: Proposer
    ) -> tuple[NDArray[np.intp], Trials, NDArray[np.float32]]:
        """As ``evaluate_crystals``, with the ``points`` (n, 88) of the formulas if they are given,
        and with the patterns (m, 1601) of the crystals."""
        owners, used = find_substitutions(self.library, formulas, N_CRYSTALS)
        of_formulas = compute_formula_vectors(formulas)
        compositions = of_formulas[owners]
        templates = np.array([s.template for s in used], dtype=np.intp)
        blueprints = Blueprints.of(used, self.volumes.predict(compositions, templates))
        crystals = blueprints.build(self.library)
        rows, patterns, _ = simulate_possible(crystals)
        owners, compositions = owners[rows], compositions[rows]
        if not len(rows):
            return owners, self._make_none(proposer), patterns
        estimates = self.models.predict(
            compositions,
            patterns,
            case="simulated",
            names=self.valuation.goal.endpoints,
            distances=self.models.distances(of_formulas)[owners],
            crystals=compute_crystal_descriptors(
                crystals.take(rows), self.library.space_groups[templates[rows]]
            ),
        )
        if self._asks_for_likeness:
            encoded = self.space.encode(compositions, patterns, refine=0)
        else:
            encoded = np.full((len(rows), self.space.size), np.nan, dtype=np.float32)
        named = [formulas[owner] for owner in owners]
        decoded = Decoded(encoded, named, compositions, patterns)
        trials = Trials.of(
            encoded if points is None else points[owners],
            named,
            *self.valuation.compute_gains(decoded, estimates),
            self.valuation.tabulate(estimates),
            blueprints=blueprints.take(rows),
            proposer=proposer,
        )
        return owners, trials, patterns

    @property
    def _asks_for_likeness(self) -> bool:
        """Whether a preference looks at the latent points of the crystals."""
        return any(isinstance(preference, Near) for preference in self.valuation.preferences)

    def _make_none(self, proposer: Proposer) -> Trials:
        columns = (np.zeros((0, width)) for width in self.valuation.widths)
        points = np.zeros((0, self.space.size), dtype=np.float32)
        return Trials.of(points, [], *columns, proposer=proposer)
