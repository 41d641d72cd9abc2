"""Settings of a search, and how it begins: known materials and substitutions into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.wishes import KnownFormulas, draw_like_points, make_preferences
from matlode.optimisation.campaign import GENERATION, Campaign
from matlode.optimisation.evaluators import CrystalEvaluator, Evaluator, PointEvaluator
from matlode.optimisation.goal import DEFAULT_RISK, Goal, Scale
from matlode.optimisation.preferences import Decoded
from matlode.optimisation.samplers import SAMPLERS
from matlode.optimisation.trials import Trials
from matlode.optimisation.valuation import Valuation
from matlode.optimisation.variations import Variations
from matlode.properties.endpoints import Estimates
from matlode.realisation.blueprints import Blueprints
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.realisation.structure_families import find_templates
from matlode.realisation.substitution import list_substituted_formulas
from matlode.realisation.volumes import TemplateVolumes
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.environments import compute_crystal_descriptors

MIN_FITTING = 50
"""With fewer known materials of the allowed elements, the search starts from all materials."""
BEST_SHARE, MAX_BEST = 0.1, 50
"""Share and largest number of the drawn materials whose neighbours are added."""
EVALUATED = ("crystals", "points")


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Length and breadth of a search.

    >>> SearchSettings(trials=2048).sampler
    'tpe'
    """

    trials: int = 8192
    """Number of proposals that are evaluated."""
    evaluate: str = "crystals"
    """What is evaluated: "crystals" built for each formula, or "points" as the decoders give them
    (Korolev et al. 2020), with crystals for the final list only."""
    substituted_share: float = 0.25
    """Share of the trials, the first ones, that are substitutions into the best known materials."""
    varied_share: float = 0.25
    """Share of the other trials that vary the best trials so far; the rest are latent points."""
    generation: int = GENERATION
    """Number of proposals that are made from the trials of the finished generations; BLOCK of them
    are evaluated by one worker, so that ``generation`` / BLOCK workers have work."""
    seed: int = 0
    sampler: str = "tpe"
    """One of SAMPLERS."""
    risk: float = DEFAULT_RISK
    """Where objectives and ranges are taken: 0, at the predicted value; 1, at the bad end of its
    90 % interval; between them in proportion."""
    n_start: int = 6000
    """Number of known materials that the search starts from: half of them drawn at random, half
    the nearest neighbours of the best of those."""
    n_screened: int = 400
    """Number of distinct formulas that are screened."""
    n_candidates: int = 100
    """Rows of the final table."""
    max_per_system: int = 4
    """Most rows of one chemical system."""
    max_per_prototype: int = 10
    """Most rows of one prototype (anonymous formula and space group)."""


@dataclass(frozen=True)
class Prepared:
    """A campaign and its starting points."""

    campaign: Campaign
    known: Trials
    """The known materials, followed by points around the material to resemble."""
    known_rows: NDArray[np.intp]
    """(k,), rows of the known materials that the first k of these are."""


