"""Radiation by name, and the axes that a powder pattern is drawn on: 2θ, d, Q and ln Q."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matlode.errors import InputError, suggest

Axis = Literal["two_theta", "d", "q", "log_q"]
"""2θ in degrees, d in Å, Q = 4π sinθ/λ = 2π/d in Å⁻¹, or the natural logarithm of Q in Å⁻¹."""


def find_wavelength(radiation: str | float) -> float:
    """Wavelength in Å of radiation by pymatgen's name (CuKa1, MoKa, AgKa2, ...) or in Å itself.

    ``CuKa`` is the mean of CuKa1 and CuKa2 weighted 2:1. Raises InputError for an unknown name
    and for lengths outside 0.01..10 Å.

    >>> find_wavelength("MoKa1")
    0.7093
    """
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS

    known = {name.lower(): length for name, length in WAVELENGTHS.items()}
    name = str(radiation).lower().replace("-", "").replace("_", "").replace("α", "a")
    if name in known:
        return float(known[name])
    try:
        length = float(radiation)
    except ValueError:
        raise InputError(
            f'"{radiation}" is no radiation; name one or give its wavelength in Å. '
            f"{suggest(str(radiation), WAVELENGTHS)}"
        ) from None
    if not 0.01 <= length <= 10:
        raise InputError(f"a wavelength of {length:g} Å is outside 0.01..10 Å.")
    return length


def to_q(values: ArrayLike, axis: Axis, wavelength_angstrom: float) -> NDArray[np.float64]:
    """Positions on ``axis`` as Q in Å⁻¹, same shape."""
    values = np.asarray(values, dtype=float)
    if axis == "two_theta":
        return 4 * np.pi * np.sin(np.radians(values / 2)) / wavelength_angstrom
    if axis == "d":
        return 2 * np.pi / values
    if axis == "log_q":
        return np.exp(values)
    _require_axis(axis)
    return values


def from_q(q: ArrayLike, axis: Axis, wavelength_angstrom: float) -> NDArray[np.float64]:
    """Positions on ``axis`` of Q in Å⁻¹, same shape; NaN where 2θ does not reach Q."""
    q = np.asarray(q, dtype=float)
    if axis == "two_theta":
        sine = q * wavelength_angstrom / (4 * np.pi)
        return 2 * np.degrees(np.arcsin(np.where(sine <= 1, sine, np.nan)))
    if axis == "d":
        return 2 * np.pi / q
    if axis == "log_q":
        return np.log(q)
    _require_axis(axis)
    return q


def _require_axis(axis: str) -> None:
    if axis not in get_args(Axis):
        raise InputError(f'"{axis}" is no axis of a pattern. {suggest(axis, get_args(Axis))}')
