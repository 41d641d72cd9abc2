"""Crystal structures for a measured pattern of a known composition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matlode.artefacts import write_json, write_text
from matlode.data.formulas import canonical_formula, conventional_formula
from matlode.errors import InputError
from matlode.jobs.candidate_table import cif_text
from matlode.jobs.toolbox import Toolbox
from matlode.progress import Progress, silent
from matlode.properties.network import VOLUME
from matlode.realisation.builder import MEASURED, different
from matlode.records import Candidate, RealisedStructure
from matlode.representation.composition import formula_vectors
from matlode.representation.pattern_grid import to_grid
from matlode.representation.patterns import read_pattern


def solve(
    pattern: Path,
    formula: str,
    *,
    n: int = 5,
    wavelength: str | float | None = None,
    hide_known: bool = False,
    out: Path | None = None,
    toolbox: Toolbox | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """Up to n different structures whose powder patterns are like a measured one, best first.

    Known structures of the stoichiometry get the formula's elements and are strained, within
    their symmetry, until their patterns meet the measured one. Known structures of the very
    formula take part unless ``hide_known``. Each is a dictionary of rank, formula, space_group,
    match (cosine of the patterns), volume_per_atom_a3, template, substitution, and file: a CIF
    in the folder ``out``, where solutions.json holds the same, or None.

    Raises InputError for a file that is no powder pattern, a text that is no formula, and where
    no known structure has the stoichiometry; GridMismatchError if too little was measured.
    """
    toolbox = toolbox or Toolbox()
    name = canonical_formula(formula)
    measured = to_grid(read_pattern(pattern, wavelength=wavelength)).intensity
    progress("solve", 0, n + 2, "models and known materials")
    (candidate,) = toolbox.candidates(
        [name], formula_vectors([name]), measured[None], case="simulated"
    )
    found = toolbox.builder.structures(
        candidate, candidate.predictions[VOLUME].value, exclude_own=hide_known, effort=MEASURED
    )
    answers: list[dict[str, Any]] = []
    progress("solve", 1, n + 2, "cells are fitted to the pattern")
    for rank, structure in zip(range(1, n + 1), different(found), strict=False):
        answers.append(_answer(rank, candidate, structure, out))
        progress("solve", rank + 1, n + 2, f"match {structure.match:.3f}")
    progress("solve", n + 2, n + 2)
    if not answers:
        raise InputError(
            f"no known structure has the stoichiometry of {conventional_formula(name)}; "
            "--known names a larger table."
        )
    if out is not None:
        write_json(out / "solutions.json", answers)
    return answers


def _answer(
    rank: int, candidate: Candidate, built: RealisedStructure, out: Path | None
) -> dict[str, Any]:
    formula = conventional_formula(candidate.formula)
    file = None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        file = f"{rank}-{formula}-{built.space_group}.cif"
        write_text(out / file, cif_text(built, candidate))
    return {
        "rank": rank,
        "formula": formula,
        "space_group": built.space_group,
        "match": round(built.match, 4),
        "volume_per_atom_a3": round(built.structure.volume / len(built.structure), 3),
        "template": f"{conventional_formula(built.template_formula)} ({built.template_id})",
        "substitution": built.substitution,
        "file": file,
    }
