"""How often the builder finds the right structure of known materials hidden from it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.data.splits import TEST
from matlode.errors import InputError
from matlode.evaluation.score_row import ScoreRow
from matlode.jobs.models import Models
from matlode.progress import Progress, silent
from matlode.properties.endpoints import VOLUME
from matlode.realisation.builder import MEASURED, Builder, Effort, different
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.records import Candidate
from matlode.representation.composition import write_formulas
from matlode.training.table import TrainingTable

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_ATOMS = 20
"""Atoms of the largest cells that are searched for."""
TOLERANCES = {"ltol": 0.3, "stol": 0.5, "angle_tol": 10}
"""Settings of StructureMatcher that are usual for generators of crystals."""
TOPS = (1, 5)
CHEMISTRY = replace(MEASURED, n_templates=5, n_refined=5, strained=False, distance_cost=1e6)
"""Templates are chosen by the nearest elements alone; the pattern is ignored."""


Description: TypeAlias = Literal["true", "decoded"]
"""Composition and pattern of a material: its own, or those that its latent point decodes to."""


@dataclass(frozen=True)
class Target:
    """A known structure, and the candidates that describe it."""

    structure: Structure
    formula: str
    candidates: dict[Description, Candidate]


@dataclass(frozen=True)
class Hidden:
    """Structures of test formulas, and the library that they are built from."""

    table: TrainingTable
    models: Models
    rows: NDArray[np.intp]

    @cached_property
    def builder(self) -> Builder:
        """Builder with every structure of the table; it skips those of the target's formula."""
        return Builder(PrototypeLibrary.build(self.table.materials))

    def targets(self) -> Iterator[Target]:
        """The targets, one by one."""
        table, models = self.table, self.models
        compositions, patterns = table.compositions[self.rows], table.patterns[self.rows]
        points = models.space.encode(compositions, patterns)
        amounts = models.space.formulas(points)
        _, images = models.space.decode(points)
        names = [str(name) for name in table.materials.frame["formula"].iloc[self.rows]]
        true = models.predict_candidates(names, compositions, patterns, case="simulated")
        decoded = models.predict_candidates(
            write_formulas(amounts), amounts / amounts.sum(axis=1, keepdims=True), images,
            case="decoded",
        )  # fmt: skip
        for place, row in enumerate(self.rows):
            yield Target(
                table.materials.crystals.structure(int(row)),
                names[place],
                {"true": true[place], "decoded": decoded[place]},
            )


CASES: dict[str, tuple[Description, Effort]] = {
    "true composition and pattern": ("true", MEASURED),
    "composition and pattern as the autoencoders return them": ("decoded", MEASURED),
    "true composition, pattern unused": ("true", CHEMISTRY),
}


def measure_realisation(
    *,
    data: Path | None = None,
    models: Path | None = None,
    n_structures: int = 300,
    seed: int = 0,
    progress: Progress = silent,
) -> list[ScoreRow]:
    """Measure how often the right structure is the first, or among the first five different ones.

    The targets are structures of test formulas with at most MAX_ATOMS atoms, of the Materials
    Project if the table states databases. Every entry of their formulas is hidden from the
    templates, and no model has seen them. A structure is right if StructureMatcher matches it
    (TOLERANCES); a missing structure or another formula counts as wrong. Raises InputError if
    the table has no target.
    """
    table = TrainingTable.load(data)
    frame = table.materials.frame
    usable = (table.roles == TEST) & (table.materials.crystals.n_atoms <= MAX_ATOMS)
    if "database" in frame:
        usable &= (frame["database"] == "MP").to_numpy()
    if not usable.any():
        raise InputError(f"{table.source} has no test structures of up to {MAX_ATOMS} atoms.")
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(usable))[:n_structures]
    hidden = Hidden(table, Models(models), rows)
    places: dict[str, list[int | None]] = {case: [] for case in CASES}
    seconds = dict.fromkeys(CASES, 0.0)
    for done, target in enumerate(hidden.targets(), start=1):
        for case, (kind, effort) in CASES.items():
            began = time.perf_counter()
            built = _build_first(hidden.builder, target.candidates[kind], effort)
            seconds[case] += time.perf_counter() - began
            right = target.candidates[kind].formula == target.formula
            places[case].append(_find_place(target.structure, built) if right else None)
        progress("realisation", done, len(rows), target.formula)
    return [
        ScoreRow(
            endpoint="structure",
            model=case,
            rows=len(rows),
            split=f"test formulas of {table.source}, up to {MAX_ATOMS} atoms",
            scores={**_compute_shares(of_case), "seconds": seconds[case] / len(rows)},
        )
        for case, of_case in places.items()
    ]


def _build_first(builder: Builder, candidate: Candidate, effort: Effort) -> list[Structure]:
    found = builder.structures(
        candidate, candidate.predictions[VOLUME].value, exclude_own=True, effort=effort
    )
    return [built.structure for built in islice(different(found), max(TOPS))]


def _find_place(true: Structure, built: Sequence[Structure]) -> int | None:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(**TOLERANCES)
    return next((i for i, found in enumerate(built) if matcher.fit(true, found)), None)


def _compute_shares(places: Sequence[int | None]) -> dict[str, float]:
    """Shares of targets with the right structure among the first ones, with standard errors."""
    scores = {}
    for top in TOPS:
        share = float(np.mean([place is not None and place < top for place in places]))
        scores[f"top_{top}"] = share
        scores[f"top_{top}_se"] = float(np.sqrt(share * (1 - share) / len(places)))
    return scores
