"""Headers of text files of powder patterns: which column is what, and the wavelength."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matlode.errors import InputError
from matlode.representation.radiation import Axis, find_wavelength

Values = NDArray[np.float64]
KEV_ANGSTROM: Final = 12.398419843
"""Product of energy and wavelength of a photon."""
KNOWN_TOLERANCE: Final = 2e-3
"""Relative difference to a wavelength of an X-ray tube."""
MAX_NOTED: Final = 60
LEAST_CORRELATION: Final = 0.5
"""Of standard deviations with the square root of the intensity."""


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what."""

    position: int
    intensity: int
    sigma: int | None
    axis: Axis | None
    convert: Callable[[Values], Values]
    """Positions of the file to positions on ``axis``."""
    notes: tuple[str, ...] = ()


def _keep(values: Values) -> Values:
    return values


_TWO_THETA = (
    r"((diffraction|scattering|deg(rees?)?)[\s_]*)?"
    r"((2|two)[\s_*.-]*(th|θ|ϑ)|tth\b|ttheta|°2|angle)|pos"
)
_POSITIONS: Final[tuple[tuple[str, Axis, Callable[[Values], Values]], ...]] = (
    (rf"({_TWO_THETA}).*(?<![a-z])m ?rad", "two_theta", lambda x: np.degrees(x) / 1000),
    (rf"({_TWO_THETA}).*(?<![a-z])rad", "two_theta", np.degrees),
    (rf"({_TWO_THETA}).*(centi|cdeg|0\.01)", "two_theta", lambda x: x / 100),
    (_TWO_THETA, "two_theta", _keep),
    (r"(theta|th|θ|ω|omega)(?![a-z]).*(?<![a-z])rad", "two_theta", lambda x: 2 * np.degrees(x)),
    (r"(theta|th|θ)(?![a-z0-9])|bragg", "two_theta", lambda x: 2 * x),
    (r"(ln|log)[_\s(]*q", "log_q", _keep),
    (r"q[\s_-]*((\^|\*\*)?\s*(2|²)|sq)", "q", lambda x: np.sqrt(np.where(x > 0, x, np.nan))),
    (r"q(?![a-z0-9]).*pm", "q", lambda x: 100 * x),
    (r"q(?![a-z0-9]).*(nm|nanomet)", "q", lambda x: 0.1 * x),
    (r"q(?![a-z0-9])", "q", _keep),
    (
        r"(1\s*/\s*d\s*(\^|\*\*)?|d\s*(\^|\*\*)?\s*[-−])\s*(2|²)",
        "q",
        lambda x: 2 * np.pi * np.sqrt(np.where(x > 0, x, np.nan)),
    ),
    (r"(1\s*/\s*d|d\s*\^?\s*[-−]1)(?![a-z0-9]).*(nm|nanomet)", "q", lambda x: 0.2 * np.pi * x),
    (r"(1\s*/\s*d|d\s*\^?\s*[-−]1|d\s*\*)(?![a-z0-9])", "q", lambda x: 2 * np.pi * x),
    (r"stol|sin\s*\(?\s*(th|theta|θ)\s*\)?\s*/\s*(l|λ)", "q", lambda x: 4 * np.pi * x),
    (r"(d(?![a-z0-9])|d[\s_-]*(spac|val)).*(?<![a-z])pm", "d", lambda x: x / 100),
    (r"(d(?![a-z0-9])|d[\s_-]*(spac|val)).*(?<![a-z])(nm|nanomet)", "d", lambda x: 10 * x),
    (r"d(?![a-z0-9])|d[\s_-]*(spac|val)", "d", _keep),
)
"""Beginning of the name of a column, its axis, and the conversion to it; the first that fits."""
_REFUSED: Final = (
    (r".*(\^|\*\*)\s*[3-9]|.*(?<![\d.])10+(?![\d.])", "a scaled axis"),
    (r"(energy|e)\b.*ev|kev|channel", "an energy"),
    (
        r"potential|voltage|raman|wave ?number|frequency|binding|r\s*[(\[/]",
        "no axis of diffraction",
    ),
    (r"s(?![a-z0-9])", '"s", which is 1/d for some and sinθ/λ for others'),
    (r"tof|time.of.flight|µs|microsec", "a time of flight"),
)
_INTENSITIES: Final = (
    r"((int\w*|counts?|[yi])[\s_(]*)?(obs|meas|exp)|data$",
    r"int|height|counts?\b|cps|i(?![a-z0-9])|i[\s_(]*(cps|counts|a)|y(?![a-z0-9])|signal|ycounts",
    r"net",
)
"""Names of intensities, the observed ones first."""
_SIGMA: Final = r"σ|sig|esd|err|unc|std|[se]$|[iy]_?(err|sig)|d[iy]$"
_OTHERS: Final = (
    r"[yi]?[\s_(]*(background|back|bkg|bgr?\b|calc?|diff(?!raction))|.*obs.*[-−].*cal|"
    r".*(?<![a-z])(calc|bkg|background|fit\b|simul)|time|temp|pressure|wavelength|"
    r"index|unnamed|no\b|n$|h$|k$|l$"
)
_UNNAMED: Final = r"x$"
"""What programs call positions of any kind."""


