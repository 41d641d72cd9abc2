"""What is saved: a JSON header beside plain arrays, readable by anyone, never a pickle.

An artefact is a folder with ``model.json`` and ``weights.npz``. Files are written under a
temporary name and renamed, so that a reader never sees half of one.
"""

from __future__ import annotations

import csv
import json
import math
import os
import struct
import tempfile
import tokenize
import tomllib
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from matlode.errors import ArtefactError, InputError, MatlodeError, WriteError

SCHEMA = 1
"""Version of the layout; a change adds a step to the readers and a specimen to the tests."""

HEADER_FILE = "model.json"
ARRAYS_FILE = "weights.npz"

MAX_ARRAYS_BYTES = 1 << 29
"""Of a file of arrays, unpacked; the largest model that ships has 40 MB. Looked at before anything
is allocated: a few kilobytes may claim to hold terabytes."""
MAX_TEXT_BYTES = 1 << 26
"""Of a JSON or TOML file that is read as a whole."""

MALFORMED = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, csv.Error, struct.error, tokenize.TokenError, zipfile.BadZipFile),
    zlib.error,
)
"""What reading a cut, altered or foreign file may stumble over."""


@contextmanager
def understood(what: object, error: type[MatlodeError] = ArtefactError) -> Iterator[None]:
    """Whatever the block stumbles over becomes ``error``, which names ``what`` was read.

    For content from outside, which may be anything; never around our own computations.
    """
    try:
        yield
    except BrokenPipeError:  # the reader of our output went away; nothing was read wrong
        raise
    except MALFORMED as problem:
        text = str(problem).partition("\n")[0][:200]
        raise error(
            f"{what} is damaged or of another form ({type(problem).__name__}: {text})."
        ) from problem


@dataclass(frozen=True)
class Artefact:
    """A saved model as it lies on disk."""

    header: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    def require(self, kind: str) -> Artefact:
        """Itself, if it is of this kind; raises ArtefactError otherwise."""
        if self.header["kind"] != kind:
            raise ArtefactError(
                f'the artefact is a "{self.header["kind"]}", wanted a "{kind}"; check the folder.'
            )
        return self


def shipped_models() -> Path:
    """The folder of the models that come with the package."""
    return Path(str(resources.files("matlode") / "models"))


def find_model(name: str, folder: Path | None = None) -> Path:
    """Where a model lies: in ``folder`` if it is there, else among the shipped ones.

    Raises ArtefactError for a folder without any model, which is most likely a mistyped one.
    """
    if folder is None:
        return shipped_models() / name
    if not has_models(folder):
        raise ArtefactError(
            f"no model at {folder / name} (nor another in that folder); "
            "`matlode train models` makes the models."
        )
    own = folder / name
    return own if (own / HEADER_FILE).exists() else shipped_models() / name


def has_models(folder: Path) -> bool:
    """Whether a folder holds any model."""
    return any(folder.glob(f"*/{HEADER_FILE}"))


def save_artefact(
    folder: Path, *, kind: str, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write header and arrays into ``folder`` (made if needed); the header comes last.

    Raises ArtefactError for arrays that would need a pickle.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ArtefactError(f'array "{name}" holds Python objects; save numbers or strings.')
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: [str(a.dtype), *a.shape] for name, a in arrays.items()}
    full = {**header, "schema": SCHEMA, "kind": kind, "arrays": shapes}
    # no header, no model: an interruption never leaves the old header beside new arrays
    (folder / HEADER_FILE).unlink(missing_ok=True)
    if arrays:
        write_atomically(
            folder / ARRAYS_FILE,
            lambda stream: np.savez_compressed(stream, allow_pickle=False, **arrays),
        )
    write_json(folder / HEADER_FILE, full)


def load_header(folder: Path) -> dict[str, Any]:
    """The header of an artefact alone; raises ArtefactError if it is missing or unreadable."""
    path = folder / HEADER_FILE
    try:
        header = read_json(path, ArtefactError)
    except FileNotFoundError as error:
        raise ArtefactError(
            f"no model at {folder} (no {HEADER_FILE}); `matlode train models` makes the models."
        ) from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        found = header.get("schema") if isinstance(header, dict) else None
        raise ArtefactError(
            f"{path} has schema {found}, this matlode reads {SCHEMA}; "
            "update matlode or retrain the model."
        )
    if not isinstance(header.get("arrays"), dict) or not isinstance(header.get("kind"), str):
        raise ArtefactError(f'{path} lacks "kind" or "arrays"; it is no header of matlode.')
    return header


