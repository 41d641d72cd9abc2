"""Files with one crystal each, alone or in folders; and extended XYZ with many."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
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

MAX_COLUMNS = 100
"""Of a frame of extended XYZ without atoms, which has no line that shows how many there are."""


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
        before, broken = _sound_frames(path)
        readable = io.StringIO(before) if broken else path
        for atoms in () if before == "" else iread(readable, index=":", format="extxyz"):
            # energies and the like stand in a calculator, as ASE sees it
            results = atoms.calc.results if atoms.calc else {}
            yield {**_scalars(results), **_scalars(atoms.info), "structure": atoms}
            done += 1
        if broken:
            raise InputError(broken)
    except Exception as error:
        # ASE raises whatever its parsing stumbles over, and cannot find the next frame then
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        reason = f"cannot be read after frame {done}, the rest is lost: {text}"
        yield DroppedRow(str(path), reason, is_file=True)


def _sound_frames(path: Path) -> tuple[str | None, str]:
    """The text before a frame that promises more than there is, and what it promises; (None, "") if
    no frame does. ASE would look for it for hours, even if it is asked for none but those before,
    or fill all memory with it."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        end = 0
        while (line := stream.readline()).strip().isdigit():
            comment, words, broken = stream.readline(), MAX_COLUMNS, ""
            for atom in range(int(line)):
                if not (found := stream.readline()):
                    broken = "a frame promises more atoms than there are lines"
                    break
                words = len(found.split()) if atom == 0 else words
            if _n_columns(comment) > words:
                broken = "a frame promises more columns than its lines have"
            if broken:
                stream.seek(0)
                return stream.read(end).decode(), broken
            end = stream.tell()
    return None, ""


def _n_columns(comment: bytes) -> int:
    """That ``Properties`` promises; 0 where ASE will say itself what it does not understand."""
    from ase.io.extxyz import key_val_str_to_dict

    if b"Properties" not in comment:
        return 0
    with suppress(Exception):
        value = key_val_str_to_dict(comment.decode().strip())["Properties"]
        return sum(int(amount) for amount in str(value).split(":")[2::3])
    return 0


def _scalars(values: dict[str, Any]) -> dict[str, Any]:
    return {key: v for key, v in values.items() if isinstance(v, str | int | float) or v is None}
