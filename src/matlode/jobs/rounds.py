"""Search, compute the best, learn from the answers, search again: ``search --rounds``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.artefacts import read_json, write_json, write_text
from matlode.data.formulas import canonical_formula
from matlode.data.structures import read_structure
from matlode.errors import InputError
from matlode.evidence.examination import Examination
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.relax import EVIDENCE_FILE, relax_run
from matlode.jobs.run_folder import REQUEST_FILE, ROUNDS_FILE
from matlode.jobs.search import Run, resume, search
from matlode.jobs.starts import SearchSettings
from matlode.optimisation.goal_file import read_goal_file
from matlode.progress import Progress, silent
from matlode.properties.correction import CORRECTED, Correction
from matlode.report.drawing import COLOURS, pyplot
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns


@dataclass(frozen=True)
class Answers:
    """What the potential computed in all rounds so far, beside what the models, uncorrected and
    as they then were, said of the very structures."""

    formulas: tuple[str, ...]
    compositions: NDArray[np.float64]
    computed: Mapping[str, NDArray[np.float64]]
    uncorrected: Mapping[str, NDArray[np.float64]]
    corrected: Mapping[str, NDArray[np.float64]]

    def correction(self) -> Correction:
        """Learned from all of them."""
        return Correction(
            self.compositions,
            {name: np.log(self.computed[name] / self.uncorrected[name]) for name in CORRECTED},
        )


def search_in_rounds(
    n_rounds: int,
    n_relaxed: int,
    *,
    out: Path,
    models: Models,
    known: Known,
    screens: Mapping[str, object],
    examination: Examination,
    progress: Progress = silent,
    **wishes: Any,
) -> Run:
    """``n_rounds`` searches for the same ``wishes`` (see ``search``), each with models that the
    potential's answers for the ``n_relaxed`` best of those before have corrected. What was
    computed in one round is not computed again in the next.

    ``out`` holds the runs round-1, round-2, ..., the corrected models of each, learning.csv and
    learning.png: how far the models were from the potential on structures that they had not
    learned from. Returns the last run. Raises
    InputError if ``out`` is in use.
    """
    if out.exists() and any(out.iterdir()):
        advice = " `matlode resume` goes on with it," if (out / ROUNDS_FILE).exists() else ""
        raise InputError(f"{out} is not empty;{advice} choose another --out or delete it.")
    out.mkdir(parents=True, exist_ok=True)
    settings, goal = wishes.get("settings"), wishes.get("goal")
    if isinstance(goal, Path):
        wishes["goal"] = read_goal_file(goal)
    asked = {
        "schema": 1,
        "rounds": n_rounds,
        "relaxed": n_relaxed,
        "models": None if models.folder is None else str(models.folder.resolve()),
        "known": None if known.table is None else str(known.table.resolve()),
        "screens": dict(screens),
        "wishes": {**wishes, **({"settings": asdict(settings)} if settings else {})},
    }
    write_json(out / ROUNDS_FILE, asked)
    return _run_rounds(
        n_rounds, n_relaxed, out, models, known, examination, progress,
        {**wishes, "screens": screens},
    )  # fmt: skip


def resume_rounds(out: Path, *, progress: Progress = silent) -> Run:
    """Go on with rounds that were interrupted: finished searches and whatever the potentials
    computed are read, not done again. Raises InputError for what is no folder of rounds."""
    try:
        asked = read_json(out / ROUNDS_FILE)
    except FileNotFoundError as error:
        raise InputError(f"{out} is no folder of rounds ({error}).") from error
    folder, table = (
        None if asked[name] is None else Path(asked[name]) for name in ("models", "known")
    )
    models, known = Models(folder), Known(table)
    wishes = asked["wishes"]
    if "settings" in wishes:
        wishes["settings"] = SearchSettings(**wishes["settings"])
    examination = Examination(known.materials, folder)
    return _run_rounds(
        asked["rounds"], asked["relaxed"], out, models, known, examination, progress,
        {**wishes, "screens": asked["screens"]},
    )  # fmt: skip


def _run_rounds(
    n_rounds: int,
    n_relaxed: int,
    out: Path,
    models: Models,
    known: Known,
    examination: Examination,
    progress: Progress,
    wishes: Mapping[str, Any],
) -> Run:
    answers: list[Answers] = []
    rows = []
    done: set[str] = set()
    current = models
    for number in range(1, n_rounds + 1):
        folder = out / f"round-{number}"
        if (folder / REQUEST_FILE).exists():  # begun before an interruption
            run = resume(folder, progress=progress)
        else:
            run = search(out=folder, models=current, known=known, progress=progress, **wishes)
        rows_of_round = relax_run(folder, n_relaxed, examination, progress, skip=done)
        done |= {canonical_formula(row["formula"]) for row in rows_of_round}
        answers.append(_answers(folder, models, current))
        rows.append({"round": number, **_errors(answers[-1])})
        write_text(out / "learning.csv", pd.DataFrame(rows).to_csv(index=False))
        corrected = out / f"models-{number + 1}"
        if models.folder is not None:
            shutil.copytree(models.folder, corrected, dirs_exist_ok=True)
        _together(answers).correction().save(corrected, {"rounds": number})
        current = Models(corrected)
    _draw_learning(rows, out / "learning")
    return run


def _answers(folder: Path, plain: Models, current: Models) -> Answers:
    """Of structures that came to rest and are elastically stable."""
    found = read_json(folder / EVIDENCE_FILE)["structures"]
    found = [row for row in found if row.get("born_stable")]
    structures = [read_structure(folder / row["relaxed_file"]) for row in found]
    compositions = composition_vectors(structures)
    patterns = simulate_patterns(structures)
    said = [
        models.properties.predict(compositions, patterns, case="simulated", names=CORRECTED)
        for models in (plain, current)
    ]
    return Answers(
        tuple(canonical_formula(row["formula"]) for row in found),
        compositions.astype(float),
        {name: np.array([row[f"{name}_gpa"] for row in found]) for name in CORRECTED},
        *({name: of[name].value for name in CORRECTED} for of in said),
    )


def _together(answers: Sequence[Answers]) -> Answers:
    """Of several rounds, each formula once."""
    formulas = np.concatenate([np.array(a.formulas, dtype=str) for a in answers])
    _, rows = np.unique(formulas, return_index=True)

    def joined(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate(parts)[rows]

    return Answers(
        tuple(formulas[rows].tolist()),
        joined([a.compositions for a in answers]),
        *(
            {name: joined([getattr(a, kind)[name] for a in answers]) for name in CORRECTED}
            for kind in ("computed", "uncorrected", "corrected")
        ),
    )


def _errors(answers: Answers) -> dict[str, float]:
    """Mean |ln(predicted / computed)| of the structures of a round, before anything was learned
    from them."""
    row: dict[str, float] = {"structures": len(answers.formulas)}
    for name in CORRECTED:
        for kind in ("uncorrected", "corrected"):
            ratio = np.log(getattr(answers, kind)[name] / answers.computed[name])
            row[f"{name}_{kind}"] = round(float(np.abs(ratio).mean()), 4) if len(ratio) else np.nan
        row[f"{name}_computed_mean_gpa"] = round(float(answers.computed[name].mean()), 1)
    return row


def _draw_learning(rows: Sequence[Mapping[str, float]], stem: Path) -> None:
    plt = pyplot()
    figure, axes = plt.subplots(
        1, len(CORRECTED), figsize=(4.5 * len(CORRECTED), 3.2), layout="constrained", squeeze=False
    )
    numbers = [row["round"] for row in rows]
    styles = {"uncorrected": (COLOURS[1], "--"), "corrected": (COLOURS[0], "-")}
    for axis, name in zip(axes[0], CORRECTED, strict=True):
        for kind, (colour, dash) in styles.items():
            errors = [row[f"{name}_{kind}"] for row in rows]
            axis.plot(numbers, errors, dash, color=colour, marker="o", label=kind)
        axis.set_xlabel("round")
        axis.set_xticks(numbers)
        axis.set_title(name.replace("_", " "))
    axes[0, 0].set_ylabel("mean |ln(predicted / computed)|")
    axes[0, 0].legend()
    figure.savefig(stem.with_suffix(".png"), dpi=150)
    plt.close(figure)
