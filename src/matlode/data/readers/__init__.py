"""Materials from wherever they are: one reader per kind of source, one table of them.

A reader takes the source's text and the options and gives a ``Source``. A further kind is one
function and one line in ``SCHEMES`` or ``ENDINGS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from matlode.data.crystals import Crystals
from matlode.data.readers.databases import (
    open_jarvis,
    open_materials_project,
    open_matminer,
    open_optimade,
)
from matlode.data.readers.files import open_file, open_folder, open_xyz
from matlode.data.readers.source import ReadOptions, Source
from matlode.data.readers.tabular import open_csv, open_json, open_json_lines, open_parquet
from matlode.data.tables import Materials
from matlode.errors import InputError

Reader = Callable[[str, ReadOptions], Source]

SCHEMES: dict[str, Reader] = {
    "mp": open_materials_project,
    "optimade": open_optimade,
    "jarvis": open_jarvis,
    "matminer": open_matminer,
}
"""Databases, by what stands before the colon."""

ENDINGS: dict[str, Reader] = {
    ".parquet": open_parquet,
    ".pq": open_parquet,
    ".csv": open_csv,
    ".jsonl": open_json_lines,
    ".ndjson": open_json_lines,
    ".json": open_json,
    ".xyz": open_xyz,
    ".extxyz": open_xyz,
}
"""Files that hold many crystals, by their endings; others are read as one crystal."""


def open_source(source: str | Path, options: ReadOptions | None = None) -> Source:
    """The source that a path or ``scheme:what`` names.

    Raises InputError if there is none, or it cannot be opened.
    """
    options = options or ReadOptions()
    text = str(source)
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES:
        return SCHEMES[scheme](rest, options)
    path = Path(text)
    if path.is_dir():
        return open_folder(text, options)
    if not path.exists():
        raise InputError(
            f"{path}: no such file or folder (databases: {', '.join(f'{s}:' for s in SCHEMES)})."
        )
    ending = Path(path.name.removesuffix(".gz")).suffix.lower()
    return ENDINGS.get(ending, open_file)(text, options)


def gather(source: Source) -> Materials:
    """All chunks of a source as one, labels as they stand there."""
    return joined(list(source.chunks))


def open_sources(sources: Sequence[str | Path]) -> list[Source]:
    """Raises InputError if one does not exist, a folder holds nothing readable, or there are
    none."""
    if not sources:
        raise InputError("nothing to read: name at least one CIF, POSCAR, table or folder.")
    return [open_source(source) for source in sources]


def read_materials(sources: Sequence[str | Path]) -> Materials:
    """Crystals of files, tables, folders and databases, in order, labels as they stand there.

    A row or file that cannot be used is in ``dropped`` with its reason. Raises InputError as
    ``open_sources`` does.
    """
    return joined([_marked(gather(source)) for source in open_sources(sources)])


def material_parts(sources: Sequence[Source], n_rows: int) -> Iterator[Materials]:
    """What ``read_materials`` reads, up to ``n_rows`` crystals at a time, with what was dropped
    beside them; labels of a part may have columns that others lack."""
    waiting: list[Materials] = []
    for chunk in (chunk for source in sources for chunk in source.chunks):
        waiting.append(_marked(chunk))
        while sum(len(part) + len(part.dropped) for part in waiting) >= n_rows:
            together = joined(waiting)
            rows = np.arange(len(together))
            yield together.take(rows[:n_rows])
            waiting = [replace(together.take(rows[n_rows:]), dropped=())]
    last = joined(waiting)
    if len(last) or last.dropped:
        yield last


def _marked(part: Materials) -> Materials:
    """With a column that says whether each row is a file of its own."""
    frame = part.frame.assign(is_file="is_file" in part.frame)
    return Materials(frame, part.crystals, part.dropped)


def joined_frames(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Several frames as one, in order; of empty ones the first."""
    frames = [part for part in parts if len(part)] or parts[:1]
    return (
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"id": [], "formula": []})
    )


def joined(parts: Sequence[Materials]) -> Materials:
    """Several batches of materials as one, in order."""
    return Materials(
        joined_frames([part.frame for part in parts]),
        Crystals.concatenate([part.crystals for part in parts] or [Crystals.from_structures([])]),
        tuple(dropped for part in parts for dropped in part.dropped),
    )
