"""One crystal, from a file or from whatever a table's cell holds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from matlode.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifParser

CIF_ENDINGS = (".cif", ".mcif")
MAX_CIF_POSITIONS = 4000
"""pymatgen compares each position (site and operation) with each distinct one: this takes 5 s of so
many sites without symmetry."""
MAX_OPERATIONS = 192
"""Of a space group in its conventional cell."""
MAX_OPERATION_LENGTH = 200
"""Characters; those with ten digits in each number have 100."""
POSCAR_ENDINGS = (".poscar", ".vasp")
POSCAR_NAMES = ("POSCAR", "CONTCAR")
OCCUPANCY_TOLERANCE = 1.05
"""Sums of occupancies up to this are rounding, and are scaled to 1."""


def read_structure(path: Path) -> Structure:
    """One crystal of a CIF or POSCAR file (the first of a CIF with several blocks).

    Raises InputError, naming the reason, for whatever pymatgen cannot read.
    """

    def read() -> Structure:
        from pymatgen.core import Structure

        if path.suffix.lower() in CIF_ENDINGS or is_structure_file(path):
            text = path.read_text(encoding="utf-8", errors="replace")
            return _of_cif(text) if path.suffix.lower() in CIF_ENDINGS else _of_poscar(text)
        return Structure.from_file(path)

    return _sound(read)


def structure_from(value: Any) -> Structure:
    """One crystal from any form that tables and databases hold it in.

    CIF or POSCAR text; a dictionary of pymatgen, ASE, JARVIS or OPTIMADE, also as JSON text;
    a pymatgen Structure or ASE Atoms. Raises InputError, naming the reason, if it is none.
    """
    return _sound(lambda: _convert(value))


def is_structure_file(path: Path) -> bool:
    """Whether the name says CIF or POSCAR."""
    return (
        path.suffix.lower() in (*CIF_ENDINGS, *POSCAR_ENDINGS)
        or path.name.split(".")[0].split("_")[0].upper() in POSCAR_NAMES
    )


def is_structure_dict(value: Any) -> bool:
    """Whether a dictionary is itself one crystal, in a form that ``structure_from`` reads."""
    return isinstance(value, Mapping) and any(value.keys() >= keys for keys, _ in _DICTIONARIES)


def _sound(read: Callable[[], Structure]) -> Structure:
    """A periodic crystal of elements, without charges; any failure is an InputError."""
    from pymatgen.core import DummySpecies, Structure

    try:
        with warnings.catch_warnings():
            # what pymatgen mends (rounded thirds, missing occupancies) is no concern here
            warnings.simplefilter("ignore")
            structure = read()
    except Exception as error:
        # readers raise whatever their parsing stumbles over
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


def _convert(value: Any) -> Structure:
    from pymatgen.core import Structure

    if isinstance(value, Structure):
        return value.copy()
    if hasattr(value, "get_scaled_positions"):
        return _of_ase(value)
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        return _of_text(value)
    for keys, convert in _DICTIONARIES:
        if isinstance(value, Mapping) and value.keys() >= keys:
            return convert(value)
    raise InputError(f"a {type(value).__name__} of no known form")


def _of_text(text: str) -> Structure:
    start = text.lstrip()
    if start.startswith("{"):
        return _convert(json.loads(start))
    return _of_cif(text) if "_cell_length_a" in text.lower() else _of_poscar(text)


def _of_cif(text: str) -> Structure:
    from pymatgen.io.cif import CifParser

    parser = CifParser.from_str(text, occupancy_tolerance=OCCUPANCY_TOLERANCE)
    _check_operations(parser)
    _check_positions(parser)
    return parser.parse_structures(primitive=False)[0]


def _check_operations(parser: CifParser) -> None:
    """Raises InputError for a symmetry operation of so many characters that pymatgen's pattern
    would not come to an end: its time grows with their cube."""
    for block in parser.as_dict().values():
        for key, value in block.items():
            operations = value if isinstance(value, list) else [value]
            longest = max((len(str(text)) for text in operations), default=0)
            if "xyz" in key and longest > MAX_OPERATION_LENGTH:
                raise InputError(f"a symmetry operation of {longest} characters ({key})")


def _check_positions(parser: CifParser) -> None:
    """Raises InputError for a CIF of so many positions that pymatgen would not come to an end."""
    from pymatgen.io.cif import str2float

    comparisons = 0
    for block in parser.as_dict().values():
        sites = [block.get(f"_atom_site_fract_{x}") for x in "xyz"]
        if not all(isinstance(column, list) for column in sites):
            continue  # one site, or none
        if len(sites[0]) * MAX_OPERATIONS <= MAX_CIF_POSITIONS:
            continue
        places = np.array([[str2float(x) for x in column] for column in sites])
        find = parser.get_magsymops if parser.feature_flags["magcif"] else parser.get_symops
        operations = find(SimpleNamespace(data=block))
        n_positions = places.shape[1] * len(operations)
        n_distinct = n_positions
        if n_positions < 100 * MAX_CIF_POSITIONS:  # else they are too many, wherever they are
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


def _of_poscar(text: str) -> Structure:
    from pymatgen.io.vasp import Poscar

    _check_counts(text)
    poscar = Poscar.from_str(text)
    if not poscar.true_names:
        raise InputError("POSCAR names no elements")
    return poscar.structure


def _check_counts(text: str) -> None:
    """Raises InputError for a POSCAR that promises more atoms than it has lines: pymatgen would
    make room for all of them first."""
    lines = text.splitlines()
    for line in lines[5:7]:  # below the symbols, in old files in their place
        words = line.split("!")[0].split()
        if words and all(word.isdecimal() and len(word) < 4000 for word in words):
            promised = sum(map(int, words))
            if promised > len(lines):
                raise InputError(f"POSCAR promises {promised:.6g} atoms in {len(lines)} lines")
            return


def _of_pymatgen(value: Mapping[str, Any]) -> Structure:
    from pymatgen.core import Structure

    return Structure.from_dict(dict(value))


def _of_jarvis(value: Mapping[str, Any]) -> Structure:
    from pymatgen.core import Structure

    return Structure(
        value["lattice_mat"],
        [symbol.strip() for symbol in value["elements"]],
        value["coords"],
        coords_are_cartesian=bool(value.get("cartesian")),
    )


def _of_ase_dict(value: Mapping[str, Any]) -> Structure:
    from ase import Atoms
    from ase.io import jsonio

    plain = jsonio.decode(json.dumps(dict(value), default=_as_list))
    if isinstance(plain, Atoms):
        return _of_ase(plain)
    known = ("numbers", "positions", "cell", "pbc")
    return _of_ase(Atoms(**{key: np.asarray(plain[key]) for key in known if key in plain}))


def _as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value.todict()


def _of_ase(atoms: Any) -> Structure:
    from pymatgen.core import Lattice, Structure

    if atoms.cell.rank < 3:
        raise InputError("has no cell")
    if (atoms.numbers == 0).any():
        raise InputError("holds a species that is no element")
    # a file that says nothing of periodicity has none in ASE's eyes; its cell says otherwise
    periodic = tuple(map(bool, atoms.pbc)) if any(atoms.pbc) else (True, True, True)
    cell = Lattice(atoms.cell.array, pbc=periodic)
    return Structure(cell, atoms.numbers, atoms.get_scaled_positions(wrap=False))


def _of_optimade(value: Mapping[str, Any]) -> Structure:
    from optimade.adapters import Structure as Adapter

    if value["attributes"].get("nperiodic_dimensions") != 3:
        raise InputError("is not periodic in three directions")
    return Adapter(dict(value)).convert("pymatgen")


_DICTIONARIES: tuple[tuple[set[str], Callable[[Mapping[str, Any]], Structure]], ...] = (
    ({"lattice", "sites"}, _of_pymatgen),
    ({"lattice_mat", "elements", "coords"}, _of_jarvis),
    ({"numbers", "positions", "cell"}, _of_ase_dict),
    ({"type", "attributes"}, _of_optimade),
)
"""Keys that tell a form, and who reads it."""
