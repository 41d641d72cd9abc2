"""Search, relax the best, correct the models, search again: ``search --rounds``."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from matlode.artefacts import convert_read_errors, inside, write_text
from matlode.data.crystals import Crystals
from matlode.data.formulas import canonicalise_formula
from matlode.data.structures import read_structure
from matlode.engine import Engine
from matlode.errors import InputError
from matlode.evidence.examination import Examination
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.jobs.relax import relax_run
from matlode.jobs.runs import Run
from matlode.jobs.search import resume, search
from matlode.jobs.starts import SearchSettings
from matlode.progress import Progress, silent
from matlode.properties.correction import CORRECTED, Correction
from matlode.report.drawing import COLOURS, pyplot
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.representation.environments import describe_crystals
from matlode.run_folder import ROUNDS_FILE, RunFolder
from matlode.run_records import RoundsRequest


@dataclass(frozen=True)
class Answers:
    """What the potential computed for n structures, and what the models had predicted for them."""

    formulas: tuple[str, ...]
    """(n,), canonical."""
    compositions: NDArray[np.float64]
    """(n, 100)."""
    computed: Mapping[str, NDArray[np.float64]]
    """Property → (n,)."""
    uncorrected: Mapping[str, NDArray[np.float64]]
    """Property → (n,), by the models without any correction."""
    corrected: Mapping[str, NDArray[np.float64]]
    """Property → (n,), by the models of that round, which had not learned from them."""

    def correction(self) -> Correction:
        """The correction that all of them teach."""
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
    engine: Engine | None = None,
    progress: Progress = silent,
    **wishes: Any,
) -> Run:
    """Search ``n_rounds`` times for the same ``wishes``, arguments of ``search``.

    The models of each round are corrected by what the potential computed for the ``n_relaxed``
    best candidates of the rounds before. No formula is computed twice.

    ``out`` holds the runs round-1, round-2, ..., the corrected models of each, learning.csv and
    learning.png: how far the models were from the potential on structures that they had not
    learned from. Returns the last run. Raises InputError if ``out`` is in use.
    """
    folder = RunFolder(out)
    if out.exists() and any(out.iterdir()):
        advice = " `matlode resume` continues it," if folder.is_in_rounds else ""
        raise InputError(f"{out} is not empty;{advice} choose another --out or delete it.")
    out.mkdir(parents=True, exist_ok=True)
    models_folder, known_table = (
        None if path is None else str(path.resolve()) for path in (models.folder, known.table)
    )
    if settings := wishes.get("settings"):
        wishes["settings"] = asdict(settings)
    request = RoundsRequest(
        rounds=n_rounds, relaxed=n_relaxed, models=models_folder, known=known_table,
        screens=dict(screens), wishes=wishes,
    )  # fmt: skip
    folder.write_rounds(request)
    return _run_rounds(request, out, models, known, examination, engine, progress)


def resume_rounds(out: Path, *, engine: Engine | None = None, progress: Progress = silent) -> Run:
    """Continue rounds that were interrupted; finished searches and relaxations are not repeated.

    Raises InputError if ``out`` is not a folder of rounds.
    """
    request = RunFolder(out).read_rounds()
    folder, table = (
        None if path is None else Path(path) for path in (request.models, request.known)
    )
    known = Known(table)
    examination = Examination(known.materials, folder)
    return _run_rounds(request, out, Models(folder), known, examination, engine, progress)


def _run_rounds(
    request: RoundsRequest,
    out: Path,
    models: Models,
    known: Known,
    examination: Examination,
    engine: Engine | None,
    progress: Progress,
) -> Run:
    wishes: dict[str, Any] = dict(request.wishes)
    with convert_read_errors(out / ROUNDS_FILE, InputError):
        if settings := wishes.get("settings"):
            wishes["settings"] = msgspec.convert(settings, SearchSettings)
    answers: list[Answers] = []
    rows = []
    done: set[str] = set()
    current = models
    for number in range(1, request.rounds + 1):
        folder = out / f"round-{number}"
        if RunFolder(folder).is_begun:  # before an interruption
            run = resume(folder, engine=engine, progress=progress)
        else:
            run = search(
                out=folder, models=current, known=known, screens=request.screens, engine=engine,
                progress=progress, **wishes,
            )  # fmt: skip
        rows_of_round = relax_run(
            folder, request.relaxed, examination, progress, skip=done, engine=engine
        )
        done |= {canonicalise_formula(row.formula) for row in rows_of_round}
        answers.append(_collect_answers(folder, models, current))
        rows.append({"round": number, **_measure_errors(answers[-1])})
        write_text(out / "learning.csv", pd.DataFrame(rows).to_csv(index=False))
        corrected = out / f"models-{number + 1}"
        if models.folder is not None:
            shutil.copytree(models.folder, corrected, dirs_exist_ok=True)
        _combine(answers).correction().save(corrected, {"rounds": number})
        current = Models(corrected)
    _draw_learning(rows, out / "learning")
    return run


def _collect_answers(folder: Path, plain: Models, current: Models) -> Answers:
    """For structures that the potential finds elastically stable."""
    evidence = RunFolder(folder).read_evidence()
    found = [
        (row, row.mechanics)
        for row in (evidence.structures if evidence else ())
        if row.mechanics is not None and row.mechanics.born_stable
    ]
    structures = [read_structure(inside(folder, row.relaxed_file)) for row, _ in found]
    facts = describe_crystals(Crystals.from_structures(structures))
    compositions = composition_vectors(structures)
    patterns = simulate_patterns(structures)
    predicted = [
        models.properties.predict(
            compositions,
            patterns,
            case="simulated",
            names=CORRECTED,
            crystals=np.array([fact.descriptors for fact in facts]),
        )
        for models in (plain, current)
    ]
    return Answers(
        tuple(canonicalise_formula(row.formula) for row, _ in found),
        compositions.astype(float),
        {
            name: np.array([mechanics.moduli_gpa[name] for _, mechanics in found])
            for name in CORRECTED
        },
        *({name: of[name].value for name in CORRECTED} for of in predicted),
    )


def _combine(answers: Sequence[Answers]) -> Answers:
    """Answers of several rounds, each formula once."""
    formulas = np.concatenate([np.array(a.formulas, dtype=str) for a in answers])
    _, rows = np.unique(formulas, return_index=True)

    def join(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate(parts)[rows]

    return Answers(
        tuple(formulas[rows].tolist()),
        join([a.compositions for a in answers]),
        *(
            {name: join([getattr(a, kind)[name] for a in answers]) for name in CORRECTED}
            for kind in ("computed", "uncorrected", "corrected")
        ),
    )


def _measure_errors(answers: Answers) -> dict[str, float]:
    """Mean |ln(predicted / computed)| over the structures of a round, which the models had not
    learned from."""
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
