"""The same crystal twice: same formula, same space group, same powder pattern."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
class Duplicate:
    """A crystal that is the same as one that stays."""

    row: int
    of: int
    """The row that stays."""
    cosine: float


def find_duplicates(
    crystals: Crystals,
    formulas: Sequence[str] | pd.Series[str],
    space_groups: Sequence[int] | pd.Series[int] | NDArray[np.int64],
    n_labels: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    threshold: float = SAME_PATTERN_COSINE,
) -> list[Duplicate]:
    """Rows that need not be kept: they have formula, space group and pattern of one that stays.

    Formulas, space groups and numbers of labels (default: none) are (n,). Of two equal rows the
    one with more labels stays, else the earlier; no two rows that stay are equal. The choice of
    cell changes nothing. Crystals without a pattern (no reflection, no scattering factor) equal
    none.
    """
    labels = np.zeros(len(crystals), np.int64) if n_labels is None else np.asarray(n_labels)
    groups = [rows[np.lexsort((rows, -labels[rows]))] for rows in _groups(formulas, space_groups)]
    found: list[Duplicate] = []
    for batch in _batches(groups):
        if len(batch) == 1:
            found += _equal(_in_blocks(crystals, batch[0]), threshold)
            continue
        rows = np.concatenate(batch)
        roots = pattern_roots(crystals.take(rows))
        ends = np.cumsum([len(group) for group in batch])
        for group, mine in zip(batch, np.split(roots, ends[:-1]), strict=True):
            found += _equal([(group, mine)], threshold)
    return sorted(found, key=lambda duplicate: duplicate.row)


def _in_blocks(
    crystals: Crystals, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    for at in range(0, len(rows), PATTERNS_AT_ONCE):
        block = rows[at : at + PATTERNS_AT_ONCE]
        yield block, pattern_roots(crystals.take(block))


def _equal(
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]], threshold: float
) -> Iterator[Duplicate]:
    """Of rows (the first to stay first) and their patterns' roots: each that equals one before it
    that stays. Only those that stay are remembered, so that many equal ones cost little."""
    kept: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    for rows, roots in blocks:
        for kept_rows, kept_roots in kept:
            cosines = roots @ kept_roots.T
            first = (cosines >= threshold).argmax(axis=1)
            best = cosines[np.arange(len(first)), first]
            equal = best >= threshold
            for row, of, cosine in zip(
                rows[equal], kept_rows[first[equal]], best[equal], strict=True
            ):
                yield Duplicate(int(row), int(of), float(cosine))
            rows, roots = rows[~equal], roots[~equal]
        cosines = roots @ roots.T
        stay: list[int] = []
        for at in range(len(rows)):
            equal_to = np.flatnonzero(cosines[at, stay] >= threshold)
            if len(equal_to):
                of = stay[equal_to[0]]
                yield Duplicate(int(rows[at]), int(rows[of]), float(cosines[at, of]))
            else:
                stay.append(at)
        if stay:
            kept.append((rows[stay], roots[stay]))


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
