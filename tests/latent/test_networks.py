from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from matlode.latent.networks import (
    AUTOENCODERS,
    N_COMPOSITION,
    N_PATTERN,
    StandardCompositionVAE,
    StandardPatternVAE,
    VariationalAutoencoder,
)
from matlode.representation.composition import formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.testing import SINGLE_PRECISION, SMALL_CRYSTALS
from tests.latent.conftest import TINY

ACCUMULATED_SINGLE = 1e-4
"""Relative error of float32 sums over a thousand terms and several layers."""
FORMULAS = ["NaCl", "SrTiO3", "Si", "CaF2", "LiFePO4"]

every = pytest.mark.parametrize("key", TINY, ids="-".join)
compositions = pytest.mark.parametrize(
    "key", [("reference", "composition"), ("standard", "composition")], ids="-".join
)


def network(key: tuple[str, str], seed: int = 0) -> VariationalAutoencoder:
    torch.manual_seed(seed)
    return TINY[key]().eval()


def data(key: tuple[str, str]) -> torch.Tensor:
    if key[1] == "composition":
        return torch.from_numpy(formula_vectors(FORMULAS)).float()
    return torch.from_numpy(simulate_patterns([build() for build in SMALL_CRYSTALS.values()][:5]))


def points(key: tuple[str, str], n: int = 5, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(n, TINY[key]().latent_size, generator=generator)


def test_tiny_networks_are_those_of_the_registry():
    assert {key: build.func for key, build in TINY.items()} == AUTOENCODERS


@every
def test_shapes_go_in_and_come_out(key):
    x = data(key)
    model = network(key)
    mean, log_variance = model.encode(x)
    assert mean.shape == log_variance.shape == (len(x), model.latent_size)
    assert model.decode(mean).shape == x.shape
    assert model.latent_size == {"composition": 24, "pattern": 64}[key[1]]
    assert x.shape[1] == {"composition": N_COMPOSITION, "pattern": N_PATTERN}[key[1]]


@every
def test_a_batch_is_its_rows_one_by_one(key):
    model, x, z = network(key), data(key), points(key)
    means = torch.cat([model.encode(row[None])[0] for row in x])
    torch.testing.assert_close(model.encode(x)[0], means, rtol=0, atol=ACCUMULATED_SINGLE)
    decoded = torch.cat([model.decode(row[None]) for row in z])
    torch.testing.assert_close(model.decode(z), decoded, rtol=0, atol=ACCUMULATED_SINGLE)


@every
def test_an_empty_batch_is_a_batch(key):
    model, x = network(key), data(key)
    assert model.encode(x[:0])[0].shape == (0, model.latent_size)
    assert model.decode(points(key, 0)).shape == (0, x.shape[1])


@every
def test_terms_are_those_of_the_evidence_lower_bound(key):
    model, x = network(key), data(key)
    terms = model.training_loss((x,), warmth=0.3)
    mean, log_variance = model.encode(x)
    kl = kl_divergence(Normal(mean, torch.exp(0.5 * log_variance)), Normal(0, 1)).sum(1).mean()
    torch.testing.assert_close(terms["kl"], kl, rtol=ACCUMULATED_SINGLE, atol=ACCUMULATED_SINGLE)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 0.3 * terms["kl"])
    torch.testing.assert_close(terms["reconstruction"], model.reconstruction_loss(x, mean).mean())
    assert terms["kl"] >= 0


@every
def test_noise_is_drawn_in_training_only(key):
    model, x = network(key), data(key)
    assert model.training_loss((x,))["loss"] == model.training_loss((x,))["loss"]
    model.train()
    assert model.training_loss((x,))["loss"] != model.training_loss((x,))["loss"]


@every
def test_every_weight_is_learned(key):
    model = network(key).train()
    model.training_loss((data(key),))["loss"].backward()
    for name, weight in model.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0, name


@every
def test_steps_down_the_gradient_lower_the_loss(key):
    model, x = network(key), data(key)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        loss = model.training_loss((x,))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@every
def test_an_encoder_gone_wild_stays_finite(key):
    model, x = network(key), data(key)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(30)
    assert torch.isfinite(model.training_loss((x,))["kl"])


@compositions
@given(seed=st.integers(0, 1000))
def test_decoded_compositions_are_fractions(key, seed):
    decoded = network(key).decode(points(key, seed=seed))
    assert (decoded >= 0).all()
    torch.testing.assert_close(decoded.sum(1), torch.ones(5), rtol=0, atol=SINGLE_PRECISION)


