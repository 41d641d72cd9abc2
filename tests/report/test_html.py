import json
import re
import shutil

import pytest

from matlode.errors import InputError
from matlode.report.html import write_report


@pytest.fixture
def folder(hard_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(hard_run.folder, copy)
    return copy


def test_report_is_made_from_the_folder_alone(folder):
    first = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert write_report(folder).read_text() == first


def test_report_opens_without_a_network(folder):
    page = (folder / "report.html").read_text()
    without_scripts = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"""(src|href)=["']https?:""", without_scripts)
    assert len(page) < 8e6


def test_every_candidate_stands_in_the_page(folder):
    page = (folder / "report.html").read_text()
    for row in json.loads((folder / "candidates.json").read_text()):
        assert f"{row['rank']}. {row['formula']} " in page


def test_what_users_write_is_escaped(folder):
    rows = json.loads((folder / "candidates.json").read_text())
    rows[0]["nearest_known"] = "<script>alert(1)</script>"
    (folder / "candidates.json").write_text(json.dumps(rows))
    assert "<script>alert(1)" not in write_report(folder).read_text()


def test_an_unfinished_run_is_told(tmp_path):
    with pytest.raises(InputError, match="not a finished run"):
        write_report(tmp_path)
