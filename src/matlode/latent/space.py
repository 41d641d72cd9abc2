"""The latent space of materials: 24 composition and 64 pattern variables, with encoders and
decoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matlode.artefacts import (
    ARRAYS_FILE,
    convert_read_errors,
    find_model,
    flatten_groups,
    grouped,
    load_artefact,
    save_artefact,
)
from matlode.errors import ArtefactError, GoalError, GridMismatchError
from matlode.latent.formula_limits import FormulaLimits
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
from matlode.latent.weights import export_weights, restore_network
from matlode.records import Face
from matlode.representation.composition import find_integer_amounts, keep_largest

FACES: tuple[Face, ...] = ("standard", "reference")
"""The two sets of models: those developed for matlode, and those made by the paper's recipe."""

BOUND_QUANTILES = (0.005, 0.995)
"""Quantiles of the encoded training materials that bound the box of a search."""

REFINEMENT_RATE = 0.03
"""Step size of a refinement: the largest with which the loss decreases steadily."""

ADAM_BETAS = 0.9, 0.999
ADAM_EPSILON = 1e-8

REFINEMENT_STEPS: Mapping[Face, int] = {"standard": 10, "reference": 0}
"""face → refinement steps of an encoded pattern; 0 for the paper's decoder, which is too slow."""

_BATCH = 2048


