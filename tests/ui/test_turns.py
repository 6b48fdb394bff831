"""Whose turn it is to compute: visitors in turn, a full line that says how long, runs that end where they should."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
import torch

from bigroc_core.ui.live import NotBegun, Stops, in_turn, live
from bigroc_core.ui.turns import Line, visitor_of


def request_of(session: str, host: str = "1.2.3.4") -> gr.Request:
    request = gr.Request(session_hash=session)
    request.client = SimpleNamespace(host=host)
    return request


def served(line: Line, order: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Who is served when all of them come, in this order, while somebody else computes."""

    async def come() -> list[tuple[str, str]]:
        busy = line.join(("elsewhere", "busy"))
        turns = [line.join(visitor) for visitor in order]
        expected = [line.place(turn)[0] for turn in turns]
        line.leave(busy)
        found = []
        while len(found) < len(order):
            turn = next(one for one in turns if one.lane is not None)
            found.append(turn)
            line.leave(turn)
        # The place that each was told is the one that it got.
        assert [found.index(turn) for turn in turns] == expected
        return [turn.visitor for turn in found]

    return asyncio.run(come())


def test_sessions_are_served_in_turn_however_many_requests_one_of_them_sends() -> None:
    many, one, two = ("h", "many"), ("h", "one"), ("h", "two")
    assert served(Line(1, 1), [many, many, many, many, one, two]) == [many, one, two, many, many, many]


def test_a_host_with_many_sessions_does_not_hold_up_another() -> None:
    many = [("h", str(number)) for number in range(5)]
    assert served(Line(1, 1), [*many, ("other", "a")]) == [many[0], ("other", "a"), *many[1:]]


