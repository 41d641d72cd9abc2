from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from matlode.data.formulas import element_symbols, parse_formula
from matlode.latent.formula_limits import FormulaLimits
from matlode.latent.networks import (
    AUTOENCODERS,
    N_COMPOSITION,
    N_PATTERN,
    StandardCompositionVAE,
    StandardPatternVAE,
    VariationalAutoencoder,
    _between,
    _whole_numbers,
)
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.diffraction import simulate_patterns
from matlode.testing import SINGLE_PRECISION, SMALL_CRYSTALS
from tests.latent.conftest import TINY

ACCUMULATED_SINGLE = 1e-4
"""Relative error of float32 sums over a thousand terms and several layers."""
FORMULAS = ["NaCl", "SrTiO3", "Si", "CaF2", "LiFePO4"]

STANDARD = ("standard", "composition")

every = pytest.mark.parametrize("key", TINY, ids="-".join)
compositions = pytest.mark.parametrize(
    "key", [("reference", "composition"), ("standard", "composition")], ids="-".join
)


def network(key: tuple[str, str], seed: int = 0) -> VariationalAutoencoder:
    torch.manual_seed(seed)
    return TINY[key]().eval()


def data(key: tuple[str, str]) -> torch.Tensor:
    if key[1] == "composition":
        return torch.from_numpy(compute_formula_vectors(FORMULAS)).float()
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


def test_the_standard_composition_loss_is_bernoulli_plus_categorical():
    torch.manual_seed(0)
    model = StandardCompositionVAE(width=16, blocks=1, weight=3.0, properties_weight=2.0).eval()
    x, z = data(("standard", "composition")), points(("standard", "composition"))
    order = model.order.tolist()
    out = model.decoder(z).double().detach()
    expected = []
    for row, formula in enumerate(FORMULAS):
        amounts = parse_formula(formula)
        present = [z for z in order if element_symbols()[z] in amounts]
        bits = torch.tensor([float(z in present) for z in order]).double()
        which = F.binary_cross_entropy_with_logits(out[row, :100], bits, reduction="sum")
        how_many = sum(
            -torch.log_softmax(out[row, 100 + 64 * slot : 164 + 64 * slot], 0)[
                amounts[element_symbols()[z]] - 1
            ]
            for slot, z in enumerate(present)
        )
        means = (x[row, :, None] * model.element_properties).sum(0)
        error = model.properties(z[row]).detach() - means
        expected.append(3 * (which + how_many) + 2 * (error.double() ** 2).sum())
    torch.testing.assert_close(
        model.reconstruction_loss(x, z).double(),
        torch.stack(expected),
        rtol=ACCUMULATED_SINGLE,
        atol=0,
    )


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=8).filter(
        lambda amounts: min(amounts) <= 16 and math.gcd(*amounts) == 1
    )
)
def test_fractions_are_the_integers_that_they_came_from(amounts):
    atoms = torch.tensor([amounts + [0] * (8 - len(amounts))])
    share = atoms.float() / atoms.sum()
    assert _whole_numbers(share).tolist() == atoms.tolist()


@given(seed=st.integers(0, 1000))
def test_the_standard_decoder_gives_integer_formulas(seed):
    decoded = network(("standard", "composition")).decode(
        points(("standard", "composition"), seed=seed)
    )
    for row in decoded.double():
        counts = row / row[row > 0].min()
        assert any(
            torch.allclose(n * counts, (n * counts).round(), atol=1e-3) for n in range(1, 65)
        )


def test_amounts_follow_electronegativity():
    model = network(("standard", "composition"))
    _, amounts = model._slots(data(("standard", "composition")))
    # O3 Ti Sr; O4 P Fe Li
    assert amounts[1].tolist() == [3, 1, 1, 0, 0, 0, 0, 0]
    assert amounts[4].tolist() == [4, 1, 1, 1, 0, 0, 0, 0]


@given(seed=st.integers(0, 1000))
def test_points_between_are_exact_for_curves_of_degree_five(seed):
    powers = torch.arange(6.0, dtype=torch.float64)
    weights = torch.randn(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    fine = ((torch.arange(41.0, dtype=torch.float64)[:, None] / 40) ** powers) @ weights
    again = _between(fine[None, ::2])[0]
    # the ends have no neighbours to go by
    torch.testing.assert_close(again[5:-5], fine[5:-5], rtol=0, atol=1e-9)
    assert torch.equal(again[::2], fine[::2])


def test_the_standard_pattern_loss_is_gaussian_in_square_roots():
    key = ("standard", "pattern")
    torch.manual_seed(0)
    model = StandardPatternVAE(width=16, blocks=1, noise=0.1).eval()
    x, z = data(key), points(key)
    decoded = model.decoder(z).double()
    roots = x[:, ::2].double().sqrt()
    at, best = (Normal(mean, 0.1).log_prob(roots) for mean in (decoded, roots))
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


def test_the_likeliest_formula_beats_every_other_of_its_elements():
    model, z = network(STANDARD), points(STANDARD, n=1)
    allowed = np.zeros(N_COMPOSITION, dtype=bool)
    pair = model.order[[10, 40]]
    allowed[pair.numpy()] = True
    amounts, score = model.find_best_formulas(z, 1, FormulaLimits(allowed=allowed, max_atoms=6))
    support, logits = (part[0].double() for part in model._heads(z))
    taken, absent = F.logsigmoid(support[[10, 40]]), F.logsigmoid(-support[[10, 40]])
    q = torch.log_softmax(logits, 1)
    scores = {(n, 0): taken[0] + absent[1] + q[0, n - 1] for n in range(1, 7)}
    scores |= {(0, n): absent[0] + taken[1] + q[0, n - 1] for n in range(1, 7)}
    scores |= {
        (a, b): taken.sum() + q[0, a - 1] + q[1, b - 1]
        for a in range(1, 6)
        for b in range(1, 7 - a)
    }
    best = max(scores, key=scores.get)
    assert tuple(amounts[0, 0, pair].tolist()) == best
    torch.testing.assert_close(
        score[0, 0].double(), scores[best], rtol=ACCUMULATED_SINGLE, atol=ACCUMULATED_SINGLE
    )
