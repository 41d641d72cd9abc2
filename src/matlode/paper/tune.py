"""Hyper-parameter search for the paper's models, with validation on held-out rows."""

from __future__ import annotations

import json
import math
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import optuna
import pandas as pd
import torch
from numpy.typing import NDArray
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from matlode.artefacts import lock_folder, write_text
from matlode.data.splits import CALIBRATION, TEST, TRAIN
from matlode.errors import ArtefactError, GoalError, InputError, suggest
from matlode.latent.training import train
from matlode.optimisation.record import convert_opening_errors, usable_storage
from matlode.paper.spaces import (
    Range,
    convert_choice,
    find_default_choice,
    find_first_choice,
    find_shipped_spaces,
    read_space,
)
from matlode.paper.tuning_plots import draw_history, draw_importance
from matlode.progress import Progress, silent
from matlode.properties.endpoints import Endpoint
from matlode.properties.trees import Watch, fit_trees
from matlode.training.model_spec import ModelSpec, Setting, Value
from matlode.training.model_table import MODELS
from matlode.training.property_recipes import select_latent_rows
from matlode.training.settings import write_settings
from matlode.training.table import TrainingTable
from matlode.training.trainer import Trainer

MAX_RETRIES = 3
"""Largest number of repetitions of a lost trial, which may be the cause of the loss."""
HEARTBEAT_S = 5
"""Interval between the heartbeats of a process that works on a trial of a shared study."""
GRACE_S = 60
"""Time without a heartbeat after which a process is considered lost."""
ROUNDS_PER_REPORT = 50
"""Boosting rounds between two reports of the loss."""
START = "start"
"""User attribute of the first trial, which has the default settings and is never pruned."""
BUDGET = "budget"
"""User attribute of a study with everything that makes its losses comparable."""

Tell = Callable[[int, float], None]
"""Callback with the step (from 1) and the held-out loss."""
Objective = Callable[[Mapping[str, object], Tell], float]
"""Settings → held-out loss of the model."""


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """Settings of a hyper-parameter search."""

    trials: int = 50
    """Total number of finished and pruned trials of the study."""
    epochs: int = 10
    """Epochs of a network per trial; trees always use all their rounds."""
    rows: int | None = None
    """Number of training rows, drawn at random (default: all)."""
    seed: int = 0
    """Seed of the sampler, the drawn rows and the initial weights."""
    pruner: str = "hyperband"
    """One of PRUNERS."""


@dataclass(frozen=True)
class Tuning:
    """Result of a hyper-parameter search."""

    model: str
    measure: str
    """Name of the loss."""
    value: float
    """Held-out loss of the best trial."""
    start_value: float | None
    """Held-out loss of the first trial, with the same budget; None if it did not finish."""
    settings: Mapping[str, Setting]
    """Best settings by hyper-parameter."""
    best: Mapping[str, Value]
    """Name in the space → value in the best trial."""
    start: Mapping[str, Value]
    """Name in the space → value in the first trial."""
    start_name: str
    """Label of the first trial."""
    space: tuple[Range, ...]
    trials: Mapping[str, int]
    """State → number of trials."""
    rows: Mapping[str, int]
    """Role → number of rows, for training and for validation."""
    folder: Path

    def summary(self) -> dict[str, object]:
        """The result as a JSON object."""
        shown = {name: value for name, value in vars(self).items() if name not in ("best", "space")}
        return {**shown, "folder": str(self.folder)}


@dataclass(frozen=True)
class _Task:
    """Objective of one model."""

    measure: str
    rows: Mapping[str, int]
    n_steps: int
    """Number of reports of a complete trial."""
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
    """Search the hyper-parameters of a reference model with TPE and write the best settings file.

    Every trial trains on the training rows and is validated on the calibration rows; test rows
    are removed from the table first. The first trial has the settings of
    `matlode train models`, the optimum of the paper.

    ``space`` is a TOML file of ranges (default: the paper's; see ``spaces.read_space``).
    ``storage`` is an SQLAlchemy URL (default: study.db in ``out``, for one process at a time);
    processes with the same storage and ``study`` (default: the name of the model) share the
    work. ``models`` is the folder of the autoencoders that heads are built on. best.toml,
    trials.csv, history.png and importance.png are written to ``out`` (default: tuning/MODEL).

    Raises GoalError for unknown models, pruners and ranges, and for a study with another budget;
    InputError for a storage that cannot be used or too few rows.

    >>> tune("reference-composition-vae").best  # doctest: +SKIP
    """
    settings = settings or TuningSettings()
    _check_settings(model, settings)
    spec = MODELS[model]
    ranges = read_space(space or find_shipped_spaces(), spec)
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
    alone = lock_folder(folder) if storage is None else nullcontext()
    with (
        alone,
        _silence_optuna(),
        usable_storage(url),
        _open_study(url, study or model, settings, task) as opened,
    ):
        _check_budget(opened, budget)
        _queue_lost(opened, alone=storage is None)
        _run_trials(opened, spec, ranges, task, settings, progress)
        frame = _tabulate_trials(opened, [r.name for r in ranges])
        write_text(folder / "trials.csv", frame.to_csv(index=False))
        tuning = _summarise(opened, spec, ranges, task, folder)
        _write_results(tuning, opened, frame, settings)
    return tuning


