"""Formation energy and energy above the hull, with all phases computed by one potential."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.data.formulas import canonicalise_formula, format_formula, parse_formula
from matlode.data.tables import Materials
from matlode.errors import InputError
from matlode.evidence.potentials import find_potential

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
    from pymatgen.entries.computed_entries import ComputedStructureEntry

NEAR_HULL_EV = 0.025
"""Largest energy above the hull, in the table, of known phases that are computed (eV/atom)."""
MAX_POLYMORPHS = 1
"""Number of most stable polymorphs of a formula that are computed; one more for elements."""
MAX_ATOMS = 32
"""Largest cell that is computed; larger ones are counted only."""

DIATOMIC_GASES = ("H", "N", "O", "F", "Cl")
BOX_A = 7.0


@dataclass(frozen=True)
class Competitors:
    """Known phases of a chemical system that may lie on its hull."""

    structures: Mapping[str, Structure]
    """By id."""
    n_known: int
    """Number of phases of the system in the table, without elements."""
    n_too_large: int
    """Number of phases near the hull with more than MAX_ATOMS atoms."""


@dataclass(frozen=True)
class HullPosition:
    """Energy of a crystal relative to the convex hull of its chemical system."""

    energy_above_hull_ev: float
    """Per atom; negative below the hull of the known phases."""
    formation_energy_ev: float
    """Per atom, relative to the elements."""
    decomposition: Mapping[str, float]
    """Stable phases at this composition: formula → fraction of the atoms."""
    n_competing: int
    """Number of known phases whose energies were computed."""
    n_known: int
    n_too_large: int
    products: Mapping[str, float]
    """``decomposition`` by the ids of the phases; elements by their symbols."""


def find_competing_phases(materials: Materials, elements: Iterable[str]) -> Competitors:
    """Find the compounds in a table that consist of ``elements`` and may lie on the hull.

    If the table has no energies, the smallest cell represents each formula.
    """
    frame, crystals = materials.frame, materials.crystals
    wanted = _list_subsystems(frozenset(elements))
    systems = [frozenset(parse_formula(str(formula))) for formula in frame["formula"]]
    inside = np.array([len(system) > 1 and system in wanted for system in systems])
    above = _read_column(frame, "energy_above_hull")
    energy = _read_column(frame, "formation_energy_per_atom")
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


def collect_element_structures(materials: Materials, symbol: str) -> dict[str, Structure]:
    """Source → structure of an element: the most stable ones in the table, ASE's reference state
    and, for a diatomic gas, the molecule. Raises InputError if there is none."""
    frame = materials.frame
    rows = np.flatnonzero((frame["formula"] == symbol).to_numpy())
    rows = rows[materials.crystals.n_atoms[rows] <= MAX_ATOMS]
    order = np.lexsort((
        materials.crystals.n_atoms[rows],
        _read_column(frame, "formation_energy_per_atom")[rows],
        _read_column(frame, "energy_above_hull")[rows],
    ))  # fmt: skip
    found = {
        str(frame["id"].iloc[row]): materials.crystals.structure(int(row))
        for row in rows[order][: MAX_POLYMORPHS + 1]
    }
    reference = _build_reference_state(symbol)
    if reference is not None:
        found["ASE's reference state"] = reference
    if symbol in DIATOMIC_GASES:
        found[f"{symbol}2 molecule"] = _build_molecule(symbol)
    if not found:
        raise InputError(
            f"no crystal of the element {symbol} in the table of known materials; "
            "pass a table that contains one with --known."
        )
    return found


def compute_hull_position(
    structure: Structure,
    energy_per_atom: float,
    competitors: Sequence[tuple[str, Structure, float]],
    elements: Mapping[str, float],
    potential: str,
    counts: Competitors,
) -> HullPosition:
    """Position of a relaxed crystal relative to the hull.

    ``competitors`` are (id, relaxed structure, energy in eV/atom), ``elements`` maps symbols to
    energies in eV/atom. All energies come from ``potential``; if they are uncorrected, the
    corrections of Wang et al. (Sci. Rep. 11, 15496, 2021) are applied, without which the
    energies of oxides and metals are not comparable.
    """
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

    own = correct_energy(structure, energy_per_atom, potential)
    entries = [PDEntry(symbol, energy, name=symbol) for symbol, energy in elements.items()]
    for name, crystal, energy in competitors:
        total = correct_energy(crystal, energy, potential) * len(crystal)
        entries.append(PDEntry(crystal.composition, total, name=name))
    diagram = PhaseDiagram(entries)
    entry = PDEntry(structure.composition, own * len(structure))
    decomposition, above = diagram.get_decomp_and_e_above_hull(entry, allow_negative=True)
    return HullPosition(
        energy_above_hull_ev=float(above),
        formation_energy_ev=float(diagram.get_form_energy_per_atom(entry)),
        decomposition={
            format_formula(canonicalise_formula(part.composition.reduced_formula)): round(
                float(share), 4
            )
            for part, share in decomposition.items()
        },
        n_competing=len(competitors),
        n_known=counts.n_known,
        n_too_large=counts.n_too_large,
        products={part.name: float(share) for part, share in decomposition.items()},
    )


def compute_energy_above_products(
    own_ev: float, products: Mapping[str, float], energies_ev: Mapping[str, float]
) -> float:
    """Energy (eV/atom) above the decomposition ``products`` (name → fraction of the atoms).

    ``own_ev`` and ``energies_ev`` (by the names of the products) are corrected energies per atom
    from one potential.
    """
    return own_ev - sum(share * energies_ev[name] for name, share in products.items())


def compute_formation_energy(
    structure: Structure, energy_per_atom: float, elements: Mapping[str, float], potential: str
) -> float:
    """Formation energy (eV/atom) relative to ``elements``, their energies per atom in the same
    potential."""
    fractions = structure.composition.fractional_composition.as_dict()
    reference = sum(share * elements[symbol] for symbol, share in fractions.items())
    return correct_energy(structure, energy_per_atom, potential) - reference


def correct_energy(structure: Structure, energy_per_atom: float, potential: str) -> float:
    """Energy (eV/atom) with the Materials Project's corrections of 2020, applied unless the
    potential's energies already include them."""
    if find_potential(potential).corrected:
        return energy_per_atom
    return float(make_entry(structure, energy_per_atom, corrected=False).energy_per_atom)


