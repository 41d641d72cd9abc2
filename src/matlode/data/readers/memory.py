"""Readers of crystals in memory: objects of pymatgen and ASE, dictionaries, pandas frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import pandas as pd
import pyarrow as pa

from matlode.artefacts import convert_read_errors
from matlode.data.crystals import CRYSTAL_COLUMNS
from matlode.data.readers.source import CHUNK, ReadOptions, Source, pack, pack_records
from matlode.data.structures import convert_structure, is_structure_dict
from matlode.data.tables import Materials, convert_materials
from matlode.errors import InputError

Crystal: TypeAlias = object
"""A pymatgen Structure, ASE Atoms, or a dictionary that ``convert_structure`` converts."""


def is_crystal(value: object) -> bool:
    """Return whether ``value`` is a crystal in memory: Structure, Atoms, or their dictionary."""
    if isinstance(value, pd.DataFrame):  # whose columns are attributes, too
        return False
    of_library = hasattr(value, "lattice") or hasattr(value, "get_scaled_positions")
    return of_library or is_structure_dict(value)


def open_crystals(crystals: Sequence[Crystal], first: int = 0) -> Source:
    """Open crystals in memory, with the ids ``structure:first``, ``structure:first+1``, ..."""
    ids = [f"structure:{first + at}" for at in range(len(crystals))]
    chunks = (
        pack(
            pd.DataFrame({"id": ids[at : at + CHUNK]}),
            crystals[at : at + CHUNK],
            convert_structure,
        )
        for at in range(0, len(crystals), CHUNK)
    )
    return Source(name="structures in memory", chunks=chunks, n_rows=len(crystals))


def open_frame(frame: pd.DataFrame) -> Source:
    """Open a pandas frame with a crystal in each row.

    The crystals are in a column of ``STRUCTURE_COLUMNS`` (objects, dictionaries, CIF or POSCAR
    text, names of files), or in the columns lattice, numbers and frac_coords as in matlode's own
    tables. Raises InputError, when it is read, if there is no such column.
    """
    if set(CRYSTAL_COLUMNS) <= set(frame.columns):
        chunks: Iterator[Materials] = iter([_convert_own(frame)])
    else:
        rows = ({str(k): v for k, v in row.items()} for row in frame.to_dict(orient="records"))
        chunks = pack_records(rows, name="frame", options=ReadOptions(), folder=Path())
    return Source(name="frame", chunks=chunks, n_rows=len(frame))


def _convert_own(frame: pd.DataFrame) -> Materials:
    with convert_read_errors("the frame", InputError):
        return convert_materials(pa.Table.from_pandas(frame, preserve_index=False), name="frame")
