"""Search the hyper-parameters of the paper's models, on rows that only measure."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch
from numpy.typing import NDArray
from optuna.trial import TrialState

from matlode.artefacts import locked, write_text
from matlode.data.splits import CALIBRATION, TEST, TRAIN
from matlode.errors import ArtefactError, GoalError, InputError, suggest
from matlode.latent.training import train
from matlode.optimisation.studies import Alive, Retries, SharedStudy, places, usable_storage
from matlode.paper.spaces import (
    Range,
    chosen_settings,
    first_choice,
    read_space,
    shipped_spaces,
    usual_choice,
)
from matlode.paper.tuning_plots import draw_history, draw_importance
from matlode.progress import Progress, silent
from matlode.properties.endpoints import Endpoint
from matlode.properties.trees import Watch, fit_trees
from matlode.training.model_spec import ModelSpec
from matlode.training.model_table import MODELS
from matlode.training.property_recipes import select_latent_rows
from matlode.training.settings import write_settings
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer

MAX_RETRIES = 3
"""A trial that was lost more often is not tried again: it may be what kills the process."""
ROUNDS_PER_REPORT = 50
"""Trees tell how good they are after so many rounds."""
START = "start"
"""Marks the trial of what `matlode train` takes, which is never pruned."""
BUDGET = "budget"
DONE = (TrialState.COMPLETE, TrialState.PRUNED)

Tell = Callable[[int, float], None]
"""Hears the step (from 1) and the held-out loss so far."""
Objective = Callable[[Mapping[str, Any], Tell], float]
"""Held-out loss of a model with these settings."""


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """How long and how a search of hyper-parameters looks."""

    trials: int = 50
    """Finished or pruned trials that the study shall have in all."""
    epochs: int = 10
    """Of a network's trial; trees always grow all their rounds."""
    rows: int | None = None
    """Training rows, drawn at random (default: all)."""
    seed: int = 0
    """Of the sampler, the drawn rows and the first weights."""
    pruner: str = "hyperband"
    """One of PRUNERS."""


@dataclass(frozen=True)
class Tuning:
    """What a study has found."""

    model: str
    measure: str
    """What the values are."""
    value: float
    """Held-out loss of the best trial."""
    start_value: float | None
    """That of the first trial, with the same budget."""
    settings: Mapping[str, Any]
    best: Mapping[str, Any]
    """name in the space → value of the best trial."""
    start: Mapping[str, Any]
    """The same of the first trial."""
    start_name: str
    """What the first trial is to be called."""
    space: tuple[Range, ...]
    trials: Mapping[str, int]
    """state → count."""
    rows: Mapping[str, int]
    """Rows learned from, rows that measured."""
    folder: Path

    def summary(self) -> dict[str, Any]:
        """What JSON says of it."""
        return {
            "model": self.model,
            "measure": self.measure,
            "value": self.value,
            "start_value": self.start_value,
            "settings": dict(self.settings),
            "start": dict(self.start),
            "start_name": self.start_name,
            "trials": dict(self.trials),
            "rows": dict(self.rows),
            "folder": str(self.folder),
        }


@dataclass(frozen=True)
class _Task:
    """One model, ready to be tried with settings."""

    measure: str
    rows: Mapping[str, int]
    n_steps: int
    """Reports of a trial that runs to its end."""
    objective: Objective


