"""Pages of the site that are made of the code: commands, reference, and what lies at the root."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.main import get_command

import matlode
from matlode.cli import app

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "matlode"
ROOT_PAGES = {
    "architecture.md": "ARCHITECTURE.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Page → file at the root that it shows."""
WITHOUT_REFERENCE = ("__init__", "cli")
"""Names that are described elsewhere, and the commands."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file holds."""
    pages = {"commands.md": "\n".join(command_page()), "reference/index.md": names_page()}
    folders = [path.parent.name for path in sorted(SOURCE.glob("*/__init__.py"))]
    rooms = [folder for folder in folders if folder not in WITHOUT_REFERENCE]
    for room in rooms:
        pages[f"reference/{room}.md"] = module_page(room, SOURCE / room)
    pages["reference/root.md"] = module_page("root", SOURCE)
    for page, file in ROOT_PAGES.items():
        pages[page] = _links_of_the_site((ROOT / file).read_text(encoding="utf-8"))
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    return files


def _links_of_the_site(text: str) -> str:
    """Links below docs/ and among the root's pages; others lead out of the site, and are words."""
    text = re.sub(r"\]\(docs/([^)]+)\)", r"](\1)", text)
    for page, file in ROOT_PAGES.items():
        text = text.replace(f"]({file})", f"]({page})")
    return re.sub(r"\[([^\]]+)\]\((?:src|examples)[^)]*\)", r"\1", text)


def module_page(title: str, folder: Path) -> str:
    """The reference of a folder's modules (those of a room with its subfolders)."""
    found = folder.glob("*.py") if folder == SOURCE else folder.rglob("*.py")
    lines = [f"# {title}", ""]
    for path in sorted(found):
        name = ".".join(("matlode", *path.relative_to(SOURCE).with_suffix("").parts))
        if path.stem == "__init__":
            lines[2:2] = [ast.get_docstring(ast.parse(path.read_text())) or "", ""]
        elif path.stem not in WITHOUT_REFERENCE:
            lines += [f"## {name}", "", f"::: {name}", "    options:", *_INDENTED, ""]
    return "\n".join(lines)


_INDENTED = [f"      {line}" for line in ("show_root_heading: false", "show_root_toc_entry: false")]


def names_page() -> str:
    """What `import matlode` offers, with where each is described."""
    lines = [
        "# Python",
        "",
        "Names that `from matlode import ...` knows; the rest of the reference is by room, in the "
        "order of [the architecture](../architecture.md).",
        "",
    ]
    homes: dict[str, str] = matlode._HOMES
    names = (f"- [`{name}`][matlode.{homes[name]}.{name}]" for name in matlode.__all__)
    return "\n".join([*lines, *names])


def command_page() -> Iterator[str]:
    """Every command and option, from the application itself."""
    yield "# Commands"
    yield ""
    yield "Tables and JSON go to stdout, progress to stderr. Exit status 0: done; 1: an error, with"
    yield "advice; 2: wrong usage; 130: Ctrl-C, with how to continue. An option without effect is"
    yield "an error. `matlode --install-completion` makes your shell complete commands, options and"
    yield "names, `matlode --version` prints the version."
    group: Any = get_command(app)
    shared = {option.name for option in group.params}
    yield "\nEvery command takes these, before its name or after:\n"
    yield from _options([option for option in group.params if option.name in ("quiet", "verbose")])
    for heading, names in group.sections().items():
        yield f"\n## {heading}"
        for name in names:
            for path, command in _commands(group.commands[name], f"matlode {name}"):
                yield from _command(path, command, shared)


def _command(path: str, command: Any, shared: Collection[str]) -> Iterator[str]:
    yield f"\n### {path}\n"
    yield command.help or ""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["[OPTIONS]", *(_shown(argument) for argument in arguments)])
    yield f"\n```\n{path} {usage}\n```\n"
    yield from _options([p for p in command.params if p.name not in shared])


def _shown(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The command, or of a group each of its commands."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from _commands(below, f"{path} {name}")


def _options(params: list[Any]) -> Iterator[str]:
    yield "| | default | |"
    yield "|---|---|---|"
    for param in params:
        words = [*param.opts, *param.secondary_opts]
        names = param.name.upper() if param.param_type_name == "argument" else ", ".join(words)
        default = param.default
        plain = default is None or default is False or callable(default) or param.required
        text = " ".join((param.help or "").split()).replace("|", "\\|")
        if param.envvar:
            text += f" (`${param.envvar}`)"
        yield f"| `{names}` | {'' if plain else f'`{default}`'} | {text} |"


class Doctests(griffe.Extension):
    """Examples in docstrings, which Markdown would take for quotations, become code."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Fence what begins with >>> up to the next blank line."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^>>> .*?(?=\n\s*\n|\Z)",
                lambda found: f"```pycon\n{found[0]}\n```",
                obj.docstring.value,
                flags=re.M | re.S,
            )
