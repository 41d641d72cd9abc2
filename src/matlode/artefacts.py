"""What is saved: a JSON header beside plain arrays, readable by anyone, never a pickle.

An artefact is a folder with ``model.json`` and ``weights.npz``. Files are written under a
temporary name and renamed, so that a reader never sees half of one.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from matlode.errors import ArtefactError

SCHEMA = 1
"""Version of the layout; a change adds a step to the readers and a specimen to the tests."""

HEADER_FILE = "model.json"
ARRAYS_FILE = "weights.npz"

DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a cut or altered .npz file may raise."""


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
            "`matlode train` makes the models."
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
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: [str(a.dtype), *a.shape] for name, a in arrays.items()}
    full = {**header, "schema": SCHEMA, "kind": kind, "arrays": shapes}
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
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(
            f"no model at {folder} (no {HEADER_FILE}); `matlode train` makes the models."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path} is not readable JSON ({error}).") from error
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
                f"`matlode train {folder.name}` remakes them."
            )
        try:
            # an open stream: np.load would leave a damaged file open
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in header["arrays"]}
        except DAMAGED as error:
            raise ArtefactError(f"{path} is damaged or incomplete ({error}).") from error
    for name, (dtype, *shape) in header["arrays"].items():
        if list(arrays[name].shape) != shape or str(arrays[name].dtype) != dtype:
            raise ArtefactError(
                f'{folder}: array "{name}" is {arrays[name].dtype}{list(arrays[name].shape)}, '
                f"the header says {dtype}{shape}."
            )
    return Artefact(header, arrays)


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


def write_json(path: Path, value: Any) -> None:
    """Write JSON under a temporary name, then rename; NaN is refused."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, lambda stream: stream.write(text.encode() + b"\n"))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text under a temporary name, then rename."""
    write_atomically(path, lambda stream: stream.write(text.encode()))


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it to ``path``."""
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
