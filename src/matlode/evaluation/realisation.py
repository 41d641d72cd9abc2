"""How often the right structure is built, for known materials whose formulas are hidden."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matlode.data.splits import TEST
from matlode.errors import InputError
from matlode.jobs.models import Models
from matlode.progress import Progress, silent
from matlode.properties.network import VOLUME
from matlode.realisation.builder import MEASURED, Builder, Effort, different
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.records import Candidate
from matlode.representation.composition import formulas_of
from matlode.training.table import TrainingTable

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_ATOMS = 20
"""Of the cells that are to be found."""
TOLERANCES = {"ltol": 0.3, "stol": 0.5, "angle_tol": 10}
"""Of StructureMatcher: those that generators of crystals are measured with."""
TOPS = (1, 5)
CHEMISTRY = replace(MEASURED, n_templates=5, n_refined=5, strained=False, distance_cost=1e6)
"""The nearest elements decide, whatever the pattern."""


@dataclass(frozen=True)
class Target:
    """A known structure, and candidates that stand for it by case."""

    structure: Structure
    formula: str
    candidates: dict[str, Candidate]


@dataclass(frozen=True)
class Hidden:
    """Structures of test formulas, and the library that they are to be built from."""

    table: TrainingTable
    models: Models
    rows: NDArray[np.intp]

    @cached_property
    def builder(self) -> Builder:
        """Of every structure of the table; the builder leaves out those of the formula."""
        return Builder(PrototypeLibrary.build(self.table.materials))

    def targets(self) -> Iterator[Target]:
        """One by one."""
        table, models = self.table, self.models
        compositions, patterns = table.compositions[self.rows], table.patterns[self.rows]
        points = models.space.encode(compositions, patterns)
        amounts = models.space.formulas(points)
        _, images = models.space.decode(points)
        names = [str(name) for name in table.materials.frame["formula"].iloc[self.rows]]
        true = models.predict_candidates(names, compositions, patterns, case="simulated")
        returned = models.predict_candidates(
            formulas_of(amounts), amounts / amounts.sum(axis=1, keepdims=True), images,
            case="decoded",
        )  # fmt: skip
        for place, row in enumerate(self.rows):
            yield Target(
                table.materials.crystals.structure(int(row)),
                names[place],
                {"true": true[place], "returned": returned[place]},
            )


CASES: dict[str, tuple[str, Effort]] = {
    "true composition and pattern": ("true", MEASURED),
    "composition and pattern as the autoencoders return them": ("returned", MEASURED),
    "true composition, pattern unused": ("true", CHEMISTRY),
}


def measure_realisation(
    *,
    data: Path | None = None,
    models: Path | None = None,
    n_structures: int = 300,
    seed: int = 0,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """How often the right structure is the first, or among the first five different ones.

    Structures of test formulas with at most MAX_ATOMS atoms, of the Materials Project where the
    table tells databases apart; every entry of their formulas is hidden from the templates,
    and no model has seen them. Right is what StructureMatcher calls the same (TOLERANCES); none
    built counts as wrong, and so does another formula. Raises InputError if there is none.
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
            built = _first(hidden.builder, target.candidates[kind], effort)
            seconds[case] += time.perf_counter() - began
            right = target.candidates[kind].formula == target.formula
            places[case].append(_place(target.structure, built) if right else None)
        progress("realisation", done, len(rows), target.formula)
    return [
        {
            "endpoint": "structure",
            "unit": "",
            "model": case,
            "rows": len(rows),
            "split": f"test formulas of {table.source}, up to {MAX_ATOMS} atoms",
            "scores": {**_shares(of_case), "seconds": seconds[case] / len(rows)},
        }
        for case, of_case in places.items()
    ]


def _first(builder: Builder, candidate: Candidate, effort: Effort) -> list[Structure]:
    found = builder.structures(
        candidate, candidate.predictions[VOLUME].value, exclude_own=True, effort=effort
    )
    return [built.structure for built in islice(different(found), max(TOPS))]


def _place(true: Structure, built: Sequence[Structure]) -> int | None:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(**TOLERANCES)
    return next((i for i, found in enumerate(built) if matcher.fit(true, found)), None)


def _shares(places: Sequence[int | None]) -> dict[str, float]:
    """Shares of the right structure among the first, with standard errors."""
    scores = {}
    for top in TOPS:
        share = float(np.mean([place is not None and place < top for place in places]))
        scores[f"top_{top}"] = share
        scores[f"top_{top}_se"] = float(np.sqrt(share * (1 - share) / len(places)))
    return scores
