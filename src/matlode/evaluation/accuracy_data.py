"""The paper's figures S6, S7, S9 and S10 for held-out rows, and the calibration of probabilities
and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import ARRAYS_FILE, find_model, load_artefact
from matlode.data.splits import CALIBRATION, TEST, TRAIN
from matlode.data.symmetry import CRYSTAL_SYSTEMS, N_SPACE_GROUPS
from matlode.evaluation.accuracy_plots import (
    Classifier,
    Parity,
    Reliability,
    draw_abstention,
    draw_characteristics,
    draw_classifiers,
    draw_confusions,
    draw_coverage,
    draw_parity,
    draw_reliability,
)
from matlode.evaluation.cross_validation import collect_labels
from matlode.evaluation.score_row import ScoreRow
from matlode.jobs.models import Models
from matlode.latent.networks import single
from matlode.latent.space import LatentSpace, list_trained_faces
from matlode.latent.weights import restore_network
from matlode.progress import Progress, silent
from matlode.properties.derived import DERIVATIONS, GAS_CONSTANT
from matlode.properties.endpoints import Endpoint, Estimates
from matlode.properties.formation_net import FORMATION_NET, ReferenceFormationNet
from matlode.properties.heads import CASES
from matlode.properties.intervals import compute_conformal_quantile
from matlode.properties.models import PropertyModels
from matlode.properties.scores import score, score_estimates
from matlode.properties.targets import AUXILIARY
from matlode.records import BASES, Basis, Case, describe_basis
from matlode.representation.characteristics import CHARACTERISTICS, compute_characteristics
from matlode.screening.symmetry import compute_system_probabilities
from matlode.training.encoding import decode_compositions
from matlode.training.table import TrainingTable

Array = NDArray[np.float64]

TABLE_S3 = {
    "formation_energy": "formation energy",
    "thermal_conductivity_600k": "thermal conductivity, 600 K",
    "heat_capacity_cv": "heat capacity Cᵥ",
    "heat_capacity_cp": "heat capacity Cₚ",
    "bulk_modulus": "bulk modulus",
    "shear_modulus": "shear modulus",
    "debye_temperature": "Debye temperature",
    "thermal_expansion": "thermal expansion",
}
"""The paper's regressions → title."""
SPREAD = ("thermal_conductivity_600k", "thermal_expansion")
"""Those that span powers of ten."""
ELECTRONIC = {
    "metal_probability": ("metal", "gap", "no gap"),
    "magnetic_probability": ("magnetic", "no moment", "moment"),
}
"""Classifiers of Table S4 → title, what the two classes are called."""
STABILITY = {
    "formation_probability": ("formation energy ≤ 0", "E_f > 0", "E_f ≤ 0"),
    "hull_probability_50_mev": ("hull ≤ 0.05 eV/atom", "above", "at most"),
    "hull_probability_100_mev": ("hull ≤ 0.1 eV/atom", "above", "at most"),
}
LEVELS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
"""Nominal coverages."""
MIN_ROWS = 30
"""Curves of fewer rows are not drawn."""
N_PRIOR = 2000
N_BINS = 10
OURS: Mapping[Basis, str] = {case: f"standard, {describe_basis(case)}" for case in BASES}
REFERENCE = "reference, simulated pattern"
ALONE, BOTH = "pattern alone", "pattern and composition"
PER_BOLTZMANN = dict.fromkeys(("heat_capacity_cv", "heat_capacity_cp"), 1 / GAS_CONSTANT)
"""Heat capacities are drawn in k_B per atom, as the paper prints them."""


