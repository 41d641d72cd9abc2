"""Read measured powder patterns from the files of diffractometers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.errors import InputError, suggest
from matlode.notebook import html_table, pattern_picture
from matlode.representation.pattern_files import (
    MAX_PATTERN_BYTES,
    Readout,
    read_columns,
    read_ras,
)
from matlode.representation.pattern_raw import read_raw
from matlode.representation.pattern_text_formats import (
    read_chi,
    read_gsas,
    read_pdcif,
    read_uxd,
)
from matlode.representation.pattern_xml import read_brml, read_rasx, read_xrdml
from matlode.representation.radiation import Axis, find_wavelength, from_q, to_q


def read_raw_or_gsas(data: bytes) -> Readout:
    """Read a RAW file: Bruker's binary formats, or the text of GSAS, which has the same ending."""
    return read_gsas(data) if b"BANK " in data[:2000] else read_raw(data)


READERS: Final[dict[str, Callable[[bytes], Readout]]] = {
    ".xy": read_columns,
    ".xye": partial(read_columns, is_xye=True),
    ".csv": read_columns,
    ".dat": read_columns,
    ".txt": read_columns,
    ".xrdml": read_xrdml,
    ".ras": read_ras,
    ".rasx": read_rasx,
    ".brml": read_brml,
    ".raw": read_raw_or_gsas,
    ".uxd": read_uxd,
    ".gsa": read_gsas,
    ".gsas": read_gsas,
    ".gda": read_gsas,
    ".fxye": read_gsas,
    ".xra": read_gsas,
    ".chi": read_chi,
    ".cif": read_pdcif,
    ".xyd": read_columns,
}
"""Readers by file ending."""

MIN_POINTS: Final = 10
"""Smallest number of points of a pattern."""
MAX_INTENSITY: Final = 1e100
"""Largest intensity; sums and squares of larger ones would be infinite."""
RADIANS_END: Final = 3.15
"""End of a scan of unknown axis, below which it is hardly over degrees."""
SAME_POSITION_DEG: Final = 1e-5
"""Positions closer than this are equal; it is below the resolution of any goniometer."""


@dataclass(frozen=True, kw_only=True, repr=False)
class MeasuredPattern:
    """A measured powder pattern of n points."""

    two_theta_deg: NDArray[np.float64]
    """(n,), strictly ascending."""
    intensity: NDArray[np.float64]
    """(n,), in the unit of the file; can be negative if the background was subtracted."""
    sigma: NDArray[np.float64] | None
    """(n,), standard deviations, if the file contains them."""
    wavelength_angstrom: float
    """Wavelength to which ``two_theta_deg`` refers."""
    source: str
    """Path of the file."""
    notes: tuple[str, ...] = ()
    """Assumptions and changes."""

    def __repr__(self) -> str:
        first, last = self.two_theta_deg[[0, -1]]
        n = len(self.two_theta_deg)
        return f"MeasuredPattern({self.source}: {n:,} points, 2θ = {first:g} to {last:g}°)"

    def _repr_html_(self) -> str:
        """Show the pattern and its metadata in notebooks."""
        rows = [
            ["file", self.source],
            ["points", f"{len(self.two_theta_deg):,}"],
            ["2θ / °", f"{self.two_theta_deg[0]:g}…{self.two_theta_deg[-1]:g}"],
            ["wavelength / Å", f"{self.wavelength_angstrom:g}"],
            *(["note", note] for note in self.notes),
        ]
        picture = pattern_picture(self.two_theta_deg, {Path(self.source).name: self.intensity})
        return picture + html_table(["", ""], rows)


