"""One network for every property: what is learned of one helps with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from matlode.artefacts import grouped, load_artefact, save_artefact, understood, ungrouped
from matlode.latent.composition_encoder import CompositionEncoder
from matlode.latent.networks import N_COMPOSITION, N_PATTERN, ResidualNet, single
from matlode.latent.weights import kept_weights, network_of
from matlode.properties.applicability import Applicability
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates
from matlode.properties.forest import Forest
from matlode.properties.intervals import (
    conformal_quantile,
    distance_factors,
    factor_at,
    venn_abers,
    venn_abers_table,
)
from matlode.representation.descriptors import composition_descriptors, pattern_descriptors

NETWORK_MODEL = "standard-properties"
VOLUME = "volume_per_atom"
"""Trees are given it as a feature: what a pattern says about many properties is above all how
dense the atoms sit."""
LABEL_QUANTILES = (0.001, 0.999)
"""Labels beyond are put on these: a few wild ones would rule the loss."""
MAX_LABEL_WEIGHT = 8.0
"""Rare labels count more than common ones, up to this factor."""
MAX_SIGMAS = 5.0
"""Descriptors further from their mean are put there."""
MAX_LOG_WIDTH = (-6.0, 4.0)
_BATCH = 2048
_N_COARSE = (N_PATTERN + 1) // 2


class PropertyNet(nn.Module):
    """Composition and pattern → every target: a value and the width of its error, or a logit.

    The composition is read as a set of elements and through its descriptors, the pattern as
    the square root of every second point and through its peaks. In training the pattern is the
    simulated one, the one that comes back from the latent space, or hidden, by chance: formulas
    without a structure are learned from too.
    """

    centre: Tensor
    """(n_descriptors,); with ``scale`` it brings descriptors to mean 0 and deviation 1."""
    scale: Tensor
    weights: Tensor
    """(n_targets,), what a label of each target counts in the loss."""
    hide_pattern = 0.1

    def __init__(
        self,
        n_values: int,
        n_logits: int,
        *,
        n_composition_descriptors: int,
        n_pattern_descriptors: int,
        width: int = 512,
        blocks: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.n_values, self.n_logits = n_values, n_logits
        self.sizes = n_composition_descriptors, n_pattern_descriptors
        self.register_buffer("centre", torch.zeros(sum(self.sizes)))
        self.register_buffer("scale", torch.ones(sum(self.sizes)))
        self.register_buffer("weights", torch.ones(n_values + n_logits))
        self.composition = CompositionEncoder()
        self.pattern = ResidualNet(_N_COARSE + self.sizes[1], 256, width=384, blocks=1)
        self.no_pattern = nn.Parameter(torch.zeros(256))
        self.dropout = nn.Dropout(dropout)
        n_in = self.composition.n_out + self.sizes[0] + 256
        self.trunk = ResidualNet(n_in, 2 * n_values + n_logits, width, blocks)

    def forward(
        self, compositions: Tensor, described: Tensor, patterns: Tensor, peaks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Values (batch, n_values), logarithms of their widths, and logits (batch, n_logits).

        ``described`` and ``peaks`` are the descriptors of ``compositions`` (batch, 100) and
        ``patterns`` (batch, 801); a pattern of zeros stands for "unknown".
        """
        known = (patterns > 0).any(1, keepdim=True)
        seen = self.pattern(torch.cat([patterns.sqrt(), self._standard(peaks, 1)], dim=1))
        seen = torch.where(known, seen, self.no_pattern)
        parts = [self.composition(compositions), self._standard(described, 0), seen]
        out = self.trunk(self.dropout(torch.cat(parts, dim=1)))
        values, widths, logits = out.split([self.n_values, self.n_values, self.n_logits], dim=1)
        return values, widths.clamp(*MAX_LOG_WIDTH), logits

    def training_loss(self, batch: tuple[Tensor, ...], *, warmth: float = 1.0) -> dict[str, Tensor]:
        """Absolute error and the negative log-likelihood of a Laplace distribution for values,
        cross-entropy for classes, summed over the known labels and averaged over the batch.

        Batch: compositions, their descriptors, simulated patterns with peaks, reconstructed
        ones with peaks, labels (batch, n_values + n_logits) with NaN where unknown.
        """
        compositions, described, simulated, peaks, rebuilt, rebuilt_peaks, labels = batch
        patterns, seen = simulated.float(), peaks
        if self.training:
            coin = torch.rand(len(labels), 1, device=labels.device)
            decoded, hidden = coin < 0.5, torch.rand_like(coin) < self.hide_pattern
            patterns = torch.where(decoded, rebuilt.float(), patterns) * ~hidden
            seen = torch.where(decoded, rebuilt_peaks, peaks)
        values, widths, logits = self(compositions, described, patterns, seen)
        known = ~labels.isnan()
        truth = torch.where(known, labels, 0.0)
        error = (values - truth[:, : self.n_values]).abs()
        regression = error + error * torch.exp(-widths) + widths
        classes = F.binary_cross_entropy_with_logits(
            logits, truth[:, self.n_values :], reduction="none"
        )
        terms = torch.cat([regression, classes], dim=1) * known * self.weights
        return {"loss": terms.sum(1).mean()}

    def _standard(self, descriptors: Tensor, which: int) -> Tensor:
        part = slice(0, self.sizes[0]) if which == 0 else slice(self.sizes[0], None)
        shifted = (descriptors - self.centre[part]) / self.scale[part]
        return shifted.clamp(-MAX_SIGMAS, MAX_SIGMAS)


