"""Well-known small crystals, named tolerances and contract checks for tests.

Crystals are conventional cells; the elements of a formula are given in the order of their sites:

>>> perovskite("SrTiO3").composition.reduced_formula
'SrTiO3'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure

from matlode.records import Candidate, Verdict

ROUND_OFF = 1e-10
"""For double-precision sums of numbers of order 1 in a different order."""
SINGLE_PRECISION = 1e-6
"""For numbers of order 1 that were stored as float32."""
HALF_PRECISION = 2.0**-11
"""Relative error of a number that was stored as float16."""
GRID_STEP_DEG = 0.05
"""Resolution of a position that is read from the standard 2θ grid: one step."""
PRINTED_SPACING_ANGSTROM = 0.002
"""Error of a d spacing in a powder diffraction file, which is measured and rounded."""
OTHER_ENGINE = 1e-4
"""For profiles (strongest point 1) of another engine that omits different weak peaks."""
SAMPLING_SIGMAS = 5.0
"""Number of standard errors by which a mean over random draws may deviate."""

FAST_ENGINE = 1e-7
"""For profiles (strongest point 1) of the compiled engine, which uses tables and averages over
symmetry."""

Site = tuple[float, float, float]

_FCC: tuple[Site, ...] = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))


def rock_salt(formula: str = "NaCl", *, a_angstrom: float = 5.6402) -> Structure:
    """Cation and anion, Fm-3m (225). NaCl: Swanson and Fuyat, NBS Circular 539 II (1953)."""
    cation, anion = _split_formula(formula)
    sites = {cation: _FCC, anion: _shift_sites(_FCC, 0.5)}
    return _build_crystal(Lattice.cubic(a_angstrom), sites)


def caesium_chloride(formula: str = "CsCl", *, a_angstrom: float = 4.123) -> Structure:
    """Cation and anion, Pm-3m (221)."""
    cation, anion = _split_formula(formula)
    sites = {cation: [(0.0, 0.0, 0.0)], anion: [(0.5, 0.5, 0.5)]}
    return _build_crystal(Lattice.cubic(a_angstrom), sites)


def fluorite(formula: str = "CaF2", *, a_angstrom: float = 5.4626) -> Structure:
    """Cation and anion, Fm-3m (225)."""
    cation, anion = _split_formula(formula)
    sites = {cation: _FCC, anion: [*_shift_sites(_FCC, 0.25), *_shift_sites(_FCC, 0.75)]}
    return _build_crystal(Lattice.cubic(a_angstrom), sites)


def zinc_blende(formula: str = "ZnS", *, a_angstrom: float = 5.4093) -> Structure:
    """Cation and anion, F-43m (216)."""
    cation, anion = _split_formula(formula)
    sites = {cation: _FCC, anion: _shift_sites(_FCC, 0.25)}
    return _build_crystal(Lattice.cubic(a_angstrom), sites)


def diamond(element: str = "Si", *, a_angstrom: float = 5.43102) -> Structure:
    """One element, Fd-3m (227). Si: CODATA 2018."""
    return _build_crystal(Lattice.cubic(a_angstrom), {element: [*_FCC, *_shift_sites(_FCC, 0.25)]})


def body_centred_cubic(element: str = "Fe", *, a_angstrom: float = 2.8665) -> Structure:
    """One element, Im-3m (229)."""
    return _build_crystal(Lattice.cubic(a_angstrom), {element: [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)]})


def face_centred_cubic(element: str = "Cu", *, a_angstrom: float = 3.6149) -> Structure:
    """One element, Fm-3m (225)."""
    return _build_crystal(Lattice.cubic(a_angstrom), {element: _FCC})


def hexagonal_close_packed(
    element: str = "Mg", *, a_angstrom: float = 3.2094, c_angstrom: float = 5.2105
) -> Structure:
    """One element, P6_3/mmc (194)."""
    sites = {element: [(1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.75)]}
    return _build_crystal(Lattice.hexagonal(a_angstrom, c_angstrom), sites)


def rutile(
    formula: str = "TiO2",
    *,
    a_angstrom: float = 4.5937,
    c_angstrom: float = 2.9587,
    u: float = 0.3048,
) -> Structure:
    """Cation and anion, P4_2/mnm (136). TiO2: Abrahams and Bernstein, JCP 55, 3206 (1971)."""
    cation, anion = _split_formula(formula)
    v = 0.5 - u
    sites = {
        cation: [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)],
        anion: [(u, u, 0.0), (-u, -u, 0.0), (v, 0.5 + u, 0.5), (0.5 + u, v, 0.5)],
    }
    return _build_crystal(Lattice.tetragonal(a_angstrom, c_angstrom), sites)


def perovskite(formula: str = "SrTiO3", *, a_angstrom: float = 3.905) -> Structure:
    """Large cation, small cation and anion, Pm-3m (221)."""
    large, small, anion = _split_formula(formula)
    sites = {
        large: [(0.0, 0.0, 0.0)],
        small: [(0.5, 0.5, 0.5)],
        anion: [(0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0)],
    }
    return _build_crystal(Lattice.cubic(a_angstrom), sites)


SMALL_CRYSTALS: dict[str, Callable[[], Structure]] = {
    "rock_salt": rock_salt,
    "caesium_chloride": caesium_chloride,
    "fluorite": fluorite,
    "zinc_blende": zinc_blende,
    "diamond": diamond,
    "body_centred_cubic": body_centred_cubic,
    "face_centred_cubic": face_centred_cubic,
    "hexagonal_close_packed": hexagonal_close_packed,
    "rutile": rutile,
    "perovskite": perovskite,
}
"""Builder by name; the default of each is a real material."""


def _split_formula(formula: str) -> list[str]:
    return [element.symbol for element in Composition(formula).elements]


def _shift_sites(sites: Iterable[Site], by: float) -> list[Site]:
    return [(x + by, y + by, z + by) for x, y, z in sites]


def _build_crystal(lattice: Lattice, sites: Mapping[str, Iterable[Site]]) -> Structure:
    species = [symbol for symbol, places in sites.items() for _ in places]
    coords = [site for places in sites.values() for site in places]
    return Structure(lattice, species, coords, to_unit_cell=True)


Float = NDArray[np.float64]
SeenT = TypeVar("SeenT", contravariant=True)


class SamplerLike(Protocol[SeenT]):
    """Interface of a sampler (``optimisation.sampler.Sampler``)."""

    def suggest(
        self, seen: SeenT, bounds: Float, n: int, rng: np.random.Generator, /
    ) -> NDArray[np.floating]:
        """Return the next ``n`` points (n, d) in the box ``bounds`` (d, 2)."""


class RuleLike(Protocol):
    """Interface of a rule (``screening.rule.Rule``)."""

    @property
    def name(self) -> str:
        """Name of the rule in its verdicts."""

    @property
    def required(self) -> bool:
        """Whether a candidate that fails the rule is rejected."""

    def check(self, candidate: Candidate, /) -> Verdict:
        """Return the verdict for one candidate."""


class EndpointLike(Protocol):
    """Interface of an endpoint (``properties.endpoints.Endpoint``)."""

    @property
    def lowest(self) -> float:
        """Physical lower limit."""

    @property
    def highest(self) -> float:
        """Physical upper limit."""


class EstimatesLike(Protocol):
    """Interface of estimates (``properties.endpoints.Estimates``), (n,) each."""

    @property
    def value(self) -> Float:
        """Predicted values."""

    @property
    def low(self) -> Float:
        """Lower ends of the intervals."""

    @property
    def high(self) -> Float:
        """Upper ends of the intervals."""


def check_sampler(
    sampler: SamplerLike[SeenT],
    history: Callable[[Float, Float, NDArray[np.str_], int], SeenT],
    *,
    n_variables: int = 5,
) -> None:
    """Check the contract of a sampler. Raises AssertionError with the violated condition.

    ``history`` makes the first argument of ``suggest`` (``optimisation.sampler.History``).
    Suggested points must lie in the box, equal seeds must give equal points and other seeds other
    points, inputs must not be modified, and any batch size must work, also with few seen points.
    """
    bounds = np.stack([np.linspace(-2, 0, n_variables), np.linspace(1, 3, n_variables)], axis=1)
    for n_seen in (8, 200):
        rng = np.random.default_rng(0)
        points = rng.uniform(bounds[:, 0], bounds[:, 1], (n_seen, n_variables))
        merits = -(points**2).sum(axis=1)
        groups = np.array([f"group {i % 7}" for i in range(n_seen)])
        given = points.copy(), merits.copy(), bounds.copy()

        seen = history(points, merits, groups, 5)

        def suggest(seed: int, n: int, seen: SeenT = seen) -> NDArray[np.floating]:
            return sampler.suggest(seen, bounds, n, np.random.default_rng(seed))

        for n in (1, 16):
            new = suggest(1, n)
            assert new.shape == (n, n_variables), f"expected {(n, n_variables)}, got {new.shape}"
            assert (new >= bounds[:, 0]).all(), "a point lies below the box"
            assert (new <= bounds[:, 1]).all(), "a point lies above the box"
            assert np.array_equal(new, suggest(1, n)), "the same seed gave other points"
            assert not np.array_equal(new, suggest(2, n)), "another seed gave the same points"
        for before, after in zip(given, (points, merits, bounds), strict=True):
            assert np.array_equal(before, after), "an input was modified"


def check_rule(rule: RuleLike, candidate: Candidate) -> None:
    """Check the contract of a rule. Raises AssertionError with the violated condition."""
    verdict = rule.check(candidate)
    passed: object = verdict.passed
    required: object = rule.required
    assert verdict.rule == rule.name, f'verdict of "{rule.name}" names the rule "{verdict.rule}"'
    assert isinstance(passed, bool), f"passed is a {type(passed).__name__}, expected a bool"
    assert isinstance(required, bool), "required must be a bool"
    assert len(verdict.reason) > 10, f'reason "{verdict.reason}" is too short to explain anything'
    assert verdict == rule.check(candidate), "the same candidate got two different verdicts"


def check_estimates(
    endpoints: Mapping[str, EndpointLike],
    predict: Callable[..., Mapping[str, EstimatesLike]],
    *data: NDArray[np.generic],
) -> None:
    """Check the contract of a predictor. Raises AssertionError with the violated condition.

    ``predict`` returns {endpoint name: estimates} for arrays with n rows. Values must lie inside
    their intervals and physical limits, must not depend on the batch or the order of the rows,
    and the input must not be modified.
    """
    given = [array.copy() for array in data]
    together = predict(*data)
    backwards = predict(*(array[::-1].copy() for array in data))
    singles = [predict(*(array[row : row + 1] for array in data)) for row in range(3)]
    for before, after in zip(given, data, strict=True):
        assert np.array_equal(before, after), "the input was modified"
    for name, endpoint in endpoints.items():
        found = together[name]
        for part, values in (("value", found.value), ("low", found.low), ("high", found.high)):
            assert values.shape == (len(data[0]),), f"{name}: {part} has shape {values.shape}"
            assert np.isfinite(values).all(), f"{name}: {part} is not finite"
        assert (found.low <= found.value).all(), f"{name}: a value lies below its interval"
        assert (found.value <= found.high).all(), f"{name}: a value lies above its interval"
        assert (found.value >= endpoint.lowest).all(), f"{name}: a value lies below its limit"
        assert (found.value <= endpoint.highest).all(), f"{name}: a value lies above its limit"
        again = backwards[name].value[::-1]
        same = np.allclose(again, found.value, rtol=1e-3, atol=1e-4)
        assert same, f"{name}: values depend on the order of the rows"
        alone = np.array([single[name].value[0] for single in singles])
        near = np.allclose(alone, found.value[:3], rtol=1e-3, atol=1e-4)
        assert near, f"{name}: a single row is predicted differently from the batch"


def simulate_brute_force(
    structure: Structure,
    *,
    wavelength_angstrom: float = 1.54184,
    two_theta_range_deg: tuple[float, float] = (10.0, 90.0),
    n_points: int = 1601,
    sigma_deg: float = 0.15,
    merge_deg: float = 1e-4,
) -> NDArray[np.float64]:
    """Simulate a powder pattern (n_points,), strongest point 1, without any optimisation.

    This is the reference for fast engines: pymatgen's physics in double precision, all
    reciprocal-lattice points of the sphere, exact exponentials, no symmetry. Peaks closer than
    ``merge_deg`` are merged at their weighted mean; peaks below 1e-5 of the strongest on the grid
    are left out. Peaks up to 10 σ outside the grid are drawn as well.
    """
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS

    first_deg, last_deg = two_theta_range_deg
    ends = np.radians([first_deg - 10 * sigma_deg, last_deg + 10 * sigma_deg]) / 2
    g_min, g_max = 2 * np.sin(ends) / wavelength_angstrom
    cell = structure.lattice.matrix
    limits = np.floor(g_max * np.linalg.norm(cell, axis=1) + 1e-9).astype(int)
    axes = np.meshgrid(*(np.arange(-n, n + 1) for n in limits), indexing="ij")
    hkl = np.stack(axes, axis=-1).reshape(-1, 3)
    g = np.linalg.norm(hkl @ np.linalg.inv(cell).T, axis=1)
    hkl, g = hkl[(g >= g_min) & (g <= g_max)], g[(g >= g_min) & (g <= g_max)]
    s2 = (g / 2) ** 2
    amplitude = np.zeros(len(g), complex)
    for site in structure:
        wave = np.exp(2j * np.pi * (hkl @ site.frac_coords))
        for species, occupancy in site.species.items():
            a, b = np.array(ATOMIC_SCATTERING_PARAMS[species.symbol]).T[:, :, None]
            factor = species.Z - 41.78214 * s2 * (a * np.exp(-b * s2)).sum(axis=0)
            amplitude += occupancy * factor * wave
    theta = np.arcsin(wavelength_angstrom * g / 2)
    polarisation = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    order = np.argsort(theta)
    angle = 2 * np.degrees(theta[order])
    intensity = (abs(amplitude) ** 2 * polarisation)[order]
    peak_of = np.concatenate([[0], np.cumsum(np.diff(angle) >= merge_deg)])
    height = np.bincount(peak_of, intensity)
    first = angle[np.searchsorted(peak_of, np.arange(len(height)))]
    moved = np.bincount(peak_of, intensity * (angle - first[peak_of]))
    centre = first + moved / np.where(height > 0, height, 1)
    strong = height > 1e-5 * height[(centre >= first_deg) & (centre <= last_deg)].max()
    return draw_gaussians(centre[strong], height[strong], two_theta_range_deg, n_points, sigma_deg)


def draw_gaussians(
    two_theta_deg: NDArray[np.float64],
    intensity: NDArray[np.float64],
    two_theta_range_deg: tuple[float, float] = (10.0, 90.0),
    n_points: int = 1601,
    sigma_deg: float = 0.15,
) -> NDArray[np.float64]:
    """Draw peaks as Gaussians on an evenly spaced grid; the strongest point is 1."""
    grid = np.linspace(*two_theta_range_deg, n_points)
    offsets = (grid - np.asarray(two_theta_deg)[:, None]) / sigma_deg
    summed = np.asarray(intensity) @ np.exp(-0.5 * offsets**2)
    return summed / summed.max()
