"""SIGKILL at random moments: what goes on afterwards ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.readers import ROOT
from tests.hostile.stages import STAGES

QUICK, MANY = 1, int(os.environ.get("MATLODE_KILLS", "50"))


def killed(stage: str, folder: Path, kills: int, run: Path) -> dict[str, Any]:
    """What ``stages`` tells; in a process of its own, since it forks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.stages", stage, str(folder), str(kills), "0"],
        cwd=ROOT, env={**os.environ, "FINISHED_RUN": str(run)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    print(told)
    return told


# tests/jobs/test_campaigns.py kills a search, tests/paper/test_tune.py a study
@pytest.mark.parametrize("stage", [name for name in STAGES if name not in ("search", "tuning")])
def test_a_kill_costs_nothing(stage, tmp_path, hard_run):
    told = killed(stage, tmp_path, QUICK, hard_run.folder)
    assert told["kills"] >= QUICK
    assert told["wrong"] == []


@pytest.mark.hours
@pytest.mark.parametrize("stage", STAGES)
def test_fifty_kills_cost_nothing(stage, tmp_path, hard_run):
    told = killed(stage, tmp_path, MANY, hard_run.folder)
    assert told["kills"] >= MANY
    assert told["wrong"] == []
