"""Programs that send what no control holds get one sentence that names it, and leave no traceback in the log."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gradio as gr
import pytest
from gradio.state_holder import SessionState

WRONG: dict[str, Any] = {
    "a list": [[1], {}],
    "NaN": float("nan"),
    "many digits": 10**400,
    "more digits than Python writes out": 10**5_000,
    "HTML": "<img src=x onerror=alert(1)>\x00\ud800" * 500,
}


# Taken as they come: of other figures than the one asked for, true or false, and a job that there is not.
TAKEN = ("pairs", "warm_start", "job")


def in_a_loop_of_its_own(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns; in another thread, as the browser of other tests keeps this one's loop busy."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@pytest.fixture(scope="module")
def page(built_page: gr.Blocks) -> Iterator[gr.Blocks]:
    with built_page as built:
        yield built


@pytest.fixture(scope="module")
def state(page: gr.Blocks) -> SessionState:
    """One visitor's."""
    return SessionState(page)


async def refusal(page: gr.Blocks, state: SessionState, name: str, values: list[Any]) -> str | None:
    """What an endpoint says to these values, or None if it takes them; anything else that it raises is a fault."""
    function = next(one for one in page.fns.values() if one.api_name == name and one.api_visibility == "public")
    try:
        await page.process_api(function, values, state, request=gr.Request(session_hash="tests"))
    except gr.Error as error:
        return str(error.message) if not error.print_exception else "a traceback in the log"
    return None


def test_every_wrong_kind_of_argument_gets_one_short_sentence(page: gr.Blocks, state: SessionState) -> None:
    endpoints = page.get_api_info()["named_endpoints"]

    async def answers(endpoint: str) -> dict[tuple[str, str], str | None]:
        parameters = endpoints[f"/{endpoint}"]["parameters"]
        values = [one.get("parameter_default") for one in parameters]
        return {
            (parameters[place]["parameter_name"], kind): await refusal(page, state, endpoint, given)
            for place in range(len(parameters))
            for kind, wrong in WRONG.items()
            for given in [[*values[:place], wrong, *values[place + 1 :]]]
        }

    for endpoint in (name.removeprefix("/") for name, one in endpoints.items() if one["parameters"]):
        for (parameter, kind), text in in_a_loop_of_its_own(answers(endpoint)).items():
            if parameter in TAKEN and not text:
                continue
            assert text, (endpoint, parameter, kind)
            assert len(text) < 800
            assert text.isprintable(), text
            assert "<" not in text, text
            faults = ("raceback", "unhashable", "Error:", "/site-packages/")
            assert not any(word in text for word in faults), (endpoint, parameter, kind, text)


def test_too_few_values_are_a_sentence_too(page: gr.Blocks, state: SessionState) -> None:
    said = in_a_loop_of_its_own(refusal(page, state, "boost", ["Generator"]))
    assert said
    assert said.isprintable()
