"""Command options of a request or a recipe: type, default, bounds, choices and help of each are its field's."""

from __future__ import annotations

import argparse
import dataclasses
import math
import typing
from collections.abc import Callable, Collection
from dataclasses import MISSING
from typing import Any, Literal

from bigroc_core.files import parsed_json
from bigroc_core.settings import Setting


def add_options(
    parser: argparse.ArgumentParser,
    settings: type,
    names: Collection[str] | None = None,
    leave_out: Collection[str] = (),
    **defaults: Any,
) -> None:
    """Add an option --like-this for each field of a dataclass that has a setting.

    names: of these fields alone. defaults: in place of the fields'.
    """
    known = typing.get_type_hints(settings)
    for one in _described(settings):
        if one.name in leave_out or (names is not None and one.name not in names):
            continue
        told: Setting = one.metadata["setting"]
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        default = defaults.get(one.name, default)
        named: dict[str, Any] = {"help": _help(told.help)}
        named |= {"required": True} if default is MISSING else {"default": default}
        parser.add_argument(_option(one.name), **named, **_reading(known[one.name], told))


def _help(line: str) -> str:
    """A line of help as commands have it: no sentence, and with its percent signs."""
    first = line[:1] if line[1:2].isupper() else line[:1].lower()
    return f"{first}{line[1:]}".removesuffix(".").replace("%", "%%")


def _reading(hint: Any, told: Setting) -> dict[str, Any]:
    """How argparse reads a value of a type."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    kind = typing.get_origin(hint) or hint
    choices = [value for _, value in told.options()] or None
    if kind is bool:
        return {"action": "store_true"}
    if kind is dict:
        return {"type": _json_object}
    if kind is tuple:
        several = Ellipsis in kinds
        return {"type": kinds[0], "nargs": "+" if several else len(kinds), "choices": choices}
    if kind is Literal:
        return {"choices": choices or kinds}
    if words := [word for one in kinds if typing.get_origin(one) is Literal for word in typing.get_args(one)]:
        nothing = ["none"] if type(None) in typing.get_args(hint) else []
        return {"type": _either([*words, *nothing], kinds[0])}
    if kinds:  # or nothing
        return _reading(kinds[0], told)
    return {"type": kind, "choices": choices}


def values_of(settings: type, options: argparse.Namespace) -> dict[str, Any]:
    """What a dataclass's fields are on the command line; ValueError naming the first option that is out of bounds."""
    values = {}
    for one in _described(settings):
        if not hasattr(options, one.name):
            continue
        value, told = getattr(options, one.name), one.metadata["setting"]
        least = -math.inf if told.least is None else told.least
        most = math.inf if told.most is None else told.most
        if isinstance(value, int | float) and not least <= value <= most:  # NaN fails both
            raise ValueError(f"{_option(one.name)} must be from {least:g} to {most:g}, not {value}")
        values[one.name] = tuple(value) if isinstance(value, list) else value
    return values


def _described(settings: type) -> list[dataclasses.Field[Any]]:
    return [one for one in dataclasses.fields(settings) if "setting" in one.metadata]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _either(words: Collection[str], kind: type) -> Callable[[str], Any]:
    """Reads one of the words, or else a value of the other type."""

    def read(text: str) -> Any:
        return text if text in words else kind(text)

    read.__name__ = " or ".join([kind.__name__, *words])  # argparse says it where the value is neither
    return read


def _json_object(text: str) -> dict[str, object]:
    try:
        value = parsed_json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('expected a JSON object such as {"width": 32}')
    return value
