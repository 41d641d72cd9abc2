"""What a run leaves on disk: the candidate table, structures, patterns and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.artefacts import write_atomically, write_json, write_text
from matlode.data.formulas import chemical_system, conventional_formula
from matlode.data.symmetry import CIF_SYMPREC_A, crystal_system
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.optimisation.campaign import Trials
from matlode.optimisation.goal import Goal
from matlode.records import Candidate, Prediction, RealisedStructure
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.screening.funnel import Screened, ledger
from matlode.screening.novelty import KnownMaterials
from matlode.screening.rule import Rule
from matlode.version import __version__

REQUEST_FILE = "request.json"
ROUNDS_FILE = "rounds.json"
"""Of a folder of runs, one per round."""
"""What a run folder begins with: all that decides how its search goes."""
SHOWN_PROPERTIES = ("bulk_modulus", "shear_modulus")
"""Always in the table, with their intervals."""
ALWAYS_SHOWN = (*SHOWN_PROPERTIES, "formation_energy", "stable_probability")
"""Columns of every table."""
NOT_BUILT = "none"
"""In ``structure_file`` where no structure could be built (an empty cell would read as NaN)."""


@dataclass(frozen=True)
class Proposal:
    """A row of the final table: a candidate, what was said of it and built for it."""

    screened: Screened
    merit: float
    """The least of the decoded object's, its formula's crystals' and the built structure's."""
    trial: int
    """Which of the search's trials it is, without those of known materials."""
    built: RealisedStructure | None = None
    built_predictions: Mapping[str, Prediction] = field(default_factory=dict)
    """What the models say of the built structure's own pattern."""
    missed: tuple[str, ...] = ()
    """Of each range that was asked for and is not kept, by the decoded object or the structure
    that was built, what is expected instead."""

    @property
    def candidate(self) -> Candidate:
        """The candidate itself."""
        return self.screened.candidate


