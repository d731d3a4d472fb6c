"""The Model Context Protocol: what a client sees, what it may reach, and a whole run."""

import json
import os
import shutil
import sys
from pathlib import Path

import anyio
import pytest

pytest.importorskip("mcp", reason="mcp is not installed: pip install -r requirements/mcp.txt")

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.memory import create_connected_server_and_client_session

from engine.mcp import server
from models.catalog import CATALOG

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def call(workspace):
    """Returns the function that calls a tool: what it answers, and whether that is a refusal."""

    def called(tool: str, **words):
        async def talk():
            async with create_connected_server_and_client_session(server(workspace)) as client:
                answer = await client.call_tool(tool, words)
                return answer.content[0].text, answer.isError

        return anyio.run(talk)

    return called


def test_a_client_sees_what_each_tool_does(workspace):
    async def talk():
        async with create_connected_server_and_client_session(server(workspace)) as client:
            return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in anyio.run(talk)}
    assert set(tools) == {"options", "inspect", "estimate", "optimize", "look", "stop", "package"}
    assert all(len(tool.description) > 20 for tool in tools.values())
    assert tools["optimize"].inputSchema["required"] == ["model", "device"]


def test_options_name_what_there_is(call, workspace):
    said = json.loads(call("options")[0])
    assert said["devices"]["raspberry_pi_4"] == "Raspberry Pi 4" and "max_size_mb" in said["limits"]
    assert said["models"] == sorted(CATALOG) and said["workspace"] == str(workspace.home)


def test_a_prediction_is_called_one(call):
    said = json.loads(call("estimate", model="digits/pytorch/small", device="raspberry_pi_4")[0])
    assert said["prediction"] and said["low_ms"] < said["latency_ms"] < said["high_ms"] and said["why"]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../outside.onnx", "link.onnx", "~/.bashrc", "no/such/model"]
)
def test_no_path_leads_out_of_the_workspace(call, workspace, tmp_path, path):
    (workspace.home.parent / "outside.onnx").write_bytes(b"x")
    (workspace.home / "link.onnx").symlink_to("/etc/passwd")
    for tool in ("inspect", "optimize"):
        said, refused = call(tool, model=path, **({"device": "raspberry_pi_4"} if tool == "optimize" else {}))
        assert refused and "file in the workspace" in said
    said, refused = call("inspect", model="digits/pytorch/small", dataset=path)
    assert refused and "file in the workspace" in said


def test_a_file_in_the_workspace_is_opened(call, workspace):
    shutil.copy(CATALOG["digits/pytorch/small"].weights_path, workspace.home / "mine.safetensors")
    said = json.loads(call("inspect", model="mine.safetensors")[0])
    assert said["parameters"] == CATALOG["digits/pytorch/small"].parameters and "path" not in said


@pytest.mark.parametrize(
    ("tool", "words", "says"),
    [
        ("optimize", {"model": "digits/pytorch/small", "device": "toaster"}, "toaster"),
        (
            "optimize",
            {"model": "digits/pytorch/small", "device": "raspberry_pi_4", "limits": {"max_size_mb": -1}},
            "max_size_mb",
        ),
        ("look", {"run": "../../etc"}, "run"),
        ("package", {"run": "nope", "variant": "baseline"}, "run"),
    ],
)
def test_a_refusal_is_one_sentence(call, tool, words, says):
    said, refused = call(tool, **words)
    assert refused and says in said and "Traceback" not in said


@pytest.mark.slow
def test_a_run_over_the_line_ends_in_a_package(workspace):
    """A client starts `edgewise mcp` as its child, as they all do."""
    words = ["-m", "engine", "mcp"]
    environment = os.environ | {"EDGEWISE_HOME": str(workspace.home)}
    child = StdioServerParameters(command=sys.executable, args=words, env=environment, cwd=ROOT)

    async def talk():
        async with stdio_client(child) as (read, write), ClientSession(read, write) as client:
            await client.initialize()

            async def ask(tool: str, **asked):
                answer = await client.call_tool(tool, asked)
                assert not answer.isError, answer.content[0].text
                return json.loads(answer.content[0].text)

            question = {"model": "digits/pytorch/small", "device": "raspberry_pi_4", "dataset": "digits"}
            run = (await ask("optimize", **question, techniques=["ptq_int8"], time_budget_s=10))["run"]
            while (said := await ask("look", run=run))["state"] in ("queued", "running"):
                pass
            assert said["state"] == "done" and {v["variant"] for v in said["variants"]} >= {
                "baseline",
                "ptq_int8",
            }
            winner = said["recommendation"]["winner"]
            return await ask("package", run=run, variant=winner)

    made = anyio.run(talk)
    assert Path(made["file"]).stat().st_size == made["size_bytes"] > 10_000
    assert Path(made["file"]).is_relative_to(workspace.home)
