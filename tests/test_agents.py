"""Tools for agents are the commands: same options, same answers, same refusals."""

import json
import sys
from functools import partial
from pathlib import Path

import anyio
import jsonschema
import pytest
from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

from matlode.cli import agents
from tests.command_line import matlode

SOURCE = str(Path(agents.__file__).parents[2])


def test_the_page_is_short():
    assert len(Path(agents.__file__).read_text().splitlines()) <= 150


@pytest.mark.parametrize("name", agents.VERBS)
def test_a_tool_has_the_options_of_its_command(name):
    tool = agents.make_tool(name)
    jsonschema.Draft202012Validator.check_schema(tool.input_schema)
    properties = tool.input_schema["properties"]
    text = " ".join(matlode(name, "--help").stdout.split())
    for key, schema in properties.items():
        assert f"--{key.replace('_', '-')}" in text or f" {key}" in text
        assert schema["description"].split()[0] in text
    assert set(tool.input_schema["required"]) <= set(properties)


def test_arguments_become_words():
    words = agents.write_words(
        "search", {"maximize": ["a", "b"], "no_toxic": True, "trials": 64, "goal": "-g.toml"}
    )
    assert words == [
        "search", "--maximize=a", "--maximize=b", "--no-toxic", "--trials=64", "--json", "--quiet",
        "--", "-g.toml",
    ]  # fmt: skip
    words = agents.write_words("relax", {"sources": ["a", "b"], "hull": False, "top": None})
    assert words == ["relax", "--no-hull", "--json", "--quiet", "--", "a", "b"]
    assert "--maximise=x" in agents.write_words("search", {"maximise": "x"})


async def talk(calls):
    """The names of the tools, and the answers to calls, over stdio as an agent gets them."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "matlode.cli", "mcp"], env={"PYTHONPATH": SOURCE}
    )
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        answers = [await session.call_tool(name, arguments) for name, arguments in calls]
    return tools, [(answer.is_error, answer.content[0].text) for answer in answers]


def test_an_agent_gets_what_the_command_prints(hard_run):
    folder = str(hard_run.folder)
    calls = [
        ("explain", {"run": folder, "candidate": "2"}),
        ("search", {"maximize": ["bulk_module"]}),
        ("show", {"run": folder, "bottom": 3}),
        ("sing", {}),
    ]
    tools, (explained, refused, unknown, missing) = anyio.run(partial(talk, calls))
    assert tools == list(agents.VERBS)
    assert explained == (False, matlode("explain", folder, 2, "--json").stdout)
    assert json.loads(explained[1])["rank"] == 2
    assert refused == (True, matlode("search", "--maximize", "bulk_module").stderr)
    assert unknown[0]
    assert "--bottom" in unknown[1]
    assert missing[0]
