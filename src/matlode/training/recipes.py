"""How each model is trained, and how it is scored on unseen formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from matlode.data.splits import CALIBRATION, TEST, TRAIN, split_by_formula
from matlode.latent.networks import PATTERN_LATENT, VariationalAutoencoder
from matlode.latent.pairing import Pairing, PairingNet
from matlode.latent.space import BOUND_QUANTILES, REFINEMENT_STEPS, load_view, save_view
from matlode.records import Face
from matlode.representation.augmentation import Augmentation, simulate_augmented_patterns
from matlode.representation.composition import compute_formula_vectors, find_integer_amounts
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.screening.plausibility import PatternBands, shuffle_peaks
from matlode.screening.symmetry import (
    SymmetryClassifier,
    compute_logits,
    compute_system_probabilities,
    fit_set_level,
    fit_temperature,
)
from matlode.screening.symmetry_nets import ReferenceSymmetryNet, SymmetryNet, wrap_network
from matlode.training.encoding import MAX_FORMULA_ATOMS
from matlode.training.model_spec import ModelSpec
from matlode.training.trainer import Trainer

SAME_FRACTION = 1e-5
"""Compositions whose fractions differ by less are the same formula."""

STRAINED = Augmentation(
    strain=0.01, texture=1.0, sigma_deg=(0.15, 0.15), eta=(0.0, 0.0), zero_shift_deg=0.0,
    background=0.0, counts=0.0,
)  # fmt: skip
"""Augmentation of the patterns that the standard autoencoder learns from: with other lattices in
every epoch it cannot memorise the training patterns."""


def train_composition_vae(trainer: Trainer, spec: ModelSpec) -> None:
    """Train a composition autoencoder on every distinct formula."""
    network = spec.build_network()
    train_data, held_out, test = (
        build_formula_tensors(trainer, role) for role in (TRAIN, CALIBRATION, TEST)
    )
    log = trainer.fit(spec.name, network, train_data, held_out, spec.training)
    _save_view(trainer, spec, network, train_data[0], log)
    view = load_view(trainer.root / spec.name)
    truth = test[0].numpy()
    images = view.decode(view.encode(truth))
    if spec.face == "reference":  # the standard one decodes integers
        amounts = find_integer_amounts(images, max_atoms=MAX_FORMULA_ATOMS)
        images = amounts / amounts.sum(axis=1, keepdims=True)
    scores = {
        "test_formulas": len(truth),
        "exact_formula": float((abs(images - truth).max(axis=1) < SAME_FRACTION).mean()),
        "exact_elements": float(((images > 0) == (truth > 0)).all(axis=1).mean()),
    }
    _save_view(trainer, spec, network, train_data[0], log, scores)


def build_formula_tensors(trainer: Trainer, role: str) -> list[torch.Tensor]:
    """Compositions (m, 100) of a role's distinct formulas, those without structure included."""
    table = trainer.table
    formulas = sorted(set(table.materials.frame["formula"]) | set(table.extra_formulas))
    chosen = np.array(formulas, dtype=str)[split_by_formula(formulas) == role].tolist()
    return [torch.from_numpy(compute_formula_vectors(chosen).astype(np.float32))]


def train_pattern_vae(trainer: Trainer, spec: ModelSpec) -> None:
    """Train a pattern autoencoder on the simulated patterns."""
    train_data, held_out, test = (
        build_pattern_tensors(trainer, role) for role in (TRAIN, CALIBRATION, TEST)
    )
    network = spec.build_network()
    fresh = None
    if spec.face == "standard":
        crystals = trainer.table.materials.crystals.take(trainer.select_rows(TRAIN))

        def fresh(epoch: int) -> list[torch.Tensor]:
            rng = np.random.default_rng([spec.training.seed, epoch])
            return [torch.from_numpy(simulate_augmented_patterns(crystals, rng, STRAINED))]

    log = trainer.fit(spec.name, network, train_data, held_out, spec.training, fresh)
    _save_view(trainer, spec, network, train_data[0], log)
    view = load_view(trainer.root / spec.name)
    truth = test[0].numpy()
    points = view.refine(view.encode(truth), truth, steps=REFINEMENT_STEPS[spec.face])
    cosine = compute_cosines(view.decode(points), truth)
    scores = {
        "test_rows": len(truth),
        "cosine_median": float(np.median(cosine)),
        "cosine_10_percent_quantile": float(np.quantile(cosine, 0.1)),
    }
    _save_view(trainer, spec, network, train_data[0], log, scores)


