"""Readers of Bruker's binary RAW formats, versions 1, 2, 3 (RAW1.01) and 4 (RAW4.00).

Layouts: DIFFRAC-AT manual, appendix B (1 and 2); DIFFRAC plus XCH V5.0 manual, appendix A (3).
There is no public manual for version 4; the layout is that on which independent readers agree.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.errors import InputError
from matlode.representation.pattern_files import Readout, Scan, average_k_alpha, join_scans

_HARDWARE_BLOCK = 30
_RANGE_BLOCKS = (0, 160)
_TWO_THETA_SCANS = ("Locked Coupled", "Unlocked Coupled")


def read_raw(data: bytes) -> Readout:
    """Read all ranges of a Bruker RAW file.

    Raises InputError for RAW files of other manufacturers, and for truncated files.
    """
    for magic, read in _VERSIONS.items():
        if data.startswith(magic):
            return read(data)
    raise InputError(
        "unsupported RAW file: it begins with "
        f'"{data[:8].decode("ascii", "replace").rstrip()}"; expected Bruker RAW 1, 2, 1.01 or 4.00 '
        "(the binary formats of Rigaku and STOE cannot be read). Export the pattern as .xy."
    )


def _read_version_1(data: bytes) -> Readout:
    scans: list[Scan] = []
    at, following = 4, 1
    while following:
        if scans and data[at : at + 4] == b"RAW ":  # not repeated in early files
            at += 4
        n_points, seconds, step = _unpack("Iff", data, at)
        (start,) = _unpack("f", data, at + 20)
        alpha1, alpha2 = _unpack("ff", data, at + 68)
        (following,) = _unpack("I", data, at + 148)
        scans.append(_scan(start, step, seconds, _floats(data, at + 152, n_points)))
        at += 152 + 4 * n_points
    return join_scans(scans, *average_k_alpha(alpha1, alpha2))


def _read_version_2(data: bytes) -> Readout:
    (n_ranges,) = _unpack("H", data, 4)
    lengths = _unpack("fff", data, 190)
    scans = []
    at = 256
    for _ in range(n_ranges):
        header, n_points = _unpack("HH", data, at)
        seconds, step, start = _unpack("fff", data, at + 8)
        scans.append(_scan(start, step, seconds, _floats(data, at + header, n_points)))
        at += header + 4 * n_points
    return join_scans(scans, *average_k_alpha(*lengths))


def _read_version_3(data: bytes) -> Readout:
    (n_ranges,) = _unpack("I", data, 12)
    alpha1, alpha2, _, ratio = _unpack("dddd", data, 624)
    scans = []
    at = 712
    for _ in range(n_ranges):
        header, n_points = _unpack("II", data, at)
        (start,) = _unpack("d", data, at + 16)
        (step,) = _unpack("d", data, at + 176)
        (seconds,) = _unpack("f", data, at + 192)
        (extra,) = _unpack("I", data, at + 256)
        scans.append(_scan(start, step, seconds, _floats(data, at + header + extra, n_points)))
        at += header + extra + 4 * n_points
    return join_scans(scans, *average_k_alpha(alpha1, alpha2, ratio))


def _read_version_4(data: bytes) -> Readout:
    alpha1 = alpha2 = ratio = 0.0
    scans = []
    at = 61
    while at < len(data):
        kind, size = _unpack("II", data, at)
        if kind in _RANGE_BLOCKS:
            scan, at = _read_range_4(data, at)
            scans.append(scan)
            continue
        if kind == _HARDWARE_BLOCK:
            alpha1, alpha2, _, ratio = _unpack("dddd", data, at + 80)
        if size < 8:
            raise InputError(
                f"the block at byte {at} has {size} bytes; expected at least 8. Export the pattern "
                "as .xy."
            )
        at += size
    return join_scans(scans, *average_k_alpha(alpha1, alpha2, ratio))


def _read_range_4(data: bytes, at: int) -> tuple[Scan, int]:
    """Read the range whose block begins at byte ``at``; return it and the end of the block."""
    (name,) = _unpack("24s", data, at + 32)
    kind = name.split(b"\0")[0].decode("ascii", "replace")
    if kind not in _TWO_THETA_SCANS:
        raise InputError(f'the range at byte {at} is a "{kind}" scan; expected a coupled scan.')
    start, step, n_points, seconds = _unpack("ddIf", data, at + 72)
    width, header = _unpack("II", data, at + 136)
    # a point can consist of several numbers; the first is the intensity
    if width < 4 or width % 4:
        raise InputError(
            f"the range at byte {at} has points of {width} bytes; expected a multiple of 4. Export "
            "the pattern as .xy."
        )
    first = at + 160 + header
    counts = _floats(data, first, n_points * width // 4)[:: width // 4]
    return _scan(start, step, seconds, counts), first + n_points * width


_VERSIONS = {
    b"RAW ": _read_version_1,
    b"RAW2": _read_version_2,
    b"RAW1.01": _read_version_3,
    b"RAW4.00": _read_version_4,
}


def _unpack(layout: str, data: bytes, at: int) -> tuple[Any, ...]:
    _require_bytes(data, at + struct.calcsize(f"<{layout}"))
    return struct.unpack_from(f"<{layout}", data, at)


def _floats(data: bytes, at: int, n: int) -> NDArray[np.float64]:
    _require_bytes(data, at + 4 * n)
    return np.frombuffer(data, dtype="<f4", count=n, offset=at).astype(float)


def _require_bytes(data: bytes, wanted: int) -> None:
    if len(data) < wanted:
        raise InputError(
            f"the file is truncated: it ends at byte {len(data)}, but its header declares "
            f"{wanted}; copy it again."
        )


def _scan(start: float, step: float, seconds: float, counts: NDArray[np.float64]) -> Scan:
    if not step > 0:
        raise InputError(f"a range has steps of {step:g}°; expected a scan over 2θ.")
    # without a counting time in the header, the unknown time is the same for all ranges
    return Scan(
        two_theta_deg=start + step * np.arange(len(counts), dtype=float),
        counts=counts,
        seconds=seconds if seconds > 0 else 1.0,
    )
