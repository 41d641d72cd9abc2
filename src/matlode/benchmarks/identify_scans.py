"""Benchmark of phase identification on measured patterns of known phases."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.benchmarks.labelled_scans import (
    LabelledMixture,
    LabelledScan,
    is_for_learning,
    name_family,
    read_mixtures,
    read_scans,
)
from matlode.benchmarks.tables import Row, Tables
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import atomic_numbers, parse_formula
from matlode.data.symmetry import crystal_system
from matlode.jobs.identify import find_phases
from matlode.jobs.known import Known
from matlode.progress import Progress, silent
from matlode.report.drawing import COLOURS, TRUE, pyplot
from matlode.representation.observation import Observation
from matlode.screening.known_lines import STANDARD_MATCH, KnownLines
from matlode.screening.mixtures import find_mixture
from matlode.screening.phase_probability import CONFIDENCE

CONDITIONS: Final = ("blind", "elements allowed", "elements allowed and required")
SURE: Final = 0.9
N_BINS: Final = 5
"""Bins of the expected calibration error, with equal numbers of answers."""
N_DRAWS: Final = 500
"""Bootstrap samples, and simulations of answers whose probabilities are right."""


@dataclass(frozen=True)
class ScanAnswer:
    """Result for one scan under one condition."""

    scan: LabelledScan
    condition: str
    known: bool
    """Whether the table has a crystal of the formula and crystal family."""
    rank: int | None
    """From 0; None if the phase is not among the answers."""
    best: str
    score: float
    probability: float
    seconds: float


def bench_scans(
    folder: Path,
    table: Path | None,
    index: Path | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> Tables:
    """Identify the labelled scans and mixtures in a folder (see ``labelled_scans``).

    The folder ``out`` gets a figure of stated probabilities and shares of right answers.

    A phase counts as found if formula and crystal family are right. Settings were learned on the
    half of the scans for which ``is_for_learning`` is true; the others are shown apart.
    """
    lines = Known(table, index, progress).lines
    families = [name_family(crystal_system(int(group))) for group in lines.space_groups]
    phases = set(zip(lines.formulas.tolist(), families, strict=True))
    answers = []
    scans = read_scans(folder)
    for number, scan in enumerate(scans):
        answers += [_identify(scan, name, lines, families, phases) for name in CONDITIONS]
        progress("scans", number + 1, len(scans))
    known = [one for one in answers if one.known]
    if out is not None:
        _draw_reliability(answers, out / "reliability.png")
    return {
        "single phases": _tabulate_ranks(known),
        "probability": _tabulate_probabilities(answers),
        "each scan": _tabulate_scans(answers),
        "mixtures, elements allowed": [
            _identify_mixture(mixture, lines) for mixture in read_mixtures(folder)
        ],
    }


def make_mask(formulas: Collection[str]) -> NDArray[np.bool_]:
    """(MAX_ATOMIC_NUMBER,), true for the elements of the formulas."""
    mask = np.zeros(MAX_ATOMIC_NUMBER, bool)
    for formula in formulas:
        mask[[atomic_numbers()[symbol] - 1 for symbol in parse_formula(formula)]] = True
    return mask


def _identify(
    scan: LabelledScan,
    condition: str,
    lines: KnownLines,
    families: Sequence[str],
    phases: Collection[tuple[str, str]],
) -> ScanAnswer:
    mask = make_mask([scan.formula])
    allowed = None if condition == CONDITIONS[0] else mask
    required = mask if condition == CONDITIONS[2] else None
    start = time.perf_counter()
    seen = Observation.of(scan.pattern)
    rows = lines.find_rows(allowed, required)
    matches = find_phases(lines, seen, rows)
    seconds = time.perf_counter() - start
    found = [(str(lines.formulas[m.row]), families[m.row]) for m in matches]
    right = (scan.formula, scan.family)
    return ScanAnswer(
        scan=scan,
        condition=condition,
        known=right in phases,
        rank=found.index(right) if right in found else None,
        best=" ".join(found[0]) if found else "",
        score=matches[0].score if matches else 0.0,
        probability=CONFIDENCE.compute(matches, lines, len(rows), allowed),
        seconds=seconds,
    )


def _halve(answers: Sequence[ScanAnswer]) -> dict[str, Sequence[ScanAnswer]]:
    """All answers, and those of the scans on which nothing was learned."""
    others = [one for one in answers if not is_for_learning(one.scan.id)]
    return {"all": answers, "not for learning": others}


def _tabulate_ranks(answers: Sequence[ScanAnswer]) -> list[Row]:
    rows: list[Row] = []
    for half, some in _halve(answers).items():
        for condition in CONDITIONS:
            own = [one for one in some if one.condition == condition]
            if not own:
                continue
            row: dict[str, str | int | float | bool | None] = {
                "scans": half, "condition": condition, "n": len(own)
            }  # fmt: skip
            for name, below in (("rank 1", 1), ("rank 5", 5)):
                hits = [one.rank is not None and one.rank < below for one in own]
                share = float(np.mean(hits))
                row[name] = share
                row[f"{name}, s.e."] = float(np.sqrt(share * (1 - share) / len(hits)))
            row["median s"] = float(np.median([one.seconds for one in own]))
            rows.append(row)
    return rows


def _tabulate_probabilities(answers: Sequence[ScanAnswer]) -> list[Row]:
    rows: list[Row] = []
    rng = np.random.default_rng(0)
    for half, some in _halve(answers).items():
        for condition in CONDITIONS:
            own = [one for one in some if one.condition == condition]
            if not own:
                continue
            right = np.array([one.rank == 0 for one in own])
            stated = np.array([one.probability for one in own])
            sure = stated >= SURE
            drawn = rng.integers(len(own), size=(N_DRAWS, len(own)))
            errors = [compute_calibration_error(stated[d], right[d]) for d in drawn]
            perfect = rng.random((N_DRAWS, len(own))) < stated
            rows.append(
                {
                    "scans": half,
                    "condition": condition,
                    "n": len(own),
                    "sure": int(sure.sum()),
                    "right of these": float(right[sure].mean()) if sure.any() else None,
                    "calibration error": compute_calibration_error(stated, right),
                    "calibration error, s.e.": float(np.std(errors)),
                    "error of a calibrated answer": float(
                        np.mean([compute_calibration_error(stated, r) for r in perfect])
                    ),
                }
            )
    return rows


def compute_calibration_error(stated: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Mean difference of stated probability (n,) and share of right answers in N_BINS bins."""
    bins = np.array_split(np.argsort(stated, kind="stable"), N_BINS)
    gaps = [len(b) * abs(stated[b].mean() - right[b].mean()) for b in bins if len(b)]
    return float(sum(gaps)) / len(stated)


