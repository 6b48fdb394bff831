"""What making a figure would compute, known before anything is."""

from __future__ import annotations

from typing import Any

from bigroc_core.cards import Card
from bigroc_core.classifiers.registry import embedded_classifiers
from bigroc_core.figures.recipe import Recipe, model_names
from bigroc_core.limits import MAX_FIGURE_COMPUTING

# Images boosted so many times: P1 Fig. 2 through two networks, Fig. 3 without and with debiasing, Fig. 4 in two balls.
_RUNS = {"fig2": 2, "fig3": 2, "fig4": 2}


def image_steps(recipe: Recipe) -> int:
    """Gradients of single images, images times steps over all runs; one that is only drawn or classified counts as
    one."""
    settings, classes = recipe.settings, max((len(card.classes) for card in _cards(recipe)), default=1)
    if recipe.figure in ("sweep", "training", "table1", "table2", "table3", "curve") or "without" in settings:
        return 0
    if recipe.figure in ("fig6", "fig11"):
        frames = len(settings["pairs"]) * len(settings["classifiers"]) * len(settings["c"])
        return frames * int(settings["steps"])
    if recipe.figure == "fig5":
        return sum(_drawn(one, recipe) + classes * one["config"]["steps"] for one in settings["sets"])
    if recipe.figure == "debias":
        return _drawn(settings, recipe)
    shown = classes if recipe.figure == "fig2" else _images(settings["source"], recipe)
    boosted = _RUNS.get(recipe.figure, 1) * shown * int(settings["config"]["steps"])
    return boosted + (0 if recipe.figure == "fig2" else _drawn(settings, recipe))


def computed_pixels(recipe: Recipe) -> int:
    """Pixels of all those images, each counted once a step."""
    return image_steps(recipe) * _pixels(recipe)


def check_cost(recipe: Recipe) -> None:
    """ValueError for a figure that computes more than one request may."""
    pixels = _pixels(recipe)
    if (wanted := image_steps(recipe)) * pixels > MAX_FIGURE_COMPUTING:
        raise ValueError(
            f"this figure needs {wanted:,} gradients (images × steps, over all its runs) of {pixels:,} pixels, and one "
            f"request may compute {MAX_FIGURE_COMPUTING // pixels:,}: take fewer images or steps, or the command line"
        )


def _pixels(recipe: Recipe) -> int:
    return max((card.input_size[0] * card.input_size[1] for card in _cards(recipe)), default=0)


def _cards(recipe: Recipe) -> list[Card]:
    known = embedded_classifiers()
    return [known[name] for name in model_names(recipe) if name in known]


def _images(source: dict[str, Any], recipe: Recipe) -> int:
    if "count" in source:
        return int(source["count"])
    return len(recipe.images.get(source["images"], ()))


def _drawn(settings: dict[str, Any], recipe: Recipe) -> int:
    """Images that are drawn and classified: the source's, and those that debiasing is fitted to."""
    fitted = settings.get("debias") or {}
    return _images(settings["source"], recipe) + int(fitted.get("count", 0))
