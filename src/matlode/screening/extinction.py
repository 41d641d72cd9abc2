"""Space groups that powder diffraction cannot distinguish: same lattice and systematic absences."""

from __future__ import annotations

from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

MAX_INDEX = 6
"""Largest index of the reflections that are compared; screw axes 6₁ need 6."""

FAMILIES = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "hexagonal": (143, 194),
    "cubic": (195, 230),
}
"""Crystal family → first and last space group. Trigonal groups belong to the hexagonal family."""

_AXES: dict[str, list[tuple[int, ...]]] = {
    "triclinic": list(permutations(range(3))),
    "monoclinic": [(0, 1, 2), (2, 1, 0)],
    "orthorhombic": list(permutations(range(3))),
    "tetragonal": [(0, 1, 2)],
    "hexagonal": [(0, 1, 2)],
    "cubic": list(permutations(range(3))),
}
"""Family → permutations of the axes that are a matter of setting."""


@cache
def find_extinction_groups(family: str) -> tuple[tuple[int, ...], ...]:
    """Group the space-group numbers of one of FAMILIES by their reflection conditions.

    As in International Tables A, 3.1.4, but with the Laue classes of a family merged, since
    their reflections overlap in a powder pattern. Conditions of glide planes and screw axes are
    derived from the operations of moyopy's standard settings.

    >>> [group for group in find_extinction_groups("orthorhombic") if 62 in group]
    [(33, 62)]
    """
    first, last = FAMILIES[family]
    groups: dict[bytes, list[int]] = {}
    for number in range(first, last + 1):
        absent = _absent(number)
        key = min(absent.transpose(order).tobytes() for order in _AXES[family])
        groups.setdefault(key, []).append(number)
    return tuple(tuple(group) for group in groups.values())


def find_indistinguishable(space_group: int) -> tuple[int, ...]:
    """Find the other space groups of the same extinction group.

    >>> find_indistinguishable(225)
    (196, 202, 209, 216)
    """
    (family,) = (name for name, (a, b) in FAMILIES.items() if a <= space_group <= b)
    (group,) = (group for group in find_extinction_groups(family) if space_group in group)
    return tuple(number for number in group if number != space_group)


def _absent(number: int) -> NDArray[np.bool_]:
    """(13, 13, 13), true for reflections hkl (from -6) that are systematically absent, because an
    operation maps them onto themselves with another phase."""
    import moyopy

    operations = moyopy.operations_from_number(number)
    rotations, shifts = np.array(operations.rotations, float), np.array(operations.translations)
    moving = (abs(shifts - shifts.round()) > 1e-3).any(axis=1)
    # -h -k -l is absent if hkl is
    half, span = np.arange(MAX_INDEX + 1), np.arange(-MAX_INDEX, MAX_INDEX + 1)
    hkl = np.stack(np.meshgrid(half, span, span, indexing="ij")).reshape(3, -1).astype(float)
    turned = rotations[moving].transpose(0, 2, 1) @ hkl
    kept = (turned[:, 0] == hkl[0]) & (turned[:, 1] == hkl[1]) & (turned[:, 2] == hkl[2])
    phase = shifts[moving] @ hkl
    absent = (kept & (abs(phase - phase.round()) > 1e-3)).any(axis=0)
    absent = absent.reshape(len(half), len(span), len(span))
    return np.concatenate([absent[:0:-1, ::-1, ::-1], absent])
