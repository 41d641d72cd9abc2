"""Read a crystal from a CIF: gemmi parses the file; what it says is taken literally or refused."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matlode.data.atom_types import parse_atom_label, parse_atom_type
from matlode.data.cif_symmetry import StatedSymmetry, Tags, read_symmetry
from matlode.data.cif_testimony import confirm_amounts, find_contradiction, read_formula
from matlode.data.crowding import find_crowded_atoms
from matlode.data.crystals import Crystals
from matlode.data.formulas import element_symbols
from matlode.data.site_orbits import SAME_ATOM_A, SAME_SITE_A, expand_site, join_mixed_sites
from matlode.data.space_group_names import Operations
from matlode.errors import InputError

if TYPE_CHECKING:
    from gemmi import cif
    from pymatgen.core import Structure

METRIC_TOLERANCE = 0.02
"""Relative deviation of a cell from the symmetry of its group: 1 % of lengths, 1° of angles."""
MAX_POSITIONS = 50_000
"""Largest number of positions, sites times operations."""
OCCUPANCY_TOLERANCE = 1.05
"""Sums of occupancies up to this value are attributed to rounding and scaled to 1."""
RHOMBOHEDRAL = (146, 148, 155, 160, 161, 166, 167)
_LENGTHS = ("_cell_length_a", "_cell_length_b", "_cell_length_c")
_ANGLES = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
_COORDINATES = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_CARTESIAN = ("_atom_site_cartn_x", "_atom_site_cartn_y", "_atom_site_cartn_z")
_KEPT = (
    "_cell_", "_atom_site_", "_atom_sites_cartn", "_symmetry_", "_space_group_",
    "_chemical_formula_sum", "_exptl_crystal_density",
)  # fmt: skip
"""Beginnings of the tags that are read."""


@dataclass(frozen=True)
class Sites:
    """The n sites of an asymmetric unit."""

    numbers: list[int]
    """Atomic numbers."""
    places: NDArray[np.float64]
    """(n, 3), fractional."""
    occupancies: NDArray[np.float64]
    """(n,), above 0 and at most 1."""
    rounding_a: NDArray[np.float64]
    """(n,), how far a site may be from its special position because of rounded coordinates, Å."""
    heavy_hydrogen: bool
    """Whether a site is D or T."""


def parse_cif(text: str) -> tuple[Structure, tuple[str, ...]]:
    """Return the crystal of the first block that has one, and notes of what was assumed.

    Raises InputError if the text is not a CIF, or if it contradicts itself, or if it does not
    say where which atoms are.
    """
    tags, notes = _choose_block(text)
    symmetry = read_symmetry(tags)
    lattice, completed = _read_cell(tags, symmetry)
    sites, left_out = _read_sites(tags, lattice)
    structure, assumed = _build(tags, symmetry, lattice, sites)
    return structure, (*notes, *symmetry.notes, *completed, *left_out, *assumed)


def _choose_block(text: str) -> tuple[Tags, tuple[str, ...]]:
    from gemmi import cif

    text = text.lstrip("\ufeff \t\r\n").replace("\r\n", "\n").replace("\r", "\n")
    try:
        # level 0 allows a block name to occur twice
        document = cif.read_string(text, 0)
    except (ValueError, RuntimeError) as error:
        reason = str(error).removeprefix("string:")
        raise InputError(
            f"not readable as a crystal structure: not a valid CIF: {reason}"
        ) from error
    blocks = ((block.name, _collect(block)) for block in document)
    found = [
        (name, tags) for name, tags in blocks if _COORDINATES[0] in tags or _CARTESIAN[0] in tags
    ]
    if not found:
        raise InputError("not readable as a crystal structure: no block with coordinates of atoms")
    name, tags = found[0]
    if len(found) == 1:
        return tags, ()
    return tags, (f'{len(found)} blocks contain crystals; the first, "{name[:40]}", was read',)


def _collect(block: cif.Block) -> dict[str, list[str]]:
    """Return the values of the tags that are read. Raises InputError for a tag that is repeated
    with another value."""
    from gemmi import cif

    tags: dict[str, list[str]] = {}
    for tag, values in _iterate(block):
        key = tag.lower().replace(".", "_")
        if key.startswith(_KEPT):
            texts = [cif.as_string(value).strip() for value in values]
            plain = ["" if text in ("?", ".") else text for text in texts]
            if not any(plain):
                tags.setdefault(key, plain)  # an unknown value does not hide a known one
            elif any(tags.get(key, ())) and tags[key] != plain:
                raise InputError(f"the tag {tag} occurs twice with different values")
            else:
                tags[key] = plain
    return tags


def _iterate(block: cif.Block) -> Iterator[tuple[str, list[str]]]:
    for item in block:
        pair: Any = item.pair
        if pair is not None:
            yield pair[0], [pair[1]]
        elif item.loop is not None:
            names, values = list(item.loop.tags), list(item.loop.values)
            for at, name in enumerate(names):
                yield name, values[at :: len(names)]


def _read_cell(tags: Tags, symmetry: StatedSymmetry) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the lattice (3, 3) in Å; missing parameters follow from the symmetry."""
    from pymatgen.core import Lattice

    values = [_read_number(tags, tag) for tag in (*_LENGTHS, *_ANGLES)]
    missing = [
        tag for tag, value in zip((*_LENGTHS, *_ANGLES), values, strict=True) if value is None
    ]
    numbers = [float(value or 0) for value in values]
    notes: tuple[str, ...] = ()
    if missing:
        numbers = _complete_cell(numbers, symmetry.settings[0].number, missing)
        notes = (f"{', '.join(missing)} from the space group",)
    if min(numbers) <= 0 or max(numbers[3:]) >= 180:
        raise InputError(f"impossible cell {', '.join(f'{n:g}' for n in numbers)}")
    cosines = np.cos(np.radians(numbers[3:]))
    if 1 - (cosines**2).sum() + 2 * cosines.prod() <= 1e-8:
        raise InputError(f"the cell of angles {', '.join(f'{n:g}°' for n in numbers[3:])} is flat")
    return Lattice.from_parameters(*numbers).matrix, notes


