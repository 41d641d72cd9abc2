"""Benchmark of phase identification: how often search-match finds the right phase, and its time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import write_json
from matlode.benchmarks.measured_like import LADDER, Difficulty, simulate_measured_pattern
from matlode.benchmarks.measured_packages import MeasuredPhase, find_measured
from matlode.benchmarks.tables import Row, Tables
from matlode.data.batches import split_range
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
from matlode.screening.known_lines import (
    STANDARD_MATCH,
    KnownLines,
    Match,
    keep_distinct,
    select_scattering,
)

MINERALS: Final = "COD/AMCSD"
"""Database, in the full table, of crystals with measured (not computed) cells."""
AT_LAB: Final = replace(LADDER[4], name="measured cells of minerals", scale=0.0, strain=0.0)
"""No additional errors of the cell: the measured cells already differ from the computed ones."""
N_MINERALS: Final = 100
PATTERNS_AT_ONCE: Final = 4096
NOT_FOUND: Final = 10**9


@dataclass(frozen=True)
class Answer:
    """Result of search-match for one pattern; ranks count from 0."""

    row: int
    """Row of the right phase."""
    hidden: bool
    """Whether this row was excluded from the search."""
    rank: int
    rank_with_elements: int
    """Rank in a search that is restricted to the elements of the sample."""
    seconds: Sequence[float]
    """Wall time and processor time of the search without a restriction."""
    curve: Sequence[float]
    """(1601,), the pattern on the grid of the models."""


@dataclass(frozen=True)
class Guess:
    """Prediction of the models for one pattern, without a search."""

    system: str
    """Crystal system, or "can't tell"."""
    true_system: str
    group_rank: int
    """Rank of the right space group, from 0."""
    system_known: bool
    """Whether a neighbour in the latent space has the chemical system of the crystal."""
    element_share: float
    """Fraction of the crystal's elements in its neighbours, on average."""
    chance_share: float
    """The same for random known crystals."""


@dataclass(frozen=True)
class _Part:
    """Results for all patterns of one difficulty."""

    name: str
    answers: Sequence[Answer]
    guesses: Sequence[Guess]
    baseline: Sequence[int]
    """Rank of the right phase by the cosine similarity, from 0."""


