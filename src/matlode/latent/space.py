"""The 88-dimensional space: composition (24) and powder pattern (64), both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from matlode.artefacts import find_model, load_artefact, save_artefact
from matlode.errors import ArtefactError, GridMismatchError
from matlode.latent.networks import (
    AUTOENCODERS,
    COMPOSITION_LATENT,
    N_COMPOSITION,
    N_PATTERN,
    VariationalAutoencoder,
)

FACES = ("standard", "reference")
"""Ours, and the paper's recipe."""

BOUND_QUANTILES = (0.005, 0.995)
"""The box that a search stays in: these quantiles of the encoded training materials."""

_BATCH = 2048


@dataclass(frozen=True)
class View:
    """One autoencoder with the box that its training data fill."""

    network: VariationalAutoencoder
    bounds: NDArray[np.float64]
    """(latent_size, 2), low and high of each latent variable."""

    def encode(self, data: NDArray[np.floating]) -> NDArray[np.float32]:
        """Latent means (n, latent_size) of data (n, n_features)."""
        return self._apply(lambda x: self.network.encode(x)[0], data)

    def decode(
        self, points: NDArray[np.floating], allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Data (n, n_features) of latent points (n, latent_size).

        ``allowed`` (n_features,) keeps everything else exactly zero.
        """
        mask = None if allowed is None else torch.from_numpy(allowed)
        return self._apply(lambda z: self.network.decode(z, mask), points)

    def _apply(self, function: Any, data: NDArray[np.floating]) -> NDArray[np.float32]:
        parts = []
        with torch.inference_mode():
            for at in range(0, max(len(data), 1), _BATCH):
                batch = torch.tensor(np.asarray(data[at : at + _BATCH], dtype=np.float32))
                parts.append(function(batch).numpy())
        return np.concatenate(parts)


@dataclass(frozen=True)
class LatentSpace:
    """Materials as points, points as materials.

    A point is (24 composition variables, 64 pattern variables); the prior of each is N(0, 1).

    >>> LatentSpace.load().size
    88
    """

    composition: View
    pattern: View
    face: str

    @property
    def size(self) -> int:
        """Number of latent variables."""
        return len(self.bounds)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(88, 2), the box that encoded materials fill (BOUND_QUANTILES)."""
        return np.concatenate([self.composition.bounds, self.pattern.bounds])

    @classmethod
    def load(cls, folder: Path | None = None, *, face: str = "standard") -> LatentSpace:
        """The pair of autoencoders in ``folder``; what it lacks ships with matlode.

        Raises ArtefactError if they are missing or of another architecture.
        """
        if face not in FACES:
            raise ArtefactError(f'"{face}" is no face of the models; known: {", ".join(FACES)}.')
        composition = load_view(find_model(f"{face}-composition-vae", folder))
        pattern = load_view(find_model(f"{face}-pattern-vae", folder))
        return cls(composition, pattern, face)

    def encode(
        self, compositions: NDArray[np.floating], patterns: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """Points (n, 88) of compositions (n, 100) and patterns (n, 1601).

        Raises GridMismatchError if either has another width.
        """
        for name, data, width in (
            ("compositions", compositions, N_COMPOSITION),
            ("patterns", patterns, N_PATTERN),
        ):
            if data.ndim != 2 or data.shape[1] != width:
                raise GridMismatchError(
                    f"{name} have shape {data.shape}; the encoder was fitted on (n, {width}). "
                    "Simulate with matlode.representation.diffraction.STANDARD_SETTINGS."
                )
        return np.hstack([self.composition.encode(compositions), self.pattern.encode(patterns)])

    def decode(
        self, points: NDArray[np.floating], *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Compositions (n, 100) and patterns (n, 1601) of points (n, 88).

        ``allowed`` (100,) are the elements that a composition may hold (default: all).
        """
        if points.ndim != 2 or points.shape[1] != self.size:
            raise GridMismatchError(f"points have shape {points.shape}, wanted (n, {self.size}).")
        return (
            self.composition.decode(points[:, :COMPOSITION_LATENT], allowed),
            self.pattern.decode(points[:, COMPOSITION_LATENT:]),
        )

    def reconstruct_patterns(self, patterns: NDArray[np.floating]) -> NDArray[np.float32]:
        """Patterns (n, 1601) as they come back from the latent space."""
        return self.pattern.decode(self.pattern.encode(patterns))

    def sample_prior(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Points (n, 88) drawn from N(0, I)."""
        return rng.standard_normal((n, self.size)).astype(np.float32)


def save_view(
    folder: Path,
    network: VariationalAutoencoder,
    *,
    face: str,
    view: str,
    bounds: NDArray[np.float64],
    header: Mapping[str, Any],
) -> None:
    """Write an autoencoder as an artefact; weights are kept in half precision."""
    arrays = {
        name: value.detach().cpu().numpy().astype(np.float16)
        for name, value in network.state_dict().items()
    }
    save_artefact(
        folder,
        kind="autoencoder",
        header={"face": face, "view": view, **header},
        arrays={**{f"weights/{k}": v for k, v in arrays.items()}, "bounds": bounds},
    )


def load_view(folder: Path) -> View:
    """Read back what ``save_view`` wrote; raises ArtefactError if it does not fit the code."""
    artefact = load_artefact(folder).require("autoencoder")
    key = (artefact.header["face"], artefact.header["view"])
    if key not in AUTOENCODERS:
        raise ArtefactError(f"{folder}: no such autoencoder {key}; known: {list(AUTOENCODERS)}.")
    network = AUTOENCODERS[key]()
    weights = {
        name.removeprefix("weights/"): torch.from_numpy(array.astype(np.float32))
        for name, array in artefact.arrays.items()
        if name.startswith("weights/")
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ArtefactError(f"{folder}: weights of another architecture ({error}).") from error
    return View(network.eval(), artefact.arrays["bounds"])