def make_candidate_table(
    proposals: Sequence[Proposal], known: KnownMaterials, rules: Sequence[Rule], goal: Goal
) -> pd.DataFrame:
    """One row per proposal, best first; nothing in it is missing."""
    extra = [name for name in goal.shown if name not in ALWAYS_SHOWN]
    nearest = known.nearest(np.array([p.candidate.composition for p in proposals]))
    rows = []
    for rank, (proposal, (index, _)) in enumerate(zip(proposals, nearest, strict=True), start=1):
        candidate, screened, built = proposal.candidate, proposal.screened, proposal.built
        row: dict[str, Any] = {
            "rank": rank,
            "formula": conventional_formula(candidate.formula),
            "chemical_system": chemical_system(candidate.formula),
            "space_group": candidate.space_group,
            "space_group_probability": round(float(candidate.space_groups.max()), 4),
            "crystal_system": crystal_system(candidate.space_group),
        }
        for name in SHOWN_PROPERTIES:
            row |= _interval(candidate, name)
        row |= {
            "formation_energy": round(candidate.predictions["formation_energy"].value, 4),
            "stable_probability": round(candidate.predictions["stable_probability"].value, 4),
            "charge_neutral": _value_of(screened, "charge_neutral"),
            "novelty": _value_of(screened, "novel"),
            "nearest_known": f"{conventional_formula(known.formulas[index])} ({known.ids[index]})",
            "structure_file": structure_file(rank, candidate.formula) if built else NOT_BUILT,
            "structure_match": round(built.match, 4) if built else 0.0,
            "verdict": "accepted" if screened.accepted else "rejected",
            "reasons": _reasons(proposal, rules),
            "merit": round(proposal.merit, 4),
            "structure_space_group": built.space_group if built else 0,
            "in_ranges": not proposal.missed,
        }
        for name in dict.fromkeys([*SHOWN_PROPERTIES, *goal.shown]):
            # what was promised stands in for what was not built
            own = proposal.built_predictions.get(name, candidate.predictions[name])
            row[f"structure_{name}"] = significant(own.value)
        for name in extra:
            p = candidate.predictions[name]
            ends = {name: p.value, f"{name}_low": p.low, f"{name}_high": p.high}
            row |= {column: significant(value) for column, value in ends.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def structure_file(rank: int, formula: str) -> str:
    """Where the CIF of a candidate lies in the run folder."""
    return f"structures/{rank:03d}-{conventional_formula(formula)}.cif"


def _value_of(screened: Screened, rule: str) -> float | str:
    """What a rule looked at; it may have been switched off."""
    return next((v.value for v in screened.verdicts if v.rule == rule), "not judged")


def _interval(candidate: Candidate, name: str) -> dict[str, float]:
    p = candidate.predictions[name]
    return {
        name: round(p.value, 3),
        f"{name}_low": round(p.low, 3),
        f"{name}_high": round(p.high, 3),
    }


def significant(value: float) -> float:
    """Six digits, wherever the point stands: properties may be as small as 1e-6 1/K."""
    return float(f"{value:.6g}")


def _reasons(proposal: Proposal, rules: Sequence[Rule]) -> str:
    screened, built = proposal.screened, proposal.built
    required = {rule.name for rule in rules if rule.required}
    parts = [f"note {missed}" for missed in proposal.missed]
    for verdict in screened.verdicts:
        failed = "NO" if verdict.rule in required else "note"
        parts.append(f"{'ok' if verdict.passed else failed} {verdict.rule}: {verdict.reason}")
    if built is None:
        parts.append("no structure: neither a known type nor atoms at random give sound distances")
    else:
        parts.append(
            f"structure from {conventional_formula(built.template_formula)} "
            f"({built.template_id}): {built.substitution}"
            + (f"; type {built.prototype}" if built.prototype else "")
        )
    return " | ".join(parts)


def write_results(
    folder: Path,
    table: pd.DataFrame,
    proposals: Sequence[Proposal],
    screened: Sequence[Proposal],
    trials: Trials,
    origins: NDArray[np.str_],
    goal: Goal,
    models: Models,
    known: Known,
    rules: Sequence[Rule],
) -> None:
    """Fill a run folder with ``proposals``; the ledger counts all that were ``screened``;
    ``origins`` (n_trials,) says where each trial comes from."""
    for rank, proposal in enumerate(proposals, start=1):
        if proposal.built is not None:
            path = folder / structure_file(rank, proposal.candidate.formula)
            write_text(path, cif_text(proposal.built, proposal.candidate))
    two_theta = STANDARD_SETTINGS.two_theta_deg
    blank = np.zeros(len(two_theta), dtype=np.float32)
    decoded = np.array([p.candidate.pattern for p in proposals], dtype=np.float32)
    built = np.array([blank if p.built is None else p.built.pattern for p in proposals])
    write_atomically(
        folder / "patterns.npz",
        lambda stream: np.savez_compressed(
            stream,
            two_theta_deg=two_theta,
            rank=table["rank"].to_numpy(),
            formula=table["formula"].to_numpy(dtype=str),
            decoded=decoded,
            realised=built,
        ),
    )
    write_text(folder / "verdicts.csv", _verdicts(table, proposals).to_csv(index=False))
    write_text(folder / "trials.csv", _trial_rows(trials, origins, goal).to_csv(index=False))
    write_json(folder / "funnel.json", ledger([p.screened for p in screened], rules))
    write_json(folder / "known.json", _known_rows(models, known, goal))
    write_text(folder / "candidates.csv", table.to_csv(index=False))
    write_json(folder / "candidates.json", table.to_dict(orient="records"))


def cif_text(built: RealisedStructure, candidate: Candidate) -> str:
    """A symmetrised CIF; comments above it say what it is and where it comes from."""
    from pymatgen.io.cif import CifWriter

    text = str(CifWriter(built.structure, symprec=CIF_SYMPREC_A))
    header = (
        f"# matlode {__version__}: {conventional_formula(candidate.formula)}, proposed, not "
        "relaxed, not synthesised\n"
        f"# built from {conventional_formula(built.template_formula)} ({built.template_id}): "
        f"{built.substitution}\n"
        f"# structure type {built.prototype or 'not named'}\n"
        f"# pattern match {built.match:.3f}, {built.n_trials} trial structures\n"
    )
    return header + text


def _verdicts(table: pd.DataFrame, proposals: Sequence[Proposal]) -> pd.DataFrame:
    rows = [
        {"rank": rank, "formula": formula, **asdict(verdict)}
        for rank, formula, proposal in zip(table["rank"], table["formula"], proposals, strict=True)
        for verdict in proposal.screened.verdicts
    ]
    return pd.DataFrame(rows)


def _trial_rows(trials: Trials, origins: NDArray[np.str_], goal: Goal) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "trial": np.arange(len(trials)),
            "origin": origins,
            "formula": [conventional_formula(str(f)) for f in trials.formulas],
            "merit": trials.merits(goal).round(4),
        }
    )
    for name, values in zip(goal.endpoints, trials.values.T, strict=True):
        frame[name] = [significant(value) for value in values]
    return frame


def _known_rows(models: Models, known: Known, goal: Goal) -> list[dict[str, Any]]:
    """Known materials that have labels of two of the objectives at least (of what the goal is
    first about, if it has one objective), for the property map."""
    objectives = [objective.endpoint for objective in goal.objectives]
    names = list(dict.fromkeys(objectives if len(objectives) > 1 else goal.shown[:2]))
    materials = known.materials
    labels = {name: models.endpoints[name].labels(materials) for name in names}
    n_labels = np.sum([~np.isnan(values) for values in labels.values()], axis=0)
    return [
        {
            "formula": conventional_formula(str(materials.frame["formula"].iloc[row])),
            **{
                name: significant(values[row])
                for name, values in labels.items()
                if not np.isnan(values[row])
            },
        }
        for row in np.flatnonzero(n_labels >= min(2, len(names)))
    ]
