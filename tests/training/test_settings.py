"""Settings files: what they may say, and that the models of all kinds listen."""

from dataclasses import replace

import numpy as np
import pytest

from matlode.errors import GoalError, InputError
from matlode.screening.symmetry import SymmetryClassifier
from matlode.screening.symmetry_answers import REFERENCE_SYMMETRY_MODEL
from matlode.training.model_table import MODELS
from matlode.training.settings import read_settings, write_settings
from matlode.training.table import TrainingTable
from matlode.training.train import train_models


def written(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "model", sorted(MODELS.keys() - {"pattern-characteristics", "known-formulas"})
)
def test_what_is_written_is_read_back(model, tmp_path):
    values = MODELS[model].list_settings()
    write_settings(tmp_path / "s.toml", model, values, "two\nlines")
    assert read_settings(tmp_path / "s.toml", MODELS) == {model: values}


@pytest.mark.parametrize("model", [name for name, spec in MODELS.items() if spec.has_sizes])
def test_defaults_are_what_networks_take(model):
    spec = MODELS[model]
    again = spec.with_settings(spec.list_settings())
    assert again.architecture
    shapes = [
        {name: tuple(weights.shape) for name, weights in s.build_network().named_parameters()}
        for s in (spec, again)
    ]
    assert shapes[0] == shapes[1]
    assert again.settings == spec.settings


def test_lambda_is_written_as_xgboost_has_it(tmp_path):
    write_settings(tmp_path / "s.toml", "reference-band-gap", {"lambda_": 2.5}, "")
    assert "\nlambda = 2.5" in (tmp_path / "s.toml").read_text()
    (given,) = read_settings(tmp_path / "s.toml", MODELS).values()
    assert MODELS["reference-band-gap"].with_settings(given).trees.lambda_ == 2.5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[reference-compositions-vae]", 'Did you mean "reference-composition-vae"'),
        ("[known-formulas]\nl1 = 1", "has no settings"),
        ("reference-pattern-vae = 3", "write a table"),
        ("[reference-pattern-vae]\nfilter = [1, 2, 3]", 'Did you mean "filters"'),
        ("[reference-pattern-vae]\nfilters = [1, 2]", "expected a list of 3"),
        ("[reference-pattern-vae]\nfilters = [1, 2, 0.5]", "expected a whole number from 1 on"),
        ("[reference-pattern-vae]\ndropout = true", "expected a number from 0"),
        ('[reference-pattern-vae]\nactivation = "sellu"', 'Did you mean "selu"'),
        ("[reference-pattern-vae]\nl1 = nan", "expected a number from 0 on"),
        ("[reference-pattern-vae]\nl1 = 1" + 400 * "0", "expected a number from 0 on"),
        ("[reference-band-gap]\nsubsample = 0", "above 0, at most 1"),
    ],
)
def test_what_cannot_be_is_refused_with_the_place(text, complaint, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(GoalError) as caught:
        read_settings(path, MODELS)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_toml_is_told(tmp_path):
    with pytest.raises(InputError, match="not a readable TOML"):
        read_settings(written(tmp_path, "units = "), MODELS)


def test_the_papers_classifier_of_other_sizes_comes_back(tmp_path, monkeypatch):
    monkeypatch.delenv("MATLODE_DATA", raising=False)
    whole = TrainingTable.load()
    few = np.sort(np.random.default_rng(0).permutation(len(whole.materials))[:300])
    small = replace(whole, materials=whole.materials.take(few))
    monkeypatch.setattr(TrainingTable, "load", classmethod(lambda cls, path=None: small))
    path = written(
        tmp_path,
        "[reference-composition-vae]\n[reference-pattern-vae]\n[reference-space-group]\n"
        "filters = [3, 3, 2]\nstrides = [3, 3, 3]\npool = 4\n"
        'units = [7, 6]\nactivation = "tanh"\nbatch_size = 512\n',
    )
    headers = train_models(out=tmp_path, settings=path, epochs=1)
    assert REFERENCE_SYMMETRY_MODEL in headers
    assert headers[REFERENCE_SYMMETRY_MODEL]["architecture"]["units"] == [7, 6]
    again = SymmetryClassifier.load(tmp_path, name=REFERENCE_SYMMETRY_MODEL)
    assert again.network.network.dense[-1].in_features == 6