@dataclass(frozen=True)
class HeldOut:
    """Predictions of the models for calibration and test rows, which they never learned from."""

    table: TrainingTable
    """The held-out rows."""
    endpoints: Mapping[str, Endpoint]
    truth: Mapping[str, Array]
    """endpoint → (n,), NaN where unknown."""
    answers: Mapping[str, Mapping[str, Estimates]]
    """model → endpoint → estimates of the rows."""
    groups: Mapping[tuple[Case, str], Array]
    """(case, ALONE or BOTH) → probabilities (n, 230) of the space groups."""
    patterns: Mapping[str, NDArray[np.float32]]
    """kind → patterns: the test rows', decoded ones, ones drawn from the prior."""

    @classmethod
    def predict(
        cls, table: TrainingTable, models: Path | None = None, progress: Progress = silent
    ) -> HeldOut:
        """Predict the held-out rows of ``table``, also by the paper's recipe if ``models`` has its
        weights."""
        seen = table.roles == TRAIN
        table = replace(table, materials=table.materials.take(~seen))
        loaded = Models(models)
        space, compositions = loaded.space, table.compositions
        inputs: dict[Case, tuple[Array, NDArray[np.float32]]] = {
            "simulated": (compositions, table.patterns),
            "decoded": (
                decode_compositions(space, compositions),
                space.reconstruct_patterns(table.patterns),
            ),
        }
        progress("held-out rows", 1, 3)
        answers = {OURS["crystal"]: _predict_crystals(loaded.properties, table)}
        groups: dict[tuple[Case, str], Array] = {}
        for case, (given, patterns) in inputs.items():
            answers[OURS[case]] = loaded.properties.predict(given, patterns, case=case)
            # as for the headers' scores: the true composition with either pattern
            for name, x in ((ALONE, None), (BOTH, compositions)):
                groups[case, name] = loaded.symmetry.predict(patterns, x)
        progress("held-out rows", 2, 3)
        if "reference" in list_trained_faces(models):
            answers[REFERENCE] = _predict_reference(models, compositions, table.patterns)
        learned = answers[OURS["crystal"]]
        endpoints = {**loaded.endpoints, **{t.name: t for t in AUXILIARY if t.name in learned}}
        truth = {name: table.labels(endpoint) for name, endpoint in endpoints.items()}
        truth |= {name: labels for name, (_, labels) in collect_labels(table).items()}
        drawn = space.decode(space.sample_prior(N_PRIOR, np.random.default_rng(0)))[1]
        test = table.roles == TEST
        kinds = {
            "real": inputs["simulated"][1][test],
            "decoded": inputs["decoded"][1][test],
            "drawn from the prior": drawn,
        }
        progress("held-out rows", 3, 3)
        return cls(table, endpoints, truth, answers, groups, kinds)

    @property
    def test(self) -> NDArray[np.bool_]:
        """(n,), the test rows."""
        return self.table.roles == TEST

    def known(self, name: str, role: str = TEST) -> NDArray[np.bool_]:
        """(n,), rows of a role whose value of an endpoint is known."""
        return (self.table.roles == role) & ~np.isnan(self.truth[name])

    def is_measurable(self, name: str) -> bool:
        """Whether enough test rows have a known value, and not all the same."""
        truth = self.truth[name][self.known(name)]
        return len(truth) >= MIN_ROWS and bool(np.ptp(truth) > 0)

    def score_rows(self, split: str) -> list[ScoreRow]:
        """One row per model and endpoint, on the test rows."""
        rows = []
        for model, answers in self.answers.items():
            for name in (n for n in self.endpoints if n in answers and self.is_measurable(n)):
                known, endpoint = self.known(name), self.endpoints[name]
                truth, estimates = self.truth[name][known], answers[name].take(known)
                auxiliary = endpoint in AUXILIARY
                scores = (
                    score(endpoint, truth, estimates.value)
                    if auxiliary
                    else score_estimates(endpoint, truth, estimates)
                )
                rows.append(
                    ScoreRow(
                        endpoint=name, model=model, rows=len(truth), split=split, scores=scores
                    )
                )
        return rows


def _predict_crystals(models: PropertyModels, table: TrainingTable) -> dict[str, Estimates]:
    """Predict all endpoints and the auxiliary outputs of the network, which have no intervals."""
    given = table.compositions, table.patterns
    answers = models.predict(*given, case="simulated", crystals=table.crystal_descriptors)
    if models.network is not None:
        outputs, _ = models.network.raw(*given, table.crystal_descriptors)
        learned = {endpoint.name for endpoint in models.network.endpoints}
        for target in (t for t in AUXILIARY if t.name in learned):
            value = target.from_model(models.network.values(target.name, outputs))
            answers[target.name] = Estimates(value, value, value)
    return answers


def _predict_reference(
    models: Path | None, compositions: NDArray[np.floating], patterns: NDArray[np.floating]
) -> dict[str, Estimates]:
    """Predict by the paper's recipe, with its network for the sign of the formation energy."""
    space = LatentSpace.load(models, face="reference")
    heads = PropertyModels.load(lambda: space, models, face="reference")
    answers = heads.predict(compositions, patterns, case="simulated")
    place = find_model(FORMATION_NET, models)
    if (place / ARRAYS_FILE).exists():
        points = heads.inputs(compositions, patterns)
        artefact = load_artefact(place).require("formation-net")
        make = partial(ReferenceFormationNet, **artefact.header.get("architecture", {}))
        network = restore_network(make, artefact.arrays, place)
        chance = network.chance(single(points)).numpy().astype(float)
        answers["formation_probability"] = Estimates(chance, chance, chance)
    return answers


