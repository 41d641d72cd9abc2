"""One network for every property: what is learned of one helps with the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import grouped, load_artefact, save_artefact, understood, ungrouped
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.latent.forward import (
    ELEMENT_SPREAD,
    N_COARSE,
    Floats,
    Shapes,
    Weights,
    as_part,
    composition_shapes,
    fitting,
    halved,
    in_blocks,
    n_read,
    part,
    read_compositions,
    residual_net,
    residual_shapes,
)
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
from matlode.records import Case
from matlode.representation.descriptors import composition_descriptors, pattern_descriptors

NETWORK_MODEL = "standard-properties"
VOLUME = "volume_per_atom"
"""Trees are given it as a feature: what a pattern says about many properties is above all how
dense the atoms sit."""
LABEL_QUANTILES = (0.001, 0.999)
"""Labels beyond are put on these: a few wild ones would rule the loss."""
MAX_SIGMAS = 5.0
"""Descriptors further from their mean are put there."""
MAX_LOG_WIDTH = (-6.0, 4.0)
N_SEEN = 256
"""Numbers that a pattern is read as."""
_EXACT = ("centre", "scale", "weights")
"""Of weights, what is not kept in half precision."""


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


Inputs = tuple[Floats, Floats, Floats, Floats]


def network_inputs(compositions: NDArray[np.floating], patterns: NDArray[np.floating]) -> Inputs:
    """What a member is asked with, of compositions (n, 100) and patterns (n, 1601): compositions,
    their descriptors, every second point of the patterns, their descriptors."""
    return (
        _single(compositions),
        _single(composition_descriptors(compositions)[:, MAX_ATOMIC_NUMBER:]),
        _single(patterns[:, ::2]),
        _single(pattern_descriptors(patterns)),
    )


@dataclass(frozen=True, eq=False)
class Member:
    """A trained ``PropertyNet`` at work: composition and pattern → every target."""

    weights: Weights
    n_values: int
    """Targets that are values; the others are logits."""

    @classmethod
    def of(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        endpoints: Sequence[Endpoint],
        sizes: Sequence[int],
        folder: Path,
    ) -> Member:
        """The network that learned these ``arrays`` for endpoints, values first; ``sizes`` are
        the numbers of descriptors of compositions and patterns.

        Raises ArtefactError, naming ``folder``, for arrays of another network.
        """
        n_values = sum(endpoint.task != "probability" for endpoint in endpoints)
        composition = part(arrays, "composition")
        n_in = n_read(composition) + sizes[0] + N_SEEN
        n_out = len(endpoints) + n_values
        shapes: Shapes = {
            "centre": (sum(sizes),),
            "scale": (sum(sizes),),
            "weights": (len(endpoints),),
            "no_pattern": (N_SEEN,),
            **as_part("composition", composition_shapes(composition)),
            **as_part(
                "pattern", residual_shapes(part(arrays, "pattern"), N_COARSE + sizes[1], N_SEEN)
            ),
            **as_part("trunk", residual_shapes(part(arrays, "trunk"), n_in, n_out)),
        }
        return cls(fitting(arrays, shapes, folder), n_values)

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of descriptors of compositions and patterns."""
        n_peaks = self.weights["pattern.first.weight"].shape[1] - N_COARSE
        return len(self.weights["centre"]) - n_peaks, n_peaks

    def __call__(self, inputs: Inputs) -> tuple[Floats, Floats, Floats]:
        """What ``PropertyNet.forward`` gives of ``network_inputs``: values, logarithms of their
        widths, logits."""
        compositions, described, patterns, peaks = inputs
        weights, (n_described, _) = self.weights, self.sizes
        standard = slice(0, n_described), slice(n_described, None)
        seen = residual_net(
            part(weights, "pattern"),
            np.concatenate([np.sqrt(patterns), self._standard(peaks, standard[1])], axis=1),
        )
        seen[~(patterns > 0).any(axis=1)] = weights["no_pattern"]
        parts = [self.read(compositions), self._standard(described, standard[0]), seen]
        out = residual_net(part(weights, "trunk"), np.concatenate(parts, axis=1))
        values, widths, logits = np.split(out, [self.n_values, 2 * self.n_values], axis=1)
        return values, widths.clip(*MAX_LOG_WIDTH), logits

    def read(self, compositions: Floats) -> Floats:
        """(n, n_read), how compositions (n, 100) are read."""
        return read_compositions(part(self.weights, "composition"), compositions)

    def with_element(self, index: int, learned: Floats) -> Member:
        """The member with this vector in place of what it learned of an element."""
        elements = self.weights["composition.elements"].copy()
        elements[index] = learned
        return replace(self, weights={**self.weights, "composition.elements": elements})

    def _standard(self, descriptors: Floats, which: slice) -> Floats:
        shifted = (descriptors - self.weights["centre"][which]) / self.weights["scale"][which]
        return shifted.clip(-MAX_SIGMAS, MAX_SIGMAS)


