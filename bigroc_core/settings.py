"""Requests: frozen dataclasses whose fields say, once, what page, command line and API need to know of each setting.

A request's class is what an experiment takes. Its fields are written with `setting`; the page's form, an endpoint's
signature and documentation, a command's options, links and recipes are all read from them.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bigroc_core.checks import number, whole
from bigroc_core.messages import short

Choices = Sequence[Any] | Callable[[], Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one setting, but for its name, type and default, which are the field's.

    help: one line for programs and the command line. label, info: what the page calls it and says under it. least,
    most: bounds of a number. step: of the page's slider. choices: the values that it can take, or (words, value)
    pairs, or a function that gives them where they depend on the models at hand. added: programs called the endpoint
    before it was there, so it comes last.
    """

    help: str
    label: str = ""
    info: str = ""
    least: float | None = None
    most: float | None = None
    step: float | None = None
    choices: Choices | None = None
    added: bool = False

    def options(self) -> list[tuple[str, Any]]:
        """The choices as (words, value) pairs; empty where anything goes."""
        given = self.choices() if callable(self.choices) else self.choices or ()
        return [one if isinstance(one, tuple) else (str(one), one) for one in given]


def setting(default: Any, help: str, **more: Any) -> Any:
    """A request's field: its default, its line of help, and what else `Setting` has."""
    return field(default=default, metadata={"setting": Setting(help=help, **more)})


def like(request: type[Request], name: str, default: Any = dataclasses.MISSING, **changes: Any) -> Any:
    """A field like another request's, with a default of its own, or whatever else of its `Setting` differs."""
    told = dataclasses.replace(described(request)[name], **changes)
    return field(
        default=default_of(request, name) if default is dataclasses.MISSING else default, metadata={"setting": told}
    )


class Unfit(ValueError):
    """A request that cannot be carried out. problems: what is wrong, by the field at fault."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(next(iter(problems.values())))
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an experiment is asked for. Values may come as the page or a program sends them: whole numbers as floats,
    lists for tuples, texts for numbers that may be left empty and for rows of numbers. An empty text where the choices
    depend on the models at hand is the first of them.

    Raises Unfit, a ValueError, that says what is wrong with each field.
    """

    def __post_init__(self) -> None:
        problems = {}
        for name, hint in hints(type(self)).items():
            try:
                object.__setattr__(self, name, _read(getattr(self, name), hint, name, described(type(self))[name]))
            except ValueError as error:
                problems[name] = str(error)
        if problems := problems or self.conflicts():
            raise Unfit(problems)

    def conflicts(self) -> dict[str, str]:
        """What is wrong with fields that are right by themselves, by the field at fault."""
        return {}


def hints(request: type[Request]) -> dict[str, Any]:
    """The fields' types by name, in order."""
    known = typing.get_type_hints(request)
    return {one.name: known[one.name] for one in dataclasses.fields(request)}


def described(request: type[Request]) -> dict[str, Setting]:
    """The fields' settings by name, in order."""
    return {one.name: one.metadata["setting"] for one in dataclasses.fields(request)}


def default_of(request: type[Request], name: str) -> Any:
    """A field's default."""
    return next(one.default for one in dataclasses.fields(request) if one.name == name)


def numbers_in(text: str | None, name: str) -> tuple[float, ...]:
    """Numbers typed with commas, semicolons or spaces between them; ValueError names the first that is none."""
    numbers = []
    for word in re.split(r"[\s,;]+", (text or "").strip()):
        if not word:
            continue
        try:
            value = float(word)
        except ValueError:
            raise ValueError(f"{name} must be numbers with commas between them, not {word[:40]!r}") from None
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite numbers, not {word[:40]}")
        numbers.append(value)
    return tuple(numbers)


def _read(value: Any, hint: Any, name: str, told: Setting) -> Any:
    """A value as its type has it; ValueError, naming the setting, for one that is not of it."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return _read_optional(value, typing.get_args(hint), name, told)
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        kind, each = typing.get_args(hint)[0], name
        if kind in (int, float):
            each = f"each of the {name}"
            value = numbers_in(value, name) if isinstance(value, str) else value
        if value is None:
            return ()
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{name} must be a list, not {short(value)}")
        return tuple(_read(one, kind, each, told) for one in value)
    if origin is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {short(value)}")
        return value
    if origin is int:
        return whole(value, name, int(told.least or 0), int(told.most or 2**53))
    if origin is float:
        return number(
            value, name, 0.0 if told.least is None else told.least, math.inf if told.most is None else told.most
        )
    allowed = typing.get_args(hint) if origin is Literal else [one for _, one in told.options()]
    if value == "" and callable(told.choices) and allowed:
        return allowed[0]
    if allowed and value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {short(value)}")
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {short(value)}")
    return value


def _read_optional(value: Any, kinds: tuple[Any, ...], name: str, told: Setting) -> Any:
    """A value that may be left out, as an empty text or None; or a word in place of a number."""
    text = value.strip() if isinstance(value, str) else None
    if value is None or text == "":
        return None
    words = [word for kind in kinds if typing.get_origin(kind) is Literal for word in typing.get_args(kind)]
    if text in words:
        return text
    kind = next(one for one in kinds if one is not type(None) and typing.get_origin(one) is not Literal)
    if text is not None and kind in (int, float):
        try:
            value = float(text)
        except ValueError:
            also = f", {' or '.join(map(repr, words))}" if words else ""
            raise ValueError(f"{name} must be a number{also} or empty, not {short(text)}") from None
    return _read(value, kind, name, told)
