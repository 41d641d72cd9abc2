"""Tuning on few rows: what a study keeps to, survives, and writes."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from matlode.artefacts import load_header, lock_folder
from matlode.data.splits import CALIBRATION, TEST, TRAIN, split_by_formula
from matlode.data.tables import TABLE_FILE, write_materials
from matlode.errors import GoalError, InputError
from matlode.latent.space import load_view
from matlode.paper import tune as job
from matlode.paper.spaces import find_first_choice, find_shipped_spaces, read_space
from matlode.paper.tune import TuningSettings, tune
from matlode.properties import heads
from matlode.properties.endpoints import ENDPOINTS
from matlode.training.model_table import MODELS
from matlode.training.table import TrainingTable
from matlode.training.train import train_models

SHORT = TuningSettings(trials=8, epochs=3, rows=100)
BRIEF = TuningSettings(trials=3, epochs=1, rows=100)
COMPOSITIONS = "reference-composition-vae"
BULK = "reference-bulk-modulus"
SMALL_VIEWS = """
[reference-composition-vae]
units = [9, 8]
activation = "tanh"
initializer = "he_uniform"

[reference-pattern-vae]
filters = [2, 3, 2]
kernel = 3
pool = 4
units = [8, 6]
"""

PAPER = {
    "reference-pattern-vae": {
        "filters_1": 16, "filters_2": 17, "filters_3": 37, "kernel": 4, "pool": 2,
        "units_1": 693, "units_2": 403, "dropout": 2.04e-2, "l1": 1.46e-6, "l2": 6.42e-7,
        "initializer": "lecun_normal", "activation": "selu", "optimizer": "adamax",
    },
    COMPOSITIONS: {
        "units_1": 95, "units_2": 50, "dropout": 4.49e-6, "l1": 1.94e-7, "l2": 1.09e-6,
        "initializer": "he_normal", "activation": "selu", "optimizer": "nadam",
    },
    "reference-space-group": {
        "filters_1": 104, "filters_2": 51, "filters_3": 117, "strides_1": 2, "strides_2": 1,
        "strides_3": 2, "kernels_1": 34, "kernels_2": 37, "kernels_3": 13, "units_1": 2047,
        "units_2": 943, "pool": 3, "conv_dropout": 0.498, "dense_dropout": 0.675,
        "initializer": "lecun_normal", "activation": "relu", "optimizer": "adamax",
    },
    "reference-formation-net": {
        "units": 171, "dropout": 0.347, "initializer": "lecun_normal", "activation": "elu",
        "optimizer": "adam",
    },
    BULK: {
        "max_depth": 6, "alpha": 1.91, "gamma": 0.783, "lambda": 9.01, "eta": 2.12e-2,
        "subsample": 0.846, "colsample_bytree": 0.888, "colsample_bylevel": 0.334,
    },
}  # fmt: skip
"""Optima of Tables S1 and S2 (Korolev et al., Mater. Horiz. 2020)."""


@pytest.fixture(scope="module")
def table(starter, tmp_path_factory):
    labelled = ~np.isnan(ENDPOINTS["bulk_modulus"].labels(starter))
    rows = np.random.default_rng(0).permutation(np.flatnonzero(labelled))[:350]
    folder = tmp_path_factory.mktemp("table")
    write_materials(starter.take(np.sort(rows)), folder)
    return folder / TABLE_FILE


@pytest.fixture(scope="module")
def views(table, tmp_path_factory):
    """Reference autoencoders of other sizes than the paper's, by a settings file."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "views.toml").write_text(SMALL_VIEWS)
    train_models(data=table, out=folder, settings=folder / "views.toml", epochs=1)
    return folder


