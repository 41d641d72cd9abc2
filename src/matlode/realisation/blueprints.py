"""Crystals of many formulas at once: which template each is made from, with which elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from matlode.data.crystals import Crystals
from matlode.realisation.cell_fit import scale_to_volume
from matlode.realisation.prototypes import MAX_SPECIES, PrototypeLibrary, Substitution


@dataclass(frozen=True)
class Blueprints:
    """How to build n crystals from the templates of a library.

    A blueprint and the library determine a crystal to the last bit, so the record of a search
    keeps blueprints instead of atoms.
    """

    templates: NDArray[np.int64]
    """(n,), rows in the library; -1 where there is no crystal."""
    elements: NDArray[np.uint8]
    """(n, MAX_SPECIES), the new element for each element of the template in ascending order of
    atomic number, filled with zeros."""
    volumes_per_atom_a3: NDArray[np.float64]
    """(n,)."""

    def __len__(self) -> int:
        return len(self.templates)

    @classmethod
    def of(cls, substitutions: Sequence[Substitution], volumes: NDArray[np.float64]) -> Blueprints:
        """Blueprints of substitutions with volumes per atom (n,) in Å³."""
        elements = np.zeros((len(substitutions), MAX_SPECIES), dtype=np.uint8)
        for row, used in enumerate(substitutions):
            elements[row, : len(used.exchange)] = [used.exchange[z] for z in sorted(used.exchange)]
        templates = np.array([used.template for used in substitutions], dtype=np.int64)
        return cls(templates, elements, np.asarray(volumes, dtype=float))

    @classmethod
    def of_known(cls, library: PrototypeLibrary, rows: NDArray[np.integer]) -> Blueprints:
        """Blueprints of materials of the library as they are; those with mixed sites or more than
        MAX_SPECIES elements have none."""
        crystals = library.materials.crystals.take(rows)
        elements = np.zeros((len(rows), MAX_SPECIES), dtype=np.uint8)
        templates = np.array(rows, dtype=np.int64)
        for row in range(len(rows)):
            atoms = crystals.atoms(row)
            species = np.unique(crystals.numbers[atoms])
            if len(species) > MAX_SPECIES or (crystals.occupancies[atoms] < 1).any():
                templates[row] = -1
            else:
                elements[row, : len(species)] = species
        return cls(templates, elements, crystals.volumes_per_atom_a3)

    @classmethod
    def none(cls, n: int) -> Blueprints:
        """No crystals for n trials."""
        return cls(
            np.full(n, -1, dtype=np.int64), np.zeros((n, MAX_SPECIES), dtype=np.uint8), np.zeros(n)
        )

    def take(self, rows: NDArray[np.integer | np.bool_]) -> Blueprints:
        """The blueprints at ``rows``."""
        return Blueprints(*(getattr(self, entry.name)[rows] for entry in fields(self)))

    def build(self, library: PrototypeLibrary) -> Crystals:
        """The crystals, in the cells of their templates scaled to the volume; there must be no
        row without a template."""
        crystals = library.materials.crystals.take(self.templates)
        numbers = np.empty_like(crystals.numbers)
        for row in range(len(self)):
            atoms = crystals.atoms(row)
            _, places = np.unique(crystals.numbers[atoms], return_inverse=True)
            numbers[atoms] = self.elements[row][places]
        return scale_to_volume(replace(crystals, numbers=numbers), self.volumes_per_atom_a3)

    def find_substitution(self, row: int | np.intp, library: PrototypeLibrary) -> Substitution:
        """The exchange of elements of one blueprint, without its distance."""
        template = int(self.templates[row])
        crystals = library.materials.crystals
        species = np.unique(crystals.numbers[crystals.atoms(template)])
        exchange = dict(zip(species.tolist(), self.elements[row].tolist(), strict=False))
        return Substitution(template, exchange, float("nan"))


PER_TYPE = 1
"""Most crystals of one formula from templates of one space group and cell size. With two, the right
type of 800 stable phases with hidden formulas is less often among eight (86.6 and 88.9 %)."""


def find_substitutions(
    library: PrototypeLibrary, formulas: Sequence[str], n: int
) -> tuple[NDArray[np.intp], list[Substitution]]:
    """Find up to ``n`` substitutions for each formula, nearest first, from stable templates rather
    than from unstable ones.

    Returns the places (m,) of the formulas that they belong to, and the substitutions. Formulas
    without a template have none.
    """
    found = [
        (place, used)
        for place, formula in enumerate(formulas)
        for used in library.substitutions(formula, n, max_per_type=PER_TYPE, prefer_stable=True)
    ]
    return np.array([place for place, _ in found], dtype=np.intp), [used for _, used in found]
