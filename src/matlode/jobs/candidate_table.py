"""The rows of a run folder's tables, from what became of each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import chemical_system, format_formula
from matlode.data.symmetry import CIF_SYMPREC_A, crystal_system
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.optimisation.campaign import Trials
from matlode.optimisation.goal import Goal
from matlode.records import Candidate, Prediction, RealisedStructure
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.run_folder import RunFolder, name_structure_file
from matlode.run_records import (
    NO_STRUCTURE,
    NOT_BUILT,
    CandidateRow,
    FunnelRow,
    KnownRow,
    PatternTable,
    PredictedValue,
    TrialTable,
    describe_origin,
)
from matlode.screening.funnel import Screened, ledger
from matlode.screening.novelty import KnownMaterials
from matlode.screening.rule import Rule
from matlode.version import __version__

SHOWN_PROPERTIES = ("bulk_modulus", "shear_modulus")
"""Always in the table, with their intervals."""
ALWAYS_SHOWN = (*SHOWN_PROPERTIES, "formation_energy", "stable_probability")
"""Columns of every table."""


@dataclass(frozen=True)
class Proposal:
    """A row of the final table: a candidate, its verdicts and the structure built for it."""

    screened: Screened
    merit: float
    """The lowest of three: the decoded material's, its formula's crystals' and the structure's."""
    trial: int
    """Its index among the trials of the search, without those at known materials."""
    built: RealisedStructure | None = None
    built_predictions: Mapping[str, Prediction] = field(default_factory=dict)
    """For the structure's own pattern."""
    missed: tuple[str, ...] = ()
    """For each range of the goal that the decoded material or its structure is not in, what is
    predicted instead."""

    @property
    def candidate(self) -> Candidate:
        """The candidate itself."""
        return self.screened.candidate


def make_candidate_rows(
    proposals: Sequence[Proposal], known: KnownMaterials, rules: Sequence[Rule], goal: Goal
) -> list[CandidateRow]:
    """One row per proposal, best first."""
    nearest = known.nearest(np.array([p.candidate.composition for p in proposals]))
    rows = []
    for rank, (proposal, (index, _)) in enumerate(zip(proposals, nearest, strict=True), start=1):
        candidate, screened, built = proposal.candidate, proposal.screened, proposal.built
        formula = format_formula(candidate.formula)
        row = CandidateRow(
            rank=rank,
            formula=formula,
            chemical_system=chemical_system(candidate.formula),
            space_group=candidate.space_group,
            space_group_probability=round(float(candidate.space_groups.max()), 4),
            crystal_system=crystal_system(candidate.space_group),
            bulk_modulus=_round_prediction(candidate.predictions["bulk_modulus"]),
            shear_modulus=_round_prediction(candidate.predictions["shear_modulus"]),
            formation_energy=round(candidate.predictions["formation_energy"].value, 4),
            stable_probability=round(candidate.predictions["stable_probability"].value, 4),
            charge_neutral=_find_value(screened, "charge_neutral"),
            novelty=_find_value(screened, "novel"),
            nearest_known=f"{format_formula(known.formulas[index])} ({known.ids[index]})",
            structure_file=name_structure_file(rank, formula) if built else NOT_BUILT,
            structure_match=round(built.match, 4) if built else 0.0,
            verdict="accepted" if screened.accepted else "rejected",
            reasons=_join_reasons(proposal, rules),
            merit=round(proposal.merit, 4),
            structure_space_group=built.space_group if built else 0,
            in_ranges=not proposal.missed,
            structure_properties={
                # the prediction for the decoded pattern stands in if there is no structure
                name: round_significant(
                    proposal.built_predictions.get(name, candidate.predictions[name]).value
                )
                for name in dict.fromkeys([*SHOWN_PROPERTIES, *goal.shown])
            },
            properties={
                name: _round_own_prediction(candidate.predictions[name])
                for name in goal.shown
                if name not in ALWAYS_SHOWN
            },
        )
        rows.append(row)
    return rows


def _find_value(screened: Screened, rule: str) -> float | str:
    """What a rule looked at; it may have been switched off."""
    return next((v.value for v in screened.verdicts if v.rule == rule), "not judged")


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
    return " | ".join([*parts, describe_structure(proposal.built)])


def describe_structure(built: RealisedStructure | None) -> str:
    """Where the structure of a candidate comes from, or that there is none."""
    if built is None:
        return NO_STRUCTURE
    return describe_origin(
        template_formula=format_formula(built.template_formula),
        template_id=built.template_id,
        substitution=built.substitution,
        prototype=built.prototype,
    )


def write_results(
    folder: RunFolder,
    rows: Sequence[CandidateRow],
    proposals: Sequence[Proposal],
    screened: Sequence[Proposal],
    trials: Trials,
    origins: NDArray[np.str_],
    goal: Goal,
    models: Models,
    known: Known,
    rules: Sequence[Rule],
) -> None:
    """Fill a run folder with ``proposals``, whose rows of the table are ``rows``.

    ``screened``: all candidates that rules were applied to, which the funnel counts. ``origins``
    (n_trials,) says where each trial comes from.
    """
    for row, proposal in zip(rows, proposals, strict=True):
        if proposal.built is not None:
            folder.write_structure(row, make_cif_text(proposal.built, proposal.candidate))
    two_theta = STANDARD_SETTINGS.two_theta_deg
    blank = np.zeros(len(two_theta), dtype=np.float32)
    decoded = np.array([p.candidate.pattern for p in proposals], dtype=np.float32)
    built = np.array([blank if p.built is None else p.built.pattern for p in proposals])
    folder.write_patterns(rows, PatternTable(two_theta, decoded, built))
    folder.write_verdicts(rows, [proposal.screened.verdicts for proposal in proposals])
    folder.write_trials(_tabulate_trials(trials, origins, goal))
    funnel = ledger([p.screened for p in screened], rules)
    folder.write_funnel([FunnelRow.from_json(row) for row in funnel])
    folder.write_known(_select_known(models, known, goal))
    folder.write_candidates(rows)


def make_cif_text(built: RealisedStructure, candidate: Candidate) -> str:
    """A symmetrised CIF with comments that say what it is and where it comes from."""
    from pymatgen.io.cif import CifWriter

    text = str(CifWriter(built.structure, symprec=CIF_SYMPREC_A))
    header = (
        f"# matlode {__version__}: {format_formula(candidate.formula)}, proposed, not "
        "relaxed, not synthesised\n"
        f"# built from {format_formula(built.template_formula)} ({built.template_id}): "
        f"{built.substitution}\n"
        f"# structure type {built.prototype or 'not named'}\n"
        f"# pattern match {built.match:.3f}, {built.n_trials} trial structures\n"
    )
    return header + text


def _tabulate_trials(trials: Trials, origins: NDArray[np.str_], goal: Goal) -> TrialTable:
    return TrialTable(
        origins,
        np.array([format_formula(str(formula)) for formula in trials.formulas], dtype=str),
        trials.merits(goal).round(4),
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