def draw_accuracy_figures(out: Path, held: HeldOut, progress: Progress = silent) -> list[Path]:
    """Write S6 (parity), S7 and S9 (classifiers, confusion of space groups and crystal
    systems), S10 (pattern characteristics), and curves of reliability, coverage and abstention
    as PNG, SVG and HTML; returns the files."""
    files: list[Path] = []
    if panels := _collect_parities(held):
        files += draw_parity(out / "s6-parity", panels)
    for stem, names in (("s7-metal-magnetic", ELECTRONIC), ("s9-stability", STABILITY)):
        if classifiers := _collect_classifiers(held, names):
            files += draw_classifiers(out / stem, classifiers)
    progress("figures", 1, 3)
    files += _draw_symmetry(out, held)
    files += draw_characteristics(
        out / "s10-characteristics", tuple(CHARACTERISTICS),
        {kind: compute_characteristics(patterns) for kind, patterns in held.patterns.items()},
    )  # fmt: skip
    progress("figures", 2, 3)
    files += draw_reliability(out / "reliability", _measure_reliabilities(held))
    if curves := _measure_coverages(held):
        files += draw_coverage(out / "coverage", LEVELS, curves)
    progress("figures", 3, 3)
    return files


def _collect_parities(held: HeldOut) -> list[Parity]:
    """Panels of the standard face (simulated patterns) and of the reference face."""
    panels: list[Parity] = []
    for name, title in TABLE_S3.items():
        for face, model in (("standard", OURS["crystal"]), ("reference", REFERENCE)):
            if name not in held.answers.get(model, {}) or not held.is_measurable(name):
                continue
            known, endpoint = held.known(name), held.endpoints[name]
            if name in SPREAD:
                endpoint = replace(endpoint, transform="log")
            estimates = held.answers[model][name].take(known)
            scale = PER_BOLTZMANN.get(name, 1.0)
            truth = scale * held.truth[name][known]
            ends = (scale * end for end in (estimates.value, estimates.low, estimates.high))
            estimates = Estimates(*ends)
            panels.append(
                Parity(
                    name=title,
                    unit="k_B/atom" if name in PER_BOLTZMANN else endpoint.unit,
                    model=face,
                    truth=truth,
                    predicted=estimates.value,
                    inside=(truth >= estimates.low) & (truth <= estimates.high),
                    scores=score_estimates(endpoint, truth, estimates),
                    logarithmic=name in SPREAD,
                )
            )
    return panels


def _collect_classifiers(
    held: HeldOut, names: Mapping[str, tuple[str, str, str]]
) -> list[Classifier]:
    from sklearn.metrics import confusion_matrix, roc_curve

    found = []
    for name, (title, *classes) in names.items():
        if name not in held.endpoints or not held.is_measurable(name):
            continue
        known = held.known(name)
        truth = held.truth[name][known]
        curves, scores = {}, {}
        for model, answers in held.answers.items():
            if name in answers:
                chance = answers[name].value[known]
                false, true, _ = roc_curve(truth, chance)
                curves[model] = np.array([false, true])
                scores[model] = score(held.endpoints[name], truth, chance)
        chance = held.answers[OURS["crystal"]][name].value[known]
        matrix = confusion_matrix(truth >= 0.5, chance >= 0.5)
        found.append(Classifier(title, tuple(classes), curves, scores, matrix))
    return found


def _draw_symmetry(out: Path, held: HeldOut) -> list[Path]:
    """Draw confusion matrices of decoded patterns, and accuracy by the share of rows answered."""
    labels = held.table.materials.frame["space_group"].to_numpy(int)[held.test] - 1
    one_hot = np.eye(N_SPACE_GROUPS)[labels]
    systems = compute_system_probabilities(one_hot).argmax(axis=1)
    of_groups, of_systems, curves = {}, {}, {}
    for (case, given), probabilities in held.groups.items():
        likeliest = probabilities[held.test].argmax(axis=1)
        hits = likeliest == labels
        order = np.argsort(-probabilities[held.test].max(axis=1), kind="stable")
        curves[f"{case}, {given}"] = hits[order].cumsum() / np.arange(1, len(hits) + 1)
        if case == "decoded":
            named = compute_system_probabilities(probabilities[held.test]).argmax(axis=1)
            of_groups[f"decoded {given}: accuracy {hits.mean():.3f}"] = _count_pairs(
                labels, likeliest, N_SPACE_GROUPS
            )
            accuracy = (named == systems).mean()
            of_systems[f"decoded {given}: accuracy {accuracy:.3f}"] = _count_pairs(
                systems, named, len(CRYSTAL_SYSTEMS)
            )
    files = draw_confusions(out / "s9-space-groups", of_groups)
    files += draw_confusions(out / "s9-crystal-systems", of_systems, tuple(CRYSTAL_SYSTEMS))
    return files + draw_abstention(out / "abstention-space-groups", curves)


