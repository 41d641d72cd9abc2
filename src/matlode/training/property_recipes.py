"""How property models are trained: the network for all, and trees for single properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from matlode.artefacts import save_artefact
from matlode.data.splits import CALIBRATION, TEST, TRAIN
from matlode.data.tables import Materials
from matlode.latent.networks import N_PATTERN, single
from matlode.latent.weights import export_weights, extract_weights
from matlode.properties.endpoints import ENDPOINTS, Endpoint, Estimates
from matlode.properties.expected_volume import ExpectedVolume
from matlode.properties.forest import Forest
from matlode.properties.formation_net import ReferenceFormationNet
from matlode.properties.heads import CASES, fit_head
from matlode.properties.models import hash_foundations
from matlode.properties.network import (
    Inputs,
    Member,
    PropertyNetwork,
    TargetScale,
    prepare_inputs,
    select_tree_features,
)
from matlode.properties.own import check_labels
from matlode.properties.property_net import MAX_LABEL_WEIGHT, PropertyNet, make_network
from matlode.properties.scores import BASELINES, score, score_estimates
from matlode.properties.targets import FORMULA_SOURCES, TARGETS
from matlode.properties.trees import NETWORK_TREES, fit_trees
from matlode.records import Basis, describe_basis
from matlode.representation.composition import compute_formula_vectors
from matlode.representation.descriptors import compute_pattern_descriptors
from matlode.training.model_spec import ModelSpec
from matlode.training.trainer import Trainer

N_MEMBERS = 2
"""Property networks in the ensemble: their mean is the prediction, their spread enters its
uncertainty."""
SHARES = np.arange(11) / 10
"""Weights of the trees that are tried."""
ELASTIC_COLUMNS = ("bulk_modulus_vrh", "shear_modulus_vrh")
MAX_MODULUS_RATIO = 2.0
"""Labels of crystals whose G / K is larger are not learned: Poisson's ratio would be below -0.13.
Of 11,921 pairs of moduli, 23 are such; beryllium and diamond have 1.3 and 1.2."""
MIN_TARGET_ROWS = 50
"""Targets with fewer training labels are left out."""


def train_properties(trainer: Trainer, spec: ModelSpec) -> None:
    """Train the property network on structures, and on formulas without a structure."""
    fitted = fit_network(trainer, spec, n_members=N_MEMBERS)
    test = trainer.standard.select_inputs(trainer.select_rows(TEST))
    answers = {
        case: fitted.estimates(*fitted.raw(*rows), case=case, distances=fitted.distances(rows[0]))
        for case, rows in test.items()
    }
    scores, rows = {}, {}
    for endpoint in fitted.answers.values():
        labels = trainer.table.labels(endpoint)
        of_role = {role: trainer.select_rows(role, labels) for role in (TRAIN, CALIBRATION, TEST)}
        scores[endpoint.name] = {
            **_score_network(trainer, endpoint, answers),
            **_score_baselines(trainer, endpoint, labels, of_role),
        }
        rows[endpoint.name] = {role: int(mask.sum()) for role, mask in of_role.items()}
    compositions, n_structures = _list_training_compositions(trainer)
    n_trained = len(compositions)
    report = {
        **trainer.table.header,
        "training": asdict(spec.training),
        "built_on": hash_foundations(trainer.models, spec.face, network=True),
        "formulas_without_structure": n_trained - n_structures,
        "rows": rows,
        "scores": scores,
    }
    replace(fitted, report=report).save(trainer.root)


def fit_network(trainer: Trainer, spec: ModelSpec, *, n_members: int) -> PropertyNetwork:
    """Train members on the training rows and calibrate their mean on the calibration rows."""
    targets = [t for t in TARGETS if _is_learnable(trainer, t)]
    volumes = ExpectedVolume.load(trainer.models)
    data = _collect_network_data(trainer, targets, volumes)
    members = []
    for seed in range(n_members):
        torch.manual_seed(seed)
        network = make_network(targets, data.sizes)
        data.fit(network)
        settings = replace(spec.training, seed=seed)
        parts = data.select_tensors(TRAIN), data.select_tensors(CALIBRATION)
        trainer.fit(f"{spec.name}-{seed}", network, *parts, settings)
        members.append(Member.of(extract_weights(network), targets, data.sizes, trainer.root))
    for seed in range(n_members):
        trainer.checkpoint(f"{spec.name}-{seed}").unlink(missing_ok=True)
    table, held = trainer.table, trainer.select_rows(CALIBRATION)
    labels = np.column_stack([table.labels(t)[held] for t in targets])
    shown = [t.name for t in targets if t.name in ENDPOINTS]
    fitted = PropertyNetwork(volumes, tuple(members), tuple(targets), data.scales)
    trees = _fit_trees(data, targets)
    shares = _choose_shares(replace(fitted, trees=trees), data)
    fitted = replace(fitted, trees=trees, tree_shares=shares)
    fitted = fitted.with_applicability(
        *_list_training_compositions(trainer), table.compositions[held]
    )
    return fitted.calibrated(shown, labels, trainer.standard.select_inputs(held))


def _fit_trees(data: NetworkData, targets: Sequence[Endpoint]) -> dict[str, Forest]:
    """target → trees, from the training crystals, for every endpoint."""
    rows = data.find_crystals(TRAIN)
    features = select_tree_features(data.select_inputs(rows))
    trees = {}
    for at, target in enumerate(targets):
        labels = data.labels[rows, at].numpy()
        known = ~np.isnan(labels)
        if target.name in ENDPOINTS and known.sum() >= MIN_TARGET_ROWS and np.ptp(labels[known]):
            trees[target.name] = fit_trees(
                features[known], labels[known], NETWORK_TREES, objective=_find_objective(target)
            )
    return trees


def _find_objective(target: Endpoint) -> str:
    return "binary:logistic" if target.task == "probability" else "reg:squarederror"


def _choose_shares(network: PropertyNetwork, data: NetworkData) -> dict[str, float]:
    """target → weight of its trees in the prediction: of SHARES the one of the smallest mean
    absolute error, or log loss, for the calibration crystals."""
    rows = data.find_crystals(CALIBRATION)
    inputs = data.select_inputs(rows)
    alone, _ = network.evaluate_members(inputs)
    features = select_tree_features(inputs)
    shares = {}
    for at, target in enumerate(network.endpoints):
        if target.name not in network.trees:
            continue
        truth = data.labels[rows, at].numpy()
        known = ~np.isnan(truth)
        grown = network.trees[target.name].predict(features[known], logits=True)
        mixed = np.multiply.outer(SHARES, grown - alone[known, at]) + alone[known, at]
        losses = abs(mixed - truth[known])
        if target.task == "probability":
            losses = np.logaddexp(0, mixed) - truth[known] * mixed
        # without calibration rows, the mean of an empty slice would warn
        shares[target.name] = float(SHARES[losses.sum(axis=1).argmin()])
    return shares


def _list_training_compositions(trainer: Trainer) -> tuple[NDArray[np.float64], int]:
    """Compositions (m, 100) of the distinct training formulas, and how many of them, the first
    ones, have a structure."""
    table = trainer.table
    structures = set(table.materials.frame["formula"][trainer.select_rows(TRAIN)])
    alone = set(np.array(table.extra_formulas, dtype=str)[table.formula_roles == TRAIN])
    formulas = [*sorted(structures), *sorted(alone - structures)]
    return compute_formula_vectors(formulas), len(structures)


def _score_network(
    trainer: Trainer, endpoint: Endpoint, answers: Mapping[Basis, Mapping[str, Estimates]]
) -> dict[str, dict[str, float]]:
    """Scores by case of ``answers`` (case → endpoint → estimates of the test rows)."""
    truth = trainer.table.labels(endpoint)[trainer.select_rows(TEST)]
    known = ~np.isnan(truth)
    return {
        f"standard, {describe_basis(case)}": score_estimates(
            endpoint, truth[known], estimates[endpoint.name].take(known)
        )
        for case, estimates in answers.items()
    }


def _is_learnable(trainer: Trainer, target: Endpoint) -> bool:
    """Whether there are enough labels to learn a target and to calibrate it."""
    table = trainer.table
    labels = table.labels(target)
    known = labels[trainer.select_rows(TRAIN, labels)]
    if target.column in table.formulas:
        known = np.concatenate([known, table.formulas[target.column].dropna().to_numpy(float)])
    held = trainer.select_rows(CALIBRATION, labels).sum() >= 10 or target.name not in ENDPOINTS
    return bool(len(known) >= MIN_TARGET_ROWS and np.ptp(known) > 0 and held)


@dataclass(frozen=True, kw_only=True)
class NetworkData:
    """Inputs and labels of the property network: structures first, then formulas without one."""

    compositions: torch.Tensor
    described: torch.Tensor
    patterns: torch.Tensor
    peaks: torch.Tensor
    rebuilt: torch.Tensor
    rebuilt_peaks: torch.Tensor
    crystals: torch.Tensor
    labels: torch.Tensor
    roles: NDArray[np.str_]
    scales: dict[str, TargetScale]
    n_formulas: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of descriptors of compositions, patterns and crystals."""
        return self.described.shape[1], self.peaks.shape[1], self.crystals.shape[1]

    def find_crystals(self, role: str) -> NDArray[np.intp]:
        """Rows of a role that have a structure."""
        return np.flatnonzero(self.roles[: len(self.roles) - self.n_formulas] == role)

    def select_inputs(self, rows: NDArray[np.intp]) -> Inputs:
        """Inputs of a member of the network, with the simulated patterns."""
        parts = self.compositions, self.described, self.patterns, self.peaks, self.crystals
        one, two, three, four, five = (part[rows].float().numpy() for part in parts)
        return one, two, three, four, five

    def select_tensors(self, role: str) -> list[torch.Tensor]:
        """Tensors for the training loop, of the rows of a role."""
        rows = torch.from_numpy(np.flatnonzero(self.roles == role))
        parts = (self.compositions, self.described, self.patterns, self.peaks, self.rebuilt,
                 self.rebuilt_peaks, self.crystals, self.labels)  # fmt: skip
        return [part[rows] for part in parts]

    def fit(self, network: PropertyNet) -> None:
        """Set the network's scaling of descriptors and the weights of its labels."""
        train = torch.from_numpy(np.flatnonzero(self.roles == TRAIN))
        structures = torch.from_numpy(self.find_crystals(TRAIN))
        parts = [self.described[train], self.peaks[structures], self.crystals[structures]]
        network.centre.copy_(torch.cat([part.mean(0) for part in parts]))
        scale = torch.cat([part.std(0) for part in parts])
        # a constant descriptor carries no information
        network.scale.copy_(torch.where(scale > 1e-6, scale, 1.0))
        known = (~self.labels[train].isnan()).sum(0)
        network.weights.copy_((known.max() / known).sqrt().clamp(max=MAX_LABEL_WEIGHT))


