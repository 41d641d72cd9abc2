"""Find duplicate crystals: same formula, same space group, same powder pattern."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.data.batches import split_range
from matlode.data.crystals import Crystals
from matlode.errors import PatternError
from matlode.representation.diffraction import simulate_patterns

SAME_PATTERN_COSINE = 0.998
"""Smallest cosine similarity of the square roots of intensities of duplicates.

Of 1,500 pairs with the same formula and space group from four databases, 92 reach it. pymatgen's
StructureMatcher considers all of them equal, and their volumes differ by at most 0.1 %. With 0.99
it considers 4 of 174 pairs different, with 0.95 12 of 326. Converting a crystal to another cell
changes the cosine by less than 3e-5.
"""
PATTERNS_AT_ONCE = 4096
"""Number of patterns in memory: 26 MB."""


@dataclass(frozen=True)
class Duplicate:
    """A crystal that duplicates another one."""

    row: int
    of: int
    """Row of the crystal that is kept."""
    cosine: float
    """Cosine similarity of the square roots of intensities."""


def find_duplicates(
    crystals: Crystals,
    formulas: Sequence[str] | pd.Series[str],
    space_groups: Sequence[int] | pd.Series[int] | NDArray[np.int64],
    n_labels: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    threshold: float = SAME_PATTERN_COSINE,
) -> list[Duplicate]:
    """Return the rows whose formula, space group and pattern equal those of a row that is kept.

    ``formulas``, ``space_groups`` and ``n_labels`` (numbers of labels, default: 0) are (n,). Of
    two equal rows the one with more labels is kept, else the first one; no two kept rows are
    equal. The result does not depend on the choice of the cell. Crystals without a pattern (no
    reflection, no scattering factor) are never duplicates.
    """
    labels = np.zeros(len(crystals), np.int64) if n_labels is None else np.asarray(n_labels)
    groups = [
        rows[np.lexsort((rows, -labels[rows]))] for rows in _find_groups(formulas, space_groups)
    ]
    found: list[Duplicate] = []
    for batch in _batch_groups(groups):
        if len(batch) == 1:
            found += _find_equal(_simulate_blocks(crystals, batch[0]), threshold)
            continue
        rows = np.concatenate(batch)
        roots = compute_pattern_roots(crystals.take(rows))
        ends = np.cumsum([len(group) for group in batch])
        for group, mine in zip(batch, np.split(roots, ends[:-1]), strict=True):
            found += _find_equal([(group, mine)], threshold)
    return sorted(found, key=lambda duplicate: duplicate.row)


def _simulate_blocks(
    crystals: Crystals, rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    for part in split_range(len(rows), PATTERNS_AT_ONCE):
        block = rows[part]
        yield block, compute_pattern_roots(crystals.take(block))


def _find_equal(
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]], threshold: float
) -> Iterator[Duplicate]:
    """Yield the rows that equal a previous row that is kept.

    ``blocks`` are rows in order of preference, and the square roots of their patterns. Only kept
    rows are stored, so that many equal rows need little memory and time.
    """
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


def _find_groups(
    formulas: Sequence[str] | pd.Series[str],
    space_groups: Sequence[int] | pd.Series[int] | NDArray[np.int64],
) -> list[NDArray[np.int64]]:
    """Return groups of at least two rows with the same formula and space group."""
    names, groups = pd.factorize(np.asarray(formulas, dtype=object))[0], np.asarray(space_groups)
    # space-group numbers have at most three digits
    keys = 1000 * names.astype(np.int64) + groups.astype(np.int64)
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.diff(keys[order], prepend=-1, append=-1))
    several = np.flatnonzero(np.diff(bounds) > 1)
    return [order[bounds[at] : bounds[at + 1]] for at in several]


def _batch_groups(groups: list[NDArray[np.int64]]) -> Iterator[list[NDArray[np.int64]]]:
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


def compute_pattern_roots(crystals: Crystals) -> NDArray[np.float32]:
    """Return (n, n_points), square roots of intensity scaled to norm 1.

    Rows of crystals without a pattern (no reflection, no scattering factor) are 0.
    """
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
