"""A request's form, endpoint and checks, read from its fields."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import gradio as gr

from bigroc_core.settings import Request, Unfit, default_of, described, hints
from bigroc_core.ui import links
from bigroc_core.ui.errors import explained, sentence
from bigroc_core.ui.live import Stops, canceller

# Uploads come last in an endpoint, and may be left out.
UPLOADS = ("files", "file")


def control(request: type[Request], name: str, **options: Any) -> gr.components.Component:
    """The control of one setting: what kind it is follows from the field's type and bounds.

    options: in place of what the field says, such as value, label, info, maximum or choices, or any of Gradio's.
    """
    told, hint = described(request)[name], hints(request)[name]
    kind = typing.get_origin(hint) or hint
    value = default_of(request, name)
    choices = options.pop("choices", None) or told.options()
    made: type[gr.components.Component]
    own: dict[str, Any] = {}
    if kind is tuple and choices and not callable(told.choices):
        made, value, own = gr.CheckboxGroup, list(value), {"choices": choices}
    elif kind is tuple:
        made, value, own = gr.Dropdown, list(value), {"choices": choices, "multiselect": True}
    elif choices and (len(choices) > 4 or callable(told.choices)):
        made, own = gr.Dropdown, {"choices": choices, "filterable": len(choices) > 20}
    elif choices:
        made, own = gr.Radio, {"choices": choices}
    elif kind is bool:
        made = gr.Checkbox
    elif kind in (int, float) and told.most is not None and told.most < 2**31:
        made, own = gr.Slider, {"minimum": told.least or 0, "maximum": told.most, "step": told.step or 1, "buttons": []}
    elif kind is int:
        made, own = gr.Number, {"precision": 0}
    else:
        made, value, own = gr.Textbox, "" if value is None else str(value), {"max_lines": 1}
    words = {"value": value, "label": told.label or name, "info": told.info or None}
    return plainly(made(**words | own | options))


def plainly(control: gr.components.Component) -> gr.components.Component:
    """Make the control's refusal of a value name the control, and leave no traceback in the server's log.

    Browsers offer no such value; other clients may send it.
    """
    own = control.preprocess

    def preprocess(payload: Any) -> Any:
        try:
            return own(payload)
        except (gr.Error, TypeError, ValueError) as error:
            said = getattr(error, "message", "not a value it takes")
            raise gr.Error(f"{control.label}: {said}", print_exception=False) from None

    # On this one control: a subclass would make Gradio write a stub file beside this module.
    control.preprocess = preprocess  # type: ignore[method-assign]
    return control


class Form:
    """The controls of a request, by its fields' names, as they are laid out."""

    def __init__(self, request: type[Request], **values: Any) -> None:
        """values: what the controls begin with, where that is not the fields' default."""
        self.request, self.values = request, values
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
        """The settings in their order, uploads last, which is the order of an endpoint's inputs."""
        return _ordered(hints(self.request))

    @property
    def inputs(self) -> list[gr.components.Component]:
        """The controls in that order."""
        return [self.controls[name] for name in self.names]

    @property
    def shared(self) -> dict[str, gr.components.Component]:
        """What a link restores: all controls but uploads."""
        return {name: self.controls[name] for name in self.names if name not in UPLOADS}


def _ordered(names: typing.Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name in UPLOADS)


