"""A request's form, endpoint and checks, read from its fields."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import gradio as gr

from bigroc_core.catalogue import classifier_cards, usual_precision
from bigroc_core.settings import Request, Unfit, default_of, described, hints
from bigroc_core.sources import classifier_choices
from bigroc_core.ui import links
from bigroc_core.ui.errors import explained, validations
from bigroc_core.ui.live import Stops, canceller, in_turn
from bigroc_core.ui.turns import LARGE, Line
from bigroc_core.ui.values import ANY_OF, OF_CLASSIFIERS, plainly

# Characters of a row of numbers, so many as the longest that is of use.
MAX_NUMBERS = 200


def is_upload(name: str) -> bool:
    """Whether a setting is an upload: these come last in an endpoint, and may be left out."""
    return name in ("files", "file") or name.endswith(("_file", "_files"))


def control(request: type[Request], name: str, **options: Any) -> gr.components.Component:
    """The control of one setting: what kind it is follows from the field's type and bounds.

    options: in place of what the field says, such as value, label, info, maximum or choices, or any of Gradio's.
    """
    told, hint = described(request)[name], hints(request)[name]
    kind = typing.get_origin(hint) or hint
    value = options.pop("value", default_of(request, name))
    if is_upload(name):
        return plainly(gr.File(label=told.label, file_count="multiple" if kind is tuple else "single", **options))
    choices = options.pop("choices", None) or told.options()
    made: type[gr.components.Component]
    own: dict[str, Any] = {}
    if kind is tuple and typing.get_args(hint)[0] in (int, float):
        made, value, own = gr.Textbox, as_text(value), {"max_lines": 1, "max_length": MAX_NUMBERS}
    elif kind is tuple and told.choices and not callable(told.choices):
        made, value, own = gr.CheckboxGroup, list(value), {"choices": choices}
    elif kind is tuple:
        made, value, own = gr.Dropdown, list(value), {"choices": choices, "multiselect": True}
    elif choices and (len(choices) > 4 or callable(told.choices)):
        made, own = gr.Dropdown, {"choices": choices, "filterable": len(choices) > 20}
        value = value or choices[0][1]
    elif choices:
        made, own = gr.Radio, {"choices": choices}
    elif kind is bool:
        made = gr.Checkbox
    elif kind in (int, float) and told.most is not None and told.most < 2**31:
        made, own = gr.Slider, {"minimum": told.least or 0, "maximum": told.most, "step": told.step or 1, "buttons": []}
    elif kind is int:
        made, own = gr.Number, {"precision": 0}
    else:
        made, value, own = gr.Textbox, as_text(value), {"max_lines": 1}
    words = {"value": value, "label": told.label or name, "info": told.info or None}
    ready = plainly(made(**words | own | options))
    if told.choices is classifier_choices:
        setattr(ready, OF_CLASSIFIERS, True)
        setattr(ready, ANY_OF, classifier_cards)
    return ready


def as_text(value: Any) -> str:
    """What a text box shows for a number, several of them, a text, or nothing."""
    if isinstance(value, tuple | list):
        return ", ".join(map(as_text, value))
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"


class Form:
    """The controls of a request, by its fields' names, as they are laid out."""

    def __init__(self, request: type[Request], **values: Any) -> None:
        """values: what the controls begin with, where that is not the fields' default."""
        # Of the machine, whatever an example kept here was made with.
        own = {"precision": usual_precision()} if "precision" in hints(request) else {}
        self.request, self.values = request, values | own
        # The name of a control that also says what is wrong with those laid out elsewhere, by the form's values.
        self.repeats: Callable[[dict[str, Any]], str] | None = None
        # The control, always in sight, that also says what is wrong with those in a box that is folded in.
        self.in_sight: str | None = None
        # How many of the outputs, the last, programs do not get, as they called the endpoint before these were there.
        self.of_page = 0
        self.controls: dict[str, gr.components.Component] = {}

    def add(self, name: str, **options: Any) -> Any:
        """Lay out one setting's control, made as `control` has it."""
        if name in self.values:
            options = {"value": self.values[name]} | options
        return self.put(name, control(self.request, name, **options))

    def put(self, name: str, made: Any) -> Any:
        """Take a control of the tab's own as a setting's."""
        self.controls[name] = made
        return made

    @property
    def names(self) -> list[str]:
        """The settings in the order of an endpoint's inputs."""
        return _named(self.request)

    def inputs(self, extras: Sequence[gr.components.Component] = ()) -> list[gr.components.Component]:
        """The controls in that order. extras: of the endpoint's further inputs."""
        names = _named(self.request, extras)
        return [self.controls[one] if isinstance(one, str) else one for one in names]

    @property
    def shared(self) -> dict[str, gr.components.Component]:
        """What a link restores: all controls but uploads."""
        return {name: self.controls[name] for name in shared_names(self.request)}


