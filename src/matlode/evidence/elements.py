"""Energies of the elements in each potential: the references of formation energies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from matlode.artefacts import convert_read_errors, find_model, load_artefact, save_artefact
from matlode.data.tables import Materials
from matlode.errors import InputError
from matlode.evidence.hull import collect_element_structures
from matlode.evidence.laboratory import Laboratory
from matlode.evidence.potentials import find_potential

if TYPE_CHECKING:
    from pymatgen.core import Structure

ELEMENT_REFERENCES = "element-references"


@dataclass(frozen=True)
class ElementReferences:
    """Lowest energy of each element's crystals, by potential."""

    energies: Mapping[str, Mapping[str, float]]
    """``PotentialInfo.key`` → symbol → energy (eV/atom)."""

    @classmethod
    def load(cls, folder: Path | None = None) -> ElementReferences:
        """Load the artefact from ``folder`` or, if it has none, the one shipped with matlode."""
        artefact = load_artefact(find_model(ELEMENT_REFERENCES, folder))
        header = artefact.require(ELEMENT_REFERENCES).header
        with convert_read_errors(ELEMENT_REFERENCES):
            energies = {
                potential: {symbol: float(energy) for symbol, energy in of_one.items()}
                for potential, of_one in header["energies"].items()
            }
            if not all(math.isfinite(e) for of_one in energies.values() for e in of_one.values()):
                raise ValueError("an energy is not finite")
            return cls(energies)

    def save(self, folder: Path, header: Mapping[str, object]) -> None:
        """Write the energies as an artefact in ``folder``, with ``header`` added to its header."""
        save_artefact(
            folder / ELEMENT_REFERENCES,
            kind=ELEMENT_REFERENCES,
            header={"energies": self.energies, **header},
            arrays={},
        )

    def list_missing(
        self, symbols: Iterable[str], laboratory: Laboratory, materials: Materials
    ) -> list[Structure]:
        """Crystals in ``materials`` of the elements whose energies are not here."""
        known = self.energies.get(find_potential(laboratory.potential).key, {})
        found: list[Structure] = []
        for symbol in sorted(set(symbols) - known.keys()):
            with suppress(InputError):  # there is no crystal
                found += collect_element_structures(materials, symbol).values()
        return found

    def of(
        self, symbols: Iterable[str], laboratory: Laboratory, materials: Materials
    ) -> dict[str, float]:
        """Symbol → energy (eV/atom), with energies that are missing here computed from the crystals
        in ``materials``.

        Raises InputError for an element without a crystal.
        """
        known = self.energies.get(find_potential(laboratory.potential).key, {})
        return {
            symbol: known[symbol] if symbol in known else compute_element_energy(
                symbol, laboratory, materials
            )
            for symbol in sorted(symbols)
        }  # fmt: skip


def compute_element_energy(symbol: str, laboratory: Laboratory, materials: Materials) -> float:
    """Energy (eV/atom) of an element's most stable crystal.

    Raises InputError if the element has no crystal that survives relaxation.
    """
    structures = collect_element_structures(materials, symbol)
    relaxed = [laboratory.relaxed(structure) for structure in structures.values()]
    energies = [found.energy_per_atom_ev for found in relaxed if not found.fell_apart]
    if not energies:
        raise InputError(
            f"no reference energy for {symbol}: all {len(relaxed)} of its crystals fell apart when "
            f'relaxed with the potential "{laboratory.potential}"; use another potential.'
        )
    return min(energies)
