"""Peak lists and patterns of given crystals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from matlode.artefacts import write_text
from matlode.data.formulas import conventional_formula
from matlode.data.readers import read_materials
from matlode.errors import PatternError
from matlode.progress import Progress, silent
from matlode.representation.diffraction import (
    DiffractionSettings,
    simulate_patterns,
    simulate_peaks,
)


def list_peaks(
    sources: Sequence[str | Path], settings: DiffractionSettings, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Per crystal id, formula, error and peaks (2θ, d, intensity, reflections), JSON-ready.

    A file that cannot be read, or a crystal without peaks, has its reason in ``error``.
    """
    materials = read_materials(sources)
    answers = []
    for row in range(len(materials)):
        progress("peaks", row, len(materials))
        answer: dict[str, Any] = {
            "id": str(materials.frame["id"].iloc[row]),
            "formula": conventional_formula(materials.frame["formula"].iloc[row]),
            "error": None,
            "peaks": [],
        }
        try:
            found = simulate_peaks(materials.crystals.structure(row), settings)
        except PatternError as error:
            answer["error"] = str(error)
        else:
            answer["peaks"] = [
                {
                    "two_theta_deg": float(found.two_theta_deg[p]),
                    "d_angstrom": float(found.d_angstrom[p]),
                    "intensity": float(found.intensity[p]),
                    "reflections": [
                        {"hkl": list(r.hkl), "multiplicity": r.multiplicity}
                        for r in found.reflections[p]
                    ],
                }
                for p in range(len(found.intensity))
            ]
        answers.append(answer)
    progress("peaks", len(materials), len(materials))
    bad = [{"id": d.id, "formula": "", "error": d.reason, "peaks": []} for d in materials.dropped]
    return answers + bad


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
            continue  # told by list_peaks
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
