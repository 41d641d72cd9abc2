"""The rows of a run folder's tables, from what became of each candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from matlode.data.formulas import chemical_system, format_formula
from matlode.data.symmetry import crystal_system, make_symmetrised_cif
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.shortlist import Proposal
from matlode.optimisation.goal import Goal
from matlode.optimisation.trials import PROPOSERS, Trials
from matlode.records import Origin, Prediction, RealisedStructure
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.run_folder import RunFolder, name_structure_file
from matlode.run_records import (
    KNOWN,
    CandidateRow,
    FunnelRow,
    KnownRow,
    PatternTable,
    PredictedValue,
    TrialTable,
)
from matlode.screening.funnel import Screened
from matlode.screening.novelty import KnownMaterials
from matlode.screening.rule import Rule
from matlode.version import __version__

SHOWN_PROPERTIES = ("bulk_modulus", "shear_modulus")
"""Always in the table, with their intervals."""
ALWAYS_SHOWN = (*SHOWN_PROPERTIES, "formation_energy", "hull_probability_50_mev")
"""Columns of every table."""


def make_candidate_rows(
    proposals: Sequence[Proposal], known: KnownMaterials, rules: Sequence[Rule], goal: Goal
) -> list[CandidateRow]:
    """One row per proposal, best first."""
    if not proposals:
        return []
    nearest = known.nearest(np.array([p.candidate.composition for p in proposals]))
    rows = []
    for rank, (proposal, (index, _)) in enumerate(zip(proposals, nearest, strict=True), start=1):
        candidate, screened, built = proposal.candidate, proposal.screened, proposal.built
        formula = format_formula(candidate.formula)
        row = CandidateRow(
            rank=rank,
            formula=formula,
            chemical_system=chemical_system(candidate.formula),
            space_group=built.space_group,
            crystal_system=crystal_system(built.space_group),
            prototype=built.origin.prototype,
            bulk_modulus=_round_prediction(candidate.predictions["bulk_modulus"]),
            shear_modulus=_round_prediction(candidate.predictions["shear_modulus"]),
            formation_energy=round(candidate.predictions["formation_energy"].value, 4),
            hull_probability_50_mev=round(
                candidate.predictions["hull_probability_50_mev"].value, 4
            ),
            charge_neutral=_find_value(screened, "charge_neutral"),
            novelty=_find_value(screened, "novel"),
            nearest_known=f"{format_formula(known.formulas[index])} ({known.ids[index]})",
            structure_file=name_structure_file(rank, formula),
            verdict="accepted" if screened.accepted else "rejected",
            reasons=_join_reasons(proposal, rules),
            merit=round(proposal.merit, 4),
            in_ranges=not proposal.missed,
            properties={
                name: _round_own_prediction(candidate.predictions[name])
                for name in goal.shown
                if name not in ALWAYS_SHOWN
            },
        )
        rows.append(row)
    return rows


def make_reference_rows(
    proposals: Sequence[Proposal], known: KnownMaterials, rules: Sequence[Rule], goal: Goal
) -> list[CandidateRow]:
    """One row per known material that stands above the candidates, best first."""
    return [
        replace(
            row,
            rank=0,
            verdict=KNOWN,
            structure_file=name_structure_file(f"known-{row.rank}", row.formula),
        )
        for row in make_candidate_rows(proposals, known, rules, goal)
    ]


def _find_value(screened: Screened, rule: str) -> float | str:
    """What a rule looked at; it may have been switched off."""
    return next((v.value for v in screened.verdicts if v.rule == rule), "not checked")


def _round_prediction(prediction: Prediction) -> PredictedValue:
    ends = (prediction.value, prediction.low, prediction.high)
    return PredictedValue(*(round(end, 3) for end in ends))


def _round_own_prediction(prediction: Prediction) -> PredictedValue:
    ends = (prediction.value, prediction.low, prediction.high)
    return PredictedValue(*map(round_significant, ends))


def round_significant(value: float) -> float:
    """Round to six digits: properties may be as small as 1e-6 1/K."""
    return float(f"{value:.6g}")


def _join_reasons(proposal: Proposal, rules: Sequence[Rule]) -> str:
    """All reasons as one text, for people."""
    required = {rule.name for rule in rules if rule.required}
    parts = [f"note {missed}" for missed in proposal.missed]
    for verdict in proposal.screened.verdicts:
        failed = "NO" if verdict.rule in required else "note"
        parts.append(f"{'ok' if verdict.passed else failed} {verdict.rule}: {verdict.reason}")
    return " | ".join([*parts, describe_origin(proposal.built.origin)])


def describe_origin(origin: Origin) -> str:
    """Where a crystal comes from, in words."""
    text = (
        f"structure from {format_formula(origin.template_formula)} ({origin.template_id}): "
        f"{origin.substitution}"
    )
    return f"{text}; type {origin.prototype}" if origin.prototype else text


def write_results(
    folder: RunFolder,
    proposals: Sequence[Proposal],
    references: Sequence[Proposal],
    funnel: Sequence[FunnelRow],
    trials: Trials,
    goal: Goal,
    models: Models,
    known: Known,
    rules: Sequence[Rule],
) -> None:
    """Fill a run folder with ``proposals`` and the known materials ``references`` above them.

    ``funnel``: what each rule did to all that were screened.
    """
    above = make_reference_rows(references, known.catalogue, rules, goal)
    rows = make_candidate_rows(proposals, known.catalogue, rules, goal)
    for row, proposal in zip([*above, *rows], [*references, *proposals], strict=True):
        text = make_cif_text(proposal.built, proposal.candidate.formula, known=row.is_known)
        folder.write_structure(row, text)
    two_theta = STANDARD_SETTINGS.two_theta_deg
    shape = len(proposals), len(two_theta)
    points = trials.points[[proposal.trial for proposal in proposals]]
    decoded = models.space.decode(points)[1] if proposals else np.zeros(shape, np.float32)
    realised = np.array([p.built.pattern for p in proposals], dtype=np.float32).reshape(shape)
    folder.write_patterns(rows, PatternTable(two_theta, realised, decoded))
    folder.write_verdicts(rows, [proposal.screened.verdicts for proposal in proposals])
    folder.write_trials(_tabulate_trials(trials, goal))
    folder.write_funnel(funnel)
    folder.write_known(_select_known(models, known, goal))
    folder.write_candidates([*above, *rows])


def make_cif_text(built: RealisedStructure, formula: str, *, known: bool = False) -> str:
    """A symmetrised CIF with comments that say what it is and where it comes from.

    ``formula`` is canonical; ``known`` marks a known material.
    """
    text = make_symmetrised_cif(built.structure)
    origin = built.origin
    what = "known material" if known else "proposed, not relaxed, not synthesised"
    header = (
        f"# matlode {__version__}: {format_formula(formula)}, {what}\n# {describe_origin(origin)}\n"
    )
    return header + text


def _tabulate_trials(trials: Trials, goal: Goal) -> TrialTable:
    return TrialTable(
        np.array(PROPOSERS)[trials.proposers],
        np.array([format_formula(str(formula)) for formula in trials.formulas], dtype=str),
        trials.merits(goal).round(4),
        trials.in_ranges(goal),
        {
            name: np.array([round_significant(value) for value in values])
            for name, values in zip(goal.endpoints, trials.values.T, strict=True)
        },
    )


def _select_known(models: Models, known: Known, goal: Goal) -> list[KnownRow]:
    """Known materials that have labels of at least two of the objectives, for the property map;
    of the first properties of the goal if it has one objective."""
    objectives = [objective.endpoint for objective in goal.objectives]
    names = list(dict.fromkeys(objectives if len(objectives) > 1 else goal.shown[:2]))
    materials = known.materials
    labels = {name: models.endpoints[name].labels(materials) for name in names}
    n_labels = np.sum([~np.isnan(values) for values in labels.values()], axis=0)
    return [
        KnownRow(
            format_formula(str(materials.frame["formula"].iloc[row])),
            {
                name: round_significant(values[row])
                for name, values in labels.items()
                if not np.isnan(values[row])
            },
        )
        for row in np.flatnonzero(n_labels >= min(2, len(names)))
    ]
