"""Properties derived from predicted ones by published formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.properties.endpoints import Endpoint, Estimates
from matlode.representation.composition import (
    compute_densities,
    compute_formula_vectors,
    compute_mean_masses,
)

if TYPE_CHECKING:
    from matlode.data.tables import Materials

Array = NDArray[np.floating]

ROOM_TEMPERATURE_K = 300.0
GAS_CONSTANT = 8.314462618
"""J/mol/K."""
AVOGADRO = 6.02214076e23
SMALLEST_GPA = 1.0
"""Smaller moduli are raised to this value: ratios of vanishing moduli are meaningless."""


@dataclass(frozen=True)
class Derivation:
    """One derived property: its endpoint, the properties it needs, and the formula."""

    endpoint: Endpoint
    needs: tuple[str, ...]
    """Names of predicted endpoints, in the order of the formula's arguments."""
    formula: Callable[..., Array]
    """Arrays (n,) → (n,); the last argument is the mean atomic mass where ``by_mass``."""
    by_mass: bool = False

    def estimate(self, given: Mapping[str, Estimates], compositions: Array) -> Estimates:
        """Compute values and intervals from the estimates ``given``.

        Errors of the inputs are propagated as independent (JCGM 100:2008, 5.1, with finite
        differences): each input in turn is set to the ends of its interval, and the deviations
        are added in quadrature.
        """
        inputs = [given[name] for name in self.needs]
        extra = (compute_mean_masses(compositions),) if self.by_mass else ()
        centre = [e.value for e in inputs]
        value = self.formula(*centre, *extra)
        up, down = np.zeros_like(value), np.zeros_like(value)
        for at, e in enumerate(inputs):
            for end in (e.low, e.high):
                moved = self.formula(*centre[:at], end, *centre[at + 1 :], *extra) - value
                up += np.maximum(moved, 0) ** 2
                down += np.minimum(moved, 0) ** 2
        lowest, highest = self.endpoint.lowest, self.endpoint.highest
        return Estimates(
            np.clip(value, lowest, highest).astype(float),
            np.clip(value - np.sqrt(down), lowest, highest).astype(float),
            np.clip(value + np.sqrt(up), lowest, highest).astype(float),
        )


def poisson_ratio(bulk_gpa: Array, shear_gpa: Array) -> Array:
    """ν of an isotropic solid, (3K - 2G) / (6K + 2G).

    >>> round(float(poisson_ratio(np.float64(443.0), np.float64(535.0))), 3)
    0.069
    """
    k, g = np.maximum(bulk_gpa, SMALLEST_GPA), np.maximum(shear_gpa, SMALLEST_GPA)
    return (3 * k - 2 * g) / (6 * k + 2 * g)


def youngs_modulus(bulk_gpa: Array, shear_gpa: Array) -> Array:
    """E of an isotropic solid, 9KG / (3K + G), GPa."""
    k, g = np.maximum(bulk_gpa, SMALLEST_GPA), np.maximum(shear_gpa, SMALLEST_GPA)
    return 9 * k * g / (3 * k + g)


def pugh_ratio(bulk_gpa: Array, shear_gpa: Array) -> Array:
    """K/G: above 1.75 ductile, below brittle (Pugh, Philos. Mag. 45, 823, 1954)."""
    return np.maximum(bulk_gpa, SMALLEST_GPA) / np.maximum(shear_gpa, SMALLEST_GPA)


def vickers_hardness_chen(bulk_gpa: Array, shear_gpa: Array) -> Array:
    """Hᵥ = 2 (G³/K²)^0.585 - 3, GPa (Chen et al., Intermetallics 19, 1275, 2011, Eq. 6);
    negative values are set to 0.

    >>> round(float(vickers_hardness_chen(np.float64(443.0), np.float64(535.0))), 1)
    95.4
    """
    k, g = np.maximum(bulk_gpa, SMALLEST_GPA), np.maximum(shear_gpa, SMALLEST_GPA)
    return np.maximum(2 * (g**3 / k**2) ** 0.585 - 3, 0)


def vickers_hardness_mazhnik(bulk_gpa: Array, shear_gpa: Array) -> Array:
    """Hᵥ = 0.096 χ(ν) E, GPa (Mazhnik and Oganov, J. Appl. Phys. 126, 125109, 2019, Eq. 13, 14).

    χ = (1 - 8.5ν + 19.5ν²) / (1 - 7.5ν + 12.2ν² + 19.6ν³). Unlike Chen's model it is never
    negative and does not overestimate the hardness of soft materials.

    >>> round(float(vickers_hardness_mazhnik(np.float64(443.0), np.float64(535.0))), 1)
    101.6
    """
    nu = poisson_ratio(bulk_gpa, shear_gpa)
    chi = (1 - 8.5 * nu + 19.5 * nu**2) / (1 - 7.5 * nu + 12.2 * nu**2 + 19.6 * nu**3)
    return 0.096 * chi * youngs_modulus(bulk_gpa, shear_gpa)