@dataclass(frozen=True)
class View:
    """One autoencoder, of compositions or of patterns, and the bounds of its training data."""

    network: VariationalAutoencoder
    bounds: NDArray[np.float64]
    """(latent_size, 2), lower and upper bound of each latent variable."""

    def encode(self, data: NDArray[np.floating]) -> NDArray[np.float32]:
        """Encode data (n, n_features) to latent means (n, latent_size)."""
        return self._apply(lambda x: self.network.encode(x)[0], data)

    def decode(
        self, points: NDArray[np.floating], allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Decode latent points (n, latent_size) to data (n, n_features).

        Features for which ``allowed`` (n_features,) is false are exactly zero.
        """
        mask = None if allowed is None else torch.from_numpy(allowed)
        return self._apply(lambda z: self.network.decode(z, mask), points)

    def refine(
        self, points: NDArray[np.floating], data: NDArray[np.floating], *, steps: int = 10
    ) -> NDArray[np.float32]:
        """Move points (n, latent_size) so that they decode to ``data`` (n, n_features) better.

        The encoder's single pass leaves an amortisation gap (Cremer et al., arXiv:1801.03558);
        ``steps`` of Adam on -log p(x|z) + |z|²/2, independent for each row, close most of it.
        """
        parts = [
            self._descend(single(points[at : at + _BATCH]), single(data[at : at + _BATCH]), steps)
            for at in range(0, max(len(data), 1), _BATCH)
        ]
        return np.concatenate(parts)

    def _descend(self, z: Tensor, x: Tensor, steps: int) -> NDArray[np.float32]:
        # Kingma and Ba 2014, Algorithm 1; torch.optim imports a compiler, which takes longer than
        # most refinements
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

    def _apply(
        self, function: Callable[[Tensor], Tensor], data: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = [
                function(single(data[at : at + _BATCH])).numpy()
                for at in range(0, max(len(data), 1), _BATCH)
            ]
        return np.concatenate(parts)


@dataclass(frozen=True, repr=False)
class LatentSpace:
    """Encodes materials to points of the latent space and decodes points to materials.

    A point is (24 composition variables, 64 pattern variables); the prior of each is N(0, 1).
    The standard models also include a joint prior of the two parts (``pairing``).

    >>> LatentSpace.load()
    LatentSpace(standard, 88 variables)
    """

    composition: View
    pattern: View
    face: Face
    pairing: Pairing | None = None
    """Joint prior of composition and pattern variables; None for the reference models."""

    def __repr__(self) -> str:
        return f"LatentSpace({self.face}, {self.size} variables)"

    @property
    def size(self) -> int:
        """Number of latent variables."""
        return len(self.bounds)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(88, 2), bounds of encoded training materials (BOUND_QUANTILES)."""
        return np.concatenate([self.composition.bounds, self.pattern.bounds])

    @classmethod
    def load(cls, folder: Path | None = None, *, face: Face = "standard") -> LatentSpace:
        """Load the autoencoders of ``face`` from ``folder``; missing ones ship with matlode.

        ``face`` is "standard" (matlode's models) or "reference" (the paper's recipe). Raises
        ArtefactError if models are missing or of another architecture.
        """
        if face not in FACES:
            raise ArtefactError(
                f'unknown set of models "{face}"; expected one of: {", ".join(FACES)}.'
            )
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
        """Encode compositions (n, 100) and patterns (n, 1601) to points (n, 88).

        ``refine`` steps (default: REFINEMENT_STEPS of the face) improve the reconstruction of
        the patterns (``View.refine``); each takes about 0.1 ms per pattern. Raises
        GridMismatchError if either array has another shape.
        """
        for name, data, width in (
            ("compositions", compositions, N_COMPOSITION),
            ("patterns", patterns, N_PATTERN),
        ):
            if data.ndim != 2 or data.shape[1] != width:
                raise GridMismatchError(
                    f"{name} have shape {data.shape}; the encoder expects (n, {width}). "
                    "Simulate patterns with "
                    "matlode.representation.diffraction.STANDARD_SETTINGS."
                )
        return np.hstack(
            [self.composition.encode(compositions), self.encode_patterns(patterns, refine=refine)]
        )

    def encode_patterns(
        self, patterns: NDArray[np.floating], *, refine: int | None = None
    ) -> NDArray[np.float32]:
        """Encode patterns (n, 1601) to their latent variables (n, 64); see ``encode``."""
        steps = REFINEMENT_STEPS[self.face] if refine is None else refine
        points = self.pattern.encode(patterns)
        return self.pattern.refine(points, patterns, steps=steps) if steps else points

    def decode(
        self, points: NDArray[np.floating], *, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Decode points (n, 88) to compositions (n, 100) and patterns (n, 1601).

        ``allowed`` (100,) are the elements that compositions may contain (default: all). Raises
        GridMismatchError for points of another shape.
        """
        if points.ndim != 2 or points.shape[1] != self.size:
            raise GridMismatchError(f"points have shape {points.shape}; expected (n, {self.size}).")
        return (
            self.composition.decode(points[:, :COMPOSITION_LATENT], allowed),
            self.pattern.decode(points[:, COMPOSITION_LATENT:]),
        )

    def formulas(
        self, points: NDArray[np.floating], limits: FormulaLimits | None = None
    ) -> NDArray[np.int64]:
        """Decode points (n, 88) to the likeliest reduced integer formulas (n, 100) within limits.

        Raises GoalError for limits that the reference autoencoder does not support.
        """
        return self.list_formulas(points, 1, limits)[:, 0]

    def list_formulas(
        self, points: NDArray[np.floating], n: int, limits: FormulaLimits | None = None
    ) -> NDArray[np.int64]:
        """Decode points (m, 88) to their ``n`` likeliest reduced integer formulas (m, n, 100)
        within limits, the likeliest first; rows of zeros where there are fewer.

        The reference autoencoder decodes to one formula. Raises GoalError for limits that it does
        not support.
        """
        limits = limits or FormulaLimits()
        network = self.composition.network
        points = points[:, :COMPOSITION_LATENT]
        if not isinstance(network, StandardCompositionVAE):
            if limits.required.any() or limits.min_elements > 1 or limits.sites:
                raise GoalError(
                    "the reference autoencoder supports only allowed elements and the largest "
                    "numbers of elements and atoms, since it decodes fractions; use the standard "
                    "models for required elements, a smallest number of elements or a "
                    "stoichiometry."
                )
            decoded = self.composition.decode(points, limits.allowed)
            fractions = keep_largest(decoded, limits.max_elements)
            return find_integer_amounts(fractions, max_atoms=limits.max_atoms)[:, None]
        with torch.inference_mode():
            best, scores = network.find_best_formulas(single(points), n, limits)
        amounts = np.where(np.isfinite(scores.numpy())[:, :, None], best.numpy(), 0)
        divisors = np.gcd.reduce(amounts, axis=2)
        return np.asarray(amounts // np.maximum(divisors, 1)[:, :, None])

    def reconstruct_patterns(self, patterns: NDArray[np.floating]) -> NDArray[np.float32]:
        """Encode and decode patterns (n, 1601)."""
        return self.pattern.decode(self.encode_patterns(patterns))

    def sample_prior(self, n: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw points (n, 88): composition variables from N(0, I), pattern variables given these
        by ``pairing``, or from N(0, I) without it."""
        points = rng.standard_normal((n, self.size)).astype(np.float32)
        if self.pairing is not None:
            points[:, COMPOSITION_LATENT:] = self.pairing.draw(points[:, :COMPOSITION_LATENT], rng)
        return points

    def log_prior(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Log density (n,) of points (n, 88) under N(0, I), in nats."""
        points = np.asarray(points, dtype=float)
        return -0.5 * (points**2).sum(axis=1) - 0.5 * self.size * np.log(2 * np.pi)

    def affinity(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Pointwise mutual information of both parts of points (n, 88), (n,), in nats.

        Zero means that they occur together as often as by chance; see ``Pairing.affinity``.
        Raises ArtefactError for a space without ``pairing``.
        """
        if self.pairing is None:
            raise ArtefactError(
                f"the {self.face} models have no joint prior of compositions and patterns; "
                "use the standard models."
            )
        return self.pairing.affinity(points[:, :COMPOSITION_LATENT], points[:, COMPOSITION_LATENT:])

    def interpolate(
        self, start: NDArray[np.floating], end: NDArray[np.floating], n: int
    ) -> NDArray[np.float32]:
        """Interpolate between ``start`` and ``end`` (88,): points (n, 88), ends included.

        Composition and pattern variables each follow a great circle, with linear interpolation
        of the radius (White, arXiv:1609.04468). A straight line would pass near the origin,
        where the prior has almost no points.
        """
        parts = [
            _great_circle(start[part], end[part], n)
            for part in (slice(0, COMPOSITION_LATENT), slice(COMPOSITION_LATENT, None))
        ]
        return np.hstack(parts).astype(np.float32)

    def neighbours(
        self, points: NDArray[np.floating], among: NDArray[np.floating], k: int = 5
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Find the k nearest points in ``among`` (m, 88): distances and rows, each (n, k).

        Neighbours are sorted by distance. Latent variables that the encoder does not use are
        ignored.
        """
        from sklearn.neighbors import NearestNeighbors

        scale = np.asarray(among, float).std(axis=0)
        active = scale > 0.1  # (Burda et al. 2016) variance above 0.01
        if not active.any():  # a collapsed encoder: neighbours are random, but exist
            active[:] = True
        index = NearestNeighbors(n_neighbors=min(k, len(among))).fit(among[:, active])
        distances, rows = index.kneighbors(points[:, active])
        return distances, rows


def _great_circle(
    start: NDArray[np.floating], end: NDArray[np.floating], n: int
) -> NDArray[np.float64]:
    """Points (n, d) on the great circle from start to end (d,)."""
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


def list_trained_faces(folder: Path | None = None) -> list[Face]:
    """The FACES whose autoencoders have weights in ``folder`` or among the shipped models
    (the weights of the reference autoencoders do not ship)."""
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
    header: Mapping[str, object],
) -> None:
    """Write an autoencoder as an artefact; weights are stored in half precision.

    ``header["architecture"]`` must hold constructor arguments that differ from the network's
    defaults.
    """
    save_artefact(
        folder,
        kind="autoencoder",
        header={"face": face, "view": view, **header},
        arrays={**flatten_groups({"weights": export_weights(network)}), "bounds": bounds},
    )


def load_view(folder: Path) -> View:
    """Read an artefact written by ``save_view``; raises ArtefactError if it does not fit the
    code."""
    artefact = load_artefact(folder).require("autoencoder")
    with convert_read_errors(folder):
        key = (artefact.header["face"], artefact.header["view"])
        if key not in AUTOENCODERS:
            raise ArtefactError(
                f"{folder}: unknown autoencoder {key}; expected one of: {list(AUTOENCODERS)}."
            )
        make = partial(AUTOENCODERS[key], **artefact.header.get("architecture", {}))
        weights = grouped(artefact.arrays)["weights"]
        return View(restore_network(make, weights, folder), artefact.arrays["bounds"])
