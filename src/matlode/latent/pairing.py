"""Joint prior on the two latent spaces: which patterns are likely for a composition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from matlode.artefacts import load_artefact, save_artefact
from matlode.latent.networks import COMPOSITION_LATENT, PATTERN_LATENT, ResidualNet, single
from matlode.latent.weights import export_weights, restore_network

PAIRING_MODEL = "standard-pairing"
MIN_LOG_SIGMA = -4.0
"""Lower bound of log σ: narrower Gaussians would memorise training points."""


class PairingNet(nn.Module):
    """Mixture density network (Bishop 1994) for p(pattern point | composition point).

    A network computes means, widths and weights of a mixture of Gaussians from a point of the
    composition space. A second mixture, without a condition, models p(pattern point). The two
    autoencoders are trained separately; volume, symmetry and the scattering power of the atoms
    correlate their latent spaces, and this network learns the correlation.
    """

    def __init__(self, *, width: int = 256, blocks: int = 2, components: int = 16) -> None:
        super().__init__()
        self.components = components
        n_out = components * (1 + 2 * PATTERN_LATENT)
        self.given = ResidualNet(COMPOSITION_LATENT, n_out, width, blocks)
        self.alone = nn.Parameter(0.3 * torch.randn(4 * n_out))

    def mixture(self, composition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights (batch, k), means and log σ (batch, k, 64) for composition points
        (batch, 24)."""
        return self._parts(self.given(composition), self.components)

    def log_given(self, composition: Tensor, pattern: Tensor) -> Tensor:
        """log p(pattern | composition), (batch,), for points (batch, 24) and (batch, 64)."""
        return _log_density(self.mixture(composition), pattern)

    def log_alone(self, pattern: Tensor) -> Tensor:
        """log p(pattern), (batch,)."""
        return _log_density(self._parts(self.alone[None], 4 * self.components), pattern)

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Negative log densities "given" and "alone", averaged over the batch, and their sum."""
        composition, pattern = batch
        given = -self.log_given(composition, pattern).mean()
        alone = -self.log_alone(pattern).mean()
        return {"loss": given + alone, "given": given, "alone": alone}

    def _parts(self, out: Tensor, components: int) -> tuple[Tensor, Tensor, Tensor]:
        weights, rest = out[:, :components], out[:, components:]
        means, log_sigma = rest.unflatten(1, (2, components, PATTERN_LATENT)).unbind(1)
        return torch.log_softmax(weights, 1), means, log_sigma.clamp(min=MIN_LOG_SIGMA)


def _log_density(mixture: tuple[Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    log_weights, means, log_sigma = mixture
    normal = (
        -0.5 * ((x[:, None] - means) * torch.exp(-log_sigma)) ** 2
        - log_sigma
        - 0.5 * math.log(2 * math.pi)
    )
    return torch.logsumexp(log_weights + normal.sum(2), dim=1)


class Pairing:
    """A trained ``PairingNet`` with an interface of NumPy arrays."""

    def __init__(self, network: PairingNet) -> None:
        self.network = network.eval()

    def affinity(
        self, compositions: NDArray[np.floating], patterns: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        """Pointwise mutual information of points (n, 24) and (n, 64), (n,), in nats.

        This is log p(pattern | composition) - log p(pattern): positive where the two occur
        together more often than by chance.
        """
        with torch.inference_mode():
            c, p = single(compositions), single(patterns)
            parts = [
                self.network.log_given(a, b) - self.network.log_alone(b)
                for a, b in zip(c.split(2048), p.split(2048), strict=True)
            ]
            return torch.cat(parts).numpy().astype(float) if parts else np.zeros(0)

    def draw(
        self, compositions: NDArray[np.floating], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Draw a pattern point (n, 64) for each composition point (n, 24)."""
        with torch.inference_mode():
            mixture = self.network.mixture(single(compositions))
        log_weights, means, log_sigma = (part.numpy() for part in mixture)
        gumbel = rng.gumbel(size=log_weights.shape)
        rows, chosen = np.arange(len(means)), (log_weights + gumbel).argmax(axis=1)
        noise = rng.standard_normal((len(means), PATTERN_LATENT))
        sigma = np.exp(log_sigma[rows, chosen])
        return (means[rows, chosen] + sigma * noise).astype(np.float32)

    def save(self, root: Path, header: Mapping[str, object]) -> None:
        """Write the artefact to a folder in ``root``; weights are stored in half precision."""
        weights = export_weights(self.network)
        save_artefact(root / PAIRING_MODEL, kind="pairing", header=header, arrays=weights)

    @classmethod
    def load(cls, folder: Path) -> Pairing:
        """Read what ``save`` wrote; raises ArtefactError if it does not fit the code."""
        artefact = load_artefact(folder).require("pairing")
        return cls(restore_network(PairingNet, artefact.arrays, folder))
