"""HTML representation of results in notebooks: tables, and plots as embedded images."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray


def html_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return an HTML table; cells are converted to text and escaped."""
    head = "".join(f"<th>{escape(str(heading))}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def pattern_picture(
    two_theta_deg: NDArray[np.floating], patterns: Mapping[str, NDArray[np.floating]]
) -> str:
    """Plot powder patterns (n,) by name in one diagram and return it as an HTML image tag."""
    from matplotlib.figure import Figure

    # not with pyplot, which would change the figures and the backend of the notebook
    figure = Figure(figsize=(7, 2.2), layout="constrained")
    axis = figure.subplots()
    for name, intensity in patterns.items():
        axis.plot(two_theta_deg, intensity, lw=0.9, label=name)
    axis.set(xlabel="2θ / °", ylabel="intensity")
    axis.legend(fontsize=8)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    names = escape(", ".join(patterns), quote=True)
    return (
        f'<img alt="powder pattern: {names}" '
        f'src="data:image/png;base64,{b64encode(stream.getvalue()).decode()}">'
    )
