"""The formats of `matlode export`: one function each, and one table of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matlode.artefacts import convert_write_errors, write_text
from matlode.errors import GoalError, InputError, suggest
from matlode.exchange.cif import make_audited_cif
from matlode.exchange.crystals import ExportedCrystal, read_crystals
from matlode.exchange.entries import make_entries
from matlode.exchange.optimade import write_lines
from matlode.run_folder import RunFolder

if TYPE_CHECKING:
    from ase import Atoms

    from matlode.records import Cell

Crystals = Sequence[ExportedCrystal]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format that crystals are written in."""

    write: Callable[[Crystals, Path], None]
    holds: str
    """What is written, in words."""
    is_folder: bool = False


def export(run: str | Path, to: str, out: str | Path, *, top: int | None = None) -> Path:
    """Write the candidates of a search in a format of other programs.

    ``to`` is one of ``FORMATS``; ``out`` is the new file, or the new folder of "cif" and "poscar";
    ``top`` is the number of candidates (None: all). A crystal that potentials relaxed is written
    as relaxed, the others as they were built. Returns ``out``.

    Raises GoalError for an unknown format, InputError for what is no finished run, if ``out``
    exists, if a package is missing, and if no candidate was relaxed where energies are needed;
    WriteError if the disk does not allow it.

    >>> export("runs/hard", "cif", "export/cif", top=3).is_dir()
    True
    >>> from ase.io import read
    >>> len(read(export("runs/hard", "extxyz", "export/best.extxyz", top=3), ":"))
    3
    """
    if to not in FORMATS:
        raise GoalError(f'unknown format "{to}". {suggest(to, FORMATS)}')
    out = Path(out)
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out} exists; choose another --out or delete it.")
    crystals = read_crystals(RunFolder(Path(run)), top)
    found = FORMATS[to]
    with convert_write_errors(out):
        (out if found.is_folder else out.parent).mkdir(parents=True, exist_ok=True)
        found.write(crystals, out)
    return out


def _write_cifs(crystals: Crystals, out: Path) -> None:
    for crystal in crystals:
        write_text(out / f"{crystal.name}.cif", make_audited_cif(crystal))


def _write_poscars(crystals: Crystals, out: Path) -> None:
    from pymatgen.io.vasp import Poscar

    for crystal in crystals:
        comment = f"{crystal.name}, matlode, {'relaxed' if crystal.evidence else 'not relaxed'}"
        poscar = Poscar(crystal.structure, comment=comment, sort_structure=True)
        write_text(out / f"POSCAR_{crystal.name}", poscar.get_str(significant_figures=12))


def _write_extended_xyz(crystals: Crystals, out: Path) -> None:
    from ase.io import write

    write(out, [_make_atoms(crystal) for crystal in crystals], format="extxyz")


def _write_ase_database(crystals: Crystals, out: Path) -> None:
    from ase.db import connect

    with connect(out, type="db") as database:
        for crystal in crystals:
            atoms = _make_atoms(crystal)
            columns = {key: value for key, value in atoms.info.items() if key not in ASE_KEYS}
            # numbers and words can be selected by; ASE refuses words that read as numbers
            keys = {
                key: value for key, value in columns.items()
                if isinstance(value, int | float) or key in ("id", "verdict", "novelty")
            }  # fmt: skip
            keys["name"] = keys.pop("id")
            database.write(atoms, key_value_pairs=keys, data=columns)


ASE_KEYS = ("formula",)
"""Columns that ASE's databases have of their own."""


def _make_atoms(crystal: ExportedCrystal) -> Atoms:
    """ASE Atoms with the row in ``info`` and the energy as that of a calculator."""
    from ase.calculators.singlepoint import SinglePointCalculator
    from pymatgen.io.ase import AseAtomsAdaptor

    atoms: Atoms = AseAtomsAdaptor.get_atoms(crystal.structure, msonable=False)
    atoms.info = {
        name: value
        for name, value in crystal.to_columns().items()
        if value is not None and value != "" and name != "reasons"  # a page of text
    }
    if crystal.energy_ev is not None:
        atoms.calc = SinglePointCalculator(atoms, energy=crystal.energy_ev)
    return atoms


def _write_entries(crystals: Crystals, out: Path) -> None:
    from monty.serialization import dumpfn

    entries = make_entries(crystals)
    if not entries:
        raise InputError(
            "no candidate has an energy; `matlode relax` computes it, which entries need."
        )
    dumpfn(entries, out, fmt="json")


def _write_optimade(crystals: Crystals, out: Path) -> None:
    write_text(out, "".join(f"{line}\n" for line in write_lines(crystals)))


def _write_csv(crystals: Crystals, out: Path) -> None:
    _write_table([{**c.to_columns(), "cif": make_audited_cif(c)} for c in crystals], out)


def _write_lemat(crystals: Crystals, out: Path) -> None:
    """LeMat-GenBench reads the column ``structure``: pymatgen's dictionary as JSON."""
    _write_table(
        [
            {"id": c.name, "formula": c.row.formula, "structure": json.dumps(c.structure.as_dict())}
            for c in crystals
        ],
        out,
    )


def _write_table(rows: Sequence[Mapping[str, Cell]], out: Path) -> None:
    import pandas as pd

    write_text(out, pd.DataFrame(list(rows)).to_csv(index=False))


FORMATS: Mapping[str, Format] = {
    "cif": Format(write=_write_cifs, holds="CIF files with provenance", is_folder=True),
    "poscar": Format(write=_write_poscars, holds="POSCAR files", is_folder=True),
    "extxyz": Format(
        write=_write_extended_xyz, holds="extended XYZ, with energies of relaxed ones"
    ),
    "ase-db": Format(write=_write_ase_database, holds="database of ASE (SQLite)"),
    "pymatgen": Format(write=_write_entries, holds="JSON of ComputedStructureEntry, relaxed only"),
    "optimade": Format(write=_write_optimade, holds="OPTIMADE JSON lines"),
    "csv": Format(write=_write_csv, holds="table with the columns of candidates.csv and CIFs"),
    "lemat": Format(write=_write_lemat, holds="CSV of structures that LeMat-GenBench reads"),
}
"""Name → format."""
