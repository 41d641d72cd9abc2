"""Examine the installation: ``matlode doctor``."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import matlode
from matlode.artefacts import HEADER_FILE, find_shipped_models, load_header
from matlode.data.tables import DATA_VARIABLE, count_rows, find_full_table, find_starter
from matlode.errors import ArtefactError, InputError
from matlode.evidence.laboratory import get_cache_folder
from matlode.kernel_cache import VARIABLE, find_user_cache

CORE_PACKAGES = ("numpy", "torch", "numba", "pymatgen", "moyopy", "optuna", "pyarrow", "typer")
EXTRAS = {
    "app": "the local page",
    "relax": "evidence from potentials",
    "cluster": "Dask, PostgreSQL",
    "databases": "mp:, optimade:, jarvis:, matminer:",
    "figures": "maps of latent spaces",
    "mcp": "tools for agents",
    "refine": "Rietveld refinements",
    "bench": "other engines to compare with",
}
"""Optional extra → what it is for."""
LEAST_MEMORY_GB = 2.0
"""A search takes 1.2 GB."""


@dataclass(frozen=True)
class Finding:
    """One result of the examination."""

    about: str
    """versions, machine, extras, data, models, cache or kernels."""
    name: str
    found: str
    state: Literal["ok", "absent", "wrong"] = "ok"
    """``absent``: something optional is missing."""
    advice: str = ""


def examine_installation(models: Path | None = None) -> list[Finding]:
    """Versions, cores, memory, GPU, optional extras, data, models, cache and compiled kernels.

    Nothing is written and nothing is computed. ``models`` is a folder of the user's own.
    """
    return [
        *_versions(),
        *_machine(),
        *_extras(),
        *_data(),
        *_models(find_shipped_models(), "shipped"),
        *(_models(models, "own") if models else ()),
        _cache(),
        _kernels(),
    ]


def _versions() -> Iterator[Finding]:
    place = Path(matlode.__file__).parent
    yield Finding("versions", "matlode", f"{matlode.__version__}, {place}")
    yield Finding("versions", "Python", f"{platform.python_version()}, {sys.executable}")
    for name in CORE_PACKAGES:
        if found := _version(name):
            yield Finding("versions", name, found)
    for name in _packages_of(""):
        if _version(name) is None:
            advice = "install matlode again: this version needs more packages"
            yield Finding("versions", name, "missing", "wrong", advice)


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "system", f"{platform.system()} {platform.machine()}")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("machine", "cores", f"{usable} of {os.cpu_count()}")
    memory = _memory_gb()
    if memory is not None:
        small = memory < LEAST_MEMORY_GB
        advice = f"a search takes up to {LEAST_MEMORY_GB:g} GB" if small else ""
        state: Literal["ok", "wrong"] = "wrong" if small else "ok"
        yield Finding("machine", "memory", f"{memory:.1f} GB", state, advice)
    yield _gpu()


def _memory_gb() -> float | None:
    """Memory of the machine; None if the system does not report it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return None


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("machine", "GPU", torch.cuda.get_device_name(0))
    return Finding("machine", "GPU", "none (not required)", "absent")


def _extras() -> Iterator[Finding]:
    for extra, purpose in EXTRAS.items():
        packages = _packages_of(extra)
        missing = [name for name in packages if _version(name) is None]
        if missing or not packages:  # none: installed before there was this extra
            lacking = f"for {purpose}; missing: {', '.join(missing) or 'all'}"
            yield Finding("extras", extra, lacking, "absent", f'pip install "matlode[{extra}]"')
        else:
            found = ", ".join(f"{name} {_version(name)}" for name in packages)
            yield Finding("extras", extra, f"{purpose}: {found}")


def _packages_of(extra: str) -> list[str]:
    """Packages that an extra needs, as declared by the installed package; without an extra, those
    that are always needed."""
    marker = re.compile(rf"extra\s*==\s*[\"']{extra}[\"']" if extra else r"^[^;]*$")
    lines = requires("matlode") or []
    return [re.split(r"[^\w.-]", line)[0] for line in lines if marker.search(line)]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _data() -> Iterator[Finding]:
    yield _table("starter set", find_starter())
    try:
        full = find_full_table()
    except InputError as error:
        yield Finding("data", DATA_VARIABLE, "not found", "wrong", str(error))
        return
    if full is None:
        advice = "needed only for training on a full table"
        yield Finding("data", DATA_VARIABLE, "not set", "absent", advice)
        return
    yield _table(DATA_VARIABLE, full)
    formulas = full.parent / "compositions.parquet"
    if formulas.exists():
        yield _table("formulas", formulas)


def _table(name: str, path: Path) -> Finding:
    try:
        rows = count_rows(path)
    except InputError as error:
        return Finding("data", name, f"{path}: not readable", "wrong", str(error))
    return Finding("data", name, f"{rows:,} rows, {_size(path.stat().st_size)}, {path}")


def _models(folder: Path, whose: str) -> Iterator[Finding]:
    headers = sorted(folder.glob(f"*/{HEADER_FILE}"))
    if not headers:
        advice = (
            "the package is incomplete"
            if whose == "shipped"
            else "`matlode train models` makes them"
        )
        yield Finding("models", whose, f"none in {folder}", "wrong", advice)
        return
    size = sum(file.stat().st_size for file in folder.glob("*/*"))
    yield Finding("models", whose, f"{len(headers)}, {_size(size)}, {folder}")
    for header in headers:
        try:
            load_header(header.parent)
        except ArtefactError as error:
            yield Finding("models", header.parent.name, "damaged", "wrong", str(error))


def _cache() -> Finding:
    folder = get_cache_folder()
    files = list(folder.rglob("*.json")) if folder.is_dir() else []
    if not files:
        return Finding("cache", "potentials", f"empty, {folder}", "absent")
    size = sum(file.stat().st_size for file in files)
    return Finding("cache", "potentials", f"{len(files):,} results, {_size(size)}, {folder}")


def _kernels() -> Finding:
    """Count compiled kernels: numba writes one index (.nbi) for each."""
    package = Path(matlode.__file__).parent
    modules = {path.stem for path in package.rglob("*.py")}
    folder = os.environ.get(VARIABLE)
    for place in [Path(folder)] if folder else [package, find_user_cache()]:
        # other packages keep their kernels in the user's folder too
        n = sum(path.name.partition(".")[0] in modules for path in place.rglob("*.nbi"))
        if n:
            return Finding("kernels", "compiled", f"{n}, below {place}")
    return Finding(
        "kernels",
        "compiled",
        "none yet",
        "absent",
        "the first command compiles them once, in about 20 s",
    )


def _size(n_bytes: int) -> str:
    """
    >>> _size(812), _size(51_400_000)
    ('812 B', '51.4 MB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes} B"
