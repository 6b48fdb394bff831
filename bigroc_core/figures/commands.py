"""The command that makes a recipe's figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bigroc_core.catalogue import generator_cards
from bigroc_core.classifiers.own import shell
from bigroc_core.figures.kinds import ALL_CLASSES, FIGURE_KINDS, classes_of
from bigroc_core.figures.recipe import Recipe
from bigroc_core.streams import GENERATOR_PREFIX


def as_command(recipe: Recipe) -> str:
    """The command that makes the same figure; one from uploaded images is made again from its file."""
    figure = recipe.figure
    layout = FIGURE_KINDS[figure].layout if figure in FIGURE_KINDS else ""
    words: list[str] | None = None
    if layout and not recipe.images:
        makers = {"aligned": _aligned, "walk": _walks, "families": _families, "histograms": _histograms}
        words = [] if layout == "measured" else makers.get(layout, _boosted_set)(recipe)
    if words is None:
        return shell(["python", "-m", "bigroc_core", "figure", "--again", f"{figure}.png"])
    return shell(["python", "-m", "bigroc_core", "figure", figure, *words, "--output", f"{figure}.pdf"])


def _options(values: Mapping[str, Any]) -> list[str]:
    """Options by name as words; those that are None are left out."""
    words = []
    for name, value in values.items():
        if isinstance(value, list | tuple):
            words += [name, *map(str, value)] if value else []
        elif value is not None:
            words += [name, f"{value:g}" if isinstance(value, float) else str(value)]
    return words


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    return {f"--{name.replace('_', '-')}": config[name] for name in ("eps", "steps", "step_size", "stop_at")}


def _whole_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, since a preset may have other values than those that are usual."""
    never = {"--stop-at": "none"} if config["stop_at"] is None else {}
    return _config(config) | {f"--{name}": config[name] for name in ("norm", "loss", "gradient")} | never


def _step_size(config: Mapping[str, Any]) -> dict[str, float]:
    """Left out, it would be P1's."""
    return {"step_size": config["eps"] / config["steps"]} if config["step_size"] is None and config["steps"] else {}


def _aligned(recipe: Recipe) -> list[str]:
    settings, start = recipe.settings, recipe.settings["start"]
    return _options(
        {
            "--generator": start["generator"],
            "--seed": start["seed"],
            "--index": start["number"],
            "--robust": settings["robust"],
            "--standard": settings["standard"],
            **_config(settings["config"] | _step_size(settings["config"])),
        }
    )


def _walks(recipe: Recipe) -> list[str] | None:
    settings = recipe.settings
    words = []
    if recipe.figure == "fig11":
        for pair in settings["pairs"]:
            words += [
                "--pair",
                *(f"{GENERATOR_PREFIX}{end['generator']}:{end['seed']}:{end['number']}" for end in pair),
            ]
    elif len(settings["pairs"]) == 1:
        for side, end in zip(("source", "target"), settings["pairs"][0], strict=True):
            words += _options(
                {
                    f"--{side}": f"{GENERATOR_PREFIX}{end['generator']}",
                    f"--{side}-seed": end["seed"],
                    f"--{side}-index": end["number"],
                }
            )
    else:
        return None
    return words + _options({"--classifiers": settings["classifiers"], "--steps": settings["steps"]})


def _families(recipe: Recipe) -> list[str]:
    sources = [one["source"] for one in recipe.settings["sets"]]
    return _options(
        {
            "--seed": sources[0]["seed"],
            "--classifier": recipe.settings["classifier"],
            "--generators": [source["generator"] for source in sources],
        }
    )


def _histograms(recipe: Recipe) -> list[str] | None:
    settings = recipe.settings
    if "without" in settings:
        return None
    source, fitted = settings["source"], settings["debias"]
    told = {
        "--classifier": settings["classifier"],
        "--validation": fitted["count"],
        "--validation-seed": fitted["seed"],
    }
    return _options({"--generator": source["generator"], "--seed": source["seed"], "--count": source["count"]} | told)


def _boosted_set(recipe: Recipe) -> list[str]:
    settings, source, columns = recipe.settings, recipe.settings["source"], recipe.settings["columns"]
    fitted = settings.get("debias") or {}
    card = generator_cards().get(source["generator"])
    # Where the command would take the figure's own.
    own = classes_of(FIGURE_KINDS[recipe.figure], card) if card else ()
    return _options(
        {
            "--generator": source["generator"],
            "--seed": source["seed"],
            "--start": source["start"],
            "--rows": source["count"] // columns,
            "--columns": columns,
            "--classes": (source["classes"] or [])[::columns] or ([ALL_CLASSES] if own else []),
            "--classifier": settings["classifier"],
            **_whole_config(settings["config"]),
            "--quantile": settings.get("share"),
            # Not said it would be as many as is usual; with targets that are given it plays no part.
            "--debias": fitted.get("count", 0) if source["classes"] is None and "share" not in settings else None,
        }
    )
