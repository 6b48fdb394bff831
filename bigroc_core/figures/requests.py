"""One figure of the page: its recipe from the controls, its files, and the command that makes the same."""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bigroc_core.boosting import BoostConfig
from bigroc_core.catalogue import classifier_cards, compute_device, generator_cards, on_gpu
from bigroc_core.checks import whole
from bigroc_core.experiments.interpolate import STANDARD
from bigroc_core.figures.kinds import (
    ALIGNED_CONFIG,
    FIGURE_KINDS,
    FRACTIONS,
    THREAT_CONFIG,
    WALKS,
    debias_for,
    drawn,
    families_source,
)
from bigroc_core.figures.making import Progress, make
from bigroc_core.figures.recipe import Recipe, images_for, with_hashes
from bigroc_core.images import check_together, read_image
from bigroc_core.limits import MAX_COLUMNS, MAX_FIGURE_IMAGES, MAX_IMAGES_PER_REQUEST
from bigroc_core.limits import UPLOAD as UPLOAD_LIMITS
from bigroc_core.ui import controls

FORMATS = ("png", "pdf", "svg")
MAX_PAIRS = 8


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A figure as the controls have it. pairs: numbers of two images of the generator, "8-9, 3-5". files: uploaded
    images, which then take the generator's place. share: the quantile of P1 Fig. 4."""

    figure: str
    generator: str
    seed: int = 0
    start: int = 0
    rows: int = 10
    columns: int = 10
    classes: tuple[str, ...] = ()
    classifier: str = ""
    eps: float = 1.0
    steps: int = 30
    step_size: float | None = None
    stop_at: float | None = None
    share: float = 0.7
    debias: int = 1000
    pairs: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rendered:
    """A figure's files by format, and its caption."""

    files: dict[str, bytes]
    caption: str


def pairs_in(text: str | None) -> list[tuple[int, int]]:
    """Pairs of image numbers typed as "8-9, 3-5"; ValueError for anything else."""
    found = []
    for word in re.split(r"[,;\s]+", (text or "").strip()):
        numbers = re.fullmatch(r"(\d{1,9})-(\d{1,9})", word)
        if numbers is None:
            raise ValueError(f"pairs must be numbers of two images like 8-9, with commas between pairs, not {word!r}")
        found.append((int(numbers[1]), int(numbers[2])))
        if found[-1][0] == found[-1][1]:
            raise ValueError(f"{word} is one image twice: there is no way between them")
    if len(found) > MAX_PAIRS:
        raise ValueError(f"at most {MAX_PAIRS} pairs fit a figure, not {len(found)}")
    return found


def default_pairs(figure: str) -> str:
    """The pairs a figure begins with."""
    return ", ".join(f"{a}-{b}" for a, b in (WALKS if figure == "fig11" else WALKS[:1]))


def default_config(figure: str, generator: str) -> dict[str, Any]:
    """ε, T, α and the early stop a figure begins with: P1's where it says them, else the generator's preset."""
    if FIGURE_KINDS[figure].layout == "aligned":
        return controls.FALLBACK_PRESET | ALIGNED_CONFIG
    if FIGURE_KINDS[figure].layout == "threat":
        return controls.FALLBACK_PRESET | THREAT_CONFIG
    if FIGURE_KINDS[figure].layout == "walk":
        return controls.FALLBACK_PRESET | {"steps": 60}
    return controls.presets_of(generator)["recommended"]


