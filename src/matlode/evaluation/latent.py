"""Measures of the latent spaces of both faces on unseen formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from matlode.data.formulas import anonymise_formula, parse_formula
from matlode.data.splits import TEST, TRAIN, split_by_formula
from matlode.data.symmetry import crystal_system
from matlode.latent.networks import COMPOSITION_LATENT, single
from matlode.latent.space import FACES, LatentSpace, View, list_trained_faces
from matlode.progress import Progress, silent
from matlode.records import Face
from matlode.representation.composition import compute_formula_vectors, find_integer_amounts
from matlode.representation.diffraction import STANDARD_SETTINGS
from matlode.screening.plausibility import PatternBands
from matlode.training.encoding import MAX_FORMULA_ATOMS
from matlode.training.recipes import SAME_FRACTION, compute_cosines
from matlode.training.table import TrainingTable

PEAK_HEIGHTS = (0.05, 0.2)
"""Smallest heights of a peak, relative to the strongest: with weak peaks, strong peaks alone."""
PEAK_DISTANCE_DEG = 0.2
"""A peak is found if the other pattern has one within this distance."""
ACTIVE_VARIANCE = 0.01
"""A latent variable is active if its mean varies by more (Burda et al., arXiv:1509.00519)."""
N_NEIGHBOURS = 5
MAX_PRIOR_ELEMENTS = 6
PROBES = ("formation_energy_per_atom", "volume_per_atom", "bulk_modulus_vrh", "debye_temperature")
"""Columns that a ridge regression predicts from the latent variables."""


@dataclass(frozen=True)
class LatentMeasure:
    """One measure of the latent spaces."""

    name: str
    by_face: Mapping[Face, float | None]
    """None for a face without weights."""
    measured_on: str
    """Numbers of formulas and structures."""

    def to_json(self) -> dict[str, object]:
        """The JSON object that `matlode evaluate latent --json` prints."""
        values = {str(face): value for face, value in self.by_face.items()}
        return {"measure": self.name, **values, "on": self.measured_on}


@dataclass(frozen=True)
class Sample:
    """Materials that both faces are measured on."""

    compositions: NDArray[np.float64]
    """(n_formulas, 100), of distinct test formulas, with and without structures."""
    table: TrainingTable
    train: NDArray[np.intp]
    """Rows of the table for neighbours and probes."""
    test: NDArray[np.intp]


def measure_latent(
    *,
    data: Path | None = None,
    models: Path | None = None,
    max_rows: int = 20_000,
    n_prior: int = 2000,
    seed: int = 0,
    progress: Progress = silent,
) -> list[LatentMeasure]:
    """Measure the latent spaces of both faces.

    ``data``: the structure table (default: $MATLODE_DATA, else the starter set); at most
    ``max_rows`` of its training rows serve as neighbours, and every test row is measured.
    """
    rng = np.random.default_rng(seed)
    table = TrainingTable.load(data)
    formulas = sorted(set(table.materials.frame["formula"]) | set(table.extra_formulas))
    unseen = [f for f, r in zip(formulas, split_by_formula(formulas), strict=True) if r == TEST]
    train = np.flatnonzero(table.roles == TRAIN)
    sample = Sample(
        compute_formula_vectors(unseen),
        table,
        np.sort(rng.permutation(train)[:max_rows]),
        np.flatnonzero(table.roles == TEST),
    )
    bands = PatternBands.load(models)
    columns: dict[Face, dict[str, float]] = {}
    for at, face in enumerate(FACES, start=1):
        if face in list_trained_faces(models):
            space = LatentSpace.load(models, face=face)
            columns[face] = _measure_space(space, sample, bands, n_prior, seed)
        progress("latent spaces", at, len(FACES), face)
    names = dict.fromkeys(name for values in columns.values() for name in values)
    n = f"{len(unseen):,} formulas, {len(sample.test):,} structures"
    return [
        LatentMeasure(name, {face: columns.get(face, {}).get(name) for face in FACES}, n)
        for name in names
    ]


def _measure_space(
    space: LatentSpace, sample: Sample, bands: PatternBands, n_prior: int, seed: int
) -> dict[str, float]:
    table, test, train = sample.table, sample.test, sample.train
    patterns = table.patterns[test]
    points = space.encode(table.compositions[test], patterns)
    known = space.encode(table.compositions[train], table.patterns[train])
    images = space.pattern.decode(points[:, COMPOSITION_LATENT:])
    prior = space.sample_prior(n_prior, np.random.default_rng(seed))
    return {
        **_measure_formulas(space, sample.compositions),
        **_measure_patterns(images, patterns),
        **_measure_encoder(space, patterns),
        **_measure_information("composition", space.composition, sample.compositions),
        **_measure_information("pattern", space.pattern, patterns),
        **_measure_prior(space, prior, bands),
        **_measure_pairs(space, points, seed),
        **_measure_neighbours(space, points, known, table.materials.frame, test, train),
        **_measure_probes(points, known, table.materials.frame, test, train),
    }


def _measure_formulas(space: LatentSpace, truth: NDArray[np.float64]) -> dict[str, float]:
    images = _round_to_formulas(space, space.composition.decode(space.composition.encode(truth)))
    return {
        "exact formula": float((abs(images - truth).max(axis=1) < SAME_FRACTION).mean()),
        "exact element set": float(((images > 0) == (truth > 0)).all(axis=1).mean()),
    }


def _round_to_formulas(space: LatentSpace, fractions: NDArray[np.float32]) -> NDArray[np.floating]:
    """Fractions of integer formulas, which the standard face decodes as it is."""
    if space.face == "standard":
        return fractions
    amounts = find_integer_amounts(fractions, max_atoms=MAX_FORMULA_ATOMS)
    return amounts / amounts.sum(axis=1, keepdims=True)


def _measure_patterns(images: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
    cosine = compute_cosines(images, truth)
    peaks = {}
    for height in PEAK_HEIGHTS:
        found, false = compare_peaks(images, truth, height)
        peaks[f"peaks of ≥ {height:.0%} found within 0.2°"] = found
        peaks[f"decoded peaks of ≥ {height:.0%} that are false"] = false
    return {
        "pattern cosine, median": float(np.median(cosine)),
        "pattern cosine, 10 % quantile": float(np.quantile(cosine, 0.1)),
        **peaks,
        "Wasserstein distance, median, ° 2θ": float(
            np.median(compute_wasserstein_deg(images, truth))
        ),
    }


def _measure_encoder(space: LatentSpace, truth: NDArray[np.float32]) -> dict[str, float]:
    images = space.pattern.decode(space.encode_patterns(truth, refine=0))
    cosine = compute_cosines(images, truth)
    return {
        "encoder alone: pattern cosine, median": float(np.median(cosine)),
        "encoder alone: pattern cosine, 10 % quantile": float(np.quantile(cosine, 0.1)),
    }


def compare_peaks(
    images: NDArray[np.floating], truth: NDArray[np.floating], height: float
) -> tuple[float, float]:
    """Share of the true peaks that the images (n, n_points) have, and of theirs that are none.

    Peaks are maxima of at least ``height`` of the strongest; one is found where the other
    pattern has a maximum of half that height at most PEAK_DISTANCE_DEG away.
    """
    from scipy.signal import find_peaks

    reach = PEAK_DISTANCE_DEG / STANDARD_SETTINGS.step
    counts = np.zeros(4)
    for pair in zip(images, truth, strict=True):
        peaks, weaker = (
            [find_peaks(y, height=part * height * y.max())[0] for y in pair] for part in (1, 0.5)
        )
        lost = _count_unmatched(peaks[1], weaker[0], reach)
        false = _count_unmatched(peaks[0], weaker[1], reach)
        counts += lost, len(peaks[1]), false, len(peaks[0])
    return float(1 - counts[0] / max(counts[1], 1)), float(counts[2] / max(counts[3], 1))


def _count_unmatched(peaks: NDArray[np.intp], others: NDArray[np.intp], reach: float) -> int:
    apart = abs(peaks[:, None] - others[None, :]).astype(float)
    return int((apart.min(axis=1, initial=np.inf) > reach + 1e-9).sum())


def compute_wasserstein_deg(
    images: NDArray[np.floating], truth: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Earth mover's distance (n,) in degrees 2θ between patterns (n, n_points) of equal area."""
    sums = [np.cumsum(y / y.sum(axis=1, keepdims=True), axis=1) for y in (images, truth)]
    distance: NDArray[np.float64] = abs(sums[0] - sums[1]).sum(axis=1) * STANDARD_SETTINGS.step
    return distance


