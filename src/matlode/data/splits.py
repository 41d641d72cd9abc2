"""Which rows may be learned from and which only measure, decided by formula."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.data.formulas import anonymous_formula, chemical_system

TRAIN, CALIBRATION, TEST = "train", "calibration", "test"


def formula_fractions(formulas: Iterable[str], *, seed: int = 0) -> NDArray[np.float64]:
    """A number in [0, 1) per formula: uniform over formulas, equal for equal ones.

    It hashes the text, so a split is the same in every table, order and process, and rows
    of one formula (polymorphs, other databases) are never torn apart.
    """
    cache: dict[str, float] = {}
    salt = str(seed).encode()
    values = []
    for formula in formulas:
        if formula not in cache:
            digest = hashlib.blake2b(formula.encode(), digest_size=8, key=salt).digest()
            # 53 bits: every value is a float64 below 1
            cache[formula] = (int.from_bytes(digest, "big") >> 11) / 2**53
        values.append(cache[formula])
    return np.array(values)


def split_by_formula(
    formulas: Iterable[str], *, calibration: float = 0.1, test: float = 0.1, seed: int = 0
) -> NDArray[np.str_]:
    """Role of each row, (n,): "train", "calibration" (early stopping, intervals) or "test".

    >>> split_by_formula(["ClNa", "ClNa", "O2Ti"]).tolist()
    ['train', 'train', 'train']
    """
    u = formula_fractions(formulas, seed=seed)
    return np.where(u < test, TEST, np.where(u < test + calibration, CALIBRATION, TRAIN))


SPLITS = ("random", "formula", "chemical_system", "prototype")
"""What two rows must share to stay on one side: nothing, the formula, the set of elements, or
anonymous formula and space group. In this order they get harder, the last two as it happens."""


@dataclass(frozen=True)
class Fold:
    """One of ``n`` parts of a cross-validation: it tests, a tenth of the rest calibrates."""

    how: str
    """One of SPLITS."""
    number: int
    """0..n - 1."""
    n: int = 5

    def roles(self, frame: pd.DataFrame) -> NDArray[np.str_]:
        """(n,), role of each row of a table with formula, space_group and id."""
        return self._roles(_groups(frame, self.how))

    def roles_of_formulas(
        self, formulas: Iterable[str], frame: pd.DataFrame, roles: NDArray[np.str_]
    ) -> NDArray[np.str_]:
        """The same for formulas without a structure.

        Formulas, and with "chemical_system" systems, that ``frame`` has outside the training
        rows are not learned from: they get the role "test".
        """
        kin = chemical_system if self.how == "chemical_system" else str
        held = {kin(formula) for formula in frame["formula"][roles != TRAIN]}
        return np.array([TEST if kin(formula) in held else TRAIN for formula in formulas])

    def _roles(self, groups: list[str]) -> NDArray[np.str_]:
        test = (formula_fractions(groups, seed=0) * self.n).astype(int) == self.number
        calibration = formula_fractions(groups, seed=1) < 0.1
        return np.where(test, TEST, np.where(calibration, CALIBRATION, TRAIN))


def _groups(frame: pd.DataFrame, how: str) -> list[str]:
    if how == "random":
        # ids repeat between databases
        return [f"{name} {row}" for row, name in enumerate(frame["id"])]
    formulas = frame["formula"].astype(str)
    if how == "formula":
        return list(formulas)
    if how == "chemical_system":
        return [chemical_system(formula) for formula in formulas]
    pairs = zip(formulas, frame["space_group"], strict=True)
    return [f"{anonymous_formula(formula)} {group}" for formula, group in pairs]