def _complete_cell(numbers: list[float], group: int, missing: Sequence[str]) -> list[float]:
    a, b, c, alpha, beta, gamma = numbers
    if group >= 195:
        a = b = c = a or b or c
    elif group in RHOMBOHEDRAL and alpha not in (0, 90) and not c:
        b = c = a
        beta = gamma = alpha
    elif group >= 75:
        a = b = a or b
    if 143 <= group <= 194:
        gamma = gamma or 120.0
    if group >= 16 or (group >= 3 and any((alpha, beta, gamma))):
        alpha, beta, gamma = (angle or 90.0 for angle in (alpha, beta, gamma))
    completed = [a, b, c, alpha, beta, gamma]
    if not all(completed):
        raise InputError(f"incomplete cell: {', '.join(missing)} missing")
    return completed


def _read_sites(tags: Tags, lattice: NDArray[np.float64]) -> tuple[Sites, tuple[str, ...]]:
    """Return the sites that hold atoms, and notes on those left out.

    Raises InputError for a site without element, coordinates or with an impossible occupancy.
    """
    names = _COORDINATES if _COORDINATES[0] in tags else _CARTESIAN
    if any(name not in tags for name in names):
        raise InputError(f"not all of {', '.join(names)} are there")
    n_sites = len(tags[names[0]])
    columns = {
        name: tags.get(f"_atom_site_{name}", [""] * n_sites)
        for name in ("label", "type_symbol", "occupancy", "calc_flag", "attached_hydrogens")
    }
    if any(len(column) != n_sites for column in (*columns.values(), *(tags[n] for n in names))):
        raise InputError("the columns of the atom sites have different lengths")
    elements = read_formula(tags) or {}
    numbers: list[int] = []
    places: list[list[float]] = []
    occupancies: list[float] = []
    digits: list[list[float]] = []
    notes: list[str] = []
    heavy = False
    for row in range(n_sites):
        label, symbol, occupancy, flag, hydrogens = (column[row] for column in columns.values())
        if flag.lower() == "dum":
            notes.append(f"dummy atom {label} left out")
            continue
        amount = _read_occupancy(occupancy, label)
        if amount == 0:
            continue
        if hydrogens not in ("", "0"):
            raise InputError(f"{label} has {hydrogens} hydrogen atoms without coordinates")
        texts = [tags[name][row] for name in names]
        numbers.append(parse_atom_type(symbol) if symbol else parse_atom_label(label, elements))
        heavy |= numbers[-1] == 1 and (symbol or label)[:1].upper() != "H"
        places.append([_read_coordinate(text, label or symbol) for text in texts])
        digits.append([_last_digit(text) for text in texts])
        occupancies.append(amount)
    if not numbers:
        raise InputError("no site holds an atom")
    coordinates = np.array(places)
    if names is _CARTESIAN:
        coordinates = _convert_cartesian(tags, coordinates, lattice)
        rounding = np.zeros(len(numbers))
    else:
        rounding = np.array(digits) @ np.linalg.norm(lattice, axis=1)
    return Sites(numbers, coordinates, np.array(occupancies), rounding, heavy), tuple(notes)


