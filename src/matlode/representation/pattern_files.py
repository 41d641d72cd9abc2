"""The content of powder-pattern files, and the readers of text formats.

Other formats are read by ``pattern_xml`` and ``pattern_raw``. Readers convert the bytes of a file
to a ``Readout``. They raise InputError with the place and the reason; ``patterns.read_pattern``
adds the name of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.errors import InputError
from matlode.representation.radiation import Axis

MAX_PATTERN_BYTES: Final = 1 << 26
"""Largest size of a file or of an unpacked archive; a million points need about 20 MB."""
K_ALPHA_RATIO: Final = 0.5
"""Default ratio of Kα2 and Kα1, from the number of 2p electrons (2 and 4)."""


@dataclass(frozen=True, kw_only=True)
class Readout:
    """The content of a file, without any assumptions."""

    positions: NDArray[np.float64]
    """(n,), on ``axis``, in the order of the file (several scans: ascending)."""
    intensity: NDArray[np.float64]
    """(n,)."""
    sigma: NDArray[np.float64] | None = None
    """(n,), standard deviations, if the file contains them."""
    axis: Axis | None = None
    """Axis of the positions, if the file contains it."""
    wavelength_angstrom: float | None = None
    """Wavelength in Å, if the file contains it."""
    notes: tuple[str, ...] = ()
    """Decisions and corrections made while reading."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One range of a file: positions in degrees 2θ, counts, and seconds per point."""

    two_theta_deg: NDArray[np.float64]
    counts: NDArray[np.float64]
    seconds: NDArray[np.float64] | float = 1.0


def join_scans(
    scans: Sequence[Scan], wavelength_angstrom: float | None, notes: Iterable[str] = ()
) -> Readout:
    """Combine scans, scaled to the counting time of the first point.

    Raises InputError if there are no scans, no points, or counting times that are not positive.
    """
    if not scans:
        raise InputError("the file has no scan over 2θ; export only the powder scan.")
    seconds = np.concatenate([np.broadcast_to(scan.seconds, scan.counts.shape) for scan in scans])
    if not seconds.size:
        raise InputError("the file has no points; export the pattern again.")
    if seconds.min() <= 0:
        raise InputError(
            f"invalid counting time {seconds.min():g} s; expected times above 0: export the "
            "pattern as .xy."
        )
    positions = np.concatenate([scan.two_theta_deg for scan in scans])
    intensity = np.concatenate([scan.counts for scan in scans])
    notes = list(notes)
    if np.ptp(seconds) > 0:
        intensity = intensity * seconds[0] / seconds
        notes.append(f"counting times differ; all points scaled to {seconds[0]:g} s.")
    if len(scans) > 1:
        notes.append(f"{len(scans)} scans joined.")
        order = np.argsort(positions, kind="stable")
        positions, intensity = positions[order], intensity[order]
    return Readout(
        positions=positions,
        intensity=intensity,
        axis="two_theta",
        wavelength_angstrom=wavelength_angstrom,
        notes=tuple(notes),
    )


def average_k_alpha(
    alpha1: float, alpha2: float, ratio: float = K_ALPHA_RATIO
) -> tuple[float | None, tuple[str, ...]]:
    """Return the weighted mean of Kα1 and Kα2 in Å, and notes; unknown wavelengths are 0."""
    if alpha1 <= 0:
        return None, ()
    if alpha2 <= 0 or ratio <= 0:
        return alpha1, ()
    mean = (alpha1 + ratio * alpha2) / (1 + ratio)
    note = f"Kα1 {alpha1:.5f} Å and Kα2 {alpha2:.5f} Å, 1:{ratio:g}, averaged to {mean:.5f} Å."
    return mean, (note,)


