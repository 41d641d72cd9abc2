"""The command line as a user meets it, in this process: a child would import all of it anew."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import os
import sys
from dataclasses import dataclass
from unittest.mock import patch

from typer.testing import CliRunner

from matlode import cli


@dataclass(frozen=True)
class Finished:
    """A command that has ended, named as ``subprocess.CompletedProcess`` names it."""

    returncode: int
    stdout: str
    stderr: str


def matlode(
    *arguments: object, cwd: str | os.PathLike[str] = ".", env: dict[str, str] | None = None
) -> Finished:
    """Run ``matlode`` with these arguments through ``matlode.cli.main``, which turns errors into
    messages and exit statuses.

    What ``main`` would not catch is raised here, with its traceback. stdin is empty, and neither
    stream is a terminal.
    """
    # the loudness of one command must not stay for the next
    return contextvars.copy_context().run(_matlode, list(map(str, arguments)), cwd, env)


def _matlode(
    arguments: list[str], cwd: str | os.PathLike[str], env: dict[str, str] | None
) -> Finished:
    code: str | int | None = 0
    with (
        contextlib.chdir(cwd),
        patch.object(sys, "argv", ["matlode", *arguments]),
        # as the installed script has it, whose name usage and completion tell
        patch.object(sys.modules["__main__"], "__package__", None),
        patch.object(sys, "excepthook", sys.excepthook),
        CliRunner().isolation(env=env) as (out, err, _),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        finally:
            gc.unfreeze()  # main freezes what a process that ends need not collect
        if isinstance(code, str):  # as the interpreter prints it
            print(code, file=sys.stderr)
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        return Finished(code or 0, out.getvalue().decode(), err.getvalue().decode())
