"""From trials to ranked candidates, each a crystal with predictions and verdicts of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.data.formulas import anonymise_formula, chemical_system
from matlode.data.symmetry import find_standard_cell
from matlode.jobs.models import Models
from matlode.jobs.starts import SearchSettings
from matlode.optimisation.evaluators import CrystalEvaluator
from matlode.optimisation.goal import Goal
from matlode.optimisation.trials import PROPOSERS, Trials, select_diverse
from matlode.progress import Progress, silent
from matlode.properties.endpoints import VOLUME
from matlode.realisation.builder import Builder, compute_cosines, describe_origin, overlaps
from matlode.records import Candidate, RealisedStructure
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.environments import describe_crystals
from matlode.run_records import FunnelRow
from matlode.screening.funnel import Screened, ledger, screen
from matlode.screening.rule import Rule

N_REFERENCES = 5
"""Known materials that stand above the candidates, for comparison."""


def count_rejections(screened: Sequence[Screened], rules: Sequence[Rule]) -> list[FunnelRow]:
    """What each rule did to the candidates that reached it."""
    return [FunnelRow.from_json(row) for row in ledger(screened, rules)]


@dataclass(frozen=True)
class Proposal:
    """A row of the final table: a crystal, its predictions and its verdicts."""

    screened: Screened
    built: RealisedStructure
    """The crystal; its ``match`` is with the pattern that its latent point decodes to."""
    merit: float
    trial: int
    """Its index among all trials."""
    missed: tuple[str, ...] = ()
    """For each range of the goal that it is not in, what is predicted instead."""

    @property
    def candidate(self) -> Candidate:
        """The candidate itself."""
        return self.screened.candidate


def select_trials(trials: Trials, goal: Goal, settings: SearchSettings) -> NDArray[np.intp]:
    """Rows of the best distinct formulas that are screened: those in all ranges of the goal first,
    then by merit. Known materials are left out."""
    merits, inside = trials.merits(goal), trials.in_ranges(goal)
    found = trials.proposers != PROPOSERS.index("known")
    rows = [
        part[
            select_diverse(
                trials.take(part), merits[part], settings.n_screened,
                max_per_system=2 * settings.max_per_system,
            )
        ]
        for part in map(np.flatnonzero, (found & inside, found & ~inside))
    ]  # fmt: skip
    return np.concatenate(rows)[: settings.n_screened]


def select_references(trials: Trials, evaluator: CrystalEvaluator) -> NDArray[np.intp]:
    """Rows of the N_REFERENCES best known materials within the limits of the goal, of distinct
    formulas: those in all ranges first, then by merit without familiarity."""
    valuation = evaluator.valuation
    goal = valuation.goal
    merits = valuation.compute_known_merits(trials.gains, trials.shortfalls)
    limits, inside = goal.limits, trials.in_ranges(goal)
    is_known = trials.proposers == PROPOSERS.index("known")
    is_known &= np.isin(trials.templates, evaluator.library.rows)
    rows, formulas = [], set()
    for row in np.lexsort([-merits, ~inside, ~is_known])[: int(is_known.sum())]:
        formula = str(trials.formulas[row])
        if formula not in formulas and limits.admit(formula):
            formulas.add(formula)
            rows.append(row)
        if len(rows) == N_REFERENCES:
            break
    return np.array(rows, dtype=np.intp)


def build_crystals(
    trials: Trials, evaluator: CrystalEvaluator, models: Models, types: Mapping[str, str]
) -> list[RealisedStructure | None]:
    """Build the crystals of trials again, in conventional standard cells; None where the symmetry
    is not one that the goal asks for, or where atoms overlap. ``types``: id of a template →
    structure type."""
    wanted, library = evaluator.valuation.goal.space_groups, evaluator.library
    blueprints = trials.blueprints
    crystals = blueprints.build(library)
    standard = [find_standard_cell(crystals.structure(row)) for row in range(len(trials))]
    usable = [
        (not wanted or group in wanted) and not overlaps(structure) for structure, group in standard
    ]
    rows = np.flatnonzero(usable)
    patterns = simulate_patterns([standard[row][0] for row in rows])
    _, decoded = models.space.decode(trials.points[rows])
    found: list[RealisedStructure | None] = [None] * len(trials)
    for row, pattern, match in zip(rows, patterns, compute_cosines(patterns, decoded), strict=True):
        origin = describe_origin(library, types, blueprints.find_substitution(row, library))
        found[row] = RealisedStructure(*standard[row], pattern, float(match), origin)
    return found


def fit_crystals(
    trials: Trials,
    models: Models,
    builder: Builder,
    rules: Sequence[Rule],
    goal: Goal,
    progress: Progress = silent,
) -> tuple[list[RealisedStructure | None], list[Screened]]:
    """Screen what the points of trials decode to, and build crystals that resemble the patterns.

    Returns a crystal for each trial, None for those that ``rules`` reject or that have no
    template, and the verdicts.
    """
    _, patterns = models.space.decode(trials.points)
    candidates = models.predict_candidates(
        trials.formulas.tolist(), trials.compositions, patterns, case="decoded"
    )
    screened = screen(candidates, rules)
    found = []
    for done, one in enumerate(screened, start=1):
        volume = one.candidate.predictions[VOLUME].value
        structures = builder.structures(one.candidate, volume, space_groups=goal.space_groups)
        found.append(next(structures, None) if one.accepted else None)
        progress("realise", done, len(screened))
    return found, screened


def propose_crystals(
    trials: Trials,
    rows: NDArray[np.intp],
    merits: NDArray[np.float64],
    built: Sequence[RealisedStructure | None],
    models: Models,
    rules: Sequence[Rule],
    goal: Goal,
    progress: Progress = silent,
    *,
    designed: bool = True,
) -> list[Proposal]:
    """Predict and screen the crystals ``built`` for the trials at ``rows`` (n,); those that are
    None are left out. ``merits`` are those of all trials. ``designed``: the search built them
    (``PropertyModels.predict``)."""
    rows = rows[[crystal is not None for crystal in built]]
    chosen = [crystal for crystal in built if crystal is not None]
    if not chosen:
        return []
    crystals = Crystals.from_structures([crystal.structure for crystal in chosen])
    candidates = models.predict_candidates(
        trials.formulas[rows].tolist(), composition_vectors(crystals),
        np.array([crystal.pattern for crystal in chosen]), case="simulated",
        crystals=describe_crystals(crystals, [crystal.space_group for crystal in chosen]),
        designed=designed,
    )  # fmt: skip
    screened = screen(candidates, rules)
    n_accepted = sum(one.accepted for one in screened)
    progress("screen", len(rows), len(rows), f"{n_accepted} of {len(rows)} accepted")
    return [
        Proposal(
            one,
            crystal,
            float(merits[row]),
            int(row),
            tuple(goal.missed(one.candidate.predictions)),
        )
        for one, crystal, row in zip(screened, chosen, rows, strict=True)
    ]


def rank_proposals(proposals: Sequence[Proposal], settings: SearchSettings) -> list[Proposal]:
    """Sort proposals: accepted before rejected, within all ranges before outside, then by merit.
    At most ``max_per_system`` of one chemical system and ``max_per_prototype`` of one prototype
    are kept."""
    taken: Counter[Hashable] = Counter()
    ranked = []
    for proposal in sorted(proposals, key=_rank_key):
        formula = proposal.candidate.formula
        system = chemical_system(formula)
        prototype = anonymise_formula(formula), proposal.built.space_group
        if (
            taken[system] < settings.max_per_system
            and taken[prototype] < settings.max_per_prototype
        ):
            taken.update([system, prototype])
            ranked.append(proposal)
    return ranked[: settings.n_candidates]


def _rank_key(proposal: Proposal) -> tuple[bool, bool, float]:
    return not proposal.screened.accepted, bool(proposal.missed), -proposal.merit
