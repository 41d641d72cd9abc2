"""Crystal structure to powder X-ray diffraction pattern.

The physics is pymatgen's XRDCalculator's; ``reflections`` holds the kernels for it, and
``profiles`` those that draw the peaks. Kernels release the lock, so threads share the work.
They are not differentiable, and run on the processor: at 0.03 ms per crystal the pattern is
never what a search or a training waits for.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals, pack_crystals
from matlode.data.formulas import element_symbols
from matlode.errors import (
    CellError,
    EmptyPatternError,
    InputError,
    PatternError,
    ScatteringError,
)
from matlode.notebook import html_table
from matlode.representation.radiation import Axis, from_q, to_q

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

CU_K_ALPHA_ANGSTROM = 1.54184
"""Mean Cu Kα, as in pymatgen."""

Shape = Literal["gaussian", "lorentzian", "pseudo_voigt"]

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, kw_only=True)
class DiffractionSettings:
    """What is measured, and how sharply. Other radiation: see ``radiation.find_wavelength``."""

    wavelength_angstrom: float = CU_K_ALPHA_ANGSTROM
    """Cu Kα."""
    two_theta_min_deg: float = 10.0
    """Reflections below it are not seen; the end of the grid, whatever its axis."""
    two_theta_max_deg: float = 90.0
    """Reflections above it are not seen; the end of the grid, whatever its axis."""
    n_points: int = 1601
    """Grid points, evenly spaced on the axis (0.05° as they stand)."""
    peak_sigma_deg: float = 0.15
    """Standard deviation of the Gaussian peaks: three grid steps. Lorentzian peaks have the
    same full width at half maximum (2.355 σ)."""
    axis: Axis = "two_theta"
    """What the grid is even on: 2θ, d, Q or ln Q."""
    axis_sigma: float | None = None
    """Width on the axis' own scale, the same everywhere, instead of one in 2θ: 0.005 on log_q
    resolves 0.5 % in d."""
    shape: Shape = "gaussian"
    """Of the peaks; pseudo_voigt adds a Lorentzian of weight eta to a Gaussian of 1 - eta."""
    eta: float = 0.5
    """Mixing parameter of pseudo_voigt."""
    caglioti: tuple[float, float, float] | None = None
    """U, V, W in deg², instead of peak_sigma_deg: FWHM² = U tan²θ + V tanθ + W (Caglioti,
    Paoletti and Ricci, Nucl. Instrum. 3, 223, 1958). GSAS-II's numbers are 1e4 times these."""
    debye_waller_factors: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Element → B in Å², as in pymatgen; amplitudes fall by exp(-B s²). B = 8π² U_iso."""

    def __post_init__(self) -> None:
        if not 0 < self.two_theta_min_deg < self.two_theta_max_deg < 180:
            raise InputError(
                f"the range {self.two_theta_min_deg:g}..{self.two_theta_max_deg:g}° is no part "
                "of 0..180° in 2θ."
            )
        if self.n_points < 2 or self.peak_sigma_deg <= 0 or (self.axis_sigma or 1) <= 0:
            raise InputError("a pattern needs at least 2 points, and peaks with a width above 0.")

    @property
    def limits(self) -> tuple[float, float]:
        """First and last grid point, on the axis."""
        ends = [self.two_theta_min_deg, self.two_theta_max_deg]
        low, high = sorted(self._on_axis(np.array(ends)))
        return float(low), float(high)

    @property
    def step(self) -> float:
        """Distance of grid points, on the axis."""
        low, high = self.limits
        return (high - low) / (self.n_points - 1)

    @property
    def grid(self) -> NDArray[np.float64]:
        """(n_points,), the grid on its axis, ascending."""
        return np.linspace(*self.limits, self.n_points)

    @property
    def two_theta_deg(self) -> NDArray[np.float64]:
        """(n_points,), 2θ of the grid points; descending where the axis is d."""
        if self.axis == "two_theta":
            return self.grid
        q = to_q(self.grid, self.axis, self.wavelength_angstrom)
        return from_q(q, "two_theta", self.wavelength_angstrom)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, for headers."""
        return asdict(self)

    def _on_axis(self, two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.axis == "two_theta":
            return two_theta_deg
        q = to_q(two_theta_deg, "two_theta", self.wavelength_angstrom)
        return from_q(q, self.axis, self.wavelength_angstrom)

    def _sigmas_deg(self, two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """Widths of peaks in 2θ, as standard deviations."""
        if self.caglioti is None:
            return np.full(len(two_theta_deg), self.peak_sigma_deg)
        u, v, w = self.caglioti
        tangent = np.tan(np.radians(two_theta_deg / 2))
        fwhm2 = u * tangent**2 + v * tangent + w
        if (fwhm2 <= 0).any():
            worst = two_theta_deg[fwhm2.argmin()]
            raise InputError(
                f"caglioti={self.caglioti} gives no width at 2θ = {worst:.4g}° (FWHM² = "
                f"{fwhm2.min():.3g} deg²); check the signs, and that the unit is deg²."
            )
        return np.sqrt(fwhm2) / FWHM_PER_SIGMA

    def _axis_per_deg(self, two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far a degree of 2θ goes on the axis, there."""
        theta = np.radians(two_theta_deg / 2)
        relative = np.pi / 360 / np.tan(theta)  # d(ln Q) / d(2θ in degrees)
        if self.axis == "two_theta":
            return np.ones(len(theta))
        return relative if self.axis == "log_q" else relative * self._on_axis(two_theta_deg)


STANDARD_SETTINGS = DiffractionSettings()
"""The paper's grid: Cu Kα, 10..90°, step 0.05°, σ = 3 steps."""

# Scattering factors are tabulated over s = sinθ/λ and interpolated by cubics: with this many
# intervals per Å⁻¹ the relative error of an intensity stays below 1e-8.
_INTERVALS_PER_S = 280

CHUNK = 64
"""Crystals per task of a thread: long enough to cost little, short enough to balance."""

NO_TEXTURE = np.array([0.0, 0.0, 1.0, 1.0])
"""h, k, l of a preferred direction and March's r."""


class Reflection(NamedTuple):
    """Symmetry-equivalent lattice planes."""

    hkl: tuple[int, int, int]
    """Indices of one of them, in the axes of the crystal as it was given."""
    multiplicity: int
    """How many planes, both sides counted."""


@dataclass(frozen=True, eq=False)
class Peaks:
    """The peaks of one crystal, by angle."""

    two_theta_deg: NDArray[np.float64]
    """(n,), ascending."""
    d_angstrom: NDArray[np.float64]
    """(n,), lattice spacings."""
    intensity: NDArray[np.float64]
    """(n,), integrated, the strongest 1; those below 1e-5 are left out."""
    reflections: tuple[tuple[Reflection, ...], ...]
    """For each peak the families of planes that make it, strongest first."""

    def _repr_html_(self) -> str:
        """For notebooks: the peak list."""
        families = [
            "; ".join(f"{' '.join(map(str, r.hkl))} (×{r.multiplicity})" for r in planes)
            for planes in self.reflections
        ]
        rows = [
            [f"{angle:.3f}", f"{d:.4f}", f"{100 * height:.2f}", planes]
            for angle, d, height, planes in zip(
                self.two_theta_deg, self.d_angstrom, self.intensity, families, strict=True
            )
        ]
        return html_table(["2θ / °", "d / Å", "intensity / %", "hkl (multiplicity)"], rows)


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
    factor; partial and mixed occupancies as they are (see ``reflections``). Reflections are
    those with two_theta_min_deg ≤ 2θ ≤ two_theta_max_deg. ``n_threads``: all cores if None.

    Raises EmptyPatternError if a crystal has no reflection on the grid, ScatteringError if an
    element has no scattering factor, CellError for a cell without volume; all carry the indices
    of the crystals.
    """
    crystals = pack_crystals(structures)
    require_cells(crystals)
    factors, per_s = usable_factors(crystals, settings)
    draw = _drawing(settings)
    patterns = np.empty((len(crystals), settings.n_points), dtype=dtype)

    n_peaks = np.empty(len(crystals), np.int64)

    def fill(chunk: slice) -> None:
        angle, intensity, ends = peaks_of_chunk(crystals, chunk, settings, factors, per_s)
        draw(angle, intensity, ends, patterns[chunk])
        n_peaks[chunk] = np.diff(ends)

    for_each_chunk(fill, len(crystals), n_threads)
    empty = np.flatnonzero(n_peaks == 0)
    if len(empty):
        raise EmptyPatternError(
            f"{len(empty)} of {len(crystals)} crystals (first: index {empty[0]}) have no "
            f"reflection between {settings.two_theta_min_deg:g}° and "
            f"{settings.two_theta_max_deg:g}° at λ = {settings.wavelength_angstrom:g} Å; "
            "drop them or widen the range.",
            empty.tolist(),
        )
    return patterns


def require_cells(crystals: Crystals) -> None:
    """Raises CellError for crystals whose cells or coordinates no reflection can be made of."""
    with np.errstate(invalid="ignore", over="ignore"):
        volumes = crystals.volumes_a3
    owners = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    bad = ~(np.isfinite(volumes) & (volumes > 0))
    bad[owners[~np.isfinite(crystals.frac_coords).all(axis=1)]] = True
    bad[owners[~np.isfinite(crystals.occupancies)]] = True
    if bad.any():
        wrong = np.flatnonzero(bad)
        raise CellError(
            f"{len(wrong)} of {len(crystals)} crystals (first: index {wrong[0]}) have a cell "
            "without volume or a number that is not finite; drop them.",
            wrong.tolist(),
        )


def simulate_possible(
    crystals: Crystals, settings: DiffractionSettings = STANDARD_SETTINGS
) -> tuple[NDArray[np.intp], NDArray[np.float32], dict[int, PatternError]]:
    """Rows (m,) of the crystals that have a pattern, these patterns (m, n_points), and by row
    what is wrong with the others."""
    rows = np.arange(len(crystals))
    refused: dict[int, PatternError] = {}
    while len(rows):
        try:
            return rows, simulate_patterns(crystals.take(rows), settings), refused
        except PatternError as error:
            places = list(error.indices)
            refused |= dict.fromkeys(rows[places].tolist(), error)
            rows = np.delete(rows, places)
    return rows, np.empty((0, settings.n_points), dtype=np.float32), refused


def simulate_peaks(
    structure: Structure, settings: DiffractionSettings = STANDARD_SETTINGS
) -> Peaks:
    """The peak list of one crystal, with indices and multiplicities.

    Raises as ``simulate_patterns`` does.
    """
    from matlode.representation.reflections import (
        WEAK_PEAK,
        crystal_reflections,
        merge_reflections,
        reflection_room,
    )

    crystals = pack_crystals([structure])
    require_cells(crystals)
    factors, per_s = usable_factors(crystals, settings)
    g_min, g_max = limits_of_g(settings)
    room = int(reflection_room(crystals.lattices, crystals.lattices, g_max)[0])
    g2, height, angle, intensity = np.empty((4, room))
    multiplicity, peak_of = np.empty((2, room), np.int64)
    hkl = np.empty((3, room))
    n = crystal_reflections(
        crystals.lattices[0], crystals.lattices[0], crystals.frac_coords, crystals.occupancies,
        crystals.numbers, NO_TEXTURE, g_min, g_max, settings.wavelength_angstrom, factors, per_s,
        g2, height, multiplicity, hkl,
    )  # fmt: skip
    m = merge_reflections(
        g2, height, n, g_max, settings.wavelength_angstrom, angle, intensity, peak_of
    )
    strongest = intensity[:m].max(initial=0.0)
    if strongest <= 0:
        raise EmptyPatternError("the crystal has no reflection on the grid.", [0])
    kept = np.flatnonzero(intensity[:m] > WEAK_PEAK * strongest)
    families: dict[int, list[Reflection]] = {int(peak): [] for peak in kept}
    for r in np.argsort(-height[:n], kind="stable"):
        if int(peak_of[r]) in families and height[r] > WEAK_PEAK**2 * strongest:
            h, k, ell = hkl[:, r].astype(int).tolist()
            families[int(peak_of[r])].append(Reflection((h, k, ell), int(multiplicity[r])))
    return Peaks(
        angle[kept],
        settings.wavelength_angstrom / (2 * np.sin(np.radians(angle[kept] / 2))),
        intensity[kept] / strongest,
        tuple(tuple(families[int(peak)]) for peak in kept),
    )


def for_each_chunk(work: Callable[[slice], None], n: int, n_threads: int | None) -> None:
    """Call ``work`` with slices that cover 0..n - 1, from several threads (None: all cores)."""
    chunks = [slice(at, min(at + CHUNK, n)) for at in range(0, n, CHUNK)]
    if len(chunks) == 1:  # threads take longer to start than one chunk takes
        work(chunks[0])
        return
    with ThreadPoolExecutor(n_threads or os.cpu_count()) as pool:
        # the kernels hold no lock; list() raises what a thread raised
        list(pool.map(work, chunks))


def limits_of_g(settings: DiffractionSettings) -> tuple[float, float]:
    """|g| = 1/d of the ends of the range, Å⁻¹."""
    ends = np.array([settings.two_theta_min_deg, settings.two_theta_max_deg])
    low, high = to_q(ends, "two_theta", settings.wavelength_angstrom) / (2 * np.pi)
    return float(low), float(high)


def peaks_of_chunk(
    crystals: Crystals,
    chunk: slice,
    settings: DiffractionSettings,
    factors: NDArray[np.float64],
    per_s: float,
    strained: NDArray[np.float64] | None = None,
    textures: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Angles, intensities and offsets of the peaks of a part of the crystals.

    ``strained`` cells (n, 3, 3) and ``textures`` (n, 4) are those of this part.
    """
    from matlode.representation.reflections import peaks, reflection_room

    cells = crystals.lattices[chunk]
    if strained is None:
        strained = cells
    if textures is None:
        textures = np.tile(NO_TEXTURE, (len(cells), 1))
    g_min, g_max = limits_of_g(settings)
    room = reflection_room(cells, strained, g_max)
    angle, intensity = np.empty((2, int(room.sum())))
    ends = np.zeros(len(cells) + 1, np.int64)
    peaks(
        cells, strained, crystals.frac_coords, crystals.occupancies, crystals.numbers,
        crystals.offsets[chunk.start : chunk.stop + 1], textures, g_min, g_max,
        float(settings.wavelength_angstrom), factors, per_s, room, angle, intensity, ends,
    )  # fmt: skip
    return angle[: ends[-1]], intensity[: ends[-1]], ends


def _drawing(settings: DiffractionSettings) -> Any:
    """The function (angles, intensities, offsets, patterns) that draws peaks into patterns."""
    from matlode.representation.profiles import add_equal_gaussians, add_peaks

    start, step = settings.limits[0], settings.step
    lorentzian = {"gaussian": 0.0, "lorentzian": 1.0, "pseudo_voigt": settings.eta}
    if settings.shape not in lorentzian:
        raise InputError(f'"{settings.shape}" is no peak shape; known: {", ".join(lorentzian)}.')
    eta = lorentzian[settings.shape]
    one_width = settings.axis_sigma
    if settings.axis == "two_theta" and one_width is None and settings.caglioti is None:
        one_width = settings.peak_sigma_deg
    if eta == 0 and one_width is not None:
        table = _gaussian_table(one_width / step)

        def draw_equal(angle: Any, intensity: Any, ends: Any, patterns: Any) -> None:
            position = (settings._on_axis(angle) - start) / step
            add_equal_gaussians(position, intensity, ends, table, patterns)

        return draw_equal

    def draw_any(angle: Any, intensity: Any, ends: Any, patterns: Any) -> None:
        if one_width is not None:
            sigma = np.full(len(angle), one_width)
            area = intensity
        else:
            # of unit area in 2θ, where the intensities are integrated
            sigma_deg = settings._sigmas_deg(angle)
            sigma = sigma_deg * settings._axis_per_deg(angle)
            area = intensity / sigma_deg
        gaussian = area * (1 - eta) / math.sqrt(2 * math.pi)
        cauchy = area * eta / (math.pi * FWHM_PER_SIGMA / 2)
        position = (settings._on_axis(angle) - start) / step
        add_peaks(position, gaussian, cauchy, sigma / step, ends, patterns)

    return draw_any


@cache
def _gaussian_table(sigma: float) -> NDArray[np.float64]:
    from matlode.representation.profiles import gaussian_table

    return gaussian_table(sigma)


def usable_factors(
    crystals: Crystals, settings: DiffractionSettings
) -> tuple[NDArray[np.float64], float]:
    """Scattering factors as the kernels take them; raises ScatteringError where one is missing."""
    factors, per_s = _scattering_table(
        limits_of_g(settings)[1] / 2, tuple(sorted(settings.debye_waller_factors.items()))
    )
    _refuse_unknown_elements(crystals, factors)
    return factors, per_s


@cache
def _scattering_table(
    s_max: float, debye_waller_factors: tuple[tuple[str, float], ...]
) -> tuple[NDArray[np.float64], float]:
    """f(s) exp(-B s²) as cubics (element, interval, power), and intervals per Å⁻¹ of s.

    f = Z - 41.78214 s² Σ a exp(-b s²) with the coefficients of De Graef and McHenry (2012), as
    pymatgen ships them. Elements without coefficients are NaN.
    """
    # from the file: pymatgen's module around it imports matplotlib
    place = resources.files("pymatgen.analysis.diffraction") / "atomic_scattering_params.json"
    parameters = json.loads(place.read_text(encoding="utf-8"))
    damping = dict(debye_waller_factors)
    n = math.ceil(_INTERVALS_PER_S * s_max)
    # one interval more than the range: a reflection on its very edge may round up
    s = s_max * np.arange(n + 2) / n
    cubics = np.full((MAX_ATOMIC_NUMBER + 1, n + 1, 4), np.nan)
    for z, symbol in enumerate(element_symbols(), start=1):
        if symbol in parameters:
            a, b = np.array(parameters[symbol]).T[:, :, None]
            damp = damping.pop(symbol, 0.0)
            waves = a * np.exp(-b * s**2)
            f = z - 41.78214 * s**2 * waves.sum(axis=0)
            slope = -41.78214 * 2 * s * (waves * (1 - b * s**2)).sum(axis=0)
            factor = np.exp(-damp * s**2)
            cubics[z] = _cubics(f * factor, (slope - 2 * damp * s * f) * factor * s_max / n)
    if damping:
        raise InputError(f"debye_waller_factors names {', '.join(damping)}: no such element.")
    return cubics, n / s_max


def _cubics(values: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hermite cubics (n, 4) in 0..1 between n + 1 points; slopes are per interval."""
    rise = np.diff(values)
    left, right = slopes[:-1], slopes[1:]
    return np.stack([values[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise], 1)


def _refuse_unknown_elements(crystals: Crystals, factors: NDArray[np.float64]) -> None:
    inside = (crystals.numbers >= 1) & (crystals.numbers <= MAX_ATOMIC_NUMBER)
    unknown = ~inside | np.isnan(factors[np.where(inside, crystals.numbers, 0), 0, 0])
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
