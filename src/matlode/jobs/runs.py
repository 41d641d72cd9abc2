"""A search on disk as Python sees it: its candidates, their crystals, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from html import escape
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import pandas as pd

from matlode.artefacts import convert_read_errors
from matlode.data.formulas import canonicalise_formula
from matlode.data.structures import read_structure
from matlode.errors import InputError
from matlode.exchange.formats import export
from matlode.notebook import html_table
from matlode.records import Prediction, tabulate_predictions
from matlode.run_folder import RunFolder
from matlode.run_records import CandidateDetails, CandidateRow, EvidenceRow, Explanation

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

N_IN_NOTEBOOK = 25
"""Number of candidates that a notebook shows."""
OUTCOMES = {"passed": "ok", "failed": "NO", "noted": "note"}
"""Outcome of a rule → how it is printed."""


@dataclass(frozen=True, repr=False)
class Run:
    """A finished search.

    >>> run = Run.load("runs/hard")
    >>> len(run)
    20
    >>> list(run.candidates.columns[:4])
    ['rank', 'formula', 'chemical_system', 'space_group']
    >>> best = run[1]
    >>> best == run[best.formula] and best.structure().reduced_formula == best.formula
    True
    """

    folder: Path

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Open the run folder of a finished search.

        Raises InputError if it is not one.

        >>> Run.load("runs/hart")
        Traceback (most recent call last):
        matlode.errors.InputError: runs/hart: no such run. Did you mean "hard"?
        """
        RunFolder(Path(folder)).read_provenance()
        return cls(Path(folder))

    @cached_property
    def candidates(self) -> pd.DataFrame:
        """The candidates in candidates.csv, without the known materials above them."""
        return self._files.read_candidate_table()

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """provenance.json: goal, settings, versions, checksums, seconds."""
        return self._files.read_provenance().content

    @property
    def evidence(self) -> pd.DataFrame:
        """What two potentials computed, one row per structure; empty before `matlode relax`."""
        found = self._files.read_evidence()
        rows = () if found is None else found.structures
        return pd.DataFrame([row.to_columns() for row in rows])

    def structures(self) -> list[Structure]:
        """The crystals of the candidates as they were built, best first."""
        return [candidate.structure() for candidate in self]

    def atoms(self) -> list[Atoms]:
        """The crystals of the candidates as ASE Atoms, best first.

        ``atoms.info`` has the formula, rank and space group.
        """
        return [candidate.atoms() for candidate in self]

    def report(self) -> Path:
        """Write report.html and return its path."""
        from matlode.report.html import write_report

        return write_report(self.folder)

    def export(self, to: str, out: str | Path, *, top: int | None = None) -> Path:
        """Write the candidates in a format of other programs; see ``export``."""
        return export(self.folder, to, out, top=top)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[RunCandidate]:
        return (RunCandidate(self, row) for row in self._rows)

    def __getitem__(self, which: int | str) -> RunCandidate:
        """The candidate with a rank (from 1) or a formula; raises InputError if there is none."""
        rows = self._rows
        if isinstance(which, str) and not which.isdecimal():
            formula = canonicalise_formula(which)
            found = [row for row in rows if canonicalise_formula(row.formula) == formula]
        else:
            found = [row for row in rows if row.rank == int(which)]
        if found:
            return RunCandidate(self, found[0])
        near = get_close_matches(str(which), [row.formula for row in rows], n=3, cutoff=0.4)
        advice = f" Similar: {', '.join(near)}." if near else f" Ranks are 1 to {len(rows)}."
        raise InputError(
            f"{which} is not among the {len(rows)} candidates of {self.folder}.{advice}"
        )

    def __repr__(self) -> str:
        goal = shorten(self._goal["words"], 80, placeholder=" ...")
        return f"Run({str(self.folder)!r}: {len(self)} candidates; {goal})"

    def _repr_html_(self) -> str:
        """For notebooks: the goal and the first candidates."""
        columns = ["rank", "formula", *self._goal["shown"], "space_group", "novelty", "verdict"]
        return (
            f"<p>{escape(self._goal['words'])}: {len(self)} candidates in "
            f"{escape(str(self.folder))}, with details in report.html.</p>"
            + html_table(
                [name.replace("_", " ") for name in columns],
                [[_cell(row, name) for name in columns]
                 for _, row in self.candidates.head(N_IN_NOTEBOOK).iterrows()],
            )
        )  # fmt: skip

    @property
    def _files(self) -> RunFolder:
        return RunFolder(self.folder)

    @property
    def _goal(self) -> Mapping[str, Any]:
        goal: Mapping[str, Any] = self.provenance["goal"]
        return goal

    @cached_property
    def _rows(self) -> list[CandidateRow]:
        return self._files.read_candidates()

    @cached_property
    def _details(self) -> dict[int, CandidateDetails]:
        return {found.rank: found for found in self._files.read_details().candidates}


