"""Figures of accuracy: parity, classifiers, confusion, calibration of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.report.drawing import COLOURS, IMAGE, TRUE, pyplot, save_figure

Array = NDArray[np.floating]
GREY = "#9aa5b1"


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One panel of predicted against true values."""

    name: str
    unit: str
    model: str
    truth: Array
    predicted: Array
    inside: NDArray[np.bool_]
    """(n,), whether the 90 % interval contains the truth."""
    scores: Mapping[str, float]
    logarithmic: bool = False


@dataclass(frozen=True)
class Classifier:
    """One line of panels: ROC curves by model, confusion of the first."""

    title: str
    classes: tuple[str, ...]
    """Names of the classes 0 and 1."""
    curves: Mapping[str, Array]
    """model → (2, m), false and true positive rates."""
    scores: Mapping[str, Mapping[str, float]]
    """model → auc, accuracy, f1."""
    confusion: NDArray[np.integer]
    """(2, 2), rows of the table by true and predicted class."""


@dataclass(frozen=True)
class Reliability:
    """Observed frequencies of predicted probabilities."""

    chance: Array
    """(n_bins,), mean predicted probability."""
    share: Array
    """(n_bins,), observed frequency."""
    error: Array
    """(n_bins,), standard error of ``share``."""
    brier: float


def draw_parity(stem: Path, panels: Sequence[Parity]) -> list[Path]:
    """Panels in lines of four; points outside their 90 % interval in another colour."""
    from matplotlib.ticker import LogLocator, NullLocator

    figure, axes = _make_grid(len(panels), 4, 2.9)
    traces = []
    for panel, axis in zip(panels, axes, strict=True):
        kinds = ((panel.inside, TRUE, "inside"), (~panel.inside, IMAGE, "outside"))
        for rows, colour, name in kinds:
            x, y = panel.truth[rows], panel.predicted[rows]
            size = float(np.clip(1500 / len(panel.truth), 0.6, 4))
            axis.scatter(x, y, s=size, color=colour, linewidths=0, alpha=0.6, rasterized=True)
            traces.append(_trace_points(x, y, f"{panel.name}, {panel.model}, {name}", colour))
        both = np.concatenate([panel.truth, panel.predicted])
        if panel.logarithmic:
            both = both[both > 0]
            axis.set(xscale="log", yscale="log")
            for scale in (axis.xaxis, axis.yaxis):
                scale.set_major_locator(LogLocator(subs=(1, 2, 5)))
                scale.set_major_formatter("{x:g}")
                scale.set_minor_locator(NullLocator())
        low, high = np.quantile(both, [0.0005, 0.9995])
        axis.plot([low, high], [low, high], color=GREY, lw=0.8, zorder=0)
        axis.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
        unit = f" / {panel.unit}" if panel.unit else ""
        axis.set_title(f"{panel.name}{unit}, {panel.model}", fontsize=8)
        axis.text(
            0.04, 0.96, _write_parity_note(panel), transform=axis.transAxes, va="top", fontsize=6.5
        )
        axis.tick_params(labelsize=6)
    figure.supxlabel("true", fontsize=9)
    figure.supylabel("predicted", fontsize=9)
    # many panels still make a small picture
    dpi = 110 if len(panels) <= 8 else 80
    return save_figure(figure, stem, traces, "true", "predicted", dpi=dpi)


def _write_parity_note(panel: Parity) -> str:
    ln = "_ln" if panel.logarithmic else ""
    of_ln = " of ln" if ln else ""
    return (
        f"n = {len(panel.truth):,}\n"
        f"MAE{of_ln} {panel.scores[f'mae{ln}']:.3g}\n"
        f"R²{of_ln} {panel.scores[f'r2{ln}']:.3f}\n"
        f"in 90 % interval: {panel.scores['coverage']:.1%}"
    )


