"""Benchmark of rediscovery: hide known phases from all models and count how many a search finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matlode.artefacts import load_header, write_json
from matlode.benchmarks.hidden_phases import HARD, HiddenGoal, draw_hidden
from matlode.benchmarks.tables import Row, Tables
from matlode.data.formulas import canonicalise_formula, format_formula
from matlode.data.tables import find_full_table, find_starter
from matlode.errors import InputError
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.search import resume, search
from matlode.jobs.starts import SearchSettings
from matlode.latent.pairing import PAIRING_MODEL
from matlode.progress import Progress, silent
from matlode.properties.expected_volume import VOLUME_MODEL
from matlode.properties.network import NETWORK_MODEL
from matlode.run_folder import RunFolder
from matlode.screening.formula_lists import FORMULA_LISTS, MADE, FormulaLists
from matlode.screening.symmetry_answers import SYMMETRY_MODEL
from matlode.training.train import train_models

HARD_GOAL = "hard"
"""Name of the goal whose phases are HARD."""

EPOCHS = {
    "standard-composition-vae": 12,
    "standard-pattern-vae": 6,
    PAIRING_MODEL: 6,
    NETWORK_MODEL: 5,
    SYMMETRY_MODEL: 3,
    VOLUME_MODEL: 6,
}
"""Training epochs of the models without the hidden phases: an eighth to two fifths of those of the
shipped models, so that training takes less than an hour on two cores."""

SETTINGS = SearchSettings(
    n_start=4000,
    n_screened=600,
    n_candidates=200,
    # doubled, because the list is twice as long as the default one
    max_per_system=2 * SearchSettings.max_per_system,
    max_per_prototype=2 * SearchSettings.max_per_prototype,
)
TOPS = (100, 200)
"""Lengths of the lists in which phases are counted."""

SEARCH, SUBSTITUTION = "search", "element substitution alone"


def list_contestants(settings: SearchSettings) -> dict[str, SearchSettings]:
    """Name → settings of the compared searches, which differ only in who proposes formulas.

    All evaluate as many proposals, each with as many crystals.
    """
    points = replace(settings, substituted_share=0.0, varied_share=0.0)
    return {
        SEARCH: settings,
        "latent space alone": points,
        SUBSTITUTION: replace(settings, substituted_share=1.0),
        "random points": replace(points, sampler="random"),
    }


@dataclass(frozen=True)
class Recall:
    """Where a search lost hidden phases: those that reach each stage."""

    evaluated: frozenset[str]
    """Formulas of which a crystal was evaluated."""
    first: Mapping[int, frozenset[str]]
    """n → the n best formulas, those in all ranges of the goal first."""
    screened: frozenset[str]
    accepted: frozenset[str]
    listed: tuple[str, ...]
    """Accepted candidates, best first."""

    def count(self, hidden: Collection[str]) -> dict[str, int]:
        """Stage → number of the ``hidden`` formulas that reach it."""
        sets = {
            "evaluated": self.evaluated,
            **{f"first {n} by merit": formulas for n, formulas in self.first.items()},
            "screened": self.screened,
            "accepted": self.accepted,
            **{f"listed in top {n}": frozenset(self.listed[:n]) for n in TOPS},
        }
        return {stage: len(formulas & set(hidden)) for stage, formulas in sets.items()}


def bench_rediscovery(
    hide: Path | Sequence[str] | None = None,
    *,
    goal: Mapping[str, object] | Path | None = None,
    settings: SearchSettings = SETTINGS,
    n_seeds: int = 3,
    epochs: Mapping[str, int] = EPOCHS,
    data: Path | None = None,
    out: Path = Path("rediscovery"),
    progress: Progress = silent,
) -> Tables:
    """Count the hidden phases that searches find, by contestant, stage and phase.

    Two lists are hidden at once: HARD, for which all contestants search, and the phases of four
    other goals (``hidden_phases.draw_hidden``), for which the search and plain substitution do.
    ``hide`` names other phases (formulas, or a file with one per line; # starts a comment), which
    all contestants look for with ``goal`` (default: the hardest materials).

    Hidden phases are removed from the table ``data``, from its file of values by formula and from
    the lists of known formulas. All standard models are trained on the remaining rows, for fewer
    ``epochs`` than the shipped ones, which are not used. Candidates must be in none of the lists.
    Results in ``out`` are reused.

    Raises InputError if ``hide`` is empty or the table contains none of its formulas.
    """
    table = find_full_table(data) or find_starter()
    if hide is None:
        goals = {HARD_GOAL: HARD, **draw_hidden(table, _load_made())}
    else:
        wanted = HARD.goal if goal is None else goal
        goals = {HARD_GOAL: HiddenGoal(wanted, tuple(_read_formulas(hide)))}
    hidden = [formula for of in goals.values() for formula in of.phases]
    rows = hide_formulas(hidden, table, out / "data")
    seconds = {"training": _train_models(hidden, out, epochs, progress)}
    models, known = Models(out / "models"), Known(out / "data" / "structures.parquet")
    recalls: dict[str, dict[str, list[Recall]]] = {}
    for name, of in goals.items():
        recalls[name] = {}
        for seed in range(n_seeds):
            for contestant, chosen in list_contestants(replace(settings, seed=seed)).items():
                if name != HARD_GOAL and contestant not in (SEARCH, SUBSTITUTION):
                    continue
                began = time.perf_counter()
                folder = out / "runs" / _name_folder(name, contestant, seed)
                _run_search(folder, of.goal, chosen, models, known, progress)
                recalls[name].setdefault(contestant, []).append(read_recall(RunFolder(folder)))
                seconds[f"{name}, {contestant}, {seed}"] = time.perf_counter() - began
    ranks = {
        name: {
            contestant: [[_find_rank(formula, one.listed) for one in of] for formula in hidden]
            for contestant, of in recalls[name].items()
            for hidden in [goals[name].phases]
        }
        for name in goals
    }
    write_json(
        out / "rediscovery.json",
        {"hidden": {name: list(of.phases) for name, of in goals.items()}, "rows": rows,
         "ranks": ranks, "epochs": dict(epochs),
         "seconds": {name: round(value, 1) for name, value in seconds.items()}},
    )  # fmt: skip
    return {
        f"hidden phases that reach each stage, mean of {n_seeds} seeds (smallest-largest)": [
            _count_stages(name, contestant, of, goals[name].phases)
            for name in goals
            for contestant, of in recalls[name].items()
        ],
        "rank of each phase in the list, the best of its seeds": [
            {
                "goal": name,
                "phase": format_formula(formula),
                "rows hidden": rows[formula],
                **{contestant: _format_best(of[at]) for contestant, of in ranks[name].items()},
            }
            for name in goals
            for at, formula in enumerate(goals[name].phases)
        ],
    }


def read_recall(run: RunFolder) -> Recall:
    """Which formulas of a finished search reached each stage."""
    trials, places, funnel = run.read_trials(), run.read_map(), run.read_funnel()
    assert places is not None
    found = trials.origins != "known"
    formulas = np.array([canonicalise_formula(text) for text in trials.formulas], dtype=str)
    order = np.lexsort([-trials.merits, ~trials.in_ranges])
    ordered = list(dict.fromkeys(formulas[order[found[order]]].tolist()))
    screened = frozenset(formulas[found & (places.space_groups > 0)].tolist())
    rejected = {
        canonicalise_formula(failed.formula)
        for rule in funnel
        if rule.required
        for failed in rule.failed
    }
    rows = run.read_candidates()
    return Recall(
        frozenset(ordered),
        {n: frozenset(ordered[:n]) for n in TOPS},
        screened,
        screened - rejected,
        tuple(canonicalise_formula(row.formula) for row in rows if row.is_accepted),
    )


def _load_made() -> Callable[[str], bool]:
    lists = FormulaLists.load()

    def is_made(formula: str) -> bool:
        (found,) = lists.find([formula])
        return found is not None and found.name == MADE

    return is_made


def _name_folder(goal: str, contestant: str, seed: int) -> str:
    words = f"{goal} {contestant}" if goal != HARD_GOAL else contestant
    return "-".join([*words.replace(",", "").split(), str(seed)])


def hide_formulas(hidden: Collection[str], table: Path, folder: Path) -> dict[str, int]:
    """Write a structure table, and its file of values by formula, without the formulas ``hidden``;
    returns the number of removed rows of each.

    Raises InputError if the table contains none of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys(hidden, 0)
    for source in (table, table.with_name("compositions.parquet")):
        if not source.is_file():
            continue
        content = pq.read_table(source)
        formulas = content.column("formula").to_pandas()
        names = {text: canonicalise_formula(text) for text in formulas.unique()}
        canonical = formulas.map(names)
        for formula, n in canonical[canonical.isin(counts)].value_counts().items():
            counts[str(formula)] += int(n)
        kept = content.filter(pa.array(~canonical.isin(counts)))
        name = "structures.parquet" if source == table else source.name
        pq.write_table(kept, folder / name)
    if not any(counts.values()):
        raise InputError(
            f"none of the {len(counts)} formulas to hide is in {table}; give formulas of known "
            "phases, or another table."
        )
    return counts


def _read_formulas(hide: Path | Sequence[str]) -> list[str]:
    """Distinct canonical formulas, in order."""
    if isinstance(hide, Path):
        try:
            lines = hide.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{hide}: not a readable list of formulas ({error}).") from error
        hide = [text for line in lines if (text := line.partition("#")[0].strip())]
    if not hide:
        raise InputError("no formulas to hide; give at least one, in a file one per line.")
    return list(dict.fromkeys(canonicalise_formula(text) for text in hide))


def _train_models(
    hidden: Collection[str], out: Path, epochs: Mapping[str, int], progress: Progress
) -> float:
    """Train every standard model without the hidden phases and remove them from the lists of
    known formulas; returns the time in seconds."""
    began = time.perf_counter()
    folder = out / "models"
    train_models(
        data=out / "data" / "structures.parquet", out=folder, epochs=epochs, progress=progress
    )
    lists = FormulaLists.load(folder).without(hidden)
    lists.save(folder, load_header(folder / FORMULA_LISTS))
    return time.perf_counter() - began


def _run_search(
    folder: Path,
    goal: Mapping[str, object] | Path,
    settings: SearchSettings,
    models: Models,
    known: Known,
    progress: Progress,
) -> None:
    """Search, or go on with a search, in ``folder``."""
    if RunFolder(folder).is_begun:
        resume(folder, progress=progress)
    else:
        search(
            goal=goal, out=folder, settings=settings, models=models, known=known,
            screens={"novel": {"required": True}}, progress=progress,
        )  # fmt: skip


def _find_rank(formula: str, listed: Sequence[str]) -> int | None:
    return listed.index(formula) + 1 if formula in listed else None


def _count_stages(
    goal: str, contestant: str, recalls: Sequence[Recall], hidden: Sequence[str]
) -> Row:
    """Number of phases at each stage: mean over the seeds, with smallest and largest."""
    counts = [recall.count(hidden) for recall in recalls]
    return {
        "goal": goal,
        "contestant": contestant,
        "hidden": len(hidden),
        **{stage: _format_mean([of[stage] for of in counts]) for stage in counts[0]},
    }


def _format_mean(counts: Sequence[int]) -> str:
    return f"{np.mean(counts):.1f} ({min(counts)}-{max(counts)})"


def _format_best(ranks: Sequence[int | None]) -> str:
    found = [rank for rank in ranks if rank is not None]
    return str(min(found)) if found else "-"
