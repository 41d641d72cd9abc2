"""Read one crystal from a file, a text, a dictionary or an object of pymatgen or ASE."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from matlode.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifParser

StructureDict: TypeAlias = Mapping[str, Any]
"""A crystal as a dictionary of pymatgen, JARVIS, ASE or OPTIMADE."""

CIF_ENDINGS = (".cif", ".mcif")
MAX_CIF_POSITIONS = 4000
"""Number of sites without symmetry that pymatgen reads in 5 s; it compares each position (site
and operation) with each distinct one."""
MAX_OPERATIONS = 192
"""Largest number of operations of a space group in its conventional cell."""
MAX_OPERATION_LENGTH = 200
"""Characters of a symmetry operation; one with ten digits in each number has 100."""
POSCAR_ENDINGS = (".poscar", ".vasp")
POSCAR_NAMES = ("POSCAR", "CONTCAR")
OCCUPANCY_TOLERANCE = 1.05
"""Sums of occupancies up to this value are attributed to rounding and scaled to 1."""


def read_structure(path: Path) -> Structure:
    """Read the crystal in a CIF or POSCAR file, or any other file that pymatgen reads.

    Of a CIF with several blocks, the first is read. Raises InputError with the reason if the file
    cannot be read.
    """

    def read() -> Structure:
        from pymatgen.core import Structure

        if path.suffix.lower() in CIF_ENDINGS or is_structure_file(path):
            text = path.read_text(encoding="utf-8", errors="replace")
            return _parse_cif(text) if path.suffix.lower() in CIF_ENDINGS else _parse_poscar(text)
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
    return (
        path.suffix.lower() in (*CIF_ENDINGS, *POSCAR_ENDINGS)
        or path.name.split(".")[0].split("_")[0].upper() in POSCAR_NAMES
    )


def is_structure_dict(value: object) -> bool:
    """Return whether ``value`` is a dictionary that ``convert_structure`` can convert."""
    return isinstance(value, Mapping) and any(value.keys() >= keys for keys, _ in _DICTIONARIES)


def _check_structure(read: Callable[[], Structure]) -> Structure:
    """Call ``read``, check that the result is a periodic crystal, and remove oxidation states.

    Raises InputError with the reason for any failure.
    """
    from pymatgen.core import DummySpecies, Structure

    try:
        with warnings.catch_warnings():
            # pymatgen warns of corrections that do not matter here (rounded thirds, occupancies)
            warnings.simplefilter("ignore")
            structure = read()
    except Exception as error:
        # the readers can raise any exception for invalid content
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(f"not readable as a crystal structure: {reason}") from error
    if not isinstance(structure, Structure):
        raise InputError(f"holds a {type(structure).__name__}, not a periodic structure")
    if not all(structure.lattice.pbc):
        raise InputError("is not periodic in three directions")
    if any(isinstance(s, DummySpecies) for site in structure for s in site.species):
        raise InputError("holds a species that is no element")
    structure.remove_oxidation_states()
    return structure


def _convert(value: object) -> Structure:
    from pymatgen.core import Structure

    if isinstance(value, Structure):
        return value.copy()
    if hasattr(value, "get_scaled_positions"):
        return _convert_atoms(value)
    if isinstance(value, bytes):
        value = value.decode()
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
    return _parse_cif(text) if "_cell_length_a" in text.lower() else _parse_poscar(text)


def _parse_cif(text: str) -> Structure:
    from pymatgen.io.cif import CifParser

    parser = CifParser.from_str(text, occupancy_tolerance=OCCUPANCY_TOLERANCE)
    _check_operations(parser)
    _check_positions(parser)
    return parser.parse_structures(primitive=False)[0]


def _check_operations(parser: CifParser) -> None:
    """Raise InputError for a symmetry operation with too many characters.

    The time that pymatgen needs to parse an operation grows with the cube of its length.
    """
    for block in parser.as_dict().values():
        for key, value in block.items():
            operations = value if isinstance(value, list) else [value]
            longest = max((len(str(text)) for text in operations), default=0)
            if "xyz" in key and longest > MAX_OPERATION_LENGTH:
                raise InputError(f"a symmetry operation of {longest} characters ({key})")


def _check_positions(parser: CifParser) -> None:
    """Raise InputError for a CIF with too many positions for pymatgen to read in a short time."""
    from pymatgen.io.cif import str2float

    comparisons = 0
    for block in parser.as_dict().values():
        sites = [block.get(f"_atom_site_fract_{x}") for x in "xyz"]
        if not all(isinstance(column, list) for column in sites):
            continue  # at most one site
        if len(sites[0]) * MAX_OPERATIONS <= MAX_CIF_POSITIONS:
            continue
        places = np.array([[str2float(x) for x in column] for column in sites])
        find = parser.get_magsymops if parser.feature_flags["magcif"] else parser.get_symops
        operations = find(SimpleNamespace(data=block))
        n_positions = places.shape[1] * len(operations)
        n_distinct = n_positions
        if n_positions < 100 * MAX_CIF_POSITIONS:  # otherwise there are too many in any case
            images = np.concatenate(
                [op.rotation_matrix @ places + op.translation_vector[:, None] for op in operations],
                1,
            )
            n_distinct = np.unique(np.round(images, 3) % 1, axis=1).shape[1]
        comparisons += n_positions * n_distinct
    if comparisons > MAX_CIF_POSITIONS**2:
        raise InputError(
            f"a CIF of so many positions would take long to read (as long as "
            f"{comparisons**0.5:.0f} sites without symmetry do; at most {MAX_CIF_POSITIONS}); "
            "give it as POSCAR"
        )


def _parse_poscar(text: str) -> Structure:
    from pymatgen.io.vasp import Poscar

    _check_counts(text)
    poscar = Poscar.from_str(text)
    if not poscar.true_names:
        raise InputError("POSCAR names no elements")
    return poscar.structure


def _check_counts(text: str) -> None:
    """Raise InputError for a POSCAR that declares more atoms than it has lines.

    pymatgen would allocate memory for all declared atoms.
    """
    lines = text.splitlines()
    for line in lines[5:7]:  # after the symbols, which old files do not have
        words = line.split("!")[0].split()
        if words and all(word.isdecimal() and len(word) < 4000 for word in words):
            n_declared = sum(map(int, words))
            if n_declared > len(lines):
                raise InputError(f"POSCAR promises {n_declared:.6g} atoms in {len(lines)} lines")
            return


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
    return _convert_atoms(Atoms(**{key: np.asarray(plain[key]) for key in known if key in plain}))


def _as_list(value: Any) -> object:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value.todict()


def _convert_atoms(atoms: Atoms) -> Structure:
    from pymatgen.core import Lattice, Structure

    if atoms.cell.rank < 3:
        raise InputError("has no cell")
    if (atoms.numbers == 0).any():
        raise InputError("holds a species that is no element")
    # ASE reads files without information on periodicity as not periodic, even if they have a cell
    periodic = tuple(map(bool, atoms.pbc)) if any(atoms.pbc) else (True, True, True)
    cell = Lattice(atoms.cell.array, pbc=periodic)
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