def _collect_network_data(
    trainer: Trainer, targets: Sequence[Endpoint], volumes: ExpectedVolume
) -> NetworkData:
    table = trainer.table
    left_out = find_impossible_moduli(table.materials) & trainer.select_rows(TRAIN)
    formulas = table.extra_formulas
    columns, scales = [], {}
    roles = np.concatenate([table.roles, table.formula_roles])
    for target in targets:
        source = FORMULA_SOURCES.get(target.name, target.column)
        extra = np.full(len(formulas), np.nan)
        if source in table.formulas:
            extra = table.formulas[source].to_numpy(float)
        labels = np.concatenate([table.labels(target), extra])
        if target.column in ELASTIC_COLUMNS:
            labels[: len(left_out)][left_out] = np.nan
        if target.task == "probability":
            columns.append(labels.astype(np.float32))
            continue
        labels = target.to_model(labels)
        labels[np.isinf(labels)] = np.nan
        scales[target.name] = TargetScale.fit(labels[roles == TRAIN])
        columns.append(scales[target.name].apply(labels))
    seen = prepare_inputs(volumes, table.compositions, table.patterns, table.crystal_descriptors)
    dark = np.zeros((len(formulas), N_PATTERN))
    alone = prepare_inputs(volumes, compute_formula_vectors(formulas), dark)
    images = trainer.standard.decoded_patterns.astype(np.float32)
    rebuilt_peaks = compute_pattern_descriptors(images).astype(np.float32)
    both = [torch.from_numpy(np.concatenate(pair)) for pair in zip(seen, alone, strict=True)]
    return NetworkData(
        compositions=both[0],
        described=both[1],
        patterns=both[2].half(),
        peaks=both[3],
        rebuilt=torch.from_numpy(np.concatenate([images[:, ::2], alone[2]])).half(),
        rebuilt_peaks=torch.from_numpy(np.concatenate([rebuilt_peaks, alone[3]])),
        crystals=both[4],
        labels=torch.from_numpy(np.column_stack(columns).astype(np.float32)),
        roles=roles,
        scales=scales,
        n_formulas=len(formulas),
    )