def _read_occupancy(text: str, label: str) -> float:
    from gemmi import cif

    amount = float(cif.as_number(text)) if text else 1.0
    if not 0 <= amount <= OCCUPANCY_TOLERANCE:
        raise InputError(f'{label} has the occupancy "{text[:40]}"; expected 0..1')
    return min(amount, 1.0)


def _read_coordinate(text: str, label: str) -> float:
    from gemmi import cif

    value = float(cif.as_number(text)) if text else math.nan
    if not math.isfinite(value):
        raise InputError(f'{label[:40]} has no coordinates (found "{text[:40] or "?"}")')
    return value


def _last_digit(text: str) -> float:
    """Return the unit of the last of at least two decimal digits; 0 for exact halves and such."""
    decimals = text.partition("(")[0].partition(".")[2]
    return 10.0 ** -len(decimals) if len(decimals) >= 2 and decimals.isdecimal() else 0.0


def _read_number(tags: Tags, tag: str) -> float | None:
    """Return the number of a tag; None if absent. Raises InputError for other text."""
    from gemmi import cif

    text = next(iter(tags.get(tag, ())), "")
    if not text:
        return None
    value = float(cif.as_number(text))
    if not math.isfinite(value):
        raise InputError(f'{tag} is "{text[:40]}"; expected a number')
    return value


