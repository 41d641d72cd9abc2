"""The paper's stability classifier: a small network on the 88 latent variables (Table S1)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.latent.networks import COMPOSITION_LATENT, PATTERN_LATENT, single


class ReferenceStabilityNet(nn.Module):
    """88 → 3 dense layers of 171 with dropout → the chance of a negative formation energy."""

    def __init__(self, *, units: int = 171, dropout: float = 0.347) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        n_in = COMPOSITION_LATENT + PATTERN_LATENT
        for _ in range(3):
            layers += [nn.Linear(n_in, units), nn.ELU(), nn.Dropout(dropout)]
            n_in = units
        self.net = nn.Sequential(*layers, nn.Linear(units, 1))
        for module in self.net:
            if isinstance(module, nn.Linear):  # lecun_normal, as Keras draws it
                nn.init.trunc_normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)

    def forward(self, points: Tensor) -> Tensor:
        """Logits (batch,) of latent points (batch, 88)."""
        logits: Tensor = self.net(points)[:, 0]
        return logits

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Cross-entropy; batch: points, and 1 where the formation energy is negative."""
        points, negative = batch
        return {"loss": F.binary_cross_entropy_with_logits(self(points), negative)}

    def predict(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probability (n,) of a negative formation energy at points (n, 88)."""
        with torch.inference_mode():
            return torch.sigmoid(self(single(points))).double().numpy()
