"""Links that restore a tab's controls: their values as query parameters, checked against the controls on the way in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from starlette.datastructures import QueryParams

from bigroc_core.ui import errors
from bigroc_core.ui.values import MAX_TEXT, OF_CLASSIFIERS, Unusable, value_of

# How a visitor's own checkpoint is called: by its file, and a number where there was one before.
OWN_FILE = re.compile(r"\.(pt|pth|ckpt|bin|safetensors)( \(\d+\))?$")
# The parameter that names the button which a link presses once its controls are restored.
RUN = "run"
RUN_JS = """() => {
  const query = new URLSearchParams(location.search), button = query.get('%(run)s'), tab = (%(buttons)s)[button];
  if (tab && tab === query.get('tab')) document.querySelector('#' + button)?.click();
}"""
# These buttons, and the tabs that they are in.
BUTTONS = {
    "boost": "boost",
    "compared": "boost",
    "balls": "threat-models",
    "aligned": "every-class",
    "interpolate": "interpolate",
    "debias": "debias",
}
# What address.js keeps in the browser's bar: settings as they change, and those that the last run had.
SETTINGS_JS = "(...values) => { window.settingsAre?.(%(tab)s, %(names)s, values); }"
RAN_JS = "(...values) => { window.settingsAre?.(%(tab)s, %(names)s, values, %(button)s); }"

# A link is made in the browser, which alone knows under which address it reached the page.
LINK_JS = """(...values) => {
  const query = new URLSearchParams({ tab: %(tab)s, ...%(run)s });
  %(names)s.forEach((name, i) => {
    const value = values[i];
    if (value === null || value === undefined) return;
    const several = Array.isArray(value) ? value : [value];
    // None of several is said by one empty text: no text at all leaves the control as it is.
    (several.length ? several : ['']).forEach((one) => query.append(name, one));
  });
  const link = `${location.origin}${location.pathname}?${query}`;
  navigator.clipboard?.writeText(link).catch(() => {});
  return { __type__: 'update', value: link, visible: true };
}"""


@dataclass(frozen=True)
class Restorable:
    """A tab that links restore. tab: its id. shared: its controls by the names in a link. outputs: what `apply` sets.

    within: of a tab inside another one, that other's id and the inner tabs.
    apply: from the link's values by name to the outputs' updates; ValueError where they do not go together.
    """

    tab: str
    shared: Mapping[str, gr.components.Component]
    outputs: Sequence[gr.blocks.Block]
    apply: Callable[[dict[str, Any]], Sequence[Any]]
    within: tuple[str, gr.Tabs] | None = None

    @property
    def tabs(self) -> list[gr.Tabs]:
        """The inner tabs, if there are any, as outputs."""
        return [self.within[1]] if self.within else []

    def selection(self) -> list[gr.Tabs]:
        """The updates that bring it to the front: of the page's tabs, and of the inner ones."""
        names = [self.within[0], self.tab] if self.within else [self.tab]
        return [gr.Tabs(selected=name) for name in names]


def nothing_but(tab: str) -> Restorable:
    """A tab without controls, which a link brings to the front."""
    return Restorable(tab, {}, [], lambda _values: [])


def follow_links(page: gr.Blocks, tabs: gr.Tabs, restorable: Sequence[Restorable]) -> Any:
    """Restore a tab when the page is opened by a link to it. Returns the event, one for all tabs since each takes its
    time; it presses no button of the Boost tab yet."""
    address = gr.Textbox(visible=False, label="Query of the page's address")
    outputs = [tabs, *(output for one in restorable for output in (*one.tabs, *one.outputs))]
    # An address without settings changes nothing, and asks the server nothing.
    page.load(None, None, address, js="() => location.search.slice(0, 4000)", api_visibility="private")
    # Through the queue, without which a warning does not reach the page; it waits for no computation there.
    followed = address.change(
        follower(restorable, tabs),
        address,
        list(dict.fromkeys(outputs)),
        api_visibility="private",
        concurrency_limit=None,
        show_progress="hidden",
    )
    press = {"run": RUN, "buttons": json.dumps({name: tab for name, tab in BUTTONS.items() if tab != "boost"})}
    followed.then(None, js=RUN_JS % press, api_visibility="private")
    return followed