def make_entry(
    structure: Structure, energy_per_atom: float, *, corrected: bool
) -> ComputedStructureEntry:
    """pymatgen's entry of a structure: its energy (eV/atom), with the Materials Project's
    corrections of 2020 as adjustments unless the energy already includes them (``corrected``)."""
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    hubbards = _find_hubbards(structure)
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
    if not corrected:
        with warnings.catch_warnings():
            # pymatgen warns that alloys have no oxidation states; they need no anion correction
            warnings.simplefilter("ignore")
            _load_corrections().process_entry(entry, inplace=True)
    return entry


@cache
def _load_corrections() -> MaterialsProject2020Compatibility:
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility(check_potcar=False)


def _find_hubbards(structure: Structure) -> dict[str, float]:
    """Element → Hubbard U (eV) that the Materials Project uses for transition metals in oxides
    and fluorides."""
    from pymatgen.io.vasp.sets import MPRelaxSet

    elements = structure.composition.elements
    anion = max(elements, key=lambda element: element.X)
    tables = MPRelaxSet.CONFIG["INCAR"]["LDAUU"]
    of_anion: Mapping[str, float] = tables.get(anion.symbol, {})
    return {e.symbol: of_anion[e.symbol] for e in elements if of_anion.get(e.symbol)}


def _list_subsystems(elements: frozenset[str]) -> set[frozenset[str]]:
    """All subsets of at least two elements."""
    return {
        frozenset(some)
        for size in range(2, len(elements) + 1)
        for some in combinations(sorted(elements), size)
    }


def _read_column(frame: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """(n,), NaN if the table has no such column."""
    return frame[name].to_numpy(dtype=float) if name in frame else np.full(len(frame), np.nan)


def _build_molecule(symbol: str) -> Structure:
    """A diatomic molecule alone in a box; the packing energy of molecules is negligible."""
    from ase.build import molecule
    from pymatgen.core import Lattice, Structure

    atoms = molecule(f"{symbol}2")
    return Structure(
        Lattice.tetragonal(BOX_A, BOX_A + 1), [symbol] * 2, atoms.positions,
        coords_are_cartesian=True,
    )  # fmt: skip


def _build_reference_state(symbol: str) -> Structure | None:
    """ASE's reference state; None for elements with complex structures and gases."""
    from ase.build import bulk
    from pymatgen.core import Structure

    try:
        atoms = bulk(symbol)
    except (ValueError, RuntimeError, NotImplementedError, KeyError):
        return None
    return Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())
