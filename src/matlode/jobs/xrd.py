"""Peak lists and patterns of given crystals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from matlode.artefacts import write_text
from matlode.data.formulas import format_formula
from matlode.data.readers import read_materials
from matlode.data.tables import Materials
from matlode.errors import PatternError
from matlode.progress import Progress, silent
from matlode.representation.diffraction import (
    DiffractionSettings,
    simulate_patterns,
    simulate_peaks,
)


@dataclass(frozen=True)
class ListedReflection:
    """A family of lattice planes."""

    hkl: tuple[int, ...]
    multiplicity: int


@dataclass(frozen=True)
class ListedPeak:
    """A peak with the reflections that fall on it."""

    two_theta_deg: float
    d_angstrom: float
    intensity: float
    """The strongest peak has 1."""
    reflections: tuple[ListedReflection, ...]


@dataclass(frozen=True)
class PeakList:
    """The peaks of one crystal, or why there are none."""

    id: str
    formula: str
    error: str | None
    peaks: tuple[ListedPeak, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The object that ``matlode xrd --json`` prints."""
        return asdict(self)


def list_peaks(
    sources: Sequence[str | Path], settings: DiffractionSettings, progress: Progress = silent
) -> list[PeakList]:
    """List the peaks of crystals.

    A file that cannot be read, or a crystal without peaks, has the reason in ``error``.
    """
    materials = read_materials(sources)
    lists = []
    for row in range(len(materials)):
        progress("peaks", row, len(materials))
        lists.append(_list_peaks_of(materials, row, settings))
    progress("peaks", len(materials), len(materials))
    return lists + [PeakList(dropped.id, "", dropped.reason) for dropped in materials.dropped]


def _list_peaks_of(materials: Materials, row: int, settings: DiffractionSettings) -> PeakList:
    name = str(materials.frame["id"].iloc[row])
    formula = format_formula(materials.frame["formula"].iloc[row])
    try:
        found = simulate_peaks(materials.crystals.structure(row), settings)
    except PatternError as error:
        return PeakList(name, formula, str(error))
    peaks = tuple(
        ListedPeak(
            float(found.two_theta_deg[p]),
            float(found.d_angstrom[p]),
            float(found.intensity[p]),
            tuple(ListedReflection(tuple(r.hkl), r.multiplicity) for r in found.reflections[p]),
        )
        for p in range(len(found.intensity))
    )
    return PeakList(name, formula, None, peaks)


def write_patterns(
    sources: Sequence[str | Path], out: Path, settings: DiffractionSettings
) -> list[Path]:
    """One text file of 2θ and intensity (strongest 1) per readable crystal, named by its id."""
    materials = read_materials(sources)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for row in range(len(materials)):
        try:
            pattern = simulate_patterns(materials.crystals.take([row]), settings)[0]
        except PatternError:
            continue  # list_peaks gives the reason
        stem = Path(str(materials.frame["id"].iloc[row])).stem.replace(":", "-")
        lines = [
            f"# wavelength = {settings.wavelength_angstrom:g}",
            "# 2theta intensity (strongest 1)",
        ]
        pairs = zip(settings.grid, np.asarray(pattern), strict=True)
        lines += [f"{angle:.4f} {height:.7g}" for angle, height in pairs]
        paths.append(out / f"{stem}.xy")
        write_text(paths[-1], "\n".join(lines) + "\n")
    return paths