def follower(restorable: Sequence[Restorable], tabs: gr.Tabs) -> Callable[[str], Any]:
    """What answers the page's address with the updates of the tab that it is a link to, if it is one."""
    named = {one.tab: one for one in restorable}

    def follow(address: str) -> Any:
        query = QueryParams((address or "").removeprefix("?"))
        one = named.get(query.get("tab", ""))
        if one is None:
            if "tab" in query:
                warn([f"there is no tab {query['tab'][:MAX_TEXT]!r}"], restored=False)
            return gr.skip()
        updates: dict[gr.blocks.Block, Any] = dict(zip([tabs, *one.tabs], one.selection(), strict=True))
        values, problems = read(query, one.shared)
        whole = True
        if values:  # else the tab stays at its opening, whose controls are those of the example shown
            try:
                restored = one.apply(values)
            except ValueError as error:
                problems, whole = [*problems, str(error)], False
            else:
                updates |= zip(one.outputs, restored, strict=True)
        warn(problems, whole)
        return updates  # Gradio leaves alone what is not in it

    return follow


def link_button(
    tab: str,
    shared: Mapping[str, gr.components.Component],
    says: str = "Link to these settings",
    name: str = "",
    run: str = "",
) -> None:
    """A button that makes a link to the tab as its controls stand, shows it and copies it. name: the tab's, or that of
    a part of it which has a link of its own. run: the button that it presses, where it shall not only restore."""
    ask = gr.Button(says, size="sm")
    # One that is not interactive would be out of the keyboard's reach, and a button in it would take its name.
    shown = gr.Textbox(
        label="Link",
        interactive=True,
        visible="hidden",
        elem_id=f"{name or tab}-link",
        info="It restores these controls, and is in the clipboard where the browser allows it. "
        "Uploaded files are not part of it.",
    )
    if not name:
        follow_settings(tab, shared)
    code = LINK_JS % {
        "tab": json.dumps(tab),
        "names": json.dumps(list(shared)),
        "run": json.dumps({RUN: run} if run else {}),
    }
    ask.click(None, list(shared.values()), shown, js=code, api_visibility="private")


def follow_settings(tab: str, shared: Mapping[str, gr.components.Component]) -> None:
    """Write a tab's settings into the page's address as they change."""
    controls: list[Any] = list(shared.values())
    js = SETTINGS_JS % {"tab": json.dumps(tab), "names": json.dumps(list(shared))}
    gr.on([one.change for one in controls], None, controls, None, js=js, api_visibility="private")


def read(query: QueryParams, shared: Mapping[str, gr.components.Component]) -> tuple[dict[str, Any], list[str]]:
    """The values of a link's parameters by the controls' names, and a sentence for each that its control refuses.

    A parameter that is not there leaves its control as it is; one of an unknown name is refused.
    """
    values: dict[str, Any] = {}
    problems = []
    for name in dict.fromkeys(query.keys()):
        if name in ("tab", RUN) or name.startswith("__"):  # Gradio's own: __theme, __lang
            continue
        if name not in shared:
            problems.append(f"there is no control {name[:MAX_TEXT]!r}")
            continue
        try:
            values[name] = value_of(shared[name], query.getlist(name))
        except Unusable as error:
            own = _own_file(shared[name], query.getlist(name))
            problems.append(f"{name}: {own or error}")
    return values, problems


def _own_file(control: gr.components.Component, given: Sequence[str]) -> str:
    """What is said of a link to a visitor's own checkpoint, "" where it is none."""
    files = [text for text in given if getattr(control, OF_CLASSIFIERS, False) and OWN_FILE.search(text)]
    return f"{files[0][:MAX_TEXT]} is somebody's own file, which no link restores: upload it again" if files else ""


def warn(problems: Sequence[str], restored: bool = True) -> None:
    """Say what a link asked for and did not get. restored: whether it got the rest."""
    told = "; ".join(problems[:5])
    if problems and restored:
        errors.warn(f"This link could not be followed in all: {told}. The rest is restored.")
    elif problems:
        errors.warn(f"This link could not be followed: {told}. The settings are as the page opens with them.")
