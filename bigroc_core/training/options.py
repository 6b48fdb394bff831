"""Command options of a recipe: help, default, bounds and choices of each are its field's, written with `setting`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import typing
from collections.abc import Collection
from dataclasses import MISSING
from typing import Any

from bigroc_core.settings import Setting


def add_options(
    parser: argparse.ArgumentParser, settings: type, leave_out: Collection[str] = (), **defaults: Any
) -> None:
    """Add an option --like-this for each field of a dataclass that has a setting. defaults: in place of the fields'."""
    hints = typing.get_type_hints(settings)
    for one in _described(settings):
        if one.name in leave_out:
            continue
        told: Setting = one.metadata["setting"]
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        default = defaults.get(one.name, default)
        named: dict[str, Any] = {"help": told.help}
        named |= {"required": True} if default is MISSING else {"default": default}
        kinds = [kind for kind in typing.get_args(hints[one.name]) if kind is not type(None)]
        kind = typing.get_origin(hints[one.name]) or hints[one.name]
        if kind is bool:
            named["action"] = "store_true"
        elif kind is dict:
            named["type"] = _json_object
        elif kind is tuple:
            named |= {"type": kinds[0], "nargs": len(kinds)}
        else:
            named |= {"type": kinds[0] if kinds else kind, "choices": [value for _, value in told.options()] or None}
        parser.add_argument(_option(one.name), **named)


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


def _json_object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('expected a JSON object such as {"width": 32}')
    return value