def decode(data: bytes) -> str:
    """Decode a text file in UTF-8, UTF-16 or Latin-1. Raises InputError for binary content."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    binary = re.search(rb"[\x00-\x08\x0e-\x19]", data)
    if binary:
        raise InputError(
            f"not a text file: byte {binary.start()} is binary; export the pattern as two columns "
            "of text."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


_COMMENT = "#!;'/%*"
_AXES: Final[dict[Axis, str]] = {
    "two_theta": r"(2|two)[\s_*-]*(th|θ)|tth|angle|°2th|pos",
    "log_q": r"(ln|log)[_\s(]*q",
    "q": r"q(?![a-z0-9])",
    "d": r"d(?![a-z0-9])|d-?spac",
}
"""Regular expressions for the beginnings of column headers."""
_SIGMA = r"σ|sig|esd|err|unc|std|[se]$|[iy]_?(err|sig)"
_WAVELENGTH = re.compile(
    r"(?:wave[\s_-]*length|lambda|λ)(?:\s*_?1(?![\d.]))?[^\d.]{0,20}"
    r"(\d*\.?\d+(?:e[+-]?\d+)?)[\s(]*(?:nm\b|m\b)?",
    re.IGNORECASE,
)


def read_columns(data: bytes) -> Readout:
    """Read columns of position, intensity and optionally σ, or FullProf's free format.

    Columns are separated by blanks, tabs, commas or semicolons; commas can be decimal separators
    if another character separates the columns. Comment lines, and lines of text above the first
    row, are the header. Raises InputError with the line number for invalid lines.
    """
    header: list[str] = []
    rows: list[list[float]] = []
    lines = decode(data).splitlines()
    for number, line in enumerate(lines, start=1):
        words = line.strip()
        fields = _split(line)
        if not words or words[0] in _COMMENT or (not rows and not is_number(fields[0])):
            header += [words] if words and not rows else []
            continue
        if not rows and (stepped := _read_steps(fields, lines[number:], header)):
            return stepped
        rows.append(read_row(fields, number, len(rows[0]) if rows else len(fields)))
    if not rows:
        raise InputError("no rows of numbers; expected columns of position and intensity.")
    return _interpret_table(np.array(rows), header)


def _split(line: str) -> list[str]:
    line = line.replace('"', "").strip(" ;,\t\r\n")
    for separator in (";", "\t"):
        if separator in line:
            return [field.strip().replace(",", ".") for field in line.split(separator)]
    words = line.split()
    if len(words) > 1 and any(re.fullmatch(r"[+-]?\d+,\d+", word) for word in words):
        return [word.replace(",", ".") for word in words]
    return line.replace(",", " ").split() or [line]


def is_number(word: str) -> bool:
    """Return whether ``float`` can convert the word."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def read_row(fields: list[str], number: int, n_columns: int) -> list[float]:
    """Convert the fields of line ``number`` to floats.

    Raises InputError if a field is not a finite number, or if there are not ``n_columns``.
    """
    if len(fields) < 2:
        raise InputError(
            f'line {number}: only one column ("{fields[0]}"); expected position and intensity.'
        )
    for field in fields:
        if not (is_number(field) and np.isfinite(float(field))):
            raise InputError(
                f'line {number}: "{field}" is not a number; correct or delete the line.'
            )
    if len(fields) != n_columns:
        raise InputError(
            f"line {number}: {len(fields)} columns; expected {n_columns} as in the first row: "
            "correct or delete the line."
        )
    return [float(field) for field in fields]


def _read_steps(first: list[str], rest: list[str], header: list[str]) -> Readout | None:
    """Read FullProf's free format; None if the first line does not fit the number of values."""
    words = " ".join(line for line in rest if line.strip()[:1] not in _COMMENT).split()
    if len(first) < 3 or not all(map(is_number, [*first[:3], *words])):
        return None
    start, step, stop = map(float, first[:3])
    # the last position is rounded in the file
    if step <= 0 or abs((stop - start) / step + 1 - len(words)) >= 0.5:
        return None
    wavelength, notes = _find_wavelength(header)
    return Readout(
        positions=start + step * np.arange(len(words), dtype=float),
        intensity=np.array(words, dtype=float),
        axis="two_theta",
        wavelength_angstrom=wavelength,
        notes=(*notes, "read as FullProf's free format: start, step, stop, intensities."),
    )