def draw_classifiers(stem: Path, classifiers: Sequence[Classifier]) -> list[Path]:
    """ROC curves beside the confusion matrix at one half, a line per classifier."""
    figure, axes = pyplot().subplots(
        len(classifiers), 2, figsize=(7.5, 3.4 * len(classifiers)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    traces = []
    for line, classifier in zip(axes, classifiers, strict=True):
        for (model, (x, y)), colour in zip(classifier.curves.items(), COLOURS, strict=False):
            label = f"{model}: AUC {classifier.scores[model]['auc']:.3f}"
            line[0].plot(x, y, color=colour, lw=1.2, label=label)
            traces.append(_trace_line(x, y, f"{classifier.title}, {label}", colour))
        line[0].plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        line[0].set(xlabel="false positive rate", ylabel="true positive rate", box_aspect=1)
        line[0].set_title(classifier.title, fontsize=10)
        line[0].legend(fontsize=7, loc="lower right")
        _draw_confusion(line[1], classifier)
    return save_figure(figure, stem, traces, "false positive rate", "true positive rate")


def _draw_confusion(axis: Any, classifier: Classifier) -> None:
    counts = classifier.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(2, 2):
        ink = "white" if shares[i, j] > 0.5 else TRUE
        text = f"{counts[i, j]:,}\n{shares[i, j]:.1%}"
        axis.text(j, i, text, ha="center", va="center", color=ink, fontsize=9)
    axis.set_xticks([0, 1], classifier.classes, fontsize=8)
    axis.set_yticks([0, 1], classifier.classes, fontsize=8, rotation=90, va="center")
    axis.set(xlabel="predicted", ylabel="true")
    model, scores = next(iter(classifier.scores.items()))
    axis.set_title(f"{model}: accuracy {scores['accuracy']:.3f}, F1 {scores['f1']:.3f}", fontsize=7)


def draw_confusions(
    stem: Path, matrices: Mapping[str, NDArray[np.integer]], classes: Sequence[str] = ()
) -> list[Path]:
    """Confusion matrices side by side, counts of rows by true and predicted class.

    With ``classes`` named: shares of each true class, written in. Without (space groups): the
    colour is the logarithm of the count.
    """
    from matplotlib.colors import LogNorm

    figure, axes = pyplot().subplots(
        1, len(matrices), figsize=(5.2 * len(matrices), 4.9), squeeze=False, layout="constrained"
    )
    traces, image = [], None
    for (name, counts), axis in zip(matrices.items(), axes[0], strict=True):
        if classes:
            shown = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            image = axis.imshow(shown, cmap="Blues", vmin=0, vmax=1)
            _write_shares(axis, shown, classes)
        else:
            shown = np.where(counts > 0, counts, np.nan)
            limits = (0.5, len(counts) + 0.5, len(counts) + 0.5, 0.5)
            norm = LogNorm(1, max(int(m.max()) for m in matrices.values()))
            image = axis.imshow(shown, cmap="viridis_r", norm=norm, extent=limits,
                                interpolation="nearest")  # fmt: skip
        axis.set_title(name, fontsize=10)
        axis.set(xlabel="predicted", ylabel="true")
        traces.append(_trace_heat_map(shown, name, classes))
    label = "share of the true class" if classes else "rows"
    figure.colorbar(image, ax=axes[0, -1], shrink=0.8, label=label)
    return save_figure(figure, stem, traces, "predicted", "true")


def _write_shares(axis: Any, shares: Array, classes: Sequence[str]) -> None:
    for i, j in np.ndindex(*shares.shape):
        ink = "white" if shares[i, j] > 0.5 else TRUE
        axis.text(j, i, f"{shares[i, j]:.2f}", ha="center", va="center", color=ink, fontsize=8)
    at = range(len(classes))
    axis.set_xticks(at, classes, rotation=40, ha="right", fontsize=8)
    axis.set_yticks(at, classes, fontsize=8)


def draw_characteristics(
    stem: Path, names: Sequence[str], kinds: Mapping[str, Array]
) -> list[Path]:
    """Distributions of characteristics (n, len(names)) of several kinds of patterns, over the
    range of the middle 99 % of them all."""
    figure, axes = _make_grid(len(names), 5, 2.1)
    traces = []
    for column, (name, axis) in enumerate(zip(names, axes, strict=True)):
        ends = [np.quantile(values[:, column], [0.005, 0.995]) for values in kinds.values()]
        low, high = min(end[0] for end in ends), max(end[1] for end in ends)
        edges = np.linspace(low, high if high > low else low + 1, 41)
        for (kind, values), colour in zip(kinds.items(), COLOURS, strict=False):
            density, _ = np.histogram(values[:, column], edges, density=True)
            axis.stairs(density, edges, color=colour, lw=1.0, label=kind)
            middle = (edges[1:] + edges[:-1]) / 2
            traces.append(_trace_line(middle, density, f"{name}, {kind}", colour))
        axis.set_title(name, fontsize=7)
        axis.tick_params(labelsize=6)
        axis.xaxis.get_offset_text().set_fontsize(6)
        axis.set_yticks([])
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=len(kinds))
    return save_figure(figure, stem, traces, "value", "density", dpi=110)


def draw_reliability(
    stem: Path, classifiers: Mapping[str, Mapping[str, Reliability]]
) -> list[Path]:
    """Observed against predicted frequency, a panel per classifier, a curve per case."""
    figure, axes = _make_grid(len(classifiers), 3, 3.0)
    traces = []
    for (title, cases), axis in zip(classifiers.items(), axes, strict=True):
        axis.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        for (case, curve), colour in zip(cases.items(), COLOURS, strict=False):
            label = f"{case}: Brier {curve.brier:.3f}"
            axis.errorbar(curve.chance, curve.share, curve.error, color=colour, marker="o", ms=3,
                          lw=1, label=label)  # fmt: skip
            traces.append(_trace_line(curve.chance, curve.share, f"{title}, {label}", colour))
        axis.set_title(title, fontsize=9)
        axis.legend(fontsize=7, loc="upper left")
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), box_aspect=1)
        axis.tick_params(labelsize=7)
    figure.supxlabel("predicted probability", fontsize=9)
    figure.supylabel("observed frequency", fontsize=9)
    return save_figure(figure, stem, traces, "predicted probability", "observed frequency")


