"""Energies of the elements in each potential: what formation energies are counted from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matlode.artefacts import find_model, load_artefact, save_artefact, understood
from matlode.data.tables import Materials
from matlode.errors import InputError
from matlode.evidence.hull import element_structures
from matlode.evidence.laboratory import Laboratory
from matlode.evidence.potentials import potential_info

ELEMENT_REFERENCES = "element-references"


@dataclass(frozen=True)
class ElementReferences:
    """Potential (its key) → symbol → energy per atom in eV of the lowest crystal found."""

    energies: Mapping[str, Mapping[str, float]]

    @classmethod
    def load(cls, folder: Path | None = None) -> ElementReferences:
        """From ``folder``, else those that ship."""
        artefact = load_artefact(find_model(ELEMENT_REFERENCES, folder))
        header = artefact.require(ELEMENT_REFERENCES).header
        with understood(ELEMENT_REFERENCES):
            energies = {
                potential: {symbol: float(energy) for symbol, energy in of_one.items()}
                for potential, of_one in header["energies"].items()
            }
            if not all(math.isfinite(e) for of_one in energies.values() for e in of_one.values()):
                raise ValueError("an energy is not finite")
            return cls(energies)

    def save(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Write as an artefact."""
        save_artefact(
            folder / ELEMENT_REFERENCES,
            kind=ELEMENT_REFERENCES,
            header={"energies": self.energies, **header},
            arrays={},
        )

    def of(
        self, symbols: Iterable[str], laboratory: Laboratory, materials: Materials
    ) -> dict[str, float]:
        """Symbol → energy per atom; what is not here is computed from the known materials.

        Raises InputError for an element without a crystal.
        """
        known = self.energies.get(potential_info(laboratory.potential).key, {})
        return {
            symbol: known[symbol] if symbol in known else element_energy(
                symbol, laboratory, materials
            )
            for symbol in sorted(symbols)
        }  # fmt: skip


def element_energy(symbol: str, laboratory: Laboratory, materials: Materials) -> float:
    """eV/atom of the lowest of an element's crystals; raises InputError if there is none."""
    relaxed = [laboratory.relaxed(s) for s in element_structures(materials, symbol).values()]
    sound = [found.energy_per_atom_ev for found in relaxed if not found.fell_apart]
    if not sound:
        raise InputError(f"no crystal of {symbol} holds together in {laboratory.potential}.")
    return min(sound)
