"""Colours of all figures, and how figures are saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUE, IMAGE = "#1f2933", "#e0592a"
SYSTEM_COLOURS = {
    "triclinic": "#7f8c9b", "monoclinic": "#3b7dd8", "orthorhombic": "#0f9d58",
    "tetragonal": "#e0a52a", "trigonal": "#a25ddc", "hexagonal": "#e0592a", "cubic": "#c2185b",
}  # fmt: skip
COLOURS = ("#3b7dd8", "#e0592a", "#0f9d58", "#a25ddc", "#e0a52a", "#c2185b", "#7f8c9b")
"""For kinds without a colour of their own."""


def pyplot() -> ModuleType:
    """Matplotlib's pyplot, set up to draw into files only."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save_figure(
    figure: Figure,
    stem: Path,
    traces: Sequence[Mapping[str, object]],
    x: str,
    y: str,
    *,
    dpi: int = 150,
) -> list[Path]:
    """Save ``figure`` as PNG and SVG, and ``traces`` as an HTML page that opens offline."""
    import plotly.graph_objects as go

    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_suffix(ending) for ending in (".png", ".svg", ".html")]
    figure.savefig(paths[0], dpi=dpi)
    figure.savefig(paths[1], dpi=dpi)
    pyplot().close(figure)
    page = go.Figure(list(traces), {"xaxis": {"title": x}, "yaxis": {"title": y}, "height": 800})
    page.write_html(paths[2], include_plotlyjs=True)
    return paths