def heat_capacity_cv(debye_temperature_k: Array) -> Array:
    """Cᵥ per mole of atoms at 300 K in Debye's model, J/mol/K (Ann. Phys. 344, 789, 1912).

    The same model as in AFLOW's AGL (Toher et al., Phys. Rev. B 90, 174107, 2014).

    >>> round(float(heat_capacity_cv(np.array([2230.0]))[0]), 2)  # diamond; measured 6.1
    4.13
    """
    # Gauss-Legendre: the integrand is smooth
    nodes, weights = np.polynomial.legendre.leggauss(64)
    theta = np.maximum(np.asarray(debye_temperature_k, float), 1.0)[..., None]
    upper = theta / ROOM_TEMPERATURE_K
    x = upper * (nodes + 1) / 2
    # x⁴ eˣ / (eˣ - 1)² in a form that cannot overflow
    integrand = x**4 * np.exp(-x) / np.expm1(-x) ** 2
    integral = (integrand * weights).sum(-1) * upper[..., 0] / 2
    capacity: Array = 9 * GAS_CONSTANT * integral / upper[..., 0] ** 3
    return capacity


def heat_capacity_cp(
    debye_temperature_k: Array, expansion_per_k: Array, bulk_gpa: Array, volume_a3: Array
) -> Array:
    """Cₚ = Cᵥ + α² K V T per mole of atoms at 300 K, J/mol/K.

    ``expansion_per_k`` is the volume expansion α (1/K), ``volume_a3`` the volume per atom (Å³).
    """
    molar_volume_m3 = volume_a3 * 1e-30 * AVOGADRO
    extra = expansion_per_k**2 * bulk_gpa * 1e9 * molar_volume_m3 * ROOM_TEMPERATURE_K
    return heat_capacity_cv(debye_temperature_k) + extra


def conductivity_at_600_k(conductivity_300_k: Array) -> Array:
    """κ at 600 K by AGL's 1/T law (Slack's model above the Debye temperature)."""
    return conductivity_300_k / 2


def _derivation(
    name: str,
    unit: str,
    description: str,
    needs: tuple[str, ...],
    formula: Callable[..., Array],
    *,
    lowest: float = 0.0,
    highest: float = np.inf,
    by_mass: bool = False,
) -> Derivation:
    endpoint = Endpoint(
        name=name, unit=unit, column=name, description=description, lowest=lowest, highest=highest
    )
    return Derivation(endpoint, needs, formula, by_mass)


_MODULI = ("bulk_modulus", "shear_modulus")

DERIVATIONS: Mapping[str, Derivation] = MappingProxyType(
    {
        derivation.endpoint.name: derivation
        for derivation in (
            _derivation(
                "vickers_hardness",
                "GPa",
                "from K and G, Mazhnik and Oganov 2019",
                _MODULI,
                vickers_hardness_mazhnik,
            ),
            _derivation(
                "vickers_hardness_chen",
                "GPa",
                "from K and G, Chen et al. 2011",
                _MODULI,
                vickers_hardness_chen,
            ),
            _derivation(
                "youngs_modulus", "GPa", "from K and G, isotropic solid", _MODULI, youngs_modulus
            ),
            _derivation(
                "poisson_ratio",
                "",
                "from K and G, isotropic solid",
                _MODULI,
                poisson_ratio,
                lowest=-1.0,
                highest=0.5,
            ),
            _derivation("pugh_ratio", "", "K/G, Pugh 1954", _MODULI, pugh_ratio),
            _derivation(
                "heat_capacity_cv",
                "J/mol/K",
                "per mole of atoms at 300 K, Debye's model of the Debye temperature (AGL)",
                ("debye_temperature",),
                heat_capacity_cv,
                highest=3 * GAS_CONSTANT,
            ),
            _derivation(
                "heat_capacity_cp",
                "J/mol/K",
                "per mole of atoms at 300 K, Cᵥ + α²KVT (AGL)",
                ("debye_temperature", "thermal_expansion", "bulk_modulus", "volume_per_atom"),
                heat_capacity_cp,
            ),
            _derivation(
                "thermal_conductivity_600k",
                "W/m/K",
                "lattice part, from the value at 300 K by the 1/T law (AGL)",
                ("thermal_conductivity",),
                conductivity_at_600_k,
            ),
            _derivation(
                "density",
                "g/cm³",
                "from volume per atom and composition",
                ("volume_per_atom",),
                compute_densities,
                by_mass=True,
            ),
        )
    }
)
"""name → derived property."""


def compute_labels(
    endpoints: Mapping[str, Endpoint], materials: Materials
) -> dict[str, NDArray[np.float64]]:
    """Labels (n,) of ``endpoints`` and derived properties, NaN where unknown."""
    labels = {name: endpoint.labels(materials) for name, endpoint in endpoints.items()}
    masses = compute_mean_masses(compute_formula_vectors(materials.frame["formula"].tolist()))
    for name, derivation in DERIVATIONS.items():
        inputs = [labels[needed] for needed in derivation.needs]
        value = derivation.formula(*inputs, *([masses] if derivation.by_mass else []))
        labels[name] = np.where(np.isnan(inputs).any(axis=0), np.nan, value)
    return labels
