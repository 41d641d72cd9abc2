"""The rooms are the pipeline, and imports point left only."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import matlode

PACKAGE = "matlode"
ROOMS = (
    "data",
    "representation",
    "latent",
    "properties",
    "screening",
    "realisation",
    "evidence",
    "optimisation",
    "report",
    "exchange",
    "jobs",
    "app",
    "training",
    "benchmarks",
    "evaluation",
    "paper",
)
"""Left to right, as material flows."""
LABORATORY = ("training", "benchmarks", "evaluation", "paper")
"""Rooms that make and measure the product, which ends with ``app`` and knows nothing of them."""
LARGEST_SHARE = 0.15
"""Of all lines, in one room."""
TESTING_MAY_IMPORT = ("data", "representation")
SOURCE = Path(matlode.__file__).parent


def imported_names(path: Path, root: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, parts of the name below the package) of every import of ours, wherever in the file
    it stands."""
    folders = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = [PACKAGE, *folders]
            base = parents[: len(parents) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *below = name.split(".")
            if first == PACKAGE and below:
                yield node.lineno, below


def wrong_imports(root: Path) -> list[str]:
    """ "file:line: why" of each import that points right."""
    found = []
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        here = place.parts[0].removesuffix(".py")
        for line, (target, *_) in imported_names(path, root):
            why = _objection(here, target)
            if why:
                found.append(f"{place}:{line}: {why}")
    return found


def _objection(here: str, target: str) -> str | None:
    if target == "cli" != here:
        return "nothing imports the command line"
    if target not in ROOMS or here in ("cli", "__init__"):
        return None
    if here == "testing":
        return None if target in TESTING_MAY_IMPORT else f"testing imports the room {target}"
    if here not in ROOMS:
        return f"the root module {here} imports the room {target}"
    if ROOMS.index(target) > ROOMS.index(here):
        return f"{here} imports {target}, which is to its right"
    return None


def find_circle(root: Path) -> list[str]:
    """Modules that import each other in a circle, those inside functions included."""
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts): path for path in root.rglob("*.py")
    }
    imports: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = {
            candidate
            for _, below in imported_names(path, root)
            for candidate in (".".join(below), ".".join(below[:-1]), ".".join([*below, "__init__"]))
            if candidate in modules
        }
        imports[name] = found - {name}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other():
    assert find_circle(SOURCE) == []


def test_no_room_is_a_house_of_its_own():
    lines: Counter[str] = Counter()
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).parts
        lines[place[0] if len(place) > 1 else "root"] += len(path.read_text().splitlines())
    room, most = lines.most_common(1)[0]
    assert most <= LARGEST_SHARE * lines.total(), f"{room} has {most} of {lines.total()} lines"


def test_imports_point_left():
    assert wrong_imports(SOURCE) == []


def test_the_product_does_not_import_the_laboratory():
    assert ROOMS.index("app") + 1 == ROOMS.index(LABORATORY[0])
    assert ROOMS[-len(LABORATORY) :] == LABORATORY


def test_every_folder_with_code_is_a_room():
    folders = {path.relative_to(SOURCE).parts[0] for path in SOURCE.glob("*/*.py")}
    assert folders - {"cli"} <= set(ROOMS)


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("data/a.py", "import matlode.latent.space", "data imports latent"),
        ("data/a.py", "from matlode.report import html", "data imports report"),
        ("data/a.py", "from matlode import jobs", "data imports jobs"),
        ("data/a.py", "from ..latent import space", "data imports latent"),
        ("data/a.py", "from .. import latent", "data imports latent"),
        ("latent/a.py", "def f():\n    from matlode.screening.novelty import x", "latent imports"),
        (
            "latent/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matlode.properties.x",
            "latent imports properties",
        ),
        ("records.py", "from matlode.data.crystals import Crystals", "the root module records"),
        ("testing.py", "from matlode.latent.space import View", "testing imports"),
        ("jobs/a.py", "from matlode.cli import main", "nothing imports the command line"),
    ],
)
def test_an_import_to_the_right_is_found_with_file_and_line(tmp_path, file, text, complaint):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (found,) = wrong_imports(tmp_path)
    assert found.startswith(f"{file}:{len(text.splitlines())}: {complaint}")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("latent/a.py", "from matlode.data.crystals import Crystals"),
        ("latent/a.py", "from . import networks\nfrom matlode import errors, __version__"),
        ("data/a.py", "import numpy\nfrom latent import x\nimport matlode"),
        ("cli/a.py", "from matlode.training.train import train"),
        ("testing.py", "from matlode.representation.diffraction import STANDARD_SETTINGS"),
    ],
)
def test_imports_to_the_left_are_fine(tmp_path, file, text):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert wrong_imports(tmp_path) == []


@pytest.mark.parametrize("late", ["", "def f():\n    "])
def test_circles_are_found(tmp_path, late):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.py").write_text("from matlode.data.b import x")
    (tmp_path / "data" / "b.py").write_text(f"{late}from matlode.data import a")
    assert set(find_circle(tmp_path)) == {"data.a", "data.b"}
    (tmp_path / "data" / "b.py").write_text("import numpy")
    assert find_circle(tmp_path) == []