@pytest.fixture(scope="module")
def tuned(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuning")
    return tune(COMPOSITIONS, data=table, out=out, settings=SHORT)


@pytest.fixture
def few_rounds(monkeypatch):
    few = {"n_rounds": 100, "difficulty_rounds": 20, "cross_fit_rounds": 20}
    monkeypatch.setitem(MODELS, BULK, MODELS[BULK].with_settings(few))


def trials(folder):
    return pd.read_csv(folder / "trials.csv").drop(columns="seconds")


def test_the_same_seed_gives_the_same_study(tuned, table, tmp_path):
    tune(COMPOSITIONS, data=table, out=tmp_path / "again", settings=SHORT)
    pd.testing.assert_frame_equal(trials(tmp_path / "again"), trials(tuned.folder))
    other = replace(SHORT, seed=1, trials=3)
    tune(COMPOSITIONS, data=table, out=tmp_path / "other", settings=other)
    assert not trials(tmp_path / "other")["l1"].isin(trials(tuned.folder)["l1"][1:]).any()[()]


def test_a_study_in_two_goes_is_one(tuned, table, tmp_path):
    tune(COMPOSITIONS, data=table, out=tmp_path, settings=replace(SHORT, trials=3))
    assert len(trials(tmp_path)) == 3
    tune(COMPOSITIONS, data=table, out=tmp_path, settings=SHORT)
    pd.testing.assert_frame_equal(trials(tmp_path), trials(tuned.folder))


def test_pruned_trials_count_and_the_best_is_never_one_of_them(tuned):
    frame = trials(tuned.folder)
    states = frame["state"].value_counts()
    assert len(frame) == SHORT.trials
    assert states["pruned"] == tuned.trials["pruned"] > 0
    assert states["complete"] == tuned.trials["complete"] > 1
    assert frame["value"].notna().equals(frame["state"] == "complete")
    assert tuned.value == frame["value"].min() <= tuned.start_value
    assert (frame["last_step"][frame["state"] == "pruned"] < SHORT.epochs).all()


@pytest.mark.parametrize("model", PAPER)
def test_the_papers_optimum_is_what_is_tried_first(model):
    spec = MODELS[model]
    assert find_first_choice(spec, read_space(find_shipped_spaces(), spec)) == PAPER[model]


def test_the_first_trial_is_the_papers_optimum_to_its_end(tuned):
    first = trials(tuned.folder).iloc[0]
    assert first["is_start"]
    assert first["state"] == "complete"
    assert first[list(PAPER[COMPOSITIONS])].to_dict() == PAPER[COMPOSITIONS]
    assert first["value"] == tuned.start_value


def test_figures_and_a_summary_are_written(tuned):
    for name in ("history.png", "importance.png"):
        assert (tuned.folder / name).read_bytes().startswith(b"\x89PNG")
    summary = json.loads(json.dumps(tuned.summary()))
    assert summary["rows"][TRAIN] == SHORT.rows
    assert summary["value"] == tuned.value


def test_the_best_settings_train_a_model_that_loads(tuned, table, tmp_path):
    train_models(data=table, out=tmp_path, settings=tuned.folder / "best.toml", epochs=1)
    view = load_view(tmp_path / COMPOSITIONS)
    units = [tuned.best["units_1"], tuned.best["units_2"]]
    assert load_header(tmp_path / COMPOSITIONS)["architecture"]["units"] == units
    assert view.network.log_variance.in_features == units[1]
    assert view.decode(np.zeros((2, 24))).shape == (2, 100)


def test_a_model_is_kept_unless_it_is_to_have_other_settings(views, table):
    header = views / COMPOSITIONS / "model.json"
    before = header.stat().st_mtime_ns
    again = {"data": table, "out": views, "epochs": 1}
    train_models(settings=views / "views.toml", **again)
    assert header.stat().st_mtime_ns == before
    (views / "other.toml").write_text("[reference-composition-vae]\nunits = [9, 7]")
    assert train_models(settings=views / "other.toml", **again)[COMPOSITIONS]["architecture"][
        "units"
    ] == [9, 7]
    train_models([COMPOSITIONS], settings=views / "views.toml", **again)


def test_heads_are_tuned_on_latent_variables_and_trained_so(views, table, few_rounds, tmp_path):
    settings = TuningSettings(trials=2)
    tuning = tune(BULK, data=table, models=views, out=tmp_path, settings=settings)
    assert tuning.measure == "mean absolute error of ln(bulk_modulus)"
    assert trials(tmp_path)["last_step"].max() == 2
    train_models(data=table, out=views, settings=tmp_path / "best.toml")
    kept = load_header(views / BULK)["settings"]
    assert {key: kept[key] for key in tuning.settings} == dict(tuning.settings)
    assert heads.Head.load(views / BULK).settings.lambda_ == tuning.best["lambda"]


@pytest.mark.parametrize(
    "model", ["reference-formation-net", "reference-pattern-vae", "reference-space-group"]
)
def test_other_networks_are_tuned(model, views, table, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text(
        "[reference-formation-net]\nunits = { int = [8, 20] }\ndropout = { uniform = [0, 0.1] }\n"
        "[reference-pattern-vae]\nunits_1 = { int = [4, 6] }\nunits_2 = { int = [4, 6] }\n"
        "filters_2 = { int = [1, 2] }\npool = { int = [4, 5] }\n"
        "[reference-space-group]\nunits_1 = { int = [4, 6] }\nunits_2 = { int = [4, 6] }\n"
        "filters_1 = { int = [1, 3] }\nfilters_3 = { int = [1, 2] }\npool = { int = [3, 4] }\n"
    )
    settings = replace(BRIEF, trials=2, rows=30)
    tuning = tune(model, data=table, space=space, models=views, out=tmp_path, settings=settings)
    assert np.isfinite(tuning.value)
    # the paper's 171, 693 units are outside: the nearest comes first
    assert set(tuning.start.values()) & {20, 6}
    assert tuning.start_name == "nearest to the paper's"


@pytest.mark.parametrize("model", [COMPOSITIONS, BULK])
def test_test_rows_are_never_looked_at(model, views, table, few_rounds, monkeypatch, tmp_path):
    """A table that has lost them gives the same study."""
    whole = TrainingTable.load(table)
    assert (whole.roles == TEST).sum() > 10
    without = replace(whole, materials=whole.materials.take(whole.roles != TEST))
    found = []
    for name, used in (("whole", whole), ("without", without)):
        monkeypatch.setattr(TrainingTable, "load", classmethod(lambda cls, path=None, t=used: t))
        tuning = tune(model, models=views, out=tmp_path / name, settings=BRIEF)
        found.append(trials(tmp_path / name))
    pd.testing.assert_frame_equal(*found)
    roles = split_by_formula(whole.materials.frame["formula"])
    if model == BULK:
        assert tuning.rows[CALIBRATION] == (roles == CALIBRATION).sum()


def test_trainings_that_diverge_are_pruned_with_their_reason(table, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text(f"[{COMPOSITIONS}]\nlearning_rate = {{ log = [1e20, 1e30] }}\n")
    with pytest.raises(GoalError, match="none of the 3 trials finished"):
        tune(COMPOSITIONS, data=table, space=space, out=tmp_path, settings=BRIEF)
    frame = trials(tmp_path)
    assert (frame["state"] == "pruned").all()
    assert frame["reason"].str.contains("diverged|the held-out loss is").all()


KILLED = """
import sys, time
from pathlib import Path
from matlode.paper import tune as job

train, calls = job.train, []
def slow(*args, **options):
    calls.append(1)
    if len(calls) == 2:
        print("in the second trial", flush=True)
        time.sleep(100)
    return train(*args, **options)
job.train = slow
settings = job.TuningSettings(trials=3, epochs=1, rows=100)
data, out = map(Path, sys.argv[1:3])
job.tune("reference-composition-vae", data=data, out=out, settings=settings)
"""


def test_a_killed_study_goes_on_and_runs_the_lost_trial_again(table, tmp_path):
    command = [sys.executable, "-c", KILLED, str(table), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert "second trial" in process.stdout.readline()
        process.kill()
    tuning = tune(COMPOSITIONS, data=table, out=tmp_path, settings=BRIEF)
    assert tuning.trials["complete"] + tuning.trials["pruned"] == BRIEF.trials
    assert tuning.trials["fail"] == 1


@pytest.mark.parametrize("stopped_at", [1, 5, 7, 12])
def test_a_study_that_is_stopped_anywhere_ends_as_an_undisturbed_one(
    tuned, table, monkeypatch, tmp_path, stopped_at
):
    """Brackets and rungs of Hyperband, too, are those of the undisturbed one."""
    train, epochs = job.train, []

    def stopped(*args, report, **options):
        def tell(step, loss):
            epochs.append(step)
            try:
                report(step, loss)
            finally:
                if len(epochs) == stopped_at:
                    raise KeyboardInterrupt

        return train(*args, report=tell, **options)

    monkeypatch.setattr(job, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        tune(COMPOSITIONS, data=table, out=tmp_path, settings=SHORT)
    tune(COMPOSITIONS, data=table, out=tmp_path, settings=SHORT)
    frame = trials(tmp_path)
    assert (frame["state"] == "fail").sum() == 1
    frame = frame[frame["state"] != "fail"].reset_index(drop=True)
    wanted = trials(tuned.folder)
    pd.testing.assert_frame_equal(frame.drop(columns="number"), wanted.drop(columns="number"))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_a_killed_trial_had_reached_prunes_no_other():
    # the name decides which trials belong to which bracket; a random one rarely prunes none of nine
    study = optuna.create_study(study_name="killed", pruner=job.PRUNERS["hyperband"](9))

    def is_pruned(trial, loss):
        for step in range(1, 10):
            trial.report(loss, step)
            if trial.should_prune():
                return True
        return False

    for _ in range(9):
        killed = study.ask()
        is_pruned(killed, 0.0)
        study.tell(killed, state=TrialState.FAIL)
    living = study.ask()
    assert not is_pruned(living, 1.0)
    study.tell(living, 1.0)
    assert any(is_pruned(study.ask(), 2.0) for _ in range(9))


@pytest.mark.parametrize("stopped_at", [1, 4])
def test_a_shared_study_that_is_stopped_goes_on_at_once(table, monkeypatch, tmp_path, stopped_at):
    """No waiting for a silence: who is stopped gives up what it had begun, the start too."""
    train, epochs = job.train, []

    def stopped(*args, report, **options):
        def tell(step, loss):
            epochs.append(step)
            if len(epochs) == stopped_at:
                raise KeyboardInterrupt
            report(step, loss)

        return train(*args, report=tell, **options)

    url = f"sqlite:///{tmp_path / 'study.db'}"
    monkeypatch.setattr(job, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        tune(COMPOSITIONS, data=table, storage=url, out=tmp_path, settings=SHORT)
    monkeypatch.setattr(job.time, "sleep", lambda _: pytest.fail("waits"))
    tune(COMPOSITIONS, data=table, storage=url, out=tmp_path, settings=SHORT)
    frame = trials(tmp_path)
    assert (frame["state"] == "fail").sum() == 1
    assert frame.loc[frame["state"] != "fail", "is_start"].sum() == 1
    assert len(frame) == SHORT.trials + 1


def test_a_trial_that_others_took_for_dead_does_not_count_twice(table, monkeypatch, tmp_path):
    """As after a laptop's sleep: the one who wakes goes on with other work."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    train, calls = job.train, []

    def slept(*args, report, **options):
        calls.append(1)
        if len(calls) == 2:
            study = optuna.load_study(study_name=COMPOSITIONS, storage=url)
            job._queue_lost(study, alone=True)
        return train(*args, report=report, **options)

    monkeypatch.setattr(job, "train", slept)
    tuning = tune(COMPOSITIONS, data=table, storage=url, out=tmp_path, settings=BRIEF)
    assert tuning.trials["fail"] == 1
    assert tuning.trials["complete"] + tuning.trials["pruned"] == BRIEF.trials


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # of ask() without optimize()
def test_a_start_that_always_dies_does_not_block_the_study(table, monkeypatch, tmp_path):
    attempt = job._run_next_trial

    def dies(study, work):
        trial = study.get_trials()[-1]
        if job.START not in trial.user_attrs or trial.state != TrialState.WAITING:
            return attempt(study, work)
        study.ask()
        job._queue_lost(study, alone=True)
        return None

    monkeypatch.setattr(job, "_run_next_trial", dies)
    tuning = tune(COMPOSITIONS, data=table, out=tmp_path, settings=BRIEF)
    assert tuning.trials["fail"] == job.MAX_RETRIES + 1
    assert tuning.trials["complete"] + tuning.trials["pruned"] == BRIEF.trials
    assert tuning.start_value is None


def test_one_process_at_a_time_works_in_a_folder(table, tmp_path):
    with lock_folder(tmp_path), pytest.raises(InputError, match="another process is using"):
        tune(COMPOSITIONS, data=table, out=tmp_path, settings=BRIEF)


def test_two_processes_share_a_study(table, tmp_path):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    # long enough for the other to take the third trial and wait for the second
    script = KILLED.replace("sleep(100)", "sleep(6)").replace(
        "settings=settings)", "settings=settings, storage=sys.argv[3])"
    )
    command = [sys.executable, "-c", script, str(table), str(tmp_path / "a"), storage]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert "second trial" in process.stdout.readline()
        tune(COMPOSITIONS, data=table, storage=storage, out=tmp_path / "b", settings=BRIEF)
        process.wait()
    assert process.returncode == 0
    frame = trials(tmp_path / "a")
    assert len(frame) == BRIEF.trials
    assert frame.equals(trials(tmp_path / "b"))


def test_a_study_of_another_budget_is_not_gone_on_with(tuned, table):
    with pytest.raises(GoalError, match=r"started with epochs 3, not 4.*use another --study"):
        tune(COMPOSITIONS, data=table, out=tuned.folder, settings=replace(SHORT, epochs=4))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("unit_1 = { int = [4, 8] }", 'has no "unit_1". Did you mean "units_1"'),
        ("units_3 = { int = [4, 8] }", 'has no "units_3"'),
        ("max_epochs = { int = [4, 8] }", 'has no "max_epochs"'),
        ("units_1 = { ints = [4, 8] }", 'Did you mean "int"'),
        ("units_1 = { int = [8, 4] }", "expected [low, high] with low < high"),
        ("units_1 = { int = [0, 4] }", "expected a whole number from 1 on"),
        ("units_1 = { int = [1.5, 4] }", "expected a whole number"),
        ("units_1 = { uniform = [1, 4] }", "expected int"),
        ("units_1 = [4, 8]", "write one of int, uniform, log, choices"),
        ("l1 = { log = [0, 1] }", "expected a lower limit above 0"),
        ("l1 = { int = [1, 2] }", "expected uniform or log"),
        ("dropout = { uniform = [0, 1] }", "expected a number from 0 to below 1"),
        ('optimizer = { choices = ["adamx"] }', 'Did you mean "adam'),
        ('optimizer = { int = ["adam", "sgd"] }', "write choices"),
        ("optimizer = { choices = [] }", "expected a list"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(line, complaint, table, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text(f"[{COMPOSITIONS}]\n{line}\n")
    with pytest.raises(GoalError) as caught:
        tune(COMPOSITIONS, data=table, space=space, out=tmp_path / "out")
    assert complaint in str(caught.value)
    assert str(space) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_unknown_models_pruners_and_spaces_are_told(table, tmp_path):
    with pytest.raises(GoalError, match='Did you mean "reference-bulk-modulus"'):
        tune("reference-bulk-module", data=table, out=tmp_path)
    with pytest.raises(GoalError, match='Did you mean "median"'):
        tune(BULK, settings=TuningSettings(pruner="medium"), out=tmp_path)
    (tmp_path / "space.toml").write_text("")
    with pytest.raises(GoalError, match="has no space for"):
        tune(BULK, space=tmp_path / "space.toml", out=tmp_path)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://me:s3cret@127.0.0.1:1/x?password=s3cret", "s3cret"]
)
def test_passwords_are_not_told(url, table, tmp_path):
    with pytest.raises(InputError, match=r"storage|kept in postgresql") as caught:
        tune(COMPOSITIONS, data=table, storage=url, out=tmp_path, settings=BRIEF)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__
