"""What all figures share: colours, and how they are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TRUE, IMAGE = "#1f2933", "#e0592a"
SYSTEM_COLOURS = {
    "triclinic": "#7f8c9b", "monoclinic": "#3b7dd8", "orthorhombic": "#0f9d58",
    "tetragonal": "#e0a52a", "trigonal": "#a25ddc", "hexagonal": "#e0592a", "cubic": "#c2185b",
}  # fmt: skip
COLOURS = ("#3b7dd8", "#e0592a", "#0f9d58", "#a25ddc", "#e0a52a", "#c2185b", "#7f8c9b")
"""For kinds without a colour of their own."""


def pyplot() -> Any:
    """Matplotlib's pyplot, drawing into files alone."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def save_figure(
    figure: Any, stem: Path, traces: list[dict[str, Any]], x: str, y: str, *, dpi: int = 150
) -> list[Path]:
    """``figure`` as PNG and SVG, ``traces`` as an HTML page that opens offline."""
    import plotly.graph_objects as go

    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_suffix(ending) for ending in (".png", ".svg", ".html")]
    figure.savefig(paths[0], dpi=dpi)
    figure.savefig(paths[1], dpi=dpi)
    pyplot().close(figure)
    page = go.Figure(traces, {"xaxis": {"title": x}, "yaxis": {"title": y}, "height": 800})
    page.write_html(paths[2], include_plotlyjs=True)
    return paths