def _check_settings(model: str, settings: TuningSettings) -> None:
    if model not in TUNED:
        raise GoalError(f'"{model}" cannot be tuned. {suggest(model, TUNED)}')
    if settings.pruner not in PRUNERS:
        raise GoalError(f'unknown pruner "{settings.pruner}". {suggest(settings.pruner, PRUNERS)}')
    for name in ("trials", "epochs"):
        if getattr(settings, name) < 1:
            raise GoalError(f"{name} must be at least 1, not {getattr(settings, name)}.")
    if settings.rows is not None and settings.rows < 1:
        raise GoalError(f"rows must be at least 1, not {settings.rows}.")


def _without_test_rows(table: TrainingTable, endpoint: Endpoint | None) -> TrainingTable:
    """The table without test rows and, for a property, without rows that have no label."""
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
    rows = torch.from_numpy(_draw_rows(len(learn[0]), settings))
    learn = [part[rows] for part in learn]

    def objective(given: Mapping[str, Any], tell: Tell) -> float:
        budget = {"max_epochs": settings.epochs, "seed": settings.seed}
        own = spec.with_settings({**given, **budget})
        log = train(own.build_network(), learn, held, own.training, report=tell)
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
    rows = _draw_rows(len(x), settings)
    x, y = x[rows], y[rows]
    objective_name = "binary:logistic" if probability else "reg:squarederror"

    def objective(given: Mapping[str, Any], tell: Tell) -> float:
        losses = []

        def report(rounds: int, loss: float) -> None:
            losses.append(loss)
            tell(rounds // ROUNDS_PER_REPORT, loss)

        own = spec.with_settings({**given, "seed": settings.seed}).trees
        watch = Watch(features=held[0], labels=held[1], report=report, every=ROUNDS_PER_REPORT)
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


def _check_rows(learn: Sized, held: Sized, model: str) -> None:
    for role, rows in ((TRAIN, learn), (CALIBRATION, held)):
        if len(rows) < 2:
            raise InputError(
                f"{model}: the table has {len(rows)} {role} rows, at least 2 are needed; "
                "use another table."
            )


def _draw_rows(n: int, settings: TuningSettings) -> NDArray[np.intp]:
    """Training rows, the same in all trials of a study."""
    rows = np.random.default_rng(settings.seed).permutation(n)[: settings.rows]
    return np.sort(rows)


TUNED = tuple(
    name
    for name, spec in MODELS.items()
    if spec.face == "reference" and (spec.is_head or spec.tensors is not None)
)
"""Models that can be tuned."""


def _find_first(trial: FrozenTrial) -> int:
    """Number of the first trial of which this one is a repetition, or its own."""
    first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if first is None else first


def _find_place(study: optuna.Study, trial: FrozenTrial) -> int:
    """Place of a trial (0, 1, 2, ...), which does not depend on repetitions of lost trials."""
    first = _find_first(trial)
    before = (t for t in study.get_trials(deepcopy=False) if t.number < first)
    return sum(_find_first(t) == t.number for t in before)


@dataclass(frozen=True)
class _Hyperband(optuna.pruners.BasePruner):
    """Hyperband by asynchronous successive halving (Li et al., arXiv:1810.05934): of the trials of
    a bracket that reach a rung, the best third goes on. Lost trials do not compete."""

    steps: int
    """Reports of a complete trial."""
    factor: int = 3

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """See BasePruner; called after every report."""
        step, bracket = trial.last_step, self._find_bracket(study, trial)
        rungs = [self.factor**rung for rung in range(bracket, self._n_brackets)]
        if step is None or step not in rungs:
            return False
        loss = trial.intermediate_values[step]
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.state != TrialState.FAIL
            and other.number != trial.number
            and step in other.intermediate_values
            and self._find_bracket(study, other) == bracket
        ]
        n_best = max(1, (len(others) + 1) // self.factor)
        return not loss <= sorted([*others, loss])[n_best - 1]

    @property
    def _n_brackets(self) -> int:
        return int(math.log(self.steps, self.factor)) + 1

    def _find_bracket(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """Bracket 0, in which halving begins after the first step, gets the most trials."""
        n = self._n_brackets
        shares = [math.ceil(n * self.factor**left / (left + 1)) for left in reversed(range(n))]
        name = f"{study.study_name}_{_find_place(study, trial)}"
        drawn = zlib.crc32(name.encode()) % sum(shares)
        return int(np.searchsorted(np.cumsum(shares), drawn, side="right"))


PRUNERS: Mapping[str, Callable[[int], optuna.pruners.BasePruner]] = {
    "hyperband": _Hyperband,
    "median": lambda steps: optuna.pruners.MedianPruner(),
    "none": lambda steps: optuna.pruners.NopPruner(),
}
"""Name → function that builds the pruner for trials with a given number of steps."""


class _PlacedTPE(optuna.samplers.TPESampler):
    """TPE seeded by the seed and the place of the trial, so that a study depends neither on
    interruptions nor on the assignment of trials to processes."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        super().__init__(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        entropy = [self.seed, _find_place(study, trial)]
        super().__init__(seed=int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        super().before_trial(study, trial)


@contextmanager
def _open_study(
    url: str, name: str, settings: TuningSettings, task: _Task
) -> Iterator[optuna.Study]:
    """Open a study, which repeats the trials of silent processes."""
    options = {"connect_args": {"timeout": GRACE_S}} if url.startswith("sqlite") else {}
    with convert_opening_errors(url):
        storage = optuna.storages.RDBStorage(
            url, options, heartbeat_interval=HEARTBEAT_S, grace_period=GRACE_S,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MAX_RETRIES),
        )  # fmt: skip
    try:
        yield optuna.create_study(
            study_name=name,
            storage=storage,
            load_if_exists=True,
            sampler=_PlacedTPE(settings.seed),
            pruner=PRUNERS[settings.pruner](task.n_steps),
        )
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _queue_lost(study: optuna.Study, *, alone: bool) -> None:
    """Queue repetitions of failed trials that have none; ``alone``, also of the running ones."""
    if alone:
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    repeated = {
        n for trial in trials for n in RetryHeartbeatStaleTrialCallback.retry_history(trial)
    }
    for trial in trials:
        if trial.state == TrialState.FAIL and trial.number not in repeated:
            RetryHeartbeatStaleTrialCallback(MAX_RETRIES)(study, trial)


@contextmanager
def _silence_optuna() -> Iterator[None]:
    """Silence the log of Optuna and its warnings about experimental features."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _check_budget(study: optuna.Study, budget: Mapping[str, object]) -> None:
    """Store the budget of a new study; raise GoalError if the study has another budget."""
    held = study.user_attrs.get(BUDGET)
    if held is None:
        study.set_user_attr(BUDGET, dict(budget))
        return
    for name, value in json.loads(json.dumps(budget)).items():
        if held.get(name) != value:
            raise GoalError(
                f'study "{study.study_name}" was started with {name} {_shorten(held.get(name))}, '
                f"not {_shorten(value)}, so the losses are not comparable; use another --study."
            )


def _shorten(value: object) -> str:
    text = str(value)
    return text if len(text) < 80 else text[:77] + "..."


def _run_trials(
    study: optuna.Study,
    spec: ModelSpec,
    space: tuple[Range, ...],
    task: _Task,
    settings: TuningSettings,
    progress: Progress,
) -> None:
    """Run trials until the study has ``settings.trials`` of them, with those of other processes."""

    def attempt(trial: optuna.Trial) -> float:
        given = convert_choice(spec, space, {r.name: _suggest_value(trial, r) for r in space})

        def tell(step: int, loss: float) -> None:
            trial.report(loss, step)
            if step >= task.n_steps:  # nothing left to save
                return
            # should_prune also records the rungs of the first trial, for comparison with others
            if trial.should_prune() and START not in trial.user_attrs:
                raise optuna.TrialPruned

        try:
            loss = task.objective(given, tell)
            if not np.isfinite(loss):
                raise ArtefactError(f"the held-out loss is {loss}.")
            return loss
        except (ArtefactError, GoalError) as error:  # diverged, or incompatible sizes
            trial.set_user_attr("reason", str(error))
            raise optuna.TrialPruned from error

    while True:
        optuna.storages.fail_stale_trials(study)
        trials = study.get_trials(deepcopy=False)
        counts = _count_states(trials)
        finished = counts["complete"] + counts["pruned"]
        values = [t.value for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
        best = min(values, default=None)
        note = "" if best is None else f"best {best:.5g}, {counts['pruned']} pruned"
        progress(spec.name, min(finished, settings.trials), settings.trials, note)
        if finished >= settings.trials:
            return
        if finished + counts["running"] >= settings.trials:
            time.sleep(1)  # the trials of other processes may be lost
            continue
        if not any(START in t.user_attrs for t in trials):
            study.enqueue_trial(find_first_choice(spec, space), user_attrs={START: True})
        _run_next_trial(study, attempt)


def _run_next_trial(study: optuna.Study, attempt: Callable[[optuna.Trial], float]) -> None:
    """Run the next trial and report its result, unless another process considered it lost.

    A trial that ends with an error or an interruption is repeated later.
    """
    begun: list[int] = []

    def note_and_attempt(trial: optuna.Trial) -> float:
        begun.append(trial.number)
        return attempt(trial)

    try:
        study.optimize(note_and_attempt, n_trials=1)
    except (UpdateFinishedTrialError, ValueError):
        if not begun or study.get_trials(deepcopy=False)[begun[0]].state != TrialState.FAIL:
            raise
    except BaseException:
        _queue_lost(study, alone=False)
        raise


def _suggest_value(trial: optuna.Trial, r: Range) -> Value:
    if r.kind == "choices":
        # Optuna allows None among the choices; a space file does not
        return cast(Value, trial.suggest_categorical(r.name, list(r.values)))
    low, high = r.limits
    if r.kind == "int":
        return trial.suggest_int(r.name, int(low), int(high))
    return trial.suggest_float(r.name, float(low), float(high), log=r.kind == "log")


def _count_states(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    states = [trial.state for trial in trials]
    return {state.name.lower(): states.count(state) for state in TrialState}


def _tabulate_trials(study: optuna.Study, names: list[str]) -> pd.DataFrame:
    """One row per trial, with its hyper-parameters."""
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
    return pd.DataFrame(rows, dtype=object)  # keeps integers in columns with missing values


def _summarise(
    study: optuna.Study, spec: ModelSpec, space: tuple[Range, ...], task: _Task, folder: Path
) -> Tuning:
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise GoalError(
            f"none of the {len(trials)} trials finished; see the reasons in {folder}/trials.csv."
        )
    best = min(complete, key=lambda trial: (trial.value, trial.number))
    assert best.value is not None
    first, usual = find_first_choice(spec, space), find_default_choice(spec, space)
    start = next((trial for trial in complete if START in trial.user_attrs), None)
    return Tuning(
        model=spec.name,
        measure=task.measure,
        value=best.value,
        start_value=start.value if start else None,
        settings=convert_choice(spec, space, best.params),
        best=best.params,
        start=first,
        start_name="the paper's optimum" if first == usual else "nearest to the paper's",
        space=space,
        trials=_count_states(trials),
        rows=task.rows,
        folder=folder,
    )


def _write_results(
    tuning: Tuning, study: optuna.Study, frame: pd.DataFrame, settings: TuningSettings
) -> None:
    folder = tuning.folder
    start = "" if tuning.start_value is None else f"; {tuning.start_name}: {tuning.start_value:.5g}"
    note = (
        f"matlode tune {tuning.model}: the best of {tuning.trials['complete']} finished and "
        f"{tuning.trials['pruned']} pruned trials.\n"
        f"{tuning.measure}: {tuning.value:.5g}{start}. {tuning.rows[TRAIN]} training rows, "
        f"{tuning.rows[CALIBRATION]} validation rows, seed {settings.seed}.\n"
        f"matlode train models {tuning.model} --settings {folder.name}/best.toml"
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
    if complete["value"].nunique() > 1:  # importance is undefined for equal values
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=settings.seed)
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        draw_importance(folder / "importance.png", shares)
