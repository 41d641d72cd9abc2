"""Multi-task network for all built-in properties, in NumPy, with calibrated intervals."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import (
    convert_read_errors,
    flatten_groups,
    grouped,
    load_artefact,
    save_artefact,
)
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.latent.forward import (
    ELEMENT_SPREAD,
    N_COARSE,
    Floats,
    Shapes,
    Weights,
    apply_residual_net,
    check_weights,
    composition_shapes,
    encode_compositions,
    halve_precision,
    map_blocks,
    n_encoded,
    prefix_shapes,
    residual_shapes,
    select_part,
)
from matlode.properties.applicability import Applicability
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates
from matlode.properties.expected_volume import ExpectedVolume
from matlode.properties.forest import Forest
from matlode.properties.intervals import (
    apply_venn_abers,
    compute_conformal_quantile,
    fit_distance_factors,
    fit_venn_abers,
    look_up_factors,
)
from matlode.records import Basis
from matlode.representation.descriptors import (
    compute_composition_descriptors,
    compute_pattern_descriptors,
)
from matlode.representation.environments import DIGITS, LN_VOLUME, list_crystal_descriptors

NETWORK_MODEL = "standard-properties"
LABEL_QUANTILES = (0.001, 0.999)
"""Labels are clipped to these quantiles, so that a few outliers do not dominate the loss."""
MAX_SIGMAS = 5.0
"""Standardised descriptors are clipped to ± this value."""
MAX_LOG_WIDTH = (-6.0, 4.0)
"""Logarithms of widths are clipped to this range."""
N_SEEN, N_BUILT = 256, 192
"""Lengths of the encodings of a pattern and of a crystal."""
_EXACT = ("centre", "scale", "weights")
"""Weights that are not stored in half precision."""


@dataclass(frozen=True)
class TargetScale:
    """Standardises the labels of one target, after clipping them to ``limits``."""

    centre: float
    spread: float
    limits: tuple[float, float]

    @classmethod
    def fit(cls, labels: NDArray[np.float64]) -> TargetScale:
        """Fit to labels (n,), NaN where unknown."""
        known = labels[np.isfinite(labels)]
        low, high = np.quantile(known, LABEL_QUANTILES)
        clipped = known.clip(low, high)
        return cls(float(clipped.mean()), float(clipped.std()) or 1.0, (float(low), float(high)))

    def apply(self, labels: NDArray[np.float64]) -> NDArray[np.float32]:
        """Clip and standardise labels (n,) for training."""
        return ((labels.clip(*self.limits) - self.centre) / self.spread).astype(np.float32)


Inputs = tuple[Floats, Floats, Floats, Floats, Floats]
Materials: TypeAlias = tuple[
    NDArray[np.floating], NDArray[np.floating], NDArray[np.floating] | None
]
"""Compositions (n, 100), patterns (n, 1601), and the descriptors of the crystals if known."""


def prepare_inputs(
    expected_volume: ExpectedVolume,
    compositions: NDArray[np.floating],
    patterns: NDArray[np.floating],
    crystals: NDArray[np.floating] | None = None,
) -> Inputs:
    """Inputs of a member for compositions (n, 100), patterns (n, 1601) and descriptors of
    crystals (n, n_descriptors), None if there are none.

    These are the compositions, their descriptors, every second point of the patterns, the
    descriptors of the patterns, and those of the crystals, all in single precision. The ratio of a
    crystal's volume and the one that its composition is expected to have is one more descriptor.
    """
    if crystals is None:
        crystals = np.full((len(compositions), len(list_crystal_descriptors()) + 1), np.nan)
    else:
        expected = np.log(expected_volume.predict(compositions).value)
        excess = (crystals[:, LN_VOLUME] - expected).round(DIGITS)
        crystals = np.column_stack([crystals, excess])
    return (
        _single(compositions),
        _single(compute_composition_descriptors(compositions)[:, MAX_ATOMIC_NUMBER:]),
        _single(patterns[:, ::2]),
        _single(compute_pattern_descriptors(patterns)),
        _single(crystals),
    )


def select_tree_features(inputs: Inputs) -> Floats:
    """Features (n, n_columns) of the trees: all inputs but the patterns themselves."""
    compositions, described, _, peaks, crystals = inputs
    return np.column_stack([compositions, described, peaks, crystals])


@dataclass(frozen=True, eq=False)
class Member:
    """A trained ``property_net.PropertyNet`` in NumPy: composition, pattern and crystal → all
    targets."""

    weights: Weights
    n_values: int
    """Number of targets that are values; the others are logits."""

    @classmethod
    def of(
        cls,
        arrays: Mapping[str, NDArray[np.generic]],
        endpoints: Sequence[Endpoint],
        sizes: Sequence[int],
        folder: Path,
    ) -> Member:
        """Create a member from the weights ``arrays``.

        ``endpoints`` are its targets, values before probabilities; ``sizes`` are the numbers of
        descriptors of compositions, patterns and crystals. Raises ArtefactError, naming
        ``folder``, if the weights belong to another network or are damaged.
        """
        n_values = sum(endpoint.task != "probability" for endpoint in endpoints)
        composition = select_part(arrays, "composition")
        n_in = n_encoded(composition) + sizes[0] + N_SEEN + N_BUILT
        n_out = len(endpoints) + n_values
        shapes: Shapes = {
            "centre": (sum(sizes),),
            "scale": (sum(sizes),),
            "weights": (len(endpoints),),
            "no_pattern": (N_SEEN,),
            "no_crystal": (N_BUILT,),
            **prefix_shapes("composition", composition_shapes(composition)),
            **prefix_shapes(
                "pattern",
                residual_shapes(select_part(arrays, "pattern"), N_COARSE + sizes[1], N_SEEN),
            ),
            **prefix_shapes(
                "crystal", residual_shapes(select_part(arrays, "crystal"), sizes[2], N_BUILT)
            ),
            **prefix_shapes("trunk", residual_shapes(select_part(arrays, "trunk"), n_in, n_out)),
        }
        return cls(check_weights(arrays, shapes, folder), n_values)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of descriptors of compositions, patterns and crystals."""
        n_peaks = self.weights["pattern.first.weight"].shape[1] - N_COARSE
        n_built = self.weights["crystal.first.weight"].shape[1]
        return len(self.weights["centre"]) - n_peaks - n_built, n_peaks, n_built

    def __call__(self, inputs: Inputs) -> tuple[Floats, Floats, Floats]:
        """Evaluate ``PropertyNet.forward`` on ``prepare_inputs``: values and logarithms of their
        widths (n, n_values), logits (n, n_logits)."""
        compositions, described, patterns, peaks, crystals = inputs
        weights = self.weights
        seen = apply_residual_net(
            select_part(weights, "pattern"),
            np.concatenate([np.sqrt(patterns), self._standard(peaks, 1)], axis=1),
        )
        seen[~(patterns > 0).any(axis=1)] = weights["no_pattern"]
        built = np.tile(weights["no_crystal"], (len(crystals), 1))
        known = ~np.isnan(crystals).any(axis=1)
        if known.any():
            standard = self._standard(crystals[known], 2)
            built[known] = apply_residual_net(select_part(weights, "crystal"), standard)
        parts = [self.encode(compositions), self._standard(described, 0), seen, built]
        out = apply_residual_net(select_part(weights, "trunk"), np.concatenate(parts, axis=1))
        values, widths, logits = np.split(out, [self.n_values, 2 * self.n_values], axis=1)
        return values, widths.clip(*MAX_LOG_WIDTH), logits

    def encode(self, compositions: Floats) -> Floats:
        """Encode compositions (n, 100) to (n, n_encoded)."""
        return encode_compositions(select_part(self.weights, "composition"), compositions)

    def with_element(self, index: int, learned: Floats) -> Member:
        """Copy of the member with ``learned`` as the vector of the element with this index."""
        elements = self.weights["composition.elements"].copy()
        elements[index] = learned
        return replace(self, weights={**self.weights, "composition.elements": elements})

    def _standard(self, descriptors: Floats, which: int) -> Floats:
        ends = np.cumsum(self.sizes)[:-1]
        centre, scale = (np.split(self.weights[n], ends)[which] for n in ("centre", "scale"))
        shifted = (descriptors - centre) / scale
        return shifted.clip(-MAX_SIGMAS, MAX_SIGMAS)


