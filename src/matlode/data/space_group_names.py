"""Settings of space groups by their Hall and Hermann-Mauguin symbols, in all usual spellings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gemmi
    import moyopy

TRANSLATION_TOLERANCE = 2e-3
"""Of translations that are written with three digits."""
MONOCLINIC = range(3, 16)
N_HALL_SYMBOLS = 530
"""Entries of moyo's table."""
CENTROSYMMETRIC_CUBIC = (*range(200, 207), *range(221, 231))
"""Groups whose threefold axis was written 3 before 1983 and is written -3 since."""
_SUFFIX = re.compile(
    r"\s*(?::\s*([12HR]|-?[abc][123]?)|\(?\s*origin(?: choice)?\s*([12])\)?)$", re.I
)
_NUMBER = re.compile(r"\s+\(\s*(?:no\.?\s*)?\d{1,3}\s*\)$|\s*(?:#|\bno\.?)\s*\d{1,3}$", re.I)
"""The number of the group behind its symbol: ``(62)``, ``#62``, ``(No. 62)``."""
_ICSD_SUFFIX = re.compile(r"(?<=[^\s:])\s*([SZRH])$", re.I)
"""ICSD's letters: S and Z for the first and second origin, R and H for rhombohedral axes."""


@dataclass(frozen=True, eq=False)
class Operations:
    """The symmetry operations x' = R x + t of a setting of a space group."""

    rotations: NDArray[np.float64]
    """(n, 3, 3), in units of the cell vectors."""
    translations: NDArray[np.float64]
    """(n, 3), in units of the cell vectors."""
    number: int
    """International number of the space group."""
    name: str
    """Hermann-Mauguin symbol with setting, or how the operations were given."""

    def __len__(self) -> int:
        return len(self.rotations)

    def fit_cell(self, lattice: NDArray[np.float64], tolerance: float) -> bool:
        """Return whether the cell (3, 3) has the symmetry of the rotations.

        Entries of the metric tensor, divided by the lengths of both vectors, may change by
        ``tolerance``.
        """
        metric = lattice @ lattice.T
        changed = self.rotations.transpose(0, 2, 1) @ metric @ self.rotations
        lengths = np.sqrt(np.diag(metric))
        return bool((abs(changed - metric) <= tolerance * np.outer(lengths, lengths)).all())

    def find_shortest_translation(self, lattice: NDArray[np.float64]) -> float:
        """Return the length in Å of the shortest pure translation; infinity without any."""
        pure = (abs(self.rotations - np.eye(3)) < 1e-6).all(axis=(1, 2))
        shifts = self.translations[pure] - np.rint(self.translations[pure])
        lengths = np.linalg.norm(shifts @ lattice, axis=1)
        return float(min(lengths[lengths > 1e-6], default=np.inf))

    def contain(self, others: Operations) -> bool:
        """Return whether all operations of ``others`` are among these."""
        return others._keys <= self._keys

    @cached_property
    def _keys(self) -> frozenset[bytes]:
        steps = round(1 / TRANSLATION_TOLERANCE)
        turns = np.rint(self.rotations.reshape(-1, 9) * 12)
        shifts = np.rint(self.translations * steps) % steps
        rows = np.concatenate([turns, shifts], axis=1).astype(np.int64)
        return frozenset(row.tobytes() for row in rows)


def find_settings(name: str) -> tuple[Operations, ...]:
    """Return the settings that a Hermann-Mauguin symbol can mean; none if it is unknown.

    Understood are short, full and old symbols, with and without blanks, with brackets or
    underscores of screw axes, and the suffixes ``:1 :2 :R :H`` and ICSD's ``S Z R H``. Symbols
    that leave open the origin, the unique axis or the axes of a rhombohedral group have several
    settings.

    >>> [setting.name for setting in find_settings("F d 3 m S")]
    ['F d -3 m:1']
    >>> [setting.name for setting in find_settings("R-3m")]
    ['R -3 m:H', 'R -3 m:R']
    """
    name = unicodedata.normalize("NFKC", name).replace("−", "-").replace("–", "-").strip()
    name = _NUMBER.sub("", name)
    if found := _SUFFIX.search(name):
        return _select(_lookup(name[: found.start()]), found[1] or found[2])
    settings = _lookup(name)
    if settings or not (letter := _ICSD_SUFFIX.search(name)):
        return settings
    return _select(_lookup(name[: letter.start()]), letter[1])