def _convert_cartesian(
    tags: Tags, places: NDArray[np.float64], lattice: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Convert (n, 3) Å to fractions, with the matrix of the file or along a and c*."""
    matrix = [
        [_read_number(tags, f"_atom_sites_cartn_tran_matrix_{i}{j}") for j in (1, 2, 3)]
        for i in (1, 2, 3)
    ]
    if any(value is None for row in matrix for value in row):
        # the convention of the Protein Data Bank: x along a, y in the plane of a and b
        to_cartesian = np.linalg.cholesky(lattice @ lattice.T).T
        return np.linalg.solve(to_cartesian, places.T).T
    return np.linalg.solve(np.array(matrix, dtype=float), places.T).T


def _build(
    tags: Tags, symmetry: StatedSymmetry, lattice: NDArray[np.float64], sites: Sites
) -> tuple[Structure, tuple[str, ...]]:
    """Return the crystal in the one setting of ``symmetry`` that does not contradict the file."""
    fitting = [s for s in symmetry.settings if s.fit_cell(lattice, METRIC_TOLERANCE)]
    if not fitting:
        raise InputError(
            f"the cell has not the symmetry of {symmetry.settings[0].name}: correct the cell, or "
            "the space group"
        )
    largest = max(map(len, fitting)) * len(sites.numbers)
    if largest > MAX_POSITIONS:
        raise InputError(f"{largest} positions; expected at most {MAX_POSITIONS}")
    shortest = min(setting.find_shortest_translation(lattice) for setting in fitting)
    if shortest < SAME_ATOM_A:
        raise InputError(f"the operations contain a translation of {shortest:.3g} Å")
    if symmetry.doubt and not confirm_amounts(tags):
        raise InputError(symmetry.doubt)
    built, reasons = [], []
    for setting in fitting:
        structure = _expand(setting, lattice, sites)
        reason = _find_contradiction(tags, structure, sites.heavy_hydrogen)
        reasons.append(reason)
        if reason is None:
            built.append((setting, structure))
    if not built:
        raise InputError(str(reasons[0]))
    if symmetry.doubt:
        return built[0][1], (f"{symmetry.doubt}; the operations agree with formula and Z",)
    if len(built) == 1:
        note = (f"{built[0][0].name} chosen by the cell and the content",)
        return built[0][1], note if len(symmetry.settings) > 1 else ()
    return _choose_setting(built, lattice, sites)


def _choose_setting(
    built: Sequence[tuple[Operations, Structure]], lattice: NDArray[np.float64], sites: Sites
) -> tuple[Structure, tuple[str, ...]]:
    """Choose among settings that fit: the origin at which fewest atoms result, the usual axes.

    Raises InputError if the atoms do not tell the origin.
    """
    origins = {setting.name.partition(":")[2] for setting, _ in built}
    if origins != {"1", "2"}:
        return built[0][1], (f"the setting {built[0][0].name} was assumed",)
    # without merging images that rounding does not explain, which would favour the wrong origin
    sized = [(_count_positions(setting, lattice, sites), setting, s) for setting, s in built]
    sized.sort(key=lambda one: one[0])
    counts = [count for count, *_ in sized]
    built = [(setting, structure) for _, setting, structure in sized]
    if counts[0] == counts[1]:
        raise InputError(
            f"the symbol does not tell the origin: {built[0][0].name} or {built[1][0].name}; add "
            "the operations, or :1 or :2 to the symbol"
        )
    return built[0][1], (
        f"{built[0][0].name} assumed: {counts[0]} sites in the cell, {counts[1]} with the other "
        "origin",
    )


def _expand(setting: Operations, lattice: NDArray[np.float64], sites: Sites) -> Structure:
    from pymatgen.core import Structure

    orbits = [_expand_row(setting, lattice, sites, row) for row in range(len(sites.numbers))]
    counts = [len(places) for places, _ in orbits]
    places = np.concatenate([places for places, _ in orbits])
    numbers = np.repeat(sites.numbers, counts)
    occupancies = np.repeat([amount for _, amount in orbits], counts)
    if (occupancies >= 1).all():
        return Structure(lattice, numbers.tolist(), places)
    return _build_mixed(lattice, numbers, places, occupancies)


def _count_positions(setting: Operations, lattice: NDArray[np.float64], sites: Sites) -> int:
    limits = [_rounding_limit(sites, row) for row in range(len(sites.numbers))]
    return sum(
        len(expand_site(place, setting, lattice, limit_a=limit))
        for place, limit in zip(sites.places, limits, strict=True)
    )


def _rounding_limit(sites: Sites, row: int) -> float:
    """Return how far apart rounding can put the images of a site at a special position, in Å."""
    return min(max(SAME_SITE_A, 2 * float(sites.rounding_a[row])), SAME_ATOM_A)


def _expand_row(
    setting: Operations, lattice: NDArray[np.float64], sites: Sites, row: int
) -> tuple[NDArray[np.float64], float]:
    """Return the images (k, 3) of a site, and the occupancy of each.

    Images of a partial site that are apart by more than rounding are alternatives, which stay
    apart as long as they fit into one atom.
    """
    place, amount = sites.places[row], float(sites.occupancies[row])
    merged = expand_site(place, setting, lattice)
    if amount >= 1:
        return merged, amount
    split = expand_site(place, setting, lattice, limit_a=_rounding_limit(sites, row))
    if len(split) > len(merged) and amount * len(split) / len(merged) <= OCCUPANCY_TOLERANCE:
        return split, amount
    return merged, amount


def _build_mixed(
    lattice: NDArray[np.float64],
    numbers: NDArray[np.int64],
    places: NDArray[np.float64],
    occupancies: NDArray[np.float64],
) -> Structure:
    from pymatgen.core import Element, Structure

    species: dict[int, dict[Element, float]] = {}
    owners = join_mixed_sites(places, occupancies, lattice)
    for owner, number, amount in zip(owners, numbers, occupancies, strict=True):
        site = species.setdefault(int(owner), {})
        element = Element.from_Z(int(number))
        site[element] = site.get(element, 0.0) + float(amount)
    for site in species.values():
        total = sum(site.values())
        if total > OCCUPANCY_TOLERANCE:
            names = ", ".join(f"{element} {amount:g}" for element, amount in site.items())
            raise InputError(f"a site holds {total:.3g} atoms ({names}); expected at most 1")
        if total > 1:
            for element in site:
                site[element] /= total
    return Structure(lattice, list(species.values()), places[list(species)])


def _find_contradiction(tags: Tags, structure: Structure, heavy_hydrogen: bool) -> str | None:
    if crowded := find_crowded_atoms(Crystals.from_structures([structure])):
        return crowded[0]
    amounts = {
        element_symbols()[element.Z - 1]: float(amount)
        for element, amount in structure.composition.items()
    }
    return find_contradiction(tags, amounts, structure.volume, heavy_hydrogen=heavy_hydrogen)
