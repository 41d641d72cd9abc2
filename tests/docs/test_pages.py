"""What the pages say can be done: every command exists with its options, code runs, and the
tutorial goes through word by word."""

import contextvars
import io
import re
import shlex
import sys
import types
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path

import pytest
from typer.main import get_command

from matlode.cli import app
from matlode.jobs import search as search_module
from matlode.jobs.starts import SearchSettings
from matlode.representation.diffraction import STANDARD_SETTINGS, simulate_patterns
from matlode.run_folder import RunFolder
from matlode.testing import rutile
from tests.command_line import matlode

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", flags=re.M | re.S)


def commands_of(text):
    """(words, whether all of them stand there) of commands in fenced blocks and in code spans."""
    for _, block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.search(r"(?:^|[$;!&] |srun \S+ )\s*matlode (?=[a-z-])(.*)", line):
                words = re.split(r" [|>&;]| 2>", found[1])[0]
                yield shlex.split(words, comments=True), True
    for span in re.findall(r"`matlode ([a-z-][^`]*)`", FENCE.sub("", text)):
        # what is optional stands in brackets, what is left out is dots
        words = shlex.split(" ".join(re.sub(r"[\[\]]|\.{3}", " ", span).split()))
        yield words, False


def problem_with(words, *, complete):
    """Why the command line would refuse these words; None if it would not."""
    command, path = get_command(app), "matlode"
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command, path, words = command.commands[words[0]], f"{path} {words[0]}", words[1:]
    if hasattr(command, "commands"):
        known = ["--help", *command.commands, *(name for p in command.params for name in p.opts)]
        return None if not words or words[0] in known else f"{path} has no {words[0]}"
    try:
        # what is read may set how loud the command is
        contextvars.copy_context().run(command.make_context, path, list(words))
    except Exception as error:  # whatever class the command line's library has for it
        said = str(error)
        unfinished = "Missing" in said or "requires an argument" in said
        return said if complete or not unfinished else None
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists_with_its_options(page):
    problems = [
        f"matlode {shlex.join(words)}: {problem}"
        for words, complete in commands_of(page.read_text(encoding="utf-8"))
        if (problem := problem_with(words, complete=complete))
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("serach x", "has no serach"),
        ("search --maximise x", "--maximise"),
        ("solve a.xy", "formula"),
        ("resume a b", "unexpected"),
        ("search --trials many", "integer"),
    ],
)
def test_a_wrong_command_would_be_found(line, said):
    assert said in problem_with(line.split(), complete=True)


def run_blocks(text):
    """(printed, said to be printed) of each Python block; a block sees what those before made."""
    page = sys.modules["page"] = types.ModuleType("page")  # dataclasses look for their module
    pattern = r"^```python\n(.*?)^```\n(?:\n^```\n(.*?)^```)?"
    for code, said in re.findall(pattern, text, flags=re.M | re.S):
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(code, "page", "exec"), page.__dict__)
        yield out.getvalue(), said
    del sys.modules["page"]


@pytest.mark.parametrize("page", sorted((DOCS / "adding").glob("*.md")), ids=lambda p: p.stem)
def test_what_the_pages_on_adding_show_is_so(page):
    blocks = list(run_blocks(page.read_text(encoding="utf-8")))
    assert any(said for _, said in blocks)
    for printed, said in blocks:
        assert printed == said


def test_measured_patterns_are_read_as_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = zip(STANDARD_SETTINGS.two_theta_deg, simulate_patterns([rutile()])[0], strict=True)
    Path("sample.xy").write_text("\n".join(f"{angle:.2f} {height:.5f}" for angle, height in rows))
    assert list(run_blocks((DOCS / "measured.md").read_text())) == [("", "")] * 2


COATING = "examples/goals/hard_coating_without_cobalt.toml"
SMALL = {"n_start": 100, "n_screened": 30, "n_candidates": 10}


@pytest.mark.slow
def test_the_tutorial_goes_through(tmp_path, monkeypatch):
    """Every command given, with fewer trials; the goal file shown is the example."""
    monkeypatch.chdir(tmp_path)
    Path("examples").symlink_to(DOCS.parent / "examples")
    monkeypatch.setattr(search_module, "SearchSettings", partial(SearchSettings, **SMALL))
    given = []
    for kind, block in FENCE.findall((DOCS / "tutorial.md").read_text(encoding="utf-8")):
        if kind == "toml":
            assert block == (DOCS.parent / COATING).read_text(encoding="utf-8")
        for line in block.splitlines():
            if line.startswith("$ matlode "):
                given.append(line)
                words = shlex.split(line.removeprefix("$ matlode "), comments=True)
                printed = run(words)
                assert printed.strip(), line
    assert {"search", "explain", "predict", "xrd"} <= {line.split()[2] for line in given}
    assert Path("runs/first/report.html").exists()


def matching(word):
    """Files that a shell puts in place of a word."""
    return sorted(map(str, Path().glob(word))) if "*" in word else []


def run(words):
    """What a command prints; the shell's part is done here."""
    words = [found for word in words for found in (matching(word) or [word])]
    if "--trials" in words:
        words[words.index("--trials") + 1] = "64"
    if words[0] == "explain":  # a longer search found it
        words[2] = RunFolder(Path(words[1])).read_candidates()[0].formula
    done = matlode(*words)
    assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
    return done.stdout
