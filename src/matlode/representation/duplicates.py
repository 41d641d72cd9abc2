"""The same crystal twice: same formula, same space group, same powder pattern."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.errors import PatternError
from matlode.representation.diffraction import simulate_patterns

SAME_PATTERN_COSINE = 0.998
"""From this cosine of the square roots of intensities on, two crystals are one.

Of 1,500 pairs of formula and space group in common, drawn from four databases, 92 reach it:
pymatgen's StructureMatcher calls all of them equal, and their volumes differ by 0.1 % at most.
At 0.99 it denies 4 of 174, at 0.95 12 of 326. Writing a crystal in another cell costs less than
3e-5.
"""
PATTERNS_AT_ONCE = 4096
"""Patterns in memory: 26 MB."""


@dataclass(frozen=True)
class Pair:
    """Two crystals of one formula and space group whose patterns agree."""

    first: int
    """Row, the smaller one."""
    second: int
    cosine: float


def duplicate_pairs(
    crystals: Crystals,
    formulas: Sequence[str] | pd.Series[str],
    space_groups: Sequence[int] | pd.Series[int] | NDArray[np.int64],
    *,
    threshold: float = SAME_PATTERN_COSINE,
) -> list[Pair]:
    """All pairs of rows that are the same crystal; formulas and space groups are (n,).

    Neither the order of rows nor the choice of cell changes which crystals pair. Crystals
    without a pattern (no reflection, no scattering factor) pair with none.
    """
    pairs = []
    for batch in _batches(_groups(formulas, space_groups)):
        rows = np.concatenate(batch)
        roots = pattern_roots(crystals.take(rows))
        start = 0
        for group in batch:
            mine = roots[start : start + len(group)]
            start += len(group)
            cosines = mine @ mine.T
            for one, other in np.argwhere(np.triu(cosines >= threshold, k=1)):
                pairs.append(Pair(int(group[one]), int(group[other]), float(cosines[one, other])))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def choose_keepers(pairs: list[Pair], n_labels: NDArray[np.int64]) -> dict[int, Pair]:
    """Rows to drop, each with its pair: the other row of the pair is kept.

    Of two equal rows the one with more labels stays, else the earlier. No two rows that stay
    are a pair.
    """
    partners: dict[int, list[Pair]] = {}
    for pair in pairs:
        partners.setdefault(pair.first, []).append(pair)
        partners.setdefault(pair.second, []).append(pair)
    dropped: dict[int, Pair] = {}
    for row in sorted(partners, key=lambda row: (-int(n_labels[row]), row)):
        if row in dropped:
            continue
        for pair in partners[row]:
            other = pair.second if pair.first == row else pair.first
            dropped.setdefault(other, pair)
    return dropped


def _groups(
    formulas: Sequence[str] | pd.Series[str],
    space_groups: Sequence[int] | pd.Series[int] | NDArray[np.int64],
) -> list[NDArray[np.int64]]:
    """Rows with formula and space group in common, two or more."""
    names, groups = pd.factorize(np.asarray(formulas, dtype=object))[0], np.asarray(space_groups)
    # numbers of space groups have three digits
    keys = 1000 * names.astype(np.int64) + groups.astype(np.int64)
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.diff(keys[order], prepend=-1, append=-1))
    several = np.flatnonzero(np.diff(bounds) > 1)
    return [order[bounds[at] : bounds[at + 1]] for at in several]


def _batches(groups: list[NDArray[np.int64]]) -> Iterator[list[NDArray[np.int64]]]:
    batch: list[NDArray[np.int64]] = []
    n_rows = 0
    for group in groups:
        if batch and n_rows + len(group) > PATTERNS_AT_ONCE:
            yield batch
            batch, n_rows = [], 0
        batch.append(group)
        n_rows += len(group)
    if batch:
        yield batch


def pattern_roots(crystals: Crystals) -> NDArray[np.float32]:
    """(n, n_points), square roots of intensity scaled to length 1; 0 for crystals without a pattern
    (no reflection, no scattering factor)."""
    rows = np.arange(len(crystals))
    patterns = np.zeros((0, 0), np.float32)
    while len(rows):
        try:
            patterns = simulate_patterns(crystals.take(rows))
            break
        except PatternError as error:
            rows = np.delete(rows, list(error.indices))
    roots = np.zeros((len(crystals), patterns.shape[1]), np.float32)
    if len(rows):
        roots[rows] = np.sqrt(patterns)
        roots[rows] /= np.linalg.norm(roots[rows], axis=1, keepdims=True)
    return roots
