from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from matlode.errors import ArtefactError
from matlode.latent.weights import extract_weights
from matlode.representation.composition import composition_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.screening.symmetry import SymmetryClassifier, compute_logits
from matlode.screening.symmetry_answers import REFERENCE_SYMMETRY_MODEL, StandardPredictor
from matlode.screening.symmetry_nets import ReferenceSymmetryNet, SymmetryNet, wrap_network
from matlode.testing import SINGLE_PRECISION

SIZES = {"width": 8, "blocks": 1}
REFERENCE_SIZES = {"filters": [2, 2, 2], "units": [6, 5]}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = SymmetryNet(**SIZES)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.fixture(scope="module")
def materials(starter):
    crystals = starter.crystals.take(np.arange(0, 5785, 97))
    return simulate_patterns(crystals), composition_vectors(crystals).astype(np.float32)


def test_what_answers_says_the_same_as_what_learned(network, materials):
    patterns, compositions = materials
    compositions = compositions.copy()
    compositions[::5] = 0.0  # unknown
    answers = wrap_network(network, Path("x"))(patterns, compositions)
    with torch.inference_mode():
        expected = network(torch.from_numpy(patterns), torch.from_numpy(compositions)).numpy()
    scale = abs(expected).max()
    np.testing.assert_allclose(answers, expected, atol=100 * SINGLE_PRECISION * scale)


def test_no_rows_have_no_logits(network):
    assert compute_logits(wrap_network(network, Path("x")), np.zeros((0, 1601)), None).shape == (
        0,
        230,
    )


@pytest.mark.parametrize(
    "name", ["net.last.bias", "composition.blocks.1.look.weight", "net.first.weight"]
)
def test_weights_of_another_network_are_refused(network, name):
    arrays = extract_weights(network)
    arrays[name] = arrays[name][..., :-1]
    with pytest.raises(
        ArtefactError, match="models/own: weights are damaged or of another architecture"
    ):
        StandardPredictor.of(arrays, Path("models/own"))


def test_temperatures_below_one_come_back(network, materials, tmp_path):
    classifier = SymmetryClassifier(wrap_network(network, tmp_path), 0.7, {"simulated": 0.1})
    classifier.save(tmp_path, {"architecture": SIZES})
    loaded = SymmetryClassifier.load(tmp_path)
    assert (loaded.temperature, loaded.levels) == (0.7, {"simulated": 0.1})
    # weights are kept in half precision
    np.testing.assert_allclose(
        loaded.predict(*materials), classifier.predict(*materials), atol=0.05
    )


def test_the_papers_classifier_comes_back(materials, tmp_path):
    torch.manual_seed(0)
    network = wrap_network(ReferenceSymmetryNet(**REFERENCE_SIZES), tmp_path)
    classifier = SymmetryClassifier(network, 1.5, {"decoded": 0.2})
    classifier.save(tmp_path, {"architecture": REFERENCE_SIZES}, name=REFERENCE_SYMMETRY_MODEL)
    loaded = SymmetryClassifier.load(tmp_path, name=REFERENCE_SYMMETRY_MODEL)
    patterns, _ = materials
    # dropout rests
    np.testing.assert_array_equal(loaded.predict(patterns), loaded.predict(patterns))
    np.testing.assert_allclose(loaded.predict(patterns), classifier.predict(patterns), atol=1e-3)