def shared_names(request: type[Request]) -> list[str]:
    """The settings that a link restores, in their order: all but uploads."""
    return [name for name in hints(request) if not is_upload(name)]


def _named(request: type[Request], extras: typing.Iterable[Any] = ()) -> list[Any]:
    """A request's settings in the order of an endpoint's inputs, with the further ones in their place: what may be left
    out comes last, uploads and what has come since programs began to call it."""
    optional = {name: (told.added, is_upload(name)) for name, told in described(request).items()}
    first = [name for name, known in optional.items() if not any(known)]
    return [*first, *extras, *sorted((name for name in optional if name not in first), key=optional.__getitem__)]


def endpoint(request: type[Request], **extras: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a handler (request, visitor, extra values by name) the signature and documentation that Gradio reads.

    It yields what it shows again and again, or returns it.

    extras: further inputs, which change no result, with their line of help. What is wrong with the request, or raised
    as ValueError while it is carried out, becomes a message on the page.
    """

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        visitor = inspect.Parameter("request", kind, annotation=gr.Request)
        parameters = [inspect.Parameter(name, kind) for name in _named(request, [*extras, "request"])]
        parameters = [visitor if one.name == "request" else one for one in parameters]
        for place in range(parameters.index(visitor) + 1, len(parameters)):
            default = default_of(request, parameters[place].name)
            if default is not dataclasses.MISSING:
                parameters[place] = parameters[place].replace(default=default or None)
        signature = inspect.Signature(parameters)

        def answer(values: tuple[Any, ...], named: dict[str, Any]) -> Any:
            given = signature.bind(*values, **named)
            given.apply_defaults()
            visitor = given.arguments.pop("request")
            more = {name: given.arguments.pop(name) for name in extras}
            return handler(request(**given.arguments), visitor, **more)

        @functools.wraps(handler)
        def growing(*values: Any, **named: Any) -> Iterator[Any]:
            with explained():
                yield from answer(values, named)

        @functools.wraps(handler)
        def whole(*values: Any, **named: Any) -> Any:
            with explained():
                return answer(values, named)

        called: Callable[..., Any] = growing if inspect.isgeneratorfunction(handler) else whole

        told = {name: one.help for name, one in described(request).items()} | extras
        order = [name for name in signature.parameters if name != "request"]
        called.__signature__ = signature  # type: ignore[attr-defined]
        called.__annotations__ = {"request": gr.Request}
        called.__doc__ = f"{inspect.cleandoc(handler.__doc__ or '')}\n\nArgs:\n" + "".join(
            f"    {name}: {told[name]}\n" for name in order
        )
        return called

    return decorate


def for_programs(
    page: Callable[..., Iterator[tuple[Any, ...]]], count: int
) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """The page's handler without its first result, the run that its other controls look at; so many of the others.

    MCP clients keep no such state, and those that ask for no progress would get nothing but an empty answer with it.
    """

    @functools.wraps(page)
    def without_state(*values: Any, **named: Any) -> Iterator[tuple[Any, ...]]:
        with closing(page(*values, **named)) as growing:  # type: ignore[type-var]
            for shown in growing:
                yield shown[1 : count + 1]

    return without_state


def problems_of(request: type[Request], values: dict[str, Any]) -> dict[str, str]:
    """What is wrong with a form's values, by control."""
    try:
        request(**values)
    except Unfit as unfit:
        return unfit.problems
    return {}


def checker(form: Form, stops: Stops | None, extras: Sequence[str] = ()) -> Callable[..., list[dict[str, Any]]]:
    """A validator that says at each control what is wrong with it, before anything is computed or waits in a queue.

    stops: who hears of what is right; None where a run is no part of the request.
    """
    order, labels = _named(form.request, extras), described(form.request)
    folded = {name: box for name, one in form.controls.items() if (box := _folded_in(one))}

    def check(*values: Any) -> list[dict[str, Any]]:
        *given, visitor = values
        named = dict(zip(order, given, strict=True))
        found = problems_of(form.request, {name: named[name] for name in form.names})
        problems = {name: _of_control(name, labels[name].label, text) for name, text in found.items()}
        if not problems and stops is not None:
            stops.accept(visitor.session_hash)
        elif form.repeats:
            problems.setdefault(form.repeats(named), f"In the settings above: {next(iter(problems.values()))}")
        elif form.in_sight and (unseen := next((name for name in problems if name in folded), None)):
            problems.setdefault(form.in_sight, f"In {folded[unseen]}: {problems[unseen]}")
        return validations(order, problems)

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in order]
    parameters.append(inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request))
    check.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    check.__annotations__ = {"request": gr.Request}
    return check


