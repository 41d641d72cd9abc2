"""One line of TOML, then train, evaluate, search, predict and report know the property."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from matlode import Known, Models, measure_scores, predict, search, stored_scores, train_models
from matlode.artefacts import HEADER_FILE, find_shipped_models
from matlode.cli.printing import _format_interval
from matlode.data.tables import write_materials
from matlode.errors import ArtefactError, GoalError, InputError
from matlode.jobs.starts import SearchSettings
from matlode.properties import heads
from matlode.properties.derived import DERIVATIONS
from matlode.properties.endpoints import ENDPOINTS
from matlode.properties.models import PropertyModels, find_heads, list_endpoints
from matlode.properties.network import NETWORK_MODEL
from matlode.properties.own import TAKEN, TAKEN_BEGINNING, TAKEN_ENDS
from matlode.properties.scores import BASELINES
from matlode.report.labels import format_predicted
from matlode.run_records import PredictedValue

TOML = """
refraction = { column = "n_refr", transform = "log", lowest = 1.0, description = "index" }
thermal = { unit = "1/K", column = "small" }
polar = { column = "eps_electronic_poly", kind = "classification", at_least = 6.0 }
"""


@pytest.fixture(scope="module")
def quick():
    """Heads of few trees, here only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MATLODE_DATA", raising=False)
        for face, settings in heads.SETTINGS.items():
            few = replace(settings, n_rounds=60, difficulty_rounds=30, cross_fit_rounds=25)
            patch.setitem(heads.SETTINGS, face, few)
        yield


@pytest.fixture(scope="module")
def made(quick, starter, tmp_path_factory):
    """(folder with my.toml, table/materials.parquet and models, headers)."""
    folder = tmp_path_factory.mktemp("own")
    labelled = starter.take(~np.isnan(starter.label("n_refr")))
    # what insulates refracts little, so the search's two wishes agree
    labelled.frame["small"] = 1e-6 * labelled.frame["band_gap"]
    write_materials(labelled, folder / "table")
    (folder / "my.toml").write_text(TOML)
    headers = train_models(
        data=folder / "table" / "materials.parquet",
        out=folder / "models",
        properties=folder / "my.toml",
    )
    return folder, headers


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    folder, _ = made
    return search(
        maximize=["refraction"],
        minimize=["thermal"],
        out=tmp_path_factory.mktemp("runs") / "own",
        settings=SearchSettings(trials=64, n_start=100, n_screened=20, n_candidates=12),
        models=Models(folder / "models"),
        known=Known(folder / "table" / "materials.parquet"),
    )


def test_only_the_own_heads_are_trained(made):
    folder, headers = made
    wanted = {"standard-refraction", "standard-thermal", "standard-polar"}
    assert set(headers) == wanted
    assert {path.parent.name for path in (folder / "models").glob("*/model.json")} == wanted


def test_own_heads_beat_the_mean_on_unseen_formulas(made):
    _, headers = made
    scores = headers["standard-refraction"]["scores"]
    assert set(BASELINES) <= set(scores)
    assert scores["standard, simulated pattern"]["mae"] < 0.8 * scores["mean"]["mae"]
    assert headers["standard-polar"]["scores"]["standard, decoded pattern"]["auc"] > 0.8


def test_what_is_there_is_kept_until_its_definition_changes(made):
    folder, _ = made
    copy = folder / "again"
    shutil.copytree(folder / "models", copy)

    def train(text):
        (folder / "other.toml").write_text(text)
        before = {p: p.stat().st_mtime_ns for p in copy.glob("*/model.json")}
        data = folder / "table" / "materials.parquet"
        train_models(data=data, out=copy, properties=folder / "other.toml")
        return {p.parent.name for p, at in before.items() if p.stat().st_mtime_ns != at}

    assert train(TOML) == set()
    assert train(TOML.replace("6.0", "7.0")) == {"standard-polar"}


def test_the_models_folder_knows_its_properties_and_leans_on_the_shipped_ones(made):
    folder, _ = made
    names = [*ENDPOINTS, "polar", "refraction", "thermal"]
    assert list(list_endpoints(folder / "models")) == names
    assert list(Models(folder / "models").endpoints) == [*ENDPOINTS, *DERIVATIONS, *names[-3:]]
    assert list(list_endpoints()) == list(ENDPOINTS)


def test_scores_stored_and_measured_stand_beside_baselines(made):
    folder, headers = made
    stored = stored_scores(["refraction"], models=folder / "models")
    data = folder / "table" / "materials.parquet"
    measured = measure_scores(["refraction"], data=data, models=folder / "models")
    assert set(BASELINES) < {row.model for row in measured}
    for row in stored:
        (same,) = [m for m in measured if m.model == row.model]
        assert row.rows == same.rows == headers["standard-refraction"]["rows"]["test"]
        # features of other batches round differently
        assert row.scores["mae"] == pytest.approx(same.scores["mae"], rel=1e-3)


def test_before_training_there_are_the_baselines_alone(made):
    folder, _ = made
    data = folder / "table" / "materials.parquet"
    rows = measure_scores(data=data, properties=folder / "my.toml")
    assert {row.endpoint for row in rows} == {"refraction", "thermal", "polar"}
    assert {row.model for row in rows} == set(BASELINES)


