"""What a figure was made from, as data: settings, seeds, models with their hashes, and images from outside as pixels.

A recipe travels inside the figure's file, and the same figure can be made from it again. Recipes also come out of
strangers' files: they are data, checked against the schema of their figure and the ordinary limits. A recipe names
embedded models only, never a path, and is refused where a checkpoint is another than the one it was made with.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from bigroc_core import __version__
from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import checkpoint_hash
from bigroc_core.images import from_uint8, to_uint8
from bigroc_core.limits import (
    MAX_COLUMNS,
    MAX_EPS_L2,
    MAX_EPS_LINF,
    MAX_FIGURE_BYTES,
    MAX_FIGURE_IMAGES,
    MAX_FIGURE_SIDE,
    MAX_FRACTIONS,
    MAX_RECIPE_CHARACTERS,
    MAX_SAMPLES_PER_REQUEST,
    MAX_STEPS_PER_REQUEST,
)

FORMAT = 1
# What a line of a joint model's training log says that is drawn: in [0, 1], and not.
TRAINING_SHARES = ("real", "generated", "stopped", "auc", "clean", "pgd10")
TRAINING_LOSSES = ("ce_real", "ce_generated", "bce_real", "bce_generated")
KEYWORD = "bigroc"
MAX_SEED = 2**53
MAX_NAME = 200
Check = Callable[[Any, str], Any]


# ------------------------------------------------------------------------------------------------ checks of a value


def whole(least: int, most: int) -> Check:
    """A whole number within bounds."""

    def check(value: Any, name: str) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} must be a whole number from {least} to {most:,}, not {_short(value)}")
        return value

    return check


def number(least: float, most: float) -> Check:
    """A finite number within bounds."""

    def check(value: Any, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, not {_short(value)}")
        if not least <= value <= most:
            raise ValueError(f"{name} must be from {least:g} to {most:g}, not {value:g}")
        return float(value)

    return check


def text(value: Any, name: str) -> str:
    """A short text."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"{name} must be a text of 1 to {MAX_NAME} characters, not {_short(value)}")
    return value


