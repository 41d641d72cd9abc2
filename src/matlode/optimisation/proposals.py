"""What a search proposes: drafts of a block, then the formulas that are evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Draft:
    """What a block may evaluate, before the formulas of other blocks are known."""

    points: NDArray[np.float32]
    """(n, 88), latent points of the sampler."""
    opening: tuple[str, ...] = ()
    """Formulas of the opening, canonical."""
    varied: tuple[str, ...] = ()
    """Variations of the best trials, of which ``n_varied`` are evaluated."""
    n_varied: int = 0


@dataclass(frozen=True)
class Ranking:
    """The formulas of a draft with what the goal prefers."""

    choices: Sequence[Sequence[str]]
    """For each point, its likeliest formulas that have a template, the likeliest first."""
    scores: Mapping[str, float]
    """Formula (of a point, or varied) → score, larger is better."""


@dataclass(frozen=True)
class Proposals:
    """What a block evaluates."""

    points: NDArray[np.float32]
    """(n, 88), latent points; rows of NaN for formulas that come from no point."""
    formulas: tuple[str, ...] | None
    """(n,), canonical and distinct; None for points that are evaluated as decoded."""
    proposers: NDArray[np.int8]
    """(n,), index in PROPOSERS."""
