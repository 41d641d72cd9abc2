"""First weights have the variance that their names promise; unknown names are told."""

import pytest
import torch
from torch import nn

from matlode.errors import GoalError
from matlode.latent.layers import ACTIVATIONS, INITIALIZERS, activation_layer, initialise

DRAWN = 0.02
"""Relative error of a variance of 60,000 draws."""


@pytest.mark.parametrize("scheme", INITIALIZERS)
def test_kernels_have_the_variance_of_their_scheme(scheme):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 300), nn.Conv2d(20, 300, (1, 10)))
    initialise(model, scheme)
    for layer in model:
        wanted = (1 if scheme == "lecun_normal" else 2) / 200
        assert layer.weight.var().item() == pytest.approx(wanted, rel=DRAWN)
        assert not layer.bias.any()
        if scheme == "he_uniform":
            assert layer.weight.abs().max() <= (6 / 200) ** 0.5


def test_unknown_names_are_told():
    with pytest.raises(GoalError, match='Did you mean "he_normal"'):
        initialise(nn.Linear(2, 2), "he_norm")
    with pytest.raises(GoalError, match='Did you mean "selu"'):
        activation_layer("sellu")
    assert all(activation_layer(name) for name in ACTIVATIONS)