def flag(value: Any, name: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise ValueError(f"{name} must be true or false, not {_short(value)}")
    return value


def several(check: Check, most: int, least: int = 1) -> Check:
    """A list of `least` to `most` values."""

    def checked(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise ValueError(f"{name} must be a list of {least} to {most}, not {_short(value)}")
        return [check(one, f"{name}[{place}]") for place, one in enumerate(value)]

    return checked


def optional(check: Check) -> Check:
    """A value, or null."""
    return lambda value, name: None if value is None else check(value, name)


def entries(**checks: Check) -> Check:
    """An object with exactly these entries."""

    def check(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{name} must be an object, not {_short(value)}")
        if unknown := sorted(set(value) - set(checks)):
            raise ValueError(f"{name} has an unknown entry {_short(unknown[0])}; it takes {', '.join(checks)}")
        if missing := [key for key in checks if key not in value]:
            raise ValueError(f"{name} lacks {missing[0]}")
        return {key: one(value[key], f"{name}.{key}") for key, one in checks.items()}

    return check


def one_form(*forms: Check) -> Check:
    """A value of one of several forms; the reason is the last one's."""

    def check(value: Any, name: str) -> Any:
        for form in forms[:-1]:
            try:
                return form(value, name)
            except ValueError:
                continue
        return forms[-1](value, name)

    return check


def _config(value: Any, name: str) -> dict[str, Any]:
    """The settings of a run, within the limits of a request."""
    names = [one.name for one in dataclasses.fields(BoostConfig)]
    if not isinstance(value, dict) or set(value) - set(names):
        raise ValueError(f"{name} must be boosting settings ({', '.join(names)}), not {_short(value)}")
    try:
        config = BoostConfig(**value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
    if config.steps > MAX_STEPS_PER_REQUEST:
        raise ValueError(f"{name}.steps can be at most {MAX_STEPS_PER_REQUEST} in a figure, not {config.steps:,}")
    most = MAX_EPS_L2 if config.norm == "l2" else MAX_EPS_LINF
    if config.eps > most:
        raise ValueError(f"{name}.eps can be at most {most:g} in this norm, not {config.eps:g}")
    return dataclasses.asdict(config)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"


# --------------------------------------------------------------------------------------------- schemas of the figures

_SEED = whole(0, MAX_SEED)
_NUMBER = whole(0, 2**31)
# Images of a generator: image i is (seed, start + i); classes one per image, or null for the generator's own.
_DRAWN = entries(
    generator=text,
    seed=_SEED,
    start=_NUMBER,
    count=whole(1, MAX_FIGURE_IMAGES),
    classes=optional(several(text, MAX_FIGURE_IMAGES)),
)
# Images that came from elsewhere, under their name in the recipe's images.
_GIVEN = entries(images=text, classes=optional(several(text, MAX_FIGURE_IMAGES)))
_SOURCE = one_form(_GIVEN, _DRAWN)
# One image: of a generator (class null: its number's own), or given.
_END = one_form(entries(image=text), entries(generator=text, seed=_SEED, number=_NUMBER, **{"class": optional(text)}))
_SAMPLES = whole(1, MAX_SAMPLES_PER_REQUEST)
# The shift of P1 Eq. 2: fitted to more images of the generator, or as fitted to images from elsewhere.
_DEBIAS = optional(
    one_form(
        entries(shift=several(number(-1e6, 1e6), 10_000)),
        entries(count=_SAMPLES, seed=_SEED),
    )
)
_PAIRS = entries(source=_SOURCE, columns=whole(1, MAX_COLUMNS), classifier=text, config=_config, debias=_DEBIAS)
_WALK = entries(
    pairs=several(several(_END, 2, 2), 8),
    classifiers=several(text, 4),
    c=several(number(0, 1), MAX_FRACTIONS),
    steps=whole(1, MAX_STEPS_PER_REQUEST),
    weights=optional(several(number(0, 1e6), 32)),
    warm_start=flag,
)
_SET = entries(source=_SOURCE, config=_config, debias=_DEBIAS)
_POINT = entries(stage=text, eps=number(0, MAX_EPS_L2), mean=number(-1e9, 1e9), std=optional(number(0, 1e9)))

SCHEMAS: dict[str, Check] = {
    "fig1": _PAIRS,
    "fig2": entries(start=_END, robust=text, standard=text, config=_config),
    "fig3": _PAIRS,
    "fig4": entries(
        source=_SOURCE, columns=whole(1, MAX_COLUMNS), classifier=text, config=_config, share=number(0.01, 1)
    ),
    "fig5": entries(sets=several(_SET, 8), classifier=text),
    "fig6": _WALK,
    "fig7": _PAIRS,
    "fig8": _PAIRS,
    "fig9": _PAIRS,
    "fig10": _PAIRS,
    "fig11": _WALK,
    "side-by-side": _PAIRS,
    # A histogram draws none of its images, and takes more of them.
    "debias": entries(
        source=entries(generator=text, seed=_SEED, count=_SAMPLES),
        classifier=text,
        debias=entries(count=_SAMPLES, seed=_SEED),
    ),
    "training": entries(
        name=text,
        lines=several(
            entries(
                step=whole(0, 10**9),
                **dict.fromkeys(TRAINING_SHARES, number(0, 1)),
                **dict.fromkeys(TRAINING_LOSSES, number(0, 1e9)),
            ),
            1_000,
        ),
    ),
    "sweep": entries(
        points=several(_POINT, 200),
        best=number(0, MAX_EPS_L2),
        features_of=text,
        norm=text,
        source=text,
        seeds=several(_SEED, 100),
    ),
}


# ---------------------------------------------------------------------------------------------------------- recipes


@dataclass(frozen=True)
class Recipe:
    """A figure as data.

    figure: one of SCHEMAS, which says what `settings` holds. images: those that no embedded generator draws, by the
    names that the settings use, each (N, H, W, 3) uint8. checkpoints: SHA-256 of each model's weights, by name.
    version: of the project that made it. Raises ValueError, naming the entry, for anything the schema does not allow.
    """

    figure: str
    settings: dict[str, Any]
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    version: str = __version__

    def __post_init__(self) -> None:
        if self.figure not in SCHEMAS:
            raise ValueError(f"there is no figure {_short(self.figure)}; there are {', '.join(SCHEMAS)}")
        object.__setattr__(self, "settings", SCHEMAS[self.figure](self.settings, "settings"))
        if sum(len(pixels) for pixels in self.images.values()) > MAX_FIGURE_IMAGES:
            raise ValueError(f"a figure takes at most {MAX_FIGURE_IMAGES} images")

    def pixels(self, name: str) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] that the recipe brings; ValueError where it has none of this name."""
        if name not in self.images:
            raise ValueError(f"the recipe names images {_short(name)}, but does not hold them")
        return from_uint8(self.images[name])

    def to_json(self) -> str:
        """The recipe as one line of JSON, in ASCII, as files carry it."""
        return json.dumps(
            {
                "recipe": FORMAT,
                "figure": self.figure,
                "settings": self.settings,
                "checkpoints": dict(self.checkpoints),
                "images": {name: _packed(pixels) for name, pixels in self.images.items()},
                "version": self.version,
            }
        )


def images_for(images: Tensor) -> np.ndarray:
    """Images (N, 3, H, W) in [0, 1] as a recipe holds them."""
    return to_uint8(images.cpu())


def from_json(said: str) -> Recipe:
    """A recipe from its JSON. ValueError, one line, for anything that is not a recipe or is out of bounds."""
    if len(said) > MAX_RECIPE_CHARACTERS:
        raise ValueError(f"the recipe is longer than {MAX_RECIPE_CHARACTERS:,} characters")
    try:
        found = json.loads(said)
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"the recipe is not JSON: {error}") from None
    if not isinstance(found, dict) or found.get("recipe") != FORMAT:
        raise ValueError(f"this is no recipe of a figure (its format would be {FORMAT})")
    shape = entries(
        recipe=whole(FORMAT, FORMAT),
        figure=text,
        settings=lambda value, _: value,
        version=text,
        checkpoints=_named(_hash),
        images=_named(_unpacked),
    )
    checked = shape(found, "recipe")
    return Recipe(checked["figure"], checked["settings"], checked["images"], checked["checkpoints"], checked["version"])


def _named(check: Check) -> Check:
    def checked(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > 16:
            raise ValueError(f"{name} must be an object of at most 16 entries, not {_short(value)}")
        return {text(key, name): check(one, f"{name}[{_short(key)}]") for key, one in value.items()}

    return checked


def _hash(value: Any, name: str) -> str:
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise ValueError(f"{name} must be a SHA-256 in hexadecimal digits, not {_short(value)}")
    return value


def _packed(pixels: np.ndarray) -> dict[str, Any]:
    """Images (N, H, W, 3) uint8 as one PNG, stacked."""
    stream = io.BytesIO()
    Image.fromarray(pixels.reshape(-1, *pixels.shape[2:])).save(stream, "PNG", optimize=True)
    return {"count": len(pixels), "png": base64.b64encode(stream.getvalue()).decode()}


def _unpacked(value: Any, name: str) -> np.ndarray:
    held = entries(count=whole(1, MAX_FIGURE_IMAGES), png=lambda given, _: given)(value, name)
    try:
        stream = io.BytesIO(base64.b64decode(held["png"], validate=True))
        with Image.open(stream, formats=("PNG",)) as opened:
            width, height = opened.size
            tall, rest = divmod(height, held["count"])
            if rest or not (0 < width <= MAX_FIGURE_SIDE and 0 < tall <= MAX_FIGURE_SIDE) or opened.mode != "RGB":
                raise ValueError(f"its size {width}×{height} does not fit {held['count']} images")
            levels = np.asarray(opened)
    except (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} does not hold images: {_short(str(error))}") from None
    return levels.reshape(held["count"], tall, width, 3).copy()


# ------------------------------------------------------------------------------------------- in files, and the models


def recipe_in(file: str | os.PathLike[str]) -> Recipe:
    """The recipe that a PNG, PDF or SVG of ours carries.

    Raises ValueError, one line, for a file that cannot be read, carries no recipe, or one that is out of bounds.
    """
    path = Path(file)
    try:
        if path.stat().st_size > MAX_FIGURE_BYTES:
            raise ValueError(f"{path.name} is larger than {MAX_FIGURE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror or error}") from None
    said = _said_in(data)
    if said is None:
        raise ValueError(f"{path.name} carries no recipe: it is not a PNG, PDF or SVG written by this project")
    try:
        return from_json(said)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _said_in(data: bytes) -> str | None:
    if data.startswith(b"\x89PNG"):
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
                assert isinstance(opened, PngImagePlugin.PngImageFile)
                return opened.text.get(KEYWORD)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None
    if data.startswith(b"%PDF"):
        # Strings of a PDF escape parentheses and backslashes; ours is ASCII on one line.
        found = re.search(rb"/Subject \(((?:[^\\()]|\\.)*)\)", data)
        return re.sub(rb"\\(.)", rb"\1", found.group(1)).decode("latin-1") if found else None
    found_text = re.search(rb"<dc:description>(.*?)</dc:description>", data, re.DOTALL)
    return html.unescape(found_text.group(1).decode("utf-8", "replace")) if found_text else None


def model_names(recipe: Recipe) -> list[str]:
    """Classifiers and generators that a recipe computes with, each once, in order."""
    return list(dict.fromkeys(_models_in(recipe.settings)))


def _models_in(value: Any, key: str = "") -> list[str]:
    if isinstance(value, dict):
        return [name for key, one in value.items() for name in _models_in(one, key)]
    if isinstance(value, list):
        return [name for one in value for name in _models_in(one, key)]
    return [value] if key in ("generator", "classifier", "classifiers", "robust", "standard") else []


def with_hashes(recipe: Recipe) -> Recipe:
    """The recipe with the hashes of the embedded models that it names."""
    hashes = {name: checkpoint_hash(name) for name in model_names(recipe)}
    return dataclasses.replace(recipe, checkpoints={name: found for name, found in hashes.items() if found})


def check_models(recipe: Recipe) -> None:
    """ValueError where a model is not embedded here, or is another than the one the figure was made with."""
    for name in model_names(recipe):
        found = checkpoint_hash(name)
        if found is None:
            raise ValueError(f"the figure was made with {_short(name)}, which is not among the embedded models")
        if name not in recipe.checkpoints:
            raise ValueError(f"the recipe does not say which weights of {name} it was made with")
        if recipe.checkpoints[name] != found:
            raise ValueError(
                f"the figure was made with other weights of {name} (SHA-256 {recipe.checkpoints[name][:12]}…, here "
                f"{found[:12]}…), so it cannot be made again here"
            )


def labels_of(names: list[str] | None, classes: tuple[str, ...]) -> Tensor | None:
    """Class names as numbers (N,); ValueError for one that does not exist."""
    if names is None:
        return None
    if unknown := [name for name in names if name not in classes]:
        raise ValueError(f"there is no class {_short(unknown[0])}; there are {', '.join(classes) or 'none'}")
    return torch.tensor([classes.index(name) for name in names], dtype=torch.int64)
