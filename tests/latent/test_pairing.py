from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MixtureSameFamily, Normal
from torch.distributions.categorical import Categorical

from matlode.errors import ArtefactError
from matlode.latent.pairing import PAIRING_MODEL, Pairing, PairingNet
from matlode.latent.training import TrainingSettings, train
from matlode.testing import SINGLE_PRECISION


def points(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 24, generator=generator), torch.randn(n, 64, generator=generator)


def tied(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pattern points whose first half follows the composition point."""
    composition, pattern = points(n, seed)
    pattern[:, :24] = 0.8 * composition + 0.3 * pattern[:, :24]
    return composition, pattern


@pytest.fixture(scope="module")
def trained() -> Pairing:
    torch.manual_seed(0)
    network = PairingNet(width=32, blocks=1, components=2)
    settings = TrainingSettings(max_epochs=12, batch_size=64)
    train(network, tied(4000), tied(500, seed=1), settings)
    return Pairing(network)


def test_densities_are_those_of_a_mixture_of_gaussians():
    torch.manual_seed(0)
    network = PairingNet(width=8, blocks=1, components=3)
    composition, pattern = points(5)
    log_weights, means, log_sigma = network.mixture(composition)
    expected = MixtureSameFamily(
        Categorical(logits=log_weights), Independent(Normal(means, log_sigma.exp()), 1)
    ).log_prob(pattern)
    torch.testing.assert_close(network.log_given(composition, pattern), expected)


def test_every_weight_is_learned():
    network = PairingNet(width=8, blocks=1, components=3)
    network.training_loss(points(5))["loss"].backward()
    for name, weight in network.named_parameters():
        assert weight.grad.abs().max() > 0, name


def test_pairs_are_told_from_shuffled_ones(trained):
    composition, pattern = (z.numpy() for z in tied(1000, seed=2))
    together = trained.affinity(composition, pattern)
    apart = trained.affinity(composition, pattern[::-1])
    assert (together > apart).mean() > 0.9
    assert together.mean() > 5


def test_drawn_patterns_go_with_their_composition(trained):
    composition = points(2000, seed=3)[0].numpy()
    drawn = trained.draw(composition, np.random.default_rng(0))
    assert drawn.shape == (2000, 64)
    correlation = np.corrcoef(drawn[:, :24].T, composition.T)[:24, 24:].diagonal()
    assert correlation.min() > 0.7
    assert trained.affinity(composition, drawn).mean() > 5


def test_the_same_seed_draws_the_same(trained):
    composition = points(10)[0].numpy()
    one, two = (trained.draw(composition, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_no_points_are_fine(trained):
    none = np.zeros((0, 24)), np.zeros((0, 64))
    assert trained.affinity(*none).shape == (0,)
    assert trained.draw(none[0], np.random.default_rng(0)).shape == (0, 64)


def test_what_is_saved_comes_back(tmp_path):
    torch.manual_seed(0)
    pairing = Pairing(PairingNet())
    pairing.save(tmp_path, {})
    again = Pairing.load(tmp_path / PAIRING_MODEL)
    z = [part.numpy() for part in points(20)]
    # weights are kept in half precision
    np.testing.assert_allclose(again.affinity(*z), pairing.affinity(*z), atol=0.3)
    again.save(tmp_path / "twice", {})
    twice = Pairing.load(tmp_path / "twice" / PAIRING_MODEL)
    np.testing.assert_allclose(twice.affinity(*z), again.affinity(*z), rtol=SINGLE_PRECISION)


def test_another_architecture_is_refused(tmp_path):
    Pairing(PairingNet(width=8)).save(tmp_path, {})
    with pytest.raises(ArtefactError, match="another architecture"):
        Pairing.load(tmp_path / PAIRING_MODEL)
