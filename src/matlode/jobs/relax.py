"""Evidence for the candidates of a run, or for structure files: ``matlode relax``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from matlode.artefacts import inside, locked, read_json, understood, write_json, write_text
from matlode.data.formulas import canonical_formula
from matlode.data.structures import read_structure
from matlode.data.symmetry import CIF_SYMPREC_A
from matlode.errors import InputError
from matlode.evidence.dossier import Evidence
from matlode.evidence.examination import Examination
from matlode.evidence.potentials import potential_info
from matlode.jobs.run_folder import NOT_BUILT
from matlode.progress import Progress, silent
from matlode.report.html import write_report
from matlode.version import __version__

EVIDENCE_FILE = "evidence.json"
RELAXED_FOLDER = "relaxed"
PROMISES = {
    "bulk_modulus_gpa": "bulk_modulus",
    "shear_modulus_gpa": "shear_modulus",
    "vickers_hardness_gpa": "vickers_hardness",
    "formation_energy_ev": "formation_energy",
}
"""What a potential computes → the property that the models predicted."""


@dataclass(frozen=True)
class Source:
    """A structure that is looked into, and what was promised of it."""

    name: str
    file: Path
    promised: dict[str, float]


def relax_run(
    folder: Path,
    n: int,
    examination: Examination,
    progress: Progress = silent,
    *,
    skip: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Evidence for the ``n`` best candidates of a run that have a structure, without those whose
    formulas (canonical) are in ``skip``.

    Writes evidence.json, evidence.csv and relaxed/*.cif into the run folder and its report
    anew; the candidates' table stays as it is. Returns the rows of the table. Ctrl-C leaves the
    same files, of what is computed by then; the same call goes on. Raises InputError if the
    folder is no finished run.
    """
    try:
        rows = read_json(folder / "candidates.json")
    except FileNotFoundError as error:
        raise InputError(f"{folder} is not a finished run; `matlode search` makes one.") from error
    with understood(folder / "candidates.json", InputError):
        sources = [
            Source(row["formula"], inside(folder, row["structure_file"]), _promised(row))
            for row in rows
            if row["structure_file"] != NOT_BUILT and canonical_formula(row["formula"]) not in skip
        ][:n]
    with locked(folder):
        try:
            return relax_files(sources, folder, examination, progress)
        finally:  # also with what an interruption leaves
            write_report(folder)


def relax_files(
    sources: Sequence[Source], out: Path, examination: Examination, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Evidence for structures in files, written to ``out``; the rows of the table.

    After Ctrl-C, too: of what is computed by then.
    """
    structures = [read_structure(source.file) for source in sources]
    try:
        examination.compute(structures, progress)
    except KeyboardInterrupt:
        _write_evidence(sources, examination.evidence(structures), out, examination)
        raise
    return _write_evidence(sources, examination.evidence(structures), out, examination)


def _write_evidence(
    sources: Sequence[Source],
    found: Sequence[Evidence | None],
    out: Path,
    examination: Examination,
) -> list[dict[str, Any]]:
    out.mkdir(parents=True, exist_ok=True)
    rows, details = [], []
    for source, evidence in zip(sources, found, strict=True):
        if evidence is None:  # interrupted before, or beyond the potentials
            continue
        file = f"{RELAXED_FOLDER}/{source.file.stem}.cif"
        (out / RELAXED_FOLDER).mkdir(exist_ok=True)
        write_text(out / file, _cif(source, evidence, examination))
        row = {
            "formula": source.name,
            "source_file": source.file.name,
            "relaxed_file": file,
            **evidence.row(),
            **{f"promised_{name}": value for name, value in source.promised.items()},
        }
        rows.append(row)
        details.append({**row, **evidence.to_dict()})
    write_json(
        out / EVIDENCE_FILE,
        {
            "schema": 1,
            "matlode": __version__,
            "judge": potential_info(examination.primary).key,
            "witness": potential_info(examination.secondary).key,
            "hull": hull_name(examination),
            "structures": details,
        },
    )
    write_text(out / "evidence.csv", pd.DataFrame(rows).to_csv(index=False))
    return rows


def sources_of(files: Sequence[Path]) -> list[Source]:
    """Structure files of which nothing was promised, named by their formulas."""
    return [Source(read_structure(file).composition.reduced_formula, file, {}) for file in files]


def hull_name(examination: Examination) -> str:
    """What energies above hull are held against, in words."""
    if not examination.hull:
        return "nothing, since no hull was asked for"
    return (
        f"{len(examination.materials):,} known structures, those near their own hull relaxed in "
        f"{potential_info(examination.primary).weights}, with the Materials Project's "
        "corrections of 2020"
    )


def _promised(row: dict[str, Any]) -> dict[str, float]:
    """The models' predictions for the built structure, else for the decoded pattern."""
    promised = {}
    for ours, name in PROMISES.items():
        for column in (f"structure_{name}", name):
            if column in row:
                promised[ours] = float(row[column])
                break
    return promised


def _cif(source: Source, evidence: Evidence, examination: Examination) -> str:
    from pymatgen.io.cif import CifWriter

    row = evidence.row()
    above = [row.get(f"{name}energy_above_hull_ev") for name in ("", "witness_")]
    witness = potential_info(examination.secondary).name
    relaxed = "relaxed" if evidence.primary.converged else "not at rest"
    lines = [
        f"# matlode {__version__}: {source.name}, proposed, not synthesised",
        f"# {relaxed} in {potential_info(examination.primary).weights}"
        + (f": {evidence.fell_apart}" if evidence.fell_apart else ""),
        f"# formation energy {row['formation_energy_ev']} eV/atom; "
        f"{witness}: {row['witness_formation_energy_ev']}",
        f"# above the hull: {'not known' if above[0] is None else f'{above[0]} eV/atom'}; "
        f"{witness}: {'not known' if above[1] is None else above[1]} ({hull_name(examination)})",
    ]
    return "\n".join(lines) + "\n" + str(CifWriter(evidence.structure, symprec=CIF_SYMPREC_A))
