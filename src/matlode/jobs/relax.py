"""Evidence for the candidates of a run, or for structure files: ``matlode relax``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matlode.artefacts import inside, lock_folder
from matlode.data.crystals import Crystals
from matlode.data.formulas import canonicalise_formula, compute_formulas, format_formula
from matlode.data.structures import read_structure
from matlode.data.symmetry import make_symmetrised_cif
from matlode.engine import Engine, Here
from matlode.errors import InputError
from matlode.evidence.dossier import Evidence
from matlode.evidence.examination import Examination
from matlode.evidence.potentials import find_potential
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.runs import Run
from matlode.progress import Progress, silent
from matlode.report.html import write_report
from matlode.run_folder import RunFolder
from matlode.run_records import CandidateRow, EvidenceRow, EvidenceTable
from matlode.version import __version__

PREDICTED_PROPERTIES = {
    "bulk_modulus_gpa": "bulk_modulus",
    "shear_modulus_gpa": "shear_modulus",
    "vickers_hardness_gpa": "vickers_hardness",
    "formation_energy_ev": "formation_energy",
}
"""What a potential computes → the property that the models predict."""


@dataclass(frozen=True)
class Source:
    """A structure to examine, and what the models predict for it."""

    name: str
    file: Path
    predicted: Mapping[str, float]
    """Column such as ``bulk_modulus_gpa`` → predicted value."""


def relax(
    sources: Run | str | Path | Sequence[str | Path],
    *,
    top: int = 10,
    potential: str = "sevennet-l3i5",
    second_potential: str = "chgnet",
    hull: bool = True,
    elastic: bool = True,
    out: str | Path = "relaxed",
    models: Models | None = None,
    known: Known | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> list[EvidenceRow]:
    """Verify candidates with two ML potentials: relaxation, hull energy, elasticity.

    ``sources`` is a search (``Run`` or its folder), whose ``top`` best candidates are relaxed
    into its own folder, or structure files, whose results go to ``out``. ``potential`` computes
    all results, ``second_potential`` checks the energies; the workers of ``engine`` (default: this
    process) compute. Needs the extra ``relax``.

    Raises GoalError for an unknown potential, InputError for one that is not installed and for
    sources that cannot be read.

    >>> relax("runs/hard", top=3)  # doctest: +SKIP
    [EvidenceRow(TaB2: relaxed, 0.012 eV/atom above the hull, ...), ...]
    >>> relax("runs/hard", potential="emu")
    Traceback (most recent call last):
    matlode.errors.GoalError: unknown potential "emu". Known: chgnet, sevennet-0, sevennet-l3i5.
    """
    examination = Examination(
        (known or Known()).materials, (models or Models()).folder, primary=potential,
        secondary=second_potential, hull=hull, elastic=elastic,
    )  # fmt: skip
    if isinstance(sources, Run):
        return relax_run(sources.folder, top, examination, progress, engine=engine)
    several = [sources] if isinstance(sources, str | Path) else list(sources)
    paths = [Path(path) for path in several]
    if not paths:
        raise InputError("nothing to relax; give the folder of a search, or structure files.")
    if len(paths) == 1 and paths[0].is_dir():
        return relax_run(paths[0], top, examination, progress, engine=engine)
    return relax_files(make_sources(paths), Path(out), examination, progress, engine=engine)


def relax_run(
    folder: Path,
    n: int,
    examination: Examination,
    progress: Progress = silent,
    *,
    skip: Collection[str] = (),
    engine: Engine | None = None,
) -> list[EvidenceRow]:
    """Examine the ``n`` best candidates of a run that have a structure, without those with a
    (canonical) formula in ``skip``.

    Writes evidence.json, evidence.csv and relaxed/*.cif into the run folder, and its report
    again; the table of candidates does not change. The workers of ``engine`` (default: this
    process) compute. Returns the rows of evidence.csv. After Ctrl-C the same files hold what is
    computed by then; the same call continues. Raises InputError if the folder is not a finished
    run. ``relax`` is the same with simpler arguments.

    >>> relax_run(Path("runs/hard"), 3, Examination(load_starter()))  # doctest: +SKIP
    """
    sources = [
        Source(row.formula, inside(folder, row.structure_file), _find_predictions(row))
        for row in RunFolder(folder).read_candidates()
        if canonicalise_formula(row.formula) not in skip
    ][:n]
    with lock_folder(folder):
        try:
            return relax_files(sources, folder, examination, progress, engine=engine)
        finally:  # also with what an interruption leaves
            write_report(folder)


def relax_files(
    sources: Sequence[Source],
    out: Path,
    examination: Examination,
    progress: Progress = silent,
    *,
    engine: Engine | None = None,
) -> list[EvidenceRow]:
    """Examine structures in files; write the evidence to ``out`` and return its rows.

    Ctrl-C leaves what is computed by then.
    """
    structures = [read_structure(source.file) for source in sources]
    try:
        examination.compute(structures, progress, engine=engine or Here())
    finally:  # also with what an interruption leaves
        rows = _write_evidence(sources, examination.evidence(structures), out, examination)
    return rows


def _write_evidence(
    sources: Sequence[Source],
    found: Sequence[Evidence | None],
    out: Path,
    examination: Examination,
) -> list[EvidenceRow]:
    folder = RunFolder(out)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for source, evidence in zip(sources, found, strict=True):
        if evidence is None:  # interrupted before, or beyond the potentials
            continue
        cif = _make_cif(source, evidence, examination)
        names = {
            "formula": source.name,
            "source_file": source.file.name,
            "relaxed_file": folder.write_relaxed(source.file.stem, cif),
        }
        predicted = {f"promised_{name}": value for name, value in source.predicted.items()}
        rows.append(EvidenceRow.from_columns({**names, **evidence.to_dict(), **predicted}))
    folder.write_evidence(
        EvidenceTable(
            judge=find_potential(examination.primary).key,
            witness=find_potential(examination.secondary).key,
            hull=describe_hull(examination),
            structures=tuple(rows),
        )
    )
    return rows


def make_sources(files: Sequence[Path]) -> list[Source]:
    """Structure files without predictions, named by their formulas."""
    formulas = compute_formulas(Crystals.from_structures(map(read_structure, files)))
    return [
        Source(format_formula(formula), file, {})
        for formula, file in zip(formulas, files, strict=True)
    ]


def describe_hull(examination: Examination) -> str:
    """The phases that energies above the hull refer to, in words."""
    if not examination.hull:
        return "nothing, since no hull was asked for"
    return (
        f"{len(examination.materials):,} known structures, those near their own hull relaxed in "
        f"{find_potential(examination.primary).weights}, with the Materials Project's "
        "corrections of 2020"
    )


def _find_predictions(row: CandidateRow) -> dict[str, float]:
    """The models' predictions for the built structure, else for the decoded pattern."""
    found = {column: row.value(name) for column, name in PREDICTED_PROPERTIES.items()}
    return {column: float(value) for column, value in found.items() if value is not None}


def _make_cif(source: Source, evidence: Evidence, examination: Examination) -> str:
    row = evidence.row()
    above = [row.get(f"{name}energy_above_hull_ev") for name in ("", "witness_")]
    witness, hull = find_potential(examination.secondary).name, describe_hull(examination)
    relaxed = "relaxed" if evidence.primary.converged else "not at rest"
    lines = [
        f"# matlode {__version__}: {source.name}, proposed, not synthesised",
        f"# {relaxed} in {find_potential(examination.primary).weights}"
        + (f": {evidence.fell_apart}" if evidence.fell_apart else ""),
        f"# formation energy {row['formation_energy_ev']} eV/atom; "
        f"{witness}: {row['witness_formation_energy_ev']}",
        f"# above the hull: {'not known' if above[0] is None else f'{above[0]} eV/atom'}; "
        f"{witness}: {'not known' if above[1] is None else above[1]} ({hull})",
    ]
    return "\n".join(lines) + "\n" + make_symmetrised_cif(evidence.structure)
