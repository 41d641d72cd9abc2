"""Expected volumes: additive to first order, calibrated, and the same in NumPy and PyTorch."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from matlode.artefacts import load_artefact, save_artefact
from matlode.errors import ArtefactError
from matlode.latent.weights import extract_weights
from matlode.properties.expected_volume import MAX_BAND_RATIO, VOLUME_MODEL, ExpectedVolume
from matlode.properties.volume_net import VolumeNet
from matlode.representation.composition import compute_formula_vectors
from matlode.testing import ROUND_OFF, SINGLE_PRECISION

FORMULAS = ["NaCl", "SrTiO3", "Si", "Fe", "BaTi2Bi2O", "Na2Zr2(SiO4)3"]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = VolumeNet(width=8).eval()
    torch.nn.init.normal_(network.net.last.weight, std=0.05)
    return network


@pytest.fixture(scope="module")
def fitted(network):
    rng = np.random.default_rng(0)
    compositions = rng.dirichlet(np.ones(4), 3000)
    compositions = np.pad(compositions, ((0, 0), (7, 89)))
    volumes = np.exp(rng.normal(2.9, 0.3, 3000))
    half = slice(0, 1500), slice(1500, None)
    model = ExpectedVolume.calibrate(
        extract_weights(network), compositions[half[0]], volumes[half[0]]
    )
    return model, compositions[half[1]], volumes[half[1]]


def test_numpy_predicts_as_pytorch_does(network):
    compositions = compute_formula_vectors(FORMULAS)
    model = ExpectedVolume(extract_weights(network), np.zeros((2, 2)))
    with torch.inference_mode():
        expected = network(torch.from_numpy(compositions.astype(np.float32))).numpy()
    found = model.predict(compositions)
    assert_allclose(np.log(found.value), expected[:, 0], atol=10 * SINGLE_PRECISION)
    assert_allclose(found.low, found.value)


def test_intervals_hold_what_they_promise(fitted):
    model, compositions, volumes = fitted
    interval, band = model.predict(compositions), model.predict_band(compositions)
    for found, coverage in ((interval, 0.9), (band, 0.995)):
        assert (found.low <= found.value).all()
        assert (found.value <= found.high).all()
        inside = (found.low <= volumes) & (volumes <= found.high)
        assert inside.mean() == pytest.approx(coverage, abs=0.02)
    assert (band.high >= interval.high).all()


def test_what_is_saved_can_be_loaded(fitted, tmp_path):
    model, compositions, _ = fitted
    model.save(tmp_path, {"scores": {}})
    again = ExpectedVolume.load(tmp_path).predict(compositions)
    assert_allclose(again.value, model.predict(compositions).value, rtol=0.02)  # half precision


def test_a_damaged_model_says_what_to_do(fitted, tmp_path):
    fitted[0].save(tmp_path, {})
    arrays = {**load_artefact(tmp_path / VOLUME_MODEL).arrays, "factors": np.ones((2, 2))}
    save_artefact(tmp_path / VOLUME_MODEL, kind="volume", header={}, arrays=arrays)
    with pytest.raises(ArtefactError, match="train models expected-volume"):
        ExpectedVolume.load(tmp_path)


def test_shipped_model_knows_common_solids(models):
    # volumes per atom from measured cells: NaCl, SrTiO3, Fe, NiAl
    compositions = compute_formula_vectors(["NaCl", "SrTiO3", "Fe", "NiAl"])
    found = models.expected_volume.predict(compositions)
    assert_allclose(found.value, [22.4, 11.9, 11.8, 12.0], rtol=0.1)


def test_no_band_is_wider_than_its_limit(models):
    band = models.expected_volume.predict_band(np.eye(100))
    assert (band.high / band.value).max() == pytest.approx(MAX_BAND_RATIO)
    assert (band.value / band.low).max() <= MAX_BAND_RATIO * (1 + ROUND_OFF)
