"""Evidence for structures: relaxed in two potentials, held against a hull, strained.

All that is computed goes through the laboratories' caches. So the work is a list of independent
calculations for any number of processes, what was computed is never lost, and putting the
evidence together afterwards only reads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from matlode.data.formulas import element_symbols
from matlode.data.symmetry import RELAXATION_SYMPREC_A, primitive_cell, standard_cell
from matlode.data.tables import Materials
from matlode.errors import InputError
from matlode.evidence.dossier import Evidence, what_broke
from matlode.evidence.elements import ElementReferences, element_energy
from matlode.evidence.hull import (
    Competitors,
    HullPosition,
    competing_phases,
    corrected_energy,
    element_structures,
    energy_above_products,
    formation_energy,
    hull_position,
)
from matlode.evidence.laboratory import TIGHT, Laboratory, cache_folder
from matlode.evidence.potentials import JUDGE, NEVER_SEEN, WITNESS, load_calculator, potential_info
from matlode.evidence.relaxation import Relaxed, ase_atoms
from matlode.progress import Progress, silent

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_STRAINED_ATOMS = 20
"""Of primitive cells: second derivatives of larger ones take many minutes."""
RELAXATION_STEPS = 20
ELASTIC_EVALUATIONS = 45
"""What either takes on the mean, for estimates of time."""


@dataclass(frozen=True)
class Calculation:
    """One structure in one potential: relaxed and, if ``elastic``, strained."""

    structure: Structure
    laboratory: Laboratory
    elastic: bool = False

    def do(self) -> None:
        """The results are in the cache afterwards."""
        relaxed = self.laboratory.relaxed(self.structure)
        if self._is_strained(relaxed):
            self.laboratory.elasticity(relaxed)

    @property
    def is_possible(self) -> bool:
        """Whether the potentials know its elements."""
        return NEVER_SEEN.isdisjoint(element.Z for element in self.structure.composition)

    @property
    def is_done(self) -> bool:
        """Whether all results are in the cache."""
        if not self.laboratory.has_relaxed(self.structure):
            return False
        relaxed = self.laboratory.relaxed(self.structure)
        return not self._is_strained(relaxed) or self.laboratory.has_elasticity(relaxed)

    def _is_strained(self, relaxed: Relaxed) -> bool:
        return self.elastic and relaxed.converged and len(relaxed.species) <= MAX_STRAINED_ATOMS

    @property
    def evaluations(self) -> int:
        """About how many it takes."""
        return RELAXATION_STEPS + (ELASTIC_EVALUATIONS if self.elastic else 0)

    @property
    def cost(self) -> float:
        """In evaluations of one atom."""
        return self.evaluations * len(
            primitive_cell(self.structure, symprec_a=RELAXATION_SYMPREC_A)
        )


@dataclass(frozen=True)
class Examination:
    """How evidence is gathered."""

    materials: Materials
    """Whose phases compete."""
    models: Path | None = None
    """Where the elements' energies may lie."""
    judge: str = JUDGE
    witness: str = WITNESS
    cache: Path = field(default_factory=cache_folder)
    n_jobs: int = 0
    """Processes; 0: one for each core."""
    hull: bool = True
    elastic: bool = True

    def __post_init__(self) -> None:
        for name in (self.judge, self.witness):
            potential_info(name)

    def laboratory(self, potential: str) -> Laboratory:
        """Of a potential, with this cache."""
        return Laboratory(potential, self.cache)

    @property
    def laboratories(self) -> tuple[Laboratory, Laboratory]:
        """Of the judge and the witness."""
        return self.laboratory(self.judge), self.laboratory(self.witness)

    @cached_property
    def references(self) -> ElementReferences:
        """Energies of the elements."""
        return ElementReferences.load(self.models)

    def examine(
        self, structures: Sequence[Structure], progress: Progress = silent
    ) -> list[Evidence | None]:
        """Evidence for each; None where a potential could not compute it."""
        self.compute(structures, progress)
        return self.evidence(structures)

    def compute(self, structures: Sequence[Structure], progress: Progress = silent) -> None:
        """Fill the cache with all that evidence for them needs; Ctrl-C loses nothing of it."""
        judge, witness = self.laboratories
        competitors = self._competitors(structures)
        phases = {
            name: crystal
            for of_system in competitors.values()
            for name, crystal in of_system.structures.items()
        }
        # the best first, so that an interruption leaves some whole
        work = [
            calculation
            for structure in structures
            for calculation in (
                Calculation(structure, judge, self.elastic),
                Calculation(structure, witness),
            )
        ]
        work += [Calculation(phase, judge) for phase in phases.values()]
        calculate(work, self.n_jobs, progress)
        in_place = self._products(structures, competitors)
        calculate([Calculation(phase, witness) for phase in in_place], self.n_jobs, progress)

    def _products(
        self, structures: Sequence[Structure], competitors: Mapping[frozenset[str], Competitors]
    ) -> list[Structure]:
        """What is stable in the structures' places, which only the judge's hull says."""
        judge = self.laboratories[0]
        found: dict[str, Structure] = {}
        for structure in structures:
            of_system = competitors.get(_system(structure))
            if of_system is None or not judge.has_relaxed(structure):
                continue
            hull = self._hull(judge.relaxed(structure), of_system)
            if hull is not None:
                found |= {n: s for n, s in of_system.structures.items() if n in hull.products}
        return list(found.values())

    def evidence(self, structures: Sequence[Structure]) -> list[Evidence | None]:
        """What the cache holds of each; None where either potential's answer is missing."""
        competitors = self._competitors(structures)
        return [
            self._evidence(structure, competitors.get(_system(structure)))
            if all(laboratory.has_relaxed(structure) for laboratory in self.laboratories)
            else None
            for structure in structures
        ]

    def _competitors(self, structures: Iterable[Structure]) -> dict[frozenset[str], Competitors]:
        systems = dict.fromkeys(_system(structure) for structure in structures)
        if not self.hull:
            return {}
        return {system: competing_phases(self.materials, system) for system in systems}

    def _evidence(self, structure: Structure, competitors: Competitors | None) -> Evidence:
        from pymatgen.analysis.structure_matcher import StructureMatcher

        judge, witness = self.laboratories
        relaxed, second = judge.relaxed(structure), witness.relaxed(structure)
        energies = [
            self.formation(found, laboratory)
            for found, laboratory in ((relaxed, judge), (second, witness))
        ]
        strained = relaxed.converged and judge.has_elasticity(relaxed)
        standard, space_group = standard_cell(relaxed.structure)
        hull, above = None, None
        if competitors is not None and (hull := self._hull(relaxed, competitors)) is not None:
            above = self._above_products(second, hull, competitors)
        return Evidence(
            judge=relaxed,
            witness=second,
            formation_energy_ev=energies[0],
            witness_formation_energy_ev=energies[1],
            hull=hull,
            witness_energy_above_hull_ev=above,
            elasticity=judge.elasticity(relaxed) if self.elastic and strained else None,
            structure=standard,
            space_group=space_group,
            unchanged=bool(StructureMatcher().fit(structure, relaxed.structure)),
        )

    def formation(self, relaxed: Relaxed, laboratory: Laboratory) -> float | None:
        """Formation energy in eV/atom; None if an element has no crystal to count from."""
        structure = relaxed.structure
        elements = self._elements(_symbols(structure), laboratory)
        if elements is None:
            return None
        return formation_energy(
            structure, relaxed.energy_per_atom_ev, elements, laboratory.potential
        )

    def _broke(self, relaxed: Relaxed, laboratory: Laboratory) -> str:
        return what_broke(relaxed, self.formation(relaxed, laboratory))

    def _hull(self, relaxed: Relaxed, competitors: Competitors) -> HullPosition | None:
        """None where the crystal fell apart, an element has no energy, or phases are missing
        since the work was interrupted."""
        judge = self.laboratories[0]
        structure = relaxed.structure
        elements = self._elements(_symbols(structure), judge)
        complete = all(judge.has_relaxed(s) for s in competitors.structures.values())
        if self._broke(relaxed, judge) or elements is None or not complete:
            return None
        found = [(name, judge.relaxed(s)) for name, s in competitors.structures.items()]
        phases = [
            (name, phase.structure, phase.energy_per_atom_ev)
            for name, phase in found
            if not self._broke(phase, judge)
        ]
        return hull_position(
            structure, relaxed.energy_per_atom_ev, phases, elements, judge.potential, competitors
        )

    def _above_products(
        self, relaxed: Relaxed, hull: HullPosition, competitors: Competitors
    ) -> float | None:
        """eV/atom by the witness, above what is stable in the crystal's place by the judge; None
        where it knows too little."""
        witness = self.laboratories[1]
        energies = self._elements(_symbols(relaxed.structure), witness)
        phases = {n: s for n, s in competitors.structures.items() if n in hull.products}
        if energies is None or not all(map(witness.has_relaxed, phases.values())):
            return None
        found = {name: witness.relaxed(phase) for name, phase in phases.items()}
        if any(self._broke(one, witness) for one in (relaxed, *found.values())):
            return None
        corrected = {
            name: corrected_energy(one.structure, one.energy_per_atom_ev, witness.potential)
            for name, one in {"": relaxed, **found}.items()
        }
        return energy_above_products(corrected[""], hull.products, {**energies, **corrected})

    def _elements(
        self, symbols: Iterable[str], laboratory: Laboratory
    ) -> Mapping[str, float] | None:
        try:
            return self.references.of(symbols, laboratory, self.materials)
        except InputError:  # an element without a crystal leaves the energy untold
            return None