def _single(data: NDArray[np.floating]) -> Floats:
    return np.ascontiguousarray(data, dtype=np.float32)


@dataclass(frozen=True)
class PropertyNetwork:
    """Ensemble of trained networks, with boosted trees for some targets, that predicts in the
    units of the endpoints with calibrated intervals.

    The interval of a value is value ± factor × width; the conformal factor increases with the
    distance from the training compositions. Probabilities are Venn-Abers predictions. Both are
    calibrated per case (Basis) on held-out formulas.
    """

    expected_volume: ExpectedVolume
    """What the volumes of crystals are compared with."""
    members: tuple[Member, ...]
    """Networks trained with different seeds, whose outputs are averaged."""
    endpoints: tuple[Endpoint, ...]
    """Targets in the order of the outputs, values first, including auxiliary ones."""
    scales: Mapping[str, TargetScale]
    """target → scale of its labels."""
    calibration: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """"case/endpoint" → factors by distance (k, 2) or one factor (1,) for a value, Venn-Abers table
    (m, 3) for a probability."""
    report: Mapping[str, object] = field(default_factory=dict)
    """Further entries of the header: training data and held-out scores."""
    trees: Mapping[str, Forest] = field(default_factory=dict)
    """target → boosted trees that are averaged with the members where the crystal is known."""
    tree_shares: Mapping[str, float] = field(default_factory=dict)
    """target → weight of the trees in the prediction; the members have the rest."""
    applicability: Applicability | None = None
    """Distance of a composition from the training compositions."""

    @cached_property
    def answers(self) -> dict[str, Endpoint]:
        """name → endpoint of the properties that ``estimates`` returns, in the order of
        ENDPOINTS."""
        made = {key.partition("/")[2] for key in self.calibration}
        return {name: endpoint for name, endpoint in ENDPOINTS.items() if name in made}

    def restrict(self, names: Container[str]) -> PropertyNetwork:
        """Copy of the network that estimates only the targets ``names``; the trees of the others
        are not evaluated."""
        trees = {name: forest for name, forest in self.trees.items() if name in names}
        calibration = {
            key: table for key, table in self.calibration.items() if key.partition("/")[2] in names
        }
        return replace(self, trees=trees, calibration=calibration)

    def values(self, name: str, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (n,) of one target in the scale of the model (``Endpoint.to_model``), or logits
        of a probability, from the ``outputs`` of ``raw``."""
        names = [endpoint.name for endpoint in self.endpoints]
        column = outputs[:, names.index(name)]
        scale = self.scales.get(name)
        return column if scale is None else scale.centre + scale.spread * column

    def raw(
        self,
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        crystals: NDArray[np.floating] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Outputs and widths, (n, n_targets) each, of compositions (n, 100), patterns (n, 1601)
        and the descriptors of crystals (``prepare_inputs``).

        Outputs are standardised values and logits; the widths of logits are NaN. A pattern of
        zeros stands for an unknown one.
        """
        columns = [x for x in (compositions, patterns, crystals) if x is not None]
        blocks = map_blocks(self._raw, *columns)
        outputs, widths = (np.concatenate(part) for part in zip(*blocks, strict=True))
        return outputs, widths

    def _raw(
        self,
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        crystals: NDArray[np.floating] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        inputs = prepare_inputs(self.expected_volume, compositions, patterns, crystals)
        outputs, widths = self.evaluate_members(inputs)
        if self.trees and crystals is not None:
            self._mix_in_trees(inputs, outputs)
        return outputs, widths

    def evaluate_members(self, inputs: Inputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Outputs and widths of the members without trees, for ``prepare_inputs``; see ``raw``."""
        values, logs, logits = map(
            np.stack, zip(*(member(inputs) for member in self.members), strict=True)
        )
        # disagreement among the members adds to the uncertainty that each of them predicts
        width = np.exp(logs).mean(axis=0) + values.std(axis=0)
        mean_logits = logits.mean(axis=0)
        outputs = np.concatenate([values.mean(axis=0), mean_logits], axis=1)
        widths = np.concatenate([width, np.full_like(mean_logits, np.nan)], axis=1)
        return outputs.astype(float), widths.astype(float)

    def _mix_in_trees(self, inputs: Inputs, outputs: NDArray[np.float64]) -> None:
        """Average the outputs of targets that have trees with their predictions, in place.

        Rows without a crystal are left as they are, since the trees need one.
        """
        known = ~np.isnan(inputs[-1]).any(axis=1)
        features = select_tree_features(inputs)[known]
        places = {e.name: at for at, e in enumerate(self.endpoints) if e.name in self.trees}

        def predict(name: str) -> NDArray[np.float64]:
            return self.trees[name].predict(features, logits=True)

        with ThreadPoolExecutor() as pool:
            for (name, at), found in zip(places.items(), pool.map(predict, places), strict=True):
                share = self.tree_shares[name]
                outputs[known, at] += share * (found - outputs[known, at])

    def encode(self, compositions: NDArray[np.floating]) -> NDArray[np.float32]:
        """Encodings (n, n_encoded) of compositions (n, 100) by the first member."""
        return np.concatenate(map_blocks(self.members[0].encode, _single(compositions)))

    def distances(self, compositions: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,), distances of compositions (n, 100) from the training compositions
        (``applicability``); NaN without ``applicability``."""
        if self.applicability is None:
            return np.full(len(compositions), np.nan)
        return self.applicability.distances(self.encode(compositions), compositions)

    def with_applicability(
        self, compositions: NDArray[np.floating], n_read: int, unseen: NDArray[np.floating]
    ) -> PropertyNetwork:
        """Copy of the network with ``applicability``.

        ``compositions`` (m, 100) are the distinct training compositions, those of structures
        being the first ``n_read``; ``unseen`` (n, 100) are compositions of held-out materials.
        """
        encodings = self.encode(compositions[:n_read])
        held = self.encode(unseen), unseen
        return replace(self, applicability=Applicability.fit(encodings, compositions, held))

    def estimates(
        self,
        outputs: NDArray[np.float64],
        widths: NDArray[np.float64],
        *,
        case: Basis,
        distances: NDArray[np.float64] | None = None,
    ) -> dict[str, Estimates]:
        """Estimates by calibrated endpoint, from ``outputs`` and ``widths`` of ``raw``.

        ``distances`` (n,) are those of the compositions. Raises ArtefactError if the calibration
        needs them and they are None.
        """
        found = {}
        for at, endpoint in enumerate(self.endpoints):
            calibration = self.calibration.get(f"{case}/{endpoint.name}")
            if calibration is None:
                continue
            if endpoint.task == "probability":
                found[endpoint.name] = Estimates(*apply_venn_abers(calibration, outputs[:, at]))
                continue
            factor = look_up_factors(calibration, distances)
            half = factor * self.scales[endpoint.name].spread * widths[:, at]
            found[endpoint.name] = endpoint.estimates(self.values(endpoint.name, outputs), half)
        return found

    def calibrated(
        self,
        endpoints: Sequence[str],
        labels: NDArray[np.float64],
        rows: Mapping[Basis, Materials],
    ) -> PropertyNetwork:
        """Copy of the network with intervals for ``endpoints``, calibrated on held-out rows.

        ``labels`` (n, n_targets) are in units, NaN where unknown; ``rows`` maps each case to
        the arguments of ``raw`` for these rows. Endpoints without enough rows for a finite
        interval are left out of the calibration and so of the predictions.

        The factor beyond all distances is measured on the members without trees
        (``predict_without_one_element``) and is therefore conservative.
        """
        calibration = {}
        for case, given_rows in rows.items():
            given = self.raw(*given_rows)
            forgetful = distances = None
            if self.applicability is not None:
                forgetful = self.predict_without_one_element(*given_rows)
                distances = self.distances(given_rows[0])
            for at, endpoint in enumerate(self.endpoints):
                known = ~np.isnan(labels[:, at])
                if endpoint.name not in endpoints or not known.any():
                    continue
                key, truth = f"{case}/{endpoint.name}", labels[known, at]
                if endpoint.task == "probability":
                    calibration[key] = fit_venn_abers(given[0][known, at], truth)
                    continue
                errors = self._scaled_errors(endpoint, labels[:, at], given)[known]
                if not np.isfinite(compute_conformal_quantile(errors)):
                    continue  # too few rows, or too many zeros under a logarithm
                if forgetful is None or distances is None:
                    calibration[key] = np.array([compute_conformal_quantile(errors)])
                    continue
                others = self._scaled_errors(endpoint, labels[:, at], forgetful)[known]
                beyond = compute_conformal_quantile(others)
                calibration[key] = fit_distance_factors(
                    errors, distances[known], beyond=beyond if np.isfinite(beyond) else 0.0
                )
        return replace(self, calibration=calibration)

    def _scaled_errors(
        self,
        endpoint: Endpoint,
        labels: NDArray[np.float64],
        given: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """(n,), errors of one target divided by its widths; labels (n,) are in units, ``given`` is
        the result of ``raw``."""
        outputs, widths = (part[:, self.endpoints.index(endpoint)] for part in given)
        scale = self.scales[endpoint.name]
        error = abs(scale.centre + scale.spread * outputs - endpoint.to_model(labels))
        return error / (scale.spread * widths)

    def predict_without_one_element(
        self,
        compositions: NDArray[np.floating],
        patterns: NDArray[np.floating],
        crystals: NDArray[np.floating] | None = None,
        *,
        seed: int = 0,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Outputs and widths as if one element of each row had been absent from the training data.

        The element is drawn at random for each row, and its learned vector is replaced by one
        from the initial distribution; only its tabulated properties remain. Trees are not used.

        Two networks that were actually trained without Sc, Te and Re need a factor of 2.7 for
        formation energies of their compounds; this method gives 2.6. For unseen formulas of known
        elements the factor is 1.5.
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
            built = None if crystals is None else crystals[rows]
            outputs[rows], widths[rows] = other.raw(compositions[rows], patterns[rows], built)
        return outputs, widths

    def save(self, root: Path) -> None:
        """Write the artefact to a folder in ``root``; weights are stored in half precision."""
        groups: dict[str, Mapping[str, NDArray[np.generic]]] = {
            f"member {number}": halve_precision(member.weights, exact=_EXACT)
            for number, member in enumerate(self.members)
        }
        groups["calibration"] = self.calibration
        groups["trees"] = flatten_groups({name: f.arrays() for name, f in self.trees.items()})
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
            root / NETWORK_MODEL, kind="properties", header=header, arrays=flatten_groups(groups)
        )

    @classmethod
    def load(cls, folder: Path, expected_volume: ExpectedVolume) -> PropertyNetwork:
        """Read what ``save`` wrote; raises ArtefactError if it does not fit the code."""
        artefact = load_artefact(folder).require("properties")
        with convert_read_errors(folder):
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
                raise ValueError("it contains no network")
            reach, trees = groups.get("applicability"), grouped(groups["trees"], at_last=True)
            return cls(
                expected_volume,
                members,
                endpoints,
                scales,
                groups["calibration"],
                {k: v for k, v in header.items() if k not in ("schema", "kind", "arrays")},
                {name: Forest.from_arrays(a) for name, a in trees.items()},
                shares,
                Applicability(**reach) if reach else None,
            )
