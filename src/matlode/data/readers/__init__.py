"""Materials from wherever they are: one reader per kind of source, one table of them.

A reader takes the source's text and the options and gives a ``Source``. A further kind is one
function and one line in ``SCHEMES`` or ``ENDINGS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

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


def read_materials(sources: Sequence[str | Path]) -> Materials:
    """Crystals of files, tables, folders and databases, in order, labels as they stand there.

    A row or file that cannot be used is in ``dropped`` with its reason. Raises InputError if
    a source does not exist or a folder holds nothing readable.
    """
    if not sources:
        raise InputError("nothing to read: name at least one CIF, POSCAR, table or folder.")
    parts = [gather(open_source(source)) for source in sources]
    marked = [
        Materials(part.frame.assign(is_file="is_file" in part.frame), part.crystals, part.dropped)
        for part in parts
    ]
    return joined(marked)


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
