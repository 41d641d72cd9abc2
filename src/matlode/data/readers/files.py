"""Readers of files with one crystal, of folders of such files, and of extended XYZ files."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from matlode.data.batches import split_range
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
from matlode.records import DroppedRow, replace_surrogates

MAX_COLUMNS = 100
"""Largest number of columns of an extended XYZ frame without atoms, which has no line to count."""


def open_file(path: str, options: ReadOptions) -> Source:
    """Open a CIF or POSCAR file, or another file that pymatgen reads."""
    return Source(name=path, chunks=_read_chunks([Path(path)]), files=(Path(path),), n_rows=1)


def open_folder(path: str, options: ReadOptions) -> Source:
    """Open all CIF and POSCAR files below a folder, in the order of their paths.

    Raises InputError if there are none.
    """
    files = sorted(p for p in Path(path).rglob("*") if p.is_file() and is_structure_file(p))
    if not files:
        raise InputError(
            f"{path} contains no structure files; looked for {', '.join(CIF_ENDINGS)}, "
            f"{', '.join(POSCAR_ENDINGS)} and {', '.join(POSCAR_NAMES)}*."
        )
    return Source(name=path, chunks=_read_chunks(files), files=tuple(files), n_rows=len(files))


def open_xyz(path: str, options: ReadOptions) -> Source:
    """Open an extended XYZ file; the keys of each frame's comment line become labels."""
    records = _read_frames(Path(path))
    chunks = pack_records(records, name=Path(path).name, options=ReadOptions())
    return Source(name=path, chunks=chunks, files=(Path(path),))


def _read_chunks(files: Sequence[Path]) -> Iterator[Materials]:
    for rows in split_range(len(files), CHUNK):
        part = files[rows]
        frame = pd.DataFrame(
            {"id": [replace_surrogates(str(path)) for path in part], "is_file": True}
        )
        yield pack(frame, part, read_structure)


def _read_frames(path: Path) -> Iterator[dict[str, object] | DroppedRow]:
    from ase.io import iread

    done = 0
    try:
        before, broken = _check_frames(path)
        readable = io.StringIO(before) if broken else path
        for atoms in () if before == "" else iread(readable, index=":", format="extxyz"):
            # ASE stores energies and similar quantities in a calculator
            results = atoms.calc.results if atoms.calc else {}
            yield {**_select_scalars(results), **_select_scalars(atoms.info), "structure": atoms}
            done += 1
        if broken:
            raise InputError(broken)
    except Exception as error:
        # ASE can raise any exception for invalid content, and cannot find the next frame then
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        reason = f"cannot be read after frame {done}, the rest is lost: {text}"
        yield DroppedRow(str(path), reason, is_file=True)


def _check_frames(path: Path) -> tuple[str | None, str]:
    """Find the first frame that declares more atoms or columns than it contains.

    Returns the text before it and a description of the error; (None, "") if there is no such
    frame. ASE would read such a file for hours or exhaust the memory, even if only the frames
    before are requested.
    """
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        end = 0
        while (line := stream.readline()).strip().isdigit():
            comment, words, broken = stream.readline(), MAX_COLUMNS, ""
            for atom in range(int(line)):
                if not (found := stream.readline()):
                    broken = "a frame promises more atoms than there are lines"
                    break
                words = len(found.split()) if atom == 0 else words
            if _count_columns(comment) > words:
                broken = "a frame promises more columns than its lines have"
            if broken:
                stream.seek(0)
                return stream.read(end).decode(), broken
            end = stream.tell()
    return None, ""


def _count_columns(comment: bytes) -> int:
    """Return the number of columns that ``Properties`` declares; 0 if it cannot be parsed.

    For these comments ASE itself raises an exception.
    """
    from ase.io.extxyz import key_val_str_to_dict

    if b"Properties" not in comment:
        return 0
    with suppress(Exception):
        value = key_val_str_to_dict(comment.decode().strip())["Properties"]
        return sum(int(amount) for amount in str(value).split(":")[2::3])
    return 0


def _select_scalars(values: dict[str, object]) -> dict[str, object]:
    return {key: v for key, v in values.items() if isinstance(v, str | int | float) or v is None}