def find_impossible_moduli(materials: Materials) -> NDArray[np.bool_]:
    """Return (n,), whether the shear modulus exceeds MAX_MODULUS_RATIO times the bulk modulus."""
    if not set(ELASTIC_COLUMNS) <= set(materials.frame.columns):
        return np.zeros(len(materials), dtype=bool)
    bulk, shear = (materials.label(column) for column in ELASTIC_COLUMNS)
    return shear > MAX_MODULUS_RATIO * bulk


def train_head(trainer: Trainer, spec: ModelSpec) -> None:
    """Train a property head with intervals, and score it on the test rows."""
    endpoint, face, table = spec.target, spec.face, trainer.table
    labels = check_labels(endpoint, table.materials, table=table.source)
    features = trainer.find_encoding(face).features
    rows = {role: trainer.select_rows(role, labels) for role in (TRAIN, CALIBRATION, TEST)}
    train_x, train_y = features.by_case["simulated"][rows[TRAIN]], labels[rows[TRAIN]]
    if face == "standard":
        train_x = np.vstack([train_x, features.augmented[rows[TRAIN]]])
        train_y = np.concatenate([train_y, train_y])
        folds = np.tile(trainer.halves[rows[TRAIN]], 2)
    else:
        folds = trainer.halves[rows[TRAIN]]
    held = rows[CALIBRATION]
    calibration = {case: (x[held], labels[held]) for case, x in features.by_case.items()}
    head = fit_head(endpoint, face, train_x, train_y, folds, calibration, settings=spec.trees)
    truth = labels[rows[TEST]]
    scores = {
        f"{face}, {case} pattern": score_estimates(
            endpoint, truth, head.predict(x[rows[TEST]], case=case)
        )
        for case, x in features.by_case.items()
    }
    if face == "standard":
        scores |= _score_baselines(trainer, endpoint, labels, rows)
    report = {
        **trainer.table.header,
        "description": endpoint.description,
        "built_on": hash_foundations(trainer.models, face),
        "rows": {role: int(mask.sum()) for role, mask in rows.items()},
        "scores": scores,
    }
    replace(head, report=report).save(trainer.root / spec.name)


