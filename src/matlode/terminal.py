"""What a person sees beside the results: bars or lines on stderr, and advice after Ctrl-C."""

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
"""Exit status after Ctrl-C, by the convention of shells: 128 plus the signal's number."""


class Volume(Enum):
    """How much is written to stderr; results and errors are written at any volume."""

    QUIET = "quiet"
    """No progress."""
    NORMAL = "normal"
    """Bars on a terminal; elsewhere, such as in the log of a cluster, a line every 30 s."""
    VERBOSE = "verbose"
    """Lines with times everywhere, and where an error comes from."""


volume: ContextVar[Volume] = ContextVar("volume", default=Volume.NORMAL)


@contextmanager
def show_progress(advise: Callable[[], str]) -> Iterator[Progress]:
    """Show the progress of a command at the current ``volume``.

    Ctrl-C inside prints what ``advise`` returns, how to continue the work, and ends the process
    with status 130.
    """
    try:
        with _show() as report:
            yield report
    except KeyboardInterrupt:
        print(f"Interrupted. {advise()}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None


@contextmanager
def _show() -> Iterator[Progress]:
    current = volume.get()
    if current is Volume.QUIET:
        yield silent
    elif current is Volume.NORMAL and sys.stderr.isatty():
        with _show_bars() as report:
            yield report
    else:
        lines = Lines(2.0 if current is Volume.VERBOSE else 30.0)
        yield lines
        lines.close()


@contextmanager
def _show_bars() -> Iterator[Progress]:
    """Draw one bar per stage."""
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
    # what is printed meanwhile belongs to stdout, which may not be the terminal
    console = Console(stderr=True)
    with Bars(*columns, console=console, redirect_stdout=stdout_is_terminal()) as bars:
        tasks = {}

        def report(stage: str, done: float, total: float, note: str = "") -> None:
            known = total if math.isfinite(total) else None
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=known, note=note)
            elif done < bars.tasks[tasks[stage]].completed:  # the stage is repeated
                bars.reset(tasks[stage], total=known)
            bars.update(tasks[stage], completed=done, total=known, note=note)

        yield report


def stdout_is_terminal() -> bool:
    """Whether stdout is a terminal; a closed one is not."""
    return sys.stdout is not None and sys.stdout.isatty()


class Lines:
    """Progress as lines: one when a stage ends, and others at least ``interval_s`` apart."""

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
        self._written_at = -math.inf
        self._stage, self._ended = "", False
        self._began = self._start
        self._line = ""
        """The line of the last call, if it has not been written."""

    def __call__(self, stage: str, done: float, total: float, note: str = "") -> None:
        """See Progress."""
        now = self._clock()
        if stage != self._stage:
            self.close()
            # a stage that is reported only at its end began with the last report before
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
        if done >= total or now - self._written_at >= self._interval_s:
            self.close()

    def close(self) -> None:
        """Write the line of the last call, if it has not been written."""
        if self._line:
            self._write(self._line)
            self._line, self._written_at = "", self._last


def _duration(seconds: float) -> str:
    """
    >>> _duration(3.21), _duration(75), _duration(8000)
    ('3.2 s', '1 min 15 s', '2 h 13 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
