"""What other people's scripts rely on stays: endpoints and their parameters, commands and their options.

tests/data/interface.json has them as they were; it is only ever extended:
`python tests/interface.py > tests/data/interface.json` writes it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.utils import get_function_description
from interface import present

from bigroc_core.__main__ import main

KEPT = json.loads((Path(__file__).parent / "data" / "interface.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def now(built_page: gr.Blocks) -> dict[str, Any]:
    return present(built_page)


@pytest.mark.parametrize("command", KEPT["commands"])
def test_every_command_keeps_its_options(now: dict[str, Any], command: str) -> None:
    options = now["commands"][command]
    for name, before in KEPT["commands"][command].items():
        after = dict(options[name])
        choices, offered = before["choices"] or [], after.pop("choices") or []
        assert set(choices) <= set(offered) or not choices, name
        assert set(before["spelled"]) <= set(after.pop("spelled")), name
        assert after == {key: before[key] for key in after}, name


@pytest.mark.parametrize("endpoint", KEPT["endpoints"])
def test_every_endpoint_keeps_its_parameters_and_results(now: dict[str, Any], endpoint: str) -> None:
    before, after = KEPT["endpoints"][endpoint], now["endpoints"][endpoint]
    count = len(before["parameters"])
    assert after["parameters"][:count] == before["parameters"]
    # A client of before sends none of those that have come since.
    assert all(one["has_default"] for one in after["parameters"][count:])
    assert after["results"] == before["results"]


def test_every_argument_of_every_endpoint_is_described(built_page: gr.Blocks) -> None:
    endpoints = built_page.get_api_info()["named_endpoints"]
    functions = {f"/{made.api_name}": made.fn for made in built_page.fns.values()}
    missing = []
    for name, endpoint in endpoints.items():
        description, arguments, _ = get_function_description(functions[name])  # type: ignore[arg-type]
        asked = [parameter["parameter_name"] for parameter in endpoint["parameters"]]
        missing += [f"{name}: {argument}" for argument in asked if not arguments.get(argument)]
        assert description, name
    assert missing == []


def exit_status(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as ended:  # argparse's own
        return int(ended.code or 0)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["boost"], 2),
        (["boost", "nowhere", "out"], 2),
        (["boost", "generator:cifar10-cgan", "out", "--norm", "l7"], 2),
        (["evaluate", "generator:nothing"], 2),
        (["models", "nothing"], 2),
        (["presets"], 0),
        (["figure"], 2),
        ([], 2),
    ],
)
def test_exit_statuses(
    words: list[str], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_status(words) == status
    assert "Traceback" not in capsys.readouterr().err


def test_every_import_that_is_documented_works() -> None:
    import bigroc_core
    from bigroc_core.evaluation import ImageStream
    from bigroc_core.images import encode_png, from_uint8, read_image, to_uint8

    assert all((ImageStream, encode_png, from_uint8, read_image, to_uint8))
    assert all(hasattr(bigroc_core, name) for name in bigroc_core.__all__)