def _measure_information(name: str, view: View, data: NDArray[np.floating]) -> dict[str, float]:
    with torch.inference_mode():
        parts = [view.network.encode(batch) for batch in single(data).split(2048)]
    mean, log_variance = (torch.cat(list(p)).double() for p in zip(*parts, strict=True))
    kl = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
    return {
        f"KL of {name}, nats": float(kl),
        f"active variables of {name}": float((mean.var(0) > ACTIVE_VARIANCE).sum()),
    }


def _measure_prior(
    space: LatentSpace, points: NDArray[np.float32], bands: PatternBands
) -> dict[str, float]:
    fractions, patterns = space.decode(points)
    small = (fractions > 0).sum(axis=1) <= MAX_PRIOR_ELEMENTS
    amounts = find_integer_amounts(fractions, max_atoms=MAX_FORMULA_ATOMS)
    small &= amounts.sum(axis=1) <= MAX_FORMULA_ATOMS
    plausible = np.array([verdict.passed for verdict in bands.check_all(patterns)])
    return {
        f"prior samples of ≤ {MAX_PRIOR_ELEMENTS} elements, ≤ {MAX_FORMULA_ATOMS} atoms": float(
            small.mean()
        ),
        "prior samples with a plausible pattern": float(plausible.mean()),
        "prior samples with both": float((small & plausible).mean()),
    }


