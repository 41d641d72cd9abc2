"""A measured pattern with the calculated ones of known phases laid over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.errors import InputError
from matlode.report.drawing import COLOURS, TRUE, pyplot

ENDINGS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Overlay:
    """A calculated profile."""

    name: str
    profile: NDArray[np.float64]
    """(n,), on the scale of the observed one."""
    lines_deg: NDArray[np.float64]
    """(m,), where its lines are."""


def check_ending(path: Path) -> None:
    """Raises InputError for a file that figures are not saved as."""
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f'figures are not saved as "{path.suffix}"; use {", ".join(ENDINGS)}.')


def draw_matches(
    path: Path,
    two_theta_deg: NDArray[np.float64],
    observed: NDArray[np.float64],
    overlays: Sequence[Overlay],
    *,
    title: str,
) -> Path:
    """Draw the observed profile (n,), the calculated ones, their sum, the difference, and the lines
    of all as ticks; the file's ending says what it is saved as."""
    check_ending(path)
    plt = pyplot()
    n = len(overlays)
    figure, (axes, ticks) = plt.subplots(
        2, 1, figsize=(9, 5 + 0.22 * n), sharex=True, layout="constrained",
        height_ratios=(10, max(n, 1)),
    )  # fmt: skip
    axes.plot(two_theta_deg, observed, color=TRUE, lw=0.8, label="observed")
    for number, overlay in enumerate(overlays):
        colour = COLOURS[(number + 1) % len(COLOURS)]
        axes.plot(two_theta_deg, overlay.profile, color=colour, lw=0.9, label=overlay.name)
    left = observed - sum(overlay.profile for overlay in overlays)
    axes.plot(two_theta_deg, left - 0.3, color=COLOURS[-1], lw=0.6, label="difference")
    axes.set(ylabel="intensity, strongest 1", title=title)
    axes.legend(frameon=False)
    for number, overlay in enumerate(overlays):
        colour = COLOURS[(number + 1) % len(COLOURS)]
        ticks.vlines(overlay.lines_deg, -number - 0.35, -number + 0.35, color=colour, lw=0.7)
    ticks.set_yticks([-i for i in range(n)], [overlay.name for overlay in overlays], fontsize=7)
    ticks.set(ylim=(-n + 0.4, 0.6), xlabel="2θ / °, Cu Kα", xlim=two_theta_deg[[0, -1]])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path
