"""The one table of models: what each entry must say."""

from dataclasses import replace

import pytest

from matlode.latent.networks import AUTOENCODERS
from matlode.latent.training import TrainingSettings
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.trees import TreeSettings
from matlode.screening.symmetry_nets import SYMMETRY_NETS
from matlode.training.model_table import MODELS, STANDARD_MODELS, list_models

OWN = Endpoint(name="hardness_by_us", unit="GPa", column="h")


@pytest.mark.parametrize("name", MODELS)
def test_a_spec_agrees_with_itself(name):
    spec = MODELS[name]
    assert spec.name == name
    if spec.kind == "autoencoder":
        assert name == f"{spec.face}-{spec.view}-vae"
        assert spec.network is AUTOENCODERS[spec.face, spec.view]
    if spec.kind == "symmetry":
        assert spec.network is SYMMETRY_NETS[name]
    assert isinstance(spec.settings, TreeSettings) == (spec.kind == "head") == spec.is_head
    assert (spec.endpoint is not None) == (spec.kind in ("head", "formation-net"))
    if spec.has_sizes or spec.tensors:
        assert spec.network is not None
        assert isinstance(spec.settings, TrainingSettings)
    assert not spec.architecture


def test_models_stand_behind_those_that_they_build_on():
    names = list(MODELS)
    for face in ("standard", "reference"):
        views = [f"{face}-composition-vae", f"{face}-pattern-vae"]
        others = [n for n, spec in MODELS.items() if spec.face == face and n not in views]
        assert max(map(names.index, views)) < min(map(names.index, others))
    assert STANDARD_MODELS[2:5] == ("standard-pairing", "expected-volume", "standard-properties")


def test_every_property_of_the_paper_has_a_reference_model():
    predicted = {s.endpoint.name for s in MODELS.values() if s.endpoint is not None}
    assert predicted == set(ENDPOINTS)


def test_own_properties_get_a_head_in_either_face():
    models = list_models([*ENDPOINTS.values(), OWN])
    assert list(models)[: len(MODELS)] == list(MODELS)
    assert list(models)[len(MODELS) :] == ["standard-hardness-by-us", "reference-hardness-by-us"]
    for name in list(models)[len(MODELS) :]:
        assert models[name].endpoint == OWN
        assert models[name].is_head


def test_settings_of_a_file_change_settings_and_sizes():
    spec = MODELS["reference-composition-vae"]
    changed = spec.with_settings({"units": [9, 8], "batch_size": 32})
    assert changed.training == replace(spec.training, batch_size=32)
    assert changed.architecture == {"units": [9, 8]}
    assert changed.build_network().state_dict().keys() == spec.build_network().state_dict().keys()
    assert not spec.architecture
