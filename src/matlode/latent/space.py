"""The 88-dimensional space: composition (24) and powder pattern (64), both ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matlode.artefacts import (
    ARRAYS_FILE,
    find_model,
    grouped,
    load_artefact,
    save_artefact,
    understood,
    ungrouped,
)
from matlode.errors import ArtefactError, GoalError, GridMismatchError
from matlode.latent.formula_search import FormulaLimits
from matlode.latent.networks import (
    AUTOENCODERS,
    COMPOSITION_LATENT,
    N_COMPOSITION,
    N_PATTERN,
    StandardCompositionVAE,
    VariationalAutoencoder,
    single,
)
from matlode.latent.pairing import PAIRING_MODEL, Pairing
from matlode.latent.weights import kept_weights, network_of
from matlode.records import Face
from matlode.representation.composition import integer_amounts, keep_largest

FACES: tuple[Face, ...] = ("standard", "reference")
"""Ours, and the paper's recipe."""

BOUND_QUANTILES = (0.005, 0.995)
"""The box that a search stays in: these quantiles of the encoded training materials."""

REFINEMENT_RATE = 0.03
"""Step size of a refinement: the largest that still goes down steadily."""

ADAM_BETAS = 0.9, 0.999
ADAM_EPSILON = 1e-8

REFINEMENT_STEPS: Mapping[Face, int] = {"standard": 10, "reference": 0}
"""face → steps by which an encoded pattern is refined; the paper's decoder is too slow for it."""

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

    def refine(
        self, points: NDArray[np.floating], data: NDArray[np.floating], *, steps: int = 10
    ) -> NDArray[np.float32]:
        """Points (n, latent_size) moved to where they decode to data (n, n_features) better.

        An encoder answers in one pass and leaves a gap (Cremer et al., arXiv:1801.03558);
        ``steps`` of Adam on -log p(x|z) + |z|²/2, every row for itself, close most of it.
        """
        parts = [
            self._descend(single(points[at : at + _BATCH]), single(data[at : at + _BATCH]), steps)
            for at in range(0, max(len(data), 1), _BATCH)
        ]
        return np.concatenate(parts)

    def _descend(self, z: Tensor, x: Tensor, steps: int) -> NDArray[np.float32]:
        # Kingma and Ba 2014, Algorithm 1; torch.optim would import a compiler first, which takes
        # longer than most refinements
        mean, square = torch.zeros_like(z), torch.zeros_like(z)
        for step in range(1, steps + 1):
            z.requires_grad_(True)
            loss = (self.network.reconstruction_loss(x, z) + 0.5 * (z**2).sum(1)).sum()
            (gradient,) = torch.autograd.grad(loss, z)
            mean.lerp_(gradient, 1 - ADAM_BETAS[0])
            square.mul_(ADAM_BETAS[1]).addcmul_(gradient, gradient, value=1 - ADAM_BETAS[1])
            unbiased = [1 - beta**step for beta in ADAM_BETAS]
            scale = (square.sqrt() / unbiased[1] ** 0.5).add_(ADAM_EPSILON)
            z = z.detach().addcdiv_(mean, scale, value=-REFINEMENT_RATE / unbiased[0])
        refined: NDArray[np.float32] = z.numpy()
        return refined

    def _apply(self, function: Any, data: NDArray[np.floating]) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = [
                function(single(data[at : at + _BATCH])).numpy()
                for at in range(0, max(len(data), 1), _BATCH)
            ]
        return np.concatenate(parts)