def read_pattern(
    path: str | PathLike[str],
    *,
    wavelength: str | float | None = None,
    axis: Axis | None = None,
) -> MeasuredPattern:
    """Read the powder pattern in a file (``READERS`` lists the formats).

    ``wavelength`` is the name of a radiation such as "MoKa1", or a length in Å; default: that in
    the file, else Cu Kα. ``axis`` is the quantity in the first column; default: that in the
    header, else 2θ. Descending patterns are reversed, and repeated positions are averaged.
    Assumptions and changes are described in the notes. Raises InputError, with the name of the
    file and the place of the error, if the file is not a powder pattern.

    >>> read_pattern("salt.xy")
    MeasuredPattern(salt.xy: 1,601 points, 2θ = 10 to 90°)
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    try:
        if reader is None:
            raise InputError(
                f'unknown file ending "{path.suffix}". {suggest(path.suffix, READERS)}'
            )
        readout = reader(_read_bytes(path))
        return _assemble(readout, str(path), wavelength, axis)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:  # the size of a device or pipe is unknown before reading
            data = stream.read(MAX_PATTERN_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror}); expected the file of a powder pattern."
        ) from None
    if len(data) > MAX_PATTERN_BYTES:
        raise InputError(
            f"the file is too large for a pattern: more than {MAX_PATTERN_BYTES / 1e6:.0f} MB."
        )
    if not data.strip():
        raise InputError("the file is empty; export the pattern again.")
    return data


def _assemble(
    readout: Readout, source: str, wavelength: str | float | None, axis: Axis | None
) -> MeasuredPattern:
    notes = list(readout.notes)
    in_file = readout.wavelength_angstrom
    length = find_wavelength(wavelength or in_file or "CuKa")
    if wavelength is None and in_file is None:
        notes.append(f"no wavelength in the file; Cu Kα ({length:g} Å) assumed.")
    elif in_file is not None and in_file != length:
        notes.append(f"λ = {length:g} Å as given; the file says {in_file:g} Å.")
    ends = readout.positions.min(), readout.positions.max()
    if axis is None and readout.axis is None and 0 < ends[0] <= ends[1] < RADIANS_END:
        raise InputError(
            f"positions end at {ends[1]:.4g} and no header says what they are: "
            'radians, 1/d or sinθ/λ? Name the column, such as "2theta (rad)", or give the axis.'
        )
    axis = axis or readout.axis or "two_theta"
    columns = [readout.intensity] if readout.sigma is None else [readout.intensity, readout.sigma]
    two_theta, columns = _convert_to_two_theta(readout.positions, columns, axis, length, notes)
    two_theta, columns = _sort_positions(two_theta, columns, axis, notes)
    if len(two_theta) < MIN_POINTS:
        raise InputError(f"only {len(two_theta)} points; expected at least {MIN_POINTS}.")
    if columns[0].max() <= 0:
        raise InputError(
            f"no intensity above zero (the highest is {columns[0].max():g}); expected columns of "
            "position and intensity."
        )
    if np.ptp(columns[0]) == 0:
        raise InputError(
            f"all intensities are {columns[0][0]:g}; expected columns of position and intensity."
        )
    return MeasuredPattern(
        two_theta_deg=two_theta,
        intensity=columns[0],
        sigma=None if readout.sigma is None else columns[1],
        wavelength_angstrom=length,
        source=source,
        notes=tuple(notes),
    )


def _convert_to_two_theta(
    positions: NDArray[np.float64],
    columns: list[NDArray[np.float64]],
    axis: Axis,
    wavelength_angstrom: float,
    notes: list[str],
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    values = np.array([positions, *columns])
    broken = ~np.isfinite(values).all(axis=0)
    if broken.any():
        raise InputError(f"point {broken.argmax() + 1} is not finite; export the pattern again.")
    beyond = abs(values).max(axis=0) > MAX_INTENSITY
    if beyond.any():
        raise InputError(
            f"point {beyond.argmax() + 1} has {values[1:, beyond.argmax()].max():.3g}; expected "
            f"intensities up to {MAX_INTENSITY:g}: export the pattern again."
        )
    if axis == "two_theta":
        outside = (positions < 0) | (positions > 180)
        expected = "2θ in 0..180°; remove such points, or give the axis of the file"
    else:
        outside = (positions <= 0) & (axis != "log_q")
        expected = f"{axis} above 0; remove such points"
    if outside.any():
        at = int(outside.argmax())
        raise InputError(f"point {at + 1} is at {positions[at]:g}; expected {expected}.")
    if axis == "two_theta":
        return positions, columns
    two_theta = from_q(to_q(positions, axis, wavelength_angstrom), "two_theta", wavelength_angstrom)
    seen = np.isfinite(two_theta)
    if not seen.all():
        notes.append(
            f"{(~seen).sum()} points left out that have no 2θ at λ = {wavelength_angstrom:g} Å."
        )
    return two_theta[seen], [column[seen] for column in columns]


def _sort_positions(
    two_theta: NDArray[np.float64],
    columns: list[NDArray[np.float64]],
    axis: Axis,
    notes: list[str],
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    if len(two_theta) > 1 and two_theta[0] > two_theta[-1]:
        two_theta, columns = two_theta[::-1], [column[::-1] for column in columns]
        if axis != "d":  # for which descending positions are normal
            notes.append("descending positions turned round.")
    steps = np.diff(two_theta)
    if (steps < 0).any():
        at = int((steps < 0).argmax())
        raise InputError(
            f"positions are not monotonic: {two_theta[at]:.6g}° is followed by "
            f"{two_theta[at + 1]:.6g}°; expected one scan, ascending or descending."
        )
    firsts = np.flatnonzero(np.concatenate([[True], steps > SAME_POSITION_DEG])[: len(two_theta)])
    repeats = len(two_theta) - len(firsts)
    if repeats == 0:
        return two_theta, columns
    notes.append(f"{repeats} repeated positions averaged.")
    counts = np.diff([*firsts, len(two_theta)])
    mean = np.add.reduceat(columns[0], firsts) / counts
    # standard deviations of the means
    errors = [np.sqrt(np.add.reduceat(sigma**2, firsts)) / counts for sigma in columns[1:]]
    return two_theta[firsts], [mean, *errors]
