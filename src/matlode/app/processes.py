"""Commands of matlode in processes of their own, so that the page never waits for them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Job:
    """A command that was started."""

    words: tuple[str, ...]
    """Without the program's name."""
    log: Path
    """Where its progress and its errors are written."""
    process: subprocess.Popen[bytes]

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    @property
    def has_failed(self) -> bool:
        """Whether it ended with an error, or was stopped."""
        return self.process.poll() not in (None, 0)

    def read_last_line(self) -> str:
        """The latest progress, or the error; empty if nothing was written yet."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def stop(self) -> None:
        """Stop as Ctrl-C does: what is done so far is kept."""
        if self.is_running and sys.platform == "win32":
            self.process.terminate()
        elif self.is_running:
            self.process.send_signal(signal.SIGINT)


def start(words: Sequence[str], log: Path) -> Job:
    """Start a command; its progress goes to ``log``, a line every two seconds."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        process = subprocess.Popen(
            _make_command(["--verbose", *words]),
            stdout=subprocess.DEVNULL,
            stderr=stream,
            # what a shell starts in the background ignores Ctrl-C, and so would its children
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
    return Job(tuple(words), log, process)


def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with its outputs as texts."""
    return subprocess.run(_make_command(["--quiet", *words]), capture_output=True, text=True)


def _make_command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "matlode.cli", *words]