def recipe_of(asked: Asked) -> Recipe:
    """The recipe, with the hashes of its models. ValueError, naming the control, for bad input."""
    if asked.figure not in FIGURE_KINDS:
        raise ValueError(f"there is no figure {asked.figure!r}; there are {', '.join(FIGURE_KINDS)}")
    kind, cards = FIGURE_KINDS[asked.figure], generator_cards()
    if asked.generator not in cards:
        raise ValueError(f"there is no generator {asked.generator!r} here; choose one of {sorted(cards)}")
    if asked.classifier not in classifier_cards():
        names = sorted(classifier_cards())
        raise ValueError(f"there is no classifier {asked.classifier!r} here; choose one of {names}")
    card, seed = cards[asked.generator], whole(asked.seed, "the seed", 0, 2**53)
    start = whole(asked.start, "the first image", 0, 2**31)
    config = dataclasses.asdict(
        BoostConfig(eps=asked.eps, steps=asked.steps, step_size=asked.step_size, stop_at=asked.stop_at)
    )
    images = _uploaded(asked)

    def end(number: int, place: int) -> dict[str, Any]:
        if images:
            if place >= len(images):
                raise ValueError(f"{place + 1} images are needed here, and {len(images)} are uploaded")
            return {"image": list(images)[place]}
        return {"generator": asked.generator, "seed": seed, "number": number, "class": None}

    settings: dict[str, Any]
    if kind.layout == "aligned":
        standard = STANDARD if STANDARD in classifier_cards() else asked.classifier
        settings = {"start": end(start, 0), "robust": asked.classifier, "standard": standard, "config": config}
        images = dict(list(images.items())[:1])
    elif kind.layout == "walk":
        names = list(dict.fromkeys([asked.classifier, *([STANDARD] if STANDARD in classifier_cards() else [])]))
        if images:
            pairs = [[end(0, 2 * place), end(0, 2 * place + 1)] for place in range(math.ceil(len(images) / 2))]
        else:
            pairs = [[end(number, 0) for number in pair] for pair in pairs_in(asked.pairs)]
        settings = {
            "pairs": pairs,
            "classifiers": names,
            "c": list(FRACTIONS),
            "steps": asked.steps,
            "weights": None,
            "warm_start": False,
        }
    elif kind.layout == "families":
        if images:
            raise ValueError("this figure is of the generators: take the uploaded images away")
        settings = {
            "classifier": asked.classifier,
            "sets": [
                {
                    "source": families_source(one, seed),
                    "debias": debias_for(one),
                    "config": dataclasses.asdict(BoostConfig(**_config_of(name))),
                }
                for name, one in cards.items()
            ],
        }
    else:
        settings = {"columns": asked.columns, "classifier": asked.classifier, "config": config}
        if images:
            images = {"uploaded images": np.concatenate(list(images.values()))}
            settings["source"] = {"images": "uploaded images", "classes": None}
        else:
            whole(asked.rows, "rows", 1, MAX_FIGURE_IMAGES)
            whole(asked.columns, "columns", 1, MAX_COLUMNS)
            if asked.rows * asked.columns > MAX_FIGURE_IMAGES:
                raise ValueError(
                    f"rows × columns can be at most {MAX_FIGURE_IMAGES} images in a figure, not "
                    f"{asked.rows * asked.columns}"
                )
            if asked.classes and not card.conditional:
                raise ValueError(f"{asked.generator} is unconditional: it draws no class that is asked for")
            settings["source"] = drawn(
                card,
                seed=seed,
                start=start,
                rows=asked.rows,
                columns=asked.columns,
                classes=asked.classes or kind.classes,
            )
        if kind.layout == "threat":
            settings["share"] = asked.share
        else:
            estimated = not card.conditional or kind.layout == "debias"
            fitted = {"count": asked.debias, "seed": 1_000_000} if asked.debias and estimated and not images else None
            settings["debias"] = fitted
    return with_hashes(Recipe(asked.figure, settings, images))


def _uploaded(asked: Asked) -> dict[str, Any]:
    """Uploaded images (1, H, W, 3) uint8 by name, at the classifier's size; ValueError names one that is none."""
    if len(asked.files) > MAX_IMAGES_PER_REQUEST:
        raise ValueError(f"at most {MAX_IMAGES_PER_REQUEST} images can be uploaded, not {len(asked.files)}")
    check_together(asked.files, UPLOAD_LIMITS)
    size, found = classifier_cards()[asked.classifier].input_size, {}
    for place, path in enumerate(asked.files):
        name = Path(path).name
        pixels = images_for(read_image(path, size=size, name=name, limits=UPLOAD_LIMITS).pixels[None])
        found[name if name not in found else f"{place + 1}-{name}"] = pixels
    return found


