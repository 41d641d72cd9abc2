"""Gradient ascent in the latent space on a differentiable surrogate of the merit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from matlode.optimisation.sampler import Array, History, Sampler, select_best_rows


@dataclass(frozen=True, kw_only=True)
class GradientSampler(Sampler):
    """Gradient ascent from the best points on the mean of small networks fitted to the merits.

    The merit itself is not differentiable, because points decode to integer formulas. The standard
    deviation of the networks (``trust``) and a latent norm beyond that of typical points
    (``prior``) are penalised. The end points of the ascents are the suggestions.
    """

    n_networks: int = 3
    width: int = 128
    fit_steps: int = 120
    fit_rate: float = 3e-3
    climb_steps: int = 40
    climb_rate: float = 0.03
    trust: float = 1.0
    prior: float = 0.05
    noise: float = 0.3
    """Standard deviation of the random displacement of the starts, in latent units."""

    def suggest(self, history: History, bounds: Array, n: int, rng: np.random.Generator) -> Array:
        """See Sampler."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            networks = self._fit(history)
        starts = history.points[select_best_rows(history, 4 * n, max_per_group=3)]
        starts = starts[rng.integers(len(starts), size=n)]
        z = torch.tensor(starts + self.noise * rng.standard_normal(starts.shape)).float()
        low, high = torch.tensor(bounds.T.copy()).float()
        usual = float(np.median((history.points**2).sum(axis=1)))
        z = z.clamp(low, high).requires_grad_(True)
        optimizer = torch.optim.Adam([z], lr=self.climb_rate)
        for _ in range(self.climb_steps):
            merits = torch.stack([network(z)[:, 0] for network in networks])
            beyond = ((z**2).sum(1) / max(usual, 1e-9) - 1).clamp(min=0)
            score = merits.mean(0) - self.trust * merits.std(0) - self.prior * z.shape[1] * beyond
            (z.grad,) = torch.autograd.grad(-score.sum(), z)
            optimizer.step()
            with torch.no_grad():
                z.clamp_(low, high)
        found: Array = z.detach().double().numpy()
        return np.clip(found, bounds[:, 0], bounds[:, 1])

    def _fit(self, history: History) -> list[nn.Module]:
        x = torch.tensor(history.points).float()
        y = torch.tensor(history.merits).float()
        centre, spread = y.median(), y.std().clamp(min=1e-6)
        y = ((y - centre) / spread).clamp(-3, 6)
        networks = [self._build_network(x.shape[1]) for _ in range(self.n_networks)]
        for network in networks:
            optimizer = torch.optim.AdamW(network.parameters(), lr=self.fit_rate, weight_decay=0.01)
            for _ in range(self.fit_steps):
                rows = torch.randint(len(x), (min(256, len(x)),))
                loss = _compute_weighted_loss(network(x[rows])[:, 0], y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return networks

    def _build_network(self, d: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(d, self.width), nn.SiLU(), nn.Linear(self.width, self.width), nn.SiLU(),
            nn.Linear(self.width, 1),
        )  # fmt: skip


def _compute_weighted_loss(predicted: Tensor, truth: Tensor) -> Tensor:
    """Squared error with larger weights for good points, from which the ascents start."""
    return ((predicted - truth) ** 2 * (1 + truth.clamp(min=0))).mean()
