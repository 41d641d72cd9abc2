"""From trials to ranked candidates with structures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from matlode.data.batches import split_range
from matlode.data.formulas import anonymise_formula, chemical_system
from matlode.jobs.candidate_table import Proposal
from matlode.jobs.models import Models
from matlode.jobs.starts import SearchSettings, scale_to_expected_volume
from matlode.optimisation.campaign import Campaign, Trials, select_diverse
from matlode.optimisation.preferences import Decoded
from matlode.progress import Progress, silent
from matlode.properties.network import VOLUME
from matlode.realisation.builder import Builder
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.records import Candidate
from matlode.screening.funnel import screen
from matlode.screening.rule import Rule

N_JUDGED = 1500
"""Number of best distinct formulas whose crystals are evaluated."""
N_CRYSTALS = 4
"""Number of crystals per formula: substitutions into the templates of the nearest elements."""
_BATCH = 256


def screen_proposals(
    campaign: Campaign,
    trials: Trials,
    models: Models,
    templates: PrototypeLibrary,
    rules: Sequence[Rule],
    settings: SearchSettings,
    progress: Progress = silent,
) -> list[Proposal]:
    """Screen the best distinct formulas: accepted ones first, of these the ones within all ranges
    of the goal, then by merit.

    A search finds what the models overrate, above all patterns that no crystal of the formula
    has. So the lower of two merits counts: that of the point and that of its formula's crystals
    (``compute_crystal_merits``). Formulas without a template come last.
    """
    everything = select_diverse(
        trials, trials.merits(campaign.goal), N_JUDGED, max_per_system=N_JUDGED
    )
    trials = trials.take(everything)
    kept = compute_crystal_merits(campaign, models, templates, trials.formulas.tolist(), progress)
    typed, inside = ~np.isnan(kept), trials.in_ranges(campaign.goal)
    merits = np.fmin(trials.merits(campaign.goal), kept)
    rows = np.concatenate([
        part[
            select_diverse(
                trials.take(part), merits[part], settings.n_screened,
                max_per_system=2 * settings.max_per_system,
            )
        ]
        for part in map(np.flatnonzero, (typed & inside, typed & ~inside, ~typed))
    ])[: settings.n_screened]  # fmt: skip
    chosen = trials.take(rows)
    _, patterns = campaign.space.decode(chosen.points)
    candidates = models.predict_candidates(
        [str(f) for f in chosen.formulas], chosen.compositions, patterns, case="decoded"
    )
    if campaign.goal.space_groups:
        candidates = [_restrict(candidate, campaign.goal.space_groups) for candidate in candidates]
    screened = screen(candidates, rules)
    accepted = sum(s.accepted for s in screened)
    progress("screen", len(trials), len(trials), f"{accepted} of {len(screened)} accepted")
    proposals = [
        Proposal(
            s,
            float(merits[row]),
            int(everything[row]),
            missed=tuple(campaign.goal.missed(s.candidate.predictions)),
        )
        for s, row in zip(screened, rows, strict=True)
    ]
    return sorted(proposals, key=_rank_key)


def _restrict(candidate: Candidate, space_groups: Sequence[int]) -> Candidate:
    """Condition the space-group probabilities of a candidate on a set of space groups."""
    wanted = np.zeros(len(candidate.space_groups), dtype=bool)
    wanted[np.array(space_groups) - 1] = True
    chances = np.where(wanted, candidate.space_groups, 0.0)
    chances = chances / chances.sum() if chances.sum() > 0 else wanted / wanted.sum()
    inside = tuple(group for group in candidate.space_group_set if wanted[group - 1])
    return replace(candidate, space_groups=chances, space_group_set=inside)


def _rank_key(proposal: Proposal) -> tuple[bool, bool, bool, float]:
    return (
        not proposal.screened.accepted,
        bool(proposal.missed),
        proposal.built is None,
        -proposal.merit,
    )


def compute_crystal_merits(
    campaign: Campaign,
    models: Models,
    templates: PrototypeLibrary,
    formulas: Sequence[str],
    progress: Progress = silent,
) -> NDArray[np.float64]:
    """Median merit (n,) of each formula's crystals; NaN if no template fits.

    The crystals are N_CRYSTALS substitutions into known ones, at the predicted volume, with
    simulated patterns. The median limits the effect of a single overrated crystal.
    """
    merits = np.full(len(formulas), np.nan)
    for batch in split_range(len(formulas), _BATCH):
        progress("screen", batch.start, len(formulas), "known types of each formula")
        part = formulas[batch]
        found = [
            (owner, substitution)
            for owner, formula in enumerate(part)
            for substitution in templates.substitutions(
                formula, N_CRYSTALS, space_groups=campaign.goal.space_groups
            )
        ]
        if not found:
            continue
        crystals = templates.crystals([substitution for _, substitution in found])
        rows, compositions, patterns = scale_to_expected_volume(crystals, models.properties)
        owners = np.array([owner for owner, _ in found])[rows]
        estimates = models.properties.predict(
            compositions, patterns, case="simulated", names=campaign.goal.endpoints
        )
        points = campaign.space.encode(compositions, patterns, refine=0)
        decoded = Decoded(points, [part[owner] for owner in owners], compositions, patterns)
        found_merits = campaign.merits(decoded, estimates)
        for owner in np.unique(owners):
            merits[batch.start + owner] = np.median(found_merits[owners == owner])
    return merits


def realise_proposals(
    proposals: Sequence[Proposal],
    campaign: Campaign,
    models: Models,
    builder: Builder,
    progress: Progress,
) -> list[Proposal]:
    """Build a structure for each proposal and evaluate it.

    A latent point may be rated higher than any structure of its formula. So the models evaluate
    the structure's own pattern, and the lower of the two merits counts.
    """
    done: list[Proposal] = []
    for proposal in proposals:
        volume = proposal.candidate.predictions[VOLUME].value
        found = builder.structures(
            proposal.candidate, volume, space_groups=campaign.goal.space_groups
        )
        done.append(replace(proposal, built=next(found, None)))
        n_built = sum(p.built is not None for p in done)
        progress("realise", len(done), len(proposals), f"{n_built} structures")
    rows = [i for i, proposal in enumerate(done) if proposal.built is not None]
    if rows:
        patterns = np.array([p.built.pattern for p in done if p.built is not None])
        compositions = np.array([done[i].candidate.composition for i in rows])
        estimates = models.properties.predict(compositions, patterns, case="simulated")
        formulas = [done[i].candidate.formula for i in rows]
        points = campaign.space.encode(compositions, patterns)
        merits = campaign.merits(Decoded(points, formulas, compositions, patterns), estimates)
        for i, merit_built, predictions in zip(
            rows, merits, models.list_predictions(estimates), strict=True
        ):
            lower = min(done[i].merit, float(merit_built))
            missed = done[i].missed or tuple(campaign.goal.missed(predictions))
            done[i] = replace(done[i], merit=lower, missed=missed, built_predictions=predictions)
    return done


def rank_proposals(proposals: Sequence[Proposal], settings: SearchSettings) -> list[Proposal]:
    """Sort proposals: accepted before rejected, within all ranges before outside, with a structure
    before without, then by merit. At most ``max_per_system`` of one chemical system and
    ``max_per_prototype`` of one prototype are kept."""
    taken: Counter[Hashable] = Counter()
    ranked = []
    for proposal in sorted(proposals, key=_rank_key):
        formula = proposal.candidate.formula
        limits: dict[Hashable, int] = {chemical_system(formula): settings.max_per_system}
        if proposal.built is not None:
            prototype = anonymise_formula(formula), proposal.built.space_group
            limits[prototype] = settings.max_per_prototype
        if all(taken[kind] < limit for kind, limit in limits.items()):
            taken.update(limits.keys())
            ranked.append(proposal)
    return ranked[: settings.n_candidates]
