"""Read one crystal from a file, a text, a dictionary or an object of pymatgen or ASE."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from matlode.data.cif import parse_cif
from matlode.data.poscar import parse_poscar
from matlode.data.text_files import decode_text
from matlode.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

StructureDict: TypeAlias = Mapping[str, Any]
"""A crystal as a dictionary of pymatgen, JARVIS, ASE or OPTIMADE."""

CIF_ENDINGS = (".cif", ".mcif")
POSCAR_ENDINGS = (".poscar", ".vasp")
POSCAR_NAMES = ("POSCAR", "CONTCAR", "SPOSCAR")
_POSCAR_NAME = re.compile(r"^S?(POSCAR|CONTCAR)($|[._-])|(^|[._-])(POSCAR|CONTCAR)$", re.IGNORECASE)
"""``POSCAR``, ``POSCAR-001``, ``POSCAR_relaxed.txt``, ``Si_POSCAR``, ``Si.CONTCAR``."""
NOTES = "notes"
"""Key of the notes of a reader in ``Structure.properties``."""


def read_structure(path: Path) -> Structure:
    """Read the crystal in a CIF or POSCAR file, or any other file that pymatgen reads.

    What was assumed is in ``structure.properties[NOTES]``. Raises InputError with the reason if
    the file cannot be read, or contradicts itself.
    """

    def read() -> Structure:
        from pymatgen.core import Structure

        if is_structure_file(path):
            text = decode_text(path.read_bytes())
            return _parse_cif(text) if path.suffix.lower() in CIF_ENDINGS else parse_poscar(text)
        return Structure.from_file(path)

    return _check_structure(read)


def convert_structure(value: object) -> Structure:
    """Convert any representation of a crystal in tables and databases to a Structure.

    ``value`` is CIF or POSCAR text, a dictionary of pymatgen, ASE, JARVIS or OPTIMADE (or its
    JSON text), a pymatgen Structure, or ASE Atoms. Raises InputError with the reason if it cannot
    be converted.
    """
    return _check_structure(lambda: _convert(value))


def is_structure_file(path: Path) -> bool:
    """Return whether the name is that of a CIF or POSCAR file."""
    return path.suffix.lower() in (*CIF_ENDINGS, *POSCAR_ENDINGS) or bool(
        _POSCAR_NAME.search(path.name)
    )


def is_structure_dict(value: object) -> bool:
    """Return whether ``value`` is a dictionary that ``convert_structure`` can convert."""
    return isinstance(value, Mapping) and any(value.keys() >= keys for keys, _ in _DICTIONARIES)


def _check_structure(read: Callable[[], Structure]) -> Structure:
    """Call ``read``, check that the result is a periodic crystal, and remove oxidation states.

    Raises InputError with the reason for any failure.
    """
    from pymatgen.core import DummySpecies, Element, Structure

    try:
        with warnings.catch_warnings():
            # pymatgen warns of corrections that do not matter here (rounded thirds, occupancies)
            warnings.simplefilter("ignore")
            structure = read()
    except InputError:
        raise
    except Exception as error:
        # the readers can raise any exception for invalid content
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(f"not readable as a crystal structure: {reason}") from error
    if not isinstance(structure, Structure):
        raise InputError(f"holds a {type(structure).__name__}, not a periodic structure")
    if not all(structure.lattice.pbc):
        raise InputError("is stated to be not periodic in three directions (pbc)")
    if any(isinstance(s, DummySpecies) for site in structure for s in site.species):
        raise InputError("holds a species that is no element")
    if any(not isinstance(s, Element) for site in structure for s in site.species):
        structure.remove_oxidation_states()
    return structure


def _convert(value: object) -> Structure:
    from pymatgen.core import Structure

    if isinstance(value, Structure):
        return value.copy()
    if hasattr(value, "get_scaled_positions"):
        return _convert_atoms(value)
    if isinstance(value, bytes):
        value = decode_text(value)
    if isinstance(value, str):
        return _parse_text(value)
    for keys, convert in _DICTIONARIES:
        if isinstance(value, Mapping) and value.keys() >= keys:
            return convert(value)
    raise InputError(f"a {type(value).__name__} of no known form")


def _parse_text(text: str) -> Structure:
    start = text.lstrip()
    if start.startswith("{"):
        return _convert(json.loads(start))
    is_cif = re.search(r"^\s*(data_|_cell[_.])", text, re.IGNORECASE | re.MULTILINE)
    return _parse_cif(text) if is_cif else parse_poscar(text)


def _parse_cif(text: str) -> Structure:
    structure, notes = parse_cif(text)
    structure.properties[NOTES] = notes
    return structure


def _convert_pymatgen(value: StructureDict) -> Structure:
    from pymatgen.core import Structure

    return Structure.from_dict(dict(value))


def _convert_jarvis(value: StructureDict) -> Structure:
    from pymatgen.core import Structure

    return Structure(
        value["lattice_mat"],
        [symbol.strip() for symbol in value["elements"]],
        value["coords"],
        coords_are_cartesian=bool(value.get("cartesian")),
    )


def _convert_ase(value: StructureDict) -> Structure:
    from ase import Atoms
    from ase.io import jsonio

    plain = jsonio.decode(json.dumps(dict(value), default=_as_list))
    if isinstance(plain, Atoms):
        return _convert_atoms(plain)
    known = ("numbers", "positions", "cell", "pbc")
    parts = {key: np.asarray(plain[key]) for key in known if key in plain}
    # ASE would take a dictionary without "pbc" as not periodic, even with a cell
    return _convert_atoms(Atoms(**{"pbc": True, **parts}))


def _as_list(value: Any) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value.todict()


def _convert_atoms(atoms: Atoms) -> Structure:
    from pymatgen.core import Lattice, Structure

    if atoms.cell.rank < 3:
        raise InputError("has no cell")
    if (atoms.numbers == 0).any():
        raise InputError("holds a species that is no element")
    cell = Lattice(atoms.cell.array, pbc=tuple(map(bool, atoms.pbc)))
    return Structure(cell, atoms.numbers, atoms.get_scaled_positions(wrap=False))


def _convert_optimade(value: StructureDict) -> Structure:
    from optimade.adapters import Structure as Adapter

    if value["attributes"].get("nperiodic_dimensions") != 3:
        raise InputError("is not periodic in three directions")
    return Adapter(dict(value)).convert("pymatgen")


_DICTIONARIES: tuple[tuple[set[str], Callable[[StructureDict], Structure]], ...] = (
    ({"lattice", "sites"}, _convert_pymatgen),
    ({"lattice_mat", "elements", "coords"}, _convert_jarvis),
    ({"numbers", "positions", "cell"}, _convert_ase),
    ({"type", "attributes"}, _convert_optimade),
)
"""Required keys of each kind of dictionary, and the function that converts it."""
