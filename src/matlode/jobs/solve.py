"""Crystal structures for a measured pattern of a known composition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matlode.artefacts import write_json, write_text
from matlode.data.formulas import canonicalise_formula, format_formula
from matlode.errors import InputError
from matlode.jobs.candidate_table import make_cif_text
from matlode.jobs.deprecated import accept_toolbox
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.refine import refine_structure
from matlode.progress import Progress, silent
from matlode.realisation.measured import SolvedStructure, solve_pattern
from matlode.representation.observation import Observation
from matlode.representation.pattern_peaks import require_peaks
from matlode.representation.patterns import read_pattern

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True, repr=False)
class Solution:
    """A structure for a measured pattern."""

    rank: int
    formula: str
    space_group: int
    match: float
    """Cosine of the square roots of the fitted and the measured profile."""
    score: float
    """``match`` less the penalties for free parameters, strain and substitution; ranks."""
    rwp: float
    """Weighted profile R factor without background, before a refinement."""
    volume_per_atom_a3: float
    template: str
    """Formula and id of the known structure that it was built from."""
    substitution: str
    file: str | None
    """Name of its CIF in the output folder, if there is one."""

    def __repr__(self) -> str:
        return (
            f"Solution({self.rank}. {self.formula}, space group {self.space_group}, "
            f"match {self.match:.2f}, from {self.template})"
        )

    def to_json(self) -> dict[str, object]:
        """The object that ``matlode solve --json`` prints."""
        return asdict(self)


@accept_toolbox
def solve(
    pattern: str | Path,
    formula: str,
    *,
    n: int = 5,
    wavelength: str | float | None = None,
    hide_known: bool = False,
    out: str | Path | None = None,
    refine: bool = False,
    models: Models | None = None,
    known: Known | None = None,
    progress: Progress = silent,
) -> list[Solution]:
    """Solve a measured powder pattern: up to n different structures of a formula, best first.

    Known structures of the stoichiometry get the formula's elements and are strained, within
    their symmetry, until their patterns meet the measured one. Known structures of the very
    formula take part unless ``hide_known``. The folder ``out`` gets their CIF files and
    solutions.json; with ``refine`` also what a Rietveld refinement of the best by rietx gives
    (``refine_structure``).

    Raises InputError for a file that is not a powder pattern, a text that is not a formula, and
    if no known structure has the stoichiometry; GridMismatchError if the measured range is too
    short.

    >>> solve("salt.xy", "NaCl", n=1)
    [Solution(1. NaCl, space group 225, match 1.00, from NaCl (mp-22862))]
    """
    models, known = models or Models(), known or Known()
    out = None if out is None else Path(out)
    name = canonicalise_formula(formula)
    if refine and out is None:
        raise InputError("a refinement needs a folder for its output; give --out.")
    measured = require_peaks(read_pattern(pattern, wavelength=wavelength))
    seen = Observation.of(measured)
    progress("solve", 0, n + 2, "models and known materials")
    found = solve_pattern(
        known.builder, models.expected_volume, name, seen, exclude_own=hide_known
    )  # fmt: skip
    solutions: list[Solution] = []
    progress("solve", 1, n + 2, "cells are fitted to the pattern")
    for rank, one in zip(range(1, n + 1), keep_different(found), strict=False):
        solutions.append(_make_solution(rank, name, one, out))
        progress("solve", rank + 1, n + 2, f"match {one.built.match:.3f}")
    progress("solve", n + 2, n + 2)
    if not solutions:
        raise InputError(
            f"no known structure has the stoichiometry of {format_formula(name)}; "
            "--known names a larger table."
        )
    if out is not None:
        write_json(out / "solutions.json", [solution.to_json() for solution in solutions])
        if refine:
            progress("refine", 0, 1)
            rwp = refine_structure(out / str(solutions[0].file), measured, out / "refined")
            progress("refine", 1, 1, f"Rwp {rwp:.3f}")
    return solutions


def keep_different(found: Iterable[SolvedStructure]) -> Iterator[SolvedStructure]:
    """Keep the first of equivalent structures; several templates may be of one type."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    seen: list[Structure] = []
    for one in found:
        if not any(matcher.fit(one.built.structure, other) for other in seen):
            seen.append(one.built.structure)
            yield one


def _make_solution(rank: int, formula: str, one: SolvedStructure, out: Path | None) -> Solution:
    built, name = one.built, format_formula(formula)
    file = None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        file = f"{rank}-{name}-{built.space_group}.cif"
        write_text(out / file, make_cif_text(built, formula))
    return Solution(
        rank=rank,
        formula=name,
        space_group=built.space_group,
        match=round(built.match, 4),
        score=round(one.score, 4),
        rwp=round(one.rwp, 4),
        volume_per_atom_a3=round(built.structure.volume / len(built.structure), 3),
        template=f"{format_formula(built.origin.template_formula)} ({built.origin.template_id})",
        substitution=built.origin.substitution,
        file=file,
    )
