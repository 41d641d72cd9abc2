"""The crystals of a run folder as they leave it: relaxed where potentials relaxed them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from matlode.data.structures import read_structure
from matlode.errors import InputError
from matlode.run_folder import PROVENANCE_FILE, RunFolder
from matlode.run_records import CandidateRow, EvidenceRow

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from matlode.records import Cell


@dataclass(frozen=True, kw_only=True)
class ExportedCrystal:
    """A candidate with the crystal that stands for it elsewhere."""

    name: str
    """Rank and formula, such as "001-TaB2"."""
    row: CandidateRow
    structure: Structure
    """Relaxed with the primary potential if there is ``evidence``, else as it was built."""
    evidence: EvidenceRow | None
    """What two potentials computed; None if they did not relax it to a crystal."""
    potential: str
    """Name and version of the potential that relaxed it; empty if none did."""
    story: str
    """Where the crystal comes from, in words."""
    created: datetime
    """When the search ended."""

    @property
    def energy_ev(self) -> float | None:
        """Energy of ``structure`` by the potential, without corrections; None if it has none."""
        found = self.evidence and self.evidence.calculations.get("primary_potential")
        energy = found.get("energy_per_atom_ev") if isinstance(found, dict) else None
        return None if energy is None else float(energy) * len(self.structure)

    def to_columns(self) -> dict[str, Cell]:
        """The flat row: name, the columns of candidates.csv, and those of evidence.csv with the
        prefix ``computed_``."""
        evidence = {} if self.evidence is None else self.evidence.to_columns()
        return {
            "id": self.name,
            **self.row.to_columns(),
            "potential": self.potential,
            **{f"computed_{name}": value for name, value in evidence.items()},
        }


def read_crystals(folder: RunFolder, top: int | None = None) -> list[ExportedCrystal]:
    """Read the ``top`` best candidates (None: all) with their crystals.

    Raises InputError if the folder is not a finished run, or lacks a structure file.
    """
    folder.read_provenance()  # raises for what is no finished run
    table = folder.read_evidence()
    examined = {} if table is None else {row.source_file: row for row in table.structures}
    stories = {found.rank: found.story or "" for found in folder.read_details().candidates}
    created = datetime.fromtimestamp((folder.path / PROVENANCE_FILE).stat().st_mtime, UTC)
    crystals = []
    for row in folder.read_candidates()[:top]:
        path = folder.find_structure(row)
        if path is None:
            raise InputError(f"{folder.path} has no {row.structure_file}, which its table names.")
        evidence = examined.get(path.name)
        relaxed = (
            folder.find_relaxed(evidence)
            if evidence is not None and evidence.relaxed and not evidence.fell_apart
            else None
        )
        crystals.append(
            ExportedCrystal(
                name=path.stem,
                row=row,
                structure=read_structure(relaxed or path),
                evidence=evidence if relaxed else None,
                potential=table.primary_potential if table is not None and relaxed else "",
                story=stories.get(row.rank, ""),
                created=created,
            )
        )
    return crystals
