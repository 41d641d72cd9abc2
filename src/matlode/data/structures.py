"""Crystals from files: CIF and POSCAR, single, in folders, or as tables."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from matlode.data.cleaning import crystal_problems
from matlode.data.crystals import Crystals
from matlode.data.formulas import reduced_formulas
from matlode.data.tables import Materials, read_table
from matlode.errors import InputError
from matlode.records import DroppedRow

if TYPE_CHECKING:
    from pymatgen.core import Structure

CIF_ENDINGS = (".cif", ".mcif")
POSCAR_ENDINGS = (".poscar", ".vasp")
POSCAR_NAMES = ("POSCAR", "CONTCAR")
TABLE_ENDINGS = (".parquet", ".pq")
SYMPREC_A = 0.1
"""Tolerance of space groups, Å; the tables' labels were made with it."""


def read_materials(sources: Sequence[str | Path]) -> Materials:
    """Crystals of files (CIF, POSCAR, Parquet table) and folders of them, in order.

    A file that cannot be used is a row in ``dropped`` with its reason. Raises InputError if
    a source does not exist or a folder holds nothing readable.
    """
    parts = [_read_source(Path(source)) for source in sources]
    if not parts:
        raise InputError("nothing to read: name at least one CIF, POSCAR, table or folder.")
    frames = [part.frame.assign(is_file="is_file" in part.frame) for part in parts]
    return Materials(
        pd.concat(frames, ignore_index=True),
        Crystals.concatenate([part.crystals for part in parts]),
        tuple(dropped for part in parts for dropped in part.dropped),
    )


def _read_source(path: Path) -> Materials:
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and _is_structure_file(p))
        if not files:
            raise InputError(
                f"{path}: no structure files; looked for {', '.join(CIF_ENDINGS)}, "
                f"{', '.join(POSCAR_ENDINGS)} and {', '.join(POSCAR_NAMES)}*."
            )
        return _read_files(files)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    if path.suffix.lower() in TABLE_ENDINGS:
        return read_table(path)
    return _read_files([path])


def _read_files(files: Sequence[Path]) -> Materials:
    names, structures, dropped = [], [], []
    for path in files:
        try:
            structures.append(read_structure(path))
            names.append(str(path))
        except InputError as error:
            dropped.append(DroppedRow(str(path), str(error), is_file=True))
    crystals = Crystals.from_structures(structures)
    problems = crystal_problems(crystals)
    good = np.array([reason is None for reason in problems], dtype=bool)
    dropped += [
        DroppedRow(name, reason, is_file=True)
        for name, reason in zip(names, problems, strict=True)
        if reason is not None
    ]
    crystals = crystals.take(good)
    frame = pd.DataFrame(
        {
            "id": [name for name, keep in zip(names, good, strict=True) if keep],
            "is_file": np.ones(int(good.sum()), dtype=bool),
            "formula": reduced_formulas(crystals),
            "volume_per_atom": crystals.volumes_per_atom_a3 if len(crystals) else [],
        }
    )
    return Materials(frame, crystals, tuple(dropped))


def read_structure(path: Path) -> Structure:
    """One crystal of a CIF or POSCAR file (the first of a CIF with several blocks).

    Raises InputError, naming the reason, for whatever pymatgen cannot read.
    """
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifParser
    from pymatgen.io.vasp import Poscar

    try:
        with warnings.catch_warnings():
            # what pymatgen mends (rounded thirds, missing occupancies) is no concern here
            warnings.simplefilter("ignore")
            if path.suffix.lower() in CIF_ENDINGS:
                structure = CifParser(path, occupancy_tolerance=1.05).parse_structures(
                    primitive=True
                )[0]
            elif _is_structure_file(path):
                structure = Poscar.from_file(path, check_for_potcar=False).structure
            else:
                structure = Structure.from_file(path)
    except Exception as error:
        # readers raise whatever their parsing stumbles over
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(f"not readable as a crystal structure: {reason}") from error
    if any(not hasattr(s, "Z") for site in structure for s in site.species):
        raise InputError("holds a species that is no element")
    structure.remove_oxidation_states()
    return structure


def space_group_number(crystals: Crystals, index: int) -> int:
    """Space-group number of a crystal by moyopy; mixed sites count as their main element."""
    from moyopy import Cell, MoyoDataset

    rows = crystals.atoms(index)
    _, first, owner = np.unique(
        np.round(crystals.frac_coords[rows] % 1, 6), axis=0, return_index=True, return_inverse=True
    )
    main = [
        int(crystals.numbers[rows][owner.ravel() == site][
            crystals.occupancies[rows][owner.ravel() == site].argmax()
        ])
        for site in range(len(first))
    ]  # fmt: skip
    cell = Cell(crystals.lattices[index].tolist(), crystals.frac_coords[rows][first].tolist(), main)
    try:
        return int(MoyoDataset(cell, symprec=SYMPREC_A).number)
    except ValueError:
        return 1  # no symmetry within the tolerance


def _is_structure_file(path: Path) -> bool:
    ending = path.suffix.lower()
    return (
        ending in (*CIF_ENDINGS, *POSCAR_ENDINGS)
        or path.name.split(".")[0].split("_")[0].upper() in POSCAR_NAMES
    )
