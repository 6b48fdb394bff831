"""A class clicked under the image shown large moves that image towards it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from bigroc_core.experiments.boost import Run
from bigroc_core.experiments.repaint import computing, repainted
from bigroc_core.limits import MAX_LIGHT_COMPUTING
from bigroc_core.messages import in_words
from bigroc_core.ui import controls, pictures
from bigroc_core.ui.boost_results import checked_gain, place_in, results, settings_said
from bigroc_core.ui.errors import explained
from bigroc_core.ui.live import Stops, in_turn
from bigroc_core.ui.turns import LARGE, SMALL, Line

# A run that was asked for and refused has no settings that this one could be of.
FORGET_JS = """() => {
  const status = document.querySelector('#status');
  if (status?.querySelector('.running')) return;
  delete status?.dataset.asked;
  window.runRefused?.('boost');
}"""
CLICK_JS = (
    f"""
const forgetRefused = {FORGET_JS};"""
    """
element.addEventListener('click', (event) => {
  const chosen = event.target.closest('[data-class]');
  if (!chosen) return;
  window.repaintClicked = performance.now();
  forgetRefused();
  trigger('click', { target_class: chosen.dataset.class });
});
"""
)


def connect(
    run: gr.State, looked: Sequence[Any], large: gr.HTML, others: gr.Dropdown, outputs: Sequence[Any], stops: Stops
) -> list[Any]:
    """Repaint the image shown large where a class is clicked, or chosen among many. looked: the controls of the step,
    the image and the difference. Returns the events."""
    given, shape = [run, *looked], (len(outputs), 1)
    quiet: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}
    clicked = large.click(in_turn(towards_clicked, stops, shape, line_of, fails=True), given, outputs, **quiet)
    others.input(None, None, js=FORGET_JS, api_visibility="private")
    chosen = others.input(in_turn(towards_named, stops, shape, line_of, fails=True), [*given, others], outputs, **quiet)
    return [clicked, chosen]


def other_classes() -> gr.Dropdown:
    """Any of many classes, found by typing."""
    return controls.dropdown(
        [],
        "Or towards any other class",
        value=None,
        visible=False,
        filterable=True,
        elem_id="other-classes",
        info="Type to find it; the image shown large is moved towards it.",
    )


def offer_others(run: Run) -> Any:
    """The classes of a run's classifier, where they are too many for buttons."""
    return gr.update(
        choices=controls.class_choices(run.classes), value=None, visible=len(run.classes) > pictures.MANY_CLASSES
    )


def line_of(given: Mapping[str, Any]) -> Line:
    """Where it waits: with the small ones, if it computes little."""
    return SMALL if computing(given["run"], 0, "") <= MAX_LIGHT_COMPUTING else LARGE


def towards_clicked(
    run: Run, step: float, image: float, gain: float, event: gr.EventData, visitor: gr.Request
) -> Iterator[tuple[Any, ...]]:
    """Move the image shown large towards the class that was clicked."""
    yield _shown(run, image, gain, str(event.target_class))


def towards_named(
    run: Run, step: float, image: float, gain: float, name: str, visitor: gr.Request
) -> Iterator[tuple[Any, ...]]:
    """Move the image shown large towards the class of this name."""
    yield _shown(run, image, gain, name)


def _shown(run: Run, image: float, gain: float, name: str) -> tuple[Any, ...]:
    with explained():
        began = time.perf_counter()
        if not run.steps or run.preview is not None:
            raise ValueError("this run has not ended yet: repaint its images once it has")
        _, index = place_in(run, 0, image)
        again = repainted(run, index, name)
        shown = list(results(again, index, checked_gain(gain)))
        text = f"Image {index + 1} repainted towards {escape(in_words(name))} in {time.perf_counter() - began:.2f} s"
        shown[1] = pictures.progress(1, 1, text + settings_said(again) + pictures.folded(again.notes), "finished")
        return tuple(shown)