def find_columns(header: Sequence[str], table: Values, *, is_xye: bool = False) -> Columns:
    """Choose the columns of position, intensity and σ of a table (n, m) by its header.

    Without a header, they are the first two, and the third if it looks like standard
    deviations; of files that end in .xye, these need not follow the intensity. Raises InputError
    if a header names no position or no intensity, or a position that cannot be converted.
    """
    n_columns = table.shape[1]
    line, names = _find_names(header, table)
    if not names:
        return _assume_columns(table, is_xye=is_xye)
    kinds = [_classify(name) for name in names]
    if len(names) != n_columns:
        # names of several words: only the first column is certain
        assumed = _assume_columns(table, is_xye=is_xye)
        position = _find_position(names[0] + " " + " ".join(names[1:2]))
        if position is None:
            return assumed
        return Columns(0, 1, assumed.sigma, *position, _note_axis(position[0], line))
    refused = [name for name, kind in zip(names, kinds, strict=True) if kind == "refused"]
    if "position" not in kinds and refused:
        what = next(what for start, what in _REFUSED if re.match(start, refused[0]))
        raise InputError(f'the header "{line[:MAX_NOTED]}" names {what}; give 2θ, d or Q.')
    if "position" not in kinds and "unnamed" in kinds and "intensity" in kinds:
        kinds[kinds.index("unnamed")] = "position"
    if "position" in kinds and "intensity" not in kinds and kinds.count(None) == 1:
        kinds[kinds.index(None)] = "intensity"  # in another language
    for wanted in ("position", "intensity"):
        if wanted not in kinds:
            raise InputError(
                f'the header "{line[:MAX_NOTED]}" names no {wanted}; expected columns such as '
                "2theta, d or Q, and intensity."
            )
    at = _choose_position(names, kinds)
    axis, convert = _find_position(names[at]) or (None, _keep)
    intensity = _choose_intensity(names, kinds)
    sigma = kinds.index("sigma") if "sigma" in kinds else None
    ignored = [n for i, n in enumerate(names) if i not in (at, intensity, sigma)]
    notes = _note_axis(axis, line)
    if ignored:
        notes = (*notes, f"columns ignored: {', '.join(n[:20] or '?' for n in ignored)}.")
    return Columns(at, intensity, sigma, axis, convert, notes)


def _note_axis(axis: Axis | None, line: str) -> tuple[str, ...]:
    return (
        ()
        if axis in ("two_theta", None)
        else (f'positions are {axis}, as the header "{line}" says.',)
    )