def prepare_campaign(
    goal: Goal, models: Models, known: Known, settings: SearchSettings
) -> Prepared:
    """Prepare a campaign for a goal, with the materials that it starts from.

    Merits are scaled by the known materials drawn at random. Their merits decide which further
    known materials and which substitutions are added.
    """
    rng = np.random.default_rng(settings.seed)
    compositions = known.catalogue.compositions
    fitting = np.flatnonzero(~(compositions[:, ~goal.allowed_mask] > 0).any(axis=1))
    # too few known materials of these elements: start from all, decoded without the others
    rows = fitting if len(fitting) >= MIN_FITTING else np.arange(len(compositions))
    drawn = np.sort(rng.permutation(rows)[: -(-settings.n_start // 2)])
    estimates, decoded = _evaluate_known(models, known, goal, drawn)
    preferences = make_preferences(goal, models, known, evaluate=settings.evaluate)
    valuation = Valuation(goal, Scale.fit(goal, estimates, models.endpoints), preferences)
    trials = _make_known_trials(valuation, known, drawn, decoded, estimates)
    ordered = drawn[np.argsort(-trials.merits(goal), kind="stable")]
    neighbours = _find_neighbours(compositions, ordered, rows)[: settings.n_start - len(drawn)]
    if len(neighbours):
        estimates, decoded = _evaluate_known(models, known, goal, neighbours)
        more = _make_known_trials(valuation, known, neighbours, decoded, estimates)
        trials = Trials.concatenate([trials, more])
    known_rows = np.concatenate([drawn, neighbours])
    if settings.evaluate == "points":
        evaluator: Evaluator = PointEvaluator(valuation, models.space, models.properties)
        trials, variations = evaluator.evaluate_points(trials.points), None
    else:
        crystals = _make_evaluator(valuation, models, known)
        parents = known_rows[np.argsort(-trials.merits(goal), kind="stable")]
        n_substituted = round(settings.substituted_share * settings.trials)
        opening = _list_substitutions(goal, models, known, parents, n_substituted, crystals.library)
        variations = Variations(goal, crystals.library, opening, settings.varied_share)
        evaluator = crystals
    like = draw_like_points(goal, models.space, known, trials.points, rng)
    trials = Trials.concatenate([trials, evaluator.evaluate_points(like)])
    sampler = SAMPLERS[settings.sampler]
    return Prepared(
        Campaign(evaluator, models.space.bounds, sampler, variations, settings.generation),
        trials,
        known_rows,
    )


def _evaluate_known(
    models: Models, known: Known, goal: Goal, rows: NDArray[np.intp]
) -> tuple[dict[str, Estimates], Decoded]:
    """Predict and encode rows of the known materials."""
    materials = known.materials.take(rows)
    patterns = simulate_patterns(materials.crystals)
    groups = materials.frame["space_group"].to_numpy()
    compositions = known.catalogue.compositions[rows]
    estimates = models.properties.predict(
        compositions,
        patterns,
        case="simulated",
        names=goal.endpoints,
        crystals=compute_crystal_descriptors(materials.crystals, groups),
    )
    points = models.space.encode(compositions, patterns, refine=0)
    formulas = [known.catalogue.formulas[row] for row in rows]
    return estimates, Decoded(points, formulas, compositions, patterns)


def _make_evaluator(valuation: Valuation, models: Models, known: Known) -> CrystalEvaluator:
    library, goal = known.prototypes, valuation.goal
    if goal.space_groups:
        library = library.restrict(np.isin(library.space_groups, goal.space_groups))
    if goal.prototype:
        ids = find_templates(known.materials, known.structure_types, goal.prototype)
        library = library.restrict(known.materials.frame["id"].astype(str).isin(ids).to_numpy())
    volumes = TemplateVolumes.fit(models.expected_volume, known.materials.crystals)
    return CrystalEvaluator(valuation, models.space, models.properties, library, volumes)


def _find_neighbours(
    compositions: NDArray[np.floating], ordered: NDArray[np.intp], rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Rows not in ``ordered``, sorted by their distance in composition to the best of these."""
    others = np.setdiff1d(rows, ordered)
    distances = np.full(len(others), np.inf)
    n_best = min(max(1, round(BEST_SHARE * len(ordered))), MAX_BEST)
    for best in ordered[:n_best]:
        apart = abs(compositions[others] - compositions[best]).sum(axis=1)
        np.minimum(distances, apart, out=distances)
    return np.asarray(others[np.argsort(distances, kind="stable")])


def _make_known_trials(
    valuation: Valuation,
    known: Known,
    rows: NDArray[np.intp],
    decoded: Decoded,
    estimates: Mapping[str, Estimates],
) -> Trials:
    return Trials.of(
        np.asarray(decoded.points, dtype=np.float32),
        decoded.formulas,
        *valuation.compute_gains(decoded, estimates),
        valuation.tabulate(estimates),
        blueprints=Blueprints.of_known(known.prototypes, rows),
        proposer="known",
    )


def _list_substitutions(
    goal: Goal,
    models: Models,
    known: Known,
    parents: NDArray[np.intp],
    n: int,
    library: PrototypeLibrary,
) -> tuple[str, ...]:
    """Up to ``n`` new formulas within the limits of the goal, with templates: substitutions into
    known materials."""
    found = list_substituted_formulas(
        known.materials,
        parents,
        elements=[symbol for symbol in known.elements if symbol in goal.allowed],
        known=KnownFormulas(known.catalogue, models.formula_lists),
    )
    limits = goal.limits
    possible = (
        formula for formula in found if limits.admit(formula) and library.has_template(formula)
    )
    return tuple(islice(possible, n))
