"""Measured powder patterns of known phases from other installed packages.

No pattern is part of matlode; each stays in its package, under its own licence.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.data.formulas import atomic_numbers, parse_formula
from matlode.data.readers import read_materials
from matlode.data.tables import Materials
from matlode.representation.patterns import MeasuredPattern
from matlode.representation.radiation import find_wavelength

SYSTEM_ROOT: Final = "MATLODE_SYSTEM_ROOT"
"""Environment variable with the root folder of the system packages (default: /)."""

Curve = tuple[NDArray[np.floating], NDArray[np.floating]]
"""2θ in degrees and counts."""


@dataclass(frozen=True)
class MeasuredPhase:
    """A measured pattern and its known main phase."""

    name: str
    package: str
    formula: str
    """Canonical, of the main phase."""
    space_group: int
    pattern: MeasuredPattern
    structure: Materials | None
    """Structure of the main phase, if the package has one."""

    @property
    def numbers(self) -> list[int]:
        """Atomic numbers of the elements of the main phase."""
        return [atomic_numbers()[symbol] for symbol in parse_formula(self.formula)]


@dataclass(frozen=True)
class _Source:
    name: str
    package: str
    file: str
    """Path in the package or below SYSTEM_ROOT."""
    formula: str
    space_group: int
    wavelength: str | float
    read: Callable[[Path], Curve]
    structure: str | None = None


def find_measured() -> Iterator[MeasuredPhase]:
    """Read the patterns of the installed packages."""
    for source in _SOURCES:
        file = _find_file(source.package, source.file)
        if file is None:
            continue
        two_theta, counts = source.read(file)
        pattern = MeasuredPattern(
            two_theta_deg=two_theta.astype(float),
            intensity=counts.astype(float),
            sigma=None,
            wavelength_angstrom=find_wavelength(source.wavelength),
            source=str(file),
        )
        own = _find_file(source.package, source.structure) if source.structure else None
        structure = read_materials([own]) if own else None
        yield MeasuredPhase(
            source.name, source.package, source.formula, source.space_group, pattern, structure
        )


def _find_file(package: str, file: str) -> Path | None:
    if file.startswith("usr/"):
        path = Path(os.environ.get(SYSTEM_ROOT, "/")) / file
    else:
        try:
            path = Path(str(metadata.distribution(package).locate_file(file)))
        except metadata.PackageNotFoundError:
            return None
    return path if path.is_file() else None


def _read_gsas(file: Path) -> Curve:
    """GSAS raw data with constant steps: STD (ten counts per line) and FXYE."""
    lines = file.read_text(encoding="ascii").splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("BANK"))
    words = lines[head].split()
    n, start, step = int(words[2]), float(words[5]) / 100, float(words[6]) / 100
    if words[-1] == "FXYE":
        table = np.array([line.split() for line in lines[head + 1 : head + 1 + n]], float)
        return table[:, 0] / 100, table[:, 1]
    # each count is preceded by two digits with the number of detectors
    body = "".join(line.ljust(80)[:80] for line in lines[head + 1 :])
    counts = np.array([float(body[8 * i + 2 : 8 * i + 8]) for i in range(n)])
    return start + step * np.arange(n), counts


def _read_fox(file: Path) -> Curve:
    """First angle and step in the first line, then counts."""
    first, *rest = gzip.decompress(file.read_bytes()).decode("latin-1").splitlines()
    start, step = (float(word) for word in first.split()[:2])
    counts = np.array(" ".join(rest).split(), float)
    return start + step * np.arange(len(counts)), counts


def _read_fox_xml(file: Path) -> Curve:
    text = gzip.decompress(file.read_bytes()).decode("latin-1")
    found = re.search(
        r'<IobsSigmaWeightList TThetaMin="([^"]+)" TThetaStep="([^"]+)">(.*?)</Iobs', text, re.S
    )
    if found is None:
        raise ValueError(f"no measured pattern (IobsSigmaWeightList) in {file}")
    counts = np.array(found[3].split(), float).reshape(-1, 3)[:, 0]
    return float(found[1]) + float(found[2]) * np.arange(len(counts)), counts


def _read_columns(file: Path) -> Curve:
    table = np.loadtxt(file)
    return table[:, 0], table[:, 1]


_RIETX = "rietx/data/examples"
_FOX = "usr/share/doc/objcryst-fox/example"
_SOURCES: Final = (
    _Source(
        "Na2Ca3Al2F14 with CaF2, APS 11-BM", "rietx", f"{_RIETX}/11BM_NAC.fxye", "Al2Ca3F14Na2",
        199, 0.413909, _read_gsas, f"{_RIETX}/cod_1000236.cif",
    ),
    _Source(
        "fluorapatite, laboratory", "rietx", f"{_RIETX}/FAP.XRA", "Ca5FO12P3", 176, "CuKa",
        _read_gsas, f"{_RIETX}/fluorapatite.cif",
    ),
    _Source(
        "PbSO4, Rietveld round robin", "objcryst-fox", f"{_FOX}/tutorial-pbso4/xray.dat.gz",
        "O4PbS", 62, "CuKa", _read_fox,
    ),
    _Source(
        "textured brucite", "objcryst-fox", f"{_FOX}/brucite-textured.xml.gz", "H2MgO2", 164,
        "CuKa", _read_fox_xml,
    ),
    _Source(
        "SiC with Zn", "fityk", "usr/share/fityk/samples/SiC_Zn.dat", "CSi", 216, "CuKa",
        _read_columns,
    ),
)  # fmt: skip