def draw_coverage(
    stem: Path, levels: Array, properties: Mapping[str, Mapping[str, Array]]
) -> list[Path]:
    """Observed against nominal coverage of intervals, a panel per property, a curve per case."""
    figure, axes = _make_grid(len(properties), 4, 2.4)
    traces = []
    for (title, cases), axis in zip(properties.items(), axes, strict=True):
        axis.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        for (case, observed), colour in zip(cases.items(), COLOURS, strict=False):
            axis.plot(levels, observed, color=colour, marker="o", ms=2.5, lw=1, label=case)
            traces.append(_trace_line(levels, observed, f"{title}, {case}", colour))
        axis.set_title(title, fontsize=8)
        axis.set(xlim=(0, 1.02), ylim=(0, 1.02), box_aspect=1)
        axis.tick_params(labelsize=7)
    axes[0].legend(fontsize=7, loc="lower right")
    figure.supxlabel("nominal coverage", fontsize=9)
    figure.supylabel("observed coverage", fontsize=9)
    return save_figure(figure, stem, traces, "nominal coverage", "observed coverage", dpi=120)


def draw_abstention(stem: Path, accuracies: Mapping[str, Array]) -> list[Path]:
    """Accuracy among the surest k of n rows (n,), against their share k / n."""
    figure, axis = pyplot().subplots(figsize=(6, 4), layout="constrained")
    traces = []
    for (name, accuracy), colour in zip(accuracies.items(), COLOURS, strict=False):
        share = np.arange(1, len(accuracy) + 1) / len(accuracy)
        # of the first few rows an accuracy says nothing
        kept = np.unique(np.linspace(len(accuracy) // 50, len(accuracy) - 1, 400).astype(int))
        axis.plot(share[kept], accuracy[kept], color=colour, lw=1.2, label=name)
        traces.append(_trace_line(share[kept], accuracy[kept], name, colour))
    axis.axvline(0.5, color=GREY, lw=0.8, ls="--")
    axis.set(xlabel="share of rows answered, surest first", ylabel="accuracy of the space group",
             xlim=(0, 1), ylim=(None, 1.01))  # fmt: skip
    axis.legend(fontsize=8, loc="lower left")
    return save_figure(figure, stem, traces, "share of rows answered", "accuracy")


def _make_grid(n: int, columns: int, size: float) -> tuple[Any, Sequence[Any]]:
    """A figure with n axes in lines of ``columns``."""
    columns = min(n, columns)
    lines = -(-n // columns)
    figure, axes = pyplot().subplots(
        lines, columns, figsize=(size * columns, size * lines), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    flat = list(axes.ravel())
    for axis in flat[n:]:
        axis.set_axis_off()
    return figure, flat[:n]


def _trace_points(x: Array, y: Array, name: str, colour: str) -> dict[str, Any]:
    return {"type": "scattergl", "mode": "markers", "x": _round(x), "y": _round(y), "name": name,
            "marker": {"size": 3, "color": colour}, "visible": "legendonly"}  # fmt: skip


def _trace_line(x: Array, y: Array, name: str, colour: str) -> dict[str, Any]:
    return {"type": "scatter", "mode": "lines", "x": _round(x), "y": _round(y), "name": name,
            "line": {"width": 1.5, "color": colour}}  # fmt: skip


def _trace_heat_map(shown: Array, name: str, classes: Sequence[str]) -> dict[str, Any]:
    at: list[Any] = list(classes or range(1, len(shown) + 1))
    z = [[None if np.isnan(v) else round(float(v), 4) for v in line] for line in shown]
    return {"type": "heatmap", "x": at, "y": at, "z": z, "name": name, "colorscale": "Blues"}


def _round(values: Array) -> list[float]:
    """Four significant digits, enough for a picture."""
    return [float(f"{value:.4g}") for value in values]
