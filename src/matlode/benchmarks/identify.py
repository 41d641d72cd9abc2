"""How often search-match finds the right phase, and how long it takes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import write_json
from matlode.benchmarks.measured_like import LADDER, Difficulty, measured_like
from matlode.benchmarks.measured_packages import MeasuredPhase, find_measured
from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals
from matlode.data.formulas import chemical_system
from matlode.data.splits import TEST, split_by_formula
from matlode.data.symmetry import crystal_system
from matlode.data.tables import Materials, load_starter, read_table
from matlode.jobs.identify import find_latent_neighbours, guess_symmetry
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.progress import Progress, silent
from matlode.representation.diffraction import simulate_possible
from matlode.representation.observation import Observation
from matlode.representation.pattern_grid import to_grid
from matlode.representation.patterns import MeasuredPattern
from matlode.screening.known_lines import STANDARD_MATCH, KnownLines, Match, distinct, that_scatter

MINERALS: Final = "COD/AMCSD"
"""Database, in the full table, of crystals whose cells were measured, not computed."""
AT_LAB: Final = replace(LADDER[4], name="measured cells of minerals", scale=0.0, strain=0.0)
"""Cells are off by themselves: those that are looked for were computed."""
N_MINERALS: Final = 100
PATTERNS_AT_ONCE: Final = 4096
NOT_FOUND: Final = 10**9

Answer = dict[str, Any]
"""What came of one pattern."""


def bench_identify(
    table: Path | None = None,
    *,
    n_patterns: int = 504,
    seed: int = 0,
    index: Path | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> dict[str, list[dict[str, Any]]]:
    """Ranks of the right phase for patterns made as if measured, a rung of LADDER after the other
    (``n_patterns`` in all), of random rows whose formulas are in the split's test part; for
    minerals whose cells were measured, their own row hidden; and for real measured patterns of
    installed packages (``find_measured``). Rows of one formula and space group are one phase.

    The baseline is the cosine of square roots of patterns, nothing strained or shifted. ``out``:
    folder that finished rungs are kept in; what is there is not measured again.
    """
    materials = that_scatter(read_table(table) if table else load_starter())
    known = Known(table, index, progress)
    bench = _Bench(materials, known, seed, out, progress)
    answers = [bench.rung(number, -(-n_patterns // len(LADDER))) for number in range(len(LADDER))]
    answers.append(bench.minerals())
    bench.add_guesses(answers)
    bench.add_baseline(answers)
    named = [
        (rung.name, part) for rung, part in zip((*LADDER, AT_LAB), answers, strict=True) if part
    ]
    found = {
        f"search-match, {len(known.lines):,} crystals": [_rates(*part) for part in named],
        "space group and composition of a pattern alone": [_guess_rates(*part) for part in named],
        "time": [_seconds(answers, len(known.lines))],
    }
    real = [bench.measured(phase) for phase in find_measured()]
    if real:
        found["measured patterns"] = real
    if out is not None:
        write_json(out / "identify.json", found)
    return found


class _Bench:
    """Holds what all parts need."""

    def __init__(
        self,
        materials: Materials,
        known: Known,
        seed: int,
        out: Path | None,
        progress: Progress,
    ) -> None:
        self.models, self.table = Models(), known
        self.known: KnownLines = known.lines
        self.crystals: Crystals = materials.crystals
        self.frame = materials.frame
        self.seed, self.out, self.progress = seed, out, progress
        names = zip(self.known.formulas, self.known.space_groups, strict=True)
        _, self.phase = np.unique([f"{f} {g}" for f, g in names], return_inverse=True)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)

    def rung(self, number: int, n: int) -> list[Answer]:
        """Answers for n patterns of a rung of LADDER."""
        rng = np.random.default_rng([self.seed, number])
        rows = np.flatnonzero(split_by_formula(self.frame["formula"]) == TEST)
        return self._kept(LADDER[number], rng.choice(rows, n), rng, f"rung-{number}", hide=False)

    def minerals(self) -> list[Answer]:
        """Answers for N_MINERALS rows with measured cells whose phase another row has, too."""
        if "database" not in self.frame:
            return []
        rng = np.random.default_rng([self.seed, len(LADDER)])
        rows = np.flatnonzero(self.frame["database"].to_numpy(str) == MINERALS)
        common = np.bincount(self.phase)[self.phase[rows]] > 1
        _, first = np.unique(self.phase[rows[common]], return_index=True)
        chosen = rng.permutation(rows[common][first])[:N_MINERALS]
        return self._kept(AT_LAB, chosen, rng, "minerals", hide=True)

    def _kept(
        self,
        rung: Difficulty,
        rows: NDArray[np.intp],
        rng: np.random.Generator,
        name: str,
        *,
        hide: bool,
    ) -> list[Answer]:
        """One answer per row; measured, or read where they are kept."""
        file = None if self.out is None else self.out / f"{name}-seed-{self.seed}-{len(rows)}.json"
        if file is not None and file.exists():
            return list(json.loads(file.read_text(encoding="utf-8")))
        found = []
        for n, row in enumerate(rows.tolist()):
            other = int(rng.integers(len(self.crystals)))
            pattern = measured_like(self.crystals, row, other, rung, rng)
            if pattern is not None:
                elements = self.known.elements[row].copy()
                if rung.impurity:
                    elements |= self.known.elements[other]
                found.append(
                    {"row": row, "hidden": hide, **self._one(pattern, row, elements, hide)}
                )
            self.progress(rung.name, n + 1, len(rows))
        if file is not None:
            write_json(file, found)
        return found

    def _one(
        self,
        pattern: MeasuredPattern,
        row: int,
        elements: NDArray[np.bool_],
        hide: bool,
    ) -> Answer:
        hidden = [row] if hide else []
        rows = np.delete(np.arange(len(self.known)), hidden)
        start = time.perf_counter(), time.process_time()
        seen = Observation.of(pattern)
        matches = self.known.search(seen, rows, STANDARD_MATCH)
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
        few = np.setdiff1d(self.known.rows_with(elements), hidden)
        filtered = self.known.search(seen, few, STANDARD_MATCH)
        return {
            "rank": self._rank(matches, row),
            "rank_with_elements": self._rank(filtered, row),
            "seconds": seconds,
            "curve": to_grid(pattern).intensity.round(4).tolist(),
        }

    def add_guesses(self, answers: Sequence[list[Answer]]) -> None:
        """What the models say of each pattern alone; a neighbour is never the crystal itself."""
        chances = self.known.elements.mean(axis=0)
        for one in (one for part in answers for one in part):
            curve, row = np.array(one["curve"]), one["row"]
            symmetry = guess_symmetry(self.models.symmetry, curve, 5)
            near, _ = find_latent_neighbours(curve, self.models, self.table)
            near = near[near != row]
            group = int(self.known.space_groups[row])
            own = self.known.elements[row]
            systems = [chemical_system(str(f)) for f in self.known.formulas[near]]
            one |= {
                "system": symmetry.answer,
                "true_system": crystal_system(group),
                "group_rank": _place(list(symmetry.space_groups), str(group)),
                "system_known": chemical_system(str(self.known.formulas[row])) in systems,
                "element_share": float(self.known.elements[near][:, own].mean()),
                "chance_share": float(chances[own].mean()),
            }

    def _rank(self, matches: Sequence[Match], row: int) -> int:
        phases = [int(self.phase[m.row]) for m in distinct(matches, self.known)]
        return _place(phases, int(self.phase[row]))

    def add_baseline(self, answers: Sequence[list[Answer]]) -> None:
        """Ranks by the cosine of square roots of patterns as they are."""
        every = [one for part in answers for one in part]
        if not every:
            return
        roots = np.sqrt(np.array([one["curve"] for one in every], np.float32))
        cosines = np.full((len(every), len(self.known)), -1, np.float32)
        for at in range(0, len(self.known), PATTERNS_AT_ONCE):
            rows = np.arange(at, min(at + PATTERNS_AT_ONCE, len(self.known)))
            possible, patterns, _ = simulate_possible(self.known.exact(rows))
            known = np.sqrt(patterns)
            known /= np.linalg.norm(known, axis=1, keepdims=True).clip(1e-9)
            cosines[:, rows[possible]] = roots @ known.T
            self.progress("baseline", rows[-1] + 1, len(self.known))
        for one, row in zip(every, cosines, strict=True):
            if one["hidden"]:
                row[one["row"]] = -1
            same = self.phase == self.phase[one["row"]]
            one["baseline"] = len(np.unique(self.phase[row > row[same].max()]))

    def measured(self, phase: MeasuredPhase) -> dict[str, Any]:
        """The rank of what a real pattern is known to show; of a phase that the table lacks, the
        rank that the structure which came with the pattern would have."""
        seen = Observation.of(phase.pattern)
        elements = np.zeros(MAX_ATOMIC_NUMBER, bool)
        elements[[z - 1 for z in phase.numbers]] = True
        everything = np.arange(len(self.known))
        matches, filtered = (
            distinct(self.known.search(seen, rows, STANDARD_MATCH), self.known)
            for rows in (everything, self.known.rows_with(elements))
        )
        best = matches[0] if matches else None
        return {
            "pattern": phase.name,
            "from": phase.package,
            "shows": phase.formula,
            "in the table": phase.formula in set(self.known.formulas),
            "rank": _rank_of(matches, phase, seen, self.known),
            "rank among its elements": _rank_of(filtered, phase, seen, self.known),
            "best of the table": str(self.known.formulas[best.row]) if best else "",
            "its match": round(best.fit.match, 3) if best else 0.0,
        }


def _seconds(answers: Sequence[Sequence[Answer]], n_known: int) -> dict[str, Any]:
    """Median of all searches without a filter, the pattern's background included."""
    spent = [one["seconds"] for part in answers for one in part]
    wall, processor = np.median(np.array(spent), axis=0).tolist()
    return {
        "crystals": n_known,
        "searches": len(spent),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "all",
        "seconds": wall,
        "seconds of processors": processor,
    }


