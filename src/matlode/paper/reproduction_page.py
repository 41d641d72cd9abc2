"""The page on which the paper's tables and figures stand beside those made here."""

from __future__ import annotations

import csv
import io
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matlode.artefacts import write_text
from matlode.evaluation.published import Published
from matlode.report.html import page_environment
from matlode.version import __version__

NOT_MEASURED = "–"


@dataclass(frozen=True)
class Section:
    """Some of the paper's tables and figures."""

    title: str
    text: str
    rows: Sequence[Mapping[str, Any]] = ()
    """Of the table; all have the same keys, which are its headings."""
    figures: tuple[Path, ...] = ()
    """PNG files; an interactive HTML page of the same name may lie beside each."""

    @property
    def name(self) -> str:
        """For files and links."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def write_reproduction(
    out: Path,
    sections: Sequence[Section],
    *,
    paper: Published,
    trained_on: Mapping[str, Any],
    split: str,
    epochs: Mapping[str, int],
    quick: bool,
) -> Path:
    """Write ``out``/index.html, which opens offline and holds its pictures, and each table as
    ``out``/tables/NAME.csv; returns the page."""
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for section in sections:
        if section.rows:
            write_text(out / "tables" / f"{section.name}.csv", _csv(section.rows))
    page = (
        page_environment("matlode.paper", "matlode.report")
        .get_template("reproduction.html.j2")
        .render(
            sections=sections,
            pictures={p: b64encode(p.read_bytes()).decode() for s in sections for p in s.figures},
            interactive={
                p: p.with_suffix(".html").relative_to(out).as_posix()
                for s in sections
                for p in s.figures
                if p.with_suffix(".html").exists()
            },
            cell=_cell,
            paper=paper,
            trained_on=trained_on,
            split=split,
            epochs=epochs,
            quick=quick,
            version=__version__,
        )
    )
    write_text(out / "index.html", page)
    return out / "index.html"


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return NOT_MEASURED
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
