"""Save and load models as a JSON header and plain arrays, without pickles.

An artefact is a folder with ``model.json`` and ``weights.npz``. Files are written under a
temporary name and then renamed, so that readers never see an incomplete file.
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
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.errors import ArtefactError, InputError, MatlodeError, WriteError

SCHEMA = 1
"""Version of the layout. A change requires a conversion in the readers and a specimen in the
tests."""

HEADER_FILE = "model.json"
ARRAYS_FILE = "weights.npz"

MAX_ARRAYS_BYTES = 1 << 29
"""Largest uncompressed size of a file of arrays; the largest shipped model has 40 MB. Checked
before memory is allocated, since a file of a few kilobytes may declare terabytes."""
MAX_TEXT_BYTES = 1 << 26
"""Largest size of a JSON or TOML file."""

JsonObject: TypeAlias = dict[str, Any]
"""A parsed JSON or TOML object; the types of its values depend on the file."""
Arrays: TypeAlias = dict[str, NDArray[Any]]
"""Arrays by name, of any shape and type."""

MALFORMED = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError),
    *(TypeError, ValueError, csv.Error, struct.error, tokenize.TokenError, zipfile.BadZipFile),
    zlib.error,
)
"""Exceptions that reading a truncated, modified or foreign file can raise."""


@contextmanager
def convert_read_errors(what: object, error: type[MatlodeError] = ArtefactError) -> Iterator[None]:
    """Convert the ``MALFORMED`` exceptions of the block to ``error``, which names ``what``.

    For reading external files only, not for computations of this package.
    """
    try:
        yield
    except BrokenPipeError:  # the reader of our output has exited; the input is not at fault
        raise
    except MALFORMED as problem:
        text = str(problem).partition("\n")[0][:200]
        raise error(
            f"{what} is damaged or has an unexpected format ({type(problem).__name__}: {text})."
        ) from problem


@dataclass(frozen=True)
class Artefact:
    """The header and arrays of a saved model."""

    header: JsonObject
    arrays: Mapping[str, NDArray[Any]]

    def require(self, kind: str) -> Artefact:
        """Return the artefact itself. Raises ArtefactError if it is of another kind."""
        if self.header["kind"] != kind:
            raise ArtefactError(
                f'the artefact is a "{self.header["kind"]}", expected a "{kind}"; check the '
                "folder, or retrain the model."
            )
        return self


def find_shipped_models() -> Path:
    """Return the folder of the models that are part of the package."""
    return Path(str(resources.files("matlode") / "models"))


def find_model(name: str, folder: Path | None = None) -> Path:
    """Return the folder of a model: in ``folder`` if it exists there, else the shipped one.

    Raises ArtefactError if ``folder`` holds no model at all, since its name is then most likely
    mistyped.
    """
    if folder is None:
        return find_shipped_models() / name
    if not has_models(folder):
        raise ArtefactError(
            f"no model at {folder / name}: the folder holds no models; check its name, or make "
            "the models with `matlode train models`."
        )
    own = folder / name
    return own if (own / HEADER_FILE).exists() else find_shipped_models() / name


def has_models(folder: Path) -> bool:
    """Return whether a folder holds at least one model."""
    return any(folder.glob(f"*/{HEADER_FILE}"))


def save_artefact(
    folder: Path,
    *,
    kind: str,
    header: Mapping[str, object],
    arrays: Mapping[str, NDArray[np.generic]],
) -> None:
    """Write arrays and then the header into ``folder``, which is created if necessary.

    Raises ArtefactError for arrays of Python objects, which would require a pickle, and
    WriteError if the folder cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ArtefactError(
                f'array "{name}" holds Python objects; only numbers and strings can be saved.'
            )
    with convert_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: [str(a.dtype), *a.shape] for name, a in arrays.items()}
    full = {**header, "schema": SCHEMA, "kind": kind, "arrays": shapes}
    # without a header there is no model: an interruption never pairs an old header with new arrays
    (folder / HEADER_FILE).unlink(missing_ok=True)
    if arrays:
        write_atomically(
            folder / ARRAYS_FILE,
            lambda stream: np.savez_compressed(stream, allow_pickle=False, **arrays),
        )
    write_json(folder / HEADER_FILE, full)


def load_header(folder: Path) -> JsonObject:
    """Read the header of an artefact. Raises ArtefactError if it is missing or unreadable."""
    path = folder / HEADER_FILE
    try:
        header = read_json(path, ArtefactError)
    except FileNotFoundError as error:
        raise ArtefactError(
            f"no model at {folder} (no {HEADER_FILE}); make it with `matlode train models`."
        ) from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        found = header.get("schema") if isinstance(header, dict) else None
        raise ArtefactError(
            f"{path} has schema {found}, expected {SCHEMA}; update matlode or retrain the model."
        )
    if not isinstance(header.get("arrays"), dict) or not isinstance(header.get("kind"), str):
        raise ArtefactError(
            f'{path} is not a header of matlode: "kind" or "arrays" is missing or has the wrong '
            "type; check the folder, or retrain the model."
        )
    return header


def load_artefact(folder: Path) -> Artefact:
    """Read the header and arrays of a folder.

    Raises ArtefactError if either is missing or unreadable, or if the shapes and types of the
    arrays differ from those in the header.
    """
    header = load_header(folder)
    arrays: Arrays = {}
    if header["arrays"]:
        path = folder / ARRAYS_FILE
        if not path.exists():
            raise ArtefactError(
                f"{folder} holds scores but no weights (reference models are shipped without "
                f"weights); train the model with `matlode train models {folder.name}`."
            )
        arrays = read_arrays(path, header["arrays"])
    for name, claim in header["arrays"].items():
        found = [str(arrays[name].dtype), *arrays[name].shape]
        if found != claim:
            raise ArtefactError(
                f'{folder}: array "{name}" is {found[0]}{found[1:]}, but the header declares '
                + (f"{claim[0]}{claim[1:]}" if isinstance(claim, list) and claim else f"{claim}")
                + "; copy the folder again, or retrain the model."
            )
    return Artefact(header, arrays)


