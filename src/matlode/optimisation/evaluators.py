"""From latent points and formulas to trials: as crystals, or as the decoders give them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from matlode.latent.networks import COMPOSITION_LATENT
from matlode.latent.space import LatentSpace
from matlode.optimisation.goal import STABILITY
from matlode.optimisation.preferences import Decoded, Near
from matlode.optimisation.proposals import Draft, Proposals, Ranking
from matlode.optimisation.trials import PROPOSERS, Proposer, Trials
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
    """Evaluates what a search proposes, in two steps that need nothing but their arguments (and
    may be taken by any worker), with a choice between them."""

    valuation: Valuation

    def rank(self, draft: Draft) -> Ranking:
        """Decode the points of a draft to formulas and score these; by default, points are decoded
        when they are evaluated. Formulas meet the limits of the goal by construction."""
        return Ranking([], {})

    def choose(self, draft: Draft, ranking: Ranking, seen: Container[str]) -> Proposals:
        """Choose what is evaluated, by default every point; ``seen`` are formulas that are
        proposed or evaluated already."""
        n = len(draft.points)
        return Proposals(draft.points, None, np.full(n, PROPOSERS.index("sampler"), dtype=np.int8))

    @abstractmethod
    def evaluate(self, proposals: Proposals) -> Trials:
        """Evaluate n proposals: at most n trials, in their order."""

    def evaluate_points(self, points: NDArray[np.floating], seen: Container[str] = ()) -> Trials:
        """Decode points (n, 88) and evaluate the results: at most n trials."""
        draft = Draft(np.asarray(points, dtype=np.float32))
        return self.evaluate(self.choose(draft, self.rank(draft), seen))


@dataclass(frozen=True)
class PointEvaluator(Evaluator):
    """Predicts properties of the decoded formula and pattern, as in Korolev et al. 2020; formulas
    may repeat."""

    valuation: Valuation
    space: LatentSpace
    models: PropertyModels

    def evaluate(self, proposals: Proposals) -> Trials:
        """See Evaluator."""
        points, goal = proposals.points, self.valuation.goal
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

    def rank(self, draft: Draft) -> Ranking:
        """See Evaluator."""
        likeliest = self.space.list_formulas(draft.points, N_FORMULAS, self.valuation.goal.limits)
        choices = [
            [
                formula
                for formula in write_formulas(amounts[amounts.any(axis=1)])
                if self.library.has_template(formula)
            ]
            for amounts in likeliest
        ]
        distinct = list(dict.fromkeys([*chain.from_iterable(choices), *draft.varied]))
        scores = self.valuation.score_formulas(distinct).tolist()
        return Ranking(choices, dict(zip(distinct, scores, strict=True)))

    def choose(self, draft: Draft, ranking: Ranking, seen: Container[str]) -> Proposals:
        """See Evaluator; each formula is new: those of the opening, the variations of the highest
        scores, and of each point the formula of the highest score (of equals, the likeliest).
        Points without a new formula that has a template are left out."""
        chosen: dict[str, tuple[Proposer, NDArray[np.float32]]] = {}
        none = np.full(self.space.size, np.nan, dtype=np.float32)

        def are_new(formulas: Iterable[str]) -> list[str]:
            return [
                formula for formula in formulas if formula not in seen and formula not in chosen
            ]

        chosen |= dict.fromkeys(are_new(draft.opening), ("substitution", none))
        varied = sorted(are_new(draft.varied), key=lambda formula: -ranking.scores[formula])
        chosen |= dict.fromkeys(varied[: draft.n_varied], ("variation", none))
        for point, choices in zip(draft.points, ranking.choices, strict=True):
            if free := are_new(choices):
                chosen[max(free, key=ranking.scores.__getitem__)] = "sampler", point
        points = np.array([point for _, point in chosen.values()], dtype=np.float32)
        proposers = [PROPOSERS.index(proposer) for proposer, _ in chosen.values()]
        return Proposals(
            points.reshape(-1, self.space.size), tuple(chosen), np.array(proposers, dtype=np.int8)
        )

    def evaluate(self, proposals: Proposals) -> Trials:
        """See Evaluator; a formula is represented by its best crystal, and left out without any.

        Formulas that come from no point get the points that their crystals encode to.
        """
        assert proposals.formulas is not None
        owners, crystals, patterns = self.evaluate_crystals(proposals.formulas)
        chances = crystals.values[:, self.valuation.goal.endpoints.index(STABILITY)]
        # the first of equals is the substitution of smallest distance
        order = np.lexsort([np.arange(len(owners)), -chances, owners])
        best = order[np.unique(owners[order], return_index=True)[1]]
        chosen, rows = crystals.take(best), owners[best]
        points = proposals.points[rows]
        pointless = np.flatnonzero(np.isnan(points).any(axis=1))
        if len(pointless):
            compositions = chosen.compositions[pointless]
            points[pointless] = self.space.encode(compositions, patterns[best[pointless]], refine=0)
        return replace(chosen, points=points, proposers=proposals.proposers[rows])

    def evaluate_crystals(
        self, formulas: Sequence[str]
    ) -> tuple[NDArray[np.intp], Trials, NDArray[np.float32]]:
        """Evaluate up to N_CRYSTALS crystals of each formula.

        Returns the places (m,) of the formulas that they belong to, the crystals as trials whose
        latent points are not known (NaN) unless a preference looks at them, and the patterns
        (m, 1601).
        """
        owners, used = find_substitutions(self.library, formulas, N_CRYSTALS)
        of_formulas = compute_formula_vectors(formulas)
        compositions = of_formulas[owners]
        templates = np.array([s.template for s in used], dtype=np.intp)
        blueprints = Blueprints.of(used, self.volumes.predict(compositions, templates))
        crystals = blueprints.build(self.library)
        rows, patterns, _ = simulate_possible(crystals)
        owners, compositions = owners[rows], compositions[rows]
        if not len(rows):
            return owners, self._make_none(), patterns
        estimates = self.models.predict(
            compositions,
            patterns,
            case="simulated",
            names=self.valuation.goal.endpoints,
            distances=self.models.distances(of_formulas)[owners],
            crystals=compute_crystal_descriptors(
                crystals.take(rows), self.library.space_groups[templates[rows]]
            ),
            designed=True,
        )
        if any(isinstance(preference, Near) for preference in self.valuation.preferences):
            encoded = self.space.encode(compositions, patterns, refine=0)
        else:
            encoded = np.full((len(rows), self.space.size), np.nan, dtype=np.float32)
        named = [formulas[owner] for owner in owners]
        decoded = Decoded(encoded, named, compositions, patterns)
        trials = Trials.of(
            encoded,
            named,
            *self.valuation.compute_gains(decoded, estimates),
            self.valuation.tabulate(estimates),
            blueprints=blueprints.take(rows),
        )
        return owners, trials, patterns

    def _make_none(self) -> Trials:
        columns = (np.zeros((0, width)) for width in self.valuation.widths)
        points = np.zeros((0, self.space.size), dtype=np.float32)
        return Trials.of(points, [], *columns)
