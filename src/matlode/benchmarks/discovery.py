"""What becomes of proposals when potentials judge them: ours, and two rivals' at equal cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import inside, write_json
from matlode.data.formulas import canonical_formula, conventional_formula, parse_formula
from matlode.data.structures import read_structure
from matlode.evidence.dossier import Evidence
from matlode.evidence.examination import Examination
from matlode.jobs.search import resume, search
from matlode.jobs.starts import SearchSettings
from matlode.jobs.toolbox import Toolbox
from matlode.jobs.wishes import KnownFormulas
from matlode.progress import Progress, silent
from matlode.properties.network import VOLUME
from matlode.realisation.substitution import substituted
from matlode.records import Prediction
from matlode.representation.composition import formulas_of
from matlode.run_folder import RunFolder
from matlode.run_records import CandidateRow
from matlode.screening.chemistry import ChargeNeutral

if TYPE_CHECKING:
    from pymatgen.core import Structure

WANTED_GPA = 300.0
GOAL = {"maximize": ["stable_probability"], "within": {"bulk_modulus": f"> {WANTED_GPA:g}"}}
"""A bulk modulus of at least 300 GPa, and as stable as can be."""
META_EV = 0.1
"""Above the hull: what may be made all the same."""
N_PRIOR = 4000
"""Points of the prior that are decoded to get enough structures."""


@dataclass(frozen=True)
class Proposed:
    """A structure that is put forward, and the bulk modulus promised of it, if any was."""

    formula: str
    structure: Structure
    promised: Prediction | None = None


def bench_discovery(
    *,
    n: int = 20,
    goal: Mapping[str, Any] | Path = GOAL,
    settings: SearchSettings | None = None,
    n_seeds: int = 3,
    examination: Examination,
    toolbox: Toolbox,
    out: Path = Path("discovery"),
    progress: Progress = silent,
) -> dict[str, list[dict[str, Any]]]:
    """Shares of ``n`` proposals each of a search, of plain element substitution into the stiffest
    known materials, and of random points of the prior, that keep what was asked for.

    Searches and points are drawn ``n_seeds`` times, substitution leaves nothing to chance. All are
    of formulas new to the models; all are relaxed, strained and held against the hull in the same
    way. What ``out`` and the cache hold is not made again.
    """
    toolbox = Toolbox(toolbox.models_folder, toolbox.known_table, {"novel": {"required": True}})
    settings = settings or SearchSettings()
    each = [replace(settings, seed=seed) for seed in range(n_seeds)]
    contestants = {
        "search": [_searched(n, goal, one, toolbox, out, progress) for one in each],
        "plain substitution": [_substitutions(n, toolbox)],
        "random points of the prior": [_prior_samples(n, toolbox, one.seed) for one in each],
    }
    everything = [p for of in contestants.values() for of_seed in of for p in of_seed]
    found = iter(examination.examine([proposed.structure for proposed in everything], progress))
    rows, table = [], []
    for name, of in contestants.items():
        done = [[(p, e) for p in of_seed if (e := next(found)) is not None] for of_seed in of]
        rows.append({"contestant": name, **_shares(done, toolbox)})
        table += [
            {"contestant": name, "seed": seed, "formula": conventional_formula(p.formula),
             **e.row(), "promised": None if p.promised is None else vars(p.promised)}
            for seed, of_seed in enumerate(done)
            for p, e in of_seed
        ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "discovery.json", {"shares": rows, "structures": table})
    return {f"what proposals keep, number of seeds: {n_seeds}": rows}


def _searched(
    n: int,
    goal: Mapping[str, Any] | Path,
    settings: SearchSettings,
    toolbox: Toolbox,
    out: Path,
    progress: Progress,
) -> list[Proposed]:
    folder = out / f"search-{settings.seed}"
    run = RunFolder(folder)
    if run.is_begun:
        resume(folder, progress=progress)
    else:
        search(goal=goal, out=folder, settings=settings, toolbox=toolbox, progress=progress)
    built = [row for row in run.read_candidates() if row.is_accepted and row.is_built]
    return [
        Proposed(
            canonical_formula(row.formula),
            read_structure(inside(folder, row.structure_file)),
            _shift_to_structure(row),
        )
        for row in built[:n]
    ]


def _shift_to_structure(row: CandidateRow) -> Prediction:
    """The structure's bulk modulus, with the interval of the decoded material's around it."""
    decoded, value = row.bulk_modulus, row.structure_properties["bulk_modulus"]
    shift = value - decoded.value
    return Prediction(value, shift + decoded.low, shift + decoded.high, "GPa")


def _substitutions(n: int, toolbox: Toolbox) -> list[Proposed]:
    """Into the materials of the largest known bulk moduli, in their cells, each formula once."""
    known = toolbox.materials
    moduli = known.label("bulk_modulus_vrh")
    parents = np.argsort(-np.nan_to_num(moduli, nan=-np.inf), kind="stable")
    parents = parents[: int((~np.isnan(moduli)).sum())]
    crystals, _ = substituted(
        known, parents, 4 * n, elements=toolbox.known_elements, known=KnownFormulas(toolbox)
    )
    return _distinct(crystals.structures(), n)


def _prior_samples(n: int, toolbox: Toolbox, seed: int) -> list[Proposed]:
    """Points of the standard normal prior, decoded and built as a search does it."""

    def built() -> Iterator[Structure]:
        known = KnownFormulas(toolbox)
        points = np.random.default_rng(seed).normal(size=(N_PRIOR, toolbox.space.size))
        points = points.astype(np.float32)
        amounts = toolbox.space.formulas(points)
        names = formulas_of(amounts)
        new = [
            i for i, name in enumerate(names) if name not in known and len(parse_formula(name)) > 1
        ]
        for i in new:
            _, images = toolbox.space.decode(points[i : i + 1])
            candidate = toolbox.candidates(
                [names[i]], amounts[i : i + 1] / amounts[i].sum(), images, case="decoded"
            )[0]
            volume = candidate.predictions[VOLUME].value
            structure = next(toolbox.builder.structures(candidate, volume), None)
            if structure is not None:
                yield structure.structure

    return _distinct(built(), n)


def _distinct(structures: Iterator[Structure] | Sequence[Structure], n: int) -> list[Proposed]:
    """The first of each formula, up to n."""
    found: dict[str, Proposed] = {}
    for structure in structures:
        formula = canonical_formula(structure.composition.reduced_formula)
        found.setdefault(formula, Proposed(formula, structure))
        if len(found) == n:
            break
    return list(found.values())


def _shares(
    done: Sequence[Sequence[tuple[Proposed, Evidence]]], toolbox: Toolbox
) -> dict[str, str]:
    """Of the relaxed, by seed: G12, G13, G14, and how often the promise's interval holds the
    answer."""
    by_seed = [_kept(of_seed, toolbox) for of_seed in done]
    shares = {name: _share([kept[name] for kept in by_seed]) for name in by_seed[0]}
    return {"relaxed": str(sum(map(len, done))), **shares}


def _kept(
    done: Sequence[tuple[Proposed, Evidence]], toolbox: Toolbox
) -> dict[str, Sequence[bool] | NDArray[np.bool_]]:
    """What is asked → whether each keeps it; of promises, each that was made and has an answer."""
    unique = np.array(_unique([evidence.structure for _, evidence in done]), dtype=bool)
    novel = np.array([_novel(evidence.structure, toolbox) for _, evidence in done], dtype=bool)
    above = np.array([
        np.inf if e.hull is None or not e.judge.converged else e.hull.energy_above_hull_ev
        for _, e in done
    ])  # fmt: skip
    stiff = np.array([
        0.0 if e.elasticity is None or not e.elasticity.born_stable
        else e.elasticity.bulk_modulus_gpa
        for _, e in done
    ])  # fmt: skip
    promises = [
        proposed.promised.low <= evidence.elasticity.bulk_modulus_gpa <= proposed.promised.high
        for proposed, evidence in done
        if proposed.promised is not None and evidence.elasticity is not None
    ]
    return {
        "hold together": [not evidence.fell_apart for _, evidence in done],
        "sound, potentials agree (G12)": [evidence.sound for _, evidence in done],
        "keep their structure": [evidence.unchanged for _, evidence in done],
        "charges balance": [ChargeNeutral().grade(p.formula).passed for p, _ in done],
        "unique": unique,
        "novel": novel,
        "MetaSUN, 0.1 eV (G13)": unique & novel & (above <= META_EV),
        "SUN, 0 eV": unique & novel & (above <= 0),
        f"K ≥ {WANTED_GPA:g} GPa (G14)": stiff >= WANTED_GPA,
        "both": (stiff >= WANTED_GPA) & unique & novel & (above <= META_EV),
        "K in its 90 % interval (G17)": promises,
    }


def _share(kept: Sequence[Sequence[bool] | NDArray[np.bool_]]) -> str:
    """Of all seeds together, and the least and most of one seed."""
    counts = [int(np.sum(of_seed)) for of_seed in kept]
    rows = sum(map(len, kept))
    if not rows:
        return "–"
    spread = f" ({min(counts)}-{max(counts)})" if len(counts) > 1 else ""
    return f"{sum(counts)} of {rows}{spread}"


def _unique(structures: Sequence[Structure]) -> list[bool]:
    """Whether none before is the same."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    return [
        not any(matcher.fit(structure, other) for other in structures[:at])
        for at, structure in enumerate(structures)
    ]


def _novel(structure: Structure, toolbox: Toolbox) -> bool:
    """Whether no known structure of the formula is the same (StructureMatcher)."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    frame = toolbox.materials.frame
    formula = canonical_formula(structure.composition.reduced_formula)
    rows = np.flatnonzero((frame["formula"] == formula).to_numpy())
    matcher = StructureMatcher()
    return not any(
        matcher.fit(structure, toolbox.materials.crystals.structure(int(row))) for row in rows
    )