def test_a_full_line_says_how_long_it_takes_and_no_visitor_fills_it_alone() -> None:
    async def come() -> None:
        line = Line(1, 1, most=4, most_each=2)
        for number in range(5):
            line.join(("h", str(number // 2)))
        with pytest.raises(ValueError, match="4 requests are waiting already, which will take a few seconds"):
            line.join(("h", "late"))

        own = Line(1, 1, most=9, most_each=2)
        for _ in range(3):
            turn = own.join(("h", "one"))
        with pytest.raises(ValueError, match="2 of your requests are waiting already"):
            own.join(("h", "one"))
        own.leave(turn)
        own.join(("h", "one"))
        own.join(("h", "two"))

    asyncio.run(come())


def test_a_lane_computes_on_so_many_cores_and_the_others_as_before() -> None:
    before = torch.get_num_threads()
    seen: dict[str, int] = {}

    async def come() -> None:
        turn = Line(1, 3).join(("h", "one"))
        await turn.came_within(5)
        seen["lane"] = await turn.run(torch.get_num_threads)

    asyncio.run(come())
    later = threading.Thread(target=lambda: seen.setdefault("later", torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == {"lane": 3, "later": before}
    assert torch.get_num_threads() == before


# ---------------------------------------------------------------------------------------------- a run that waits


class Page:
    """A tab with a status line and a picture, whose runs go through one lane."""

    def __init__(self, handler: Callable[..., Iterator[tuple[Any, ...]]]) -> None:
        self.stops, self.line = Stops(), Line(1, 1)
        self.run = in_turn(handler, self.stops, (2, 0), lambda _values: self.line)

    def click(self, session: str) -> AsyncIterator[tuple[Any, ...]]:
        return self.run(1, request_of(session))


def steps(number: int, request: gr.Request) -> Iterator[tuple[Any, ...]]:
    yield "step 1", number
    yield "done", number


def test_a_run_that_waits_says_its_place_and_then_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigroc_core.ui.live.FIRST_WAIT", 0.01)

    async def come() -> list[Any]:
        page = Page(steps)
        busy = page.line.join(("h", "busy"))
        shown = []
        async for one in page.click("a"):
            shown.append(one)
            page.line.leave(busy)
        return shown

    waiting, *others = asyncio.run(come())
    assert "Waiting; 0 before it" in waiting[0]
    assert waiting[1] == gr.skip()
    assert others == [("step 1", 1), ("done", 1)]


def test_a_run_is_cancelled_while_it_waits_and_the_next_of_the_session_is_not() -> None:
    async def come() -> list[Any]:
        page = Page(steps)
        busy = page.line.join(("h", "busy"))
        waiting = asyncio.ensure_future(collected(page.click("a")))
        await asyncio.sleep(0.05)
        assert page.stops.stop("a")
        shown = await waiting
        page.line.leave(busy)
        assert await collected(page.click("a")) == [("step 1", 1), ("done", 1)]
        assert not page.stops.stop("a")
        return shown

    (shown,) = asyncio.run(come())
    assert "Cancelled before it began" in shown[0]


def test_a_run_is_cancelled_though_its_turn_comes_before_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bigroc_core.ui.live.FIRST_WAIT", 5)

    async def come() -> tuple[list[Any], list[Any]]:
        page = Page(steps)
        busy = page.line.join(("h", "busy"))
        waiting = asyncio.ensure_future(collected(page.click("a")))
        await asyncio.sleep(0.05)
        assert page.stops.stop("a")
        page.line.leave(busy)
        shown = await waiting

        def as_tabs_have_it(number: int, request: gr.Request) -> Iterator[tuple[Any, ...]]:
            assert page.stops.stop("a"), "after the last look, before the run begins"
            growing = (step for step in range(number + 2))
            yield from live(growing, page.stops, request, lambda _step: None, lambda step: ("reached", step))

        page = Page(as_tabs_have_it)
        reached = await collected(page.click("a"))
        assert not page.stops.stop("a")
        return shown, reached

    (shown,), reached = asyncio.run(come())
    assert "Cancelled before it began" in shown[0]
    assert reached == [("reached", 0)]


def test_cancelled_before_it_began_a_run_of_the_page_is_followed_by_nothing() -> None:
    async def come() -> list[Any]:
        page, shown = Page(steps), []
        busy = page.line.join(("h", "busy"))
        page.run = in_turn(steps, page.stops, (2, 0), lambda _values: page.line, fails=True)

        async def follow() -> None:
            async for one in page.click("a"):
                shown.append(one)
                assert page.stops.stop("a")
                page.line.leave(busy)

        with pytest.raises(NotBegun):
            await follow()
        return shown

    shown = asyncio.run(come())
    assert "Cancelled before it began" in shown[-1][0]
    # Of none of them the page takes its results to be shown.
    assert all("data-waits" in one[0] for one in shown)


def test_cancelling_stops_every_run_of_a_session_and_one_that_was_accepted_and_none_that_comes_later() -> None:
    stops = Stops()
    stops.accept("a")
    first = stops.begin("a")
    stops.accept("a")
    second = stops.begin("a")
    assert stops.stop("a")
    assert first.is_set()
    assert second.is_set()
    stops.accept("a")
    third = stops.begin("a")
    assert not third.is_set(), "those before it are still ending"
    for _ in range(3):
        stops.end("a")
    assert not stops.stop("a")
    stops.accept("a")
    assert stops.stop("a")
    assert stops.begin("a").is_set(), "cancelled between its check and its place in the line"
    stops.accept("a")
    stops.end("a")
    assert stops.stop("a"), "though the one before it has just ended"
    assert stops.begin("a").is_set()


def test_what_found_no_place_in_the_line_is_no_run_to_cancel() -> None:
    async def come() -> None:
        page = Page(steps)
        page.line = Line(1, 1, most=0)
        page.stops.accept("a")
        with pytest.raises(gr.Error, match="waiting already"):
            await collected(page.click("a"))
        assert not page.stops.stop("a")

    asyncio.run(come())


async def collected(growing: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in growing]


@pytest.mark.parametrize("error", [gr.Error("the image is &lt;no&gt; image"), KeyError("inner secret")])
def test_after_an_error_the_status_line_no_longer_says_that_it_computes(error: Exception) -> None:
    def failing(number: int, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        yield "drawing", number
        raise error

    async def come() -> list[Any]:
        page = Page(failing)
        shown: list[Any] = []

        async def follow() -> None:
            async for one in page.click("a"):
                shown.append(one)

        with pytest.raises(type(error)):
            await follow()
        # And the lane is free for others.
        assert page.line.join(("h", "next")).lane is not None
        return shown

    drawing, stopped = asyncio.run(come())
    assert drawing == ("drawing", 1)
    assert "drawing" not in stopped[0]
    assert "Stopped: " in stopped[0]
    assert ("the image is &lt;no&gt; image" in stopped[0]) == isinstance(error, gr.Error)
    assert "secret" not in stopped[0]


def test_a_run_that_nobody_listens_to_any_more_ends_and_frees_its_lane() -> None:
    ended = threading.Event()

    def endless(number: int, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        try:
            while True:
                yield "step", number
                time.sleep(0.01)
        finally:
            ended.set()

    async def come() -> None:
        page = Page(endless)
        growing = page.click("a")
        assert await anext(growing) == ("step", 1)
        await growing.aclose()
        assert ended.is_set()
        assert page.line.join(("h", "next")).lane is not None

        ended.clear()
        page = Page(endless)
        task = asyncio.ensure_future(collected(page.click("a")))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.wait(5)
        assert page.line.join(("h", "next")).lane is not None

    asyncio.run(come())


def test_a_visitor_is_a_host_and_a_session() -> None:
    assert visitor_of((1, request_of("s", "1.2.3.4"))) == ("1.2.3.4", "s")
    assert visitor_of((1, 2)) == ("", "")