def build_pattern_tensors(trainer: Trainer, role: str) -> list[torch.Tensor]:
    """Simulated patterns (m, 1601) of the rows of a role."""
    return [torch.from_numpy(trainer.table.patterns[trainer.select_rows(role)])]


def train_pairing(trainer: Trainer, spec: ModelSpec) -> None:
    """Train the joint prior on the encoded training materials."""
    points = trainer.find_encoding(spec.face).points

    def tensors(role: str) -> list[torch.Tensor]:
        return [torch.from_numpy(z[trainer.select_rows(role)]) for z in points]

    network = spec.build_network()
    assert isinstance(network, PairingNet)
    log = trainer.fit(spec.name, network, tensors(TRAIN), tensors(CALIBRATION), spec.training)
    pairing = Pairing(network)
    held = [z[trainer.select_rows(TEST)] for z in points]
    shuffled = np.random.default_rng(0).permutation(len(held[0]))
    together = pairing.affinity(*held)
    apart = pairing.affinity(held[0], held[1][shuffled])
    scores = {
        "test_rows": len(together),
        "auc_pairs_from_shuffled": float(
            roc_auc_score(np.repeat([1, 0], len(together)), np.concatenate([together, apart]))
        ),
        "mean_nats_together": float(together.mean()),
        "affinity_5_percent_quantile": float(np.quantile(together, 0.05)),
    }
    header = {**trainer.table.header, "training": asdict(spec.training)}
    pairing.save(trainer.root, {**header, "epochs": len(log), "scores": scores})


