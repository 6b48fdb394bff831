"""What docs/use.md tells programs: its Python, its curl, and the endpoints as tools of an MCP server."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving import ROOT, Server

PLACE = "http://127.0.0.1:7860/"


def block(language: str, server: Server) -> str:
    """The section's block of code in a language, sent to the server of this test."""
    section = (ROOT / "docs" / "use.md").read_text("utf-8").split("## For programs\n")[1].split("\n## ")[0]
    (code,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return code.replace(PLACE.rstrip("/"), server.url.rstrip("/"))


def test_the_docs_python_runs(server: Server) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", block("python", server)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "boosted.zip" in ran.stdout
    assert "python -m bigroc_core boost" in ran.stdout


def test_the_docs_curl_runs(server: Server) -> None:
    ran = subprocess.run(["bash", "-c", block("sh", server)], capture_output=True, text=True, check=True, timeout=60)
    assert "event: complete" in ran.stdout
    (data,) = re.findall(r"^data: (.*)$", ran.stdout, re.MULTILINE)
    assert "normalized" in json.loads(data)


def test_the_endpoints_are_tools_of_an_mcp_server(mcp_server: Server) -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    address = json.loads(block("json", mcp_server))["mcpServers"]["bigroc"]["url"]

    async def visit() -> tuple[dict[str, Any], Any]:
        async with streamablehttp_client(address) as (reading, writing, _), ClientSession(reading, writing) as session:
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            return tools, await session.call_tool("boost", {"count": 1, "steps": 1, "eps": 0.5})

    # In a thread of its own: beside an open browser this one has a running event loop already.
    with ThreadPoolExecutor(1) as pool:
        tools, result = pool.submit(asyncio.run, visit()).result()
    assert {"boost", "debias", "interpolate", "evaluate", "evaluation_status", "generators"} <= set(tools)
    # What needs a visitor's own run to look at would always show the example.
    assert not {"look", "pick", "boost_page"} & set(tools)
    schema = tools["boost"].inputSchema
    assert schema["properties"]["eps"]["description"].startswith("Radius of the ball")
    assert "required" not in schema
    assert not result.isError, result.content
    said = " ".join(part.text for part in result.content if part.type == "text")
    assert "boosted.zip" in said
    assert "gr.State" not in mcp_server.log()
