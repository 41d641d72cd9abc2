"""Many crystals parsed at once, in several processes; one that fails costs only itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matlode.data.crystals import Crystals
from matlode.errors import InputError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    Parse = Callable[[Any], Structure]

BATCH = 32
"""Crystals per task of a process: long enough to cost little, short enough to balance."""
PARALLEL_FROM = 1024
"""Items from which starting processes (some 3 s) pays."""
TIME_LIMIT_S = 60.0
"""What one crystal may take; the largest of real files take a few seconds."""


@dataclass(frozen=True)
class Parsed:
    """A batch of items after parsing."""

    crystals: Crystals
    """Of the items that could be read, in order."""
    reasons: tuple[str | None, ...]
    """Per item: None, or why it could not be read."""


def parse_all(parse: Parse, items: Sequence[Any], *, n_jobs: int | None = None) -> Parsed:
    """``parse`` of each item, in order; what it raises as InputError becomes a reason.

    Runs in ``n_jobs`` processes (all cores if None) when there are many items. An item that
    takes too long or kills its process gets that as its reason.
    """
    n_jobs = n_jobs or os.cpu_count() or 1
    batches = [items[at : at + BATCH] for at in range(0, len(items), BATCH)]
    if n_jobs == 1 or len(items) < PARALLEL_FROM:
        return _joined([_parse_batch(parse, batch) for batch in batches])
    return _joined(list(_in_processes(parse, batches, n_jobs)))


def _in_processes(parse: Parse, batches: Sequence[Sequence[Any]], n_jobs: int) -> Iterator[Parsed]:
    done = 0
    try:
        for parsed in _run(parse, batches, n_jobs):
            done += 1
            yield parsed
    except BrokenProcessPool:
        # one item killed its process: from here on batch by batch, to find it
        for batch in batches[done:]:
            yield from _survivors(parse, batch)


def _survivors(parse: Parse, batch: Sequence[Any]) -> Iterator[Parsed]:
    try:
        # two workers: joblib would run a single one in this very process
        yield from list(_run(parse, [batch], 2))
    except BrokenProcessPool:
        if len(batch) == 1:
            yield Parsed(Crystals.from_structures([]), ("crashed the program that reads it",))
            return
        half = len(batch) // 2
        yield from _survivors(parse, batch[:half])
        yield from _survivors(parse, batch[half:])


def _run(parse: Parse, batches: Sequence[Sequence[Any]], n_jobs: int) -> Iterator[Parsed]:
    from joblib import Parallel, delayed

    work = Parallel(n_jobs=n_jobs, backend="loky", return_as="generator")
    yield from work(delayed(_parse_batch)(parse, batch) for batch in batches)


def _parse_batch(parse: Parse, batch: Sequence[Any]) -> Parsed:
    structures: list[Structure] = []
    reasons: list[str | None] = []
    for item in batch:
        try:
            with _time_limit(TIME_LIMIT_S):
                structures.append(parse(item))
            reasons.append(None)
        except InputError as error:
            reasons.append(str(error))
    return Parsed(Crystals.from_structures(structures), tuple(reasons))


def _joined(parts: Sequence[Parsed]) -> Parsed:
    if not parts:
        return Parsed(Crystals.from_structures([]), ())
    return Parsed(
        Crystals.concatenate([part.crystals for part in parts]),
        tuple(reason for part in parts for reason in part.reasons),
    )


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raises InputError in the block when the time is up, where the system has alarms."""
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