@dataclass(frozen=True)
class LatentSpace:
    """Materials as points, points as materials.

    A point is (24 composition variables, 64 pattern variables); the prior of each is N(0, 1).
    The standard face knows besides which halves of points belong together (``pairing``).

    >>> LatentSpace.load().size
    88
    """

    composition: View
    pattern: View
    face: Face
    pairing: Pairing | None = None
    """What belongs together; the reference has none."""

    @property
    def size(self) -> int:
        """Number of latent variables."""
        return len(self.bounds)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(88, 2), the box that encoded materials fill (BOUND_QUANTILES)."""
        return np.concatenate([self.composition.bounds, self.pattern.bounds])

    @classmethod
    def load(cls, folder: Path | None = None, *, face: Face = "standard") -> LatentSpace:
        """The pair of autoencoders in ``folder``; what it lacks ships with matlode.

        Raises ArtefactError if they are missing or of another architecture.
        """
        if face not in FACES:
            raise ArtefactError(f'"{face}" is no face of the models; known: {", ".join(FACES)}.')
        composition = load_view(find_model(f"{face}-composition-vae", folder))
        pattern = load_view(find_model(f"{face}-pattern-vae", folder))
        if face == "reference":
            return cls(composition, pattern, face)
        return cls(composition, pattern, face, Pairing.load(find_model(PAIRING_MODEL, folder)))

    def encode(
        self,
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        *,
        refine: int | None = None,
    ) -> NDArray[np.float32]:
        """Points (n, 88) of compositions (n, 100) and patterns (n, 1601).

        ``refine`` steps (default: REFINEMENT_STEPS of the face) bring the pattern variables to
        where the pattern comes back better (View.refine): about 0.1 ms each for a pattern.
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
        return np.hstack(
            [self.composition.encode(compositions), self.encode_patterns(patterns, refine=refine)]
        )

    def encode_patterns(
        self, patterns: NDArray[np.floating], *, refine: int | None = None
    ) -> NDArray[np.float32]:
        """The pattern half (n, 64) of ``encode``."""
        steps = REFINEMENT_STEPS[self.face] if refine is None else refine
        points = self.pattern.encode(patterns)
        return self.pattern.refine(points, patterns, steps=steps) if steps else points

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

    def formulas(
        self, points: NDArray[np.floating], limits: FormulaLimits | None = None
    ) -> NDArray[np.int64]:
        """Reduced integer formulas (n, 100) of points (n, 88), the likeliest within the limits.

        Raises GoalError for limits that the reference autoencoder cannot keep.
        """
        limits = limits or FormulaLimits()
        network = self.composition.network
        points = points[:, :COMPOSITION_LATENT]
        if not isinstance(network, StandardCompositionVAE):
            if limits.required.any() or limits.min_elements > 1 or limits.sites:
                raise GoalError(
                    "the reference autoencoder decodes fractions: it keeps allowed elements, "
                    "numbers of elements at most and atoms at most; the standard one keeps all."
                )
            decoded = self.composition.decode(points, limits.allowed)
            fractions = keep_largest(decoded, limits.max_elements)
            return integer_amounts(fractions, max_atoms=limits.max_atoms)
        with torch.inference_mode():
            best, _ = network.best_formulas(single(points), 1, limits)
        amounts = best[:, 0].numpy()
        return amounts // np.gcd.reduce(amounts, axis=1)[:, None]

    def reconstruct_patterns(self, patterns: NDArray[np.floating]) -> NDArray[np.float32]:
        """Patterns (n, 1601) as they come back from the latent space."""
        return self.pattern.decode(self.encode_patterns(patterns))

    def sample_prior(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Points (n, 88): composition variables from N(0, I), pattern variables from what goes
        with them, or from N(0, I) without ``pairing``."""
        points = rng.standard_normal((n, self.size)).astype(np.float32)
        if self.pairing is not None:
            points[:, COMPOSITION_LATENT:] = self.pairing.draw(points[:, :COMPOSITION_LATENT], rng)
        return points

    def log_prior(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """log density (n,) of points (n, 88) under N(0, I), in nats."""
        points = np.asarray(points, dtype=float)
        return -0.5 * (points**2).sum(axis=1) - 0.5 * self.size * np.log(2 * np.pi)

    def affinity(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """How well the two halves of points (n, 88) go together, (n,), in nats: 0 is chance.

        Raises ArtefactError for a space without ``pairing``.
        """
        if self.pairing is None:
            raise ArtefactError(f"the {self.face} latent space does not tell what goes together.")
        return self.pairing.affinity(points[:, :COMPOSITION_LATENT], points[:, COMPOSITION_LATENT:])

    def interpolate(
        self, start: NDArray[np.floating], end: NDArray[np.floating], n: int
    ) -> NDArray[np.float32]:
        """``n`` points (n, 88) from ``start`` to ``end`` (88,), ends included.

        Along the great circle in either view, with the radius between (White, arXiv:1609.04468):
        a straight line would cut through the middle, where the prior has next to no points.
        """
        parts = [
            _great_circle(start[part], end[part], n)
            for part in (slice(0, COMPOSITION_LATENT), slice(COMPOSITION_LATENT, None))
        ]
        return np.hstack(parts).astype(np.float32)

    def neighbours(
        self, points: NDArray[np.floating], among: NDArray[np.floating], k: int = 5
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Distances and rows, each (n, k), of the nearest points in ``among`` (m, 88), nearest
        first. Variables that the encoder leaves idle weigh nothing."""
        from sklearn.neighbors import NearestNeighbors

        scale = np.asarray(among, float).std(axis=0)
        active = scale > 0.1  # (Burda et al. 2016) variance above 0.01
        if not active.any():  # a collapsed encoder: as good as chance, but an answer
            active[:] = True
        index = NearestNeighbors(n_neighbors=min(k, len(among))).fit(among[:, active])
        distances, rows = index.kneighbors(points[:, active])
        return distances, rows


def _great_circle(
    start: NDArray[np.floating], end: NDArray[np.floating], n: int
) -> NDArray[np.float64]:
    """(n, d) from start to end (d,)."""
    t = np.linspace(0, 1, n)[:, None]
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if min(lengths) == 0:
        return start + t * (end - start)
    a, b = start / lengths[0], end / lengths[1]
    angle = np.arccos(np.clip(a @ b, -1, 1))
    if np.sin(angle) < 1e-6:
        return start + t * (end - start)
    directions = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    return directions * ((1 - t) * lengths[0] + t * lengths[1])


def trained_faces(folder: Path | None = None) -> list[Face]:
    """Faces whose autoencoders have weights, in ``folder`` or shipped: the reference's do not
    ship."""
    views = {face: [f"{face}-{view}-vae" for view in ("composition", "pattern")] for face in FACES}
    return [
        face
        for face, names in views.items()
        if all((find_model(name, folder) / ARRAYS_FILE).exists() for name in names)
    ]


def save_view(
    folder: Path,
    network: VariationalAutoencoder,
    *,
    face: Face,
    view: str,
    bounds: NDArray[np.float64],
    header: Mapping[str, Any],
) -> None:
    """Write an autoencoder as an artefact; weights are kept in half precision.

    Constructor arguments other than the network's defaults must stand in the header, as
    "architecture".
    """
    save_artefact(
        folder,
        kind="autoencoder",
        header={"face": face, "view": view, **header},
        arrays={**ungrouped({"weights": kept_weights(network)}), "bounds": bounds},
    )


def load_view(folder: Path) -> View:
    """Read back what ``save_view`` wrote; raises ArtefactError if it does not fit the code."""
    artefact = load_artefact(folder).require("autoencoder")
    with understood(folder):
        key = (artefact.header["face"], artefact.header["view"])
        if key not in AUTOENCODERS:
            raise ArtefactError(
                f"{folder}: no such autoencoder {key}; known: {list(AUTOENCODERS)}."
            )
        make = partial(AUTOENCODERS[key], **artefact.header.get("architecture", {}))
        weights = grouped(artefact.arrays)["weights"]
        return View(network_of(make, weights, folder), artefact.arrays["bounds"])