def _find_names(header: Sequence[str], table: Values) -> tuple[str, list[str]]:
    """Return the last line of the header that names columns, and its names in lower case."""
    for line in reversed(header[-3:]):
        names = _split_names(line)
        counts_rows = table.shape[1] > 2 and (np.diff(table[:, 0]) == 1).all()
        if len(names) == table.shape[1] - 1 and counts_rows and table[0, 0] in (0, 1):
            names = ["index", *names]  # pandas writes no name for it
        if any(re.fullmatch(r"[-+]?\d+[.,]?\d*", name) for name in names):
            continue  # a setting and its value
        known = [kind for kind in map(_classify, names) if kind]
        # a word of a comment may be a name by chance, such as "background subtracted"
        says = set(known) - {"other"} or (re.search("[,;\t]", line) and line[0] not in "#!%*'/")
        if len(known) >= 2 or (known and says and len(names) == table.shape[1]):
            return line, names
        if line == header[-1] and names and _find_position(names[0]):
            return line, names
    return "", []


def _split_names(line: str) -> list[str]:
    line = line.strip("#!;'/%* \t\"").replace('"', "").lower()
    for separator in ("\t", ";", ","):
        if separator in line:
            return [name.strip() for name in line.strip(separator).split(separator)]
    # a unit in brackets belongs to the name before
    joined = re.sub(r"\s+(?=[(\[])", "", line)
    joined = re.sub(r"[(\[][^)\]]*[)\]]", lambda match: match[0].replace(" ", "·"), joined)
    joined = re.sub(r"\b(2|two)\s+(?=theta|th\b|θ)", r"\1", joined)
    return [name.replace("·", " ") for name in joined.split()]


def _classify(name: str) -> str | None:
    if re.match(_OTHERS, name):
        return "other"
    if any(re.match(start, name) for start in _INTENSITIES):
        return "intensity"
    if re.match(_UNNAMED, name):
        return "unnamed"
    if re.match(_REFUSED[0][0], name):  # of a position that is known otherwise
        return "refused"
    if _find_position(name):
        return "position"
    if any(re.match(start, name) for start, _ in _REFUSED):
        return "refused" if not re.match(r"[se]$", name) else "sigma"
    return "sigma" if re.match(_SIGMA, name) else None


def _find_position(name: str) -> tuple[Axis, Callable[[Values], Values]] | None:
    return next(
        ((axis, convert) for start, axis, convert in _POSITIONS if re.match(start, name)), None
    )


def _choose_position(names: Sequence[str], kinds: Sequence[str | None]) -> int:
    """Return the column of 2θ, else the first position."""
    found = [at for at, kind in enumerate(kinds) if kind == "position"]
    return next((at for at in found if re.match(_TWO_THETA, names[at])), found[0])


def _choose_intensity(names: Sequence[str], kinds: Sequence[str | None]) -> int:
    found = [at for at, kind in enumerate(kinds) if kind == "intensity"]
    return next(
        (at for start in _INTENSITIES for at in found if re.match(start, names[at])), found[0]
    )


def _assume_columns(table: Values, *, is_xye: bool) -> Columns:
    intensity, third = table[:, 1], table[:, -1]
    fits = table.shape[1] == 3 and (is_xye or _follow(intensity, third))
    sigma = 2 if fits and _look_like_deviations(intensity, third) else None
    notes: tuple[str, ...] = ()
    if table.shape[1] > 2 and sigma is None:
        notes = ("columns after the second are not named and ignored.",)
    return Columns(0, 1, sigma, None, _keep, notes)


def _follow(intensity: Values, values: Values) -> bool:
    """Return whether ``values`` are larger where the intensity is, as deviations of counts are."""
    if np.ptp(values) == 0 or np.ptp(intensity) == 0:
        return False
    root = np.sqrt(intensity.clip(min=0))
    return bool(np.corrcoef(root, values)[0, 1] > LEAST_CORRELATION)


def _look_like_deviations(intensity: Values, values: Values) -> bool:
    """Return whether ``values`` can be standard deviations: of counts, or small and positive."""
    if (values < 0).any() or not (values > 0).any():
        return False
    some = (intensity > 0) & (values > 0)
    if not some.any():
        return False
    like_counts = 0.2 < np.median(values[some] ** 2 / intensity[some]) < 5
    small = np.median(values) < 0.5 * np.median(abs(intensity))
    return bool(like_counts or (small and values.max() < abs(intensity).max()))


