"""Crystal structure to powder X-ray diffraction pattern."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals, pack_crystals
from matlode.data.formulas import element_symbols
from matlode.errors import EmptyPatternError, ScatteringError

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

CU_K_ALPHA_ANGSTROM = 1.54184
"""Mean Cu Kα, as in pymatgen."""


@dataclass(frozen=True, kw_only=True)
class DiffractionSettings:
    """What is measured, and how sharply."""

    wavelength_angstrom: float = CU_K_ALPHA_ANGSTROM
    """Cu Kα."""
    two_theta_min_deg: float = 10.0
    """First grid point; reflections below it are not seen."""
    two_theta_max_deg: float = 90.0
    """Last grid point; reflections above it are not seen."""
    n_points: int = 1601
    """Grid points, evenly spaced (0.05° as they stand)."""
    peak_sigma_deg: float = 0.15
    """Standard deviation of the Gaussian peaks: three grid steps."""

    @property
    def step_deg(self) -> float:
        """Distance of grid points."""
        return (self.two_theta_max_deg - self.two_theta_min_deg) / (self.n_points - 1)

    @property
    def two_theta_deg(self) -> NDArray[np.float64]:
        """(n_points,), the grid."""
        return np.linspace(self.two_theta_min_deg, self.two_theta_max_deg, self.n_points)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for headers."""
        return asdict(self)


STANDARD_SETTINGS = DiffractionSettings()
"""The paper's grid: Cu Kα, 10..90°, step 0.05°, σ = 3 steps."""

# Scattering factors are tabulated over s² = (sinθ/λ)² and interpolated linearly: with 2¹⁵
# intervals the relative error of an intensity stays below 1e-7.
_N_INTERVALS = 1 << 15

# Crystals per task of a thread: long enough to cost little, short enough to balance.
_CHUNK = 64


def simulate_patterns(
    structures: Sequence[Structure] | Crystals | pa.Table | pd.DataFrame,
    settings: DiffractionSettings = STANDARD_SETTINGS,
    *,
    dtype: DTypeLike = np.float32,
    n_threads: int | None = None,
) -> NDArray[Any]:
    """Powder patterns (n, settings.n_points) of n crystals, the strongest point of each 1.

    ``structures`` is a list of pymatgen Structures, packed ``Crystals``, or a table with the
    columns lattice, numbers and frac_coords. Kinematic intensities with Lorentz-polarisation
    factor and Gaussian peaks; no displacement factors (see ``reflections``). Reflections are
    those with two_theta_min_deg ≤ 2θ ≤ two_theta_max_deg. ``n_threads``: all cores if None.

    Raises EmptyPatternError if a crystal has no reflection on the grid and ScatteringError if
    an element has no scattering factor; both carry the indices of the crystals.
    """
    from matlode.representation.reflections import profiles

    crystals = pack_crystals(structures)
    factors, per_s2 = _scattering_table(settings.wavelength_angstrom, settings.two_theta_max_deg)
    _refuse_unknown_elements(crystals, factors)
    patterns = np.zeros((len(crystals), settings.n_points), dtype=dtype)
    cells, *atoms = _in_kernel_order(crystals)

    def fill(chunk: slice) -> None:
        profiles(
            cells[chunk],
            *atoms,
            crystals.offsets[chunk.start : chunk.stop + 1],
            float(settings.two_theta_min_deg),
            float(settings.two_theta_max_deg),
            float(settings.step_deg),
            float(settings.peak_sigma_deg),
            float(settings.wavelength_angstrom),
            factors,
            per_s2,
            patterns[chunk],
        )

    chunks = [slice(at, min(at + _CHUNK, len(cells))) for at in range(0, len(cells), _CHUNK)]
    with ThreadPoolExecutor(n_threads or os.cpu_count()) as pool:
        # the kernel holds no lock; list() raises what a thread raised
        list(pool.map(fill, chunks))
    empty = np.flatnonzero(patterns.max(axis=1, initial=0) == 0)
    if len(empty):
        raise EmptyPatternError(
            f"{len(empty)} of {len(crystals)} crystals (first: index {empty[0]}) have no "
            f"reflection between {settings.two_theta_min_deg:g}° and "
            f"{settings.two_theta_max_deg:g}° at λ = {settings.wavelength_angstrom:g} Å; "
            "drop them or widen the range.",
            empty.tolist(),
        )
    return patterns