def _single(data: NDArray[np.floating]) -> Floats:
    return np.ascontiguousarray(data, dtype=np.float32)


@dataclass(frozen=True)
class PropertyNetwork:
    """Trained members, and trees for some targets, that answer in units, with
    intervals.

    The interval of a value is value ± factor × width, the factor conformal and larger for what
    is far from the training compositions; a probability is a Venn-Abers one. Both are calibrated
    per case (``records.Case``) on unseen formulas.
    """

    members: tuple[Member, ...]
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
        blocks = in_blocks(self._raw, compositions, patterns)
        outputs, widths = (np.concatenate(part) for part in zip(*blocks, strict=True))
        return outputs, widths

    def _raw(
        self, compositions: NDArray[np.floating], patterns: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        inputs = network_inputs(compositions, patterns)
        outputs, widths = self.members_say(inputs)
        if self.trees:
            self._hear_trees(inputs, outputs)
        return outputs, widths

    def members_say(self, inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What ``raw`` gives without trees, of ``network_inputs``."""
        values, logs, logits = map(
            np.stack, zip(*(member(inputs) for member in self.members), strict=True)
        )
        # what the members disagree about is uncertain beyond what each of them says
        width = np.exp(logs).mean(axis=0) + values.std(axis=0)
        mean_logits = logits.mean(axis=0)
        outputs = np.concatenate([values.mean(axis=0), mean_logits], axis=1)
        widths = np.concatenate([width, np.full_like(mean_logits, np.nan)], axis=1)
        return outputs.astype(float), widths.astype(float)

    def tree_features(self, inputs: Inputs, outputs: NDArray[np.float64]) -> NDArray[np.float32]:
        """(n, n_columns) that trees are given: descriptors, and the network's volume per atom,
        which is what a pattern says about most properties."""
        compositions, described, _, peaks = inputs
        volume = [outputs[:, at] for at, e in enumerate(self.endpoints) if e.name == VOLUME]
        return np.column_stack([compositions, described, peaks, *volume]).astype(np.float32)

    def _hear_trees(self, inputs: Inputs, outputs: NDArray[np.float64]) -> None:
        """Move the outputs of targets that have trees towards what these say; they know nothing
        of hidden patterns."""
        known = (inputs[2] > 0).any(axis=1)
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
        return np.concatenate(in_blocks(self.members[0].read, _single(compositions)))

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
        case: Case,
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
        rows: Mapping[Case, tuple[NDArray[np.floating], NDArray[np.floating]]],
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
        shape = self.members[0].weights["composition.elements"].shape
        starts = ELEMENT_SPREAD * rng.standard_normal((len(self.members), *shape), np.float32)
        outputs, widths = np.empty((2, len(forgotten), len(self.endpoints)))
        for element in np.unique(forgotten):
            members = tuple(
                member.with_element(element, start[element])
                for member, start in zip(self.members, starts, strict=True)
            )
            rows = forgotten == element
            other = replace(self, members=members, trees={})
            outputs[rows], widths[rows] = other.raw(compositions[rows], patterns[rows])
        return outputs, widths

    def save(self, root: Path) -> None:
        """Write as an artefact below ``root``; weights are kept in half precision."""
        groups: dict[str, Mapping[str, NDArray[Any]]] = {
            f"member {number}": halved(member.weights, exact=_EXACT)
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
            members = tuple(
                Member.of(groups[name], endpoints, sizes, folder)
                for name in sorted(groups)
                if name.startswith("member ")
            )
            if not members:
                raise ValueError("no network in it")
            reach, trees = groups.get("applicability"), grouped(groups["trees"], at_last=True)
            return cls(
                members,
                endpoints,
                scales,
                groups["calibration"],
                {k: v for k, v in header.items() if k not in ("schema", "kind", "arrays")},
                {name: Forest.from_arrays(a) for name, a in trees.items()},
                shares,
                Applicability(**reach) if reach else None,
            )
