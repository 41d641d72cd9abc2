"""How long work tells where it stands; the command line draws it, libraries stay silent."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as work advances."""

    def __call__(self, stage: str, done: float, total: float, note: str = "") -> None:
        """``done`` of ``total`` steps of ``stage`` are finished, infinity where nobody knows how
        many there are; ``note`` is for people."""


def silent(stage: str, done: float, total: float, note: str = "") -> None:
    """Says nothing."""