def test_a_file_that_contradicts_its_model_is_told(made):
    folder, _ = made
    (folder / "wrong.toml").write_text('refraction = { column = "n_refr" }')
    with pytest.raises(GoalError, match=r'wrong\.toml: property "refraction" is .*train it again'):
        measure_scores(models=folder / "models", properties=folder / "wrong.toml")


def test_predictions_carry_the_property_with_its_unit(made, starter):
    folder, _ = made
    answers = predict(starter.take(np.arange(3)), models=Models(folder / "models"))
    for answer in answers:
        p = answer.predictions["thermal"]
        assert p.unit == "1/K"
        assert p.low <= p.value <= p.high
        assert answer.predictions["refraction"].low >= 1


def test_candidates_and_report_show_it_with_unit_and_interval(run):
    table = run.candidates
    for name in ("refraction", "thermal"):
        assert (table[f"{name}_low"] <= table[name]).all()
        assert (table[name] <= table[f"{name}_high"]).all()
    # small numbers are not rounded away
    assert table["thermal"].nunique() > len(table) / 2
    rows = [row for row in json.loads((run.folder / "candidates.json").read_text()) if row["rank"]]
    page = (run.folder / "report.html").read_text()
    assert ">refraction</th>" in page
    assert ">thermal, 1/K</th>" in page
    first = PredictedValue(*(rows[0][f"thermal{end}"] for end in ("", "_low", "_high")))
    assert "·10^" in format_predicted(first, "1/K")[1]
    assert format_predicted(first, "1/K")[1] in page
    known = json.loads((run.folder / "known.json").read_text())
    assert len(known) > 900
    assert set(known[0]) == {"formula", "refraction", "thermal"}


def test_a_search_goes_up_and_down_as_asked(run):
    trials = pd.read_csv(run.folder / "trials.csv")
    best = trials.nlargest(10, "merit")
    assert best["refraction"].mean() > trials["refraction"].mean()
    assert best["thermal"].mean() < trials["thermal"].mean()


def test_no_own_name_can_hide_a_column(hard_run):
    columns = set(hard_run.candidates) | {"trial", "origin", "merit"}
    for column in columns - set(ENDPOINTS):
        hidden = column.startswith(TAKEN_BEGINNING) or column.endswith(TAKEN_ENDS)
        assert column in TAKEN or hidden, f"{column} may be taken as a property"


def test_another_latent_space_is_told(made, tmp_path):
    folder, _ = made
    models = tmp_path / "models"
    shutil.copytree(folder / "models", models)
    for view in ("composition", "pattern"):
        shutil.copytree(
            find_shipped_models() / f"standard-{view}-vae", models / f"standard-{view}-vae"
        )
    # with autoencoders of its own, a folder gets no shipped heads ...
    assert set(find_heads(models)) == {"refraction", "thermal", "polar"}
    shutil.copytree(find_shipped_models() / NETWORK_MODEL, models / NETWORK_MODEL)
    loaded = Models(models)
    assert "refraction" in PropertyModels.load(lambda: loaded.space, models).heads
    # ... and heads that were made for others are refused
    header = json.loads((models / "standard-refraction" / HEADER_FILE).read_text())
    header["built_on"]["standard-pattern-vae"] = "0" * 64
    (models / "standard-refraction" / HEADER_FILE).write_text(json.dumps(header))
    with pytest.raises(ArtefactError, match="trained with another standard-pattern-vae"):
        PropertyModels.load(lambda: loaded.space, models)


def test_a_mistyped_models_folder_is_told(tmp_path):
    with pytest.raises(ArtefactError, match="no model at"):
        _ = Models(tmp_path / "modls").properties


def test_unfit_labels_are_told_before_anything_is_trained(made, starter, tmp_path):
    folder, _ = made
    data = folder / "table" / "materials.parquet"
    (tmp_path / "a.toml").write_text('a = { column = "n_refrr" }')
    with pytest.raises(InputError, match=r'no column "n_refrr"\. Did you mean "n_refr"'):
        train_models(data=data, out=tmp_path / "models", properties=tmp_path / "a.toml")
    rows = np.flatnonzero(~np.isnan(starter.label("n_refr")))[:60]
    write_materials(starter.take(rows), tmp_path / "few")
    (tmp_path / "b.toml").write_text('b = { column = "n_refr" }')
    with pytest.raises(
        InputError, match=r"too few rows with a value .* 60 .* expected at least 50 train"
    ):
        train_models(
            data=tmp_path / "few" / "materials.parquet",
            out=tmp_path / "models",
            properties=tmp_path / "b.toml",
        )
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (334.2, 289.4, 378.9, "334 (289-379)"),
        (185.0, 84.9, 276.8, "185 (85-277)"),
        (2.194, 1.78, 2.69, "2.19 (1.78-2.69)"),
        (-1.5, -1.7, -1.2, "-1.50 (-1.70..-1.20)"),
        (2.5e-6, 1e-6, 4e-6, "2.50e-06 (1.00e-06-4.00e-06)"),
        (0.0, 0.0, 0.0, "0.00 (0.00-0.00)"),
    ],
)
def test_printed_intervals(value, low, high, text):
    assert _format_interval(PredictedValue(value, low, high)) == text
