"""Files with one crystal each, alone or in folders; and extended XYZ with many."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from matlode.data.readers.source import CHUNK, ReadOptions, Source, pack, pack_records
from matlode.data.structures import (
    CIF_ENDINGS,
    POSCAR_ENDINGS,
    POSCAR_NAMES,
    is_structure_file,
    read_structure,
)
from matlode.data.tables import Materials
from matlode.errors import InputError
from matlode.records import DroppedRow, legible


def open_file(path: str, options: ReadOptions) -> Source:
    """A CIF or POSCAR file, or another that pymatgen reads."""
    return Source(name=path, chunks=_chunks([Path(path)]), files=(Path(path),), n_rows=1)


def open_folder(path: str, options: ReadOptions) -> Source:
    """All CIF and POSCAR files below a folder, in the order of their paths.

    Raises InputError if there are none.
    """
    files = sorted(p for p in Path(path).rglob("*") if p.is_file() and is_structure_file(p))
    if not files:
        raise InputError(
            f"{path}: no structure files; looked for {', '.join(CIF_ENDINGS)}, "
            f"{', '.join(POSCAR_ENDINGS)} and {', '.join(POSCAR_NAMES)}*."
        )
    return Source(name=path, chunks=_chunks(files), files=tuple(files), n_rows=len(files))


def open_xyz(path: str, options: ReadOptions) -> Source:
    """An extended XYZ file; the keys of each frame's comment line become labels."""
    records = _frames(Path(path))
    chunks = pack_records(records, name=Path(path).name, options=ReadOptions())
    return Source(name=path, chunks=chunks, files=(Path(path),))


def _chunks(files: Sequence[Path]) -> Iterator[Materials]:
    for at in range(0, len(files), CHUNK):
        part = files[at : at + CHUNK]
        frame = pd.DataFrame({"id": [legible(str(path)) for path in part], "is_file": True})
        yield pack(frame, part, read_structure)


def _frames(path: Path) -> Iterator[dict[str, Any] | DroppedRow]:
    from ase.io import iread

    done = 0
    try:
        whole = _whole_frames(path)
        readable = path if whole is None else io.StringIO(whole)
        for atoms in () if whole == "" else iread(readable, index=":", format="extxyz"):
            # energies and the like stand in a calculator, as ASE sees it
            results = atoms.calc.results if atoms.calc else {}
            yield {**_scalars(results), **_scalars(atoms.info), "structure": atoms}
            done += 1
        if whole is not None:
            raise InputError("a frame promises more atoms than there are lines")
    except Exception as error:
        # ASE raises whatever its parsing stumbles over, and cannot find the next frame then
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        reason = f"cannot be read after frame {done}, the rest is lost: {text}"
        yield DroppedRow(str(path), reason, is_file=True)


def _whole_frames(path: Path) -> str | None:
    """The text before a frame that promises more atoms than there are lines, for which ASE would
    look for hours, even if it is asked for none but those before; None if no frame does."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        end = 0
        while (line := stream.readline()).strip().isdigit():
            for _ in range(int(line) + 1):
                if not stream.readline():
                    stream.seek(0)
                    return stream.read(end).decode()
            end = stream.tell()
    return None


def _scalars(values: dict[str, Any]) -> dict[str, Any]:
    return {key: v for key, v in values.items() if isinstance(v, str | int | float) or v is None}
