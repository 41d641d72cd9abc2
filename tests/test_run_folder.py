"""What is written into a run folder is read back; damaged files are refused with their name."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matlode.errors import ArtefactError, InputError
from matlode.records import Verdict
from matlode.run_folder import RunFolder, explain_candidate, name_structure_file
from matlode.run_records import (
    CandidateRow,
    Details,
    EvidenceRow,
    EvidenceTable,
    FunnelRow,
    RejectedFormula,
)
from tests.run_rows import CANDIDATE, EVIDENCE, candidate_row, evidence_row

finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture
def folder(hard_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(hard_run.folder, copy)
    return RunFolder(copy)


def test_a_row_keeps_the_columns_and_their_order():
    assert list(candidate_row().to_columns().items()) == list(CANDIDATE.items())
    columns = evidence_row().to_json()
    assert list(columns.items()) == list(EVIDENCE.items())


@given(
    st.dictionaries(st.sampled_from(["band_gap", "density", "my_own"]), finite),
    finite,
    finite,
)
def test_properties_of_the_goal_are_read_from_their_columns(values, low, high):
    own = {}
    for name, value in values.items():
        own |= {name: value, f"{name}_low": low, f"{name}_high": high}
    base = {name: value for name, value in CANDIDATE.items() if "band_gap" not in name}
    row = CandidateRow.from_columns({**base, **own})
    assert {name: row.value(name) for name in values} == values
    assert set(row.properties) == set(values)
    assert CandidateRow.from_columns(row.to_columns()) == row


def test_values_of_the_table_are_found_by_property():
    row = candidate_row()
    assert (row.value("bulk_modulus"), row.interval("bulk_modulus").high) == (1.0, 2.0)
    assert (row.value("formation_energy"), row.interval("formation_energy")) == (-0.5, None)
    assert row.value("density") is None


def test_all_files_of_a_run_are_written_as_they_were_read(folder, tmp_path):
    copy = RunFolder(tmp_path / "copy")
    (copy.path / "structures").mkdir(parents=True)
    rows = folder.read_candidates()
    verdicts = folder.read_verdicts()
    copy.write_candidates(folder.read_rows())
    copy.write_verdicts(rows, [verdicts[row.rank] for row in rows])
    copy.write_funnel(folder.read_funnel())
    copy.write_known(folder.read_known())
    copy.write_details(folder.read_details())
    copy.write_trials(folder.read_trials())
    copy.write_map(folder.read_map())
    copy.write_request(folder.read_request())
    copy.write_provenance(folder.read_provenance().content)
    names = (
        "candidates.csv", "candidates.json", "verdicts.csv", "funnel.json", "known.json",
        "details.json", "trials.csv", "map.csv", "request.json", "provenance.json",
    )  # fmt: skip
    for name in names:
        assert (copy.path / name).read_bytes() == (folder.path / name).read_bytes(), name
    patterns = folder.read_patterns()
    copy.write_patterns(rows, patterns)
    with np.load(copy.path / "patterns.npz") as new, np.load(folder.path / "patterns.npz") as old:
        assert list(new) == list(old)
        for name in old:
            np.testing.assert_array_equal(new[name], old[name])


def test_rows_agree_with_the_table(hard_run):
    rows = RunFolder(hard_run.folder).read_candidates()
    assert [row.formula for row in rows] == hard_run.candidates["formula"].tolist()
    for row in rows:
        assert row.structure_file == name_structure_file(row.rank, row.formula)
    known = [row for row in RunFolder(hard_run.folder).read_rows() if row.is_known]
    assert [row.rank for row in known] == [0] * len(known)
    assert len({row.structure_file for row in known}) == len(known)


def test_the_explanation_says_what_the_text_says(hard_run):
    folder = RunFolder(hard_run.folder)
    words = {"passed": "ok", "failed": "NO", "noted": "note"}
    for row in folder.read_candidates():
        found = folder.explain(row)
        parts = [f"note {missed}" for missed in found.missed]
        parts += [
            f"{words[v.outcome]} {v.verdict.rule}: {v.verdict.reason}" for v in found.verdicts
        ]
        assert " | ".join([*parts, found.story]) == row.reasons


def test_without_records_there_is_no_story(hard_run):
    folder = RunFolder(hard_run.folder)
    details = {found.rank: found for found in folder.read_details().candidates}
    for row in folder.read_candidates():
        older = replace(details[row.rank], missed=None, story=None)
        found = explain_candidate(row, (), (), older)
        assert (found.missed, found.story) == (None, "")
        assert explain_candidate(row, (), (), None).story == ""


def test_an_unknown_rule_counts_as_required_and_an_informational_one_as_noted():
    verdicts = [Verdict("a", False, 1, 0, ""), Verdict("b", False, 1, 0, "")]
    funnel = [FunnelRow("a", False, 2, 1, (RejectedFormula("X", "y"),))]
    found = explain_candidate(candidate_row(), verdicts, funnel, None)
    assert [verdict.outcome for verdict in found.verdicts] == ["noted", "failed"]


def test_numbers_of_verdicts_are_numbers_and_formulas_text(tmp_path):
    folder = RunFolder(tmp_path)
    verdicts = (Verdict("a", True, 0.25, "NaN", "x, y"), Verdict("b", False, "InF", 0.5, ""))
    folder.write_verdicts([candidate_row()], [verdicts])
    assert folder.read_verdicts() == {1: verdicts}


def test_evidence_is_read_back_and_its_table_is_flat(tmp_path):
    nothing_computed = {
        name: value
        for name, value in EVIDENCE.items()
        if not name.endswith("_gpa") and name not in ("energy_above_hull_ev", "born_stable")
    }
    rows = (evidence_row(), EvidenceRow.from_columns(nothing_computed))
    table = EvidenceTable(primary_potential="a", second_potential="b", hull="c", structures=rows)
    folder = RunFolder(tmp_path)
    assert folder.read_evidence() is None
    folder.write_evidence(table)
    assert folder.read_evidence() == table
    assert (rows[1].hull, rows[1].mechanics, rows[1].predicted) == (None, None, {})
    assert "known_phases" not in rows[1].to_columns()
    assert set(pd.read_csv(tmp_path / "evidence.csv")) == set(rows[0].to_columns())


def test_evidence_with_the_names_of_before_is_read(tmp_path):
    text = json.dumps(
        {
            "schema": 1, "matlode": "0.1.0", "judge": "a", "witness": "b", "hull": "c",
            "structures": [EVIDENCE],
        }
    )  # fmt: skip
    for now, before in (
        ("second_potential_", "witness_"), ("predicted_", "promised_"),
        ('"primary_potential"', '"judge"'), ('"second_potential"', '"witness"'),
        ('"potentials_agree"', '"sound"'),
    ):  # fmt: skip
        assert now in text
        text = text.replace(now, before)
    (tmp_path / "evidence.json").write_text(text)
    found = RunFolder(tmp_path).read_evidence()
    assert (found.primary_potential, found.second_potential) == ("a", "b")
    assert found.structures == (evidence_row(),)


def test_a_run_of_before_has_no_details_and_no_map(tmp_path):
    assert RunFolder(tmp_path).read_details() == Details()
    assert RunFolder(tmp_path).read_map() is None


def _without_a_column(path):
    pd.read_csv(path).iloc[:, :-2].to_csv(path, index=False)


def _longer_row(path):
    path.write_text(path.read_text() + ",".join("x" * 40) + "\n")


def _text_for_a_number(path):
    rows = json.loads(path.read_text())
    rows[0]["merit"] = "high"
    path.write_text(json.dumps(rows))


@pytest.mark.parametrize(
    ("name", "damage", "read", "error"),
    [
        ("candidates.json", _text_for_a_number, "read_candidates", r"merit"),
        ("candidates.json", lambda path: path.write_text("{}"), "read_candidates", "JSON objects"),
        ("candidates.json", lambda path: path.write_text("[3]"), "read_candidates", "JSON objects"),
        ("candidates.csv", lambda path: path.write_text(""), "read_candidate_table", "damaged"),
        ("details.json", lambda path: path.write_text("[]"), "read_details", "a JSON object"),
        ("provenance.json", lambda path: path.write_text("{}"), "read_provenance", "field `goal`"),
        (
            "request.json",
            lambda path: path.write_text("{}"),
            "read_request",
            "field `schema`",
        ),
        (
            "funnel.json",
            lambda path: path.write_text("[{}]"),
            "read_funnel",
            "field `rule`",
        ),
        ("known.json", lambda path: path.write_text("[{}]"), "read_known", "formula"),
        ("verdicts.csv", _longer_row, "read_verdicts", "more or fewer cells"),
        ("map.csv", _without_a_column, "read_map", "KeyError"),
        ("trials.csv", _longer_row, "read_trials", "more or fewer cells"),
    ],
)
def test_a_damaged_file_is_named(folder, name, damage, read, error):
    damage(folder.path / name)
    with pytest.raises(InputError, match=error) as told:
        getattr(folder, read)()
    assert name in str(told.value)


def test_damaged_patterns_are_refused(folder):
    (folder.path / "patterns.npz").write_bytes(b"PK")
    with pytest.raises(ArtefactError, match=r"patterns\.npz is damaged"):
        folder.read_patterns()


def test_a_file_that_is_missing_is_told_with_what_to_do(folder, tmp_path):
    (folder.path / "candidates.json").unlink()
    with pytest.raises(InputError, match=r"no candidates\.json\. `matlode resume .* continues"):
        folder.read_candidates()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"not a finished run.*`matlode search` makes one"):
        RunFolder(tmp_path / "empty").read_patterns()
    with pytest.raises(InputError, match=r'no such run\. Did you mean "run"'):
        RunFolder(tmp_path / "rnu").read_funnel()


@pytest.mark.parametrize("name", ["../secret.cif", "/etc/passwd"])
def test_no_row_names_a_file_outside_of_the_folder(tmp_path, name):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="outside the folder"):
        folder.find_structure(candidate_row(structure_file=name))
    with pytest.raises(InputError, match="outside the folder"):
        folder.find_relaxed(evidence_row(relaxed_file=name))