def _of_control(name: str, label: str | None, problem: str) -> str:
    """What is wrong with a setting, by the name that its control has on the page."""
    each = f"each of the {name} must "
    if label and problem.startswith(each):
        return f"each of the {label[:1].lower()}{label[1:]} must {problem.removeprefix(each)}"
    return f"{label}{problem.removeprefix(name)}" if label and problem.startswith(f"{name} must ") else problem


def _folded_in(control: gr.blocks.Block) -> str:
    """The name of the box that a control is folded into, "" if it is in sight: Gradio shows nothing of what is wrong
    there, not even when the box is opened later."""
    box: Any = control
    while (box := box.parent) is not None:
        if isinstance(box, gr.Accordion) and not box.open:
            return str(box.label)
    return ""


def run_buttons(says: str, elem_id: str) -> tuple[gr.Button, gr.Button]:
    """The buttons that begin a run and cancel it."""
    with gr.Row():
        go = gr.Button(says, variant="primary", elem_id=elem_id, scale=3)
        return go, gr.Button("Cancel", variant="stop", elem_id=f"{elem_id}-cancel", scale=1, min_width=90)


def connect(
    form: Form,
    handler: Callable[..., Any],
    stops: Stops,
    outputs: Sequence[gr.blocks.Block],
    buttons: tuple[gr.Button, gr.Button | None],
    names: tuple[str, str, str],
    extras: dict[str, gr.components.Component] | None = None,
    line_of: Callable[[Mapping[str, Any]], Line] = lambda _values: LARGE,
) -> Any:
    """Connect a tab's two buttons, Go and Cancel, and the endpoint that programs call; no Cancel where another form's
    stops this run as well. Returns the event of the first.

    outputs: the first may be the State of the run that the tab's other controls look at, and then the status line's
    HTML; what programs get leaves the State out. names: of the endpoint, of the one that cancels, and what the API says
    of that. line_of: where a request waits for its turn, by its values' names.
    """
    go, stop = buttons
    api_name, cancel_name, cancel_doc = names
    inputs = form.inputs(list((extras or {}).values()))
    stateful = isinstance(outputs[0], gr.State)
    status: Any = outputs[1 if stateful else 0]
    shape = (len(outputs), 1 if stateful else 0)
    tab, begins, button = links.BUTTONS.get(str(go.elem_id)), "", json.dumps(go.elem_id)
    if tab:
        order = _named(form.request, extras or {})
        shared = json.dumps(list(form.shared))
        given = f"{[order.index(name) for name in form.shared]}.map((i) => values[i])"
        begins = f"window.runBegins?.({button}, {json.dumps(tab)}, {shared}, {given});"
    run = go.click(
        in_turn(handler, stops, shape, line_of, fails=True),
        inputs,
        outputs,
        api_name=f"{api_name}_page",
        api_visibility="undocumented",
        validator=checker(form, stops, list(extras or {})),
        concurrency_limit=None,  # in_turn lets it wait
        show_progress="minimal",
        show_progress_on=status,
        js=show_results_js(status.elem_id, begins),
    )
    # What was refused before it began has changed nothing.
    run.failure(None, status, status, js=STOPPED_JS % {"button": button}, api_visibility="private")
    # It changes with the first that a run shows; what was shown before may read the same as its end.
    for shows in (status.change, run.success):
        shows(None, status, None, js=shown_js(status.elem_id), api_visibility="private")
    if stop is not None:
        mark_moved(form, status.elem_id)
    if tab and go.elem_id != "boost":
        told = {"tab": tab, "names": list(form.shared), "button": go.elem_id}
        js = links.RAN_JS % {name: json.dumps(value) for name, value in told.items()}
        run.success(None, list(form.shared.values()), None, js=js, api_visibility="private")
    if stop is not None:
        cancel = canceller(stops, cancel_doc)
        stop.click(cancel, None, None, api_name=cancel_name, concurrency_limit=None, show_progress="hidden")
    # Clients have no controls to show a problem at: they get it as a message, from the same handler unvalidated.
    shown = list(outputs[1 : len(outputs) - form.of_page] if stateful else outputs)
    alone = for_programs(handler, len(shown)) if stateful else handler
    gr.Button(visible=False).click(
        in_turn(alone, stops, (len(shown), 0), line_of), inputs, shown, api_name=api_name, concurrency_limit=None
    )
    return run