def _config_of(generator: str) -> dict[str, Any]:
    fields = [one.name for one in dataclasses.fields(BoostConfig)]
    return {name: value for name, value in controls.presets_of(generator)["recommended"].items() if name in fields}


def compute(recipe: Recipe, device: str | None = None) -> Iterator[Progress | Rendered]:
    """The figure's progress, then the figure."""
    from bigroc_core.figures.drawing import (
        render,  # matplotlib is slow to import, and the page's start does not need it
    )

    made = yield from make(recipe, device or compute_device())
    yield Progress(1, 1, "drawing")
    yield Rendered({format: render(made.figure, format, recipe) for format in FORMATS}, made.caption)


compute_on_gpu = on_gpu(compute)


def as_command(recipe: Recipe) -> str:
    """The command that makes the same figure; one from uploaded images is made again from its file."""
    settings, figure = recipe.settings, recipe.figure
    words = ["python", "-m", "bigroc_core", "figure", figure]
    again = ["python", "-m", "bigroc_core", "figure", "--again", f"{figure}.png"]
    if recipe.images:
        return shlex.join(again)
    layout = FIGURE_KINDS[figure].layout if figure in FIGURE_KINDS else ""
    if layout == "aligned":
        start = settings["start"]
        words += [
            "--generator",
            start["generator"],
            "--seed",
            str(start["seed"]),
            "--index",
            str(start["number"]),
            "--robust",
            settings["robust"],
            "--standard",
            settings["standard"],
            *_config_words(settings["config"]),
        ]
    elif layout == "walk":
        if figure != "fig11" and len(settings["pairs"]) == 1:
            for side, end in zip(("source", "target"), settings["pairs"][0], strict=True):
                words += [
                    f"--{side}",
                    f"generator:{end['generator']}",
                    f"--{side}-seed",
                    str(end["seed"]),
                    f"--{side}-index",
                    str(end["number"]),
                ]
        elif figure == "fig11":
            for pair in settings["pairs"]:
                words += ["--pair", *(f"generator:{end['generator']}:{end['seed']}:{end['number']}" for end in pair)]
        else:
            return shlex.join(again)
        words += ["--classifiers", *settings["classifiers"], "--steps", str(settings["steps"])]
    elif layout == "families":
        words += ["--seed", str(settings["sets"][0]["source"]["seed"]), "--classifier", settings["classifier"]]
        words += ["--generators", *(one["source"]["generator"] for one in settings["sets"])]
    elif layout in ("pairs", "threat", "debias"):
        source, columns = settings["source"], settings["columns"]
        words += [
            "--generator",
            source["generator"],
            "--seed",
            str(source["seed"]),
            "--start",
            str(source["start"]),
            "--rows",
            str(source["count"] // columns),
            "--columns",
            str(columns),
        ]
        if source["classes"]:
            words += ["--classes", *source["classes"][::columns]]
        words += ["--classifier", settings["classifier"], *_config_words(settings["config"])]
        if layout == "threat":
            words += ["--quantile", f"{settings['share']:g}"]
        elif settings["debias"]:
            words += ["--debias", str(settings["debias"]["count"])]
    else:
        return shlex.join(again)
    return shlex.join([*words, "--output", f"{figure}.pdf"])


def _config_words(config: Mapping[str, Any]) -> list[str]:
    words = ["--eps", f"{config['eps']:g}", "--steps", str(config["steps"])]
    words += [] if config["step_size"] is None else ["--step-size", f"{config['step_size']:g}"]
    return words + ([] if config["stop_at"] is None else ["--stop-at", f"{config['stop_at']:g}"])