def find_number_settings(number: int) -> tuple[Operations, ...]:
    """Return the standard settings of a space-group number: both origins, both sets of axes."""
    import gemmi

    groups = [group for group in gemmi.spacegroup_table() if group.number == number]
    same = [group for group in groups if group.hm == groups[0].hm]
    return tuple(_make_operations(group.hall, group.number, group.xhm()) for group in same)


def read_hall_symbol(symbol: str) -> Operations | None:
    """Return the operations of a Hall symbol; None if it cannot be parsed."""
    import gemmi

    symbol = " ".join(symbol.replace("_", " ").replace("''", '"').replace("=", '"').split())
    try:
        group = gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(symbol))
    except (ValueError, RuntimeError):
        return None
    return _make_operations(symbol, group.number, f"Hall symbol {symbol}") if group else None


@cache
def _make_operations(hall: str, number: int, name: str) -> Operations:
    import gemmi

    return convert_operations(list(gemmi.symops_from_hall(hall)), number, name)


def convert_operations(operations: Sequence[gemmi.Op], number: int, name: str) -> Operations:
    """Convert gemmi's operations to arrays."""
    return Operations(
        np.array([op.rot for op in operations], dtype=float) / operations[0].DEN,
        np.array([op.tran for op in operations], dtype=float) / operations[0].DEN % 1,
        number,
        name,
    )


def _lookup(name: str) -> tuple[Operations, ...]:
    key = _squeeze(name)
    if key.startswith("h") and key not in _names():
        # H-centred cells are those of rhombohedral groups on hexagonal axes
        return _select(_lookup("R" + name.strip()[1:]), "H")
    return tuple(_make_operations(*group) for group in _names().get(key, ()))


def _select(settings: tuple[Operations, ...], suffix: str) -> tuple[Operations, ...]:
    """Return the settings that a suffix of a symbol leaves."""
    suffix = suffix.upper()
    ends = [setting.name.partition(":")[2] for setting in settings]
    if suffix in ("S", "Z"):
        wanted = {"S": "1", "Z": "2"}[suffix]
        # also written for groups that have no choice of origin; there the cell decides
        return tuple(s for s, end in zip(settings, ends, strict=True) if end in (wanted, *"HR", ""))
    if suffix in ("1", "2", "H", "R"):
        return tuple(s for s, end in zip(settings, ends, strict=True) if end == suffix)
    return tuple(s for s in settings if _setting_codes().get(s.name) == suffix.lower())


def _squeeze(name: str) -> str:
    return re.sub(r"[\s_()]", "", name).lower()


@cache
def _names() -> dict[str, tuple[tuple[str, int, str], ...]]:
    """Squeezed symbol → (Hall symbol, number, symbol with setting) of its settings, in the order
    of the International Tables."""
    import gemmi

    names: dict[str, dict[tuple[str, int, str], None]] = {}
    for group in gemmi.spacegroup_table():
        setting = (group.hall, group.number, group.xhm())
        spellings = {group.hm, group.short_name()}
        if entry := _settings_of_moyo().get(_fingerprint(group.hall)):
            letter, *axes = group.hm.split()
            short = " ".join((letter, *(axis for axis in axes if axis != "1")))
            # moyo's short symbols of monoclinic groups do not tell the settings apart
            spellings |= {entry.hm_full, short if group.number in MONOCLINIC else entry.hm_short}
        if group.number in CENTROSYMMETRIC_CUBIC:
            spellings |= {name.replace("-3", "3") for name in spellings}
        for name in spellings:
            names.setdefault(_squeeze(name), {})[setting] = None
    return {name: tuple(settings) for name, settings in names.items()}


@cache
def _setting_codes() -> dict[str, str]:
    """Symbol with setting → unique axis and cell choice, such as ``b1``."""
    import gemmi

    known = _settings_of_moyo()
    entries = {
        group.xhm(): known.get(_fingerprint(group.hall)) for group in gemmi.spacegroup_table()
    }
    return {name: entry.setting for name, entry in entries.items() if entry is not None}


@cache
def _settings_of_moyo() -> dict[frozenset[str], moyopy.HallSymbolEntry]:
    """Operations → entry of moyo's table, which has full symbols and those with e glides."""
    import moyopy

    entries = map(moyopy.HallSymbolEntry, range(1, N_HALL_SYMBOLS + 1))
    return {_fingerprint(entry.hall_symbol.replace("=", '"')): entry for entry in entries}


@cache
def _fingerprint(hall: str) -> frozenset[str]:
    import gemmi

    return frozenset(op.triplet() for op in gemmi.symops_from_hall(hall))
