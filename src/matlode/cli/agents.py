"""`matlode mcp`: the commands as tools for agents (Model Context Protocol, over stdio).

A tool is the command itself: its schema is made of the command's options, and a call runs the
command with --json in a process of its own. So a tool does, answers and refuses what the command
line does, and what it prints cannot disturb the protocol.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo

from matlode.cli import crystals, properties, searches
from matlode.errors import InputError
from matlode.version import __version__

if TYPE_CHECKING:
    from mcp.types import CallToolResult, Tool

VERBS: Mapping[str, Callable[..., None]] = {
    "search": searches.search,
    "show": searches.show,
    "explain": searches.explain,
    "relax": searches.relax,
    "predict": crystals.predict,
    "identify": crystals.identify,
    "solve": crystals.solve,
    "properties": properties.list_properties,
}
"""Tool → command."""
TOP = 10
"""Number of candidates that a search answers with; ``show`` has more."""

commands = typer.Typer()


@commands.command()
def mcp() -> None:
    """Serve the commands as tools for agents over stdio (MCP)."""
    try:
        import anyio
        from mcp.server.lowlevel import Server
        from mcp.server.stdio import stdio_server
        from mcp.types import ListToolsResult
    except ImportError as error:
        raise InputError("`matlode mcp` needs the extra mcp: install matlode[mcp].") from error

    async def list_tools(_: Any, __: Any) -> ListToolsResult:
        return ListToolsResult(tools=[make_tool(name) for name in VERBS])

    async def call_tool(_: Any, params: Any) -> CallToolResult:
        return await call(params.name, params.arguments or {})

    async def serve() -> None:
        server = Server(
            "matlode", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool
        )
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(serve)


def make_tool(name: str) -> Tool:
    """The tool of a command, with the schema of its arguments and options."""
    from mcp.types import Tool

    parameters = inspect.signature(VERBS[name]).parameters
    found = list_options(name)
    schema = {
        "type": "object",
        "properties": {key: make_schema(kind, info) for key, (kind, info) in found.items()},
        "required": [key for key in found if parameters[key].default is inspect.Parameter.empty],
        "additionalProperties": False,
    }
    return Tool(name=name, description=inspect.getdoc(VERBS[name]), input_schema=schema)


def list_options(name: str) -> dict[str, tuple[Any, Any]]:
    """Argument or option of a command → its type and what typer knows of it."""
    hints = get_type_hints(VERBS[name], include_extras=True)
    return {
        key: get_args(hint)[:2]
        for key, hint in hints.items()
        if get_origin(hint) is Annotated and key != "as_json"  # which every call sets
    }


def make_schema(kind: Any, info: Any) -> dict[str, object]:
    """JSON Schema of a type, with typer's help and limits."""
    from pydantic import TypeAdapter

    limits = {"description": info.help, "minimum": info.min, "maximum": info.max}
    given = {word: value for word, value in limits.items() if value is not None}
    return {**TypeAdapter(kind).json_schema(), **given}


def write_words(name: str, arguments: Mapping[str, Any]) -> list[str]:
    """The words of a command line; unknown arguments become options, which it refuses."""
    options, positions = [], []
    known = list_options(name)
    for key, value in arguments.items():
        several = [str(one) for one in (value if isinstance(value, list) else [value])]
        info = known[key][1] if key in known else None
        named = [word for word in getattr(info, "param_decls", None) or () if word[:2] == "--"]
        option = named[0] if named else f"--{key.replace('_', '-')}"
        if value is None:
            continue
        if isinstance(info, ArgumentInfo):
            positions += several
        elif value is True:
            options.append(option)
        elif value is not False:
            options += [f"{option}={one}" for one in several]
        elif not named:  # a switch with two names
            options.append(f"--no-{option[2:]}")
    return [name, *options, "--json", "--quiet", "--", *positions]


async def call(name: str, arguments: Mapping[str, Any]) -> CallToolResult:
    """Run a command and return what it prints as JSON, or its error."""
    from mcp.types import CallToolResult, TextContent

    if name not in VERBS:
        text, failed = f"no tool {name!r}; there are {', '.join(VERBS)}.", True
    else:
        text, failed = await run(write_words(name, arguments))
        if name == "search" and not failed:  # the whole table is too much to read
            folder = str(arguments.get("out", "runs/search"))
            text, failed = await run(["show", f"--top={TOP}", "--json", "--quiet", "--", folder])
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=failed)


async def run(words: list[str]) -> tuple[str, bool]:
    """Run the command line; what it prints, and whether it failed."""
    import anyio

    ended = await anyio.run_process([sys.executable, "-m", "matlode.cli", *words], check=False)
    failed = ended.returncode != 0
    return (ended.stderr if failed and not ended.stdout else ended.stdout).decode(), failed
