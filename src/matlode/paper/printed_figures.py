"""Figures S6, S7 and S9 C, D of the paper, in its arrangement, from predictions of all folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.paper.printed_scores import QUANTITIES, Predicted, Quantity, average_scores
from matlode.report.drawing import TRUE, pyplot

CLASSES = {
    "metal_probability": ("no gap", "gap"),
    "magnetic_probability": ("no moment", "moment"),
    "formation_probability": ("E_f > 0", "E_f ≤ 0"),
}
"""Classifier → names of its classes 0 and 1."""
ELECTRONIC = ("metal_probability", "magnetic_probability")
STABILITY = ("formation_probability",)
N_BINS = 120
"""Cells along one axis of a parity plot."""


def draw_printed(out: Path, folds: Mapping[str, Sequence[Predicted]]) -> list[Path]:
    """Write printed-s6-parity, printed-s7-classes and printed-s9-stability as PNG for the
    quantities that have ``folds``; returns the files."""
    measured = {name: of_one for name, of_one in folds.items() if of_one}
    out.mkdir(parents=True, exist_ok=True)
    files = []
    if values := [name for name in measured if not QUANTITIES[name].is_class]:
        files.append(_draw_parity(out / "printed-s6-parity.png", values, measured))
    for stem, names in (("printed-s7-classes", ELECTRONIC), ("printed-s9-stability", STABILITY)):
        if drawn := [name for name in names if name in measured]:
            files.append(_draw_classes(out / f"{stem}.png", drawn, measured))
    return files


def _draw_parity(
    file: Path, names: Sequence[str], folds: Mapping[str, Sequence[Predicted]]
) -> Path:
    figure, axes = pyplot().subplots(
        -(-len(names) // 4), 4, figsize=(11, 2.9 * -(-len(names) // 4)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names, strict=False):
        quantity = QUANTITIES[name]
        truth, value = _join(folds[name])
        low, high = np.quantile(np.concatenate([truth, value]), [0.0005, 0.9995])
        limits = [[low, high], [low, high]]
        axis.hist2d(truth, value, N_BINS, range=limits, cmap="Blues", norm="log")
        axis.plot([low, high], [low, high], color=TRUE, lw=0.8)
        axis.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
        axis.set_title(f"{quantity.title} / {quantity.unit}", fontsize=8)
        axis.text(0.04, 0.96, _describe(quantity, folds[name]), transform=axis.transAxes, va="top",
                  fontsize=6.5)  # fmt: skip
        axis.tick_params(labelsize=6)
    figure.supxlabel("calculated", fontsize=9)
    figure.supylabel("predicted", fontsize=9)
    return _save(figure, file)


def _describe(quantity: Quantity, folds: Sequence[Predicted]) -> str:
    scores = {name.removesuffix("_ln"): mean
              for name, (mean, _) in average_scores(folds, quantity).items()}  # fmt: skip
    n = sum(len(fold.truth) for fold in folds)
    return f"n = {n:,}\nMAE {scores['mae']:.3g}\nRMSE {scores['rmse']:.3g}\nR² {scores['r2']:.2f}"


def _draw_classes(
    file: Path, names: Sequence[str], folds: Mapping[str, Sequence[Predicted]]
) -> Path:
    from sklearn.metrics import confusion_matrix, roc_curve

    figure, axes = pyplot().subplots(
        len(names), 2, figsize=(7.2, 3.4 * len(names)), squeeze=False, layout="constrained"
    )
    for (curve, matrix), name in zip(axes, names, strict=True):
        quantity = QUANTITIES[name]
        truth, chance = _join(folds[name])
        scores = {s: mean for s, (mean, _) in average_scores(folds[name], quantity).items()}
        false, true, _ = roc_curve(truth, chance)
        curve.plot(false, true, color=TRUE, label=f"AUC {scores['auc']:.2f}")
        curve.plot([0, 1], [0, 1], color="grey", lw=0.8, ls="--")
        curve.set(xlabel="false positive rate", ylabel="true positive rate", box_aspect=1)
        curve.set_title(f"{quantity.title}, n = {len(truth):,}", fontsize=9)
        curve.legend(fontsize=8, loc="lower right")
        counts = confusion_matrix(truth >= 0.5, chance >= 0.5)
        _draw_confusion(matrix, counts, CLASSES[name])
        matrix.set_title(f"accuracy {scores['accuracy']:.2f}, F1 {scores['f1']:.2f}", fontsize=9)
    return _save(figure, file)


def _draw_confusion(axis: Any, counts: NDArray[np.integer], classes: tuple[str, ...]) -> None:
    shares = counts / counts.sum(axis=1, keepdims=True)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(2, 2):
        ink = "white" if shares[i, j] > 0.5 else TRUE
        axis.text(j, i, f"{shares[i, j]:.2f}", ha="center", va="center", color=ink, fontsize=9)
    axis.set_xticks([0, 1], classes, fontsize=8)
    axis.set_yticks([0, 1], classes, fontsize=8, rotation=90, va="center")
    axis.set(xlabel="predicted", ylabel="true")


def _join(folds: Sequence[Predicted]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    truth, value = zip(*((fold.truth, fold.value) for fold in folds), strict=True)
    return np.concatenate(truth), np.concatenate(value)


def _save(figure: Any, file: Path) -> Path:
    figure.savefig(file, dpi=100)
    pyplot().close(figure)
    return file
