"""Readers of powder patterns in XML: PANalytical's files, and archives of Rigaku and Bruker."""

from __future__ import annotations

import io
import re
import zipfile
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import MALFORMED
from matlode.data.text_files import decode_text
from matlode.errors import InputError
from matlode.representation.pattern_files import (
    K_ALPHA_RATIO,
    MAX_PATTERN_BYTES,
    Readout,
    Scan,
    average_k_alpha,
    is_number,
    join_attenuated,
    join_scans,
    read_row,
    require_two_theta,
)


def read_xrdml(data: bytes) -> Readout:
    """Read all scans of a PANalytical XML file, with attenuation and counting time.

    Raises InputError if the file is truncated, or if a scan is not over 2θ.
    """
    root = _parse_xml(data, "the file")
    scans = [
        _read_xrdml_scan(scan, f"scan {number}")
        for number, scan in enumerate(root.findall("{*}xrdMeasurement/{*}scan"), start=1)
    ]
    used = root.find("{*}xrdMeasurement/{*}usedWavelength")
    if used is None:
        return join_scans(scans, None)
    alpha1, alpha2 = (_read_value(used, name, 0.0) for name in ("kAlpha1", "kAlpha2"))
    ratio = _read_value(used, "ratioKAlpha2KAlpha1", K_ALPHA_RATIO)
    only_alpha1 = used.get("intended", "").replace(" ", "") == "K-Alpha1"
    return join_scans(scans, *average_k_alpha(alpha1, alpha2, 0.0 if only_alpha1 else ratio))


def _read_xrdml_scan(scan: ElementTree.Element, where: str) -> Scan:
    points = scan.find("{*}dataPoints")
    if points is None:
        raise InputError(f"{where} has no <dataPoints>; export it again.")
    intensity = points.find("{*}intensities")
    counts = points.find("{*}counts") if intensity is None else intensity
    if counts is None:
        raise InputError(f"{where} has neither <intensities> nor <counts>; export it again.")
    values = _read_numbers(counts, where)
    attenuation = points.find("{*}beamAttenuationFactors")
    if intensity is None and attenuation is not None:  # <intensities> are already corrected
        factors = _read_numbers(attenuation, where)
        values = values * _require_length(factors, values, "factors", where)
    seconds: NDArray[np.float64] | float = _read_value(points, "commonCountingTime", 1.0)
    each = points.find("{*}countingTimes")
    if each is not None:
        seconds = _require_length(_read_numbers(each, where), values, "counting times", where)
    return Scan(
        two_theta_deg=_read_xrdml_positions(points, values, where), counts=values, seconds=seconds
    )


def _read_xrdml_positions(
    points: ElementTree.Element, values: NDArray[np.float64], where: str
) -> NDArray[np.float64]:
    for positions in points.findall("{*}positions[@axis='2Theta']"):
        listed = positions.find("{*}listPositions")
        if listed is not None:
            return _require_length(_read_numbers(listed, where), values, "positions", where)
        start, end = (positions.find(f"{{*}}{name}Position") for name in ("start", "end"))
        if start is not None and end is not None:
            first, last = (_read_numbers(element, where)[0] for element in (start, end))
            return np.linspace(first, last, len(values))
    raise InputError(f"{where} is not a scan over 2θ; export only the powder scan.")


def read_rasx(data: bytes) -> Readout:
    """Read Rigaku's archive: 2θ, intensity and attenuation in Profile*.txt, conditions in XML.

    Raises InputError if the archive is damaged, or if the scan is not over 2θ.
    """
    files = _unpack(data, r"Profile\d+\.txt$|MesurementConditions")
    tables = []
    for name in sorted(name for name in files if name.endswith(".txt")):
        lines = enumerate(decode_text(files[name]).splitlines(), start=1)
        tables.append(np.array([read_row(row.split(), n, 3) for n, row in lines if row.strip()]))
    alpha1 = alpha2 = 0.0
    # misspelled like this in the format
    for name in (name for name in files if "MesurementConditions" in name):
        root = _parse_xml(files[name], name)
        axis = root.findtext("ScanInformation/AxisName")
        if axis:
            require_two_theta(axis, name)
        alpha1, alpha2 = (_read_value(root, f"WavelengthKalpha{n}", 0.0) for n in (1, 2))
    return join_attenuated(tables, alpha1, alpha2)


