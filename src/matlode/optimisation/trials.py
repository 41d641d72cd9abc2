"""The evaluated materials of a search, their storage, and the selection of distinct formulas."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import convert_read_errors
from matlode.data.crystals import MAX_ATOMIC_NUMBER
from matlode.data.formulas import chemical_system
from matlode.data.spool import MappedArray
from matlode.errors import InputError
from matlode.optimisation.goal import Goal, compute_merit
from matlode.realisation.blueprints import Blueprints
from matlode.representation.composition import compute_formula_vectors

Proposer: TypeAlias = Literal["known", "substitution", "sampler", "variation"]
PROPOSERS: tuple[Proposer, ...] = ("known", "substitution", "sampler", "variation")
"""Where a trial comes from: a known material; an element of a known material exchanged; a latent
point; an element or amount of one of the best trials exchanged."""
_TEXTS = ("formulas", "systems")
_FINITE = ("points", "gains", "shortfalls", "values")


@dataclass(frozen=True)
class Trials:
    """Evaluated materials, in the order of their evaluation."""

    points: NDArray[np.float32]
    """(n, 88), latent points."""
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
    templates: NDArray[np.int64]
    """(n,), see ``Blueprints``; -1 for a point that was evaluated as decoded."""
    elements: NDArray[np.uint8]
    """(n, MAX_SPECIES), see ``Blueprints``."""
    volumes_per_atom_a3: NDArray[np.float64]
    """(n,), of the crystals."""
    proposers: NDArray[np.int8]
    """(n,), index in PROPOSERS."""

    @classmethod
    def of(
        cls,
        points: NDArray[np.float32],
        formulas: Sequence[str],
        gains: NDArray[np.float64],
        shortfalls: NDArray[np.float64],
        values: NDArray[np.float64],
        *,
        blueprints: Blueprints | None = None,
        proposer: Proposer = "sampler",
    ) -> Trials:
        """Build trials of one ``proposer``, with the chemical systems of ``formulas``."""
        n = len(points)
        made = Blueprints.none(n) if blueprints is None else blueprints
        return cls(
            points,
            np.array(formulas, dtype=str),
            np.array([chemical_system(formula) for formula in formulas], dtype=str),
            gains,
            shortfalls,
            values,
            made.templates,
            made.elements,
            made.volumes_per_atom_a3,
            np.full(n, PROPOSERS.index(proposer), dtype=np.int8),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Trials]) -> Trials:
        """Concatenate trials in order."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))

    def __len__(self) -> int:
        return len(self.points)

    @property
    def blueprints(self) -> Blueprints:
        """How to build the crystals again."""
        return Blueprints(self.templates, self.elements, self.volumes_per_atom_a3)

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

    def take(self, rows: NDArray[np.integer | np.bool_] | slice) -> Trials:
        """The trials at ``rows``."""
        return Trials(*(getattr(self, f.name)[rows] for f in fields(self)))

    def packed(self) -> bytes:
        """Serialise to JSON, without loss of precision."""
        numbers = {
            name: [str(array.dtype), list(array.shape), b64encode(array.tobytes()).decode()]
            for name in _number_columns()
            for array in [np.ascontiguousarray(getattr(self, name))]
        }
        return json.dumps({"formulas": " ".join(self.formulas), **numbers}).encode()

    @classmethod
    def unpacked(cls, text: bytes, like: Trials) -> Trials:
        """Restore the trials from ``packed``.

        Raises InputError if the record is damaged: columns of other types or widths than those of
        ``like``, or numbers that are not finite.
        """
        with convert_read_errors("the record of a block", InputError):
            record = json.loads(text)
            numbers = {
                name: np.frombuffer(b64decode(record[name][2]), record[name][0]).reshape(
                    record[name][1]
                )
                for name in _number_columns()
            }
            formulas = record["formulas"].split()
            systems = [chemical_system(formula) for formula in formulas]
            if any(len(column) != len(formulas) for column in numbers.values()):
                raise ValueError("its columns have different lengths")
            for name, column in numbers.items():
                wanted = getattr(like, name)
                if (column.dtype, column.shape[1:]) != (wanted.dtype, wanted.shape[1:]):
                    raise ValueError(f"{name} has {column.dtype} {column.shape[1:]}")
                if name in _FINITE and not np.isfinite(column).all():
                    raise ValueError(f"{name} has numbers that are not finite")
            return cls(
                formulas=np.array(formulas, dtype=str), systems=np.array(systems, dtype=str),
                **numbers,
            )  # fmt: skip


def _number_columns() -> list[str]:
    return [f.name for f in fields(Trials) if f.name not in _TEXTS]


class TrialStore:
    """Trials of the known materials, followed by preallocated room for every block.

    Adding a block copies nothing, and the arrays are memory-mapped.
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
        self.formulas: set[str] = set()
        """Those of all trials."""
        self._put(0, known)

    def add(self, block: int, trials: Trials) -> None:
        """Add the trials of a finished block: ``size`` or fewer."""
        self._put(self._n_known + block * self._size, trials)

    def _put(self, at: int, trials: Trials) -> None:
        rows = slice(at, at + len(trials))
        for name, column in self._columns.items():
            new = getattr(trials, name)
            if new.dtype.itemsize > column.values.dtype.itemsize:  # for longer formulas
                wider = self._columns[name] = MappedArray.zeros(new.dtype, column.values.shape)
                wider.values[:] = column.values
                column = wider
            column.values[rows] = new
            column.release_memory()
        self._is_done[rows] = True
        self.formulas.update(trials.formulas.tolist())

    def trials(self) -> Trials:
        """Trials of the finished blocks, in order of the blocks; a read-only view."""
        n = int(self._is_done.sum())
        everything = Trials(**{name: column.values for name, column in self._columns.items()})
        if self._is_done[:n].all():
            return everything.take(slice(n))
        return everything.take(np.flatnonzero(self._is_done))


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
