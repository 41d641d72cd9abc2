"""Readers of materials from files, folders and databases.

A reader is a function of the source's name and the options that returns a ``Source``. To add one,
write the function and add one line to ``SCHEMES`` or ``ENDINGS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

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
from matlode.data.readers.memory import Crystal, is_crystal, open_crystals, open_frame
from matlode.data.readers.source import ReadOptions, Source
from matlode.data.readers.tabular import open_csv, open_json, open_json_lines, open_parquet
from matlode.data.tables import Materials
from matlode.errors import InputError

Reader = Callable[[str, ReadOptions], Source]
Sources: TypeAlias = str | Path | pd.DataFrame | Crystal | Sequence[str | Path | Crystal]
"""One source or several: paths of files and folders, ``scheme:name`` of databases, pymatgen
Structures, ASE Atoms, pandas frames."""

SCHEMES: dict[str, Reader] = {
    "mp": open_materials_project,
    "optimade": open_optimade,
    "jarvis": open_jarvis,
    "matminer": open_matminer,
}
"""Readers of databases, by the prefix before the colon."""

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
"""Readers of files with many crystals, by file ending; other files are read as one crystal."""


def open_source(source: str | Path, options: ReadOptions | None = None) -> Source:
    """Open the source with the given path or ``scheme:name``.

    Raises InputError if it does not exist or cannot be opened.
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
    """Read all chunks of a source, with unconverted labels."""
    return joined(list(source.chunks))


def open_sources(sources: Sources) -> list[Source]:
    """Open one source or several, in order.

    Raises InputError if there is none, a path does not exist, a folder contains no readable
    files, or an object is no crystal.
    """
    several = _list_sources(sources)
    if not several:
        raise InputError("nothing to read; give at least one CIF, POSCAR, table or folder.")
    opened: list[Source] = []
    n_crystals = 0
    for are_crystals, group in groupby(several, is_crystal):
        members = list(group)
        if are_crystals:
            opened.append(open_crystals(members, n_crystals))
            n_crystals += len(members)
        else:
            opened += map(_open_any, members)
    return opened


def _list_sources(sources: Sources) -> list[object]:
    is_one = isinstance(sources, str | Path | pd.DataFrame) or is_crystal(sources)
    if is_one or not isinstance(sources, Iterable):
        return [sources]
    return list(sources)


def _open_any(source: object) -> Source:
    if isinstance(source, pd.DataFrame):
        return open_frame(source)
    if isinstance(source, str | Path):
        return open_source(source)
    raise InputError(
        f"a {type(source).__name__} is nothing to read crystals from; give paths, pymatgen "
        "Structures, ASE Atoms or pandas frames."
    )


def read_materials(sources: Sources) -> Materials:
    """Read the crystals of files, tables, folders, databases and objects in order, labels
    unconverted.

    Rows and files that cannot be used are in ``dropped`` with the reason. Raises InputError as
    ``open_sources`` does.
    """
    return joined([_mark_files(gather(source)) for source in open_sources(sources)])


def read_material_parts(sources: Sequence[Source], n_rows: int) -> Iterator[Materials]:
    """Yield the materials of ``read_materials`` in parts of at most ``n_rows`` crystals.

    Each part contains its own dropped rows; the label columns of the parts may differ.
    """
    waiting: list[Materials] = []
    for chunk in (chunk for source in sources for chunk in source.chunks):
        waiting.append(_mark_files(chunk))
        while sum(len(part) + len(part.dropped) for part in waiting) >= n_rows:
            together = joined(waiting)
            rows = np.arange(len(together))
            yield together.take(rows[:n_rows])
            waiting = [replace(together.take(rows[n_rows:]), dropped=())]
    last = joined(waiting)
    if len(last) or last.dropped:
        yield last


def _mark_files(part: Materials) -> Materials:
    """Add the column ``is_file``: whether each row is a separate file."""
    frame = part.frame.assign(is_file="is_file" in part.frame)
    return Materials(frame, part.crystals, part.dropped)


def join_frames(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate frames in order; if all are empty, return the first."""
    frames = [part for part in parts if len(part)] or parts[:1]
    return (
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"id": [], "formula": []})
    )


def joined(parts: Sequence[Materials]) -> Materials:
    """Concatenate batches of materials in order."""
    return Materials(
        join_frames([part.frame for part in parts]),
        Crystals.concatenate([part.crystals for part in parts] or [Crystals.from_structures([])]),
        tuple(dropped for part in parts for dropped in part.dropped),
    )