def element_references(
    examination: Examination, out: Path, progress: Progress = silent
) -> ElementReferences:
    """Energies of all elements that have a crystal, in both potentials, as an artefact in
    ``out``."""
    materials, laboratories = examination.materials, examination.laboratories
    crystals = {}
    for symbol in element_symbols():
        with suppress(InputError):
            crystals[symbol] = element_structures(materials, symbol)
    work = [
        Calculation(structure, laboratory)
        for laboratory in laboratories
        for of_element in crystals.values()
        for structure in of_element.values()
    ]
    calculate(work, examination.n_jobs, progress)
    energies: dict[str, dict[str, float]] = {}
    for laboratory in laboratories:
        found = energies.setdefault(potential_info(laboratory.potential).key, {})
        for symbol in crystals:
            with suppress(InputError):
                found[symbol] = round(element_energy(symbol, laboratory, materials), 6)
    references = ElementReferences(energies)
    references.save(out, {"rows": len(materials), "settings": asdict(TIGHT)})
    return references


def calculate(work: Sequence[Calculation], n_jobs: int, progress: Progress = silent) -> None:
    """Do calculations in several processes, in their order.

    The time that it will take is told first, and as it goes. Ctrl-C keeps what is done.
    """
    from joblib import Parallel, delayed

    n_jobs = n_jobs or os.cpu_count() or 1
    open_work = [c for c in work if c.is_possible and not c.is_done]
    if not open_work:
        return
    total = sum(calculation.cost for calculation in open_work)
    began = time.perf_counter()
    progress("relax", 0, total, _estimate(open_work, n_jobs))
    done = 0.0
    parallel = Parallel(n_jobs=min(n_jobs, len(open_work)), return_as="generator_unordered")
    tasks = (delayed(_done)(calculation) for calculation in open_work)
    for calculation, problem in parallel(tasks):
        done += calculation.cost
        left = (time.perf_counter() - began) / done * (total - done)
        note = f"{calculation.structure.formula}: {problem}; " if problem else ""
        progress("relax", done, total, f"{note}about {_minutes(left)} left")


