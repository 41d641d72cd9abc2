"""Random crystals: atoms on Wyckoff positions of likely space groups, by PyXtal."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.data.formulas import parse_formula

FORMULA_UNITS = (1, 2, 3, 4, 6, 8)
"""Numbers of formula units per conventional cell that are tried."""
MAX_ATOMS = 32
"""Largest number of atoms in a conventional cell; with more, random positions rarely match."""
N_SPACE_GROUPS = 6
"""Number of space groups, the likeliest, that are tried."""
ATTEMPTS = 4
"""PyXtal's attempts per space group and number of formula units in each round."""


def fill_randomly(
    formula: str, chances: NDArray[np.floating], n: int, *, space_groups: Collection[int] = ()
) -> tuple[Crystals, list[int]]:
    """Generate up to n random crystals of ``formula``, with their space groups.

    ``chances`` (230,) are the probabilities of the space groups; if ``space_groups`` are given,
    only these are tried. The seed depends on the formula only. Fewer crystals, or none, are
    returned if the atoms do not fit on the Wyckoff positions of a small cell.
    """
    order = np.argsort(-np.asarray(chances), kind="stable") + 1
    likely = [int(group) for group in order if not space_groups or group in space_groups]
    seed = int.from_bytes(hashlib.sha256(formula.encode()).digest()[:8], "big")
    found = [
        crystal
        for crystal, _ in zip(
            _fillings(formula, likely[:N_SPACE_GROUPS], np.random.default_rng(seed), n),
            range(n),
            strict=False,
        )
    ]
    return Crystals.from_structures([structure for structure, _ in found]), [g for _, g in found]


def _fillings(
    formula: str, space_groups: list[int], rng: np.random.Generator, n: int
) -> Iterator[tuple[object, int]]:
    """Random structures and their space groups, in rounds over all space groups."""
    from pyxtal import pyxtal
    from pyxtal.symmetry import Group

    amounts = parse_formula(formula)
    fitting = [
        (group, units)
        for group, units in product(space_groups, FORMULA_UNITS)
        if units * sum(amounts.values()) <= MAX_ATOMS
        and Group(group).check_compatible([units * a for a in amounts.values()])[0]
    ]
    for _ in range(-(-n // max(len(fitting), 1)) * 2):
        for group, units in fitting:
            crystal = pyxtal()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    crystal.from_random(
                        3, group, list(amounts), [units * a for a in amounts.values()],
                        max_count=ATTEMPTS, random_state=rng,
                    )  # fmt: skip
                    structure = crystal.to_pymatgen()
            except Exception:  # PyXtal raises its own and bare ones if it finds no positions
                continue
            yield structure, group
