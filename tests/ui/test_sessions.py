"""What Gradio keeps per visitor is small, and what an answer leaves as it is costs nothing."""

from __future__ import annotations

import asyncio
import ctypes
import datetime
import os
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio import routes
from gradio.state_holder import SessionState, StateHolder

from bigroc_core.ui import sessions


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> gr.Blocks:
    """Four outputs, one of them a visitor's state, and an answer to send to them."""
    monkeypatch.setattr("gradio.state_holder.SessionState", SessionState)
    monkeypatch.setattr("gradio.routes.StateHolder", StateHolder)
    with gr.Blocks() as page:
        outputs = [gr.HTML("old"), gr.State("old"), gr.Slider(0, 9, 1), gr.Number(1)]
        gr.Button().click(lambda answer: answer, gr.JSON(), outputs, api_name="answer")
        gr.Button().click(lambda kept: kept, outputs[1], outputs[0], api_name="look")
    sessions.keep_sessions_light(page)
    return page


def shown(page: gr.Blocks, answer: Any, state: SessionState) -> list[Any]:
    function = next(one for one in page.fns.values() if one.api_name == "answer")
    return asyncio.run(page.postprocess_data(function, answer, state))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("new", gr.skip(), gr.skip(), gr.skip()), ["new", gr.skip(), gr.skip(), gr.skip()]),
        ((gr.skip(), "new", gr.update(maximum=5), gr.skip()), [gr.skip(), None, {"maximum": 5}, gr.skip()]),
        (("new", "new", 2, 3), ["new", None, 2, 3]),
    ],
)
def test_what_is_skipped_stays_and_the_rest_is_shown_as_gradio_shows_it(
    page: gr.Blocks, answer: Any, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(gr.Number, "__init__", lambda *_args, **_named: made.append("number"))
    state = sessions.LightSession(page)
    told = shown(page, answer, state)
    for one, wanted in zip(told, expected, strict=True):
        assert one == (wanted | {"__type__": "update"} if isinstance(wanted, dict) else wanted)
    assert made == []
    kept = next(block for block in page.blocks.values() if isinstance(block, gr.State))
    assert state[kept._id] == ("old" if answer[1] == gr.skip() else "new")


def test_a_session_holds_no_description_of_the_whole_page(page: gr.Blocks) -> None:
    holder = StateHolder()
    holder.set_blocks(page)
    assert holder["visitor"].config_values == {}
    shown(page, ("new", "new", 2, 3), holder["visitor"])
    assert len(holder["visitor"].config_values) <= 4


def test_a_result_that_is_no_longer_kept_is_said_to_be_gone_and_is_not_the_example(page: gr.Blocks) -> None:
    kept = next(block for block in page.blocks.values() if isinstance(block, gr.State))
    kept.time_to_live = 3600
    look = next(one for one in page.fns.values() if one.api_name == "look")
    page.state_session_capacity = 2
    holder = sessions.Sessions()
    holder.set_blocks(page)
    assert holder["visitor"][kept._id] == "old", "what the page opens with"
    shown(page, ("new", "result", 2, 3), holder["visitor"])
    assert holder["visitor"][kept._id] == "result"
    # Too old.
    holder["visitor"]._state_ttl[kept._id] = (0, datetime.datetime.min)
    holder.delete_all_expired_state()
    with pytest.raises(gr.Error, match="run it again"):
        holder["visitor"][kept._id]
    with pytest.raises(gr.Error, match="run it again"):
        asyncio.run(page.preprocess_data(look, [None], holder["visitor"]))
    shown(page, ("new", "again", 2, 3), holder["visitor"])
    assert holder["visitor"][kept._id] == "again"
    # Too many others.
    for other in ("one", "two", "three"):
        assert holder[other][kept._id] == "old"
    assert "visitor" not in holder
    for _ in range(2):
        with pytest.raises(gr.Error, match="run it again"):
            holder["visitor"][kept._id]
        assert holder["four"][kept._id] == "old"
        assert holder["five"][kept._id] == "old"
    shown(page, ("new", "third", 2, 3), holder["visitor"])
    assert holder["visitor"][kept._id] == "third"


def test_the_page_is_served_with_such_sessions(page: gr.Blocks) -> None:
    assert isinstance(routes.App.create_app(page).state_holder, sessions.Sessions)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_memory_below_what_is_still_in_use_goes_back_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    pieces = [bytearray(8_000) for _ in range(8_000)]  # each of the C library, and below the size that it maps apart
    last = bytearray(8_000)
    full = resident()
    pieces.clear()
    sessions.give_back_memory()
    assert full - resident() > 40 * 2**20, "of 61 MiB"
    assert len(last) == 8_000
