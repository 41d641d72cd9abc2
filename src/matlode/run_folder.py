"""The folder of a search: the names of its files, and a reader and a writer for each of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from matlode.artefacts import (
    convert_read_errors,
    inside,
    read_arrays,
    read_json,
    write_atomically,
    write_json,
    write_text,
)
from matlode.errors import InputError, suggest
from matlode.records import Cell, Verdict
from matlode.run_records import (
    CandidateDetails,
    CandidateRow,
    Details,
    EvidenceRow,
    EvidenceTable,
    Explanation,
    FunnelRow,
    KnownRow,
    MapTable,
    PatternTable,
    Provenance,
    RoundsRequest,
    RuleVerdict,
    SavedRequest,
    TrialTable,
)
from matlode.version import __version__

if TYPE_CHECKING:
    import pandas as pd

REQUEST_FILE: Final = "request.json"
"""Written first: all that decides how the search goes."""
ROUNDS_FILE: Final = "rounds.json"
"""Of a folder of searches, one per round."""
CAMPAIGN_FILE: Final = "campaign.db"
"""Batches of the search, unless they are in a database elsewhere."""
CANDIDATES_FILE: Final = "candidates.json"
CANDIDATES_SCHEMA: Final = 1
"""Version of candidates.json (docs/candidates.schema.json); it changes when a column changes its
meaning or goes."""
CANDIDATES_TABLE: Final = "candidates.csv"
VERDICTS_FILE: Final = "verdicts.csv"
DETAILS_FILE: Final = "details.json"
FUNNEL_FILE: Final = "funnel.json"
KNOWN_FILE: Final = "known.json"
MAP_FILE: Final = "map.csv"
TRIALS_FILE: Final = "trials.csv"
PATTERNS_FILE: Final = "patterns.npz"
PROVENANCE_FILE: Final = "provenance.json"
"""The last of the results."""
REPORT_FILE: Final = "report.html"
EVIDENCE_FILE: Final = "evidence.json"
EVIDENCE_SCHEMA: Final = 2
"""Version of evidence.json; files of version 1, with other names, are read."""
EVIDENCE_TABLE: Final = "evidence.csv"
STRUCTURES_FOLDER: Final = "structures"
RELAXED_FOLDER: Final = "relaxed"


def tabulate_candidates(rows: Sequence[CandidateRow]) -> pd.DataFrame:
    """The table of candidates.csv."""
    return _frame(row.to_columns() for row in rows)


def name_structure_file(rank: int | str, formula: str) -> str:
    """Path of a candidate's CIF in the run folder."""
    place = f"{rank:03d}" if isinstance(rank, int) else rank
    return f"{STRUCTURES_FOLDER}/{place}-{formula}.cif"


def explain_candidate(
    row: CandidateRow,
    verdicts: Sequence[Verdict],
    funnel: Sequence[FunnelRow],
    details: CandidateDetails | None,
) -> Explanation:
    """Why a candidate has its place in the table, from what the run folder holds of it."""
    required = {rule.rule: rule.required for rule in funnel}
    return Explanation(
        None if details is None else details.missed,
        tuple(RuleVerdict(verdict, required.get(verdict.rule, True)) for verdict in verdicts),
        "" if details is None or details.story is None else details.story,
    )


