"""CIF files with audit names and provenance."""

from __future__ import annotations

from matlode.data.symmetry import CIF_SYMPREC_A
from matlode.exchange.crystals import ExportedCrystal
from matlode.version import __version__


def make_audited_cif(crystal: ExportedCrystal) -> str:
    """A symmetrised CIF that says what it is and where it comes from.

    Names of the core dictionary (IUCr) where it has them: ``_audit_creation_method`` and
    ``_audit_creation_date``, ``_audit_update_record`` for a relaxation; matlode's own names begin
    with ``_matlode_``.
    """
    from pymatgen.io.cif import CifWriter

    # with pymatgen's angle tolerance of 5 degrees, spglib would make a and b equal that are not
    writer = CifWriter(crystal.structure, symprec=CIF_SYMPREC_A, angle_tolerance=-1)
    (block,) = writer.cif_file.data.values()
    block.header = crystal.name
    block.data = {**_list_names(crystal), **block.data}
    # CIF 1.1 is ASCII
    return str(block).replace("→", "->").encode("ascii", "replace").decode() + "\n"


def _list_names(crystal: ExportedCrystal) -> dict[str, str]:
    row, evidence = crystal.row, crystal.evidence
    status = "relaxed by a machine-learning potential" if evidence else "not relaxed"
    names = {
        "_audit_creation_date": f"{crystal.created:%Y-%m-%d}",
        "_audit_creation_method": f"matlode {__version__}: proposed, {status}, not synthesised. "
        f"{crystal.story}".strip(),
        "_matlode_rank": str(row.rank),
        "_matlode_verdict": row.verdict,
        "_matlode_novelty": str(row.novelty),
        "_matlode_nearest_known": row.nearest_known,
    }
    if evidence is not None:
        names["_audit_update_record"] = f"relaxed in {crystal.potential}"
        if evidence.hull is not None and evidence.hull.energy_above_hull_ev is not None:
            names["_matlode_energy_above_hull_ev_per_atom"] = (
                f"{evidence.hull.energy_above_hull_ev:.4f}"
            )
    return names
