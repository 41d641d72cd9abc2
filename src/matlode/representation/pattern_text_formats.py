"""Readers of text formats with a layout of their own: UXD, GSAS, FIT2D's CHI, pdCIF."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from matlode.data.text_files import decode_text
from matlode.errors import InputError
from matlode.representation.pattern_files import (
    Readout,
    Scan,
    average_k_alpha,
    find_wavelength_in,
    is_number,
    join_scans,
    read_columns,
)
from matlode.representation.pattern_header import find_columns
from matlode.representation.radiation import Axis

_UXD_DATA = re.compile(r"_(2THETA)?(COUNTS|CPS|INTENSITY)", re.IGNORECASE)
_BANK = re.compile(r"^BANK\s+\d+\s+(\d+)\s+\d+\s+(\S+)\s+(.*)$", re.IGNORECASE)


def read_uxd(data: bytes) -> Readout:
    """Read Bruker's text format: ``_START``, ``_STEPSIZE``, then counts or pairs.

    Raises InputError if a value is no number or a range has no counts.
    """
    settings: dict[str, str] = {}
    scans: list[Scan] = []
    kind, words = "", list[str]()
    for line in [*decode_text(data).splitlines(), "_END"]:
        text = line.split(";")[0].strip()
        if text.startswith("_"):
            if words:
                scans.append(_make_uxd_scan(settings, kind, words))
                words = []
            name, _, value = text.partition("=")
            settings[name.strip().upper()] = value.strip().strip("'\"")
            kind = name.strip().upper() if _UXD_DATA.fullmatch(name.strip()) else kind
        elif text:
            words += text.replace(",", " ").split()
    alpha1, alpha2 = (_number(settings.get(f"_WL{n}", "0")) for n in (1, 2))
    return join_scans(scans, *average_k_alpha(alpha1, alpha2))


def _make_uxd_scan(settings: dict[str, str], kind: str, words: Sequence[str]) -> Scan:
    values = np.array([_number(word) for word in words])
    seconds = max(_number(settings.get("_STEPTIME", "1")), 0.0) or 1.0
    if kind.startswith("_2THETA"):
        if len(values) % 2:
            raise InputError("the list of 2θ and counts has an odd number of values.")
        return Scan(two_theta_deg=values[::2], counts=values[1::2], seconds=seconds)
    start, step = (_number(settings.get(name, "")) for name in ("_START", "_STEPSIZE"))
    positions = start + step * np.arange(len(values), dtype=np.float64)
    return Scan(two_theta_deg=positions, counts=values, seconds=seconds)


def read_gsas(data: bytes) -> Readout:
    """Read a bank of GSAS in centidegrees: ESD, STD, ALT, FXYE or FXY.

    Raises InputError for other formats, time of flight, and missing points.
    """
    lines = decode_text(data).splitlines()
    at = next((n for n, line in enumerate(lines) if _BANK.match(line.strip())), None)
    if at is None:
        return read_columns(data)
    header = [line for line in lines[:at] if line.strip()]
    match = _BANK.match(lines[at].strip())
    assert match is not None
    n_points, binning, rest = int(match[1]), match[2].upper(), match[3].split()
    if not binning.startswith("CON"):
        raise InputError(f'the bank is binned as "{binning}"; expected CONST, constant wavelength.')
    kind = next((word.upper() for word in reversed(rest) if word.isalpha()), "STD")
    body = [x for x in lines[at + 1 :] if x.strip() and not x.startswith("#")]
    end = next((n for n, line in enumerate(body) if _BANK.match(line.strip())), len(body))
    positions, intensity, sigma = _read_bank(body[:end], kind, n_points, rest)
    wavelength, notes = find_wavelength_in(header)
    return Readout(
        positions=positions / 100,
        intensity=intensity,
        sigma=sigma,
        axis="two_theta",
        wavelength_angstrom=wavelength,
        notes=(*notes, f"read as a bank of GSAS ({kind}), positions in centidegrees."),
    )


def _read_bank(
    lines: Sequence[str], kind: str, n_points: int, rest: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
    """Return positions in centidegrees, intensity and σ."""
    if kind in ("FXYE", "FXY"):
        rows = np.array([[_number(word) for word in line.split()[:3]] for line in lines][:n_points])
        if rows.ndim != 2 or len(rows) < n_points:
            raise InputError(f"the bank has {len(lines)} points; its first line says {n_points}.")
        return rows[:, 0], rows[:, 1], rows[:, 2] if rows.shape[1] > 2 else None
    start, step = (_number(word) for word in rest[:2])
    if kind == "ESD":
        pairs = [line[n : n + 8] for line in lines for n in range(0, 80, 8)]
        fields = [text for text in pairs if text.strip()]
        values = np.array([_number(text.strip()) for text in fields])
        intensity, sigma = values[::2], values[1::2]
    elif kind == "STD":
        # pairs of the number of counters (2 columns) and counts (6 columns)
        fields = [line[n : n + 8] for line in lines for n in range(0, 80, 8)]
        intensity = np.array([_number(text[2:].strip()) for text in fields if text.strip()])
        sigma = None
    else:
        raise InputError(f'the bank has the form "{kind}"; expected STD, ESD, FXYE or FXY.')
    if len(intensity) < n_points or (sigma is not None and len(sigma) < n_points):
        raise InputError(f"the bank has {len(intensity)} points; its first line says {n_points}.")
    sigma = None if sigma is None else sigma[:n_points]
    return start + step * np.arange(n_points, dtype=np.float64), intensity[:n_points], sigma


def read_chi(data: bytes) -> Readout:
    """Read FIT2D's format: title, names of the axes, number of points, two columns.

    Raises InputError if a line is missing, or the axis is unknown.
    """
    lines = [line for line in decode_text(data).splitlines() if line.strip()]
    first = next((n for n, line in enumerate(lines) if len(_numbers(line)) >= 2), len(lines))
    rows = np.array([_numbers(line)[:2] for line in lines[first:]])
    if rows.ndim != 2 or rows.shape[1] != 2:
        raise InputError("no rows of two numbers; expected FIT2D's four lines and two columns.")
    header = lines[:first]
    names = [line for line in header[1:2] if line.strip()]
    columns = find_columns([f"{names[0]}\tintensity"] if names else [], rows)
    wavelength, notes = find_wavelength_in(header)
    return Readout(
        positions=columns.convert(rows[:, 0]),
        intensity=rows[:, 1],
        axis=columns.axis,
        wavelength_angstrom=wavelength,
        notes=(*columns.notes, *notes),
    )


def read_pdcif(data: bytes) -> Readout:
    """Read the first powder pattern of a pdCIF: measured, else processed intensities.

    Raises InputError if there is none.
    """
    from gemmi import cif

    try:
        document = cif.read_string(decode_text(data), 0)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"not a valid CIF: {str(error).removeprefix('string:')}") from error
    for block in document:
        values = {
            name: np.array([cif.as_number(text) for text in block.find_values(name)])
            for name in (*_PD_POSITIONS, *_PD_INTENSITIES, "_diffrn_radiation_wavelength")
        }
        intensity = next((values[n] for n in _PD_INTENSITIES if len(values[n]) > 1), None)
        if intensity is None:
            continue
        found = next((n for n in _PD_POSITIONS if len(values[n]) == len(intensity)), None)
        if found is not None:
            positions = values[found]
        else:
            ends = [
                float(cif.as_number(block.find_value(f"_pd_{part}_2theta_range_{end}") or "?"))
                for part in ("meas", "proc")
                for end in ("min", "max")
            ]
            pair = next(
                (ends[n : n + 2] for n in (0, 2) if np.isfinite(ends[n : n + 2]).all()), None
            )
            if pair is None:
                raise InputError("the pattern has no 2θ: neither a list nor a range.")
            positions = np.linspace(pair[0], pair[1], len(intensity))
        wavelengths = values["_diffrn_radiation_wavelength"]
        lengths = [float(x) for x in wavelengths if x > 0][:2]
        length, notes = average_k_alpha(*[*lengths, 0.0, 0.0][:2])
        seen = np.isfinite(intensity) & np.isfinite(positions)
        return Readout(
            positions=positions[seen], intensity=intensity[seen],
            axis="two_theta" if found is None else _PD_POSITIONS[found],
            wavelength_angstrom=length, notes=notes,
        )  # fmt: skip
    raise InputError("no block with a powder pattern (_pd_meas_ or _pd_proc_).")


_PD_POSITIONS: dict[str, Axis] = {
    "_pd_meas_2theta_scan": "two_theta",
    "_pd_proc_2theta_corrected": "two_theta",
    "_pd_meas_2theta_corrected": "two_theta",
    "_pd_proc_d_spacing": "d",
}
_PD_INTENSITIES = (
    "_pd_meas_counts_total",
    "_pd_meas_intensity_total",
    "_pd_meas_intensity_net",
    "_pd_proc_intensity_total",
    "_pd_proc_intensity_net",
)


def _numbers(line: str) -> list[float]:
    words = line.replace(",", " ").split()
    return [float(word) for word in words] if all(map(is_number, words)) else []


def _number(text: str) -> float:
    text = text.replace("d", "e").replace("D", "e")
    if not is_number(text) or not np.isfinite(float(text)):
        raise InputError(f'"{text[:40]}" is not a number; export the pattern again.')
    return float(text)
