"""Verification of structures with two potentials: relaxation, hull energy, elasticity.

All results go through the caches of the laboratories. The work is therefore a list of independent
calculations for any number of processes, an interruption loses no finished calculation, and the
evidence is assembled afterwards from the cache alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from matlode.data.formulas import element_symbols
from matlode.data.symmetry import RELAXATION_SYMPREC_A, find_primitive_cell, find_standard_cell
from matlode.data.tables import Materials
from matlode.engine import Engine
from matlode.errors import InputError
from matlode.evidence.dossier import Evidence, describe_failure
from matlode.evidence.elasticity import Elasticity
from matlode.evidence.elements import ElementReferences, compute_element_energy
from matlode.evidence.hull import (
    Competitors,
    HullPosition,
    collect_element_structures,
    compute_energy_above_products,
    compute_formation_energy,
    compute_hull_position,
    correct_energy,
    find_competing_phases,
)
from matlode.evidence.laboratory import TIGHT, Laboratory, get_cache_folder
from matlode.evidence.potentials import (
    NEVER_SEEN,
    PRIMARY_POTENTIAL,
    SECOND_POTENTIAL,
    find_potential,
    load_calculator,
)
from matlode.evidence.relaxation import Relaxed, to_ase_atoms
from matlode.latent.forward import one_thread
from matlode.progress import Progress, silent

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_STRAINED_ATOMS = 20
"""Largest primitive cell whose elasticity is computed; larger ones take many minutes."""
RELAXATION_STEPS = 20
ELASTIC_EVALUATIONS = 45
"""Mean numbers of evaluations of a relaxation and of an elasticity, for estimates of the time."""


@dataclass(frozen=True)
class Calculation:
    """Relaxation and, if ``elastic``, elasticity of one structure with one potential."""

    structure: Structure
    laboratory: Laboratory
    elastic: bool = False

    def do(self) -> tuple[Relaxed, Elasticity | None]:
        """Compute the results, into the cache of this machine."""
        relaxed = self.laboratory.relaxed(self.structure)
        needed = self._needs_elasticity(relaxed)
        return relaxed, self.laboratory.elasticity(relaxed) if needed else None

    @property
    def is_possible(self) -> bool:
        """Whether the training data of the potentials include all elements of the structure."""
        return NEVER_SEEN.isdisjoint(element.Z for element in self.structure.composition)

    @property
    def is_done(self) -> bool:
        """Whether all results are in the cache."""
        if not self.laboratory.has_relaxed(self.structure):
            return False
        relaxed = self.laboratory.relaxed(self.structure)
        return not self._needs_elasticity(relaxed) or self.laboratory.has_elasticity(relaxed)

    def _needs_elasticity(self, relaxed: Relaxed) -> bool:
        return self.elastic and relaxed.converged and len(relaxed.species) <= MAX_STRAINED_ATOMS

    @property
    def evaluations(self) -> int:
        """Expected number of evaluations of the potential."""
        return RELAXATION_STEPS + (ELASTIC_EVALUATIONS if self.elastic else 0)

    @property
    def cost(self) -> float:
        """Expected cost: evaluations times atoms of the primitive cell."""
        return self.evaluations * len(
            find_primitive_cell(self.structure, symprec_a=RELAXATION_SYMPREC_A)
        )


@dataclass(frozen=True)
class Examination:
    """Settings and data for verifying structures.

    Raises GoalError for an unknown potential, InputError for one that is not installed.
    """

    materials: Materials
    """Known phases, for the hull."""
    models: Path | None = None
    """Folder of models that may hold the energies of the elements."""
    primary: str = PRIMARY_POTENTIAL
    """The potential that computes every quantity."""
    secondary: str = SECOND_POTENTIAL
    """The potential that checks the energies."""
    cache: Path = field(default_factory=get_cache_folder)
    hull: bool = True
    """Whether to compute energies above the hull."""
    elastic: bool = True
    """Whether to compute elastic constants and phonons at Γ."""

    def __post_init__(self) -> None:
        for name in (self.primary, self.secondary):
            find_potential(name)

    def laboratory(self, potential: str) -> Laboratory:
        """The laboratory of a potential, with the cache of this examination."""
        return Laboratory(potential, self.cache)

    @property
    def laboratories(self) -> tuple[Laboratory, Laboratory]:
        """The laboratories of the primary and the second potential."""
        return self.laboratory(self.primary), self.laboratory(self.secondary)

    @cached_property
    def references(self) -> ElementReferences:
        """Energies of the elements, the references of formation energies."""
        return ElementReferences.load(self.models)

    def compute(
        self, structures: Sequence[Structure], progress: Progress = silent, *, engine: Engine
    ) -> None:
        """Compute all results that the evidence for the structures needs into the cache, with the
        workers of the ``engine``.

        An interruption keeps the finished calculations.
        """
        primary, secondary = self.laboratories
        competitors = self._find_competitors(structures)
        phases = {
            name: crystal
            for of_system in competitors.values()
            for name, crystal in of_system.structures.items()
        }
        # in order of rank, so that an interruption leaves the first structures complete
        work = [
            calculation
            for structure in structures
            for calculation in (
                Calculation(structure, primary, self.elastic),
                Calculation(structure, secondary),
            )
        ]
        work += [Calculation(phase, primary) for phase in phases.values()]
        symbols = {symbol for structure in structures for symbol in _list_symbols(structure)}
        work += [
            Calculation(crystal, laboratory)
            for laboratory in self.laboratories
            for crystal in self.references.list_missing(symbols, laboratory, self.materials)
        ]
        calculate(work, engine, progress)
        products = self._find_products(structures, competitors)
        calculate([Calculation(phase, secondary) for phase in products], engine, progress)

    def _find_products(
        self, structures: Sequence[Structure], competitors: Mapping[frozenset[str], Competitors]
    ) -> list[Structure]:
        """The phases into which the structures decompose, by the hull of the primary potential."""
        primary = self.laboratories[0]
        found: dict[str, Structure] = {}
        for structure in structures:
            of_system = competitors.get(_find_system(structure))
            if of_system is None or not primary.has_relaxed(structure):
                continue
            hull = self._locate_on_hull(primary.relaxed(structure), of_system)
            if hull is not None:
                found |= {n: s for n, s in of_system.structures.items() if n in hull.products}
        return list(found.values())

    def evidence(self, structures: Sequence[Structure]) -> list[Evidence | None]:
        """Assemble the evidence for each structure from the cache; None where the result of
        either potential is missing."""
        competitors = self._find_competitors(structures)
        return [
            self._assemble(structure, competitors.get(_find_system(structure)))
            if all(laboratory.has_relaxed(structure) for laboratory in self.laboratories)
            else None
            for structure in structures
        ]

    def _find_competitors(
        self, structures: Iterable[Structure]
    ) -> dict[frozenset[str], Competitors]:
        systems = dict.fromkeys(_find_system(structure) for structure in structures)
        if not self.hull:
            return {}
        return {system: find_competing_phases(self.materials, system) for system in systems}

    def _assemble(self, structure: Structure, competitors: Competitors | None) -> Evidence:
        from pymatgen.analysis.structure_matcher import StructureMatcher

        primary, secondary = self.laboratories
        relaxed, second = primary.relaxed(structure), secondary.relaxed(structure)
        energies = [
            self.formation(found, laboratory)
            for found, laboratory in ((relaxed, primary), (second, secondary))
        ]
        strained = relaxed.converged and primary.has_elasticity(relaxed)
        standard, space_group = find_standard_cell(relaxed.structure)
        hull, above = None, None
        if competitors is not None:
            hull = self._locate_on_hull(relaxed, competitors)
            if hull is not None:
                above = self._compute_energy_above_products(second, hull, competitors)
        return Evidence(
            primary=relaxed,
            secondary=second,
            formation_energy_ev=energies[0],
            secondary_formation_energy_ev=energies[1],
            hull=hull,
            secondary_energy_above_hull_ev=above,
            elasticity=primary.elasticity(relaxed) if self.elastic and strained else None,
            structure=standard,
            space_group=space_group,
            unchanged=bool(StructureMatcher().fit(structure, relaxed.structure)),
        )

    def formation(self, relaxed: Relaxed, laboratory: Laboratory) -> float | None:
        """Formation energy in eV/atom; None if an element has no reference energy."""
        structure = relaxed.structure
        elements = self._find_element_energies(_list_symbols(structure), laboratory)
        if elements is None:
            return None
        return compute_formation_energy(
            structure, relaxed.energy_per_atom_ev, elements, laboratory.potential
        )

    def _describe_failure(self, relaxed: Relaxed, laboratory: Laboratory) -> str:
        return describe_failure(relaxed, self.formation(relaxed, laboratory))

    def _locate_on_hull(self, relaxed: Relaxed, competitors: Competitors) -> HullPosition | None:
        """The hull position by the primary potential; None if the crystal fell apart, an element
        has no reference energy, or phases are missing after an interruption."""
        primary = self.laboratories[0]
        structure = relaxed.structure
        elements = self._find_element_energies(_list_symbols(structure), primary)
        complete = all(primary.has_relaxed(s) for s in competitors.structures.values())
        if self._describe_failure(relaxed, primary) or elements is None or not complete:
            return None
        found = [(name, primary.relaxed(s)) for name, s in competitors.structures.items()]
        phases = [
            (name, phase.structure, phase.energy_per_atom_ev)
            for name, phase in found
            if not self._describe_failure(phase, primary)
        ]
        return compute_hull_position(
            structure, relaxed.energy_per_atom_ev, phases, elements, primary.potential, competitors
        )

    def _compute_energy_above_products(
        self, relaxed: Relaxed, hull: HullPosition, competitors: Competitors
    ) -> float | None:
        """Energy (eV/atom) by the second potential above the decomposition that the primary one
        finds; None if a result is missing or a phase fell apart."""
        secondary = self.laboratories[1]
        energies = self._find_element_energies(_list_symbols(relaxed.structure), secondary)
        phases = {n: s for n, s in competitors.structures.items() if n in hull.products}
        if energies is None or not all(map(secondary.has_relaxed, phases.values())):
            return None
        found = {name: secondary.relaxed(phase) for name, phase in phases.items()}
        if any(self._describe_failure(one, secondary) for one in (relaxed, *found.values())):
            return None
        corrected = {
            name: correct_energy(one.structure, one.energy_per_atom_ev, secondary.potential)
            for name, one in {"": relaxed, **found}.items()
        }
        return compute_energy_above_products(
            corrected[""], hull.products, {**energies, **corrected}
        )

    def _find_element_energies(
        self, symbols: Iterable[str], laboratory: Laboratory
    ) -> Mapping[str, float] | None:
        try:
            return self.references.of(symbols, laboratory, self.materials)
        except InputError:  # no reference energy, hence no formation energy
            return None


def compute_element_references(
    examination: Examination, out: Path, progress: Progress = silent, *, engine: Engine
) -> ElementReferences:
    """Compute the energies of all elements that have a crystal with both potentials, and save them
    as an artefact in ``out``."""
    materials, laboratories = examination.materials, examination.laboratories
    crystals = {}
    for symbol in element_symbols():
        with suppress(InputError):
            crystals[symbol] = collect_element_structures(materials, symbol)
    work = [
        Calculation(structure, laboratory)
        for laboratory in laboratories
        for of_element in crystals.values()
        for structure in of_element.values()
    ]
    calculate(work, engine, progress)
    energies: dict[str, dict[str, float]] = {}
    for laboratory in laboratories:
        found = energies.setdefault(find_potential(laboratory.potential).key, {})
        for symbol in crystals:
            with suppress(InputError):
                found[symbol] = round(compute_element_energy(symbol, laboratory, materials), 6)
    references = ElementReferences(energies)
    references.save(out, {"rows": len(materials), "settings": asdict(TIGHT)})
    return references


def calculate(work: Sequence[Calculation], engine: Engine, progress: Progress = silent) -> None:
    """Run calculations in order with the workers of the ``engine``, none of them twice.

    ``progress`` receives an estimate of the time first, and the time left after each calculation.
    An interruption keeps the finished calculations.
    """
    open_work: dict[str, Calculation] = {}
    for calculation in work:
        name = calculation.laboratory.name_result(calculation.structure)
        if calculation.is_possible and (name not in open_work or calculation.elastic):
            open_work[name] = calculation
    open_work = {name: c for name, c in open_work.items() if not c.is_done}
    if not open_work:
        return
    costs = [calculation.cost for calculation in open_work.values()]
    total, done = sum(costs), 0.0
    began = time.perf_counter()
    progress("relax", 0, total, _estimate([*open_work.values()], engine.n_workers))
    tasks = [engine.submit(_run_calculation, calculation) for calculation in open_work.values()]
    results = zip(open_work.values(), costs, engine.gather(tasks), strict=True)
    for calculation, cost, (found, problem) in results:
        if found is not None:
            calculation.laboratory.keep(calculation.structure, *found)
        done += cost
        left = (time.perf_counter() - began) / done * (total - done)
        note = f"{calculation.structure.formula}: {problem}; " if problem else ""
        progress("relax", done, total, f"{note}about {_format_duration(left)} left")


def _run_calculation(
    calculation: Calculation,
) -> tuple[tuple[Relaxed, Elasticity | None] | None, str]:
    """The results of a calculation, or None and why it failed."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the potentials' packages warn on every evaluation
        try:
            load_calculator(calculation.laboratory.potential)  # imports what is limited next
            with one_thread():
                return calculation.do(), ""
        except Exception as error:  # potentials raise exceptions of any type
            return None, f"{type(error).__name__}: {error}"


def _estimate(work: Sequence[Calculation], n_workers: int) -> str:
    """Estimate the time from one evaluation per potential, of the calculation of median size."""
    seconds = 0.0
    for potential in {calculation.laboratory.potential for calculation in work}:
        own = sorted((c for c in work if c.laboratory.potential == potential), key=lambda c: c.cost)
        atoms = to_ase_atoms(
            find_primitive_cell(own[len(own) // 2].structure, symprec_a=RELAXATION_SYMPREC_A)
        )
        atoms.calc = load_calculator(potential)
        atoms.get_forces()  # the first call is slower
        atoms.rattle(0.01, seed=0)
        began = time.perf_counter()
        atoms.get_forces()
        each = (time.perf_counter() - began) / len(atoms)
        seconds += each * sum(calculation.cost for calculation in own)
    return f"{len(work)} calculations, about {_format_duration(seconds / n_workers)}"


def _format_duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _find_system(structure: Structure) -> frozenset[str]:
    return frozenset(_list_symbols(structure))


def _list_symbols(structure: Structure) -> list[str]:
    return [element.symbol for element in structure.composition.elements]
