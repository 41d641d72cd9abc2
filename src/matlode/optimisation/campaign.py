"""A search of the latent space, and the selection of distinct formulas from its trials."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import convert_read_errors
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import chemical_system
from matlode.data.spool import MappedArray
from matlode.errors import InputError
from matlode.latent.networks import COMPOSITION_LATENT
from matlode.latent.space import LatentSpace
from matlode.optimisation.goal import Goal, Scale, compute_merit
from matlode.optimisation.ledger import Ledger
from matlode.optimisation.preferences import Decoded, Preference
from matlode.optimisation.sampler import History, Sampler
from matlode.progress import Progress, silent
from matlode.properties.endpoints import Estimates
from matlode.properties.models import PropertyModels
from matlode.representation.composition import compute_formula_vectors, write_formulas

BATCH = 64
"""Points per suggestion: decoding and prediction are most efficient in batches."""
MAX_BATCHES = 2048
"""Largest number of batches. Long campaigns have larger batches instead, because each suggestion
takes all previous trials into account."""


def batch_size(n_trials: int) -> int:
    """Points per suggestion in a campaign of ``n_trials``, a multiple of BATCH."""
    return BATCH * max(1, -(-n_trials // (BATCH * MAX_BATCHES)))


@dataclass(frozen=True)
class Trials:
    """Evaluated latent points, in the order of their evaluation."""

    points: NDArray[np.float32]
    """(n, 88)."""
    formulas: NDArray[np.str_]
    """(n,), canonical."""
    systems: NDArray[np.str_]
    """(n,), chemical systems."""
    gains: NDArray[np.float64]
    """(n, n_objectives), see ``Scale``."""
    shortfalls: NDArray[np.float64]
    """(n, n_ranges + n_preferences), penalties for missed ranges and preferences."""
    values: NDArray[np.float64]
    """(n, n_endpoints), predictions in the order of ``Goal.endpoints``."""

    @classmethod
    def of(
        cls,
        points: NDArray[np.float32],
        formulas: Sequence[str],
        gains: NDArray[np.float64],
        shortfalls: NDArray[np.float64],
        values: NDArray[np.float64],
    ) -> Trials:
        """Build trials, with the chemical systems of ``formulas``."""
        systems = np.array([chemical_system(formula) for formula in formulas], dtype=str)
        return cls(points, np.array(formulas, dtype=str), systems, gains, shortfalls, values)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def compositions(self) -> NDArray[np.float64]:
        """(n, 100), atomic fractions of the formulas."""
        return compute_formula_vectors([str(formula) for formula in self.formulas])

    def merits(
        self, goal: Goal, weights: NDArray[np.floating] | None = None
    ) -> NDArray[np.float64]:
        """(n,), see ``goal.compute_merit``."""
        return compute_merit(goal, self.gains, self.shortfalls, weights)

    def in_ranges(self, goal: Goal) -> NDArray[np.bool_]:
        """(n,), whether the predictions lie within all ranges of the goal."""
        columns = [goal.endpoints.index(r.endpoint) for r in goal.ranges]
        held = [r.holds(self.values[:, at]) for r, at in zip(goal.ranges, columns, strict=True)]
        return np.all([np.ones(len(self), dtype=bool), *held], axis=0)

    def take(self, rows: NDArray[np.intp] | slice) -> Trials:
        """The trials at ``rows``."""
        return Trials(*(getattr(self, f.name)[rows] for f in fields(self)))

    def packed(self) -> bytes:
        """Serialise to JSON, without loss of precision."""
        numbers = {
            name: [str(array.dtype), list(array.shape), b64encode(array.tobytes()).decode()]
            for name in ("points", "gains", "shortfalls", "values")
            for array in [np.ascontiguousarray(getattr(self, name))]
        }
        return json.dumps({"formulas": " ".join(self.formulas), **numbers}).encode()

    @classmethod
    def unpacked(cls, text: bytes) -> Trials:
        """Restore the trials from ``packed``; raises InputError if the record is damaged."""
        with convert_read_errors("the record of a batch", InputError):
            record = json.loads(text)
            numbers = {
                name: np.frombuffer(b64decode(record[name][2]), record[name][0]).reshape(
                    record[name][1]
                )
                for name in ("points", "gains", "shortfalls", "values")
            }
            return cls.of(formulas=record["formulas"].split(), **numbers)


class _TrialStore:
    """Trials of the known points, followed by preallocated room for every batch.

    Adding a batch copies nothing, and the arrays are memory-mapped.
    """

    def __init__(self, known: Trials, n_trials: int, size: int) -> None:
        self._n_known, self._size = len(known), size
        n = self._n_known + n_trials
        columns = {f.name: getattr(known, f.name) for f in fields(known)}
        self._columns = {
            name: MappedArray.zeros(column.dtype, (n, *column.shape[1:]))
            for name, column in columns.items()
        }
        self._is_done = np.zeros(n, dtype=bool)
        self._put(slice(0, self._n_known), known)
        self.batches: set[int] = set()
        """Numbers of the finished batches."""

    def add_finished(self, ledger: Ledger) -> None:
        """Add the batches that were finished in the ledger since the last call."""
        for batch, record in ledger.finished(except_for=self.batches):
            trials = Trials.unpacked(record)
            at = self._n_known + batch * self._size
            self._put(slice(at, at + len(trials)), trials)
            self.batches.add(batch)

    def _put(self, rows: slice, trials: Trials) -> None:
        for name, column in self._columns.items():
            new = getattr(trials, name)
            if new.dtype.itemsize > column.values.dtype.itemsize:  # for longer formulas
                wider = self._columns[name] = MappedArray.zeros(new.dtype, column.values.shape)
                wider.values[:] = column.values
                column = wider
            column.values[rows] = new
            column.release_memory()
        self._is_done[rows] = True

    def trials(self) -> Trials:
        """Trials of the finished batches, in order of the batches; a read-only view."""
        n = int(self._is_done.sum())
        everything = Trials(**{name: column.values for name, column in self._columns.items()})
        if self._is_done[:n].all():
            return everything.take(slice(n))
        return everything.take(np.flatnonzero(self._is_done))


@dataclass(frozen=True)
class Campaign:
    """Searches the latent space for a goal.

    With several objectives, every batch draws new random weights, as in ParEGO (Knowles 2006), so
    that the search explores the Pareto front instead of one weighted sum.
    """

    goal: Goal
    space: LatentSpace
    models: PropertyModels
    scale: Scale
    sampler: Sampler
    preferences: tuple[Preference, ...] = ()
    """Those of ``Goal.preferences``, in their order, followed by any others (of weight 1)."""

    def evaluate(self, points: NDArray[np.floating]) -> Trials:
        """Decode points (n, 88) and predict the properties of the decoded objects.

        Formulas meet the limits of the goal by construction. Predictions are for the integer
        formula and the decoded pattern.
        """
        points = np.asarray(points, dtype=np.float32)
        amounts = self.space.formulas(points, self.goal.limits)
        patterns = self.space.pattern.decode(points[:, COMPOSITION_LATENT:])
        compositions = amounts / amounts.sum(axis=1, keepdims=True)
        names = self.goal.endpoints
        estimates = self.models.predict(compositions, patterns, case="decoded", names=names)
        formulas = write_formulas(amounts)
        gains, shortfalls = self.compute_gains(
            Decoded(points, formulas, compositions, patterns), estimates
        )
        values = np.column_stack([estimates[name].value for name in names])
        return Trials.of(points, formulas, gains, shortfalls, values)

    def compute_gains(
        self, decoded: Decoded, estimates: Mapping[str, Estimates]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Gains (n, n_objectives) and shortfalls (n, n_ranges + n_preferences) of decoded objects
        with predicted properties ``estimates``."""
        weights = [*self.goal.preferences.values(), *([1.0] * len(self.preferences))]
        penalties = [
            weight * preference.shortfall(decoded)
            for weight, preference in zip(weights, self.preferences, strict=False)
        ]
        shortfalls = np.column_stack([self.scale.shortfalls(self.goal, estimates), *penalties])
        return self.scale.gains(self.goal, estimates), shortfalls

    def merits(self, decoded: Decoded, estimates: Mapping[str, Estimates]) -> NDArray[np.float64]:
        """(n,), merits of decoded objects with predicted properties ``estimates``."""
        return compute_merit(self.goal, *self.compute_gains(decoded, estimates))

    def suggest(
        self, trials: Trials, n_known: int, n: int, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Suggest the next n points (n, 88); the first ``n_known`` trials are known materials."""
        weights = self.goal.weights
        if len(weights) > 1:
            weights = weights * rng.dirichlet(np.ones(len(weights)))
            weights = weights / weights.sum()
        merits = trials.merits(self.goal, weights)
        history = History(trials.points, merits, trials.systems, n_known)
        return self.sampler.suggest(history, self.space.bounds, n, rng).astype(np.float32)

    def run(
        self,
        start: NDArray[np.floating],
        n_trials: int,
        seed: int,
        *,
        opening: NDArray[np.floating] | None = None,
        ledger: Ledger | None = None,
        progress: Progress = silent,
    ) -> tuple[Trials, int]:
        """Evaluate ``n_trials`` points after the known points ``start`` (m, 88).

        The first trials are at the points ``opening`` (k, 88). Batches are claimed from the
        ``ledger`` (default: one in memory), which other workers may share; batches that it
        holds already are not repeated. Returns all trials, the known points first and then in
        order of the batches, and the number of known points.
        """
        ledger = ledger or Ledger.in_memory()
        size = batch_size(n_trials)
        n_batches = -(-n_trials // size)
        known = self.evaluate(start)
        store = _TrialStore(known, n_trials, size)
        best = -np.inf
        while (claim := ledger.claim(n_batches)) is not None:
            with claim:
                store.add_finished(ledger)
                rng = np.random.default_rng([seed, claim.batch])
                n = min(size, n_trials - claim.batch * size)
                points = opening[claim.batch * size :][:n] if opening is not None else start[:0]
                if len(points) < n:
                    more = self.suggest(store.trials(), len(known), n - len(points), rng)
                    points = np.concatenate([points, more])
                found = self.evaluate(points)
                merits = found.merits(self.goal)
                formula = str(found.formulas[merits.argmax()])
                claim.finish(found.packed(), float(merits.max()), formula)
            best = max(best, float(merits.max()))
            n_done = (len(store.batches) + 1) * size
            progress("search", n_done, n_batches * size, f"best merit {best:.2f}")
        store.add_finished(ledger)
        return store.trials(), len(known)


SAME_FRACTION = 0.02
"""Formulas of one chemical system are near-duplicates if a smaller fraction of atoms differs."""


def select_diverse(
    trials: Trials, merits: NDArray[np.floating], n: int, *, max_per_system: int
) -> NDArray[np.intp]:
    """Select the rows of the n best distinct formulas, at most ``max_per_system`` of a chemical
    system.

    The best trial represents its formula and its near-duplicates (SAME_FRACTION). Fewer than n
    rows are returned if the trials do not contain enough distinct formulas.
    """
    taken: dict[str, list[int]] = {}
    seen: set[str] = set()
    chosen: list[np.intp] = []
    compositions = np.empty((n, MAX_ATOMIC_NUMBER))
    for row in np.argsort(-merits, kind="stable"):
        if len(chosen) == n:
            break
        formula, of_system = str(trials.formulas[row]), taken.setdefault(trials.systems[row], [])
        if len(of_system) >= max_per_system or formula in seen:
            continue
        seen.add(formula)
        (composition,) = compute_formula_vectors([formula])
        apart = abs(compositions[of_system] - composition).sum(axis=1) / 2
        if (apart < SAME_FRACTION).any():
            continue
        of_system.append(len(chosen))
        compositions[len(chosen)] = composition
        chosen.append(row)
    return np.array(chosen, dtype=np.intp)
