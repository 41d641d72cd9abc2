"""The training job on the starter set, cut short: that it runs, resumes and tells the truth."""

from dataclasses import replace

import numpy as np
import pytest

from matlode.artefacts import find_shipped_models, load_header
from matlode.data.splits import TEST
from matlode.errors import GoalError
from matlode.latent.space import LatentSpace
from matlode.properties.endpoints import ENDPOINTS
from matlode.properties.models import PropertyModels
from matlode.properties.network import NETWORK_MODEL
from matlode.properties.scores import BASELINES
from matlode.training import property_recipes
from matlode.training.model_table import MODELS, STANDARD_MODELS
from matlode.training.table import TrainingTable
from matlode.training.train import train_models


@pytest.fixture(scope="module")
def small_table():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MATLODE_DATA", raising=False)
        table = TrainingTable.load()
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(len(table.materials))[:600])
    return replace(table, materials=table.materials.take(rows))


@pytest.fixture(scope="module")
def trained(small_table, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(TrainingTable, "load", classmethod(lambda cls, path=None: small_table))
    # those of every property would take minutes
    patch.setattr(property_recipes, "BASELINES", {"mean": BASELINES["mean"]})
    folder = tmp_path_factory.mktemp("models")
    headers = train_models(epochs=2, out=folder)
    yield folder, headers
    patch.undo()


def test_every_standard_model_is_made(trained):
    folder, headers = trained
    assert tuple(headers) == STANDARD_MODELS
    assert set(headers) == {name for name in MODELS if not name.startswith("reference")}
    for name, header in headers.items():
        assert load_header(folder / name) == header
        assert header["trained_on"]["rows"] == 600


def test_test_rows_are_never_learned_from(trained, small_table):
    _, headers = trained
    rows = headers[NETWORK_MODEL]["rows"]
    assert {"bulk_modulus", "formation_energy", "volume_per_atom"} <= rows.keys()
    for name, counts in rows.items():
        labelled = ~np.isnan(small_table.labels(ENDPOINTS[name]))
        assert counts[TEST] == (labelled & (small_table.roles == TEST)).sum()
        assert sum(counts.values()) == labelled.sum()


def test_trained_models_load_and_predict(trained, small_table):
    folder, _ = trained
    space = LatentSpace.load(folder)
    models = PropertyModels.load(lambda: space, folder)
    estimates = models.predict(
        small_table.compositions[:7], small_table.patterns[:7], case="simulated"
    )
    assert estimates.keys() == models.endpoints.keys()
    assert {"bulk_modulus", "vickers_hardness", "density"} <= estimates.keys()
    assert all(np.isfinite(e.value).all() for e in estimates.values())


def test_what_is_there_is_kept(trained):
    folder, headers = trained
    before = {name: (folder / name / "model.json").stat().st_mtime_ns for name in headers}
    train_models(epochs=2, out=folder)
    assert before == {name: (folder / name / "model.json").stat().st_mtime_ns for name in headers}


def test_unknown_models_are_told(tmp_path):
    complaint = r'unknown model "standard-patern-vae"\. Did you mean "standard-pattern-vae"'
    with pytest.raises(GoalError, match=complaint):
        train_models(["standard-patern-vae"], out=tmp_path)


def test_shipped_models_were_trained_on_the_full_table():
    for name in STANDARD_MODELS:
        assert load_header(find_shipped_models() / name)["trained_on"]["rows"] > 70_000
