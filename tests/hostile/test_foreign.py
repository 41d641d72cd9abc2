"""What comes from others runs no code, writes nothing elsewhere, and keeps secrets secret."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import matlode
from matlode.artefacts import inside
from matlode.errors import InputError, MatlodeError
from matlode.jobs.search import search
from matlode.report.html import write_report
from tests.conftest import SMALL_SEARCH

SOURCES = sorted(Path(matlode.__file__).parent.rglob("*.py"))
SCRIPT = "<script>alert(1)</script>"
FORBIDDEN = {
    "eval", "exec", "compile", "pickle.load", "pickle.loads", "torch.load", "joblib.load",
    "os.system", "marshal.loads", "dill.load", "yaml.load", "subprocess.run", "subprocess.Popen",
    "shelve.open", "archive.extractall", "archive.extract",
}  # fmt: skip
OWN_COMMANDS = {
    "prediction": {"subprocess.run"},
    "processes": {"subprocess.run", "subprocess.Popen"},
}
"""They start matlode's own command line, without a shell: to time it, and for the local page."""


def calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_nothing_that_is_read_can_run(path):
    assert calls(path) & FORBIDDEN <= OWN_COMMANDS.get(path.stem, set())
    assert "allow_pickle=True" not in path.read_text(encoding="utf-8")


def test_names_are_escaped_in_the_report(hard_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(hard_run.folder, folder)
    rows = json.loads((folder / "candidates.json").read_text())
    for name in ("formula", "nearest_known", "reasons", "novelty", "crystal_system"):
        rows[0][name] = SCRIPT
    (folder / "candidates.json").write_text(json.dumps(rows))
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["goal"]["words"] = SCRIPT
    (folder / "provenance.json").write_text(json.dumps(provenance))
    (folder / rows[0]["structure_file"]).write_text(f"# {SCRIPT}")
    page = write_report(folder).read_text(encoding="utf-8")
    assert SCRIPT not in page
    assert "</script>alert" not in page


@pytest.mark.parametrize("name", ["../secret.cif", "/etc/passwd", "structures/../../secret.cif"])
def test_a_run_names_no_file_outside_of_itself(hard_run, tmp_path, name):
    folder = tmp_path / "run"
    shutil.copytree(hard_run.folder, folder)
    (tmp_path / "secret.cif").write_text("secret")
    rows = json.loads((folder / "candidates.json").read_text())
    next(row for row in rows if row["rank"])["structure_file"] = name
    (folder / "candidates.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match="outside the folder"):
        write_report(folder)
    with pytest.raises(InputError, match="outside the folder"):
        inside(folder, name)


@pytest.mark.parametrize(
    "goal",
    [
        {"search": {"out": "../elsewhere"}},
        {"search": {"storage": "sqlite:///elsewhere.db"}},
        {"out": "../elsewhere"},
        {"search": {"campaign": "../../x"}},
        {"prefer": {"like": "../../../etc/passwd"}},
        {"prefer": {"like_pattern": "/dev/zero"}},
        {"formula": {"exact": "../x"}},
    ],
)
def test_goals_write_nowhere(tmp_path, goal):
    (tmp_path / "inside").mkdir()
    with pytest.raises(MatlodeError):
        search(
            goal={"maximize": ["bulk_modulus"], **goal},
            out=tmp_path / "inside" / "run",
            settings=SMALL_SEARCH,
        )
    assert [p.name for p in tmp_path.iterdir()] == ["inside"]


def test_keys_are_neither_stored_nor_printed(tmp_path, monkeypatch, capsys):
    from matlode.data.readers import databases

    secret = "s3cr3tk3ys3cr3tk3ys3cr3tk3ys3cr3t"
    monkeypatch.setenv("MP_API_KEY", secret)

    class Refuses:
        def __init__(self, *arguments, **more):
            raise ValueError(f"invalid key {secret}")

    monkeypatch.setattr(
        databases, "_import_client", lambda *names: SimpleNamespace(MPRester=Refuses)
    )
    from matlode.jobs.import_data import import_data

    with pytest.raises(MatlodeError) as told:
        import_data(["mp:Ti-O"], tmp_path / "out")
    assert secret not in str(told.value)
    out = capsys.readouterr()
    assert secret not in out.out + out.err
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
