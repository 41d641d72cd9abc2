"""Simulation of powder X-ray diffraction patterns.

The physics is that of pymatgen's XRDCalculator. ``reflections`` contains the kernels for it, and
``profiles`` those that draw the peaks. Kernels release the global interpreter lock, so that
threads share the work. They run on the CPU and are not differentiable; at 0.03 ms per crystal,
simulation is never the bottleneck of a search or a training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from matlode.data.batches import split_range
from matlode.data.crystals import MAX_ATOMIC_NUMBER, Crystals, pack_crystals
from matlode.data.formulas import element_symbols
from matlode.engine import count_threads
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
Draw: TypeAlias = Callable[
    [NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.generic]], None
]
"""Function of angles (deg), intensities, offsets of the crystals' peaks, and output patterns."""

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, kw_only=True)
class DiffractionSettings:
    """Radiation, grid and peak shape. For other radiation see ``radiation.find_wavelength``."""

    wavelength_angstrom: float = CU_K_ALPHA_ANGSTROM
    """Wavelength in Å; default: Cu Kα."""
    two_theta_min_deg: float = 10.0
    """Lower limit of 2θ of the reflections and the grid, for any axis."""
    two_theta_max_deg: float = 90.0
    """Upper limit of 2θ of the reflections and the grid, for any axis."""
    n_points: int = 1601
    """Number of grid points, evenly spaced on the axis (default: step 0.05°)."""
    peak_sigma_deg: float = 0.15
    """Standard deviation of the Gaussian peaks: three grid steps. Lorentzian peaks have the
    same full width at half maximum (2.355 σ)."""
    axis: Axis = "two_theta"
    """Axis on which the grid is evenly spaced: 2θ, d, Q or ln Q."""
    axis_sigma: float | None = None
    """Constant peak width in units of the axis, instead of a width in 2θ: 0.005 on log_q resolves
    0.5 % in d."""
    shape: Shape = "gaussian"
    """Peak shape; pseudo_voigt is the sum of a Lorentzian of weight eta and a Gaussian of weight
    1 - eta."""
    eta: float = 0.5
    """Mixing parameter of pseudo_voigt."""
    caglioti: tuple[float, float, float] | None = None
    """U, V, W in deg², instead of peak_sigma_deg: FWHM² = U tan²θ + V tanθ + W (Caglioti,
    Paoletti and Ricci, Nucl. Instrum. 3, 223, 1958). GSAS-II's numbers are 1e4 times these."""
    debye_waller_factors: Mapping[str, float] = field(default_factory=dict, hash=False)
    """B in Å² by element, as in pymatgen; amplitudes are damped by exp(-B s²). B = 8π² U_iso."""

    def __post_init__(self) -> None:
        if not 0 < self.two_theta_min_deg < self.two_theta_max_deg < 180:
            raise InputError(
                f"invalid range {self.two_theta_min_deg:g}..{self.two_theta_max_deg:g}° in 2θ; "
                "expected a range within 0..180°."
            )
        if self.n_points < 2 or self.peak_sigma_deg <= 0 or (self.axis_sigma or 1) <= 0:
            raise InputError(
                f"invalid grid or width: n_points is {self.n_points}, expected at least 2; "
                f"peak_sigma_deg is {self.peak_sigma_deg:g} and axis_sigma {self.axis_sigma}, "
                "expected widths above 0."
            )

    @property
    def limits(self) -> tuple[float, float]:
        """First and last grid point on the axis."""
        ends = [self.two_theta_min_deg, self.two_theta_max_deg]
        low, high = sorted(self._on_axis(np.array(ends)))
        return float(low), float(high)

    @property
    def step(self) -> float:
        """Distance between grid points on the axis."""
        low, high = self.limits
        return (high - low) / (self.n_points - 1)

    @property
    def grid(self) -> NDArray[np.float64]:
        """(n_points,), grid points on the axis, ascending."""
        return np.linspace(*self.limits, self.n_points)

    @property
    def two_theta_deg(self) -> NDArray[np.float64]:
        """(n_points,), 2θ of the grid points; descending if the axis is d."""
        if self.axis == "two_theta":
            return self.grid
        q = to_q(self.grid, self.axis, self.wavelength_angstrom)
        return from_q(q, "two_theta", self.wavelength_angstrom)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain values for headers."""
        return asdict(self)

    def _on_axis(self, two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.axis == "two_theta":
            return two_theta_deg
        q = to_q(two_theta_deg, "two_theta", self.wavelength_angstrom)
        return from_q(q, self.axis, self.wavelength_angstrom)

    def _sigmas_deg(self, two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard deviations of peaks in 2θ."""
        if self.caglioti is None:
            return np.full(len(two_theta_deg), self.peak_sigma_deg)
        u, v, w = self.caglioti
        tangent = np.tan(np.radians(two_theta_deg / 2))
        fwhm2 = u * tangent**2 + v * tangent + w
        if (fwhm2 <= 0).any():
            worst = two_theta_deg[fwhm2.argmin()]
            raise InputError(
                f"caglioti={self.caglioti} gives no valid width at 2θ = {worst:.4g}° (FWHM² = "
                f"{fwhm2.min():.3g} deg²); check the signs and the unit, deg²."
            )
        return np.sqrt(fwhm2) / FWHM_PER_SIGMA

    def _axis_per_deg(self, two_theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the absolute derivative of the axis with respect to 2θ in degrees."""
        theta = np.radians(two_theta_deg / 2)
        relative = np.pi / 360 / np.tan(theta)  # d(ln Q) / d(2θ in degrees)
        if self.axis == "two_theta":
            return np.ones(len(theta))
        return relative if self.axis == "log_q" else relative * self._on_axis(two_theta_deg)


STANDARD_SETTINGS = DiffractionSettings()
"""The grid of the paper: Cu Kα, 10..90°, step 0.05°, σ = 3 steps."""

# Scattering factors are tabulated over s = sinθ/λ and interpolated with cubics. With this number
# of intervals per Å⁻¹ the relative error of intensities is below 1e-8.
_INTERVALS_PER_S = 280

CHUNK = 64
"""Crystals per task of a thread: enough to keep the overhead small and the load balanced."""

LORENTZIAN_REACH_SIGMAS = 50.0
"""Distance up to which Lorentzians beyond the grid reach into it; 0.06 % of the height there."""

NO_TEXTURE = np.array([0.0, 0.0, 1.0, 1.0])
"""h, k, l of the preferred direction and March's r."""


class Reflection(NamedTuple):
    """A family of symmetry-equivalent lattice planes."""

    hkl: tuple[int, int, int]
    """Indices of one of the planes, in the axes of the given crystal."""
    multiplicity: int
    """Number of planes; hkl and -hkl count separately."""


@dataclass(frozen=True, eq=False, repr=False)
class Peaks:
    """The peaks of one crystal in order of angle."""

    two_theta_deg: NDArray[np.float64]
    """(n,), ascending."""
    d_angstrom: NDArray[np.float64]
    """(n,), lattice spacings."""
    intensity: NDArray[np.float64]
    """(n,), integrated intensities, the strongest 1; those below 1e-5 are left out."""
    reflections: tuple[tuple[Reflection, ...], ...]
    """Families of lattice planes that contribute to each peak, strongest first."""

    def __repr__(self) -> str:
        first = ", ".join(f"{angle:.2f}°" for angle in self.two_theta_deg[:3])
        return f"Peaks({len(self.two_theta_deg)} peaks: {first}, ...)"

    def _repr_html_(self) -> str:
        """Show the peak list in notebooks."""
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
    """Simulate powder patterns (n, settings.n_points) of n crystals, strongest point of each 1.

    ``structures`` is a list of pymatgen Structures, packed ``Crystals``, or a table with the
    columns lattice, numbers and frac_coords. Intensities are kinematic with Lorentz-polarisation
    factor (see ``reflections``); partial and mixed occupancies are taken into account.
    Peaks just outside the grid are drawn as far as they reach into it. ``n_threads`` is the number
    of threads (None: ``count_threads``).

    Raises EmptyPatternError if a crystal has no reflection on the grid, ScatteringError if an
    element has no scattering factor, and CellError for a cell without volume. All have the
    indices of the crystals.

    >>> from matlode.testing import rutile
    >>> simulate_patterns([rutile("TiO2")]).shape
    (1, 1601)
    """
    crystals = pack_crystals(structures)
    require_cells(crystals)
    factors, per_s = find_scattering_factors(crystals, settings)
    draw = _choose_drawing(settings)
    patterns = np.empty((len(crystals), settings.n_points), dtype=dtype)

    n_peaks = np.empty(len(crystals), np.int64)

    def fill(chunk: slice) -> None:
        angle, intensity, ends = compute_chunk_peaks(
            crystals, chunk, settings, factors, per_s, outside=True
        )
        draw(angle, intensity, ends, patterns[chunk])
        n_peaks[chunk] = np.diff(ends)

    run_in_chunks(fill, len(crystals), n_threads)
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
    """Raise CellError if a cell has no volume, or if a number of a crystal is not finite."""
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
    """Simulate patterns of those crystals for which it is possible.

    Returns their rows (m,), their patterns (m, n_points), and the errors of the other rows.
    """
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
    """Simulate the peak list of one crystal, with indices and multiplicities.

    Raises the same errors as ``simulate_patterns``.

    >>> from matlode.testing import rutile
    >>> simulate_peaks(rutile("TiO2")).two_theta_deg[:2].round(1).tolist()
    [27.5, 36.1]
    """
    from matlode.representation.reflections import (
        WEAK_PEAK,
        bound_reflections,
        compute_reflections,
        merge_reflections,
    )

    crystals = pack_crystals([structure])
    require_cells(crystals)
    factors, per_s = find_scattering_factors(crystals, settings)
    g_min, g_max = compute_g_limits(settings)
    room = int(bound_reflections(crystals.lattices, crystals.lattices, g_max)[0])
    g2, height, angle, intensity = np.empty((4, room))
    multiplicity, peak_of = np.empty((2, room), np.int64)
    hkl = np.empty((3, room))
    n = compute_reflections(
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


def run_in_chunks(work: Callable[[slice], None], n: int, n_threads: int | None) -> None:
    """Call ``work`` with slices that cover 0..n - 1, from several threads (None:
    ``count_threads``)."""
    chunks = split_range(n, CHUNK)
    if len(chunks) == 1:  # starting threads takes longer than processing one chunk
        work(chunks[0])
        return
    with ThreadPoolExecutor(n_threads or count_threads()) as pool:
        # the kernels release the interpreter lock; list() re-raises exceptions of the threads
        list(pool.map(work, chunks))


def compute_g_limits(settings: DiffractionSettings) -> tuple[float, float]:
    """Return |g| = 1/d in Å⁻¹ at the limits of the range."""
    ends = np.array([settings.two_theta_min_deg, settings.two_theta_max_deg])
    low, high = to_q(ends, "two_theta", settings.wavelength_angstrom) / (2 * np.pi)
    return float(low), float(high)


def _compute_outer_g_limits(settings: DiffractionSettings) -> tuple[float, float]:
    """Return |g| = 1/d in Å⁻¹ between which peaks reach into the grid."""
    from matlode.representation.profiles import CUT_OFF_SIGMAS

    reach = CUT_OFF_SIGMAS if settings.shape == "gaussian" else LORENTZIAN_REACH_SIGMAS
    ends = np.array([settings.two_theta_min_deg, settings.two_theta_max_deg])
    sigmas = settings._sigmas_deg(ends)
    if settings.axis_sigma is not None:
        sigmas = settings.axis_sigma / settings._axis_per_deg(ends)
    outer = (ends + reach * sigmas * [-1, 1]).clip(ends[0] / 2, (ends[1] + 180) / 2)
    low, high = to_q(outer, "two_theta", settings.wavelength_angstrom) / (2 * np.pi)
    return float(low), float(high)


def compute_chunk_peaks(
    crystals: Crystals,
    chunk: slice,
    settings: DiffractionSettings,
    factors: NDArray[np.float64],
    per_s: float,
    strained: NDArray[np.float64] | None = None,
    textures: NDArray[np.float64] | None = None,
    *,
    outside: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return angles, intensities and offsets of the peaks of a part of the crystals.

    The strongest peak on the grid is 1. ``strained`` (strained cells, (n, 3, 3)) and ``textures``
    (n, 4) refer to this part. With ``outside``, peaks that reach into the grid are included.
    Crystals without a peak on the grid have none.
    """
    from matlode.representation.reflections import bound_reflections, peaks

    cells = crystals.lattices[chunk]
    if strained is None:
        strained = cells
    if textures is None:
        textures = np.tile(NO_TEXTURE, (len(cells), 1))
    g_min, g_max = _compute_outer_g_limits(settings) if outside else compute_g_limits(settings)
    room = bound_reflections(cells, strained, g_max)
    angle, intensity = np.empty((2, int(room.sum())))
    ends = np.zeros(len(cells) + 1, np.int64)
    peaks(
        cells, strained, crystals.frac_coords, crystals.occupancies, crystals.numbers,
        crystals.offsets[chunk.start : chunk.stop + 1], textures, g_min, g_max,
        float(settings.wavelength_angstrom), *compute_g_limits(settings), factors, per_s, room,
        angle, intensity, ends,
    )  # fmt: skip
    return angle[: ends[-1]], intensity[: ends[-1]], ends


def _choose_drawing(settings: DiffractionSettings) -> Draw:
    """Return the function that draws peaks with these settings."""
    from matlode.representation.profiles import add_equal_gaussians, add_peaks

    start, step = settings.limits[0], settings.step
    lorentzian = {"gaussian": 0.0, "lorentzian": 1.0, "pseudo_voigt": settings.eta}
    if settings.shape not in lorentzian:
        raise InputError(f'unknown peak shape "{settings.shape}"; known: {", ".join(lorentzian)}.')
    eta = lorentzian[settings.shape]
    one_width = settings.axis_sigma
    if settings.axis == "two_theta" and one_width is None and settings.caglioti is None:
        one_width = settings.peak_sigma_deg
    if eta == 0 and one_width is not None:
        table = _gaussian_table(one_width / step)

        def draw_equal(
            angle: NDArray[np.float64],
            intensity: NDArray[np.float64],
            ends: NDArray[np.int64],
            patterns: NDArray[np.generic],
        ) -> None:
            position = (settings._on_axis(angle) - start) / step
            add_equal_gaussians(position, intensity, ends, table, patterns)

        return draw_equal

    def draw_any(
        angle: NDArray[np.float64],
        intensity: NDArray[np.float64],
        ends: NDArray[np.int64],
        patterns: NDArray[np.generic],
    ) -> None:
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
    from matlode.representation.profiles import tabulate_gaussian

    return tabulate_gaussian(sigma)


def find_scattering_factors(
    crystals: Crystals, settings: DiffractionSettings
) -> tuple[NDArray[np.float64], float]:
    """Return the scattering factors (element, interval, 4) and the intervals per Å⁻¹ for kernels.

    Raises ScatteringError if the factor of an element is unknown.
    """
    factors, per_s = _tabulate_scattering(
        _compute_outer_g_limits(settings)[1] / 2,
        tuple(sorted(settings.debye_waller_factors.items())),
    )
    _require_known_elements(crystals, factors)
    return factors, per_s


@cache
def _tabulate_scattering(
    s_max: float, debye_waller_factors: tuple[tuple[str, float], ...]
) -> tuple[NDArray[np.float64], float]:
    """Return f(s) exp(-B s²) as cubics (element, interval, power), and intervals per Å⁻¹ of s.

    f = Z - 41.78214 s² Σ a exp(-b s²) with the coefficients of De Graef and McHenry (2012) from
    pymatgen. Elements without coefficients are NaN.
    """
    # read from the file, since the corresponding module of pymatgen imports matplotlib
    place = resources.files("pymatgen.analysis.diffraction") / "atomic_scattering_params.json"
    parameters = json.loads(place.read_text(encoding="utf-8"))
    damping = dict(debye_waller_factors)
    n = math.ceil(_INTERVALS_PER_S * s_max)
    # one interval more than the range, since a reflection at its limit may be rounded up
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
            cubics[z] = _fit_cubics(f * factor, (slope - 2 * damp * s * f) * factor * s_max / n)
    if damping:
        raise InputError(f"debye_waller_factors: unknown element {', '.join(damping)}.")
    return cubics, n / s_max


def _fit_cubics(values: NDArray[np.float64], slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Hermite cubics (n, 4) on 0..1 between n + 1 points; slopes are per interval."""
    rise = np.diff(values)
    left, right = slopes[:-1], slopes[1:]
    return np.stack([values[:-1], left, 3 * rise - 2 * left - right, left + right - 2 * rise], 1)


def _require_known_elements(crystals: Crystals, factors: NDArray[np.float64]) -> None:
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
