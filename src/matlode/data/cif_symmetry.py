"""The symmetry that a CIF states: operations, Hall and Hermann-Mauguin symbols, number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from matlode.data.space_group_names import (
    Operations,
    convert_operations,
    find_number_settings,
    find_settings,
    read_hall_symbol,
)
from matlode.errors import InputError

Tags = Mapping[str, Sequence[str]]
"""Values of a CIF by tag, in lower case with dots replaced by underscores; unknown values are
empty."""

OPERATION_TAGS = (
    "_space_group_symop_operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_magn_operation_xyz",
)
CENTRING_TAG = "_space_group_symop_magn_centering_xyz"
HALL_TAGS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
NAME_TAGS = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_space_group_name_h-m",
    "_space_group_name_h-m_full",
    "_symmetry_space_group_name_h-m_alt",
    "_space_group_name_h-m_ref",
)
NUMBER_TAGS = ("_space_group_it_number", "_symmetry_int_tables_number")
CODE_TAG = "_space_group_it_coordinate_system_code"
MODULATION_TAGS = (
    "_cell_modulation_dimension",
    "_space_group_ssg_name",
    "_space_group_symop_ssg_operation_algebraic",
    "_cell_wave_vector_x",
)
MAX_OPERATION_LENGTH = 200
"""Characters of a symmetry operation; one with ten digits in each number has 100. The time that
pymatgen needs for one grows with the cube of its length."""
MAX_OPERATIONS = 10_000
"""A primitive group has at most 192; magnetic cells and supercells have some more."""


@dataclass(frozen=True)
class StatedSymmetry:
    """What a CIF says of its symmetry."""

    settings: tuple[Operations, ...]
    """Sets of operations that the statement can mean, usually one."""
    notes: tuple[str, ...] = ()
    doubt: str | None = None
    """A symbol of less symmetry than the operations have, as programs write that find both with
    different tolerances; the operations count if the content of the cell confirms them."""


def read_symmetry(tags: Tags) -> StatedSymmetry:
    """Return the symmetry that a block of a CIF states.

    Operations count, and symbols and number must be of the same group. Without operations, the
    Hall symbol counts, then the Hermann-Mauguin symbol, then the number. Raises InputError if
    nothing is stated or understood, for contradictions, and for modulated structures.
    """
    for tag in MODULATION_TAGS:
        if any(value not in ("", "0") for value in tags.get(tag, ())):
            raise InputError(f"a modulated structure ({tag}), which has no three-dimensional cell")
    operations = _read_operations(tags)
    hall = _first(tags, HALL_TAGS)
    from_hall = read_hall_symbol(hall) if hall else None
    names = {name: settings for name in _all(tags, NAME_TAGS) for settings in [_find(name, tags)]}
    number = _read_number(tags)
    numbers = {f'"{name}"': settings[0].number for name, settings in names.items() if settings}
    if from_hall:
        numbers[f'"{hall}"'] = from_hall.number
    if number:
        numbers[f"number {number}"] = number
    doubt = None
    if operations:
        lesser = find_number_settings(number) if number else ()
        lesser += tuple(s for settings in names.values() for s in settings)
        numbers = {
            f"{len(operations)} operations of {operations.name}": operations.number
        } | numbers
        doubt = _describe_disagreement(numbers)
        if doubt and (len(operations) == 1 or not any(map(operations.contain, lesser))):
            raise InputError(doubt)
    elif disagreement := _describe_disagreement(numbers):
        raise InputError(disagreement)
    unknown = [name for name, settings in names.items() if not settings]
    notes = tuple(f'unknown space-group symbol "{name[:40]}"' for name in unknown)
    if operations:
        return StatedSymmetry((operations,), notes, doubt)
    if from_hall:
        return StatedSymmetry((from_hall,), notes)
    for settings in names.values():
        if settings:
            return StatedSymmetry(settings, notes)
    if unknown:
        raise InputError(
            f'unknown space-group symbol "{unknown[0][:40]}" and no symmetry operations; add '
            "_space_group_symop_operation_xyz"
        )
    if number:
        return StatedSymmetry(
            find_number_settings(number), (f"standard setting of space group {number} assumed",)
        )
    raise InputError(
        "states no symmetry: neither operations nor a space group; add "
        "_space_group_name_H-M_alt 'P 1' if all atoms of the cell are listed"
    )


def _describe_disagreement(numbers: Mapping[str, int]) -> str | None:
    """Return the statements if they are of different space groups."""
    if len(set(numbers.values())) <= 1:
        return None
    told = ", ".join(f"{what[:60]} ({number})" for what, number in numbers.items())
    return f"contradictory space groups: {told}; correct the operations or the symbol"


def _find(name: str, tags: Tags) -> tuple[Operations, ...]:
    settings = find_settings(name)
    code = _first(tags, (CODE_TAG,))
    if code and len(settings) > 1:
        return find_settings(f"{name}:{code}") or settings
    return settings


def _read_number(tags: Tags) -> int | None:
    text = _first(tags, NUMBER_TAGS)
    if not text or not text.isdecimal() or len(text) > 3 or not 1 <= int(text) <= 230:
        return None
    return int(text)


def _read_operations(tags: Tags) -> Operations | None:
    for tag in OPERATION_TAGS:
        if texts := tuple(text for text in tags.get(tag, ()) if text):
            centrings = tuple(text for text in tags.get(CENTRING_TAG, ()) if text)
            return _parse_operations(texts, centrings if "magn" in tag else ())
    return None


@lru_cache(maxsize=1024)
def _parse_operations(texts: tuple[str, ...], centrings: tuple[str, ...]) -> Operations:
    """Parse operations (with time reversal, if magnetic), times centrings."""
    import gemmi

    longest = max(map(len, (*texts, *centrings)))
    if longest > MAX_OPERATION_LENGTH:
        raise InputError(f"a symmetry operation of {longest} characters")
    if len(texts) * max(len(centrings), 1) > MAX_OPERATIONS:
        raise InputError(f"{len(texts)} symmetry operations; expected at most {MAX_OPERATIONS}")
    triplets, shifts = ([_strip_reversal(text) for text in part] for part in (texts, centrings))
    try:
        operations = [gemmi.Op(text) for text in triplets]
        if shifts:
            operations = [gemmi.Op(shift) * op for shift in shifts for op in operations]
    except (ValueError, RuntimeError):
        return _parse_unusual_operations(triplets, shifts)
    unique = list({op.wrap().triplet(): op for op in operations}.values())
    group = gemmi.GroupOps(unique)
    known = gemmi.find_spacegroup_by_ops(group) if len(group) == len(unique) else None
    if known is not None:
        return convert_operations(unique, known.number, known.xhm())
    arrays = convert_operations(unique, 1, "")
    return _identify(arrays.rotations, arrays.translations)


def _strip_reversal(text: str) -> str:
    """Remove the time reversal of a magnetic operation, ``x,y,z,+1``, and blanks."""
    fields = "".join(text.split()).lower().split(",")
    return ",".join(fields[:3] if len(fields) == 4 and fields[3] in ("+1", "-1", "1") else fields)


def _parse_unusual_operations(triplets: Iterable[str], shifts: Sequence[str]) -> Operations:
    """Parse translations that are no multiples of 1/24 with pymatgen."""
    from pymatgen.core.operations import SymmOp

    try:
        operations = [SymmOp.from_xyz_str(text) for text in triplets]
        if shifts:
            operations = [SymmOp.from_xyz_str(shift) * op for shift in shifts for op in operations]
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"a symmetry operation cannot be parsed ({str(error)[:100]})") from error
    rotations = np.array([op.rotation_matrix for op in operations])
    if not np.allclose(abs(np.linalg.det(rotations)), 1):
        raise InputError("a symmetry operation cannot be parsed, or is not invertible")
    return _identify(rotations, np.array([op.translation_vector for op in operations]) % 1)


def _identify(rotations: NDArray[np.float64], translations: NDArray[np.float64]) -> Operations:
    """Find the number of a group in a setting that is not tabulated.

    Raises InputError if the operations do not form a group.
    """
    from moyopy import Cell, MoyoDataset

    group = Operations(rotations, translations, 1, "an unusual setting")
    for rotation, shift in zip(rotations, translations, strict=True):
        product = rotation @ rotations, translations @ rotation.T + shift
        if not group.contain(replace(group, rotations=product[0], translations=product[1])):
            raise InputError(
                f"the {len(rotations)} symmetry operations do not form a group; list all of them"
            )
    # the mean of all images of a metric tensor has the symmetry of the rotations
    metric = np.einsum("nji,jk,nkl->il", rotations, np.diag([1.0, 1.1, 1.3]), rotations)
    lattice = 12 * np.linalg.cholesky(metric / len(rotations))
    # three orbits of general positions have no more symmetry than the group
    points = np.array([[0.013, 0.117, 0.229], [0.061, 0.373, 0.147], [0.291, 0.043, 0.411]])
    places = (np.einsum("nij,pj->pni", rotations, points) + translations) % 1
    kinds = np.repeat([1, 2, 3], len(rotations))
    try:
        found = MoyoDataset(
            Cell(lattice.tolist(), places.reshape(-1, 3).tolist(), kinds.tolist()), symprec=1e-2
        )
    except ValueError as error:
        raise InputError(f"the symmetry operations are of no space group ({error})") from error
    return replace(group, number=int(found.number))


def _all(tags: Tags, names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(value for name in names for value in tags.get(name, ()) if value))


def _first(tags: Tags, names: Sequence[str]) -> str:
    return next(iter(_all(tags, names)), "")
