"""Parse many crystals in several processes; an item that fails does not affect the others."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from matlode.data.batches import split_range
from matlode.data.crystals import Crystals
from matlode.data.structures import NOTES
from matlode.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

ItemT = TypeVar("ItemT")

BATCH = 32
"""Crystals per task of a process: enough to keep the overhead small and the load balanced."""
PARALLEL_FROM = 1024
"""Number of items from which starting processes (about 3 s) pays off."""
TIME_LIMIT_S = 60.0
"""Time limit for one crystal; the largest real files take a few seconds."""


@dataclass(frozen=True)
class Parsed:
    """The result of parsing a batch of items."""

    crystals: Crystals
    """Crystals of the items that could be parsed, in order."""
    reasons: tuple[str | None, ...]
    """For each item None, or the reason why it could not be parsed."""
    notes: tuple[str, ...] = ()
    """For each item that could be parsed, what was assumed; empty if nothing was."""


def parse_all(
    parse: Callable[[ItemT], Structure], items: Sequence[ItemT], *, n_jobs: int | None = None
) -> Parsed:
    """Apply ``parse`` to each item, in order; the message of an InputError becomes the reason.

    Uses ``n_jobs`` processes (all cores if None) if there are many items. An item that takes too
    long or terminates its process fails with a corresponding reason.
    """
    n_jobs = n_jobs or os.cpu_count() or 1
    batches = [items[rows] for rows in split_range(len(items), BATCH)]
    if n_jobs == 1 or len(items) < PARALLEL_FROM:
        return _join([_parse_batch(parse, batch) for batch in batches])
    return _join(list(_parse_in_processes(parse, batches, n_jobs)))


def _parse_in_processes(
    parse: Callable[[ItemT], Structure], batches: Sequence[Sequence[ItemT]], n_jobs: int
) -> Iterator[Parsed]:
    done = 0
    try:
        for parsed in _run(parse, batches, n_jobs):
            done += 1
            yield parsed
    except BrokenProcessPool:
        # an item terminated its process: parse the remaining batches one by one to find it
        for batch in batches[done:]:
            yield from _parse_survivors(parse, batch)


def _parse_survivors(
    parse: Callable[[ItemT], Structure], batch: Sequence[ItemT]
) -> Iterator[Parsed]:
    try:
        # two workers, since joblib would run a single one in this process
        yield from list(_run(parse, [batch], 2))
    except BrokenProcessPool:
        if len(batch) == 1:
            yield Parsed(Crystals.from_structures([]), ("crashed the program that reads it",))
            return
        half = len(batch) // 2
        yield from _parse_survivors(parse, batch[:half])
        yield from _parse_survivors(parse, batch[half:])


def _run(
    parse: Callable[[ItemT], Structure], batches: Sequence[Sequence[ItemT]], n_jobs: int
) -> Iterator[Parsed]:
    from joblib import Parallel, delayed

    work = Parallel(n_jobs=n_jobs, backend="loky", return_as="generator")
    yield from work(delayed(_parse_batch)(parse, batch) for batch in batches)


def _parse_batch(parse: Callable[[ItemT], Structure], batch: Sequence[ItemT]) -> Parsed:
    structures: list[Structure] = []
    reasons: list[str | None] = []
    notes: list[str] = []
    for item in batch:
        try:
            with _time_limit(TIME_LIMIT_S):
                structures.append(parse(item))
            reasons.append(None)
            notes.append("; ".join(structures[-1].properties.get(NOTES, ())))
        except InputError as error:
            reasons.append(str(error))
    return Parsed(Crystals.from_structures(structures), tuple(reasons), tuple(notes))


def _join(parts: Sequence[Parsed]) -> Parsed:
    if not parts:
        return Parsed(Crystals.from_structures([]), ())
    return Parsed(
        Crystals.concatenate([part.crystals for part in parts]),
        tuple(reason for part in parts for reason in part.reasons),
        tuple(note for part in parts for note in part.notes),
    )


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise InputError in the block after ``seconds``, on systems with alarm signals."""
    if not hasattr(signal, "setitimer") or (
        threading.current_thread() is not threading.main_thread()
    ):
        yield
        return

    def stop(*_: object) -> None:
        raise InputError(f"took longer than {seconds:g} s to read")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