def _measure_pairs(space: LatentSpace, points: NDArray[np.float32], seed: int) -> dict[str, float]:
    if space.pairing is None:
        return {}
    from sklearn.metrics import roc_auc_score

    strangers = np.random.default_rng(seed).permutation(len(points))
    mixed = points.copy()
    mixed[:, COMPOSITION_LATENT:] = points[strangers, COMPOSITION_LATENT:]
    scores = np.concatenate([space.affinity(points), space.affinity(mixed)])
    labels = np.repeat([1, 0], len(points))
    return {"pairs told from shuffled pairs, AUC": float(roc_auc_score(labels, scores))}


def _measure_neighbours(
    space: LatentSpace,
    points: NDArray[np.float32],
    known: NDArray[np.float32],
    frame: pd.DataFrame,
    test: NDArray[np.intp],
    train: NDArray[np.intp],
) -> dict[str, float]:
    """How alike nearest neighbours are; in brackets what random rows would give."""
    formulas, groups = frame["formula"].to_numpy(), frame["space_group"].to_numpy()
    sets = [frozenset(parse_formula(f)) for f in formulas]
    systems = np.array([crystal_system(int(g)) for g in groups])
    prototypes = np.array(
        [f"{anonymise_formula(f)} {g}" for f, g in zip(formulas, groups, strict=True)]
    )

    def shared(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
        pairs = zip(np.repeat(a, b.shape[1]), b.ravel(), strict=True)
        return float(np.mean([len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for i, j in pairs]))

    def same(labels: NDArray[np.generic]) -> Callable[[NDArray[np.intp], NDArray[np.intp]], float]:
        return lambda a, b: float((labels[a][:, None] == labels[b]).mean())

    halves = {
        "composition": slice(0, COMPOSITION_LATENT),
        "pattern": slice(COMPOSITION_LATENT, None),
        "whole": slice(None),
    }
    random = np.random.default_rng(0).choice(train, (len(test), N_NEIGHBOURS))
    result = {}
    for half, name, alike in (
        ("composition", "elements shared", shared),
        ("pattern", "same crystal system", same(systems)),
        ("whole", "same prototype", same(prototypes)),
    ):
        part = halves[half]
        _, rows = space.neighbours(points[:, part], known[:, part], N_NEIGHBOURS)
        result[f"{half} neighbours: {name}"] = alike(test, train[rows])
        result[f"{half} neighbours: {name}, by chance"] = alike(test, random)
    return result


def _measure_probes(
    points: NDArray[np.float32],
    known: NDArray[np.float32],
    frame: pd.DataFrame,
    test: NDArray[np.intp],
    train: NDArray[np.intp],
) -> dict[str, float]:
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score

    result = {}
    for column in [name for name in PROBES if name in frame]:
        labels = frame[column].to_numpy(dtype=float)
        fit, held = ~np.isnan(labels[train]), ~np.isnan(labels[test])
        if fit.sum() < 100 or held.sum() < 20:
            continue
        # tails of a few rows would decide the score
        low, high = np.quantile(labels[train][fit], [0.01, 0.99])
        values = labels.clip(low, high)
        probe = RidgeCV(np.logspace(-2, 4, 7)).fit(known[fit], values[train][fit])
        predicted = probe.predict(points[held])
        result[f"linear probe of {column}, R²"] = float(r2_score(values[test][held], predicted))
    return result
