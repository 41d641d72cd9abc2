"""Benchmark of rediscovery: hide known phases from all models and count how many a search finds."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matlode.artefacts import write_json
from matlode.benchmarks.tables import Tables
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
from matlode.screening.symmetry_answers import SYMMETRY_MODEL
from matlode.training.train import train_models

HARD_PHASES = (
    "C", "B", "BN", "C3N4", "B4C", "B13C2", "B12P2", "BP", "SiC", "Si3N4", "TiC", "TiB2", "HfB2",
    "FeB4", "YB12", "WB", "WB4", "ReB2", "OsB2", "AlMgB14",
)  # fmt: skip
"""Diamond, boron, boron nitrides, carbon nitride, boron carbides, metal borides and other phases
from reviews of hard materials (Kaner, Gilman and Tolbert, Science 308, 1268, 2005; Yeung, Mohammadi
and Tolbert, Annu. Rev. Mater. Res. 46, 465, 2016)."""

GOAL = {"maximize": ["vickers_hardness"]}

EPOCHS = {
    "standard-composition-vae": 12,
    "standard-pattern-vae": 6,
    PAIRING_MODEL: 6,
    NETWORK_MODEL: 5,
    SYMMETRY_MODEL: 3,
    VOLUME_MODEL: 6,
}
"""Training epochs of the models without the hidden phases: an eighth to two fifths of those of the
shipped models, so that the benchmark takes less than an hour on two cores."""

TOPS = (50, 200)
"""Lengths of the candidate lists in which phases are counted."""

SETTINGS = SearchSettings(
    trials=4096,
    n_start=4000,
    n_screened=600,
    n_realised=300,
    n_candidates=max(TOPS),
    # doubled, because the list is twice as long as the default one
    max_per_system=2 * SearchSettings.max_per_system,
    max_per_prototype=2 * SearchSettings.max_per_prototype,
)


def list_contestants(settings: SearchSettings) -> dict[str, SearchSettings]:
    """Name → settings of the compared searches, which differ only in the source of the points."""
    return {
        "search": settings,
        "latent space alone": replace(settings, substituted_share=0.0),
        "element substitution alone": replace(settings, substituted_share=1.0),
        "random points": replace(settings, substituted_share=0.0, sampler="random"),
    }


def bench_rediscovery(
    hide: Path | Sequence[str] = HARD_PHASES,
    *,
    goal: Mapping[str, object] | Path = GOAL,
    settings: SearchSettings = SETTINGS,
    n_seeds: int = 3,
    epochs: Mapping[str, int] = EPOCHS,
    data: Path | None = None,
    out: Path = Path("rediscovery"),
    progress: Progress = silent,
) -> Tables:
    """Count the hidden phases that searches for ``goal`` find, by contestant, and rank each phase.

    ``hide`` are formulas, or a file with one per line (# starts a comment). They are removed from
    the table ``data`` and from its file of values by formula. All standard models are trained on
    the remaining rows, for fewer ``epochs`` than the shipped ones, which are not used. Candidates
    must be absent from the training data. Results in ``out`` are reused.

    Raises InputError if ``hide`` is empty or the table contains none of its formulas.
    """
    hidden = _read_formulas(hide)
    rows = hide_formulas(hidden, find_full_table(data) or find_starter(), out / "data")
    seconds = {"training": _train_models(out, epochs, progress)}
    models, known = Models(out / "models"), Known(out / "data" / "structures.parquet")
    listed: dict[str, list[list[str]]] = {}
    for seed in range(n_seeds):
        for name, of_contestant in list_contestants(replace(settings, seed=seed)).items():
            began = time.perf_counter()
            folder = out / "runs" / f"{name.replace(' ', '-')}-{seed}"
            found = _run_search(folder, goal, of_contestant, models, known, progress)
            listed.setdefault(name, []).append(found)
            seconds[f"{name}, seed {seed}"] = time.perf_counter() - began
    ranks = {
        name: [[_find_rank(formula, of_seed) for of_seed in of] for formula in hidden]
        for name, of in listed.items()
    }
    write_json(
        out / "rediscovery.json",
        {"hidden": hidden, "rows": rows, "ranks": ranks, "epochs": dict(epochs),
         "seconds": {name: round(value, 1) for name, value in seconds.items()}},
    )  # fmt: skip
    return {
        f"phases of {len(hidden)} that come back, mean of {n_seeds} seeds": [
            {"contestant": name, **_count_found(of)} for name, of in ranks.items()
        ],
        "rank of each phase, the best of its seeds": [
            {
                "phase": format_formula(formula),
                "rows hidden": rows[formula],
                **{name: _format_best(of[at]) for name, of in ranks.items()},
            }
            for at, formula in enumerate(hidden)
        ],
    }


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


def _train_models(out: Path, epochs: Mapping[str, int], progress: Progress) -> float:
    """Train every standard model without the hidden phases; returns the time in seconds."""
    began = time.perf_counter()
    train_models(
        data=out / "data" / "structures.parquet",
        out=out / "models",
        epochs=epochs,
        progress=progress,
    )
    return time.perf_counter() - began


def _run_search(
    folder: Path,
    goal: Mapping[str, object] | Path,
    settings: SearchSettings,
    models: Models,
    known: Known,
    progress: Progress,
) -> list[str]:
    """Canonical formulas of the accepted candidates of a search, best first."""
    run = RunFolder(folder)
    if run.is_begun:
        resume(folder, progress=progress)
    else:
        search(
            goal=goal, out=folder, settings=settings, models=models, known=known,
            screens={"novel": {"required": True}}, progress=progress,
        )  # fmt: skip
    return [canonicalise_formula(row.formula) for row in run.read_candidates() if row.is_accepted]


def _find_rank(formula: str, listed: Sequence[str]) -> int | None:
    return listed.index(formula) + 1 if formula in listed else None


def _count_found(ranks: Sequence[Sequence[int | None]]) -> dict[str, str]:
    """Number of phases within each of TOPS: mean over the seeds, with smallest and largest."""
    cells = {}
    for top in TOPS:
        counts = [
            sum(rank is not None and rank <= top for rank in of_seed)
            for of_seed in zip(*ranks, strict=True)
        ]
        cells[f"top {top}"] = f"{np.mean(counts):.1f} ({min(counts)}-{max(counts)})"
    return cells


def _format_best(ranks: Sequence[int | None]) -> str:
    found = [rank for rank in ranks if rank is not None]
    return str(min(found)) if found else "-"