def compute_cosines(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of each row of a (n, m) with the same row of b."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(norms, 1e-12), dtype=float)


def _save_view(
    trainer: Trainer,
    spec: ModelSpec,
    network: nn.Module,
    data: torch.Tensor,
    log: list[dict[str, float]],
    scores: Mapping[str, float] | None = None,
) -> None:
    """Write an autoencoder with the box that its training ``data`` (n, n_features) fill."""
    assert isinstance(network, VariationalAutoencoder)
    assert spec.view is not None
    with torch.inference_mode():
        means = torch.cat([network.encode(x)[0] for x in data.split(2048)]).numpy()
    bounds = np.quantile(means, BOUND_QUANTILES, axis=0).T
    header = {
        **trainer.table.header,
        "training": asdict(spec.training),
        "architecture": dict(spec.architecture),
        "grid": STANDARD_SETTINGS.as_dict() if spec.view == "pattern" else None,
        "epochs": len(log),
        "last_epoch": log[-1] if log else {},
        "scores": scores or {},
    }
    save_view(
        trainer.root / spec.name, network, face=spec.face, view=spec.view, bounds=bounds,
        header=header,
    )  # fmt: skip


def train_symmetry(trainer: Trainer, spec: ModelSpec) -> None:
    """Train a space-group classifier."""
    classifier, epochs = fit_symmetry(trainer, spec, spec.build_network())
    classifier.save(
        trainer.root,
        {
            **trainer.table.header,
            "training": asdict(spec.training),
            "architecture": dict(spec.architecture),
            "epochs": epochs,
            "test_rows": int(trainer.select_rows(TEST).sum()),
            "scores": score_symmetry_cases(trainer, classifier, spec.face),
        },
        name=spec.name,
    )


def fit_symmetry(
    trainer: Trainer, spec: ModelSpec, network: nn.Module
) -> tuple[SymmetryClassifier, int]:
    """Train and calibrate a classifier; returns it with the number of epochs.

    The standard network learns from crystals strained anew in every epoch, the reference from
    patterns that its own autoencoder has decoded.
    """
    assert isinstance(network, SymmetryNet | ReferenceSymmetryNet)
    assert spec.tensors is not None
    table = trainer.table
    labels = table.materials.frame["space_group"].to_numpy(dtype=np.int64) - 1
    cases = trainer.find_encoding(spec.face).patterns_by_case
    train_data = spec.tensors(trainer, TRAIN)
    fresh = None
    if isinstance(network, SymmetryNet):
        crystals = table.materials.crystals.take(trainer.select_rows(TRAIN))
        pattern = trainer.standard.space.pattern

        def fresh(epoch: int) -> list[torch.Tensor]:
            rng = np.random.default_rng([spec.training.seed, epoch])
            strained = simulate_augmented_patterns(crystals, rng, STRAINED)
            decoded = pattern.decode(pattern.encode(strained))
            return [torch.from_numpy(strained), torch.from_numpy(decoded), *train_data[2:]]

    held_out = spec.tensors(trainer, CALIBRATION)
    log = trainer.fit(spec.name, network, train_data, held_out, spec.training, fresh)
    held = trainer.select_rows(CALIBRATION)
    compositions = table.compositions[held]
    answering = wrap_network(network, trainer.root)
    logits = compute_logits(answering, cases["decoded"][held], compositions)
    classifier = SymmetryClassifier(answering, fit_temperature(logits, labels[held]), {})
    levels: dict[str, float] = {
        case: fit_set_level(classifier.predict(patterns[held], compositions), labels[held])
        for case, patterns in cases.items()
    }
    return replace(classifier, levels=levels), len(log)


def build_symmetry_tensors(
    trainer: Trainer, role: str, *, face: Face = "standard"
) -> list[torch.Tensor]:
    """Simulated patterns and those that the autoencoder of ``face`` decodes (m, 1601),
    compositions (m, 100) and space groups minus one (m,)."""
    rows, table = trainer.select_rows(role), trainer.table
    labels = table.materials.frame["space_group"].to_numpy(dtype=np.int64)[rows] - 1
    encoding = trainer.find_encoding(face)
    patterns = [of_case[rows] for of_case in encoding.patterns_by_case.values()]
    arrays = [*patterns, table.compositions[rows].astype(np.float32), labels]
    return [torch.from_numpy(array) for array in arrays]


def score_symmetry_cases(
    trainer: Trainer, classifier: SymmetryClassifier, face: Face
) -> dict[str, dict[str, float]]:
    """Scores on the test rows, per case, with and without the composition; ``face`` is that of the
    autoencoder that decodes the patterns."""
    table, test = trainer.table, trainer.select_rows(TEST)
    labels = table.materials.frame["space_group"].to_numpy(dtype=np.int64)[test] - 1
    scores = {}
    for case, patterns in trainer.find_encoding(face).patterns_by_case.items():
        for known, compositions in (("with", table.compositions[test]), ("without", None)):
            probabilities = classifier.predict(patterns[test], compositions)
            key = f"{case} pattern, {known} composition"
            scores[key] = score_space_groups(probabilities, labels)
            if compositions is not None:
                inside = classifier.sets(probabilities, case=case)
                scores[key] |= {
                    "set_coverage": float(inside[np.arange(len(inside)), labels].mean()),
                    "set_size": float(inside.sum(axis=1).mean()),
                }
    return scores


def score_space_groups(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> dict[str, float]:
    """Accuracies of probabilities (n, 230) for labels (n,), 0 to 229: of the space group, of the
    five most probable, of the crystal system, and of the space group for the half of the rows
    with the highest probabilities."""
    order = np.argsort(-probabilities, axis=1)
    hits = order[:, 0] == labels
    one_hot = np.zeros_like(probabilities)
    one_hot[np.arange(len(labels)), labels] = 1
    systems = compute_system_probabilities(probabilities).argmax(axis=1)
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")[: (len(labels) + 1) // 2]
    return {
        "space_group": float(hits.mean()),
        "space_group_top_5": float((order[:, :5] == labels[:, None]).any(axis=1).mean()),
        "crystal_system": float(
            (systems == compute_system_probabilities(one_hot).argmax(axis=1)).mean()
        ),
        "space_group_of_surest_half": float(hits[surest].mean()),
    }


def train_bands(trainer: Trainer, spec: ModelSpec) -> None:
    """Measure the distribution of pattern characteristics, and how well they distinguish decoded
    and shuffled patterns from real ones."""
    bands = PatternBands.fit(trainer.table.patterns[trainer.select_rows(TRAIN)])
    test = trainer.select_rows(TEST)
    rng = np.random.default_rng(0)
    space = trainer.standard.space
    prior = space.decode(space.sample_prior(2000, rng))[1]
    real = trainer.table.patterns[test]
    cases = {
        "simulated": real,
        "decoded": trainer.standard.decoded_patterns[test].astype(np.float32),
        "prior samples": prior,
        "prior samples, halves unpaired": space.pattern.decode(
            rng.standard_normal((2000, PATTERN_LATENT))
        ),
        "shuffled peaks": shuffle_peaks(real, rng),
    }
    usual = bands.strangeness(real)
    scores = {}
    for case, patterns in cases.items():
        strange = bands.strangeness(patterns)
        labels = np.repeat([0, 1], [len(usual), len(strange)])
        scores[case] = {
            "passed": float(np.mean([v.passed for v in bands.check_all(patterns)])),
            "auc_from_simulated": float(roc_auc_score(labels, np.concatenate([usual, strange]))),
        }
    bands.save(trainer.root, {**trainer.table.header, "scores": scores})