@compositions
@given(seed=st.integers(0, 1000), elements=st.sets(st.integers(0, 99), min_size=1, max_size=100))
def test_forbidden_elements_never_come_out(key, seed, elements):
    allowed = torch.zeros(N_COMPOSITION, dtype=torch.bool)
    allowed[list(elements)] = True
    decoded = network(key).decode(points(key, seed=seed), allowed)
    assert (decoded[:, ~allowed] == 0).all()
    torch.testing.assert_close(decoded.sum(1), torch.ones(5), rtol=0, atol=SINGLE_PRECISION)


@every
def test_allowing_everything_changes_nothing(key):
    model, z = network(key), points(key)
    everything = torch.ones(data(key).shape[1], dtype=torch.bool)
    torch.testing.assert_close(
        model.decode(z, everything), model.decode(z), rtol=0, atol=SINGLE_PRECISION
    )


@given(seed=st.integers(0, 1000))
def test_decoded_patterns_have_their_strongest_point_at_one(seed):
    decoded = network(("standard", "pattern")).decode(points(("standard", "pattern"), seed=seed))
    assert (decoded >= 0).all()
    torch.testing.assert_close(decoded.amax(1), torch.ones(5), rtol=0, atol=SINGLE_PRECISION)


def test_reference_patterns_lie_between_nothing_and_one():
    key = ("reference", "pattern")
    decoded = network(key).decode(points(key))
    assert (decoded >= 0).all()
    assert (decoded <= 1).all()


def test_the_reference_composition_loss_is_binary_cross_entropy():
    key = ("reference", "composition")
    model, x, z = network(key), data(key), points(key)
    p = torch.sigmoid(model.decoder(z).double())
    expected = -(x * torch.log(p) + (1 - x) * torch.log(1 - p)).sum(1)
    torch.testing.assert_close(
        model.reconstruction_loss(x, z).double(), expected, rtol=ACCUMULATED_SINGLE, atol=0
    )


def test_the_reference_composition_has_no_element_below_two_percent():
    key = ("reference", "composition")
    decoded = network(key).decode(points(key, n=200))
    alone = (decoded > 0).sum(1) == 1
    assert ((decoded == 0) | (decoded >= 0.02) | alone[:, None]).all()


def test_the_standard_composition_loss_is_multinomial_plus_bernoulli():
    key = ("standard", "composition")
    torch.manual_seed(0)
    model = StandardCompositionVAE(width=16, blocks=1, atoms_seen=7.0, support_weight=3.0).eval()
    x, z = data(key), points(key)
    support, amounts = (part.double().detach() for part in model.decoder(z).chunk(2, dim=1))
    present = x > 0
    which = -torch.where(present, F.logsigmoid(support), F.logsigmoid(-support)).sum(1)
    share = torch.where(present, amounts.exp(), 0.0)
    share = share / share.sum(1, keepdim=True)
    how_much = rel_entr(x.double().numpy(), share.numpy()).sum(1)
    expected = 3.0 * which + 7.0 * torch.from_numpy(how_much)
    torch.testing.assert_close(
        model.reconstruction_loss(x, z).double(), expected, rtol=ACCUMULATED_SINGLE, atol=0
    )


def test_the_standard_pattern_loss_is_gaussian_in_square_roots():
    key = ("standard", "pattern")
    torch.manual_seed(0)
    model = StandardPatternVAE(width=16, blocks=1, noise=0.1).eval()
    x, z = data(key), points(key)
    decoded = model.decoder(z).double()
    at, best = (Normal(mean, 0.1).log_prob(x.double().sqrt()) for mean in (decoded, x.sqrt()))
    torch.testing.assert_close(
        model.reconstruction_loss(x, z).double(),
        (best - at).sum(1),
        rtol=ACCUMULATED_SINGLE,
        atol=0,
    )


@pytest.mark.parametrize(
    ("view", "sizes"),
    [
        ("composition", [(95, 100), (50, 95), (24, 50), (50, 24), (95, 50), (100, 95)]),
        ("pattern", [(16, 1, 1, 4), (17, 16, 1, 4), (693, 37 * 200), (403, 693), (64, 403)]),
    ],
)
def test_the_reference_has_the_sizes_of_the_papers_table_s1(view, sizes):
    shapes = {tuple(weight.shape) for weight in AUTOENCODERS["reference", view]().parameters()}
    assert set(sizes) <= shapes