def _interpret_table(table: NDArray[np.float64], header: list[str]) -> Readout:
    names = _split(header[-1].lstrip(_COMMENT + " ").lower()) if header else []
    axis = _find_axis(names[0]) if names else None
    # the unit may be a separate word
    in_nm = bool(names) and axis in ("q", "d") and "nm" in names[0] + " ".join(names[1:2])
    scale = {"q": 0.1, "d": 10.0}.get(axis or "", 1.0) if in_nm else 1.0
    wavelength, notes = _find_wavelength(header)
    if axis not in (None, "two_theta"):
        notes = (*notes, f'positions are {axis}, as the header "{header[-1]}" says.')
    sigma = _find_sigma_column(names, table.shape[1])
    return Readout(
        positions=scale * table[:, 0],
        intensity=table[:, 1],
        sigma=None if sigma is None else table[:, sigma],
        axis=axis,
        wavelength_angstrom=wavelength,
        notes=notes,
    )


def _find_axis(name: str) -> Axis | None:
    return next((axis for axis, start in _AXES.items() if re.match(start, name)), None)


def _find_sigma_column(names: list[str], n_columns: int) -> int | None:
    if len(names) == n_columns and _find_axis(names[0]):
        return next((at for at in range(2, n_columns) if re.match(_SIGMA, names[at])), None)
    return 2 if n_columns == 3 else None


def _find_wavelength(header: list[str]) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength in a header in Å, the mean if Kα1 is followed by Kα2, and notes."""
    found = [_convert_length(match) for match in map(_WAVELENGTH.search, header) if match]
    doublets = ((a, b) for a, b in pairwise(found[:2]) if 1 < b / a < 1.02)
    return average_k_alpha(*next(doublets, (found[0] if found else 0.0, 0.0)))


def _convert_length(match: re.Match[str]) -> float:
    """Return the matched wavelength in Å."""
    unit = re.search(r"nm\b|(?<=[\d\s(])m$", match[0].lower())
    return float(match[1]) * {"nm": 10.0, "m": 1e10}.get(unit[0] if unit else "", 1.0)


def read_ras(data: bytes) -> Readout:
    """Read Rigaku's text format: 2θ, intensity and attenuation from *RAS_INT_START to _END.

    Raises InputError if the file is truncated, or if a scan is not over 2θ.
    """
    header: dict[str, float] = {}
    scans: list[list[list[float]]] = []
    inside = False
    for number, line in enumerate(decode(data).splitlines(), start=1):
        word, _, value = line.strip().partition(" ")
        if word == "*RAS_INT_START":
            inside = True
            scans.append([])
        elif word == "*RAS_INT_END":
            inside = False
        elif inside and word:
            scans[-1].append(read_row(line.split(), number, 3))
        elif word == "*MEAS_SCAN_AXIS_X_INTERNAL":
            require_two_theta(value.strip(' "'), f"line {number}")
        elif is_number(value.strip(' "')):
            header[word] = float(value.strip(' "'))
    if inside:
        raise InputError("the file is truncated: *RAS_INT_END is missing; copy it again.")
    alpha1, alpha2 = (header.get(f"*HW_XG_WAVE_LENGTH_ALPHA{n}", 0.0) for n in (1, 2))
    return join_attenuated([np.array(rows) for rows in scans if rows], alpha1, alpha2)


def require_two_theta(axis: str, where: str) -> None:
    """Raise InputError if ``axis`` is not one of Rigaku's names of scans over 2θ."""
    # "TwoThetaTheta" and "TwoThetaOmega" are coupled scans
    if not re.match(r"(2|two)-?theta|theta/2-?theta", axis.lower()):
        raise InputError(f'{where}: the scan axis is "{axis}"; expected a powder scan over 2θ.')


def join_attenuated(tables: Sequence[NDArray[np.float64]], alpha1: float, alpha2: float) -> Readout:
    """Combine Rigaku's tables (n, 3) of 2θ, intensity and attenuation."""
    wavelength, notes = average_k_alpha(alpha1, alpha2)
    if any((table[:, 2] != 1).any() for table in tables):
        notes = (*notes, "intensities multiplied by the attenuation of the third column.")
    scans = [Scan(two_theta_deg=table[:, 0], counts=table[:, 1] * table[:, 2]) for table in tables]
    return join_scans(scans, wavelength, notes)
