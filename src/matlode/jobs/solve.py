"""Crystal structures for a measured pattern of a known composition."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from matlode.artefacts import write_json, write_text
from matlode.data.formulas import canonicalise_formula, format_formula
from matlode.errors import InputError
from matlode.jobs.candidate_table import make_cif_text
from matlode.jobs.deprecated import accept_toolbox
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.progress import Progress, silent
from matlode.properties.endpoints import VOLUME
from matlode.realisation.builder import MEASURED, different
from matlode.records import Candidate, RealisedStructure
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.observation import clean_pattern
from matlode.representation.patterns import read_pattern


@dataclass(frozen=True)
class Solution:
    """A structure for a measured pattern."""

    rank: int
    formula: str
    space_group: int
    match: float
    """Cosine of the simulated and the measured pattern."""
    volume_per_atom_a3: float
    template: str
    """Formula and id of the known structure that it was built from."""
    substitution: str
    file: str | None
    """Name of its CIF in the output folder, if there is one."""

    def to_json(self) -> dict[str, object]:
        """The object that ``matlode solve --json`` prints."""
        return asdict(self)


@accept_toolbox
def solve(
    pattern: Path,
    formula: str,
    *,
    n: int = 5,
    wavelength: str | float | None = None,
    hide_known: bool = False,
    out: Path | None = None,
    models: Models | None = None,
    known: Known | None = None,
    progress: Progress = silent,
) -> list[Solution]:
    """Solve a measured powder pattern: up to n different structures of a formula, best first.

    Known structures of the stoichiometry get the formula's elements and are strained, within
    their symmetry, until their patterns meet the measured one. Known structures of the very
    formula take part unless ``hide_known``. The folder ``out`` gets their CIF files and
    solutions.json.

    Raises InputError for a file that is not a powder pattern, a text that is not a formula, and
    if no known structure has the stoichiometry; GridMismatchError if the measured range is too
    short.
    """
    models, known = models or Models(), known or Known()
    name = canonicalise_formula(formula)
    measured = clean_pattern(read_pattern(pattern, wavelength=wavelength)).intensity
    progress("solve", 0, n + 2, "models and known materials")
    (candidate,) = models.predict_candidates(
        [name], compute_formula_vectors([name]), measured[None], case="simulated"
    )
    found = known.builder.structures(
        candidate, candidate.predictions[VOLUME].value, exclude_own=hide_known, effort=MEASURED
    )
    solutions: list[Solution] = []
    progress("solve", 1, n + 2, "cells are fitted to the pattern")
    for rank, structure in zip(range(1, n + 1), different(found), strict=False):
        solutions.append(_make_solution(rank, candidate, structure, out))
        progress("solve", rank + 1, n + 2, f"match {structure.match:.3f}")
    progress("solve", n + 2, n + 2)
    if not solutions:
        raise InputError(
            f"no known structure has the stoichiometry of {format_formula(name)}; "
            "--known names a larger table."
        )
    if out is not None:
        write_json(out / "solutions.json", [solution.to_json() for solution in solutions])
    return solutions


def _make_solution(
    rank: int, candidate: Candidate, built: RealisedStructure, out: Path | None
) -> Solution:
    formula = format_formula(candidate.formula)
    file = None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        file = f"{rank}-{formula}-{built.space_group}.cif"
        write_text(out / file, make_cif_text(built, candidate.formula))
    return Solution(
        rank=rank,
        formula=formula,
        space_group=built.space_group,
        match=round(built.match, 4),
        volume_per_atom_a3=round(built.structure.volume / len(built.structure), 3),
        template=f"{format_formula(built.origin.template_formula)} ({built.origin.template_id})",
        substitution=built.origin.substitution,
        file=file,
    )