@dataclass(frozen=True)
class TargetScale:
    """Brings one target's labels to mean 0 and deviation 1, wild ones put on ``limits``."""

    centre: float
    spread: float
    limits: tuple[float, float]

    @classmethod
    def fit(cls, labels: NDArray[np.float64]) -> TargetScale:
        """The scale of labels (n,), NaN where unknown."""
        known = labels[np.isfinite(labels)]
        low, high = np.quantile(known, LABEL_QUANTILES)
        clipped = known.clip(low, high)
        return cls(float(clipped.mean()), float(clipped.std()) or 1.0, (float(low), float(high)))

    def apply(self, labels: NDArray[np.float64]) -> NDArray[np.float32]:
        """Labels (n,) as the network learns them."""
        return ((labels.clip(*self.limits) - self.centre) / self.spread).astype(np.float32)


def network_inputs(
    compositions: NDArray[np.floating], patterns: NDArray[np.floating]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What ``PropertyNet`` is given, of compositions (n, 100) and patterns (n, 1601)."""
    return (
        single(compositions),
        single(composition_descriptors(compositions)[:, N_COMPOSITION:]),
        single(patterns[:, ::2]),
        single(pattern_descriptors(patterns)),
    )


@dataclass(frozen=True)
class PropertyNetwork:
    """Trained ``PropertyNet`` members, and trees for some targets, that answer in units, with
    intervals.

    The interval of a value is value ± factor × width, the factor conformal and larger for what
    is far from the training compositions; a probability is a Venn-Abers one. Both are calibrated
    per case (``heads.CASES``) on unseen formulas.
    """

    members: tuple[PropertyNet, ...]
    """Networks of other seeds; their mean answers."""
    endpoints: tuple[Endpoint, ...]
    """Targets in the order of the outputs, values first; the auxiliary ones with them."""
    scales: Mapping[str, TargetScale]
    calibration: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """"case/endpoint" → for a value the factors by distance (k, 2) or one factor (1,), for a
    probability a Venn-Abers table (m, 3)."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained on and its held-out scores."""
    trees: Mapping[str, Forest] = field(default_factory=dict)
    """target → boosted trees that have a say in it."""
    tree_shares: Mapping[str, float] = field(default_factory=dict)
    """target → what its trees count in the answer; the members have the rest."""
    applicability: Applicability | None = None
    """Tells how far a composition is from those trained on."""

    @cached_property
    def answers(self) -> dict[str, Endpoint]:
        """name → endpoint that ``estimates`` gives, in the order of ENDPOINTS."""
        made = {key.partition("/")[2] for key in self.calibration}
        return {name: endpoint for name, endpoint in ENDPOINTS.items() if name in made}

    def values(self, name: str, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (n,) of one target, as the model learns them, or logits of a probability,
        from the outputs of ``raw``."""
        names = [endpoint.name for endpoint in self.endpoints]
        column = outputs[:, names.index(name)]
        scale = self.scales.get(name)
        return column if scale is None else scale.centre + scale.spread * column

    def raw(
        self,
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Outputs (n, n_targets): values in the model's scale and raw logits; and widths, those
        of logits NaN. A pattern of zeros stands for "unknown"."""
        parts = []
        for at in range(0, max(len(compositions), 1), _BATCH):
            rows = slice(at, at + _BATCH)
            inputs = network_inputs(compositions[rows], patterns[rows])
            outputs, widths = self.members_say(inputs)
            if self.trees:
                self._hear_trees(inputs, outputs)
            parts.append((outputs, widths))
        whole, width = (np.concatenate(part) for part in zip(*parts, strict=True))
        return whole, width

    def members_say(
        self, inputs: tuple[Tensor, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What ``raw`` gives without trees, of ``network_inputs``."""
        with torch.inference_mode():
            values, logs, logits = zip(*(net(*inputs) for net in self.members), strict=True)
            spread = torch.stack(values).std(0, correction=0)
            # what the members disagree about is uncertain beyond what each of them says
            width = torch.stack(logs).exp().mean(0) + spread
            mean_logits = torch.stack(logits).mean(0)
            outputs = torch.cat([torch.stack(values).mean(0), mean_logits], 1)
            widths = torch.cat([width, torch.full_like(mean_logits, torch.nan)], 1)
        return outputs.double().numpy(), widths.double().numpy()

    def tree_features(
        self, inputs: tuple[Tensor, ...], outputs: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """(n, n_columns) that trees are given: descriptors, and the network's volume per atom,
        which is what a pattern says about most properties."""
        compositions, described, _, peaks = inputs
        columns = [part.numpy() for part in (compositions, described, peaks)]
        volume = [outputs[:, at] for at, e in enumerate(self.endpoints) if e.name == VOLUME]
        return np.column_stack([*columns, *volume]).astype(np.float32)

    def _hear_trees(self, inputs: tuple[Tensor, ...], outputs: NDArray[np.float64]) -> None:
        """Move the outputs of targets that have trees towards what these say; they know nothing
        of hidden patterns."""
        known = (inputs[2] > 0).any(1).numpy()
        features = self.tree_features(inputs, outputs)[known]
        places = {e.name: at for at, e in enumerate(self.endpoints) if e.name in self.trees}

        def says(name: str) -> NDArray[np.float64]:
            return self.trees[name].predict(features, logits=True)

        with ThreadPoolExecutor() as pool:
            for (name, at), said in zip(places.items(), pool.map(says, places), strict=True):
                share = self.tree_shares[name]
                outputs[known, at] += share * (said - outputs[known, at])

    def readings(self, compositions: NDArray[np.floating]) -> NDArray[np.float32]:
        """(n, n_read), how the first member reads compositions (n, 100)."""
        parts = [np.zeros((0, self.members[0].composition.n_out), np.float32)]
        with torch.inference_mode():
            for at in range(0, len(compositions), _BATCH):
                rows = single(compositions[at : at + _BATCH])
                parts.append(self.members[0].composition(rows).numpy())
        return np.concatenate(parts)

    def distances(self, compositions: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,), how far compositions (n, 100) are from those trained on (``applicability``);
        NaN if the network cannot tell."""
        if self.applicability is None:
            return np.full(len(compositions), np.nan)
        return self.applicability.distances(self.readings(compositions), compositions)

    def with_applicability(
        self, compositions: NDArray[np.floating], n_read: int, unseen: NDArray[np.floating]
    ) -> PropertyNetwork:
        """The network that can tell distances, from the distinct training compositions (m, 100),
        those of structures the first ``n_read`` of them, and ``unseen`` known ones (n, 100)."""
        readings = self.readings(compositions[:n_read])
        held = self.readings(unseen), unseen
        return replace(self, applicability=Applicability.fit(readings, compositions, held))

    def estimates(
        self,
        outputs: NDArray[np.float64],
        widths: NDArray[np.float64],
        *,
        case: str,
        distances: NDArray[np.float64] | None = None,
    ) -> dict[str, Estimates]:
        """Estimates per endpoint that is calibrated, from what ``raw`` gave and, if factors
        depend on them, the ``distances`` of the compositions.

        Raises ArtefactError if these are wanted and missing.
        """
        found = {}
        for at, endpoint in enumerate(self.endpoints):
            calibration = self.calibration.get(f"{case}/{endpoint.name}")
            if calibration is None:
                continue
            if endpoint.task == "probability":
                found[endpoint.name] = Estimates(*venn_abers(calibration, outputs[:, at]))
                continue
            factor = factor_at(calibration, distances)
            half = factor * self.scales[endpoint.name].spread * widths[:, at]
            found[endpoint.name] = endpoint.estimates(self.values(endpoint.name, outputs), half)
        return found

    def calibrated(
        self,
        endpoints: Sequence[str],
        labels: NDArray[np.float64],
        rows: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    ) -> PropertyNetwork:
        """The network with intervals for ``endpoints``, from unseen rows; those that these rows
        cannot give a finite interval are not answered.

        The factor for what is beyond all distances is measured on the members alone, without
        trees (``raw_but_one_element``): it is rather too large. ``labels`` (n, n_targets) in
        units, NaN where unknown; ``rows``: case → compositions and patterns of these rows.
        """
        calibration = {}
        for case, (compositions, patterns) in rows.items():
            given = self.raw(compositions, patterns)
            forgetful = distances = None
            if self.applicability is not None:
                forgetful = self.raw_but_one_element(compositions, patterns)
                distances = self.distances(compositions)
            for at, endpoint in enumerate(self.endpoints):
                known = ~np.isnan(labels[:, at])
                if endpoint.name not in endpoints or not known.any():
                    continue
                key, truth = f"{case}/{endpoint.name}", labels[known, at]
                if endpoint.task == "probability":
                    calibration[key] = venn_abers_table(given[0][known, at], truth)
                    continue
                errors = self._scaled_errors(endpoint, labels[:, at], given)[known]
                if not np.isfinite(conformal_quantile(errors)):
                    continue  # too few rows, or too many zeros in a logarithm, for an interval
                if forgetful is None or distances is None:
                    calibration[key] = np.array([conformal_quantile(errors)])
                    continue
                others = self._scaled_errors(endpoint, labels[:, at], forgetful)[known]
                beyond = conformal_quantile(others)
                calibration[key] = distance_factors(
                    errors, distances[known], beyond=beyond if np.isfinite(beyond) else 0.0
                )
        return replace(self, calibration=calibration)

    def _scaled_errors(
        self,
        endpoint: Endpoint,
        labels: NDArray[np.float64],
        given: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """(n,), errors of one target in widths, from labels (n,) in units and what ``raw`` gave."""
        outputs, widths = (part[:, self.endpoints.index(endpoint)] for part in given)
        scale = self.scales[endpoint.name]
        error = abs(scale.centre + scale.spread * outputs - endpoint.to_model(labels))
        return error / (scale.spread * widths)

    def raw_but_one_element(
        self, compositions: NDArray[np.floating], patterns: NDArray[np.floating], *, seed: int = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the members give if one element of each row, drawn at random, had not been
        learned: what is known of it is its place among the elements' properties. Trees are not
        heard.

        Its learned vectors are put back to starts of training. Of two networks that were in fact
        trained without Sc, Te and Re, the factor that formation energies of their compounds need
        is 2.7, and 2.6 by this; that of unseen formulas of known elements is 1.5.
        """
        rng = np.random.default_rng(seed)
        forgotten = np.array([rng.choice(np.flatnonzero(row)) for row in compositions])
        members = tuple(deepcopy(member) for member in self.members)
        learned = [member.composition.elements.data.clone() for member in members]
        with torch.random.fork_rng(devices=[]):
            # by no means the seed of a training: learned vectors lie close to where they began
            torch.manual_seed(int(rng.integers(2**32, 2**62)))
            fresh = [CompositionEncoder().elements.data for _ in members]
        other = replace(self, members=members, trees={})
        outputs, widths = np.empty((2, len(forgotten), len(self.endpoints)))
        for element in np.unique(forgotten):
            for member, before, start in zip(members, learned, fresh, strict=True):
                member.composition.elements.data.copy_(before)
                member.composition.elements.data[element] = start[element]
            rows = forgotten == element
            outputs[rows], widths[rows] = other.raw(compositions[rows], patterns[rows])
        return outputs, widths

    def save(self, root: Path) -> None:
        """Write as an artefact below ``root``; weights are kept in half precision."""
        groups: dict[str, Mapping[str, NDArray[Any]]] = {
            f"member {number}": kept_weights(member, exact=("centre", "scale", "weights"))
            for number, member in enumerate(self.members)
        }
        groups["calibration"] = self.calibration
        groups["trees"] = ungrouped({name: f.arrays() for name, f in self.trees.items()})
        if self.applicability is not None:
            groups["applicability"] = self.applicability.arrays()
        header = {
            "endpoints": [endpoint.definition() for endpoint in self.endpoints],
            "scales": {
                name: [scale.centre, scale.spread, *scale.limits]
                for name, scale in self.scales.items()
            },
            "sizes": list(self.members[0].sizes),
            "tree_shares": {name: self.tree_shares[name] for name in self.trees},
            **self.report,
        }
        save_artefact(
            root / NETWORK_MODEL, kind="properties", header=header, arrays=ungrouped(groups)
        )

    @classmethod
    def load(cls, folder: Path) -> PropertyNetwork:
        """Read back what ``save`` wrote; raises ArtefactError if it does not fit the code."""
        artefact = load_artefact(folder).require("properties")
        with understood(folder):
            header = dict(artefact.header)
            endpoints = tuple(Endpoint.from_definition(d) for d in header.pop("endpoints"))
            scales = {
                name: TargetScale(centre, spread, (low, high))
                for name, (centre, spread, low, high) in header.pop("scales").items()
            }
            sizes, shares = header.pop("sizes"), header.pop("tree_shares")
            groups = grouped(artefact.arrays)
            reach, trees = groups.get("applicability"), grouped(groups["trees"], at_last=True)
            return cls(
                tuple(
                    network_of(lambda: new_network(endpoints, sizes), groups[name], folder)
                    for name in sorted(groups)
                    if name.startswith("member ")
                ),
                endpoints,
                scales,
                groups["calibration"],
                {k: v for k, v in header.items() if k not in ("schema", "kind", "arrays")},
                {name: Forest.from_arrays(a) for name, a in trees.items()},
                shares,
                Applicability(**reach) if reach else None,
            )


def new_network(endpoints: Sequence[Endpoint], sizes: Sequence[int]) -> PropertyNet:
    """An untrained network for ``endpoints``, values first, and numbers of descriptors."""
    n_logits = sum(endpoint.task == "probability" for endpoint in endpoints)
    return PropertyNet(
        len(endpoints) - n_logits,
        n_logits,
        n_composition_descriptors=sizes[0],
        n_pattern_descriptors=sizes[1],
    )
