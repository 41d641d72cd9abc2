"""Boosted trees as plain arrays: what is kept of them, and how rows go down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from matlode.errors import ArtefactError

LEAF = -1
"""In place of the feature of a node that decides nothing."""
_ROWS_AT_ONCE = 32
"""Their features fill the first cache."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Boosted trees of one output: ``base`` and the sum of the leaves that a row falls into.

    Nodes lie breadth first, one tree behind the other, so that the children of the k-th inner
    node of a tree are its nodes 2k + 1 and 2k + 2. A row goes to the first of them if its
    feature is below the node's value.
    """

    features: NDArray[np.int16]
    """(n_nodes,), the column that a node looks at, LEAF for a leaf."""
    values: NDArray[np.float32]
    """(n_nodes,), thresholds, and what leaves add."""
    roots: NDArray[np.int32]
    """(n_trees,), where each tree begins."""
    base: float
    logistic: bool
    """Whether the sum is the logit of a chance."""

    def predict(self, rows: NDArray[np.floating], *, logits: bool = False) -> NDArray[np.float64]:
        """Predictions (n,) for feature rows (n, n_columns); ``logits`` in place of chances.

        Raises ArtefactError for rows of fewer columns than the trees look at.
        """
        rows = np.ascontiguousarray(rows, np.float32)
        if self.features.max(initial=LEAF) >= rows.shape[1]:
            raise ArtefactError(
                f"the trees look at column {self.features.max()}, "
                f"the rows have {rows.shape[1]}; the model belongs to other features."
            )
        found = np.full(len(rows), self.base)
        _add_leaves(rows, *self._paths, self.values, self.roots, found)
        return 1 / (1 + np.exp(-found)) if self.logistic and not logits else found

    @cached_property
    def _paths(self) -> tuple[NDArray[Any], ...]:
        """Column, threshold and first child of each node, and the depth of each tree; leaves
        lead to themselves, so that every row may take as many steps as a tree is deep."""
        inner = self.features != LEAF
        rank = np.cumsum(inner) - inner  # inner nodes before
        starts = np.repeat(self.roots, np.diff(self.roots, append=len(inner)))
        children = starts + 2 * (rank - rank[starts]) + 1
        depths = np.zeros(len(self.roots), np.int32)
        trees, nodes = np.arange(len(self.roots)), self.roots[:, None]
        while len(nodes := nodes.ravel()[goes_on := inner[nodes.ravel()]]):
            trees = np.repeat(trees[goes_on], 2)
            depths[trees] += 1
            nodes = children[nodes, None] + [0, 1]
        return (
            np.where(inner, self.features, 0).astype(np.int16),
            np.where(inner, self.values, np.inf).astype(np.float32),
            np.where(inner, children, np.arange(len(inner))).astype(np.int32),
            depths,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What an artefact keeps, by name."""
        return {
            "features": self.features,
            "values": self.values,
            "roots": self.roots,
            "base": np.array([self.base]),
            "logistic": np.array([self.logistic]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Forest:
        """Read back what ``arrays`` gave; raises ArtefactError for what are no trees."""
        try:
            features, roots = arrays["features"].astype(np.int16), arrays["roots"].astype(np.int32)
            values = arrays["values"].astype(np.float32)
            found = cls(features, values, roots, float(arrays["base"][0]),
                        bool(arrays["logistic"][0]))  # fmt: skip
        except (KeyError, IndexError, ValueError) as error:
            raise ArtefactError(f"not a model of boosted trees ({error!r}).") from error
        found._check()
        return found

    def _check(self) -> None:
        """That no row can be led out of its tree."""
        n_nodes = np.diff(self.roots, append=len(self.features))
        fits = (
            self.features.shape == self.values.shape
            and self.features.ndim == self.roots.ndim == 1
            and len(self.roots) > 0
            and self.roots[0] == 0
            and bool((n_nodes > 0).all())
            and bool((self.features >= LEAF).all())
        )
        if fits:
            n_inner = np.add.reduceat((self.features != LEAF).astype(np.int64), self.roots)
            fits = bool((n_nodes == 2 * n_inner + 1).all())
        if not fits:
            raise ArtefactError(
                "the trees are damaged: not every inner node has two children in its tree."
            )


@njit(cache=True, nogil=True)
def _add_leaves(rows, columns, thresholds, children, depths, values, roots, out):
    """Steps of many rows down one tree, without a branch in them: the processor takes several
    at once (per core a third faster than XGBoost's own). Not numba's parallel loops: they set
    the threads of torch too, and with them its last digits."""
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        n = min(_ROWS_AT_ONCE, len(rows) - first)
        nodes = np.empty(n, np.int32)
        for tree in range(len(roots)):
            nodes[:] = roots[tree]
            for _ in range(depths[tree]):
                for row in range(n):
                    node = nodes[row]
                    right = rows[first + row, columns[node]] >= thresholds[node]
                    nodes[row] = children[node] + np.int32(right)
            for row in range(n):
                out[first + row] += values[nodes[row]]
