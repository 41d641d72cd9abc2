"""Split tables into training, calibration and test rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.data.formulas import anonymise_formula, chemical_system

TRAIN, CALIBRATION, TEST = "train", "calibration", "test"


def hash_formulas(formulas: Iterable[str], *, seed: int = 0) -> NDArray[np.float64]:
    """Map each formula to a number in [0, 1), uniform over formulas and equal for equal ones.

    The number is a hash of the text. Therefore a split is the same in every table, order and
    process, and rows with one formula (polymorphs, other databases) are never separated.
    """
    cache: dict[str, float] = {}
    salt = str(seed).encode()
    values = []
    for formula in formulas:
        if formula not in cache:
            digest = hashlib.blake2b(formula.encode(), digest_size=8, key=salt).digest()
            # 53 bits, so that every value is exact in float64 and below 1
            cache[formula] = (int.from_bytes(digest, "big") >> 11) / 2**53
        values.append(cache[formula])
    return np.array(values)


def split_by_formula(
    formulas: Iterable[str], *, calibration: float = 0.1, test: float = 0.1, seed: int = 0
) -> NDArray[np.str_]:
    """Assign each row, (n,), to "train", "calibration" (early stopping, intervals) or "test".

    >>> split_by_formula(["ClNa", "ClNa", "O2Ti"]).tolist()
    ['train', 'train', 'train']
    """
    u = hash_formulas(formulas, seed=seed)
    return np.where(u < test, TEST, np.where(u < test + calibration, CALIBRATION, TRAIN))


SPLITS = ("random", "formula", "chemical_system", "prototype")
"""What rows of one group have in common: nothing, the formula, the set of elements, or anonymous
formula and space group. Groups are never divided. In our measurements the splits become harder
in this order."""


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation: 1 / n of the groups test, a tenth of the rest calibrates."""

    how: str
    """One of SPLITS."""
    number: int
    """Number of the fold, 0..n - 1."""
    n: int = 5

    def roles(self, frame: pd.DataFrame) -> NDArray[np.str_]:
        """Return (m,), the role of each row of a table with formula, space_group and id."""
        return self._assign_roles(_find_groups(frame, self.how))

    def roles_of_formulas(
        self, formulas: Iterable[str], frame: pd.DataFrame, roles: NDArray[np.str_]
    ) -> NDArray[np.str_]:
        """Return the role of each of m formulas without a structure, (m,).

        A formula gets the role "test" if it (or, with "chemical_system", its chemical system) is
        in a row of ``frame`` outside the training set; ``roles`` are the roles of these rows.
        """
        key_of = chemical_system if self.how == "chemical_system" else str
        held_out = {key_of(formula) for formula in frame["formula"][roles != TRAIN]}
        return np.array([TEST if key_of(formula) in held_out else TRAIN for formula in formulas])

    def _assign_roles(self, groups: list[str]) -> NDArray[np.str_]:
        test = (hash_formulas(groups, seed=0) * self.n).astype(int) == self.number
        calibration = hash_formulas(groups, seed=1) < 0.1
        return np.where(test, TEST, np.where(calibration, CALIBRATION, TRAIN))


def _find_groups(frame: pd.DataFrame, how: str) -> list[str]:
    if how == "random":
        # with the row number, since different databases may use the same ids
        return [f"{name} {row}" for row, name in enumerate(frame["id"])]
    formulas = frame["formula"].astype(str)
    if how == "formula":
        return list(formulas)
    if how == "chemical_system":
        return [chemical_system(formula) for formula in formulas]
    pairs = zip(formulas, frame["space_group"], strict=True)
    return [f"{anonymise_formula(formula)} {group}" for formula, group in pairs]
