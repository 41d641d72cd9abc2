"""The paper's search: TPE in the box of the latent space, points as decoded, with its filters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matlode.benchmarks.tables import Row
from matlode.data.formulas import element_symbols, format_formula, write_formula
from matlode.latent.networks import single
from matlode.latent.space import LatentSpace
from matlode.optimisation.sampler import History, Sampler
from matlode.optimisation.tpe import TPESampler
from matlode.paper.printed_scores import (
    QUANTITIES,
    Array,
    FoldSettings,
    Quantity,
    fit_model,
    read_labels,
    train_stability,
)
from matlode.properties.expected_volume import ExpectedVolume
from matlode.realisation.builder import Builder
from matlode.realisation.prototypes import PrototypeLibrary
from matlode.records import Candidate
from matlode.screening.formula_lists import IN_NO_LIST, FormulaLists
from matlode.screening.plausibility import PatternBands
from matlode.screening.symmetry import SymmetryClassifier
from matlode.screening.symmetry_answers import REFERENCE_SYMMETRY_MODEL
from matlode.training.trainer import Trainer

BATCH = 64
PAPER_SAMPLER = TPESampler(multivariate=False)
"""Each variable has its own truncated Gaussian mixtures, as in Hyperopt."""
MIN_MATCH = 0.9
"""Smallest cosine of a proposed pattern and that of a crystal with the proposed formula."""


@dataclass(frozen=True)
class Proposals:
    """The best points of a search, decoded, and which filters they pass."""

    points: Array
    """(n, 88), the best first."""
    merits: Array
    """(n,), predicted value of the target."""
    amounts: NDArray[np.int64]
    """(n, 100), simplest integer formulas of the decoded compositions."""
    patterns: NDArray[np.float32]
    """(n, 1601)."""
    stable: NDArray[np.bool_]
    """(n,), probability of a formation energy at most 0 is one half or more."""
    plausible: NDArray[np.bool_]
    """(n,), time-series characteristics of the pattern are those of real patterns."""
    group_probability: Array
    """(n,), of the likeliest space group."""
    matches: Array
    """(n,), cosine of each pattern with that of the best crystal that can be built for the formula
    from a known structure; 0 if there is none."""
    lists: tuple[str, ...]
    """(n,), list that holds the formula, or IN_NO_LIST."""

    @property
    def passed(self) -> NDArray[np.bool_]:
        """(n,), proposals that pass both filters."""
        return self.stable & self.plausible

    @property
    def crystals(self) -> NDArray[np.bool_]:
        """(n,), proposals whose composition and pattern can be those of one crystal."""
        return self.matches >= MIN_MATCH

    def tabulate(self) -> list[Row]:
        """One row per proposal."""
        return [
            {
                "formula": format_formula(_write(self.amounts[row])),
                "formula is": self.lists[row],
                "predicted": round(float(self.merits[row]), 1),
                "stable": "yes" if self.stable[row] else "no",
                "plausible pattern": "yes" if self.plausible[row] else "no",
                "probability of its space group": round(float(self.group_probability[row]), 2),
                "cosine of the best crystal": round(float(self.matches[row]), 2),
            }
            for row in range(len(self.points))
        ]


def _write(amounts: NDArray[np.int64]) -> str:
    symbols = element_symbols()
    return write_formula({symbols[z]: int(amounts[z]) for z in np.flatnonzero(amounts)})


def propose_materials(
    trainer: Trainer,
    models: Path,
    quantity: Quantity,
    settings: FoldSettings,
    *,
    n_trials: int,
    n: int,
    seed: int,
) -> Proposals:
    """The ``n`` best of ``n_trials`` points that maximise ``quantity``, decoded and filtered.

    Trees and the stability network learn from all labelled rows; the autoencoders and the
    space-group classifier are those in ``models``. Crystals are built from the structures of the
    table.
    """
    points = np.hstack(trainer.reference.points)
    labels = read_labels(quantity, trainer.table)
    known = ~np.isnan(labels)
    found = search_points(
        trainer.reference.space.bounds,
        fit_model(quantity, points[known], labels[known], settings.trees),
        History(points[known].astype(float), labels[known], n_known=int(known.sum())),
        n_trials=n_trials,
        rng=np.random.default_rng(seed),
    )
    signs = read_labels(QUANTITIES["formation_probability"], trainer.table)
    roles = np.where(np.isnan(signs), "", trainer.table.roles)
    stability = train_stability(points, signs, roles, settings.network)
    return filter_points(
        found,
        trainer.reference.space,
        n=n,
        stability=lambda new: stability.chance(single(new)).numpy(),
        groups=SymmetryClassifier.load(models, name=REFERENCE_SYMMETRY_MODEL).predict,
        bands=PatternBands.load(),
        match=CrystalMatcher(
            Builder(PrototypeLibrary.build(trainer.table.materials)), ExpectedVolume.load(None)
        ),
    )


@dataclass(frozen=True)
class CrystalMatcher:
    """Finds the crystal of a formula that fits a pattern best."""

    builder: Builder
    volumes: ExpectedVolume

    def __call__(self, amounts: NDArray[np.int64], pattern: NDArray[np.floating]) -> float:
        """Cosine of ``pattern`` (1601,) with that of the best crystal of the integer formula
        ``amounts`` (100,); 0 if no known structure has its stoichiometry."""
        composition = amounts / amounts.sum()
        candidate = Candidate(_write(amounts), composition, pattern, {}, np.zeros(230))
        if not self.builder.library.substitutions(candidate.formula, 1):
            return 0.0
        volume = float(self.volumes.predict(composition[None]).value[0])
        built = self.builder.structures(candidate, volume)
        return max((structure.match for structure in built), default=0.0)


def search_points(
    bounds: NDArray[np.float64],
    evaluate: Callable[[Array], Array],
    known: History,
    *,
    n_trials: int,
    rng: np.random.Generator,
    sampler: Sampler = PAPER_SAMPLER,
) -> History:
    """Maximise ``evaluate`` (points (n, d) → merits (n,)) in the box ``bounds`` (d, 2).

    ``known`` are points with known values: the paper starts from its training materials. Returns
    the evaluated points without the known ones.
    """
    points, merits = known.points, known.merits
    for start in range(0, n_trials, BATCH):
        history = History(points, merits, n_known=known.n_known)
        new = sampler.suggest(history, bounds, min(BATCH, n_trials - start), rng)
        points = np.concatenate([points, new])
        merits = np.concatenate([merits, evaluate(new)])
    first = len(known.points)
    return History(points[first:], merits[first:])


def filter_points(
    found: History,
    space: LatentSpace,
    *,
    n: int,
    stability: Callable[[Array], Array],
    groups: Callable[[NDArray[np.float32]], Array],
    bands: PatternBands,
    match: Callable[[NDArray[np.int64], NDArray[np.floating]], float],
) -> Proposals:
    """Decode the ``n`` best points and apply the paper's filters.

    ``stability`` gives probabilities (n,) of points, ``groups`` those of the 230 space groups of
    patterns (n, 1601), ``match`` how well a crystal of a formula fits a pattern.
    """
    best = np.argsort(-found.merits, kind="stable")[:n]
    points = found.points[best]
    _, patterns = space.decode(points)
    amounts = space.formulas(points)
    lists = FormulaLists.load().find([_write(row) for row in amounts])
    return Proposals(
        points,
        found.merits[best],
        amounts,
        patterns,
        stability(points) >= 0.5,
        np.array([verdict.passed for verdict in bands.check_all(patterns)]),
        groups(patterns).max(axis=1),
        np.array([match(*pair) for pair in zip(amounts, patterns, strict=True)]),
        tuple(of.name if of else IN_NO_LIST for of in lists),
    )
