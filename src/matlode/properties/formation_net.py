"""The paper's stability classifier: a dense network on the latent variables (Table S1)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.latent.layers import initialise_weights, make_activation
from matlode.latent.networks import COMPOSITION_LATENT, PATTERN_LATENT
from matlode.properties.stored import FORMATION_NET as FORMATION_NET


class ReferenceFormationNet(nn.Module):
    """88 latent variables → probability that the formation energy is not positive.

    Three dense layers with ``units`` units, each followed by dropout, and a sigmoid output. The
    points are standardised, since latent noise of 1e-4 makes latent variables small.
    """

    centre: Tensor
    """(88,)."""
    scale: Tensor
    """(88,)."""

    def __init__(
        self,
        *,
        units: int = 171,
        dropout: float = 0.347,
        activation: str = "elu",
        initializer: str = "lecun_normal",
    ) -> None:
        super().__init__()
        sizes = (COMPOSITION_LATENT + PATTERN_LATENT, units, units, units)
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), make_activation(activation), nn.Dropout(dropout)]
        self.net = nn.Sequential(*layers, nn.Linear(units, 1))
        self.register_buffer("centre", torch.zeros(sizes[0]))
        self.register_buffer("scale", torch.ones(sizes[0]))
        initialise_weights(self, initializer)

    def fit(self, points: Tensor) -> None:
        """Set the scaling from training points (n, 88)."""
        self.centre.copy_(points.mean(0))
        spread = points.std(0)
        # a constant variable carries no information
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))

    def forward(self, points: Tensor) -> Tensor:
        """Logits (batch,) of latent points (batch, 88)."""
        logits: Tensor = self.net((points - self.centre) / self.scale)[:, 0]
        return logits

    def chance(self, points: Tensor) -> Tensor:
        """Probabilities (batch,) of latent points (batch, 88)."""
        with torch.inference_mode():
            return torch.sigmoid(self(points))

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Cross-entropy of a batch (points (n, 88), labels 0 or 1 (n,))."""
        points, label = batch
        return {"loss": F.binary_cross_entropy_with_logits(self(points), label)}