def _done(calculation: Calculation) -> tuple[Calculation, str]:
    """The calculation, and why it could not be done, if it could not."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the potentials' packages, on every evaluation
        try:
            calculation.do()
        except Exception as error:  # potentials raise whatever they stumble over
            return calculation, f"{type(error).__name__}: {error}"
    return calculation, ""


def _estimate(work: Sequence[Calculation], n_jobs: int) -> str:
    """From one evaluation per potential, timed now, of the calculation of median size."""
    seconds = 0.0
    for potential in {calculation.laboratory.potential for calculation in work}:
        own = sorted((c for c in work if c.laboratory.potential == potential), key=lambda c: c.cost)
        atoms = ase_atoms(
            primitive_cell(own[len(own) // 2].structure, symprec_a=RELAXATION_SYMPREC_A)
        )
        atoms.calc = load_calculator(potential)
        atoms.get_forces()  # the first is slower
        atoms.rattle(0.01, seed=0)
        began = time.perf_counter()
        atoms.get_forces()
        each = (time.perf_counter() - began) / len(atoms)
        seconds += each * sum(calculation.cost for calculation in own)
    return f"{len(work)} calculations, about {_minutes(seconds / n_jobs)}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _system(structure: Structure) -> frozenset[str]:
    return frozenset(_symbols(structure))


def _symbols(structure: Structure) -> list[str]:
    return [element.symbol for element in structure.composition.elements]
