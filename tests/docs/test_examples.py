"""Examples, docstrings and the README's claims about commands run here."""

import doctest
import importlib
import pkgutil
import re
import runpy
from pathlib import Path

import pytest

import matlode
from matlode.jobs.starts import SearchSettings
from matlode.optimisation.goal_file import make_goal, read_goal_file

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


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_are_true(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_every_make_target_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    used = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text()))
    assert {"search", "test"} <= used
    for target in used:
        assert re.search(rf"^{target}:", makefile, flags=re.M)


def test_public_names_are_there():
    for name in matlode.__all__:
        assert getattr(matlode, name) is not None
