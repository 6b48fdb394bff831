"""What other people's scripts rely on, as plain data: the page's endpoints, and every command's options."""

from __future__ import annotations

import argparse
import json
from typing import Any


def commands(parser: argparse.ArgumentParser, name: str = "") -> dict[str, dict[str, Any]]:
    """Every command's options by name: their spellings, default, choices, count of values, and whether they must be."""
    found: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                found |= commands(inner, f"{name} {word}".strip())
        elif not isinstance(action, argparse._HelpAction):
            own[action.option_strings[-1] if action.option_strings else action.dest] = {
                "spelled": sorted(action.option_strings),
                "default": _default(action),
                "choices": None if action.choices is None else [str(choice) for choice in action.choices],
                "values": None if action.nargs is None else str(action.nargs),
                "required": action.required,
            }
    return found | {name: own}


def _default(action: argparse.Action) -> Any:
    """An option's default: what stands where nothing is said."""
    if action.dest == "precision":
        return "the machine's"
    # What is suppressed leaves the default to the command that this one belongs to.
    return None if action.default is argparse.SUPPRESS else _plain(action.default)


def endpoints(page: Any) -> dict[str, Any]:
    """Every endpoint's parameters by name, with their defaults, and how many results it gives."""
    return {
        name: {
            "parameters": [
                {
                    "name": one["parameter_name"],
                    "has_default": one["parameter_has_default"],
                    "default": _plain(one.get("parameter_default")),
                    "component": one["component"],
                }
                for one in told["parameters"]
            ],
            "results": [one["component"] for one in told["returns"]],
            "documented": told.get("show_api", told.get("api_visibility")),
        }
        for name, told in page.get_api_info()["named_endpoints"].items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def present(page: Any) -> dict[str, Any]:
    """The interface as it is now. page: built by `build_page`."""
    from bigroc_core.__main__ import build_parser

    return {"commands": commands(build_parser()), "endpoints": endpoints(page)}


if __name__ == "__main__":
    from bigroc_core.ui.page import build_page

    print(json.dumps(present(build_page()), indent=1, ensure_ascii=False, sort_keys=True))
