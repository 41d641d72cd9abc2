"""Boosted trees as plain arrays: storage and prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import NDArray

from matlode.errors import ArtefactError

LEAF = -1
"""Marks a leaf in the array of features."""
_ROWS_AT_ONCE = 32
"""Rows that go through a tree together; their features fill the first-level cache."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Boosted trees with one output: ``base`` plus the values of the leaves that a row reaches.

    Nodes are stored breadth first, tree after tree, so the children of the k-th inner node of a
    tree are its nodes 2k + 1 and 2k + 2. A row goes to the first child if its feature is below
    the threshold of the node.
    """

    features: NDArray[np.int16]
    """(n_nodes,), column that an inner node compares, LEAF for a leaf."""
    values: NDArray[np.float32]
    """(n_nodes,), thresholds of inner nodes and values of leaves."""
    roots: NDArray[np.int32]
    """(n_trees,), index of the root of each tree."""
    base: float
    """Added to the sum of the leaves."""
    logistic: bool
    """Whether the sum is the logit of a probability."""

    def predict(self, rows: NDArray[np.floating], *, logits: bool = False) -> NDArray[np.float64]:
        """Predictions (n,) for feature rows (n, n_columns).

        A logistic forest returns probabilities, or with ``logits`` their logits. Raises
        ArtefactError if the rows have fewer columns than the trees use.
        """
        rows = np.ascontiguousarray(rows, np.float32)
        if self.features.max(initial=LEAF) >= rows.shape[1]:
            raise ArtefactError(
                f"the trees use feature column {self.features.max()}, but the rows have "
                f"{rows.shape[1]} columns; the model was trained on other features."
            )
        found = np.full(len(rows), self.base)
        _add_leaves(rows, *self._paths, self.values, self.roots, found)
        return 1 / (1 + np.exp(-found)) if self.logistic and not logits else found

    @cached_property
    def _paths(
        self,
    ) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
        """Column, threshold and first child of each node, and the depth of each tree. A leaf is
        its own child, so every row can take as many steps as the tree is deep."""
        inner = self.features != LEAF
        rank = np.cumsum(inner) - inner  # number of inner nodes before
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

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Arrays by name, as an artefact stores them."""
        return {
            "features": self.features,
            "values": self.values,
            "roots": self.roots,
            "base": np.array([self.base]),
            "logistic": np.array([self.logistic]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> Forest:
        """Create a forest from what ``arrays`` returned.

        Raises ArtefactError if the arrays do not describe complete trees.
        """
        try:
            features, roots = arrays["features"].astype(np.int16), arrays["roots"].astype(np.int32)
            values = arrays["values"].astype(np.float32)
            found = cls(features, values, roots, float(arrays["base"][0]),
                        bool(arrays["logistic"][0]))  # fmt: skip
        except (KeyError, IndexError, ValueError) as error:
            raise ArtefactError(
                f"the arrays are not those of boosted trees ({error!r})."
            ) from error
        found._check()
        return found

    def _check(self) -> None:
        """Raise ArtefactError if a row could leave its tree."""
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
                "the trees are damaged: an inner node does not have two children in its tree."
            )


@njit(cache=True, nogil=True)
def _add_leaves(rows, columns, thresholds, children, depths, values, roots, out):
    """Add the values of the leaves that each row reaches.

    Many rows go through one tree without branches, so the processor executes several steps at
    once (a third faster per core than XGBoost). Numba's parallel loops are not used: they also
    set the number of threads of PyTorch, which changes its last digits.
    """
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