_LINE = re.compile(
    r"\(?\b(?P<anode>[A-Z][a-z]?)?[\s_-]?K[\s_-]?(?:alpha|a|α|beta|b|β)[\s_-]?(?P<n>[12])?\b\)?",
    re.IGNORECASE,
)
_LENGTH = re.compile(
    r"(?:wave[\s_-]*length|lambda|λ|\bKA\b|\b_?WL1?)(?:\s*_?1(?![\d.,]))?[^\d.,=:]{0,20}[\s,=:]*"
    r"(?P<value>\d+[.,]\d+(?:e[+-]?\d+)?|\.\d+|\d+(?:e[+-]?\d+)?)"
    r"[\s(\[]*(?P<unit>Å|Å|A\b|ang\w*|nm\b|pm\b|m\b)?(?![a-z\d])",
    re.IGNORECASE,
)
_ENERGY = re.compile(
    r"\b(?:energy|E)\b(?:\s*[(\[/]\s*(?P<before>k?eV)\b)?[^\d]{0,20}(?P<value>\d+(?:[.,]\d+)?)"
    r"\s*[(\[]?\s*(?P<unit>k?eV)?",
    re.IGNORECASE,
)
_ANODE = re.compile(r"\b(?:anode|target|tube)\b(?:[\s_]*material)?[\s,;:=\"]+([A-Z][a-z])\b", re.I)
_UNITS: Final = {"nm": 10.0, "pm": 0.01, "m": 1e10}


def find_header_wavelengths(header: Sequence[str]) -> tuple[list[float], tuple[str, ...]]:
    """Return the wavelengths in Å that a header states, in order, and notes of where from.

    Understood are lengths with and without unit, energies, and the anode of the tube.
    """
    lengths: list[float] = []
    notes: list[str] = []
    for line in header:
        if not (found := _read_length(line)):
            continue
        length, has_unit = found
        lengths.append(length)
        if not has_unit and not _is_known(length):
            notes.append(
                f"λ = {length:g} Å is of no known tube and has no unit; check it, or give "
                "--wavelength."
            )
    if not lengths:
        for line in header:
            if (anode := _find_anode(line)) is not None:
                return [anode], (f'λ = {anode:g} Å, as the header "{line[:MAX_NOTED]}" says.',)
        return [], tuple(notes)
    return lengths, (*notes, f"λ = {lengths[0]:g} Å from the header.")


def _read_length(line: str) -> tuple[float, bool] | None:
    """Return the wavelength in a line in Å, and whether it has a unit."""
    # digits of "Ka1" are none of the wavelength
    if match := _LENGTH.search(_LINE.sub(" KA ", line)):
        value = float(match["value"].replace(",", "."))
        before = re.search(r"[(\[/]\s*(nm|pm|A|Å|m)\b", match[0], re.IGNORECASE)
        unit = (match["unit"] or (before[1] if before else "")).lower()
        return value * _UNITS.get(unit, 1.0), bool(unit)
    if (match := _ENERGY.search(line)) and (unit := match["before"] or match["unit"]):
        value = float(match["value"].replace(",", "."))
        kev = value / 1000 if unit.lower() == "ev" else value
        return (KEV_ANGSTROM / kev, True) if kev > 0 else None
    return None


def _find_anode(line: str) -> float | None:
    match = _ANODE.search(line)
    line_of = _LINE.search(line)
    name = match[1] if match else (line_of and line_of["anode"])
    if not name:
        return None
    number = (line_of["n"] or "") if line_of else ""
    try:
        return find_wavelength(f"{name.capitalize()}Ka{number}")
    except InputError:
        return None


def _is_known(length: float) -> bool:
    from pymatgen.analysis.diffraction.xrd import WAVELENGTHS

    return any(abs(length / known - 1) < KNOWN_TOLERANCE for known in WAVELENGTHS.values())
