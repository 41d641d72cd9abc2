"""Examples, docstrings and the README's claims about commands run here."""

import ast
import doctest
import importlib
import json
import pkgutil
import re
import runpy
from pathlib import Path

import pytest

import matlode
from matlode.jobs.starts import SearchSettings
from matlode.optimisation.goal_file import make_goal, read_goal_file
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns
from matlode.testing import rock_salt

ROOT = Path(__file__).parents[2]
MODULES = [m.name for m in pkgutil.walk_packages(matlode.__path__, "matlode.")]


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_example_runs(script, capsys):
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    "file", sorted((ROOT / "examples" / "goals").glob("*.toml")), ids=lambda p: p.stem
)
def test_example_goal_can_be_searched_for(file, models, known):
    sections = read_goal_file(file)
    settings = SearchSettings(**sections.get("search", {}))
    goal = make_goal(
        sections,
        known_elements=known.elements,
        endpoints=models.endpoints,
        risk=settings.risk,
    )
    assert goal.objectives or goal.preferences
    assert set(goal.endpoints) <= set(models.endpoints)


@pytest.fixture
def desk(tmp_path, monkeypatch, hard_run):
    """A folder with the files that examples name, as the current one."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "hard").symlink_to(hard_run.folder)
    salt = rock_salt("NaCl", a_angstrom=5.64)
    salt.to(filename=str(tmp_path / "salt.cif"))
    (intensity,) = simulate_patterns([salt])
    points = zip(STANDARD_SETTINGS.two_theta_deg, intensity, strict=True)
    text = "\n".join(f"{angle:.2f} {height:.6f}" for angle, height in points)
    (tmp_path / "salt.xy").write_text(f"# wavelength = {CU_KA}\n{text}\n")
    monkeypatch.chdir(tmp_path)


CU_KA = STANDARD_SETTINGS.wavelength_angstrom


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_are_true(name, desk):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


DEPRECATED = {"Identifier", "Toolbox"}


@pytest.mark.parametrize("name", sorted({*matlode.__all__} - DEPRECATED))
def test_public_names_have_an_example(name):
    assert ">>> " in getattr(matlode, name).__doc__


@pytest.mark.parametrize(
    "notebook", sorted((ROOT / "examples" / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_notebook_runs(notebook, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in json.loads(notebook.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]  # numbers would grow old
            assert show(*run_cell("".join(cell["source"]), names))


def run_cell(source, names):
    """Run the code of a cell; its last line's value, which a notebook shows."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    return last is not None, value


def show(has_value, value):
    """Whether a notebook could show the value, if there is one."""
    html = getattr(value, "_repr_html_", None)
    return not has_value or bool(html() if html else repr(value))


def test_every_make_target_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    used = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text()))
    assert {"search", "test"} <= used
    for target in used:
        assert re.search(rf"^{target}:", makefile, flags=re.M)


def test_public_names_are_there():
    for name in matlode.__all__:
        assert getattr(matlode, name) is not None