def _draw_reliability(answers: Sequence[ScanAnswer], path: Path) -> None:
    """Draw the share of right answers over the stated probability, in N_BINS bins of each."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
    axes.plot([0, 1], [0, 1], color=TRUE, lw=0.8)
    for number, condition in enumerate(CONDITIONS):
        own = [one for one in answers if one.condition == condition]
        stated = np.array([one.probability for one in own])
        right = np.array([one.rank == 0 for one in own])
        bins = np.array_split(np.argsort(stated, kind="stable"), min(N_BINS, len(own)))
        shares = [right[b].mean() for b in bins]
        errors = [np.sqrt(r * (1 - r) / len(b)) for b, r in zip(bins, shares, strict=True)]
        axes.errorbar(
            [stated[b].mean() for b in bins], shares, errors, fmt="o-", lw=0.8, ms=4,
            color=COLOURS[number + 1], label=condition,
        )  # fmt: skip
    axes.set(xlabel="stated probability", ylabel="share of right answers")
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _tabulate_scans(answers: Sequence[ScanAnswer]) -> list[Row]:
    rows: list[Row] = []
    for blind, *others in zip(*[iter(answers)] * len(CONDITIONS), strict=True):
        ranks = {
            f"rank, {one.condition}": None if one.rank is None else one.rank + 1
            for one in (blind, *others)
        }
        rows.append(
            {
                "id": blind.scan.id,
                "phase": f"{blind.scan.formula} {blind.scan.family}",
                "in the table": blind.known,
                "first, blind": blind.best,
                "probability": blind.probability,
                **ranks,
            }
        )
    return rows


def _identify_mixture(mixture: LabelledMixture, lines: KnownLines) -> Row:
    mask = make_mask(mixture.fractions)
    start = time.perf_counter()
    seen = Observation.of(mixture.pattern)
    found = find_mixture(lines, seen, lines.find_rows(mask), STANDARD_MATCH, wanted=mask)
    parts: dict[str, float] = {}
    for phase in found:
        formula = str(lines.formulas[phase.match.row])
        parts[formula] = parts.get(formula, 0.0) + phase.weight_fraction
    known = [formula for formula in mixture.fractions if formula in set(lines.formulas)]
    errors = [abs(parts.get(formula, 0.0) - mixture.fractions[formula]) for formula in known]
    return {
        "mixture": mixture.id,
        "phases": len(mixture.fractions),
        "in the table": len(known),
        "named": sum(formula in parts for formula in known),
        "wrong": sum(formula not in mixture.fractions for formula in parts),
        "mean error of fractions": float(np.mean(errors)) if errors else None,
        "answer": ", ".join(f"{formula} {part:.2f}" for formula, part in parts.items()),
        "seconds": time.perf_counter() - start,
    }