def train_formation_net(trainer: Trainer, spec: ModelSpec) -> None:
    """Train the paper's stability classifier on the latent variables of the reference face."""
    endpoint = spec.target
    labels = trainer.table.labels(endpoint)
    rows = {role: trainer.select_rows(role, labels) for role in (TRAIN, CALIBRATION, TEST)}
    points = trainer.find_encoding(spec.face).features.by_case
    network = spec.build_network()
    assert isinstance(network, ReferenceFormationNet)
    train_data, held_out = (build_formation_tensors(trainer, role) for role in (TRAIN, CALIBRATION))
    network.fit(train_data[0])
    log = trainer.fit(spec.name, network, train_data, held_out, spec.training)
    scores = {}
    for case in CASES:
        chance = network.chance(single(points[case][rows[TEST]])).numpy().astype(float)
        scores[f"{spec.face}, {case} pattern"] = score(endpoint, labels[rows[TEST]], chance)
    header = {
        **trainer.table.header,
        "face": spec.face,
        "endpoint": endpoint.name,
        "definition": endpoint.definition(),
        "training": asdict(spec.training),
        "architecture": dict(spec.architecture),
        "epochs": len(log),
        "built_on": hash_foundations(trainer.models, spec.face),
        "rows": {role: int(mask.sum()) for role, mask in rows.items()},
        "scores": scores,
    }
    save_artefact(
        trainer.root / spec.name, kind=spec.kind, header=header, arrays=export_weights(network)
    )


def build_formation_tensors(trainer: Trainer, role: str) -> list[torch.Tensor]:
    """Latent variables (m, 88) and labels (m,) of a role's rows, for the stability classifier."""
    endpoint = ENDPOINTS["formation_probability"]
    return [single(part) for part in select_latent_rows(trainer, endpoint, role)]


def select_latent_rows(
    trainer: Trainer, endpoint: Endpoint, role: str
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Latent variables (m, 88) of the reference for a role's rows with a label, and the labels
    (m,) in the endpoint's unit."""
    labels = trainer.table.labels(endpoint)
    rows = trainer.select_rows(role, labels)
    return np.hstack(trainer.reference.points)[rows], labels[rows]


def _score_baselines(
    trainer: Trainer,
    endpoint: Endpoint,
    labels: NDArray[np.float64],
    rows: dict[str, NDArray[np.bool_]],
) -> dict[str, dict[str, float]]:
    x = trainer.table.compositions
    scores = {}
    for name, baseline in BASELINES.items():
        predicted = baseline(endpoint, x[rows[TRAIN]], labels[rows[TRAIN]], x[rows[TEST]])
        scores[name] = score(endpoint, labels[rows[TEST]], predicted)
    return scores
