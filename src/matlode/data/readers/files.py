"""Readers of files with one crystal, of folders of such files, and of extended XYZ files."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
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

MAX_COUNT_LENGTH = 20
"""Largest length of the line with the number of atoms."""
MAX_COLUMNS = 100
"""Largest number of columns of an extended XYZ frame without atoms, which has no line to count."""


def open_file(path: str, options: ReadOptions) -> Source:
    """Open a CIF or POSCAR file, or another file that pymatgen reads."""
    return Source(name=path, chunks=_read_chunks([Path(path)]), files=(Path(path),), n_rows=1)


def open_folder(path: str, options: ReadOptions) -> Source:
    """Open all CIF and POSCAR files below a folder, in the order of their paths.

    Raises InputError if there are none.
    """
    everything = sorted(p for p in Path(path).rglob("*") if p.is_file())
    files = [p for p in everything if is_structure_file(p)]
    if not files:
        raise InputError(
            f"{path} contains no structure files ({len(everything)} others); looked for "
            f"{', '.join(CIF_ENDINGS)}, "
            f"{', '.join(POSCAR_ENDINGS)} and {', '.join(POSCAR_NAMES)}*."
        )
    return Source(
        name=path,
        chunks=_read_chunks(files),
        files=tuple(files),
        n_other_files=len(everything) - len(files),
        n_rows=len(files),
    )


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
    done = 0
    try:
        for frame in _split_frames(path):
            yield _parse_frame(frame)
            done += 1
    except Exception as error:
        # ASE can raise any exception for invalid content; where the next frame begins is unknown
        text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        reason = f"cannot be read after frame {done}, the rest is lost: {text}"
        yield DroppedRow(str(path), reason, is_file=True)


def _parse_frame(frame: str) -> dict[str, object]:
    from ase.io import read

    atoms = read(io.StringIO(frame), index=0, format="extxyz")
    # ASE stores energies and similar quantities in a calculator
    results = atoms.calc.results if atoms.calc else {}
    return {**_select_scalars(results), **_select_scalars(atoms.info), "structure": atoms}


def _split_frames(path: Path) -> Iterator[str]:
    """Yield the lines of each frame; blank lines between frames are skipped.

    Raises InputError for a frame that declares more atoms or columns than it contains: ASE would
    read such a file for hours or exhaust the memory.
    """
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as stream:
        line = stream.readline()
        while line:
            if not line.strip():
                line = stream.readline()
                continue
            if not line.strip().isdigit() or len(line) > MAX_COUNT_LENGTH:
                raise InputError(f'expected a number of atoms, found "{_show(line)}"')
            n_atoms, lines = int(line), [line, stream.readline()]
            while len(lines) < n_atoms + 2:
                if not (found := stream.readline()):
                    raise InputError("a frame promises more atoms than there are lines")
                lines.append(found)
            if _count_columns(lines[1]) > (len(lines[2].split()) if n_atoms else MAX_COLUMNS):
                raise InputError("a frame promises more columns than its lines have")
            line = stream.readline()
            while line.lstrip().startswith(b"VEC"):  # cell vectors of an older format
                lines.append(line)
                line = stream.readline()
            yield b"".join(lines).decode()


def _show(line: bytes) -> str:
    return line.strip()[:40].decode("utf-8", "replace")


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
    # ASE reads integers as those of NumPy
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in values.items()}
    return {key: v for key, v in plain.items() if isinstance(v, str | int | float) or v is None}
