"""Figures of a hyper-parameter search: its history and the importance of the hyper-parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.report.drawing import IMAGE, TRUE, pyplot

GREY = "#9aa5b1"


def draw_history(
    path: Path,
    numbers: NDArray[np.integer],
    values: NDArray[np.floating],
    *,
    pruned: NDArray[np.integer],
    start: float | None,
    start_name: str,
    measure: str,
) -> None:
    """Plot the values (n,) of the finished trials, the best value so far, the pruned trials (ticks)
    and the value of the first trial; write a PNG file."""
    figure, axis = pyplot().subplots(figsize=(6, 3.6), layout="constrained")
    axis.scatter(numbers, values, s=14, color=TRUE, label="finished", zorder=3)
    best = np.minimum.accumulate(values)
    axis.step(numbers, best, where="post", color=IMAGE, label="best so far")
    # limited range: a few poor trials would compress all others
    top = max(float(np.quantile(values, 0.75)), start or -np.inf)
    bottom = float(best[-1])
    margin = 0.08 * (top - bottom) or 1e-6
    axis.set_ylim(bottom - 2 * margin, top + margin)
    if len(pruned):
        axis.scatter(
            pruned, np.full(len(pruned), bottom - 1.5 * margin), marker="|", color=GREY,
            label="pruned",
        )  # fmt: skip
    if start is not None:
        axis.axhline(start, color=GREY, lw=0.8, ls="--", label=start_name)
    axis.set(xlabel="trial", ylabel=measure)
    axis.legend(fontsize=7)
    figure.savefig(path, dpi=150)
    pyplot().close(figure)


def draw_importance(path: Path, shares: Mapping[str, float]) -> None:
    """Plot the share of the variance that each hyper-parameter explains; write a PNG file."""
    figure, axis = pyplot().subplots(figsize=(6, 0.6 + 0.28 * len(shares)), layout="constrained")
    names = list(shares)[::-1]
    axis.barh(names, [shares[name] for name in names], color=TRUE)
    axis.set(xlabel="share of the variance")
    axis.tick_params(labelsize=8)
    figure.savefig(path, dpi=150)
    pyplot().close(figure)