ENDED = "Ended by an error, which the message says; what is below is not finished."


def stale_js(*statuses: str) -> str:
    """What a control runs in the browser when it is moved: these status lines say that their runs had other settings,
    as one that has been asked for and shows something later will have, too."""
    return f"""() => {json.dumps([f"#{one}" for one in statuses])}.forEach((id) => {{
  const status = document.querySelector(id);
  status?.classList.add('stale');
  if (status) delete status.dataset.asked;
}})"""


def mark_moved(form: Form, status: str) -> None:
    """Let each of a form's controls, once it is moved by hand, mark the status line."""
    moved: list[Any] = []
    for name, made in form.controls.items():
        one: Any = made
        moved += [one.upload, one.clear, one.delete] if is_upload(name) else [one.input]
    gr.on(moved, None, js=stale_js(status), api_visibility="private")


STOPPED_JS = f"""(shown) => {{
  window.runRefused?.(%(button)s);
  return shown.includes('class="status running"')
    ? shown.replace('class="status running"', 'class="status stopped"')
        .replace(/<span>[^]*<\\/span>/, '<span>{ENDED}</span>')
    : shown;
}}"""


def shown_js(status: str) -> str:
    """What a status line runs when it changes: only once a run shows something is what is there of its settings. One
    that is refused, or cancelled while it waits, leaves that as it is, and the mark on it."""
    return f"""(shown) => {{
  const status = document.querySelector('#{status}');
  if (!status || !('asked' in status.dataset) || shown.includes(' data-waits>')) return;
  delete status.dataset.asked;
  status.classList.remove('stale');
}}"""


def show_results_js(status: str, begins: str = "") -> str:
    """What a button runs in the browser: on a phone the results lie below the controls, so go to this status line.
    begins: what else it does with the `values` of its inputs."""
    return f"""(...values) => {{
  {begins}
  document.querySelector('#{status}').dataset.asked = '';
  delete document.querySelector('#{status} .status span')?.dataset.shown;
  if (window.innerWidth < 700) document.querySelector('#{status}').scrollIntoView({{ behavior: 'smooth' }});
  return values;
}}"""


def restored(form: Form, values: dict[str, Any]) -> dict[str, Any]:
    """The updates that bring a form's controls to a link's values, by name; the others stay as they are."""
    return {name: gr.update(value=values[name]) if name in values else gr.skip() for name in form.shared}
