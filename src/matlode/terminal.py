"""What a person sees beside the results: bars or lines on stderr, and how to go on after Ctrl-C."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum

from matlode.progress import Progress, silent

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 and the signal's number, as shells have it."""


class Volume(Enum):
    """How much is told on stderr; results and errors are told at any."""

    QUIET = "quiet"
    """No progress."""
    NORMAL = "normal"
    """Bars on a terminal; elsewhere, such as in the log of a cluster, a line now and then."""
    VERBOSE = "verbose"
    """Lines with times everywhere, and where an error comes from."""


volume: ContextVar[Volume] = ContextVar("volume", default=Volume.NORMAL)


@contextmanager
def shown_progress(going_on: Callable[[], str]) -> Iterator[Progress]:
    """Progress of a command, as loud as ``volume`` says.

    Ctrl-C inside tells what ``going_on`` answers, how the work is taken up again, and ends the
    process with status 130.
    """
    try:
        with _drawn() as tell:
            yield tell
    except KeyboardInterrupt:
        print(f"Interrupted. {going_on()}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def _drawn() -> Iterator[Progress]:
    loud = volume.get()
    if loud is Volume.QUIET:
        yield silent
    elif loud is Volume.NORMAL and sys.stderr.isatty():
        with _bars() as tell:
            yield tell
    else:
        lines = Lines(2.0 if loud is Volume.VERBOSE else 30.0)
        yield lines
        lines.close()


@contextmanager
def _bars() -> Iterator[Progress]:
    """One per stage."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:28s}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    # what is printed in between belongs to stdout, wherever that leads
    console = Console(stderr=True)
    with Bars(*columns, console=console, redirect_stdout=stdout_is_terminal()) as bars:
        tasks = {}

        def tell(stage: str, done: float, total: float, note: str = "") -> None:
            known = total if math.isfinite(total) else None
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=known, note=note)
            elif done < bars.tasks[tasks[stage]].completed:  # the stage comes again
                bars.reset(tasks[stage], total=known)
            bars.update(tasks[stage], completed=done, total=known, note=note)

        yield tell


def stdout_is_terminal() -> bool:
    """Whether a person sees what is printed; closed, it is nobody's."""
    return sys.stdout is not None and sys.stdout.isatty()


class Lines:
    """Progress as lines: at once, when a stage ends, and in between not oftener than
    ``interval_s``."""

    def __init__(
        self,
        interval_s: float,
        *,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._interval_s = interval_s
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        self._clock = clock
        self._start = self._last = clock()
        self._told = -math.inf
        self._stage, self._ended = "", False
        self._began = self._start
        self._line = ""
        """Of the last call, if it has not been written."""

    def __call__(self, stage: str, done: float, total: float, note: str = "") -> None:
        """See Progress."""
        now = self._clock()
        if stage != self._stage:
            self.close()
            # one that is only told when it is done began when the last word was heard
            self._stage, self._began = stage, self._last if done >= total else now
        elif done >= total and self._ended:
            return
        self._last, self._ended = now, done >= total
        known = math.isfinite(total)
        left = (now - self._began) / done * (total - done) if 0 < done < total and known else None
        times = f"took {_duration(now - self._began)}" if done >= total else ""
        if left is not None:
            times = f"about {_duration(left)} left"
        parts = [f"{done:,.0f} of {total:,.0f}" if known else f"{done:,.0f}", times, note]
        self._line = f"[{now - self._start:7.1f} s] {stage}: " + ", ".join(filter(None, parts))
        if done >= total or now - self._told >= self._interval_s:
            self.close()

    def close(self) -> None:
        """Write what was heard last, if it was not written."""
        if self._line:
            self._write(self._line)
            self._line, self._told = "", self._last


def _duration(seconds: float) -> str:
    """
    >>> _duration(3.21), _duration(75), _duration(8000)
    ('3.2 s', '1 min 15 s', '2 h 13 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
