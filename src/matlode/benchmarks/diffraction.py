"""Benchmark of the powder diffraction engine: speed and accuracy against other public engines.

Compare ratios within one run; absolute times depend on the machine. Engines that are not installed
are reported and skipped.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.benchmarks.tables import Row, Tables
from matlode.data.crystals import Crystals
from matlode.data.symmetry import crystal_system, find_space_group
from matlode.data.tables import load_starter, read_table
from matlode.progress import Progress, silent
from matlode.representation.diffraction import simulate_patterns
from matlode.testing import draw_gaussians, simulate_brute_force

if TYPE_CHECKING:
    from pymatgen.core import Structure

REPEATS = 7
SHAKE_A = 0.001
"""Standard deviation (Å) of the displacements that remove all symmetry from a structure."""
SLOW_ENGINE = 40
"""Number of structures for engines that need a large fraction of a second for each."""
Peaks: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Angles (degrees 2θ) and intensities of the peaks of a structure."""


@dataclass(frozen=True)
class EngineTime:
    """Time of an engine, on one thread unless its name says otherwise."""

    engine: str
    structures: int
    ms_per_structure: float
    times_pymatgen: float
    """Speed relative to pymatgen, on the same structures."""
    largest_difference: float | None
    """Largest deviation from the brute-force profile; both have a maximum of 100."""


def bench_diffraction(
    table: Path | None = None,
    *,
    n_structures: int = 600,
    n_exact: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> Tables:
    """Time the engines on ``n_structures`` structures of a table (default: the starter set), and
    measure the accuracy of matlode's on ``n_exact`` structures, by crystal system.

    Returns {"times": rows of EngineTime, "exactness": rows by crystal system}.
    """
    materials = read_table(table) if table else load_starter()
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(materials))
    crystals = materials.crystals.take(np.sort(rows[:n_structures]))
    return {
        "times": [asdict(row) for row in _time_engines(crystals, rng, progress)],
        "exactness": _measure_exactness(materials.crystals.take(np.sort(rows[:n_exact])), progress),
    }


def _time_engines(
    crystals: Crystals, rng: np.random.Generator, progress: Progress
) -> list[EngineTime]:
    structures = crystals.structures()
    exact = _compute_brute_force(structures, progress)
    simulate_patterns(crystals.take([0]), n_threads=1)  # compiles
    ours = simulate_patterns(crystals, n_threads=1, dtype=float)
    n = len(crystals)
    seconds = {
        "matlode": _time_median(lambda: simulate_patterns(crystals, n_threads=1)),
        "matlode, all threads": _time_median(lambda: simulate_patterns(crystals)),
        "matlode, atoms shaken: no symmetry": _time_median(
            lambda: simulate_patterns(shaken, n_threads=1)
        )
        if (shaken := _displace_atoms(crystals, rng))
        else 0.0,
        "matlode, from pymatgen objects": _time_median(
            lambda: simulate_patterns(structures, n_threads=1)
        ),
    }
    times: dict[str, list[float]] = {}
    found: dict[str, list[NDArray[np.float64]]] = {}
    for name, load in ENGINES.items():
        engine = load()
        if engine is None:
            progress(f"{name}: not installed", 1, 1)
            continue
        some = structures if name in FAST_ENGINES else structures[:SLOW_ENGINE]
        times[name], found[name] = [], []
        for at, structure in enumerate(some, start=1):
            start = time.perf_counter()
            peaks = engine(structure)
            times[name].append(time.perf_counter() - start)
            found[name].append(draw_gaussians(*peaks))
            progress(name, at, len(some))
    pymatgen = np.array(times["pymatgen"])
    result = [
        EngineTime(name, n, 1e3 * s / n, pymatgen.sum() / s, _largest_difference(ours, exact))
        for name, s in seconds.items()
    ]
    for name, each in times.items():
        same = pymatgen[: len(each)].sum()
        worst = _largest_difference(np.array(found[name]), exact[: len(each)])
        mean = 1e3 * float(np.mean(each))
        result.append(EngineTime(name, len(each), mean, same / sum(each), worst))
    return result


def _measure_exactness(crystals: Crystals, progress: Progress) -> list[Row]:
    """Largest and median deviation from the brute-force profile (maximum 100) by crystal
    system."""
    ours = simulate_patterns(crystals, dtype=float)
    exact = _compute_brute_force(crystals.structures(), progress)
    difference = 100 * abs(ours - exact).max(axis=1)
    systems = np.array(
        [crystal_system(find_space_group(crystals, row)) for row in range(len(crystals))]
    )
    return [
        {
            "crystal_system": system,
            "structures": int((systems == system).sum()),
            "largest_difference": float(difference[systems == system].max()),
            "median_difference": float(np.median(difference[systems == system])),
        }
        for system in sorted(set(systems.tolist()))
    ]


