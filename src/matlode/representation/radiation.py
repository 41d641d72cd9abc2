"""Wavelengths of X-ray radiation, and conversion between the axes 2θ, d, Q and ln Q."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matlode.errors import InputError, suggest

Axis = Literal["two_theta", "d", "q", "log_q"]
"""2θ in degrees, d in Å, Q = 4π sinθ/λ = 2π/d in Å⁻¹, or the natural logarithm of Q in Å⁻¹."""


def find_wavelength(radiation: str | float) -> float:
    """Return the wavelength in Å of a radiation, given by pymatgen's name or as a length in Å.

    Names are CuKa1, MoKa, AgKa2, etc.; ``CuKa`` is the mean of CuKa1 and CuKa2 with weights 2:1.
    Raises InputError for an unknown name and for lengths outside 0.01..10 Å.

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
            f'unknown radiation "{radiation}"; expected a name or a wavelength in Å. '
            f"{suggest(str(radiation), WAVELENGTHS)}"
        ) from None
    if not 0.01 <= length <= 10:
        raise InputError(f"invalid wavelength {length:g} Å; expected 0.01..10 Å.")
    return length


def to_q(values: ArrayLike, axis: Axis, wavelength_angstrom: float) -> NDArray[np.float64]:
    """Convert positions on ``axis`` to Q in Å⁻¹, same shape."""
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
    """Convert Q in Å⁻¹ to positions on ``axis``, same shape; NaN if no 2θ corresponds to Q."""
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
        raise InputError(f'unknown axis "{axis}". {suggest(axis, get_args(Axis))}')
