"""Figures of the latent spaces: originals beside their images, and maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import element_symbols
from matlode.report.drawing import IMAGE, SYSTEM_COLOURS, TRUE, pyplot, save_figure


def draw_patterns(
    stem: Path,
    two_theta_deg: NDArray[np.floating],
    truth: NDArray[np.floating],
    images: dict[str, NDArray[np.floating]],
    titles: Sequence[str],
) -> list[Path]:
    """Patterns (n, n_points) and their reconstructions, as ``stem``.png, .svg and .html."""
    plt = pyplot()
    figure, axes = plt.subplots(
        len(truth), len(images), figsize=(5.5 * len(images), 1.5 * len(truth)),
        sharex=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for column, (face, decoded) in enumerate(images.items()):
        for row, axis in enumerate(axes[:, column]):
            axis.plot(two_theta_deg, truth[row], color=TRUE, lw=0.8, label="original")
            axis.plot(two_theta_deg, -decoded[row], color=IMAGE, lw=0.8, label="image, mirrored")
            axis.set_title(f"{titles[row]}, {face}", fontsize=8, loc="left")
            axis.set_yticks([])
        axes[-1, column].set_xlabel("2θ / °")
    axes[0, 0].legend(fontsize=7, loc="upper right")
    traces = [
        {"x": two_theta_deg.tolist(), "y": np.round(sign * y[row] - 2.2 * row, 3).tolist(),
         "mode": "lines", "name": f"{titles[row]}, {name}", "line": {"color": colour, "width": 1}}
        for name, y, sign, colour in [
            ("original", truth, 1, TRUE), *((f, d, -1, IMAGE) for f, d in images.items())
        ]
        for row in range(len(truth))
    ]  # fmt: skip
    return save_figure(figure, stem, traces, "2θ / °", "intensity")


def draw_samples(
    stem: Path,
    two_theta_deg: NDArray[np.floating],
    kinds: dict[str, NDArray[np.floating]],
) -> list[Path]:
    """Patterns (n, n_points) of several kinds side by side, one above the other."""
    plt = pyplot()
    n = max(map(len, kinds.values()))
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(5.0 * len(kinds), 0.22 * n + 1), squeeze=False,
        sharey=True, layout="constrained",
    )  # fmt: skip
    traces = []
    for axis, (name, patterns) in zip(axes[0], kinds.items(), strict=True):
        for row, pattern in enumerate(patterns):
            axis.plot(two_theta_deg, 0.9 * pattern - row, color=TRUE, lw=0.5)
            traces.append(
                {"x": two_theta_deg.tolist(), "y": np.round(0.9 * pattern - row, 3).tolist(),
                 "mode": "lines", "name": name, "line": {"width": 1}}
            )  # fmt: skip
        axis.set_title(name, fontsize=9)
        axis.set_yticks([])
        axis.set_xlabel("2θ / °")
    return save_figure(figure, stem, traces, "2θ / °", "intensity")


def draw_compositions(
    stem: Path,
    truth: NDArray[np.floating],
    images: dict[str, NDArray[np.floating]],
    titles: Sequence[str],
) -> list[Path]:
    """Fractions (n, 100) and their reconstructions by each set of models."""
    plt = pyplot()
    figure, axes = plt.subplots(
        len(truth), len(images), figsize=(5.5 * len(images), 1.3 * len(truth)),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    symbols = np.array(element_symbols())
    traces = []
    for column, (face, decoded) in enumerate(images.items()):
        for row, axis in enumerate(axes[:, column]):
            shown = np.flatnonzero((truth[row] > 0) | (decoded[row] > 0.01))
            at = np.arange(len(shown))
            axis.bar(at - 0.2, truth[row, shown], 0.4, color=TRUE, label="original")
            axis.bar(at + 0.2, decoded[row, shown], 0.4, color=IMAGE, label="image")
            axis.set_xticks(at, symbols[shown], fontsize=7)
            axis.set_title(f"{titles[row]}, {face}", fontsize=8, loc="left")
            for name, y, colour in (("original", truth, TRUE), (face, decoded, IMAGE)):
                traces.append({
                    "type": "bar", "x": symbols[shown].tolist(), "y": y[row, shown].tolist(),
                    "name": f"{titles[row]}, {name}", "marker": {"color": colour},
                })  # fmt: skip
    axes[0, 0].legend(fontsize=7)
    return save_figure(figure, stem, traces, "element", "atomic fraction")


def draw_elements(
    stem: Path, xy: NDArray[np.floating], present: NDArray[np.bool_], names: Sequence[str]
) -> list[Path]:
    """A map (n, 2) for each of the 24 most frequent elements: where it is ``present``
    (n, 100)."""
    plt = pyplot()
    often = np.argsort(-present.sum(axis=0), kind="stable")[:24]
    figure, axes = plt.subplots(4, 6, figsize=(12, 8), layout="constrained")
    traces = []
    for z, axis in zip(often, axes.ravel(), strict=True):
        axis.scatter(*xy.T, s=0.4, color="#d5dbe1", linewidths=0)
        axis.scatter(*xy[present[:, z]].T, s=1.2, color=IMAGE, linewidths=0)
        axis.set_title(element_symbols()[z], fontsize=9)
        axis.set_axis_off()
        traces.append(_trace_scatter(xy, present[:, z], element_symbols()[z], names))
    return save_figure(figure, stem, traces, "t-SNE 1", "t-SNE 2")


def draw_systems(
    stem: Path, xy: NDArray[np.floating], systems: NDArray[np.str_], names: Sequence[str]
) -> list[Path]:
    """A map (n, 2) coloured by crystal system."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(7, 6), layout="constrained")
    traces = []
    for system, colour in SYSTEM_COLOURS.items():
        axis.scatter(*xy[systems == system].T, s=2, color=colour, label=system, linewidths=0)
        traces.append(_trace_scatter(xy, systems == system, system, names, colour))
    axis.legend(markerscale=5, fontsize=8)
    axis.set_axis_off()
    return save_figure(figure, stem, traces, "t-SNE 1", "t-SNE 2")


def _trace_scatter(
    xy: NDArray[np.floating],
    shown: NDArray[np.bool_],
    name: str,
    names: Sequence[str],
    colour: str | None = None,
) -> dict[str, Any]:
    x, y = np.round(xy[shown].T, 2).tolist()
    texts = [text for text, there in zip(names, shown, strict=True) if there]
    marker = {"size": 4, **({"color": colour} if colour else {})}
    return {"type": "scatter", "mode": "markers", "x": x, "y": y, "name": name,
            "text": texts, "marker": marker}  # fmt: skip