def _compute_brute_force(
    structures: Sequence[Structure], progress: Progress
) -> NDArray[np.float64]:
    patterns = []
    for at, structure in enumerate(structures, start=1):
        patterns.append(simulate_brute_force(structure))
        progress("brute force", at, len(structures))
    return np.array(patterns)


def _time_median(work: Callable[[], object]) -> float:
    """Median time of REPEATS calls in seconds, after a first one that is not timed."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _largest_difference(ours: NDArray[np.float64], exact: NDArray[np.float64]) -> float:
    return float(100 * abs(ours - exact).max())


def _displace_atoms(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    moved = [
        crystals.frac_coords[crystals.atoms(i)]
        + rng.normal(0, SHAKE_A, (crystals.n_atoms[i], 3)) @ np.linalg.inv(crystals.lattices[i])
        for i in range(len(crystals))
    ]
    return Crystals(
        crystals.lattices,
        crystals.numbers,
        np.concatenate(moved),
        crystals.occupancies,
        crystals.offsets,
    )


Engine: TypeAlias = Callable[["Structure"], Peaks]
"""Structure → its peaks within PEAK_RANGE_DEG for Cu Kα."""
PEAK_RANGE_DEG = (8.5, 91.5)
"""The grid and 10 σ beyond, since peaks outside the grid reach into it."""


def _load_pymatgen() -> Engine | None:
    from pymatgen.analysis.diffraction.xrd import XRDCalculator

    calculator = XRDCalculator(wavelength="CuKa")

    def peaks(structure: Structure) -> Peaks:
        pattern = calculator.get_pattern(structure, two_theta_range=PEAK_RANGE_DEG)
        return pattern.x, pattern.y

    return peaks


def _load_gemmi() -> Engine | None:
    """Structure factors from gemmi (form factors of the International Tables); angles and
    Lorentz-polarisation factors as in matlode."""
    try:
        import gemmi
    except ImportError:
        return None
    wavelength = 1.54184
    spacings = wavelength / (2 * np.sin(np.radians(np.array(PEAK_RANGE_DEG) / 2)))

    def peaks(structure: Structure) -> Peaks:
        small = gemmi.SmallStructure()
        small.cell = gemmi.UnitCell(*structure.lattice.parameters)
        for site in structure:
            for species, occupancy in site.species.items():
                atom = gemmi.SmallStructure.Site()
                atom.element = gemmi.Element(species.symbol)
                atom.fract = gemmi.Fractional(*site.frac_coords)
                atom.occ = occupancy
                small.add_site(atom)
        group = gemmi.SpaceGroup("P 1")
        hkl = gemmi.make_miller_array(small.cell, group, spacings[1], spacings[0])
        calculator = gemmi.StructureFactorCalculatorX(small.cell)
        amplitude = [calculator.calculate_sf_from_small_structure(small, h) for h in hkl.tolist()]
        theta = np.arcsin(wavelength / 2 / small.cell.calculate_d_array(hkl))
        polarisation = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
        return 2 * np.degrees(theta), abs(np.array(amplitude)) ** 2 * polarisation

    return peaks


def _load_dans_diffraction() -> Engine | None:
    """Structure factors from Dans_Diffraction, via a CIF; angles and Lorentz-polarisation factors
    as in matlode."""
    try:
        with redirect_stdout(StringIO()):  # it prints a banner
            import Dans_Diffraction
    except ImportError:
        return None
    from pymatgen.io.cif import CifWriter

    wavelength = 1.54184
    largest_q = 4 * np.pi / wavelength * np.sin(np.radians(PEAK_RANGE_DEG[1] / 2))

    def peaks(structure: Structure) -> Peaks:
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
            path = Path(folder) / "crystal.cif"
            CifWriter(structure).write_file(path)
            crystal = Dans_Diffraction.Crystal(str(path))
        crystal.Scatter._use_isotropic_thermal_factor = False
        hkl = crystal.Cell.all_hkl(maxq=largest_q)
        two_theta = crystal.Cell.tth(hkl, wavelength_a=wavelength)
        seen = (two_theta >= PEAK_RANGE_DEG[0]) & (two_theta <= PEAK_RANGE_DEG[1])
        theta = np.radians(two_theta[seen] / 2)
        polarisation = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
        return two_theta[seen], crystal.Scatter.intensity(hkl[seen], "xray") * polarisation

    return peaks


ENGINES: dict[str, Callable[[], Engine | None]] = {
    "pymatgen": _load_pymatgen,
    "gemmi": _load_gemmi,
    "Dans_Diffraction": _load_dans_diffraction,
}
"""Name → function that loads the engine and returns None if it is not installed."""

FAST_ENGINES = ("pymatgen", "gemmi")