def endpoint(request: type[Request], **extras: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a handler (request, visitor, extra values by name) the signature and documentation that Gradio reads.

    It yields what it shows again and again, or returns it.

    extras: further inputs, which change no result, with their line of help. What is wrong with the request, or raised
    as ValueError while it is carried out, becomes a message on the page.
    """

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        names = _ordered(hints(request))
        known = inspect.Parameter.POSITIONAL_OR_KEYWORD
        last = [name for name in names if name in UPLOADS]
        parameters = [inspect.Parameter(name, known) for name in [*names[: len(names) - len(last)], *extras]]
        parameters.append(inspect.Parameter("request", known, annotation=gr.Request))
        parameters += [inspect.Parameter(name, known, default=None) for name in last]
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


def for_programs(page: Callable[..., Iterator[tuple[Any, ...]]]) -> Callable[..., Iterator[tuple[Any, ...]]]:
    """The page's handler without its first result, the run that its other controls look at.

    MCP clients keep no such state, and those that ask for no progress would get nothing but an empty answer with it.
    """

    @functools.wraps(page)
    def without_state(*values: Any, **named: Any) -> Iterator[tuple[Any, ...]]:
        with closing(page(*values, **named)) as growing:  # type: ignore[type-var]
            for shown in growing:
                yield shown[1:]

    return without_state


def problems_of(request: type[Request], values: dict[str, Any]) -> dict[str, str]:
    """What is wrong with a form's values, by control, as sentences."""
    try:
        request(**values)
    except Unfit as unfit:
        return {name: sentence(ValueError(problem)) for name, problem in unfit.problems.items()}
    return {}


def checker(form: Form, stops: Stops | None, extras: Sequence[str] = ()) -> Callable[..., list[dict[str, Any]]]:
    """A validator that says at each control what is wrong with it, before anything is computed or waits in a queue.

    stops: who hears of what is right; None where a run is no part of the request.
    """
    uploads = [name for name in form.names if name in UPLOADS]
    order = [*(name for name in form.names if name not in UPLOADS), *extras, *uploads]

    def check(*values: Any) -> list[dict[str, Any]]:
        *given, visitor = values
        named = dict(zip(order, given, strict=True))
        problems = problems_of(form.request, {name: named[name] for name in form.names})
        if not problems and stops is not None:
            stops.accept(visitor.session_hash)
        return [gr.validate(name not in problems, problems.get(name, "")) for name in order]

    parameters = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in order]
    parameters.append(inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request))
    check.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    check.__annotations__ = {"request": gr.Request}
    return check


def connect(
    form: Form,
    handler: Callable[..., Any],
    stops: Stops,
    outputs: Sequence[gr.blocks.Block],
    buttons: tuple[gr.Button, gr.Button],
    names: tuple[str, str, str],
    extras: dict[str, gr.components.Component] | None = None,
) -> None:
    """Connect a tab's two buttons, Go and Cancel, and the endpoint that programs call.

    outputs: the first may be the State of the run that the tab's other controls look at, and then the status line's
    HTML; what programs get leaves the State out. names: of the endpoint, of the one that cancels, and what the API says
    of that.
    """
    go, stop = buttons
    api_name, cancel_name, cancel_doc = names
    uploads = [form.controls[name] for name in form.names if name in UPLOADS]
    inputs = [*form.shared.values(), *(extras or {}).values(), *uploads]
    stateful = isinstance(outputs[0], gr.State)
    status: Any = outputs[1 if stateful else 0]
    go.click(
        handler,
        inputs,
        outputs,
        api_name=f"{api_name}_page",
        api_visibility="undocumented",
        validator=checker(form, stops, list(extras or {})),
        concurrency_id="compute",
        show_progress="minimal",
        show_progress_on=status,
        js=show_results_js(status.elem_id),
    )
    stop.click(
        canceller(stops, cancel_doc), None, None, api_name=cancel_name, concurrency_limit=None, show_progress="hidden"
    )
    # Clients have no controls to show a problem at: they get it as a message, from the same handler unvalidated.
    gr.Button(visible=False).click(
        for_programs(handler) if stateful else handler,
        inputs,
        list(outputs[1:] if stateful else outputs),
        api_name=api_name,
        concurrency_id="compute",
    )


def show_results_js(status: str) -> str:
    """What a button runs in the browser: on a phone the results lie below the controls, so go to this status line."""
    return f"""(...values) => {{
  if (window.innerWidth < 700) document.querySelector('#{status}').scrollIntoView({{ behavior: 'smooth' }});
  return values;
}}"""


def restored(form: Form, values: dict[str, Any]) -> dict[str, Any]:
    """The updates that bring a form's controls to a link's values, by name; the others stay as they are."""
    return {name: gr.update(value=values[name]) if name in values else gr.skip() for name in form.shared}


def restorable(tab: str, form: Form, **more: Any) -> links.Restorable:
    """What a link to a tab restores where nothing else follows from its values."""
    return links.Restorable(
        tab, form.shared, list(form.shared.values()), lambda values: list(restored(form, values).values()), **more
    )
