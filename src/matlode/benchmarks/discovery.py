"""Benchmark of materials discovery: candidates of a search and of two baselines, verified with
machine-learning potentials."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import inside, write_json
from matlode.benchmarks.tables import Tables
from matlode.data.formulas import canonicalise_formula, format_formula, parse_formula
from matlode.data.structures import read_structure
from matlode.data.tables import Materials
from matlode.engine import Engine, Here
from matlode.evidence.dossier import Evidence
from matlode.evidence.examination import Examination
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.search import resume, search
from matlode.jobs.starts import SearchSettings
from matlode.jobs.wishes import KnownFormulas
from matlode.progress import Progress, silent
from matlode.properties.endpoints import VOLUME
from matlode.realisation.substitution import substitute_elements
from matlode.records import Prediction
from matlode.representation.composition import write_formulas
from matlode.run_folder import RunFolder
from matlode.screening.chemistry import ChargeNeutral

if TYPE_CHECKING:
    from pymatgen.core import Structure

WANTED_GPA = 300.0
GOAL = {"maximize": ["hull_probability_50_mev"], "within": {"bulk_modulus": f"> {WANTED_GPA:g}"}}
"""The highest stability with a bulk modulus above WANTED_GPA."""
META_EV = 0.1
"""Largest energy above the hull (eV/atom) of a metastable material."""
N_PRIOR = 4000
"""Number of points of the prior that are decoded to obtain enough structures."""


@dataclass(frozen=True)
class Proposed:
    """A proposed structure and the prediction of its bulk modulus, if there is one."""

    formula: str
    structure: Structure
    predicted: Prediction | None = None


def bench_discovery(
    *,
    n: int = 20,
    goal: Mapping[str, object] | Path = GOAL,
    settings: SearchSettings | None = None,
    n_seeds: int = 3,
    examination: Examination,
    known: Known,
    out: Path = Path("discovery"),
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Tables:
    """Fractions of the proposals that meet each criterion, for three contestants.

    The contestants propose ``n`` structures each: a search, element substitution into the known
    materials with the largest bulk moduli, and random points of the prior. The search and the
    random points are repeated for ``n_seeds`` seeds; substitution is deterministic. All proposed
    formulas are absent from the training data of the models, and all structures are verified in
    the same way (relaxation, hull energy, elasticity). Results in ``out`` and in the cache are
    reused.
    """
    models = Models()
    settings = settings or SearchSettings()
    each = [replace(settings, seed=seed) for seed in range(n_seeds)]
    contestants = {
        "search": [_run_search(n, goal, one, known, out, progress) for one in each],
        "plain substitution": [_substitute_elements(n, models, known)],
        "random points of the prior": [_sample_prior(n, models, known, one.seed) for one in each],
    }
    everything = [p for of in contestants.values() for of_seed in of for p in of_seed]
    structures = [proposed.structure for proposed in everything]
    examination.compute(structures, progress, engine=engine or Here())
    found = iter(examination.evidence(structures))
    rows, table = [], []
    for name, of in contestants.items():
        done = [[(p, e) for p in of_seed if (e := next(found)) is not None] for of_seed in of]
        rows.append({"contestant": name, **_format_shares(done, known.materials)})
        table += [
            {"contestant": name, "seed": seed, "formula": format_formula(p.formula),
             **e.row(), "predicted": None if p.predicted is None else vars(p.predicted)}
            for seed, of_seed in enumerate(done)
            for p, e in of_seed
        ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "discovery.json", {"shares": rows, "structures": table})
    return {f"what proposals keep, number of seeds: {n_seeds}": rows}


def _run_search(
    n: int,
    goal: Mapping[str, object] | Path,
    settings: SearchSettings,
    known: Known,
    out: Path,
    progress: Progress,
) -> list[Proposed]:
    folder = out / f"search-{settings.seed}"
    run = RunFolder(folder)
    if run.is_begun:
        resume(folder, progress=progress)
    else:
        search(
            goal=goal, out=folder, settings=settings, known=known,
            screens={"novel": {"required": True}}, progress=progress,
        )  # fmt: skip
    built = [row for row in run.read_candidates() if row.is_accepted]
    return [
        Proposed(
            canonicalise_formula(row.formula),
            read_structure(inside(folder, row.structure_file)),
            Prediction(**vars(row.bulk_modulus), unit="GPa"),
        )
        for row in built[:n]
    ]


def _substitute_elements(n: int, models: Models, known: Known) -> list[Proposed]:
    """Substitute elements in the known materials with the largest bulk moduli, keeping their
    cells; one structure per formula."""
    materials = known.materials
    moduli = materials.label("bulk_modulus_vrh")
    parents = np.argsort(-np.nan_to_num(moduli, nan=-np.inf), kind="stable")
    parents = parents[: int((~np.isnan(moduli)).sum())]
    crystals, _ = substitute_elements(
        materials, parents, 4 * n, elements=known.elements,
        known=KnownFormulas(known.catalogue, models.formula_lists),
    )  # fmt: skip
    return _select_distinct(crystals.structures(), n)


def _sample_prior(n: int, models: Models, known: Known, seed: int) -> list[Proposed]:
    """Decode random points of the standard normal prior and build structures as in a search."""

    def build_structures() -> Iterator[Structure]:
        formulas = KnownFormulas(known.catalogue, models.formula_lists)
        points = np.random.default_rng(seed).normal(size=(N_PRIOR, models.space.size))
        points = points.astype(np.float32)
        amounts = models.space.formulas(points)
        names = write_formulas(amounts)
        new = [
            i
            for i, name in enumerate(names)
            if name not in formulas and len(parse_formula(name)) > 1
        ]
        for i in new:
            _, images = models.space.decode(points[i : i + 1])
            candidate = models.predict_candidates(
                [names[i]], amounts[i : i + 1] / amounts[i].sum(), images, case="decoded"
            )[0]
            volume = candidate.predictions[VOLUME].value
            structure = next(known.builder.structures(candidate, volume), None)
            if structure is not None:
                yield structure.structure

    return _select_distinct(build_structures(), n)


def _select_distinct(
    structures: Iterator[Structure] | Sequence[Structure], n: int
) -> list[Proposed]:
    """The first structure of each formula, up to n."""
    found: dict[str, Proposed] = {}
    for structure in structures:
        formula = canonicalise_formula(structure.composition.reduced_formula)
        found.setdefault(formula, Proposed(formula, structure))
        if len(found) == n:
            break
    return list(found.values())


def _format_shares(
    done: Sequence[Sequence[tuple[Proposed, Evidence]]], materials: Materials
) -> dict[str, str]:
    """Criterion → number of proposals that meet it, as text; ``done`` has one sequence per seed."""
    by_seed = [_check_criteria(of_seed, materials) for of_seed in done]
    shares = {name: _format_share([met[name] for met in by_seed]) for name in by_seed[0]}
    return {"relaxed": str(sum(map(len, done))), **shares}


def _check_criteria(
    done: Sequence[tuple[Proposed, Evidence]], materials: Materials
) -> dict[str, Sequence[bool] | NDArray[np.bool_]]:
    """Criterion → whether each proposal meets it; for the prediction interval, only proposals
    with a prediction and a computed modulus."""
    unique = np.array(_find_unique([evidence.structure for _, evidence in done]), dtype=bool)
    novel = np.array([_is_novel(evidence.structure, materials) for _, evidence in done], dtype=bool)
    above = np.array([
        np.inf if e.hull is None or not e.primary.converged else e.hull.energy_above_hull_ev
        for _, e in done
    ])  # fmt: skip
    stiff = np.array([
        0.0 if e.elasticity is None or not e.elasticity.born_stable
        else e.elasticity.bulk_modulus_gpa
        for _, e in done
    ])  # fmt: skip
    covered = [
        proposed.predicted.low <= evidence.elasticity.bulk_modulus_gpa <= proposed.predicted.high
        for proposed, evidence in done
        if proposed.predicted is not None and evidence.elasticity is not None
    ]
    return {
        "hold together": [not evidence.fell_apart for _, evidence in done],
        "potentials agree (G12)": [evidence.potentials_agree for _, evidence in done],
        "keep their structure": [evidence.unchanged for _, evidence in done],
        "charges balance": [ChargeNeutral().grade(p.formula).passed for p, _ in done],
        "unique": unique,
        "novel": novel,
        "MetaSUN, 0.1 eV (G13)": unique & novel & (above <= META_EV),
        "SUN, 0 eV": unique & novel & (above <= 0),
        f"K ≥ {WANTED_GPA:g} GPa (G14)": stiff >= WANTED_GPA,
        "both": (stiff >= WANTED_GPA) & unique & novel & (above <= META_EV),
        "K in its 90 % interval (G17)": covered,
    }


def _format_share(met: Sequence[Sequence[bool] | NDArray[np.bool_]]) -> str:
    """Count over all seeds, with the smallest and largest count of a seed."""
    counts = [int(np.sum(of_seed)) for of_seed in met]
    rows = sum(map(len, met))
    if not rows:
        return "–"
    spread = f" ({min(counts)}-{max(counts)})" if len(counts) > 1 else ""
    return f"{sum(counts)} of {rows}{spread}"


def _find_unique(structures: Sequence[Structure]) -> list[bool]:
    """Whether each structure differs from all previous ones (StructureMatcher)."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    return [
        not any(matcher.fit(structure, other) for other in structures[:at])
        for at, structure in enumerate(structures)
    ]


def _is_novel(structure: Structure, materials: Materials) -> bool:
    """Whether a structure differs from all known ones of its formula (StructureMatcher)."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    frame = materials.frame
    formula = canonicalise_formula(structure.composition.reduced_formula)
    rows = np.flatnonzero((frame["formula"] == formula).to_numpy())
    matcher = StructureMatcher()
    return not any(matcher.fit(structure, materials.crystals.structure(int(row))) for row in rows)
