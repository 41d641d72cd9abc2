"""The paper's stability classifier."""

import numpy as np
import torch

from matlode.latent.training import TrainingSettings, train
from matlode.properties.formation_net import ReferenceFormationNet


def test_it_learns_which_side_of_a_plane_points_lie_on():
    torch.manual_seed(0)
    points = torch.randn(2000, 88)
    label = (points[:, 0] + points[:, 1] > 0).float()
    network = ReferenceFormationNet()
    settings = TrainingSettings(
        optimizer="adam", schedule="constant", batch_size=64, max_epochs=5, patience=5
    )
    train(network, [points[:1500], label[:1500]], [points[1500:], label[1500:]], settings)
    chance = network.chance(points[1500:]).numpy()
    assert ((chance > 0.5) == label[1500:].numpy()).mean() > 0.9
    assert np.all((chance > 0) & (chance < 1))


def test_its_size_is_the_papers():
    # Table S1: three layers of 171 units on 24 + 64 latent variables
    n = 88 * 171 + 171 + 2 * (171 * 171 + 171) + 171 + 1
    assert sum(p.numel() for p in ReferenceFormationNet().parameters()) == n


def test_it_does_not_depend_on_the_units_of_the_latent_variables():
    points = torch.randn(50, 88)
    chances = []
    for scale in (1.0, 1e-3):
        torch.manual_seed(0)
        network = ReferenceFormationNet().eval()
        network.fit(scale * points)
        chances.append(network.chance(scale * points))
    torch.testing.assert_close(*chances, rtol=1e-4, atol=1e-5)
