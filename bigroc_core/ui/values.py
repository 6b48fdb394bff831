"""The values that a control takes: from programs, which may send anything, and from the texts of a link."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import gradio as gr

from bigroc_core.messages import short
from bigroc_core.ui.errors import refusal

# On a control whose choices follow another's: all that a link or a program may ask for.
ANY_OF = "any_of"  # or a function that tells them
# On a control that names classifiers: there may be a visitor's own among them.
OF_CLASSIFIERS = "of_classifiers"
# On a slider whose end follows other controls: the most that it may have.
MOST = "most"
MAX_TEXT = 40
C = TypeVar("C", bound=gr.components.Component)


class Unusable(ValueError):
    """A value that the control does not take; the message says what it takes."""


def plainly(control: C) -> C:
    """Make the control refuse a value by its own name, in a sentence, and leave no traceback in the server's log.

    Browsers offer no such value; other clients may send it. Gradio would round 1.5, let NaN through all bounds, and
    take several choices for one.
    """
    own = control.preprocess

    def preprocess(payload: Any) -> Any:
        wanted, fits = _wanted(control, payload)
        # An empty box is for its tab to judge.
        if not fits and not (payload is None and isinstance(control, gr.Number)):
            raise refusal(f"{control.label}: {wanted}, not {short(payload)}")
        try:
            return payload if hasattr(control, ANY_OF) or hasattr(control, MOST) else own(payload)
        except (gr.Error, TypeError, ValueError) as error:
            raise refusal(f"{control.label}: {getattr(error, 'message', 'not a value it takes')}") from None

    # On this one control: a subclass would make Gradio write a stub file beside this module.
    control.preprocess = preprocess  # type: ignore[method-assign]
    return control


def value_of(control: gr.components.Component, given: Sequence[str]) -> Any:
    """The value of a control from the texts of a link; Unusable if the control does not take it."""
    value: Any = [] if list(given) == [""] else list(given)
    if not _several(control):
        if len(given) != 1:
            raise Unusable("it takes one value")
        value = _typed(control, given[0])
    wanted, fits = _wanted(control, value)
    if not fits:
        raise Unusable(f"it takes {wanted}, not {', '.join(given)[:MAX_TEXT] or 'nothing'}")
    most = getattr(control, "max_length", None) or MAX_TEXT
    if isinstance(control, gr.Textbox) and len(value) > most:
        raise Unusable(f"it takes {most} characters at most")
    return value


def _several(control: gr.components.Component) -> bool:
    return isinstance(control, gr.CheckboxGroup) or bool(getattr(control, "multiselect", False))


def _typed(control: gr.components.Component, text: str) -> Any:
    """A text as the control's kind of value, or as it is where it is none."""
    if isinstance(control, gr.Checkbox):
        return {"true": True, "false": False}.get(text, text)
    if isinstance(control, gr.Slider | gr.Number):
        try:
            value = float(text)
        except ValueError:
            return text
        return int(value) if value.is_integer() else value
    return text


def _wanted(control: gr.components.Component, value: Any) -> tuple[str, bool]:
    """What a control takes, in words, and whether a value is such a one; of a text box or an upload, any is."""
    if isinstance(control, gr.Dropdown | gr.Radio | gr.CheckboxGroup):
        several = _several(control)
        told = getattr(control, ANY_OF, None)
        allowed = list(told() if callable(told) else told or ()) or [choice for _, choice in control.choices]
        given = value if several else [value]
        fits = value is None or (isinstance(given, list) and all(one in allowed for one in given))
        return f"{'any' if several else 'one'} of {', '.join(map(str, allowed))}", fits
    if isinstance(control, gr.Number | gr.Slider):
        whole, least = control.precision == 0, control.minimum
        most = getattr(control, MOST, control.maximum)
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        fits = plain and (least is None or value >= least) and (most is None or value <= most)
        fits = fits and (isinstance(value, int) or (math.isfinite(value) and (not whole or value.is_integer())))
        bounds = "" if least is None or most is None else f" from {least:g} to {most:g}"
        return f"a{' whole' if whole else ''} number{bounds}", fits
    return "true or false", isinstance(value, bool) or not isinstance(control, gr.Checkbox)
