"""Where numba keeps compiled kernels, if neither the installation nor the home can be written.

Numba refuses to load kernels then; containers often are like that.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
"""Numba's own variable; processes that are started inherit it."""


def choose_kernel_cache(package: Path) -> None:
    """Set NUMBA_CACHE_DIR to a temporary folder if it is not set and numba could write nowhere.

    Numba writes to ``__pycache__`` beside the kernels, else to the user's folder of caches. To be
    called before the first kernel is defined.
    """
    beside = [package / room / "__pycache__" for room in ("representation", "data")]
    if VARIABLE in os.environ or all(map(_can_write, beside)):
        return
    if _can_write(find_user_cache()):
        return
    folder = _make_temporary_folder()
    os.environ[VARIABLE] = str(folder)
    print(
        f"Compiled kernels are kept in {folder}; set {VARIABLE} to a folder that lasts, and later "
        "commands start faster.",
        file=sys.stderr,
    )


def find_user_cache() -> Path:
    """The folder of caches that numba uses where it cannot write beside the kernels."""
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or Path("~/AppData/Local").expanduser()
        return Path(home) / "numba" / "Cache"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/numba").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "numba"


def _can_write(folder: Path) -> bool:
    """Whether a file can be written into the folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _make_temporary_folder() -> Path:
    """A folder of this user's alone: loading kernels that somebody else wrote runs their code."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"matlode-kernels-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="matlode-kernels-"))
    is_ours = not hasattr(os, "getuid") or (state.st_uid == user and not state.st_mode & 0o022)
    if folder.is_symlink() or not is_ours:
        return Path(tempfile.mkdtemp(prefix="matlode-kernels-"))
    return folder
