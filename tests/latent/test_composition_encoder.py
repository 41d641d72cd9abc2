import numpy as np
import pytest
import torch

from matlode.latent.composition_encoder import CompositionEncoder
from matlode.representation.composition import compute_formula_vectors
from matlode.testing import SINGLE_PRECISION

FORMULAS = ["NaCl", "SrTiO3", "Fe", "BaFeNbMnO7"]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return CompositionEncoder().eval()


def encode(encoder, formulas):
    with torch.inference_mode():
        return encoder(torch.from_numpy(compute_formula_vectors(formulas)).float()).numpy()


def test_a_formula_means_the_same_in_any_company(encoder):
    # others in the batch add padding tokens
    together = encode(encoder, FORMULAS)
    for row, formula in enumerate(FORMULAS):
        np.testing.assert_allclose(
            encode(encoder, [formula])[0], together[row], atol=10 * SINGLE_PRECISION
        )


def test_formulas_are_told_apart_by_elements_and_by_amounts(encoder):
    features = encode(encoder, ["NaCl", "KCl", "NaCl2", "Na2Cl"])
    for i in range(4):
        for j in range(i):
            assert abs(features[i] - features[j]).max() > 0.01


def test_an_unknown_composition_and_no_rows_give_finite_features(encoder):
    with torch.inference_mode():
        unknown = encoder(torch.zeros(2, 100))
        assert encoder(torch.zeros(0, 100)).shape == (0, encoder.n_out)
    assert torch.isfinite(unknown).all()


def test_gradients_reach_every_parameter(encoder):
    encoder(torch.from_numpy(compute_formula_vectors(FORMULAS)).float()).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    encoder.zero_grad()
