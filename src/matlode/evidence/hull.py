"""Formation energy and energy above a hull whose phases a potential computed, too."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from matlode.data.formulas import parse_formula
from matlode.data.tables import Materials
from matlode.errors import InputError
from matlode.evidence.potentials import potential_info

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.entries.computed_entries import ComputedStructureEntry

NEAR_HULL_EV = 0.025
"""Known phases that the table puts higher above its own hull do not decide."""
MAX_POLYMORPHS = 1
"""Of one formula, the lowest, that are computed; of elements one more."""
MAX_ATOMS = 32
"""Larger cells are left out, and counted."""

DIATOMIC_GASES = ("H", "N", "O", "F", "Cl")
BOX_A = 7.0


@dataclass(frozen=True)
class Competitors:
    """The known phases of a chemical system that decide what is stable in it."""

    structures: Mapping[str, Any]
    """id → Structure."""
    n_known: int
    """Phases of the system in the table, elements not counted."""
    n_too_large: int
    """Near its hull, but of more than MAX_ATOMS."""


@dataclass(frozen=True)
class HullPosition:
    """Where a crystal lies in its chemical system."""

    energy_above_hull_ev: float
    """Per atom; negative below the hull of the known phases."""
    formation_energy_ev: float
    """Per atom, from the elements."""
    decomposition: Mapping[str, float]
    """Formula → share of the atoms: what is stable in its place."""
    n_competing: int
    n_known: int
    n_too_large: int
    products: Mapping[str, float]
    """The same by the phases' ids; elements by their symbols."""


def competing_phases(materials: Materials, elements: Iterable[str]) -> Competitors:
    """Compounds of some of ``elements`` in a table, as far as they may lie on the hull.

    Without energies in the table, of each formula the smallest cell stands for it.
    """
    frame, crystals = materials.frame, materials.crystals
    wanted = _systems(frozenset(elements))
    systems = [frozenset(parse_formula(str(formula))) for formula in frame["formula"]]
    inside = np.array([len(system) > 1 and system in wanted for system in systems])
    above = _column(frame, "energy_above_hull")
    energy = _column(frame, "formation_energy_per_atom")
    partial = np.add.reduceat(crystals.occupancies < 1, crystals.offsets[:-1]) > 0
    rows = np.flatnonzero(inside & ~(above > NEAR_HULL_EV) & ~partial)
    large = crystals.n_atoms[rows] > MAX_ATOMS
    rows = rows[~large]
    # unknown energies sort last
    order = np.lexsort((crystals.n_atoms[rows], energy[rows], above[rows]))
    chosen: dict[str, list[int]] = {}
    for row in rows[order]:
        of_formula = chosen.setdefault(str(frame["formula"].iloc[row]), [])
        if len(of_formula) < MAX_POLYMORPHS:
            of_formula.append(int(row))
    ids = frame["id"].astype(str)
    return Competitors(
        {ids.iloc[row]: crystals.structure(row) for found in chosen.values() for row in found},
        n_known=int(inside.sum()),
        n_too_large=int(large.sum()),
    )


def element_structures(materials: Materials, symbol: str) -> dict[str, Structure]:
    """Source → crystal of an element: those of the table, the lowest first, and ASE's reference
    state, and the molecules of a gas. Raises InputError if there is none."""
    frame = materials.frame
    rows = np.flatnonzero((frame["formula"] == symbol).to_numpy())
    rows = rows[materials.crystals.n_atoms[rows] <= MAX_ATOMS]
    order = np.lexsort((
        materials.crystals.n_atoms[rows],
        _column(frame, "formation_energy_per_atom")[rows],
        _column(frame, "energy_above_hull")[rows],
    ))  # fmt: skip
    found = {
        str(frame["id"].iloc[row]): materials.crystals.structure(int(row))
        for row in rows[order][: MAX_POLYMORPHS + 1]
    }
    reference = _reference_state(symbol)
    if reference is not None:
        found["ASE's reference state"] = reference
    if symbol in DIATOMIC_GASES:
        found[f"{symbol}2 molecule"] = _molecule(symbol)
    if not found:
        raise InputError(
            f"there is no crystal of the element {symbol} among the known materials; "
            "give --known a table with one."
        )
    return found