def _cell(row: pd.Series, name: str) -> str:
    """Format a value of the table, with its interval if there is one."""
    if f"{name}_low" in row:
        return Prediction(row[name], row[f"{name}_low"], row[f"{name}_high"], "").in_words()
    return str(row[name])


@dataclass(frozen=True, repr=False)
class RunCandidate:
    """A candidate of a search, with its crystal.

    >>> best = Run.load("runs/hard")[1]
    >>> sorted(best.predictions)[:2]
    ['band_gap', 'bulk_modulus']
    >>> len(best.atoms()) == len(best.structure())
    True
    """

    run: Run
    row: CandidateRow
    """What the table of candidates has of it."""

    @property
    def rank(self) -> int:
        """From 1, best first."""
        return self.row.rank

    @property
    def formula(self) -> str:
        """Reduced, cations first."""
        return self.row.formula

    @property
    def predictions(self) -> Mapping[str, Prediction]:
        """Property → prediction with its 90 % interval; empty for runs without details."""
        details = self.run._details.get(self.rank)
        return {} if details is None else details.predictions

    @property
    def explanation(self) -> Explanation:
        """Why it has its rank: verdicts, ranges of the goal that it misses, origin."""
        return RunFolder(self.run.folder).explain(self.row)

    @property
    def evidence(self) -> EvidenceRow | None:
        """What two potentials computed; None if they did not examine it."""
        found = RunFolder(self.run.folder).read_evidence()
        rows = () if found is None else found.structures
        name = Path(self.row.structure_file).name
        return next((row for row in rows if row.source_file == name), None)

    def structure(self) -> Structure:
        """The crystal as it was built.

        Raises InputError if its file is missing or damaged.
        """
        path = RunFolder(self.run.folder).find_structure(self.row)
        if path is None:
            raise InputError(f"{self.run.folder} has no {self.row.structure_file}.")
        return read_structure(path)

    def relaxed_structure(self) -> Structure | None:
        """The crystal as the primary potential relaxed it; None if it did not."""
        evidence = self.evidence
        path = evidence and RunFolder(self.run.folder).find_relaxed(evidence)
        return read_structure(path) if path else None

    def atoms(self) -> Atoms:
        """The crystal as ASE Atoms, with formula, rank and space group in ``info``."""
        from pymatgen.io.ase import AseAtomsAdaptor

        atoms: Atoms = AseAtomsAdaptor.get_atoms(self.structure(), msonable=False)
        atoms.info |= {
            "formula": self.formula, "rank": self.rank, "space_group": self.row.space_group,
        }  # fmt: skip
        return atoms

    def __repr__(self) -> str:
        row = self.row
        return (
            f"RunCandidate({row.rank}. {row.formula}, {row.crystal_system} {row.space_group}, "
            f"{row.novelty}, {row.verdict})"
        )

    def _repr_html_(self) -> str:
        """For notebooks: all predictions."""
        return f"<p>{escape(repr(self))}</p>{tabulate_predictions(self.predictions)}"


def explain(run: Run | str | Path, which: int | str) -> str:
    """Explain the rank of a candidate, given by its rank or formula: verdicts and reasons.

    Raises InputError if the folder is not a finished run, or has no such candidate.

    >>> print(explain("runs/hard", 1).splitlines()[0])  # doctest: +ELLIPSIS
    1. ...: accepted, ...
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    with convert_read_errors(run.folder, InputError):
        candidate = run[which]
        row, found = candidate.row, candidate.explanation
    lines = [f"{row.rank}. {row.formula}: {row.verdict}, {row.novelty}"]
    lines += [f"  note {missed}" for missed in found.missed or ()]
    if found.missed is None and not row.in_ranges:  # a run without records of it
        lines.append("  note outside the ranges of the goal")
    lines += [
        f"  {OUTCOMES[of_rule.outcome]} {of_rule.verdict.rule}: {of_rule.verdict.reason}"
        for of_rule in found.verdicts
    ]
    lines += [f"  {found.story}"]
    lines += [f"  nearest known: {row.nearest_known}; file: {row.structure_file}"]
    return "\n".join(lines)
