"""Progress reports of long computations: shown by the command line, silent by default."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Callback that is called as a computation advances."""

    def __call__(self, stage: str, done: float, total: float, note: str = "") -> None:
        """Report that ``done`` of ``total`` steps of ``stage`` are finished.

        ``total`` is infinite if unknown; ``note`` is a text to be shown.
        """


def silent(stage: str, done: float, total: float, note: str = "") -> None:
    """Report nothing."""
