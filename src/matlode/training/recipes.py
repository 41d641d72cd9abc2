"""How each model is made: what it learns from, and how it is scored on unseen formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from matlode.artefacts import find_model, has_models
from matlode.data.splits import CALIBRATION, TEST, TRAIN, formula_fractions, split_by_formula
from matlode.latent.networks import AUTOENCODERS, COMPOSITION_LATENT, PATTERN_LATENT
from matlode.latent.pairing import Pairing, PairingNet
from matlode.latent.space import (
    BOUND_QUANTILES,
    REFINEMENT_STEPS,
    LatentSpace,
    load_view,
    save_view,
)
from matlode.latent.training import TrainingSettings, train
from matlode.latent.weights import AnyNetwork
from matlode.progress import Progress
from matlode.properties.endpoints import ENDPOINTS, Endpoint
from matlode.properties.features import FEATURES
from matlode.properties.models import PropertyModels
from matlode.properties.network import (
    NETWORK_MODEL,
    PropertyNetwork,
)
from matlode.properties.trees import TreeSettings
from matlode.representation.augmentation import Augmentation, augmented_patterns
from matlode.representation.composition import (
    formula_vectors,
    integer_amounts,
)
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.screening.novelty import FormulaFilter
from matlode.screening.plausibility import PatternBands, shuffled_peaks
from matlode.screening.symmetry import (
    SymmetryClassifier,
    fit_temperature,
    network_logits,
    set_level,
    system_probabilities,
)
from matlode.screening.symmetry_nets import (
    SYMMETRY_NETS,
    ReferenceSymmetryNet,
    SymmetryNet,
    at_work,
)
from matlode.training.table import TrainingTable

SAME_FRACTION = 1e-5
"""Fractions closer than this are of one formula."""
MAX_FORMULA_ATOMS = 40
"""Decoded compositions of known materials may need this many atoms per formula."""


STRAINED = Augmentation(
    strain=0.01, texture=1.0, sigma_deg=(0.15, 0.15), eta=(0.0, 0.0), zero_shift_deg=0.0,
    background=0.0, counts=0.0,
)  # fmt: skip
"""What the standard pattern autoencoder learns from: every epoch other lattices, or it learns
the training patterns by heart."""


@dataclass(frozen=True)
class Trainer:
    """Everything that the single trainings share."""

    table: TrainingTable
    root: Path
    settings: dict[str, TrainingSettings]
    progress: Progress
    endpoints: Mapping[str, Endpoint] = field(default_factory=lambda: ENDPOINTS)
    """Every property that may be trained."""
    models: Path | None = None
    """Where models to build on are looked for (default: ``root``)."""
    architectures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """model → arguments of its network, where they are not the defaults."""
    trees: Mapping[str, TreeSettings] = field(default_factory=dict)
    """head → hyper-parameters of its trees, where they are not those of its face."""
    _made: dict[str, Any] = field(default_factory=dict)

    def architecture(self, name: str) -> dict[str, Any]:
        """Arguments of the network of a model, as its header keeps them."""
        return dict(self.architectures.get(name, {}))

    def built(self, name: str, make: Callable[..., AnyNetwork]) -> AnyNetwork:
        """An untrained network of the model; the seed decides its first weights."""
        torch.manual_seed(self.settings[name].seed)
        return make(**self.architecture(name))

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, made at the first call: models share costly tables."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def rows(self, role: str, labels: NDArray[np.float64] | None = None) -> NDArray[np.bool_]:
        """Mask of the rows with this role (and a label)."""
        mask: NDArray[np.bool_] = self.table.roles == role
        return mask if labels is None else mask & ~np.isnan(labels)

    @property
    def halves(self) -> NDArray[np.bool_]:
        """(n,), true for one half of the formulas: models of one half judge the other."""
        return formula_fractions(self.table.materials.frame["formula"], seed=1) < 0.5

    def network(
        self,
        name: str,
        model: torch.nn.Module,
        data: Any,
        held_out: Any,
        fresh: Callable[[int], Sequence[torch.Tensor]] | None = None,
    ) -> list[Any]:
        """Run the training loop with the settings and the checkpoint of ``name``."""
        torch.manual_seed(self.settings[name].seed)
        return train(
            model,
            data,
            held_out,
            self.settings[name],
            fresh=fresh,
            checkpoint=self.checkpoint(name),
            log_file=self.root / "logs" / f"{name}.csv",
            progress=self.progress,
            stage=name,
        )

    def checkpoint(self, name: str) -> Path:
        """Where an unfinished training of ``name`` on these rows goes on from."""
        return self.root / "checkpoints" / f"{name}-{self.table.sha256[:12]}.npz"

    @property
    def models_folder(self) -> Path | None:
        """Where models to build on are: an empty folder builds on the shipped ones alone."""
        folder = self.models or self.root
        return folder if has_models(folder) else None

    def space(self, face: str) -> LatentSpace:
        """The autoencoders trained before, or shipped."""
        return LatentSpace.load(self.models_folder, face=face)

    def points(self, face: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Where all rows lie in the latent space: (n, 24) and (n, 64)."""

        def make() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            views = {
                view: load_view(find_model(f"{face}-{view}-vae", self.models_folder))
                for view in ("composition", "pattern")
            }
            space = LatentSpace(views["composition"], views["pattern"], face)
            points = space.encode(self.table.compositions, self.table.patterns)
            return points[:, :COMPOSITION_LATENT], points[:, COMPOSITION_LATENT:]

        points: tuple[NDArray[np.float32], NDArray[np.float32]] = self.once(f"{face} points", make)
        return points

    @property
    def patterns_by_case(self) -> dict[str, NDArray[np.float16]]:
        """case → patterns (n, 1601) of all rows, for the standard face."""
        simulated: NDArray[np.float16] = self.once(
            "simulated", lambda: self.table.patterns.astype(np.float16)
        )
        return {"simulated": simulated, "decoded": self.reconstructed("standard")}

    def reconstructed(self, face: str) -> NDArray[np.float16]:
        """Patterns of all rows as they come back from the latent space."""

        def make() -> NDArray[np.float16]:
            pattern = self.space(face).pattern
            points = self.points(face)[1]
            parts = [
                pattern.decode(points[at : at + 4096]).astype(np.float16)
                for at in range(0, len(points), 4096)
            ]
            return np.concatenate(parts)

        images: NDArray[np.float16] = self.once(f"{face} images", make)
        return images

    def cases(self, rows: NDArray[np.bool_]) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
        """case → compositions and patterns of these rows, for the standard face."""
        compositions = self.table.compositions[rows]
        images = self.reconstructed("standard")[rows].astype(np.float32)
        decoded = decoded_compositions(self.space("standard"), compositions)
        return {
            "simulated": (compositions, self.table.patterns[rows]),
            "decoded": (decoded, images),
        }

    def features(self, face: str) -> dict[str, NDArray[np.floating]]:
        """Feature rows of all materials per case, and "augmented": the decoded patterns
        beside the true compositions, which the standard heads are trained on too."""

        def make() -> dict[str, NDArray[np.floating]]:
            space = self.space(face)
            network = None
            if face == "standard":
                network = PropertyNetwork.load(find_model(NETWORK_MODEL, self.models_folder))
            inputs = PropertyModels(FEATURES[face](lambda: space), {}, network).inputs
            compositions, patterns = self.table.compositions, self.table.patterns
            images = self.reconstructed(face).astype(np.float32)
            return {
                "simulated": inputs(compositions, patterns),
                "decoded": inputs(decoded_compositions(space, compositions), images),
                "augmented": inputs(compositions, images),
            }

        rows: dict[str, NDArray[np.floating]] = self.once(f"{face} features", make)
        return rows


