"""Rietveld refinement of a structure with rietx, an optional package."""

from __future__ import annotations

from pathlib import Path

from matlode.artefacts import write_text
from matlode.errors import InputError
from matlode.representation.kalpha2 import find_anode
from matlode.representation.patterns import MeasuredPattern


def refine_structure(cif: Path, pattern: MeasuredPattern, out: Path) -> float:
    """Refine the structure in a CIF file against a pattern; returns Rwp.

    A Bragg-Brentano diffractometer with both Kα lines is assumed. The cell, peak widths and
    background are fitted without a structure first (Le Bail), then the structure in the order of
    McCusker et al. (J. Appl. Crystallogr. 32, 36, 1999). The folder ``out`` gets what rietx says:
    result.json, report.txt, and fit.png with the observed and calculated patterns.

    Raises InputError if rietx is not installed, if the wavelength is of no known anode, and if
    rietx cannot refine the structure.
    """
    try:
        import rietx
    except ImportError as error:
        raise InputError(
            'refinements need rietx, which is not installed; run pip install "matlode[refine]".'
        ) from error
    anode = find_anode(pattern.wavelength_angstrom)
    if anode is None:
        raise InputError(
            f"λ = {pattern.wavelength_angstrom:g} Å is of no anode that refinements know; give a "
            "radiation such as CuKa (--wavelength)."
        )
    data = rietx.PatternData(
        two_theta=pattern.two_theta_deg.tolist(),
        intensity=pattern.intensity.tolist(),
        sigma=None if pattern.sigma is None else pattern.sigma.tolist(),
    )
    try:
        refinement = rietx.Refinement(
            rietx.Structure.from_cif(str(cif)),
            rietx.Instrument.bragg_brentano(radiation=f"{anode}Ka"),
            history=False,
        )
        refinement.fit(data, mode="lebail")
        result = refinement.fit(data, plan="mccusker_default")
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"rietx cannot refine {cif.name}: {error}") from error
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "result.json", result.model_dump_json(indent=1))
    write_text(out / "report.txt", str(rietx.build_report(result)))
    result.plot(path=str(out / "fit.png"))
    return float(result.statistics.rwp)