def _rank_of(
    matches: Sequence[Match],
    phase: MeasuredPhase,
    seen: Observation,
    known: KnownLines,
) -> int | None:
    """From 1; None if the phase is not among the ranked."""
    for rank, match in enumerate(matches, start=1):
        right = known.formulas[match.row] == phase.formula
        if right and int(known.space_groups[match.row]) == phase.space_group:
            return rank
    if phase.structure is None:
        return None
    own = KnownLines.build(phase.structure).search(seen, None, STANDARD_MATCH)
    return 1 + sum(m.score > own[0].score for m in matches) if own else None


def _place(members: Sequence[Any], wanted: Any) -> int:
    return members.index(wanted) if wanted in members else NOT_FOUND


def _rates(name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    def share(key: str, below: int) -> float:
        return float(np.mean([one[key] < below for one in answers]))

    return {
        "patterns": name,
        "n": len(answers),
        "rank 1": share("rank", 1),
        "rank 5": share("rank", 5),
        "rank 1, elements": share("rank_with_elements", 1),
        "rank 5, elements": share("rank_with_elements", 5),
        "cosine, rank 1": share("baseline", 1),
        "cosine, rank 5": share("baseline", 5),
    }


def _guess_rates(name: str, answers: Sequence[Answer]) -> dict[str, Any]:
    answered = [one for one in answers if one["system"] != "can't tell"]
    right = [one["system"] == one["true_system"] for one in answered]

    def mean(of: Callable[[Answer], Any]) -> float:
        return float(np.mean([of(one) for one in answers]))

    return {
        "patterns": name,
        "system answered": len(answered) / len(answers),
        "right, if answered": float(np.mean(right)) if right else None,
        "space group, top 1": mean(lambda one: one["group_rank"] < 1),
        "top 5": mean(lambda one: one["group_rank"] < 5),
        "chemical system among 20 neighbours": mean(lambda one: one["system_known"]),
        "neighbours with an element of it": mean(lambda one: one["element_share"]),
        "by chance": mean(lambda one: one["chance_share"]),
    }
