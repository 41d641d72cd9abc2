"""The folder that the page works in: goal files, runs, and the processes that make them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from matlode.app.known_values import KnownValues
from matlode.app.processes import Job, start
from matlode.app.wishes import Wishes, write_command
from matlode.artefacts import write_text
from matlode.errors import InputError
from matlode.jobs.known import Known
from matlode.jobs.models import Models
from matlode.optimisation.goal_file import make_goal
from matlode.run_folder import RunFolder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}")
"""Names of runs: they become names of files and parts of addresses."""


@dataclass
class Workshop:
    """Runs below one folder. Everything in it is also what the command line makes and reads."""

    folder: Path
    known: Known = field(default_factory=Known)
    models: Models = field(default_factory=Models)
    jobs: dict[str, Job] = field(default_factory=dict)
    """Run → the latest command about it that this page started."""

    def __post_init__(self) -> None:
        self.values = KnownValues(self.known)

    def list_runs(self) -> list[str]:
        """Names of the runs, latest first."""
        found = {path.name: path.stat().st_mtime for path in self.folder.glob("*") if path.is_dir()}
        names = [name for name in found if NAME.fullmatch(name) and self.find(name).is_begun]
        return sorted(names, key=found.__getitem__, reverse=True)

    def find(self, name: str) -> RunFolder:
        """The folder of a run; raises InputError if no run can have this name."""
        if not NAME.fullmatch(name):
            raise InputError(
                f'"{name[:80]}" cannot be the name of a run; use letters, digits, "-" and "_".'
            )
        return RunFolder(self.folder / name)

    def suggest_name(self, wishes: Wishes) -> str:
        """A name for a new run, from what it looks for."""
        stem = "-".join(wish.property.replace("_", "-") for wish in wishes.properties)[:50]
        taken = {path.stem for path in self.folder.glob("*")}
        numbers = (f"{stem or 'search'}-{n}" for n in range(1, 10_000))
        return next(name for name in numbers if name not in taken)

    def write_commands(self, name: str) -> str:
        """The command line that the page runs."""
        return write_command(["matlode", *self._search_words(name)])

    def check(self, wishes: Wishes) -> None:
        """Raise GoalError if the wishes are none, or no material can meet them."""
        goal = dict(wishes.to_goal())
        goal.pop("search")
        elements, endpoints = self.known.elements, self.models.endpoints
        make_goal(goal, known_elements=elements, endpoints=endpoints)

    def begin(self, name: str, wishes: Wishes) -> None:
        """Write the goal file and start the search."""
        run = self.find(name)
        if run.path.exists():
            raise InputError(f'there is a run "{name}" already; choose another name.')
        self.check(wishes)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self._goal_path(name), wishes.to_toml())
        self._start(name, self._search_words(name))

    def resume(self, name: str) -> None:
        """Continue a search that was stopped, also one that had not begun to write."""
        run = self.find(name)
        begun = ["resume", str(run.path)]
        self._start(name, begun if run.is_begun else self._search_words(name))

    def relax(self, name: str, ranks: Collection[int]) -> None:
        """Relax candidates with two potentials. Those that were relaxed before stay in the report:
        their results are kept."""
        run = self.find(name)
        table = run.read_evidence()
        before = {row.source_file for row in table.structures} if table else set()
        files = {row.rank: Path(row.structure_file).name for row in run.read_candidates()}
        chosen = [rank for rank, file in files.items() if rank in ranks or file in before]
        self._start(name, ["relax", str(run.path), "--only", ",".join(map(str, chosen))])

    def stop_all(self) -> None:
        """Stop everything that this page started, as when it is closed."""
        for job in self.jobs.values():
            job.stop()

    def _start(self, name: str, words: list[str]) -> None:
        running = self.jobs.get(name)
        if running is None or not running.is_running:
            self.jobs[name] = start(words, self.folder / f"{name}.log")

    def _search_words(self, name: str) -> list[str]:
        return ["search", str(self._goal_path(name)), "--out", str(self.folder / name)]

    def _goal_path(self, name: str) -> Path:
        return self.folder / f"{name}.toml"
