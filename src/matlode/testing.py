"""Small well-known crystals and tolerances named for their reason, for tests of any code.

Crystals are conventional cells, written as formulas in the order of the roles:

>>> perovskite("SrTiO3").composition.reduced_formula
'SrTiO3'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymatgen.core import Composition, Lattice, Structure

ROUND_OFF = 1e-10
"""Double-precision sums of numbers about 1, taken in another order."""
SINGLE_PRECISION = 1e-6
"""Numbers about 1 that went through float32."""
HALF_PRECISION = 2.0**-11
"""Relative error of a number that was kept as float16."""
GRID_STEP_DEG = 0.05
"""A position read off the standard 2θ grid is known to one step."""
PRINTED_SPACING_ANGSTROM = 0.002
"""What the d of a powder diffraction file may be off: measured, then rounded."""
OTHER_ENGINE = 1e-4
"""Profiles (strongest point 1) of another engine that leaves out other weak peaks."""
SAMPLING_SIGMAS = 5.0
"""Standard errors by which a mean over random draws may be off."""

FAST_ENGINE = 1e-7
"""Profiles (strongest point 1) of the compiled engine: tables and averages over symmetry."""

Site = tuple[float, float, float]

_FCC: tuple[Site, ...] = ((0.0, 0.0, 0.0), (0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0))


def rock_salt(formula: str = "NaCl", *, a_angstrom: float = 5.6402) -> Structure:
    """Cation and anion, Fm-3m (225). NaCl: Swanson and Fuyat, NBS Circular 539 II (1953)."""
    cation, anion = _roles(formula)
    sites = {cation: _FCC, anion: _shifted(_FCC, 0.5)}
    return _crystal(Lattice.cubic(a_angstrom), sites)


def caesium_chloride(formula: str = "CsCl", *, a_angstrom: float = 4.123) -> Structure:
    """Cation and anion, Pm-3m (221)."""
    cation, anion = _roles(formula)
    sites = {cation: [(0.0, 0.0, 0.0)], anion: [(0.5, 0.5, 0.5)]}
    return _crystal(Lattice.cubic(a_angstrom), sites)


def fluorite(formula: str = "CaF2", *, a_angstrom: float = 5.4626) -> Structure:
    """Cation and anion, Fm-3m (225)."""
    cation, anion = _roles(formula)
    sites = {cation: _FCC, anion: [*_shifted(_FCC, 0.25), *_shifted(_FCC, 0.75)]}
    return _crystal(Lattice.cubic(a_angstrom), sites)


def zinc_blende(formula: str = "ZnS", *, a_angstrom: float = 5.4093) -> Structure:
    """Cation and anion, F-43m (216)."""
    cation, anion = _roles(formula)
    sites = {cation: _FCC, anion: _shifted(_FCC, 0.25)}
    return _crystal(Lattice.cubic(a_angstrom), sites)


def diamond(element: str = "Si", *, a_angstrom: float = 5.43102) -> Structure:
    """One element, Fd-3m (227). Si: CODATA 2018."""
    return _crystal(Lattice.cubic(a_angstrom), {element: [*_FCC, *_shifted(_FCC, 0.25)]})


def body_centred_cubic(element: str = "Fe", *, a_angstrom: float = 2.8665) -> Structure:
    """One element, Im-3m (229)."""
    return _crystal(Lattice.cubic(a_angstrom), {element: [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)]})


def face_centred_cubic(element: str = "Cu", *, a_angstrom: float = 3.6149) -> Structure:
    """One element, Fm-3m (225)."""
    return _crystal(Lattice.cubic(a_angstrom), {element: _FCC})


def hexagonal_close_packed(
    element: str = "Mg", *, a_angstrom: float = 3.2094, c_angstrom: float = 5.2105
) -> Structure:
    """One element, P6_3/mmc (194)."""
    sites = {element: [(1 / 3, 2 / 3, 0.25), (2 / 3, 1 / 3, 0.75)]}
    return _crystal(Lattice.hexagonal(a_angstrom, c_angstrom), sites)


def rutile(
    formula: str = "TiO2",
    *,
    a_angstrom: float = 4.5937,
    c_angstrom: float = 2.9587,
    u: float = 0.3048,
) -> Structure:
    """Cation and anion, P4_2/mnm (136). TiO2: Abrahams and Bernstein, JCP 55, 3206 (1971)."""
    cation, anion = _roles(formula)
    v = 0.5 - u
    sites = {
        cation: [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)],
        anion: [(u, u, 0.0), (-u, -u, 0.0), (v, 0.5 + u, 0.5), (0.5 + u, v, 0.5)],
    }
    return _crystal(Lattice.tetragonal(a_angstrom, c_angstrom), sites)


def perovskite(formula: str = "SrTiO3", *, a_angstrom: float = 3.905) -> Structure:
    """Large cation, small cation and anion, Pm-3m (221)."""
    large, small, anion = _roles(formula)
    sites = {
        large: [(0.0, 0.0, 0.0)],
        small: [(0.5, 0.5, 0.5)],
        anion: [(0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0)],
    }
    return _crystal(Lattice.cubic(a_angstrom), sites)


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
"""name → builder, each with a real material as default."""


def _roles(formula: str) -> list[str]:
    return [element.symbol for element in Composition(formula).elements]


def _shifted(sites: Iterable[Site], by: float) -> list[Site]:
    return [(x + by, y + by, z + by) for x, y, z in sites]


def _crystal(lattice: Lattice, sites: Mapping[str, Iterable[Site]]) -> Structure:
    species = [symbol for symbol, places in sites.items() for _ in places]
    coords = [site for places in sites.values() for site in places]
    return Structure(lattice, species, coords, to_unit_cell=True)


def check_sampler(sampler: Any, history: Callable[..., Any], *, n_variables: int = 5) -> None:
    """The contract of a Sampler: raises AssertionError, saying what is broken.

    ``history`` makes what a sampler is told (``optimisation.sampler.History``). Points stay in
    the box, the same seed gives the same points, other seeds others, inputs are left as they
    were, and any batch size works, also with few points seen.
    """
    bounds = np.stack([np.linspace(-2, 0, n_variables), np.linspace(1, 3, n_variables)], axis=1)
    for n_seen in (8, 200):
        rng = np.random.default_rng(0)
        points = rng.uniform(bounds[:, 0], bounds[:, 1], (n_seen, n_variables))
        merits = -(points**2).sum(axis=1)
        groups = np.array([f"group {i % 7}" for i in range(n_seen)])
        given = points.copy(), merits.copy(), bounds.copy()

        told = history(points, merits, groups, 5)

        def suggest(seed: int, n: int, told: Any = told) -> Any:
            return sampler.suggest(told, bounds, n, np.random.default_rng(seed))

        for n in (1, 16):
            new = suggest(1, n)
            assert new.shape == (n, n_variables), f"wanted {(n, n_variables)}, got {new.shape}"
            assert (new >= bounds[:, 0]).all(), "a point lies below the box"
            assert (new <= bounds[:, 1]).all(), "a point lies above the box"
            assert np.array_equal(new, suggest(1, n)), "the same seed gave other points"
            assert not np.array_equal(new, suggest(2, n)), "another seed gave the same points"
        for before, after in zip(given, (points, merits, bounds), strict=True):
            assert np.array_equal(before, after), "an input was changed"


def check_rule(rule: Any, candidate: Any) -> None:
    """The contract of a Rule: raises AssertionError, saying what is broken."""
    verdict = rule.check(candidate)
    assert verdict.rule == rule.name, f'verdict of "{rule.name}" is signed "{verdict.rule}"'
    assert isinstance(verdict.passed, bool), f"passed is a {type(verdict.passed).__name__}"
    assert isinstance(rule.required, bool), "required must be a bool"
    assert len(verdict.reason) > 10, f'reason "{verdict.reason}" tells nothing'
    assert verdict == rule.check(candidate), "the same candidate got two verdicts"


def check_estimates(
    endpoints: Mapping[str, Any], predict: Callable[..., Any], *data: NDArray[Any]
) -> None:
    """The contract of whatever predicts: raises AssertionError, saying what is broken.

    ``predict`` makes {endpoint name: estimates} of arrays with n rows. Values lie inside their
    intervals and physical limits, a batch is its singles, the order of rows is irrelevant, the
    input stays untouched.
    """
    given = [array.copy() for array in data]
    together = predict(*data)
    backwards = predict(*(array[::-1].copy() for array in data))
    singles = [predict(*(array[row : row + 1] for array in data)) for row in range(3)]
    for before, after in zip(given, data, strict=True):
        assert np.array_equal(before, after), "the input was changed"
    for name, endpoint in endpoints.items():
        found = together[name]
        for part in ("value", "low", "high"):
            values = getattr(found, part)
            assert values.shape == (len(data[0]),), f"{name}: {part} has another shape"
            assert np.isfinite(values).all(), f"{name}: {part} is not finite"
        assert (found.low <= found.value).all(), f"{name}: a value lies below its interval"
        assert (found.value <= found.high).all(), f"{name}: a value lies above its interval"
        assert (found.value >= endpoint.lowest).all(), f"{name}: a value lies below its limit"
        assert (found.value <= endpoint.highest).all(), f"{name}: a value lies above its limit"
        again = backwards[name].value[::-1]
        assert np.allclose(again, found.value, rtol=1e-3, atol=1e-4), f"{name}: order matters"
        alone = np.array([single[name].value[0] for single in singles])
        near = np.allclose(alone, found.value[:3], rtol=1e-3, atol=1e-4)
        assert near, f"{name}: a single differs from its batch"


def brute_force_pattern(
    structure: Structure,
    *,
    wavelength_angstrom: float = 1.54184,
    two_theta_range_deg: tuple[float, float] = (10.0, 90.0),
    n_points: int = 1601,
    sigma_deg: float = 0.15,
    merge_deg: float = 1e-4,
) -> NDArray[np.float64]:
    """A powder pattern (n_points,), strongest point 1, with nothing done cleverly.

    pymatgen's physics in double precision: every reciprocal-lattice point of the sphere, exact
    exponentials, no symmetry; neighbours closer than ``merge_deg`` are one peak at their mean,
    and peaks below 1e-5 of the strongest are left out. What fast engines are held against.
    """
    from pymatgen.analysis.diffraction.xrd import ATOMIC_SCATTERING_PARAMS

    ends = np.radians(np.array(two_theta_range_deg)) / 2
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
    strong = height > 1e-5 * height.max()
    return gaussian_profile(
        centre[strong], height[strong], two_theta_range_deg, n_points, sigma_deg
    )


def gaussian_profile(
    two_theta_deg: NDArray[np.float64],
    intensity: NDArray[np.float64],
    two_theta_range_deg: tuple[float, float] = (10.0, 90.0),
    n_points: int = 1601,
    sigma_deg: float = 0.15,
) -> NDArray[np.float64]:
    """Peaks as Gaussians on an even grid, the strongest point 1."""
    grid = np.linspace(*two_theta_range_deg, n_points)
    offsets = (grid - np.asarray(two_theta_deg)[:, None]) / sigma_deg
    summed = np.asarray(intensity) @ np.exp(-0.5 * offsets**2)
    return summed / summed.max()
