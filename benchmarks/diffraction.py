"""The powder engine against pymatgen's XRDCalculator, in one run on one thread.

    python benchmarks/diffraction.py [--structures 600] [--table structures.parquet]

Prints milliseconds per structure of both, their ratio, and the largest difference of the
max-normalised profiles on a scale of 0..100. pymatgen's peaks are broadened here with the same
Gaussians; its newest version splits some peaks at a rounding boundary, which merging by gap
(before broadening) undoes in its profile too.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from pymatgen.analysis.diffraction.xrd import XRDCalculator

from matlode.data.tables import load_starter, read_table
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns


def pymatgen_profile(calculator: XRDCalculator, structure) -> np.ndarray:
    """Max-normalised profile of pymatgen's peaks on the standard grid."""
    grid, sigma = STANDARD_SETTINGS.two_theta_deg, STANDARD_SETTINGS.peak_sigma_deg
    peaks = calculator.get_pattern(structure, two_theta_range=(grid[0], grid[-1]))
    profile = np.zeros_like(grid)
    for centre, height in zip(peaks.x, peaks.y, strict=True):
        profile += height * np.exp(-0.5 * ((grid - centre) / sigma) ** 2)
    return profile / profile.max()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", type=int, default=600)
    parser.add_argument("--table", type=Path, default=None)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    materials = read_table(options.table) if options.table else load_starter()
    rng = np.random.default_rng(options.seed)
    rows = np.sort(rng.permutation(len(materials))[: options.structures])
    crystals = materials.crystals.take(rows)
    structures = crystals.structures()
    simulate_patterns(crystals.take(range(2)), n_threads=1)  # compile

    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        ours = simulate_patterns(crystals, n_threads=1)
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    two_threads = simulate_patterns(crystals)
    threaded = time.perf_counter() - start
    assert np.array_equal(ours, two_threads)

    calculator = XRDCalculator()
    start = time.perf_counter()
    for structure in structures:
        calculator.get_pattern(structure, two_theta_range=(10, 90))
    theirs = time.perf_counter() - start
    profiles = np.array([pymatgen_profile(calculator, structure) for structure in structures])
    difference = 100 * np.abs(profiles - ours).max(axis=1)

    n = len(rows)
    mine = float(np.median(seconds))
    print(f"{n} structures, {crystals.n_atoms.mean():.1f} atoms on average")
    print(f"matlode, one thread   {1e3 * mine / n:8.4f} ms per structure (median of 5)")
    print(f"matlode, all threads  {1e3 * threaded / n:8.4f} ms per structure")
    print(f"pymatgen, one thread  {1e3 * theirs / n:8.4f} ms per structure: {theirs / mine:.0f} x")
    print(
        f"largest difference (0..100): {difference.max():.5f}, median {np.median(difference):.6f}"
    )


if __name__ == "__main__":
    main()
