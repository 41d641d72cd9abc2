"""Benchmark of structures from measured patterns of known formulas whose structures are hidden."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from matlode.benchmarks.labelled_scans import (
    LabelledScan,
    is_for_learning,
    name_family,
    read_scans,
)
from matlode.benchmarks.tables import Row, Tables
from matlode.data.symmetry import crystal_system
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.solve import keep_different
from matlode.progress import Progress, silent
from matlode.realisation.measured import solve_pattern
from matlode.representation.observation import Observation

N_ANSWERS: Final = 5


def bench_solve(folder: Path, table: Path | None, progress: Progress = silent) -> Tables:
    """Solve the labelled scans in a folder (see ``labelled_scans``) with their formulas hidden.

    Scans count whose phase, by formula and crystal family, is in the table, and whose formula has
    templates. A structure is right if pymatgen's StructureMatcher finds it equal to a known one of
    the phase; equal answers count once.
    """
    models, known = Models(), Known(table)
    frame = known.materials.frame
    families = [name_family(crystal_system(int(group))) for group in frame["space_group"]]
    scans = read_scans(folder)
    rows: list[Row] = []
    for number, scan in enumerate(scans):
        right = (frame["formula"].to_numpy() == scan.formula) & (np.array(families) == scan.family)
        if right.any():
            rows.append(_solve(scan, np.flatnonzero(right), models, known))
        progress("scans", number + 1, len(scans))
    found = [row for row in rows if row["answers"]]
    return {"solve, formula hidden": _summarise(found), "each scan": rows}


def _solve(scan: LabelledScan, right: np.ndarray, models: Models, known: Known) -> Row:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    truth = [known.materials.crystals.structure(int(row)) for row in right]
    start = time.perf_counter()
    found = solve_pattern(
        known.builder, models.expected_volume, scan.formula, Observation.of(scan.pattern),
        exclude_own=True,
    )  # fmt: skip
    answers = list(islice(keep_different(found), N_ANSWERS))
    seconds = time.perf_counter() - start
    matcher = StructureMatcher()
    hits = [any(matcher.fit(one.built.structure, true) for true in truth) for one in answers]
    return {
        "id": scan.id,
        "phase": f"{scan.formula} {scan.family}",
        "for learning": is_for_learning(scan.id),
        "answers": len(answers),
        "rank": hits.index(True) + 1 if any(hits) else None,
        "first": f"{answers[0].built.space_group} {answers[0].built.origin.template_formula}"
        if answers else "",
        "match": answers[0].built.match if answers else None,
        "Rwp": answers[0].rwp if answers else None,
        "seconds": seconds,
    }  # fmt: skip


def _summarise(rows: list[Row]) -> list[Row]:
    halves = {"all": rows, "not for learning": [r for r in rows if not r["for learning"]]}
    summary: list[Row] = []
    for name, some in halves.items():
        if not some:
            continue
        ranks = [row["rank"] for row in some]
        first = float(np.mean([rank == 1 for rank in ranks]))
        five = float(np.mean([rank is not None for rank in ranks]))
        summary.append(
            {
                "scans": name,
                "n": len(some),
                "rank 1": first,
                "rank 1, s.e.": float(np.sqrt(first * (1 - first) / len(some))),
                "rank 5": five,
                "rank 5, s.e.": float(np.sqrt(five * (1 - five) / len(some))),
                "median s": float(np.median([row["seconds"] for row in some])),
            }
        )
    return summary