def read_arrays(
    path: Path, names: Iterable[str] | None = None, *, max_bytes: int = MAX_ARRAYS_BYTES
) -> Arrays:
    """Read arrays of an .npz file by name (default: all).

    Memory is allocated only for bytes that the file holds, at most ``max_bytes``. Names in the
    archive are not used as paths. Raises ArtefactError if the file is damaged, does not contain a
    name, is larger than ``max_bytes``, or holds Python objects, and FileNotFoundError if it does
    not exist.
    """
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            members = {m.filename: m for m in archive.infolist()}
            wanted = [f"{n}.npy" for n in names] if names is not None else list(members)
            size = sum(members[name].file_size for name in wanted)
            if size > max_bytes:
                raise ArtefactError(
                    f"{path} is too large: {size / 1e6:,.0f} MB uncompressed, more than the limit "
                    f"of {max_bytes / 1e6:,.0f} MB; it is not a file of matlode."
                )
            return {
                name.removesuffix(".npy"): _read_array(archive, members[name]) for name in wanted
            }
    except FileNotFoundError:
        raise
    except MALFORMED as error:
        raise ArtefactError(f"{path} is damaged or incomplete ({error}).") from error


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.generic]:
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
            raise ValueError(f'the size of "{member.filename}" differs from that in its header')
        array = np.empty(math.prod(shape), dtype)
        room = array.view(np.uint8) if n_bytes else np.empty(0, np.uint8)
        done = 0
        while done < n_bytes:
            part = stream.read(min(1 << 20, n_bytes - done))
            if not part:
                raise EOFError(f'"{member.filename}" ends too early')
            room[done : done + len(part)] = np.frombuffer(part, np.uint8)
            done += len(part)
        stream.read(1)  # verifies the checksum
    return array.reshape(shape, order="F" if by_columns else "C")


def inside(folder: Path, name: str) -> Path:
    """Return the path of the file ``name`` that a table in ``folder`` refers to.

    Raises InputError if the path lies outside ``folder``.
    """
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{folder} refers to a file outside the folder ({name!r}); expected names of files "
            "inside it. Use a copy of the folder whose tables were not edited."
        )
    return file


def grouped(
    arrays: Mapping[str, NDArray[np.generic]], *, at_last: bool = False
) -> dict[str, Arrays]:
    """Return {group: {rest of the name: array}} for arrays named "group/rest".

    ``at_last`` splits names at the last slash instead of the first.
    """
    groups: dict[str, Arrays] = defaultdict(dict)
    for name, array in arrays.items():
        group, _, rest = name.rpartition("/") if at_last else name.partition("/")
        groups[group][rest] = array
    return groups


def flatten_groups(groups: Mapping[str, Mapping[str, NDArray[np.generic]]]) -> Arrays:
    """Return arrays named "group/rest": the inverse of ``grouped``."""
    return {
        f"{group}/{rest}": array
        for group, members in groups.items()
        for rest, array in members.items()
    }


def read_json(path: Path, error: type[MatlodeError] = InputError) -> Any:
    """Read a JSON file.

    Raises ``error`` if the content is not valid JSON, and FileNotFoundError if the file does not
    exist.
    """
    text = _read_text(path, error)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{path} is not readable JSON ({problem}).") from problem


def read_toml(path: Path) -> JsonObject:
    """Read a TOML file. Raises InputError if it does not exist or cannot be parsed."""
    try:
        return tomllib.loads(_read_text(path, InputError))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error}).") from error


def _read_text(path: Path, error: type[MatlodeError]) -> str:
    with path.open("rb") as stream:  # the size of a device or pipe is unknown before reading
        data = stream.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise error(f"{path} has more than {MAX_TEXT_BYTES >> 20} MB; it is not a file of matlode.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{path} is not readable JSON or TOML ({problem}).") from problem


def write_json(path: Path, value: object) -> None:
    """Write JSON to a temporary file and rename it to ``path``.

    Raises ValueError for NaN and infinity, and WriteError as ``write_atomically`` does.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    # lone surrogates, as in file names of unknown encoding, are written as JSON escapes
    data = text.encode(errors="backslashreplace")
    write_atomically(path, lambda stream: stream.write(data + b"\n"))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a temporary file and rename it to ``path``.

    Lone surrogates become "?". Raises WriteError as ``write_atomically`` does.
    """
    write_atomically(path, lambda stream: stream.write(text.encode(errors="replace")))


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with a temporary file beside ``path``, then rename the file to ``path``.

    Raises WriteError if the file cannot be written; an existing file is then left unchanged.
    """
    with convert_write_errors(path):
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
def convert_write_errors(path: Path) -> Iterator[None]:
    """Convert each OSError of the block to a WriteError that says what to do."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written ({error.strerror or error}); free some space or choose "
            "another folder, then run the command again: finished parts are kept."
        ) from error


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock ``folder`` for this process. Raises InputError if another process holds the lock.

    The operating system releases the lock of a process that is killed.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    with convert_write_errors(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"another process is using {folder}; wait until it ends, or choose another folder."
            ) from error
    try:
        yield
    finally:
        lock.release()