def read_brml(data: bytes) -> Readout:
    """Read Bruker's archive: the counter column of each RawData*.xml, 2θ from start to stop.

    Raises InputError if the archive is damaged, or if a scan is not over 2θ with one counter.
    """
    files = _unpack(data, r"RawData\d*\.xml$")
    scans = []
    lengths = (0.0, 0.0, K_ALPHA_RATIO)
    for name in sorted(files):
        root = _parse_xml(files[name], name)
        scans += [_read_brml_route(route, name) for route in root.iter("DataRoute")]
        lengths = (
            _read_value(root, "WaveLengthAlpha1", 0.0),
            _read_value(root, "WaveLengthAlpha2", 0.0),
            _read_value(root, "WaveLengthRatio", K_ALPHA_RATIO),
        )
    return join_scans(scans, *average_k_alpha(*lengths))


def _read_brml_route(route: ElementTree.Element, where: str) -> Scan:
    kind = "{http://www.w3.org/2001/XMLSchema-instance}type"
    axis = route.find("ScanInformation/ScanAxes/ScanAxisInfo[@AxisName='TwoTheta']")
    counters = [view for view in route.iter("RawDataView") if "Recorded" in view.get(kind, "")]
    data = route.findall("Datum")
    if axis is None or len(counters) != 1 or len(data) < 2:
        raise InputError(
            f"{where} is not a 2θ scan with exactly one counter; export the pattern as .xy."
        )
    fields = [(datum.text or "").split(",") for datum in data]
    start = counters[0].get("Start", "0")
    column = int(start) if start.isdecimal() and len(start) < 4 else len(fields[0])
    if column >= len(fields[0]):
        raise InputError(
            f'{where}: the counter is column "{start[:20]}" of {len(fields[0])}; export the '
            "pattern as .xy."
        )
    rows = [read_row(row, number, len(fields[0])) for number, row in enumerate(fields, start=1)]
    zero, first, last = (_read_value(axis, name, 0.0) for name in ("Reference", "Start", "Stop"))
    return Scan(
        two_theta_deg=zero + np.linspace(first, last, len(rows)),
        counts=np.array(rows)[:, column],
        seconds=_read_value(route, "TimePerStep", 1.0),
    )


def _unpack(data: bytes, pattern: str) -> dict[str, bytes]:
    """Return {name: content} of the files in an archive whose names match ``pattern``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [m for m in archive.infolist() if re.search(pattern, m.filename)]
            size = sum(member.file_size for member in members)
            if size > MAX_PATTERN_BYTES:
                raise InputError(
                    f"the archive unpacks to {size / 1e6:,.0f} MB; expected at most "
                    f"{MAX_PATTERN_BYTES / 1e6:.0f} MB."
                )
            return {member.filename: archive.read(member) for member in members}
    except MALFORMED:
        raise InputError("not a zip archive, or truncated; copy it again.") from None


def _parse_xml(data: bytes, where: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        # LookupError and ValueError are raised for unknown encodings
        raise InputError(f"{where} is not complete XML ({error}); copy it again.") from None


def _read_value(parent: ElementTree.Element, name: str, default: float) -> float:
    """Return the number in the first element ``name``: its text or its attribute Value."""
    element = parent.find(f".//{{*}}{name}")
    if element is None:
        return default
    text = element.get("Value") or (element.text or "").strip()
    if not is_number(text):
        raise InputError(f'<{name}> is "{text}"; expected a number.')
    return float(text)


def _read_numbers(element: ElementTree.Element, where: str) -> NDArray[np.float64]:
    words = (element.text or "").split()
    bad = next((word for word in words if not is_number(word)), None)
    name = element.tag.rpartition("}")[2]
    if bad is not None or not words:
        raise InputError(f'{where}, <{name}>: "{bad or ""}" is not a number; export it again.')
    return np.array(words, dtype=float)


def _require_length(
    found: NDArray[np.float64], values: NDArray[np.float64], what: str, where: str
) -> NDArray[np.float64]:
    if len(found) != len(values):
        raise InputError(
            f"{where} has {len(found)} {what} for {len(values)} intensities; export it again."
        )
    return found
