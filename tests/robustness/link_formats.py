"""Links that restore the page's controls: how to make a valid one, and what the page does with it."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from urllib.parse import quote_from_bytes, urlencode

import gradio as gr
from fuzz import Format
from mutating import mutated
from starlette.datastructures import QueryParams

from bigroc_core.experiments.boost import BoostRequest
from bigroc_core.figures.requests import FigureRequest
from bigroc_core.ui import errors, links
from bigroc_core.ui.forms import Form, shared_names


@cache
def _controls() -> dict[str, gr.components.Component]:
    found = {}
    with gr.Blocks():
        for request in (BoostRequest, FigureRequest):
            form = Form(request)
            found |= {name: form.add(name) for name in shared_names(request) if name not in found}
    return found


def _link(rng: random.Random) -> bytes:
    values = {"tab": "boost", "count": rng.randint(1, 64), "eps": 1.5, "steps": 9, "norm": "linf", "step_size": "0.1"}
    return urlencode(values).encode()


def _mutated_value(data: bytes, rng: random.Random) -> bytes:
    """One parameter with another value, as a browser would write it."""
    parts = data.split(b"&")
    place = rng.randrange(len(parts))
    name, _, value = parts[place].partition(b"=")
    parts[place] = name + b"=" + quote_from_bytes(mutated(value, rng)).encode()
    return b"&".join(parts)


def _follow(path: Path) -> object:
    query = QueryParams(path.read_bytes()[:4_000].decode("latin-1"))
    values, problems = links.read(query, _controls())
    if problems:
        raise ValueError(errors.readable("; ".join(problems[:5])))
    return values


LINK_FORMATS = {"link": Format("link.txt", _link, _follow, "^there is no control", _mutated_value)}
