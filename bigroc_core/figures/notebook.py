"""Figures from Python: in a notebook they show themselves, elsewhere they are saved."""

from __future__ import annotations

import os
from typing import Any

from bigroc_core.catalogue import compute_device, generator_cards
from bigroc_core.experiments.requests import classifier_for
from bigroc_core.figures.drafts import Draft
from bigroc_core.figures.kinds import FIGURE_KINDS, classes_of, generator_of
from bigroc_core.figures.parts import Progress
from bigroc_core.figures.requests import (
    FigureRequest,
    Rendered,
    compute,
    default_config,
    default_pairs,
    set_recipe,
)
from bigroc_core.progress import Bar

# Figures of a set of images, which may be one's own.
OF_A_SET = ("pairs", "threat", "debias")


def figure(
    kind: str = "fig7",
    images: str | os.PathLike[str] | None = None,
    progress: bool = True,
    device: str | None = None,
    **settings: Any,
) -> Rendered:
    """One of P1's figures, "fig1" to "fig11", as the page's Figures tab and `bigroc figure` make it.

    images: a folder, zip or .npz of images made elsewhere, in place of a generator's. progress: show a bar. settings:
    those of `FigureRequest`, such as generator, seed, start, rows, columns, classes, classifier, eps and steps; what is
    left out is as P1 or the generator's card has it. Its `caption` says what it shows, `save` writes .png, .pdf or
    .svg, each with the recipe that makes it again. Raises ValueError for what cannot be.
    """
    if kind not in FIGURE_KINDS:
        raise ValueError(f"there is no figure {kind!r}; there are {', '.join(FIGURE_KINDS)}")
    layout = FIGURE_KINDS[kind].layout
    if images is not None and layout not in OF_A_SET:
        raise ValueError(f"{kind} is of single images or generators: give `images` to another, or `files` to this one")
    generator = settings.get("generator") or generator_of(FIGURE_KINDS[kind], generator_cards())
    config = default_config(kind, generator)
    known = {name: getattr(config, name) for name in ("eps", "steps", "step_size", "stop_at")}
    pairs: dict[str, Any] = {"pairs": default_pairs(kind)} if layout == "walk" else {}
    # A generator of which there is none is refused by the request.
    if card := generator_cards().get(generator):
        pairs["classes"] = classes_of(FIGURE_KINDS[kind], card)
    models = {"generator": generator, "classifier": classifier_for(generator)}
    request = FigureRequest(figure=kind, **{**models, **known, **pairs, **settings})
    device = device or compute_device()
    recipe = request.recipe if images is None else set_recipe(request, Draft(device), images)
    bar = Bar(1, kind) if progress else None
    for told in compute(recipe, device):
        if isinstance(told, Progress) and bar is not None:
            bar(told.done, told.total + 1)
        elif not isinstance(told, Progress):
            made = told
    if bar is not None:
        bar(1, 1)
    return made