def _count_pairs(truth: NDArray[np.intp], named: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Confusion matrix (n, n): rows by true and by predicted class."""
    return np.bincount(truth * n + named, minlength=n * n).reshape(n, n)


def _measure_reliabilities(held: HeldOut) -> dict[str, dict[str, Reliability]]:
    """classifier → case → curve, the space group's among them."""
    curves: dict[str, dict[str, Reliability]] = {}
    for name, (title, *_) in {**ELECTRONIC, **STABILITY}.items():
        if name in held.endpoints and held.is_measurable(name):
            known = held.known(name)
            curves[title] = {
                case: measure_reliability(
                    held.truth[name][known], held.answers[model][name].value[known]
                )
                for case, model in OURS.items()
            }
    labels = held.table.materials.frame["space_group"].to_numpy(int)[held.test] - 1
    curves["likeliest space group"] = {
        case: measure_reliability(
            (held.groups[case, BOTH][held.test].argmax(axis=1) == labels).astype(float),
            held.groups[case, BOTH][held.test].max(axis=1),
        )
        for case in CASES
    }
    return curves


def measure_reliability(truth: NDArray[np.floating], chance: NDArray[np.floating]) -> Reliability:
    """Compare probabilities (n,) with outcomes (n,), in N_BINS bins of equally many rows.

    The error is the standard one of a share, its ends kept off 0 and 1 by the added successes
    and failures of Agresti and Coull (Am. Stat. 52, 119, 1998).
    """
    parts = np.array_split(np.argsort(chance, kind="stable"), N_BINS)
    parts = [part for part in parts if len(part)]
    mean = np.array([chance[part].mean() for part in parts])
    share = np.array([truth[part].mean() for part in parts])
    n = np.array([len(part) for part in parts])
    kept = (share * n + 2) / (n + 4)
    brier = float(((chance - truth) ** 2).mean())
    return Reliability(mean, share, np.sqrt(kept * (1 - kept) / (n + 4)), brier)


def _measure_coverages(held: HeldOut) -> dict[str, dict[str, Array]]:
    """endpoint → case → share (len(LEVELS),) of test truths inside the intervals of each level."""
    curves: dict[str, dict[str, Array]] = {}
    for name, endpoint in held.endpoints.items():
        regression = endpoint.task == "regression" and endpoint not in AUXILIARY
        if not regression or name in DERIVATIONS or not held.is_measurable(name):
            continue
        if held.known(name, CALIBRATION).sum() < MIN_ROWS:
            continue
        curves[name.replace("_", " ")] = {
            case: measure_coverage(
                *(
                    _scale_errors(
                        endpoint,
                        held.truth[name][held.known(name, role)],
                        held.answers[model][name].take(held.known(name, role)),
                    )
                    for role in (CALIBRATION, TEST)
                )
            )
            for case, model in OURS.items()
        }
    return curves


def measure_coverage(calibration: Array, test: Array) -> Array:
    """Coverage of intervals of each of LEVELS: the share of ``test`` errors below the conformal
    quantile of the ``calibration`` errors."""
    factors = [compute_conformal_quantile(calibration, coverage=float(level)) for level in LEVELS]
    return np.array([(test <= factor).mean() for factor in factors])


def _scale_errors(endpoint: Endpoint, truth: Array, estimates: Estimates) -> Array:
    """Errors in half widths of the interval, in the model's own scale."""
    exact, value, high = map(endpoint.to_model, (truth, estimates.value, estimates.high))
    with np.errstate(invalid="ignore"):
        error = np.abs(exact - value) / np.maximum(high - value, 1e-12)
    # a truth of zero has no logarithm
    return np.where(np.isnan(error), np.inf, error)