def bench_identify(
    table: Path | None = None,
    *,
    n_patterns: int = 504,
    seed: int = 0,
    index: Path | None = None,
    out: Path | None = None,
    progress: Progress = silent,
) -> Tables:
    """Rank the right phase for simulated and measured patterns.

    The patterns are: ``n_patterns`` simulated measurements of random rows with test formulas, in
    equal parts for the difficulties of LADDER; simulated measurements of minerals with measured
    cells, without their own rows; and measured patterns from installed packages
    (``find_measured``). Rows with the same formula and space group are one phase.

    The baseline is the cosine similarity of the square roots of the patterns, without strain or
    shift. Finished difficulties are kept in ``out`` and reused.
    """
    materials = select_scattering(read_table(table) if table else load_starter())
    known = Known(table, index, progress)
    bench = _Bench(materials, known, seed, out, progress)
    answers = [
        bench.run_rung(number, -(-n_patterns // len(LADDER))) for number in range(len(LADDER))
    ]
    answers.append(bench.run_minerals())
    guesses = [bench.guess(of_rung) for of_rung in answers]
    baseline = bench.rank_by_cosine(answers)
    names = [rung.name for rung in (*LADDER, AT_LAB)]
    parts = [
        _Part(*part) for part in zip(names, answers, guesses, baseline, strict=True) if part[1]
    ]
    found: dict[str, list[Row]] = {
        f"search-match, {len(known.lines):,} crystals": [_tabulate_ranks(p) for p in parts],
        "space group and composition of a pattern alone": [_tabulate_guesses(p) for p in parts],
        "time": [_tabulate_time(answers, len(known.lines))],
    }
    real = [bench.identify_measured(phase) for phase in find_measured()]
    if real:
        found["measured patterns"] = real
    if out is not None:
        write_json(out / "identify.json", found)
    return found


class _Bench:
    """The data that all parts of the benchmark share."""

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

    def run_rung(self, number: int, n: int) -> list[Answer]:
        """Answers for n patterns of difficulty LADDER[number]."""
        rng = np.random.default_rng([self.seed, number])
        rows = np.flatnonzero(split_by_formula(self.frame["formula"]) == TEST)
        return self._load_or_run(
            LADDER[number], rng.choice(rows, n), rng, f"rung-{number}", hide=False
        )

    def run_minerals(self) -> list[Answer]:
        """Answers for N_MINERALS rows with measured cells, of phases with another row."""
        if "database" not in self.frame:
            return []
        rng = np.random.default_rng([self.seed, len(LADDER)])
        rows = np.flatnonzero(self.frame["database"].to_numpy(str) == MINERALS)
        common = np.bincount(self.phase)[self.phase[rows]] > 1
        _, first = np.unique(self.phase[rows[common]], return_index=True)
        chosen = rng.permutation(rows[common][first])[:N_MINERALS]
        return self._load_or_run(AT_LAB, chosen, rng, "minerals", hide=True)

    def _load_or_run(
        self,
        rung: Difficulty,
        rows: NDArray[np.intp],
        rng: np.random.Generator,
        name: str,
        *,
        hide: bool,
    ) -> list[Answer]:
        """One answer per row, read from ``out`` if it is there."""
        file = None if self.out is None else self.out / f"{name}-seed-{self.seed}-{len(rows)}.json"
        if file is not None and file.exists():
            return [Answer(**one) for one in json.loads(file.read_text(encoding="utf-8"))]
        found = []
        for n, row in enumerate(rows.tolist()):
            other = int(rng.integers(len(self.crystals)))
            pattern = simulate_measured_pattern(self.crystals, row, other, rung, rng)
            if pattern is not None:
                elements = self.known.elements[row].copy()
                if rung.impurity:
                    elements |= self.known.elements[other]
                found.append(self._identify(pattern, row, elements, hide=hide))
            self.progress(rung.name, n + 1, len(rows))
        if file is not None:
            write_json(file, [asdict(one) for one in found])
        return found

    def _identify(
        self, pattern: MeasuredPattern, row: int, elements: NDArray[np.bool_], *, hide: bool
    ) -> Answer:
        hidden = [row] if hide else []
        rows = np.delete(np.arange(len(self.known)), hidden)
        start = time.perf_counter(), time.process_time()
        seen = Observation.of(pattern)
        matches = self.known.search(seen, rows, STANDARD_MATCH)
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
        few = np.setdiff1d(self.known.find_rows(elements), hidden)
        filtered = self.known.search(seen, few, STANDARD_MATCH)
        return Answer(
            row=row,
            hidden=hide,
            rank=self._find_rank(matches, row),
            rank_with_elements=self._find_rank(filtered, row),
            seconds=seconds,
            curve=to_grid(pattern).intensity.round(4).tolist(),
        )

    def guess(self, answers: Sequence[Answer]) -> list[Guess]:
        """Predictions of the models for each pattern; the crystal itself is not a neighbour."""
        chances = self.known.elements.mean(axis=0)
        guesses = []
        for one in answers:
            curve, row = np.array(one.curve), one.row
            symmetry = guess_symmetry(self.models.symmetry, curve, 5)
            near, _ = find_latent_neighbours(curve, self.models, self.table)
            near = near[near != row]
            group = int(self.known.space_groups[row])
            own = self.known.elements[row]
            systems = [chemical_system(str(f)) for f in self.known.formulas[near]]
            guesses.append(
                Guess(
                    system=symmetry.answer,
                    true_system=crystal_system(group),
                    group_rank=_find_place(list(symmetry.space_groups), str(group)),
                    system_known=chemical_system(str(self.known.formulas[row])) in systems,
                    element_share=float(self.known.elements[near][:, own].mean()),
                    chance_share=float(chances[own].mean()),
                )
            )
        return guesses

    def _find_rank(self, matches: Sequence[Match], row: int) -> int:
        phases = [int(self.phase[m.row]) for m in keep_distinct(matches, self.known)]
        return _find_place(phases, int(self.phase[row]))

    def rank_by_cosine(self, answers: Sequence[Sequence[Answer]]) -> list[list[int]]:
        """Rank of the right phase by the cosine similarity of the square roots, from 0."""
        every = [one for part in answers for one in part]
        if not every:
            return [[] for _ in answers]
        roots = np.sqrt(np.array([one.curve for one in every], np.float32))
        cosines = np.full((len(every), len(self.known)), -1, np.float32)
        for part in split_range(len(self.known), PATTERNS_AT_ONCE):
            rows = np.arange(part.start, part.stop)
            possible, patterns, _ = simulate_possible(self.known.exact(rows))
            known = np.sqrt(patterns)
            known /= np.linalg.norm(known, axis=1, keepdims=True).clip(1e-9)
            cosines[:, rows[possible]] = roots @ known.T
            self.progress("baseline", part.stop, len(self.known))
        ranks = iter(self._rank_one(*pair) for pair in zip(every, cosines, strict=True))
        return [[next(ranks) for _ in part] for part in answers]

    def _rank_one(self, answer: Answer, cosines: NDArray[np.float32]) -> int:
        if answer.hidden:
            cosines[answer.row] = -1
        same = self.phase == self.phase[answer.row]
        return len(np.unique(self.phase[cosines > cosines[same].max()]))

    def identify_measured(self, phase: MeasuredPhase) -> Row:
        """The rank of the known phase of a measured pattern. If the table lacks the phase, the
        rank that the structure from the same package would have."""
        seen = Observation.of(phase.pattern)
        elements = np.zeros(MAX_ATOMIC_NUMBER, bool)
        elements[[z - 1 for z in phase.numbers]] = True
        everything = np.arange(len(self.known))
        matches, filtered = (
            keep_distinct(self.known.search(seen, rows, STANDARD_MATCH), self.known)
            for rows in (everything, self.known.find_rows(elements))
        )
        best = matches[0] if matches else None
        return {
            "pattern": phase.name,
            "from": phase.package,
            "shows": phase.formula,
            "in the table": phase.formula in set(self.known.formulas),
            "rank": _find_measured_rank(matches, phase, seen, self.known),
            "rank among its elements": _find_measured_rank(filtered, phase, seen, self.known),
            "best of the table": str(self.known.formulas[best.row]) if best else "",
            "its match": round(best.fit.match, 3) if best else 0.0,
        }


def _tabulate_time(answers: Sequence[Sequence[Answer]], n_known: int) -> Row:
    """Median time of the searches without restriction, including the background subtraction."""
    spent = [one.seconds for part in answers for one in part]
    wall, processor = np.median(np.array(spent), axis=0).tolist()
    return {
        "crystals": n_known,
        "searches": len(spent),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "all",
        "seconds": wall,
        "seconds of processors": processor,
    }


def _find_measured_rank(
    matches: Sequence[Match],
    phase: MeasuredPhase,
    seen: Observation,
    known: KnownLines,
) -> int | None:
    """Rank of a phase, from 1; None if it is not among the matches."""
    for rank, match in enumerate(matches, start=1):
        right = known.formulas[match.row] == phase.formula
        if right and int(known.space_groups[match.row]) == phase.space_group:
            return rank
    if phase.structure is None:
        return None
    own = KnownLines.build(phase.structure).search(seen, None, STANDARD_MATCH)
    return 1 + sum(m.score > own[0].score for m in matches) if own else None


def _find_place(members: Sequence[object], wanted: object) -> int:
    return members.index(wanted) if wanted in members else NOT_FOUND


def _tabulate_ranks(part: _Part) -> Row:
    def share(ranks: Sequence[int], below: int) -> float:
        return float(np.mean([rank < below for rank in ranks]))

    ranks = [one.rank for one in part.answers]
    with_elements = [one.rank_with_elements for one in part.answers]
    return {
        "patterns": part.name,
        "n": len(part.answers),
        "rank 1": share(ranks, 1),
        "rank 5": share(ranks, 5),
        "rank 1, elements": share(with_elements, 1),
        "rank 5, elements": share(with_elements, 5),
        "cosine, rank 1": share(part.baseline, 1),
        "cosine, rank 5": share(part.baseline, 5),
    }


def _tabulate_guesses(part: _Part) -> Row:
    guesses = part.guesses
    answered = [one for one in guesses if one.system != "can't tell"]
    right = [one.system == one.true_system for one in answered]
    return {
        "patterns": part.name,
        "system answered": len(answered) / len(guesses),
        "right, if answered": float(np.mean(right)) if right else None,
        "space group, top 1": float(np.mean([one.group_rank < 1 for one in guesses])),
        "top 5": float(np.mean([one.group_rank < 5 for one in guesses])),
        "chemical system among 20 neighbours": float(np.mean([g.system_known for g in guesses])),
        "neighbours with an element of it": float(np.mean([g.element_share for g in guesses])),
        "by chance": float(np.mean([g.chance_share for g in guesses])),
    }
