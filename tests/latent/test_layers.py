"""First weights have the variance that their names promise; unknown names are told; the way
through the spectrum is a convolution."""

import pytest
import torch
from torch import nn

from matlode.errors import GoalError
from matlode.latent.layers import (
    ACTIVATIONS,
    INITIALIZERS,
    FourierConv,
    SparseDropout,
    initialise_weights,
    make_activation,
    make_convolution,
)

DRAWN = 0.02
"""Relative error of a variance of 60,000 draws."""


@pytest.mark.parametrize("scheme", INITIALIZERS)
def test_kernels_have_the_variance_of_their_scheme(scheme):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(200, 300), nn.Conv2d(20, 300, (1, 10)))
    initialise_weights(model, scheme)
    for layer in model:
        wanted = (1 if scheme == "lecun_normal" else 2) / 200
        assert layer.weight.var().item() == pytest.approx(wanted, rel=DRAWN)
        assert not layer.bias.any()
        if scheme == "he_uniform":
            assert layer.weight.abs().max() <= (6 / 200) ** 0.5


def test_unknown_names_are_told():
    with pytest.raises(GoalError, match='Did you mean "he_normal"'):
        initialise_weights(nn.Linear(2, 2), "he_norm")
    with pytest.raises(GoalError, match='Did you mean "selu"'):
        make_activation("sellu")
    assert all(make_activation(name) for name in ACTIVATIONS)


@pytest.mark.parametrize(("length", "kernel", "padding"), [(266, 37, 18), (50, 50, 0), (31, 8, 3)])
def test_fourier_convolution_is_a_convolution(length, kernel, padding):
    torch.manual_seed(0)
    layer = FourierConv(5, 3, kernel, padding)
    x = torch.randn(2, 5, 1, length, requires_grad=True)
    results = []
    for y in (layer(x), nn.Conv2d.forward(layer, x)):
        layer.zero_grad()
        x.grad = None
        y.pow(2).sum().backward()
        results.append([y, x.grad, layer.weight.grad, layer.bias.grad])
    for ours, direct in zip(*results, strict=True):
        torch.testing.assert_close(ours, direct, rtol=1e-4, atol=1e-4)


def test_weights_fit_either_form_of_a_convolution():
    long, short = make_convolution(104, 51, 37, 1, 18), make_convolution(1, 51, 37, 1, 18)
    assert isinstance(long, FourierConv)
    assert not isinstance(short, FourierConv)
    direct = nn.Conv2d(104, 51, (1, 37), padding=(0, 18))
    direct.load_state_dict(long.state_dict())


@pytest.mark.parametrize("channels_last", [False, True])
def test_sparse_dropout_drops_at_its_rate_and_keeps_the_mean(channels_last):
    torch.manual_seed(0)
    x = torch.ones(40, 5, 1, 1000)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_(True)
    y = SparseDropout(0.05)(x)
    assert (y == 0).float().mean().item() == pytest.approx(0.05, rel=5 * DRAWN)
    assert y.mean().item() == pytest.approx(1, abs=0.05 * 5 * DRAWN)
    assert y.is_contiguous(memory_format=torch.channels_last) or not channels_last
    y.sum().backward()
    # what was dropped learns nothing, the rest as it was scaled
    torch.testing.assert_close(x.grad, y.detach())


def test_sparse_dropout_is_for_training():
    x = torch.randn(3, 50)
    assert torch.equal(SparseDropout(0.5).eval()(x), x)
    assert torch.equal(SparseDropout(0.0)(x), x)
    assert not torch.equal(SparseDropout(0.5)(x), x)
