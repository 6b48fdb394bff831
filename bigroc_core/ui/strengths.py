"""Moving the strength moves the pictures: eight strengths computed beforehand, shown by the browser itself."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.strengths import affordable, key_of, radii_up_to, run_key, steps_for, strengths
from bigroc_core.limits import MAX_LIVE_SECONDS, MAX_STRENGTHS_BYTES
from bigroc_core.ui import controls, pictures
from bigroc_core.ui.live import still_there
from bigroc_core.ui.presets import size_in
from bigroc_core.ui.turns import LARGE, SMALL, visitor_of

LIVE_INFO = "Move it, and see."
# Of several visitors who look at the same, as at the example that the page opens with.
MOST_KEPT = 6
LOOK_SECONDS = 0.5
# How often it is begun again where others have come first.
MOST_TRIES = 20
_kept: OrderedDict[str, str] = OrderedDict()
_lock = threading.Lock()

DRAG_JS = Path(__file__).with_name("drag.js").read_text("utf-8")
# Once the strength is come near to, by mouse, finger or keyboard, its pictures are computed, and from then on after
# each run; again where those that are here are another run's.
NEAR_JS = """
const ask = () => {
  window.strengthsWanted = true;
  const live = document.querySelector('#live input'), held = element.querySelector('pre');
  const grid = document.querySelector('#grid .pairs');
  if (live && live.checked && grid && held?.dataset.run !== grid.dataset.run && window.strengthsRefused !== grid)
    document.querySelector('#strengths-ask')?.click();
};
const near = (event) => { if (event.target.closest?.('#eps')) ask(); };
['pointerover', 'focusin', 'touchstart'].forEach((name) => document.addEventListener(name, near, { passive: true }));
"""
ASK_JS = """() => {
  if (window.strengthsWanted && document.querySelector('#live input')?.checked)
    document.querySelector('#strengths-ask')?.click();
}"""
# Where they cannot be had a message says why, once for what is shown.
REFUSED_JS = "() => { window.strengthsRefused = document.querySelector('#grid .pairs'); }"
# Let go: the run anew, where the last one was quick.
RELEASE_JS = """() => {
  const held = document.querySelector('#strengths pre'), grid = document.querySelector('#grid .pairs');
  if (!held || held.dataset.run !== grid?.dataset.run || !document.querySelector('#live input')?.checked) return;
  if (JSON.parse(held.textContent).seconds < %s) document.querySelector('#boost')?.click();
}"""


def lay_out(live: bool) -> tuple[gr.Checkbox, gr.HTML, gr.Button]:
    """The switch, and what the browser is given: the pictures, and a button that it presses to have them."""
    switch = gr.Checkbox(
        live, label="Live", info=LIVE_INFO, elem_id="live", visible=live, interactive=True, min_width=90
    )
    held = gr.HTML("", elem_id="strengths", visible="hidden" if live else False, js_on_load=NEAR_JS + DRAG_JS)
    return switch, held, gr.Button("Compute strengths", elem_id="strengths-ask", visible="hidden" if live else False)


def connect(
    eps: Any, size: Any, run: gr.State, parts: tuple[gr.Checkbox, gr.HTML, gr.Button], ended: Sequence[Any]
) -> None:
    """Let the strength show its pictures. ended: the events that bring a run, after which they are computed anew."""
    _, held, ask = parts
    key = gr.State("")
    asked = ask.click(
        show,
        [run, key, size],
        [held, key],
        api_visibility="private",
        concurrency_limit=None,
        show_progress="hidden",
        trigger_mode="always_last",
    )
    asked.failure(None, None, None, js=REFUSED_JS, api_visibility="private")
    for event in ended:
        event.then(None, None, None, js=ASK_JS, api_visibility="private")
    eps.release(None, None, None, js=RELEASE_JS % MAX_LIVE_SECONDS, api_visibility="private")


async def show(run: Run, key: str, size: str, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
    """A run's pictures at eight strengths, as data for the browser: computed when nobody else computes."""
    most = float(controls.eps_range(run.settings["norm"], size_in(size))["maximum"])
    steps, wanted = steps_for(run), key_of(run, most)
    if wanted == key:
        yield gr.skip(), gr.skip()
        return
    if not steps:
        yield "", ""
        return
    with _lock:
        html = _kept.get(wanted)
    for _ in range(MOST_TRIES):
        if html is not None or not still_there():
            break
        html = await _computed(run, most, steps, request)
        if html is None:
            await asyncio.sleep(LOOK_SECONDS)
    if html is None:
        yield "", ""
        return
    with _lock:
        _kept[wanted] = html
        _kept.move_to_end(wanted)
        while len(_kept) > MOST_KEPT:
            _kept.popitem(last=False)
    yield html, wanted


async def _computed(run: Run, most: float, steps: int, request: gr.Request) -> str | None:
    """The data, or None where somebody else has come to compute."""
    if LARGE.at_work or SMALL.at_work:
        return None
    turn = LARGE.join(visitor_of((request,)))
    growing, several, taken = strengths(run, most, steps), None, 0
    try:
        await turn.came.wait()
        while several is None:
            if LARGE.at_work > 1 or (SMALL is not LARGE and SMALL.at_work) or not still_there():
                return None
            began = time.monotonic()
            several = await turn.run(next, growing)
            taken += 1
            # The first brings the network along; the second says what one costs.
            if taken == 2 and (fewer := affordable(steps, time.monotonic() - began)) < steps:
                if not fewer:
                    return ""
                await turn.run(growing.close)  # type: ignore[attr-defined]
                growing, several, steps = strengths(run, most, fewer), None, fewer
        return await turn.run(as_data, several, most, steps)
    finally:
        if turn.lane is not None:
            await turn.run(growing.close)  # type: ignore[attr-defined]
        LARGE.leave(turn)


def as_data(several: Run, most: float, steps: int) -> str:
    """The pictures and numbers of each strength, as HTML that shows nothing; empty where they would be too many."""
    drawn, size = [], 0
    for frame, eps in enumerate([0.0, *radii_up_to(most)]):
        addresses = [pictures.address(pictures.small(picture)) for picture in several.frames[frame]]
        size += sum(map(len, addresses))
        if size > MAX_STRENGTHS_BYTES:
            return ""
        cards = list(zip(addresses, pictures.captions(several, frame), strict=True))
        drawn.append({"eps": eps, "cards": cards, "facts": pictures.facts(several, frame)})
    settings = several.settings
    told = {"norm": settings["norm"], "steps": steps, "seconds": several.seconds}
    text = escape(json.dumps(told | {"rungs": drawn}, ensure_ascii=False), quote=False)
    return f'<pre hidden data-run="{run_key(several)}">{text}</pre>'
