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

from matlode.data.text_files import decode_text
from matlode.errors import InputError
from matlode.representation.pattern_header import find_columns, find_header_wavelengths
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
        notes.append(_describe_scans(scans))
        order = np.argsort(positions, kind="stable")
        positions, intensity = positions[order], intensity[order]
    return Readout(
        positions=positions,
        intensity=intensity,
        axis="two_theta",
        wavelength_angstrom=wavelength_angstrom,
        notes=tuple(notes),
    )


def _describe_scans(scans: Sequence[Scan]) -> str:
    ends = {(round(float(s.two_theta_deg[0]), 3), round(float(s.two_theta_deg[-1]), 3))
            for s in scans if len(s.two_theta_deg)}  # fmt: skip
    if len(ends) == 1:
        return (
            f"{len(scans)} scans of one range averaged; of a map or a series, export one scan "
            "instead."
        )
    return f"{len(scans)} scans joined."


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


_COMMENT = "#!;'/%*"


def read_columns(data: bytes, *, is_xye: bool = False) -> Readout:
    """Read columns of position, intensity and optionally σ, or FullProf's free format.

    Columns are separated by blanks, tabs, commas or semicolons; commas can be decimal separators
    if another character separates the columns. Comment lines, and lines of text above the first
    row, are the header. Raises InputError with the line number for invalid lines.
    """
    header: list[str] = []
    rows: list[list[float]] = []
    lines = decode_text(data).splitlines()
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
    return _interpret_table(np.array(rows), header, is_xye=is_xye)


def _split(line: str) -> list[str]:
    line = line.replace('"', "").strip(" ;,\t\r\n")
    for separator in (";", "\t"):
        if separator in line and not _mixes_blanks(line, separator):
            return [field.strip().replace(",", ".") for field in line.split(separator)]
    words = line.split()
    if len(words) > 1 and any(re.fullmatch(r"[+-]?\d+,\d+", word) for word in words):
        return [word.replace(",", ".") for word in words]
    return line.replace(",", " ").split() or [line]


def _mixes_blanks(line: str, separator: str) -> bool:
    """Return whether blanks separate numbers, too."""
    return any(len(list(filter(is_number, f.split()))) > 1 for f in line.split(separator))


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
    wavelength, notes = find_wavelength_in(header)
    return Readout(
        positions=start + step * np.arange(len(words), dtype=float),
        intensity=np.array(words, dtype=float),
        axis="two_theta",
        wavelength_angstrom=wavelength,
        notes=(*notes, "read as FullProf's free format: start, step, stop, intensities."),
    )


def _interpret_table(table: NDArray[np.float64], header: list[str], *, is_xye: bool) -> Readout:
    columns = find_columns(header, table, is_xye=is_xye)
    wavelength, notes = find_wavelength_in(header)
    return Readout(
        positions=columns.convert(table[:, columns.position]),
        intensity=table[:, columns.intensity],
        sigma=None if columns.sigma is None else table[:, columns.sigma],
        axis=columns.axis,
        wavelength_angstrom=wavelength,
        notes=(*columns.notes, *notes),
    )


def find_wavelength_in(header: Sequence[str]) -> tuple[float | None, tuple[str, ...]]:
    """Return the wavelength in a header in Å, the mean if Kα1 is followed by Kα2, and notes."""
    found, notes = find_header_wavelengths(header)
    doublets = ((a, b) for a, b in pairwise(found[:2]) if 1 < b / a < 1.02)
    wavelength, averaged = average_k_alpha(*next(doublets, (found[0] if found else 0.0, 0.0)))
    return wavelength, averaged or notes


def read_ras(data: bytes) -> Readout:
    """Read Rigaku's text format: 2θ, intensity and attenuation from *RAS_INT_START to _END.

    Raises InputError if the file is truncated, or if a scan is not over 2θ.
    """
    header: dict[str, float] = {}
    scans: list[list[list[float]]] = []
    inside = False
    for number, line in enumerate(decode_text(data).splitlines(), start=1):
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
