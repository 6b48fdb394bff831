"""What survives a reload: the last run of a browser's tab, and the settings in its address."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards
from bigroc_core.experiments.boost import Run
from bigroc_core.limits import KEEP_FILES_SECONDS, MAX_KEPT_RUNS
from bigroc_core.sources import UPLOAD, Source
from bigroc_core.ui import links
from bigroc_core.ui.presets import size_text

ADDRESS_JS = Path(__file__).with_name("address.js").read_text("utf-8")
RAN_JS = """(token, ...values) => {
  const address = window.settingsAre?.('boost', %(names)s, values, 'boost');
  if (address) sessionStorage.setItem('run', JSON.stringify({ address, token }));
}"""
# The token of this browser tab's last run, where its page is loaded again.
TOKEN_JS = """() => {
  const held = JSON.parse(sessionStorage.getItem('run') ?? 'null');
  const query = new URLSearchParams(location.search);
  [...query.keys()].filter((name) => name.startsWith('__')).forEach((name) => query.delete(name));
  return held && sessionStorage.getItem('address') === query.toString() ? held.token : '';
}"""
PRESS_JS = """(said) => {
  const query = new URLSearchParams(location.search), button = query.get('run');
  if (query.get('tab') === 'boost' && (button === 'compared' || (button === 'boost' && said !== 'restored')))
    document.querySelector('#' + button)?.click();
  if (said !== 'restored') return;
  // A comparison has the same settings, and others besides.
  const own = (text) => {
    const query = new URLSearchParams(text ?? '');
    return JSON.stringify(%(names)s.map((name) => query.getAll(name)));
  };
  if (own(JSON.parse(sessionStorage.getItem('run')).address) !== own(sessionStorage.getItem('address')))
    document.querySelector('#status')?.classList.add('stale');
}"""


@dataclass
class Kept:
    """A run, and the files it was made of."""

    run: Run
    files: list[str] | None
    mask_files: list[str] | None
    since: float = field(default_factory=time.monotonic)


class Runs:
    """The last runs of visitors, by tokens that nobody can guess; so many at most, and each for so long."""

    def __init__(self, most: int = MAX_KEPT_RUNS, seconds: float = KEEP_FILES_SECONDS) -> None:
        self._most, self._seconds = most, seconds
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, run: Run, files: list[str] | None, mask_files: list[str] | None) -> str:
        """Keep a run; returns its token."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._kept[token] = Kept(run, files, mask_files)
            self._sweep()
        return token

    def get(self, token: str) -> Kept | None:
        """The run of a token, or None where it is not kept (any more)."""
        with self._lock:
            self._sweep()
            return self._kept.get(token)

    def _sweep(self) -> None:
        old = time.monotonic() - self._seconds
        while self._kept and (len(self._kept) > self._most or next(iter(self._kept.values())).since < old):
            self._kept.popitem(last=False)


RUNS = Runs()


def address_js(restorable: Sequence[links.Restorable]) -> str:
    """What the page runs once so that its tabs have addresses."""
    within = {one.tab: one.within[0] for one in restorable if one.within}
    return ADDRESS_JS % {"within": json.dumps(within)}


@dataclass(frozen=True)
class Memory:
    """Of the Boost tab: the run's token as the page has it, and whether a reload has brought it back."""

    token: gr.Textbox
    said: gr.Textbox


@dataclass(frozen=True)
class Back:
    """What a reload brings back: a run's outputs, the size of its images, and what the outputs show of a run."""

    memory: Memory
    outputs: Sequence[Any]
    size: gr.Textbox
    shown: Callable[[Run], Sequence[Any]]


def remember(run: gr.State, form: Any, ended: Sequence[Any], shared: Mapping[str, gr.components.Component]) -> Memory:
    """Keep each run that has ended, by whichever of these events."""
    memory = Memory(gr.Textbox(visible=False, label="Run"), gr.Textbox(visible=False, label="Restored"))
    given: list[Any] = [run, form.controls["files"], form.controls["mask_files"]]
    quiet: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}
    js = RAN_JS % {"names": json.dumps(list(shared))}
    for event in ended:
        kept = event.success(RUNS.keep, given, memory.token, **quiet)
        kept.then(None, [memory.token, *shared.values()], None, js=js, api_visibility="private")
    return memory


def bring_back(followed: Any, form: Any, back: Back) -> None:
    """Once a link is followed: the run that this browser's tab had under it, else the run that it asks for."""
    memory = back.memory

    def restored(token: str) -> dict[Any, Any]:
        kept = RUNS.get(token or "")
        if kept is None or kept.run.settings["classifier"] not in classifier_cards():  # a visitor's own, which has gone
            return {memory.said: ""}
        updates = dict(zip(back.outputs, back.shown(kept.run), strict=True))
        for name, paths in (("files", kept.files), ("mask_files", kept.mask_files)):
            if paths and all(Path(path).is_file() for path in paths):
                updates[form.controls[name]] = paths
        if kept.files:
            typical = Source(kind=UPLOAD, files=tuple(kept.files)).typical_size("cpu")
            updates |= {back.size: size_text(typical)} if typical else {}
        return updates | {memory.said: "restored"}

    every = [*back.outputs, form.controls["files"], form.controls["mask_files"], back.size, memory.said]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    brought = followed.then(restored, memory.token, every, js=TOKEN_JS, **quiet)
    js = PRESS_JS % {"names": json.dumps(list(form.shared))}
    brought.then(None, memory.said, None, js=js, api_visibility="private")