def load_artefact(folder: Path) -> Artefact:
    """Header and arrays of a folder, shapes checked against the header."""
    header = load_header(folder)
    arrays: dict[str, NDArray[Any]] = {}
    if header["arrays"]:
        path = folder / ARRAYS_FILE
        if not path.exists():
            raise ArtefactError(
                f"{folder} holds scores but no weights (the reference models ship so); "
                f"`matlode train models {folder.name}` remakes them."
            )
        arrays = read_arrays(path, header["arrays"])
    for name, claim in header["arrays"].items():
        found = [str(arrays[name].dtype), *arrays[name].shape]
        if found != claim:
            raise ArtefactError(
                f'{folder}: array "{name}" is {found[0]}{found[1:]}, the header says '
                + (f"{claim[0]}{claim[1:]}." if isinstance(claim, list) and claim else f"{claim}.")
            )
    return Artefact(header, arrays)


def read_arrays(
    path: Path, names: Iterable[str] | None = None, *, max_bytes: int = MAX_ARRAYS_BYTES
) -> dict[str, NDArray[Any]]:
    """Arrays of an .npz file by name (default: all).

    No byte is allocated that the file does not hold, and never more than ``max_bytes``; names in
    the archive are never paths. Raises ArtefactError for a file that is damaged, lacks a name, is
    larger, or holds Python objects.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            members = {m.filename: m for m in archive.infolist()}
            wanted = [f"{n}.npy" for n in names] if names is not None else list(members)
            size = sum(members[name].file_size for name in wanted)
            if size > max_bytes:
                raise ArtefactError(
                    f"{path} would take {size / 1e6:,.0f} MB, at most {max_bytes / 1e6:,.0f} MB "
                    "are read; it is no file of matlode."
                )
            return {
                name.removesuffix(".npy"): _read_array(archive, members[name]) for name in wanted
            }
    except FileNotFoundError:
        raise
    except MALFORMED as error:
        raise ArtefactError(f"{path} is damaged or incomplete ({error}).") from error


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        shape, by_columns, dtype = read_header[version](stream)
        n_bytes = math.prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f'"{member.filename}" holds Python objects')
        if min(shape, default=0) < 0 or n_bytes != member.file_size - stream.tell():
            raise ValueError(f'"{member.filename}" has not the size that its header says')
        array = np.empty(math.prod(shape), dtype)
        room = array.view(np.uint8) if n_bytes else np.empty(0, np.uint8)
        done = 0
        while done < n_bytes:
            part = stream.read(min(1 << 20, n_bytes - done))
            if not part:
                raise EOFError(f'"{member.filename}" ends too early')
            room[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
        stream.read(1)  # which checks the sum of all
    return array.reshape(shape, order="F" if by_columns else "C")


def inside(folder: Path, name: str) -> Path:
    """The file that a table in ``folder`` names; raises InputError if it would lie elsewhere."""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder} names a file outside of it ({name!r}); it was tampered with.")
    return file


def grouped(
    arrays: Mapping[str, NDArray[Any]], *, at_last: bool = False
) -> dict[str, dict[str, NDArray[Any]]]:
    """{group: {rest of the name: array}} of arrays called "group/rest"; ``at_last`` divides
    names at their last stroke in place of the first."""
    groups: dict[str, dict[str, NDArray[Any]]] = defaultdict(dict)
    for name, array in arrays.items():
        group, _, rest = name.rpartition("/") if at_last else name.partition("/")
        groups[group][rest] = array
    return groups


def ungrouped(groups: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Arrays by name that ``grouped`` takes apart again."""
    return {
        f"{group}/{rest}": array
        for group, members in groups.items()
        for rest, array in members.items()
    }


def read_json(path: Path, error: type[MatlodeError] = InputError) -> Any:
    """The content of a JSON file; raises ``error`` for what is none, FileNotFoundError if it is
    not there."""
    text = _read_text(path, error)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} is not readable JSON ({problem}).") from problem


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file that somebody wrote; raises InputError if it cannot be read."""
    try:
        return tomllib.loads(_read_text(path, InputError))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error}).") from error


def _read_text(path: Path, error: type[MatlodeError]) -> str:
    with path.open("rb") as stream:  # the size of a device or a pipe is not known before
        data = stream.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise error(f"{path} has more than {MAX_TEXT_BYTES >> 20} MB; it is no file of matlode.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not readable JSON or TOML ({problem}).") from problem


def write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name, then rename; NaN is refused."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    # what is no character, as in the name of a file, is escaped as JSON has it
    data = text.encode(errors="backslashreplace")
    write_atomically(path, lambda stream: stream.write(data + b"\n"))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name, then rename; ? for what is no character."""
    write_atomically(path, lambda stream: stream.write(text.encode(errors="replace")))


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it to ``path``.

    Raises WriteError if the disk or the folder does not allow it; what was there before stays.
    """
    with writable(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                write(stream)
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """What the system refuses in the block is told as a WriteError with what to do."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error}); make room or choose another "
            "folder, then give the command again: what is finished is kept."
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """For one process at a time; raises InputError while another is inside.

    The system holds the lock, not the file: one that was killed leaves none.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    with writable(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"another process works on {folder}; wait, or choose another folder."
            ) from error
    try:
        yield
    finally:
        lock.release()