def hull_position(
    structure: Structure,
    energy_per_atom: float,
    competitors: Sequence[tuple[str, Structure, float]],
    elements: Mapping[str, float],
    potential: str,
    counts: Competitors,
) -> HullPosition:
    """Of a relaxed crystal; competitors are (id, relaxed structure, energy per atom), elements
    symbol → energy per atom, all of one potential.

    Energies that the potential gives raw get the corrections of Wang et al. (Sci. Rep. 11,
    15496, 2021), without which oxides and metals do not compare.
    """
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

    own = corrected_energy(structure, energy_per_atom, potential)
    entries = [PDEntry(symbol, energy, name=symbol) for symbol, energy in elements.items()]
    for name, crystal, energy in competitors:
        total = corrected_energy(crystal, energy, potential) * len(crystal)
        entries.append(PDEntry(crystal.composition, total, name=name))
    diagram = PhaseDiagram(entries)
    entry = PDEntry(structure.composition, own * len(structure))
    decomposition, above = diagram.get_decomp_and_e_above_hull(entry, allow_negative=True)
    return HullPosition(
        energy_above_hull_ev=float(above),
        formation_energy_ev=float(diagram.get_form_energy_per_atom(entry)),
        decomposition={
            part.composition.reduced_formula: round(float(share), 4)
            for part, share in decomposition.items()
        },
        n_competing=len(competitors),
        n_known=counts.n_known,
        n_too_large=counts.n_too_large,
        products={part.name: float(share) for part, share in decomposition.items()},
    )


def energy_above_products(
    own_ev: float, products: Mapping[str, float], energies_ev: Mapping[str, float]
) -> float:
    """eV/atom of the reaction that a hull names, all energies (of the products by their names)
    per atom, corrected and of one potential."""
    return own_ev - sum(share * energies_ev[name] for name, share in products.items())


def formation_energy(
    structure: Structure, energy_per_atom: float, elements: Mapping[str, float], potential: str
) -> float:
    """eV/atom from the elements' energies per atom in the same potential."""
    fractions = structure.composition.fractional_composition.as_dict()
    reference = sum(share * elements[symbol] for symbol, share in fractions.items())
    return corrected_energy(structure, energy_per_atom, potential) - reference


def corrected_energy(structure: Structure, energy_per_atom: float, potential: str) -> float:
    """eV/atom with the Materials Project's corrections of 2020, where they are not in it yet."""
    if potential_info(potential).corrected:
        return energy_per_atom
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    hubbards = _hubbards(structure)
    entry: ComputedStructureEntry = ComputedStructureEntry(
        structure,
        energy_per_atom * len(structure),
        parameters={
            "run_type": "GGA+U" if hubbards else "GGA",
            "is_hubbard": bool(hubbards),
            "hubbards": hubbards,
            "potcar_symbols": [f"PBE {element}" for element in structure.composition],
        },
    )
    with warnings.catch_warnings():
        # alloys have no oxidation states, and need no correction of anions
        warnings.simplefilter("ignore")
        _corrections().process_entry(entry, inplace=True)
    return float(entry.energy_per_atom)


@cache
def _corrections() -> Any:
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility(check_potcar=False)


def _hubbards(structure: Structure) -> dict[str, float]:
    """The U values (eV) that the Materials Project gives transition metals in oxides and
    fluorides."""
    from pymatgen.io.vasp.sets import MPRelaxSet

    elements = structure.composition.elements
    anion = max(elements, key=lambda element: element.X)
    tables = MPRelaxSet.CONFIG["INCAR"]["LDAUU"]
    of_anion: Mapping[str, float] = tables.get(anion.symbol, {})
    return {e.symbol: of_anion[e.symbol] for e in elements if of_anion.get(e.symbol)}


def _systems(elements: frozenset[str]) -> set[frozenset[str]]:
    return {
        frozenset(some)
        for size in range(2, len(elements) + 1)
        for some in combinations(sorted(elements), size)
    }


def _column(frame: Any, name: str) -> np.ndarray:
    return frame[name].to_numpy(dtype=float) if name in frame else np.full(len(frame), np.nan)


def _molecule(symbol: str) -> Structure:
    """Alone in a box: how they pack is worth little."""
    from ase.build import molecule
    from pymatgen.core import Lattice, Structure

    atoms = molecule(f"{symbol}2")
    return Structure(
        Lattice.tetragonal(BOX_A, BOX_A + 1), [symbol] * 2, atoms.positions,
        coords_are_cartesian=True,
    )  # fmt: skip


def _reference_state(symbol: str) -> Structure | None:
    """The simple crystals that ASE knows; none for complicated elements and gases."""
    from ase.build import bulk
    from pymatgen.core import Structure

    try:
        atoms = bulk(symbol)
    except (ValueError, RuntimeError, NotImplementedError, KeyError):
        return None
    return Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())
