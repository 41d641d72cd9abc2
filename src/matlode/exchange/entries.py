"""Relaxed crystals as pymatgen's computed entries, with the corrections that the hull has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from matlode.evidence.hull import make_entry
from matlode.evidence.potentials import POTENTIALS, find_potential
from matlode.exchange.crystals import ExportedCrystal

if TYPE_CHECKING:
    from pymatgen.entries.computed_entries import ComputedStructureEntry


def make_entries(crystals: Iterable[ExportedCrystal]) -> list[ComputedStructureEntry]:
    """One ComputedStructureEntry per relaxed crystal: its energy by the potential, with the
    Materials Project's corrections of 2020 as adjustments, as in matlode's hull.

    ``entry.data`` has the row of ``ExportedCrystal.to_columns``. Entries of other phases must come
    from the same potential: energies of different ones do not mix.
    """
    entries = []
    for crystal in crystals:
        if crystal.energy_ev is None:
            continue
        entry = make_entry(
            crystal.structure,
            crystal.energy_ev / len(crystal.structure),
            corrected=_is_corrected(crystal.potential),
        )
        entry.entry_id = crystal.name
        entry.data |= crystal.to_columns()
        entries.append(entry)
    return entries


def _is_corrected(key: str) -> bool:
    """Whether the energies of a potential include the corrections, by its ``PotentialInfo.key``.

    Raises GoalError for a calculator of one's own that cannot be imported here.
    """
    for name, info in POTENTIALS.items():
        if key.startswith(f"{name}:"):  # its package need not be installed
            return info.corrected
    return find_potential(key.rpartition(":")[0]).corrected