@dataclass(frozen=True)
class RunFolder:
    """The folder of a search, or of the results of ``matlode relax`` alone.

    >>> folder = RunFolder(Path("runs/hard"))
    >>> folder.has_report, len(folder.read_candidates())
    (True, 20)

    Readers raise InputError if their file is damaged, or missing where it must be there
    (``read_patterns`` ArtefactError for damaged arrays); writers raise WriteError if the disk or
    the folder does not allow it.
    """

    path: Path

    # ---- what is there ---------------------------------------------------------------------------

    @property
    def is_begun(self) -> bool:
        """Whether a search was begun here."""
        return (self.path / REQUEST_FILE).exists()

    @property
    def is_in_rounds(self) -> bool:
        """Whether it holds searches in rounds."""
        return (self.path / ROUNDS_FILE).exists()

    @property
    def has_results(self) -> bool:
        """Whether all results are written; the report may be missing."""
        return (self.path / PROVENANCE_FILE).exists()

    @property
    def has_report(self) -> bool:
        """Whether the report is written, which comes last."""
        return (self.path / REPORT_FILE).exists()

    @property
    def report_path(self) -> Path:
        """Where the report is."""
        return self.path / REPORT_FILE

    @property
    def campaign_path(self) -> Path:
        """Where the batches of the search are."""
        return self.path / CAMPAIGN_FILE

    def find_structure(self, row: CandidateRow) -> Path | None:
        """The CIF of a candidate; None if it has none.

        Raises InputError if the table names a file outside of the folder.
        """
        path = inside(self.path, row.structure_file)
        return path if path.is_file() else None

    def find_relaxed(self, row: EvidenceRow) -> Path | None:
        """The relaxed CIF of a structure; None if the file is not there.

        Raises InputError if the table names a file outside of the folder.
        """
        path = inside(self.path, row.relaxed_file)
        return path if path.is_file() else None

    # ---- how the search goes ---------------------------------------------------------------------

    def read_request(self) -> SavedRequest:
        """request.json; also raises InputError if the folder has none."""
        try:
            content = read_json(self.path / REQUEST_FILE)
        except FileNotFoundError as error:
            raise InputError(f"{self.path} is no run folder: it has no {REQUEST_FILE}.") from error
        with convert_read_errors(self.path / REQUEST_FILE, InputError):
            request = msgspec.convert(content, SavedRequest)
            if request.schema != 1:
                raise ValueError(f"found schema {request.schema}, expected 1")
        return request

    def write_request(self, request: SavedRequest) -> None:
        """Write request.json."""
        write_json(self.path / REQUEST_FILE, asdict(request))

    def read_rounds(self) -> RoundsRequest:
        """rounds.json; also raises InputError if the folder has none."""
        try:
            content = read_json(self.path / ROUNDS_FILE)
        except FileNotFoundError as error:
            raise InputError(
                f"{self.path} is no folder of rounds: it has no {ROUNDS_FILE}."
            ) from error
        with convert_read_errors(self.path / ROUNDS_FILE, InputError):
            return msgspec.convert(content, RoundsRequest)

    def write_rounds(self, request: RoundsRequest) -> None:
        """Write rounds.json."""
        write_json(self.path / ROUNDS_FILE, request.to_json())

    def read_provenance(self) -> Provenance:
        """provenance.json."""
        content = self._read_object(PROVENANCE_FILE)
        with convert_read_errors(self.path / PROVENANCE_FILE, InputError):
            return msgspec.convert({**content, "content": content}, Provenance)

    def write_provenance(self, content: Mapping[str, object]) -> None:
        """Write provenance.json, which says that all results are there."""
        write_json(self.path / PROVENANCE_FILE, content)

    # ---- candidates ------------------------------------------------------------------------------

    def read_candidates(self) -> list[CandidateRow]:
        """The candidates in candidates.json, best first."""
        return [row for row in self.read_rows() if not row.is_known]

    def read_rows(self) -> list[CandidateRow]:
        """candidates.json: known materials for comparison, then the candidates, best first."""
        content = self._read_objects(CANDIDATES_FILE)
        with convert_read_errors(self.path / CANDIDATES_FILE, InputError):
            return [CandidateRow.from_columns(row) for row in content]

    def read_candidate_table(self) -> pd.DataFrame:
        """The candidates in candidates.csv, with the types that pandas finds."""
        import pandas as pd

        with convert_read_errors(self.path / CANDIDATES_TABLE, InputError):
            table = pd.read_csv(self.path / CANDIDATES_TABLE, keep_default_na=False)
            return table[table["rank"] > 0].reset_index(drop=True)

    def write_candidates(self, rows: Sequence[CandidateRow]) -> None:
        """Write candidates.csv and candidates.json."""
        table = tabulate_candidates(rows)
        write_text(self.path / CANDIDATES_TABLE, table.to_csv(index=False))
        write_json(self.path / CANDIDATES_FILE, table.to_dict(orient="records"))

    def write_structure(self, row: CandidateRow, cif: str) -> None:
        """Write the CIF of a candidate."""
        write_text(self.path / row.structure_file, cif)

    def read_verdicts(self) -> dict[int, tuple[Verdict, ...]]:
        """verdicts.csv: rank → verdicts, in the order of the rules."""
        found: dict[int, list[Verdict]] = {}
        for row in self._read_rows(VERDICTS_FILE):
            with convert_read_errors(self.path / VERDICTS_FILE, InputError):
                verdict = Verdict(
                    row["rule"],
                    row["passed"] == "True",
                    _parse_number(row["value"]),
                    _parse_number(row["limit"]),
                    row["reason"],
                )
                found.setdefault(int(row["rank"]), []).append(verdict)
        return {rank: tuple(verdicts) for rank, verdicts in found.items()}

    def write_verdicts(
        self, rows: Sequence[CandidateRow], verdicts: Sequence[Sequence[Verdict]]
    ) -> None:
        """Write verdicts.csv; ``verdicts`` are those of each of the ``rows``."""
        table = _frame(
            {"rank": row.rank, "formula": row.formula, **asdict(verdict)}
            for row, of_row in zip(rows, verdicts, strict=True)
            for verdict in of_row
        )
        write_text(self.path / VERDICTS_FILE, table.to_csv(index=False))

    def read_funnel(self) -> list[FunnelRow]:
        """funnel.json, in the order of the rules."""
        content = self._read_objects(FUNNEL_FILE)
        with convert_read_errors(self.path / FUNNEL_FILE, InputError):
            return [FunnelRow.from_json(row) for row in content]

    def write_funnel(self, rows: Sequence[FunnelRow]) -> None:
        """Write funnel.json."""
        write_json(self.path / FUNNEL_FILE, [row.to_json() for row in rows])

    def read_details(self) -> Details:
        """details.json; empty if the run has none."""
        if not (self.path / DETAILS_FILE).exists():
            return Details()
        content = self._read_object(DETAILS_FILE)
        with convert_read_errors(self.path / DETAILS_FILE, InputError):
            return msgspec.convert(content, Details)

    def write_details(self, details: Details) -> None:
        """Write details.json."""
        write_json(self.path / DETAILS_FILE, details.to_json())

    def explain(self, row: CandidateRow) -> Explanation:
        """Why a candidate has its place in the table."""
        details = {found.rank: found for found in self.read_details().candidates}
        verdicts = self.read_verdicts().get(row.rank, ())
        return explain_candidate(row, verdicts, self.read_funnel(), details.get(row.rank))

    # ---- maps and patterns -----------------------------------------------------------------------

    def read_known(self) -> list[KnownRow]:
        """known.json."""
        content = self._read_objects(KNOWN_FILE)
        with convert_read_errors(self.path / KNOWN_FILE, InputError):
            return [KnownRow.from_json(row) for row in content]

    def write_known(self, rows: Sequence[KnownRow]) -> None:
        """Write known.json."""
        write_json(self.path / KNOWN_FILE, [row.to_json() for row in rows])

    def read_trials(self) -> TrialTable:
        """trials.csv."""
        columns = self._read_columns(TRIALS_FILE)
        with convert_read_errors(self.path / TRIALS_FILE, InputError):
            # runs of earlier versions do not tell
            in_ranges = columns.pop("in_ranges", ["True"] * len(columns.pop("trial")))
            return TrialTable(
                np.array(columns.pop("origin"), dtype=str),
                np.array(columns.pop("formula"), dtype=str),
                _parse_floats(columns.pop("merit")),
                np.array(in_ranges) == "True",
                {name: _parse_floats(texts) for name, texts in columns.items()},
            )

    def write_trials(self, trials: TrialTable) -> None:
        """Write trials.csv."""
        import pandas as pd

        table = {
            "trial": np.arange(len(trials.merits)),
            "origin": trials.origins,
            "formula": trials.formulas,
            "merit": trials.merits,
            "in_ranges": trials.in_ranges,
            **trials.values,
        }
        write_text(self.path / TRIALS_FILE, pd.DataFrame(table).to_csv(index=False))

    def read_map(self) -> MapTable | None:
        """map.csv; None if the run has none."""
        if not (self.path / MAP_FILE).exists():
            return None
        columns = self._read_columns(MAP_FILE)
        with convert_read_errors(self.path / MAP_FILE, InputError):
            return MapTable(
                _parse_floats(columns["x"]),
                _parse_floats(columns["y"]),
                np.array(columns["space_group"], dtype=int),
                np.array(columns["rank"], dtype=int),
            )

    def write_map(self, places: MapTable) -> None:
        """Write map.csv."""
        import pandas as pd

        table = {
            "trial": np.arange(len(places.x)),
            "x": places.x,
            "y": places.y,
            "space_group": places.space_groups,
            "rank": places.ranks,
        }
        write_text(self.path / MAP_FILE, pd.DataFrame(table).to_csv(index=False))

    def read_patterns(self) -> PatternTable:
        """patterns.npz."""
        names = ("two_theta_deg", "realised", "decoded")
        try:
            arrays = read_arrays(self.path / PATTERNS_FILE, names)
        except FileNotFoundError as error:
            raise self._missing(PATTERNS_FILE) from error
        return PatternTable(*(arrays[name] for name in names))

    def write_patterns(self, rows: Sequence[CandidateRow], patterns: PatternTable) -> None:
        """Write patterns.npz; ``patterns`` are those of the ``rows``."""
        write_atomically(
            self.path / PATTERNS_FILE,
            lambda stream: np.savez_compressed(
                stream,
                two_theta_deg=patterns.two_theta_deg,
                rank=np.array([row.rank for row in rows], dtype=int),
                formula=np.array([row.formula for row in rows], dtype=str),
                realised=patterns.realised,
                decoded=patterns.decoded,
            ),
        )

    # ---- evidence --------------------------------------------------------------------------------

    def read_evidence(self) -> EvidenceTable | None:
        """evidence.json; None if no potential examined the candidates."""
        if not (self.path / EVIDENCE_FILE).exists():
            return None
        content = self._read_object(EVIDENCE_FILE)
        with convert_read_errors(self.path / EVIDENCE_FILE, InputError):
            return EvidenceTable.from_json(content)

    def write_evidence(self, evidence: EvidenceTable) -> None:
        """Write evidence.json and evidence.csv."""
        write_json(
            self.path / EVIDENCE_FILE,
            {"schema": EVIDENCE_SCHEMA, "matlode": __version__, **evidence.to_json()},
        )
        table = _frame(row.to_columns() for row in evidence.structures)
        write_text(self.path / EVIDENCE_TABLE, table.to_csv(index=False))

    def write_relaxed(self, name: str, cif: str) -> str:
        """Write the relaxed CIF of a structure; returns its path in the folder."""
        (self.path / RELAXED_FOLDER).mkdir(parents=True, exist_ok=True)
        file = f"{RELAXED_FOLDER}/{name}.cif"
        write_text(self.path / file, cif)
        return file

    def write_report(self, page: str) -> Path:
        """Write report.html."""
        write_text(self.report_path, page)
        return self.report_path

    # ---- reading ---------------------------------------------------------------------------------

    def _read_object(self, name: str) -> dict[str, object]:
        content = self._read_json(name)
        if not isinstance(content, dict):
            raise InputError(f"{self.path / name} is damaged: it does not hold a JSON object.")
        return content

    def _read_objects(self, name: str) -> list[dict[str, object]]:
        content = self._read_json(name)
        if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
            raise InputError(f"{self.path / name} is damaged: it does not hold JSON objects.")
        return content

    def _read_json(self, name: str) -> object:
        try:
            return read_json(self.path / name)
        except FileNotFoundError as error:
            raise self._missing(name) from error

    def _read_rows(self, name: str) -> list[dict[str, str]]:
        try:
            with (
                (self.path / name).open(encoding="utf-8", newline="") as stream,
                convert_read_errors(self.path / name, InputError),
            ):
                rows = list(csv.DictReader(stream))
                if any(None in row or None in row.values() for row in rows):
                    raise ValueError("a row has more or fewer cells than the heading")
                return rows
        except FileNotFoundError as error:
            raise self._missing(name) from error

    def _read_columns(self, name: str) -> dict[str, list[str]]:
        rows = self._read_rows(name)
        return {column: [row[column] for row in rows] for column in rows[0]} if rows else {}

    def _missing(self, name: str) -> InputError:
        """The error for a file that is not there."""
        if not self.path.exists():
            others = [file.parent.name for file in self.path.parent.glob(f"*/{name}")]
            advice = f" {suggest(self.path.name, others)}" if others else ""
            return InputError(f"{self.path}: no such run.{advice}")
        advice = (
            f"`matlode resume {self.path}` continues the search."
            if self.is_begun
            else "`matlode search` makes one."
        )
        return InputError(f"{self.path} is not a finished run: it has no {name}. {advice}")


def _frame(rows: Iterable[Mapping[str, Cell]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows))


def _parse_number(text: str) -> float | str:
    """A finite number if the text is one ("InF" is a formula)."""
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _parse_floats(texts: Sequence[str]) -> NDArray[np.float64]:
    """Empty cells are NaN."""
    return np.array([float(text) if text else math.nan for text in texts])