def tune(
    model: str,
    *,
    data: Path | None = None,
    space: Path | None = None,
    storage: str | None = None,
    study: str | None = None,
    models: Path | None = None,
    out: Path | None = None,
    settings: TuningSettings | None = None,
    progress: Progress = silent,
) -> Tuning:
    """Search the settings of a reference model by TPE and write the best as a settings file.

    Every trial trains on the training rows and is measured on the calibration rows; test rows
    leave the table before anything is looked at. The first trial has the settings of
    `matlode train`, the paper's optimum. ``space`` is a TOML file of ranges (default: the
    paper's, ``spaces.read_space``); ``storage`` a URL of SQLAlchemy (default: study.db in
    ``out``, for one process at a time), and processes with the same storage and ``study``
    (default: the model's name) share the work; ``models`` holds the autoencoders that heads
    build on; ``out`` (default: tuning/MODEL) takes best.toml, trials.csv, history.png and
    importance.png.

    Raises GoalError for unknown models, pruners and ranges, and for a study of another budget;
    InputError for a storage that cannot be used or too few rows.
    """
    settings = settings or TuningSettings()
    _check(model, settings)
    spec = MODELS[model]
    ranges = read_space(space or shipped_spaces(), spec)
    folder = out or Path("tuning") / model
    table = _without_test_rows(TrainingTable.load(data), spec.endpoint)
    trainer = Trainer.of(table, folder, progress, models=models)
    task = _task(spec, trainer, settings)
    budget = {
        "model": model, "table": table.sha256, "epochs": settings.epochs, "rows": settings.rows,
        "space": {r.name: [r.kind, *r.values] for r in ranges},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    url = storage or f"sqlite:///{folder / 'study.db'}"
    alone = locked(folder) if storage is None else nullcontext()
    with alone, usable_storage(url), _quietly():
        order = _Order()
        opened = SharedStudy.open(
            url,
            study or model,
            retries=Retries(MAX_RETRIES, kept=(START,)),
            sampler=_PlacedTPE(settings.seed, order),
            pruner=PRUNERS[settings.pruner](task.n_steps, order),
        )
        with closing(opened):
            _claim(opened.study, budget)
            if storage is None:
                opened.queue_running()
            _run(opened, spec, ranges, task, settings, progress)
            frame = _trial_table(opened.study, [r.name for r in ranges])
            write_text(folder / "trials.csv", frame.to_csv(index=False))
            tuning = _tuning(opened.study, spec, ranges, task, folder)
            _write(tuning, opened.study, frame, settings)
    return tuning


def _check(model: str, settings: TuningSettings) -> None:
    if model not in TUNED:
        raise GoalError(f'"{model}" cannot be tuned. {suggest(model, TUNED)}')
    if settings.pruner not in PRUNERS:
        raise GoalError(f'"{settings.pruner}" is no pruner. {suggest(settings.pruner, PRUNERS)}')
    for name in ("trials", "epochs"):
        if getattr(settings, name) < 1:
            raise GoalError(f"{name} must be at least 1, not {getattr(settings, name)}.")
    if settings.rows is not None and settings.rows < 1:
        raise GoalError(f"rows must be at least 1, not {settings.rows}.")


def _without_test_rows(table: TrainingTable, endpoint: Endpoint | None) -> TrainingTable:
    """What may be looked at: no test row, and of a property only rows with a label."""
    keep = table.roles != TEST
    if endpoint is not None:
        keep &= ~np.isnan(table.labels(endpoint))
    formulas = table.formulas[table.formula_roles != TEST]
    return replace(table, materials=table.materials.take(keep), formulas=formulas)


def _task(spec: ModelSpec, trainer: Trainer, settings: TuningSettings) -> _Task:
    if spec.is_head:
        return _tree_task(spec, trainer, settings)
    assert spec.tensors is not None
    learn, held = (spec.tensors(trainer, role) for role in (TRAIN, CALIBRATION))
    _check_rows(learn[0], held[0], spec.name)
    rows = torch.from_numpy(_chosen(len(learn[0]), settings))
    learn = [part[rows] for part in learn]

    def objective(given: Mapping[str, Any], tell: Tell) -> float:
        budget = {"max_epochs": settings.epochs, "seed": settings.seed}
        own = spec.with_settings({**given, **budget})
        log = train(own.build_network(), learn, held, own.training, told=tell)
        return min(row["validation_loss"] for row in log)

    counts = {TRAIN: len(rows), CALIBRATION: len(held[0])}
    return _Task("held-out loss / nats", counts, settings.epochs, objective)


def _tree_task(spec: ModelSpec, trainer: Trainer, settings: TuningSettings) -> _Task:
    endpoint = spec.target
    probability = endpoint.task == "probability"
    parts = []
    for role in (TRAIN, CALIBRATION):
        points, labels = select_latent_rows(trainer, endpoint, role)
        labels = endpoint.to_model(labels)
        usable = np.isfinite(labels)
        parts.append((points[usable], labels[usable]))
    (x, y), held = parts
    _check_rows(x, held[0], spec.name)
    rows = _chosen(len(x), settings)
    x, y = x[rows], y[rows]
    objective_name = "binary:logistic" if probability else "reg:squarederror"

    def objective(given: Mapping[str, Any], tell: Tell) -> float:
        losses = []

        def told(rounds: int, loss: float) -> None:
            losses.append(loss)
            tell(rounds // ROUNDS_PER_REPORT, loss)

        own = spec.with_settings({**given, "seed": settings.seed}).trees
        watch = Watch(features=held[0], labels=held[1], told=told, every=ROUNDS_PER_REPORT)
        fit_trees(x, y, own, objective=objective_name, watch=watch)
        return losses[-1]

    measure = "mean absolute error"
    if probability:
        measure = "log loss / nats"
    elif endpoint.transform == "log":
        measure += f" of ln({endpoint.name})"
    elif endpoint.unit:
        measure += f" / {endpoint.unit}"
    n_steps = spec.trees.n_rounds // ROUNDS_PER_REPORT
    return _Task(measure, {TRAIN: len(x), CALIBRATION: len(held[0])}, n_steps, objective)


def _check_rows(learn: Any, held: Any, model: str) -> None:
    for role, rows in ((TRAIN, learn), (CALIBRATION, held)):
        if len(rows) < 2:
            raise InputError(f"{model}: the table has {len(rows)} {role} rows; name another table.")


def _chosen(n: int, settings: TuningSettings) -> NDArray[np.intp]:
    """Rows of a trial's training: the same in all trials of a budget."""
    rows = np.random.default_rng(settings.seed).permutation(n)[: settings.rows]
    return np.sort(rows)


TUNED = tuple(
    name
    for name, spec in MODELS.items()
    if spec.face == "reference" and (spec.is_head or spec.tensors is not None)
)
"""Models that can be tuned."""


class _Order:
    """The place of each trial's work in its study: unlike Optuna's numbers, what a process that
    was killed has cost does not shift it."""

    def __init__(self) -> None:
        self._places: dict[int, int] = {}

    def place(self, study: optuna.Study, number: int) -> int:
        """0, 1, 2 ...; of a trial that is done again that of the first."""
        if number not in self._places:  # a place never changes
            self._places = places(study._storage.get_all_trials(study._study_id, deepcopy=False))
        return self._places[number]


class _PlacedHyperband(optuna.pruners.HyperbandPruner):
    """Hyperband whose bracket comes from a trial's place, and in which no killed trial competes."""

    def __init__(self, steps: int, order: _Order) -> None:
        super().__init__(max_resource=steps)
        self._order = order

    def _get_bracket_id(self, study: Any, trial: Any) -> int:
        if trial.state == TrialState.FAIL:
            return -1
        placed = copy(trial)
        placed.number = self._order.place(study, trial.number)
        return super()._get_bracket_id(study, placed)


PRUNERS: Mapping[str, Callable[[int, _Order], optuna.pruners.BasePruner]] = {
    "hyperband": _PlacedHyperband,
    "median": lambda steps, order: optuna.pruners.MedianPruner(),
    "none": lambda steps, order: optuna.pruners.NopPruner(),
}
"""name → what ends bad trials early, of trials with so many steps."""


class _PlacedTPE(optuna.samplers.BaseSampler):
    """TPE whose chance comes from the seed and the trial's place: what a study does depends
    neither on interruptions nor on which of several processes asks."""

    def __init__(self, seed: int, order: _Order) -> None:
        self.seed = seed
        self._order = order
        self.sampler = optuna.samplers.TPESampler(seed=seed)

    def before_trial(self, study: Any, trial: Any) -> None:
        entropy = [self.seed, self._order.place(study, trial.number)]
        seed = np.random.SeedSequence(entropy).generate_state(1)[0]
        self.sampler = optuna.samplers.TPESampler(seed=int(seed))

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return self.sampler.sample_independent(study, trial, name, distribution)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Optuna's log, and its warnings that a part of it may still change."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _claim(study: optuna.Study, budget: Mapping[str, Any]) -> None:
    """Note what a study is of; raise GoalError if it is of something else."""
    held = study.user_attrs.get(BUDGET)
    if held is None:
        study.set_user_attr(BUDGET, dict(budget))
        return
    for name, value in json.loads(json.dumps(budget)).items():
        if held.get(name) != value:
            raise GoalError(
                f'study "{study.study_name}" was begun with {name} {_short(held.get(name))}, not '
                f"{_short(value)}: their losses cannot be compared. Take another --study."
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."


def _run(
    shared: SharedStudy,
    spec: ModelSpec,
    space: tuple[Range, ...],
    task: _Task,
    settings: TuningSettings,
    progress: Progress,
) -> None:
    """Trials until the study has as many as wanted, by this process and others."""

    def attempt(trial: optuna.Trial) -> float:
        given = chosen_settings(spec, space, {r.name: _suggest(trial, r) for r in space})

        def tell(step: int, loss: float) -> None:
            trial.report(loss, step)
            if step >= task.n_steps:  # it has cost what there was to save
                return
            # asked of the start too: what it has reached others are held against
            if trial.should_prune() and START not in trial.user_attrs:
                raise optuna.TrialPruned

        try:
            loss = task.objective(given, tell)
            if not np.isfinite(loss):
                raise ArtefactError(f"the held-out loss is {loss}.")
            return loss
        except (ArtefactError, GoalError) as error:  # diverged, or sizes that do not go together
            trial.set_user_attr("reason", str(error))
            raise optuna.TrialPruned from error

    while True:
        shared.queue_lost()
        trials = shared.trials()
        counts = _counts(trials)
        finished = counts["complete"] + counts["pruned"]
        values = [t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
        best = min(values, default=None)
        note = "" if best is None else f"best {best:.5g}, {counts['pruned']} pruned"
        progress(spec.name, min(finished, settings.trials), settings.trials, note)
        if finished >= settings.trials:
            return
        if finished + counts["running"] >= settings.trials:
            time.sleep(1)  # of another process; if it is killed, its trial becomes ours
            continue
        if not any(START in t.user_attrs for t in trials):
            shared.study.enqueue_trial(first_choice(spec, space), user_attrs={START: True})
        _do(shared, attempt)


def _do(shared: SharedStudy, attempt: Callable[[optuna.Trial], float]) -> None:
    """The next trial. What comes out counts unless another process took this one for dead; one
    that is left by an error, or Ctrl-C, is done by whoever comes next."""
    trial = shared.ask()
    alive = Alive(shared, trial)
    try:
        outcome: dict[str, Any] = {"values": attempt(trial)}
    except optuna.TrialPruned:
        outcome = {"state": TrialState.PRUNED}
    except optuna.exceptions.UpdateFinishedTrialError:
        if not shared.is_given_up(trial):
            raise
        return
    except BaseException:
        shared.give_up(trial)
        raise
    finally:
        alive.stop()
    try:
        shared.study.tell(trial, **outcome)
    except ValueError:
        if not shared.is_given_up(trial):
            raise


def _suggest(trial: optuna.Trial, r: Range) -> Any:
    if r.kind == "choices":
        return trial.suggest_categorical(r.name, list(r.values))
    if r.kind == "int":
        return trial.suggest_int(r.name, *r.values)
    return trial.suggest_float(r.name, *map(float, r.values), log=r.kind == "log")


def _counts(trials: list[Any]) -> dict[str, int]:
    states = [trial.state for trial in trials]
    return {state.name.lower(): states.count(state) for state in TrialState}


def _trial_table(study: optuna.Study, names: list[str]) -> pd.DataFrame:
    """One row per trial, with what it tried."""
    rows = [
        {
            "number": t.number,
            "state": t.state.name.lower(),
            "value": t.value if t.state == TrialState.COMPLETE else None,
            "last_step": t.last_step,
            "last_value": None if t.last_step is None else t.intermediate_values[t.last_step],
            "seconds": t.duration.total_seconds() if t.duration else None,
            "is_start": START in t.user_attrs,
            **{name: t.params.get(name) for name in names},
            "reason": t.user_attrs.get("reason", ""),
        }
        for t in study.get_trials(deepcopy=False)
    ]
    return pd.DataFrame(rows, dtype=object)  # else whole numbers beside a gap become 3.0


def _tuning(
    study: optuna.Study, spec: ModelSpec, space: tuple[Range, ...], task: _Task, folder: Path
) -> Tuning:
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise GoalError(
            f"none of the {len(trials)} trials came to its end; {folder}/trials.csv says why."
        )
    best = min(complete, key=lambda trial: (trial.value, trial.number))
    assert best.value is not None
    first, usual = first_choice(spec, space), usual_choice(spec, space)
    start = next((trial for trial in complete if START in trial.user_attrs), None)
    return Tuning(
        model=spec.name,
        measure=task.measure,
        value=best.value,
        start_value=start.value if start else None,
        settings=chosen_settings(spec, space, best.params),
        best=best.params,
        start=first,
        start_name="the paper's optimum" if first == usual else "nearest to the paper's",
        space=space,
        trials=_counts(trials),
        rows=task.rows,
        folder=folder,
    )


def _write(
    tuning: Tuning, study: optuna.Study, frame: pd.DataFrame, settings: TuningSettings
) -> None:
    folder = tuning.folder
    beside = (
        "" if tuning.start_value is None else f"; {tuning.start_name}: {tuning.start_value:.5g}"
    )
    note = (
        f"matlode tune {tuning.model}: the best of {tuning.trials['complete']} finished and "
        f"{tuning.trials['pruned']} pruned trials.\n"
        f"{tuning.measure}: {tuning.value:.5g}{beside}. {tuning.rows[TRAIN]} training rows, "
        f"{tuning.rows[CALIBRATION]} that measured, seed {settings.seed}.\n"
        f"matlode train {tuning.model} --settings {folder.name}/best.toml"
    )
    write_settings(folder / "best.toml", tuning.model, tuning.settings, note)
    complete = frame[frame["state"] == "complete"]
    draw_history(
        folder / "history.png",
        complete["number"].to_numpy(int),
        complete["value"].to_numpy(float),
        pruned=frame["number"][frame["state"] == "pruned"].to_numpy(int),
        start=tuning.start_value,
        start_name=tuning.start_name,
        measure=tuning.measure,
    )
    if complete["value"].nunique() > 1:  # else nothing mattered
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=settings.seed)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        draw_importance(folder / "importance.png", shares)
