"""The paper's stability classifier: a dense network on the latent variables (Table S1)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FORMATION_NET = "reference-formation-net"


class ReferenceFormationNet(nn.Module):
    """88 latent variables → the chance that the formation energy is not positive.

    Three dense layers of ``units`` with dropout after each; a sigmoid says the chance.
    """

    def __init__(self, *, n_latent: int = 88, units: int = 171, dropout: float = 0.347) -> None:
        super().__init__()
        sizes = (n_latent, units, units, units)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.ELU(), nn.Dropout(dropout)]
        self.net = nn.Sequential(*layers, nn.Linear(units, 1))
        for layer in self.net:
            if isinstance(layer, nn.Linear):  # lecun_normal
                sigma = layer.in_features**-0.5
                nn.init.trunc_normal_(layer.weight, std=sigma, a=-2 * sigma, b=2 * sigma)
                nn.init.zeros_(layer.bias)

    def forward(self, points: Tensor) -> Tensor:
        """Logits (batch,) of latent points (batch, 88)."""
        logits: Tensor = self.net(points)[:, 0]
        return logits

    def chance(self, points: Tensor) -> Tensor:
        """Probabilities (batch,) of latent points (batch, 88)."""
        with torch.inference_mode():
            return torch.sigmoid(self(points))

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Cross-entropy; batch is (points, label 0 or 1)."""
        points, label = batch
        return {"loss": F.binary_cross_entropy_with_logits(self(points), label)}