def decoded_compositions(
    space: LatentSpace, compositions: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Compositions (n, 100) as they come back from the latent space, as integer formulas."""
    images = space.composition.decode(space.composition.encode(compositions))
    amounts = integer_amounts(images, max_atoms=MAX_FORMULA_ATOMS)
    return amounts / amounts.sum(axis=1, keepdims=True)


def train_composition_vae(trainer: Trainer, name: str) -> None:
    """A composition autoencoder, on every distinct formula."""
    face = name.split("-")[0]
    network = trainer.built(name, AUTOENCODERS[face, "composition"])
    parts = {role: formula_tensor(trainer, role) for role in (TRAIN, CALIBRATION, TEST)}
    log = trainer.network(name, network, [parts[TRAIN]], [parts[CALIBRATION]])
    _finish_view(trainer, name, network, parts[TRAIN], log)
    view = load_view(trainer.root / name)
    truth = parts[TEST].numpy()
    images = view.decode(view.encode(truth))
    if face == "reference":  # ours decodes integers
        amounts = integer_amounts(images, max_atoms=MAX_FORMULA_ATOMS)
        images = amounts / amounts.sum(axis=1, keepdims=True)
    scores = {
        "test_formulas": len(truth),
        "exact_formula": float((abs(images - truth).max(axis=1) < SAME_FRACTION).mean()),
        "exact_elements": float(((images > 0) == (truth > 0)).all(axis=1).mean()),
    }
    _finish_view(trainer, name, network, parts[TRAIN], log, scores)


def formula_tensor(trainer: Trainer, role: str) -> torch.Tensor:
    """Compositions (m, 100) of the distinct formulas of a role, without a structure too."""
    table = trainer.table
    formulas = sorted(set(table.materials.frame["formula"]) | set(table.extra_formulas))
    chosen = np.array(formulas, dtype=str)[split_by_formula(formulas) == role].tolist()
    return torch.from_numpy(formula_vectors(chosen).astype(np.float32))


def train_pattern_vae(trainer: Trainer, name: str) -> None:
    """A pattern autoencoder, on the simulated patterns."""
    face = name.split("-")[0]
    parts = {role: pattern_tensor(trainer, role) for role in (TRAIN, CALIBRATION, TEST)}
    network = trainer.built(name, AUTOENCODERS[face, "pattern"])
    fresh = None
    if face == "standard":
        crystals = trainer.table.materials.crystals.take(trainer.rows(TRAIN))

        def fresh(epoch: int) -> list[torch.Tensor]:
            rng = np.random.default_rng([trainer.settings[name].seed, epoch])
            return [torch.from_numpy(augmented_patterns(crystals, rng, STRAINED))]

    log = trainer.network(name, network, [parts[TRAIN]], [parts[CALIBRATION]], fresh)
    _finish_view(trainer, name, network, parts[TRAIN], log)
    view = load_view(trainer.root / name)
    truth = parts[TEST].numpy()
    points = view.refine(view.encode(truth), truth, steps=REFINEMENT_STEPS[face])
    cosine = cosines(view.decode(points), truth)
    scores = {
        "test_rows": len(truth),
        "cosine_median": float(np.median(cosine)),
        "cosine_10_percent_quantile": float(np.quantile(cosine, 0.1)),
    }
    _finish_view(trainer, name, network, parts[TRAIN], log, scores)


def pattern_tensor(trainer: Trainer, role: str) -> torch.Tensor:
    """Simulated patterns (m, 1601) of the rows of a role."""
    return torch.from_numpy(trainer.table.patterns[trainer.rows(role)])


def train_pairing(trainer: Trainer, name: str) -> None:
    """The joint prior, on the encoded training materials."""
    points = trainer.points("standard")

    def tensors(role: str) -> list[torch.Tensor]:
        return [torch.from_numpy(z[trainer.rows(role)]) for z in points]

    network = trainer.built(name, PairingNet)
    log = trainer.network(name, network, tensors(TRAIN), tensors(CALIBRATION))
    pairing = Pairing(network)
    held = [z[trainer.rows(TEST)] for z in points]
    strangers = np.random.default_rng(0).permutation(len(held[0]))
    together = pairing.affinity(*held)
    apart = pairing.affinity(held[0], held[1][strangers])
    scores = {
        "test_rows": len(together),
        "auc_pairs_from_shuffled": float(
            roc_auc_score(np.repeat([1, 0], len(together)), np.concatenate([together, apart]))
        ),
        "mean_nats_together": float(together.mean()),
        "affinity_5_percent_quantile": float(np.quantile(together, 0.05)),
    }
    header = {**trainer.table.header, "training": asdict(trainer.settings[name])}
    pairing.save(trainer.root, {**header, "epochs": len(log), "scores": scores})


def cosines(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine of each row of a (n, m) with the same row of b."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(axis=1) / np.maximum(norms, 1e-12), dtype=float)


def _finish_view(
    trainer: Trainer,
    name: str,
    network: Any,
    data: torch.Tensor,
    log: list[dict[str, float]],
    scores: dict[str, Any] | None = None,
) -> None:
    face, view, _ = name.split("-")
    with torch.inference_mode():
        means = torch.cat([network.encode(x)[0] for x in data.split(2048)]).numpy()
    bounds = np.quantile(means, BOUND_QUANTILES, axis=0).T
    header = {
        **trainer.table.header,
        "training": asdict(trainer.settings[name]),
        "architecture": trainer.architecture(name),
        "grid": STANDARD_SETTINGS.as_dict() if view == "pattern" else None,
        "epochs": len(log),
        "last_epoch": log[-1] if log else {},
        "scores": scores or {},
    }
    save_view(trainer.root / name, network, face=face, view=view, bounds=bounds, header=header)


def train_symmetry(trainer: Trainer, name: str) -> None:
    """A space-group classifier."""
    network = trainer.built(name, SYMMETRY_NETS[name])
    classifier, epochs = fit_symmetry(trainer, name, network)
    classifier.save(
        trainer.root,
        {
            **trainer.table.header,
            "training": asdict(trainer.settings[name]),
            "architecture": trainer.architecture(name),
            "epochs": epochs,
            "test_rows": int(trainer.rows(TEST).sum()),
            "scores": all_symmetry_scores(trainer, classifier),
        },
        name=name,
    )


def fit_symmetry(
    trainer: Trainer, name: str, network: SymmetryNet | ReferenceSymmetryNet
) -> tuple[SymmetryClassifier, int]:
    """A trained and calibrated classifier, and the number of epochs that it took.

    Ours learns from crystals strained anew in every epoch, the paper's from the patterns as
    they are.
    """
    table = trainer.table
    labels = table.materials.frame["space_group"].to_numpy(dtype=np.int64) - 1
    cases = trainer.patterns_by_case
    train_data = symmetry_tensors(trainer, TRAIN)
    fresh = None
    if isinstance(network, SymmetryNet):
        crystals = table.materials.crystals.take(trainer.rows(TRAIN))
        pattern = trainer.space("standard").pattern

        def fresh(epoch: int) -> list[torch.Tensor]:
            rng = np.random.default_rng([trainer.settings[name].seed, epoch])
            strained = augmented_patterns(crystals, rng, STRAINED)
            decoded = pattern.decode(pattern.encode(strained))
            return [torch.from_numpy(strained), torch.from_numpy(decoded), *train_data[2:]]

    held_out = symmetry_tensors(trainer, CALIBRATION)
    log = trainer.network(name, network, train_data, held_out, fresh)
    held = trainer.rows(CALIBRATION)
    compositions = table.compositions[held]
    answering = at_work(network, trainer.root)
    logits = network_logits(answering, cases["decoded"][held], compositions)
    classifier = SymmetryClassifier(answering, fit_temperature(logits, labels[held]), {})
    levels = {
        case: set_level(classifier.predict(patterns[held], compositions), labels[held])
        for case, patterns in cases.items()
    }
    return replace(classifier, levels=levels), len(log)


def symmetry_tensors(trainer: Trainer, role: str) -> list[torch.Tensor]:
    """Patterns of either kind (m, 1601), compositions (m, 100) and space groups - 1 (m,)."""
    rows, table = trainer.rows(role), trainer.table
    labels = table.materials.frame["space_group"].to_numpy(dtype=np.int64)[rows] - 1
    arrays = [*(patterns[rows] for patterns in trainer.patterns_by_case.values())]
    arrays += [table.compositions[rows].astype(np.float32), labels]
    return [torch.from_numpy(array) for array in arrays]


def all_symmetry_scores(
    trainer: Trainer, classifier: SymmetryClassifier
) -> dict[str, dict[str, float]]:
    """Scores on the test rows, per case, with and without the composition."""
    table, test = trainer.table, trainer.rows(TEST)
    labels = table.materials.frame["space_group"].to_numpy(dtype=np.int64)[test] - 1
    scores = {}
    for case, patterns in trainer.patterns_by_case.items():
        for known, compositions in (("with", table.compositions[test]), ("without", None)):
            probabilities = classifier.predict(patterns[test], compositions)
            key = f"{case} pattern, {known} composition"
            scores[key] = symmetry_scores(probabilities, labels)
            if compositions is not None:
                inside = classifier.sets(probabilities, case=case)
                scores[key] |= {
                    "set_coverage": float(inside[np.arange(len(inside)), labels].mean()),
                    "set_size": float(inside.sum(axis=1).mean()),
                }
    return scores


def symmetry_scores(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> dict[str, float]:
    """Accuracy of the space group, of the five likeliest, and of the crystal system; and that
    of the space group for the half of the rows that the classifier is surest of."""
    order = np.argsort(-probabilities, axis=1)
    hits = order[:, 0] == labels
    one_hot = np.zeros_like(probabilities)
    one_hot[np.arange(len(labels)), labels] = 1
    systems = system_probabilities(probabilities).argmax(axis=1)
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")[: (len(labels) + 1) // 2]
    return {
        "space_group": float(hits.mean()),
        "space_group_top_5": float((order[:, :5] == labels[:, None]).any(axis=1).mean()),
        "crystal_system": float((systems == system_probabilities(one_hot).argmax(axis=1)).mean()),
        "space_group_of_surest_half": float(hits[surest].mean()),
    }


def train_bands(trainer: Trainer, name: str) -> None:
    """How pattern characteristics are distributed, and what they tell from real patterns."""
    bands = PatternBands.fit(trainer.table.patterns[trainer.rows(TRAIN)])
    test = trainer.rows(TEST)
    rng = np.random.default_rng(0)
    space = trainer.space("standard")
    prior = space.decode(space.sample_prior(2000, rng))[1]
    real = trainer.table.patterns[test]
    cases = {
        "simulated": real,
        "decoded": trainer.reconstructed("standard")[test].astype(np.float32),
        "prior samples": prior,
        "prior samples, halves unpaired": space.pattern.decode(
            rng.standard_normal((2000, PATTERN_LATENT))
        ),
        "shuffled peaks": shuffled_peaks(real, rng),
    }
    usual = bands.strangeness(real)
    scores = {}
    for case, patterns in cases.items():
        strange = bands.strangeness(patterns)
        labels = np.repeat([0, 1], [len(usual), len(strange)])
        scores[case] = {
            "passed": float(np.mean([v.passed for v in bands.judge(patterns)])),
            "auc_from_simulated": float(roc_auc_score(labels, np.concatenate([usual, strange]))),
        }
    bands.save(trainer.root, {**trainer.table.header, "scores": scores})


def train_filter(trainer: Trainer, name: str) -> None:
    """The filter of known formulas."""
    table = trainer.table
    known = set(table.materials.frame["formula"]) | set(table.extra_formulas)
    FormulaFilter.build(known).save(trainer.root, table.header)
