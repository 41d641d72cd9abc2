"""HTML page that compares the tables and figures of the paper with reproduced ones."""

from __future__ import annotations

import csv
import io
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matlode.artefacts import write_text
from matlode.benchmarks.tables import Row
from matlode.evaluation.published import Published
from matlode.records import Cell
from matlode.report.html import make_page_environment
from matlode.version import __version__

NOT_MEASURED = "–"


@dataclass(frozen=True)
class Section:
    """A section of the page: tables and figures of the paper that belong together."""

    title: str
    text: str
    rows: Sequence[Row] = ()
    """Rows of the table; all have the same headings."""
    figures: tuple[Path, ...] = ()
    """PNG files; each may have an interactive HTML page of the same name in the same folder."""

    @property
    def name(self) -> str:
        """Name for files and links, from the title."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def write_reproduction(
    out: Path,
    sections: Sequence[Section],
    *,
    paper: Published,
    trained_on: Mapping[str, object],
    split: str,
    epochs: Mapping[str, int],
    quick: bool,
) -> Path:
    """Write ``out``/index.html, a self-contained page, and each table as ``out``/tables/NAME.csv.

    ``trained_on`` describes the training table, ``epochs`` maps models to epochs. Returns the path
    of the page.
    """
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for section in sections:
        if section.rows:
            write_text(out / "tables" / f"{section.name}.csv", format_csv(section.rows))
    page = (
        make_page_environment("matlode.paper", "matlode.report")
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
            cell=_format_cell,
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


def format_csv(rows: Sequence[Row]) -> str:
    """Rows, which have the same headings, as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _format_cell(value: Cell) -> str:
    if value is None:
        return NOT_MEASURED
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