def simulate_peaks(
    structure: Structure, settings: DiffractionSettings = STANDARD_SETTINGS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Peak positions (2θ, degrees) and integrated intensities (strongest 1) of one crystal.

    Raises as ``simulate_patterns`` does.
    """
    from matlode.representation.reflections import WEAK_PEAK, crystal_peaks

    crystals = pack_crystals([structure])
    factors, per_s2 = _scattering_table(settings.wavelength_angstrom, settings.two_theta_max_deg)
    _refuse_unknown_elements(crystals, factors)
    angle, height = crystal_peaks(
        *(array[0] if array.ndim == 3 else array for array in _in_kernel_order(crystals)),
        float(settings.two_theta_min_deg),
        float(settings.two_theta_max_deg),
        float(settings.wavelength_angstrom),
        factors,
        per_s2,
    )
    if len(height) == 0 or height.max() <= 0:
        raise EmptyPatternError("the crystal has no reflection on the grid.", [0])
    height = height / height.max()
    return angle[height > WEAK_PEAK], height[height > WEAK_PEAK]


def _in_kernel_order(crystals: Crystals) -> tuple[NDArray[Any], ...]:
    """Cells, coordinates, occupancies and numbers: atoms by element, the longest axis last."""
    owners = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    atoms = np.lexsort((crystals.numbers, owners))
    axes = np.argsort(np.linalg.norm(crystals.lattices, axis=2), axis=1, kind="stable")
    return (
        np.take_along_axis(crystals.lattices, axes[:, :, None], axis=1),
        np.take_along_axis(crystals.frac_coords[atoms], axes[owners], axis=1),
        crystals.occupancies[atoms],
        crystals.numbers[atoms],
    )


@cache
def _scattering_table(
    wavelength_angstrom: float, two_theta_max_deg: float
) -> tuple[NDArray[np.float64], float]:
    """f(s²) = Z - 41.78214 s² Σ a exp(-b s²) per element, and intervals per unit of s².

    Coefficients: De Graef and McHenry (2012), as pymatgen ships them. Rows of elements
    without coefficients are NaN.
    """
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS

    s2_max = (np.sin(np.radians(two_theta_max_deg / 2)) / wavelength_angstrom) ** 2
    # two intervals more than the range: a reflection on its very edge may round up
    s2 = s2_max * np.arange(_N_INTERVALS + 3) / _N_INTERVALS
    table = np.full((MAX_ATOMIC_NUMBER + 1, len(s2)), np.nan)
    for z, symbol in enumerate(element_symbols(), start=1):
        if symbol in ATOMIC_SCATTERING_PARAMS:
            a, b = np.array(ATOMIC_SCATTERING_PARAMS[symbol]).T
            table[z] = z - 41.78214 * s2 * (a[:, None] * np.exp(-b[:, None] * s2)).sum(axis=0)
    return table, _N_INTERVALS / s2_max


def _refuse_unknown_elements(crystals: Crystals, factors: NDArray[np.float64]) -> None:
    inside = (crystals.numbers >= 1) & (crystals.numbers <= MAX_ATOMIC_NUMBER)
    unknown = ~inside | np.isnan(factors[np.where(inside, crystals.numbers, 0), 0])
    if not unknown.any():
        return
    owners = np.searchsorted(crystals.offsets, np.flatnonzero(unknown), side="right") - 1
    z = int(crystals.numbers[unknown][0])
    name = element_symbols()[z - 1] if 1 <= z <= MAX_ATOMIC_NUMBER else f"Z = {z}"
    raise ScatteringError(
        f"{name} has no tabulated X-ray scattering factor (crystal {owners[0]}); leave such "
        "crystals out.",
        np.unique(owners).tolist(),
    )
