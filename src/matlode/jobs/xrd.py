"""Peak lists and patterns of given crystals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from matlode.artefacts import write_text
from matlode.data.formulas import format_formula
from matlode.data.readers import Sources, read_materials
from matlode.data.tables import Materials
from matlode.errors import PatternError
from matlode.progress import Progress, silent
from matlode.representation.diffraction import (
    DiffractionSettings,
    simulate_patterns,
    simulate_peaks,
)
from matlode.representation.radiation import find_wavelength


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


@dataclass(frozen=True, repr=False)
class PeakList:
    """The peaks of one crystal, or why there are none."""

    id: str
    formula: str
    error: str | None
    peaks: tuple[ListedPeak, ...] = ()

    def __repr__(self) -> str:
        if self.error is not None:
            return f"PeakList({self.id}: {self.error})"
        return f"PeakList({self.formula}: {len(self.peaks)} peaks)"

    def to_json(self) -> dict[str, object]:
        """The object that ``matlode xrd --json`` prints."""
        return asdict(self)


GRID_STEP_DEG = 0.05
"""Step of the 2θ grid of written patterns."""


def xrd(
    sources: Sources,
    *,
    wavelength: str | float = "CuKa",
    two_theta_min_deg: float = 10.0,
    two_theta_max_deg: float = 90.0,
    out: str | Path | None = None,
    progress: Progress = silent,
) -> list[PeakList]:
    """List the powder peaks of crystals: 2θ, d, intensity, indices with multiplicities.

    ``sources`` are paths, pymatgen Structures, ASE Atoms or frames; ``wavelength`` is a length in
    Å or a radiation such as "MoKa1". The folder ``out`` gets the patterns as text. A crystal that
    cannot be read, or has no peaks, has the reason in ``error``. Raises InputError for an unknown
    radiation and for sources that do not exist.

    >>> xrd("salt.cif")
    [PeakList(NaCl: 9 peaks)]
    >>> [round(peak.two_theta_deg, 1) for peak in xrd("salt.cif")[0].peaks[:2]]
    [27.4, 31.7]
    """
    settings = DiffractionSettings(
        wavelength_angstrom=find_wavelength(wavelength),
        two_theta_min_deg=two_theta_min_deg,
        two_theta_max_deg=two_theta_max_deg,
        n_points=round((two_theta_max_deg - two_theta_min_deg) / GRID_STEP_DEG) + 1,
    )
    materials = read_materials(sources)
    lists = []
    for row in range(len(materials)):
        progress("peaks", row, len(materials))
        lists.append(_list_peaks_of(materials, row, settings))
    progress("peaks", len(materials), len(materials))
    if out is not None:
        _write_patterns(materials, Path(out), settings)
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


def _write_patterns(materials: Materials, out: Path, settings: DiffractionSettings) -> None:
    """One text file of 2θ and intensity (strongest 1) per crystal, named by its id."""
    out.mkdir(parents=True, exist_ok=True)
    names = _name_files([str(name) for name in materials.frame["id"]])
    for row, name in enumerate(names):
        try:
            pattern = simulate_patterns(materials.crystals.take([row]), settings)[0]
        except PatternError:
            continue  # the list gives the reason
        lines = [
            f"# wavelength = {settings.wavelength_angstrom:g}",
            "# 2theta intensity (strongest 1)",
        ]
        pairs = zip(settings.grid, np.asarray(pattern), strict=True)
        lines += [f"{angle:.4f} {height:.7g}" for angle, height in pairs]
        write_text(out / f"{name}.xy", "\n".join(lines) + "\n")


def _name_files(ids: Sequence[str]) -> list[str]:
    """Name each file by the stem of its id; where several have one stem, by the whole id.

    >>> _name_files(["cifs/a.cif", "cifs/b.cif", "cifs/b.vasp", "run.xyz:1", "run.xyz:2"])
    ['a', 'cifs-b.cif', 'cifs-b.vasp', 'run.xyz-1', 'run.xyz-2']
    """
    stems = [Path(name).stem.replace(":", "-") for name in ids]
    # some file systems do not distinguish upper from lower case
    counts = Counter(stem.lower() for stem in stems)
    taken: set[str] = set()
    names = []
    for whole, stem in zip(ids, stems, strict=True):
        name = stem if counts[stem.lower()] == 1 else re.sub(r"[/\\:]+", "-", whole).lstrip("-.")
        number = 1
        numbered = name
        while numbered.lower() in taken:
            number += 1
            numbered = f"{name}-{number}"
        taken.add(numbered.lower())
        names.append(numbered)
    return names
