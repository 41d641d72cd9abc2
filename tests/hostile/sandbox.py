"""Hostile cases in child processes, so that a hang, a crash or greed is told and costs nothing."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hostile.readers import ROOT

CPU_LIMIT_S = 5.0
"""What a file may take beyond what the sound sample takes: a whole report, for a run folder."""
WALL_LIMIT_S = 120.0
"""Waited for on a machine that does other things, too."""
MEMORY_LIMIT_MB = 1024
START_LIMIT_S = 240.0
"""Imports, and kernels that are compiled at their first use."""


@dataclass(frozen=True)
class Outcome:
    """What came of one case."""

    reader: str
    seed: int
    sample: str
    kind: str
    """read, refused; or wrong, traceback, memory, slow, hang, crash."""
    text: str

    @property
    def is_bad(self) -> bool:
        """Whether a promise was broken."""
        return self.kind not in ("read", "refused")

    def __str__(self) -> str:
        return f"{self.reader} seed {self.seed} ({self.sample}): {self.kind}\n{self.text}"


class Sandbox:
    """A child process that reads hostile files; a new one when it is lost."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._warm: str | None = None
        self._sound_s = 0.0

    def outcomes(self, reader: str, samples: Path, seeds: Iterable[int]) -> Iterator[Outcome]:
        """What comes of each seed's case."""
        for seed in seeds:
            if self._child is None or self._warm != reader:
                self._start(reader, samples)
            answer = self._ask(reader, samples, seed, WALL_LIMIT_S)
            if isinstance(answer, str):
                yield Outcome(reader, seed, "", answer, "")
                continue
            kind, text = answer["kind"], answer["text"]
            if kind in ("read", "refused") and answer["cpu_s"] > self._sound_s + CPU_LIMIT_S:
                kind, text = "slow", f"{text}\n{answer['cpu_s']:.1f} s"
            yield Outcome(reader, seed, answer["sample"], kind, text)

    def _start(self, reader: str, samples: Path) -> None:
        """A child that has read a sound sample."""
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.hostile.worker", str(MEMORY_LIMIT_MB)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                text=True, cwd=ROOT, env={**os.environ, "MALLOC_ARENA_MAX": "2"},
            )  # fmt: skip
        answer = self._ask(reader, samples, -1, START_LIMIT_S)
        assert isinstance(answer, dict), f"{reader}: the sound sample gives a {answer}"
        assert answer["kind"] == "read", f"{reader}, {answer['sample']}: {answer['text']}"
        self._warm, self._sound_s = reader, answer["cpu_s"]

    def _ask(self, reader: str, samples: Path, seed: int, limit_s: float) -> dict[str, Any] | str:
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps([reader, str(samples), seed]) + "\n")
        child.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            ready = selector.select(limit_s)
        line = child.stdout.readline() if ready else ""
        if line:
            return dict(json.loads(line))
        self.close()
        return "crash" if ready else "hang"

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
