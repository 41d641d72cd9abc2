"""Which rows may be learned from and which only measure, decided by formula."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

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
