"""Rediscovery: hide known phases from every model, search, and count how many come back."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matlode.artefacts import write_json
from matlode.data.formulas import canonical_formula, conventional_formula
from matlode.data.tables import full_table_path, starter_path
from matlode.errors import InputError
from matlode.jobs.search import resume, search
from matlode.jobs.starts import SearchSettings
from matlode.jobs.toolbox import Toolbox
from matlode.latent.pairing import PAIRING_MODEL
from matlode.progress import Progress, silent
from matlode.properties.network import NETWORK_MODEL
from matlode.run_folder import RunFolder
from matlode.screening.symmetry_answers import SYMMETRY_MODEL
from matlode.training.settings import WITHOUT_SETTINGS
from matlode.training.train import MODELS, train_models

HARD_PHASES = (
    "C", "B", "BN", "C3N4", "B4C", "B13C2", "B12P2", "BP", "SiC", "Si3N4", "TiC", "TiB2", "HfB2",
    "FeB4", "YB12", "WB", "WB4", "ReB2", "OsB2", "AlMgB14",
)  # fmt: skip
"""Diamond, boron, cubic and other boron nitride, carbon nitride, boron carbides, borides of
metals ...: phases that reviews of hard materials name (Kaner, Gilman and Tolbert, Science 308,
1268, 2005; Yeung, Mohammadi and Tolbert, Annu. Rev. Mater. Res. 46, 465, 2016)."""

GOAL = {"maximize": ["vickers_hardness"]}

EPOCHS = {
    "standard-composition-vae": 12,
    "standard-pattern-vae": 6,
    PAIRING_MODEL: 6,
    NETWORK_MODEL: 5,
    SYMMETRY_MODEL: 3,
}
"""Of the models without the hidden phases: an eighth to two fifths of those of the shipped ones, so
that all is done within an hour on two cores."""

TOPS = (50, 200)
"""Ranks up to which phases are counted."""

SETTINGS = SearchSettings(
    trials=4096,
    n_start=4000,
    n_screened=600,
    n_realised=300,
    n_candidates=max(TOPS),
    # of a list twice as long as the usual one, twice as many
    max_per_system=2 * SearchSettings.max_per_system,
    max_per_prototype=2 * SearchSettings.max_per_prototype,
)


def contestants(settings: SearchSettings) -> dict[str, SearchSettings]:
    """Name → settings: the same number of evaluated points and the same way from these to a
    ranked list, so that only where the points come from differs."""
    return {
        "search": settings,
        "latent space alone": replace(settings, substituted_share=0.0),
        "element substitution alone": replace(settings, substituted_share=1.0),
        "random points": replace(settings, substituted_share=0.0, sampler="random"),
    }


def bench_rediscovery(
    hide: Path | Sequence[str] = HARD_PHASES,
    *,
    goal: Mapping[str, Any] | Path = GOAL,
    settings: SearchSettings = SETTINGS,
    n_seeds: int = 3,
    epochs: Mapping[str, int] = EPOCHS,
    data: Path | None = None,
    out: Path = Path("rediscovery"),
    progress: Progress = silent,
) -> dict[str, list[dict[str, Any]]]:
    """How many hidden phases searches for ``goal`` list, by contestant, and where each stands.

    ``hide`` are formulas, or a file of one per line (# begins a comment). They leave the table
    (``data``) and the values of formulas beside it; all standard models are trained on the
    rest, for fewer ``epochs`` than the shipped ones; none of these is used. Goals look for what
    is new to the models. What ``out`` holds already is not made again.

    Raises InputError for an empty list, or one of which the table knows nothing.
    """
    hidden = _formulas(hide)
    rows = hide_formulas(hidden, full_table_path(data) or starter_path(), out / "data")
    seconds = {"training": _trained(out, epochs, progress)}
    toolbox = Toolbox(
        out / "models", out / "data" / "structures.parquet", {"novel": {"required": True}}
    )
    listed: dict[str, list[list[str]]] = {}
    for seed in range(n_seeds):
        for name, of_contestant in contestants(replace(settings, seed=seed)).items():
            began = time.perf_counter()
            folder = out / "runs" / f"{name.replace(' ', '-')}-{seed}"
            found = _list(folder, goal, of_contestant, toolbox, progress)
            listed.setdefault(name, []).append(found)
            seconds[f"{name}, seed {seed}"] = time.perf_counter() - began
    ranks = {
        name: [[_rank(formula, of_seed) for of_seed in of] for formula in hidden]
        for name, of in listed.items()
    }
    write_json(
        out / "rediscovery.json",
        {"hidden": hidden, "rows": rows, "ranks": ranks, "epochs": dict(epochs),
         "seconds": {name: round(value, 1) for name, value in seconds.items()}},
    )  # fmt: skip
    return {
        f"phases of {len(hidden)} that come back, mean of {n_seeds} seeds": [
            {"contestant": name, **_counts(of)} for name, of in ranks.items()
        ],
        "rank of each phase, the best of its seeds": [
            {
                "phase": conventional_formula(formula),
                "rows hidden": rows[formula],
                **{name: _best(of[at]) for name, of in ranks.items()},
            }
            for at, formula in enumerate(hidden)
        ],
    }


def hide_formulas(hidden: Collection[str], table: Path, folder: Path) -> dict[str, int]:
    """Write a structure table, and the values of formulas beside it, without some formulas;
    returns how many rows of each formula are left out.

    Raises InputError if there are none at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys(hidden, 0)
    for source in (table, table.with_name("compositions.parquet")):
        if not source.is_file():
            continue
        content = pq.read_table(source)
        formulas = content.column("formula").to_pandas()
        names = {text: canonical_formula(text) for text in formulas.unique()}
        canonical = formulas.map(names)
        for formula, n in canonical[canonical.isin(counts)].value_counts().items():
            counts[str(formula)] += int(n)
        kept = content.filter(pa.array(~canonical.isin(counts)))
        name = "structures.parquet" if source == table else source.name
        pq.write_table(kept, folder / name)
    if not any(counts.values()):
        raise InputError(f"{table} knows none of the formulas that are to be hidden.")
    return counts


def _formulas(hide: Path | Sequence[str]) -> list[str]:
    """Canonical and distinct, in their order."""
    if isinstance(hide, Path):
        try:
            lines = hide.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{hide}: not a readable list of formulas ({error}).") from error
        hide = [text for line in lines if (text := line.partition("#")[0].strip())]
    if not hide:
        raise InputError("no formulas are to be hidden; give one per line.")
    return list(dict.fromkeys(canonical_formula(text) for text in hide))


def _trained(out: Path, epochs: Mapping[str, int], progress: Progress) -> float:
    """Train every standard model without the hidden phases; returns the seconds it took."""
    began = time.perf_counter()
    names = [*(name for name in MODELS if name.startswith("standard")), *WITHOUT_SETTINGS]
    train_models(
        names,
        data=out / "data" / "structures.parquet",
        out=out / "models",
        epochs=epochs,
        progress=progress,
    )
    return time.perf_counter() - began


def _list(
    folder: Path,
    goal: Mapping[str, Any] | Path,
    settings: SearchSettings,
    toolbox: Toolbox,
    progress: Progress,
) -> list[str]:
    """The formulas that a search lists, canonical, best first."""
    run = RunFolder(folder)
    if run.is_begun:
        resume(folder, progress=progress)
    else:
        search(goal=goal, out=folder, settings=settings, toolbox=toolbox, progress=progress)
    return [canonical_formula(row.formula) for row in run.read_candidates() if row.is_accepted]


def _rank(formula: str, listed: Sequence[str]) -> int | None:
    return listed.index(formula) + 1 if formula in listed else None


def _counts(ranks: Sequence[Sequence[int | None]]) -> dict[str, str]:
    """How many phases are within each of TOPS: mean over seeds, least and most."""
    cells = {}
    for top in TOPS:
        counts = [
            sum(rank is not None and rank <= top for rank in of_seed)
            for of_seed in zip(*ranks, strict=True)
        ]
        cells[f"top {top}"] = f"{np.mean(counts):.1f} ({min(counts)}-{max(counts)})"
    return cells


def _best(ranks: Sequence[int | None]) -> str:
    found = [rank for rank in ranks if rank is not None]
    return str(min(found)) if found else "-"
