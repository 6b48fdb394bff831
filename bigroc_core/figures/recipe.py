"""What a figure was made from, as data: settings, seeds, models with their hashes, and images from outside as pixels.

A recipe travels inside the figure's file, and the same figure can be made from it again. Recipes also come out of
strangers' files: they are data, checked against the schema of their figure and the ordinary limits. A recipe names
embedded models only, never a path, and is refused where a checkpoint is another than the one it was made with.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import io
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bigroc_core import __version__
from bigroc_core.cards import checkpoint_hash
from bigroc_core.figures.metadata import PNG, chunks, text_in
from bigroc_core.figures.schema import FILE, FORMAT, SCHEMAS, checked
from bigroc_core.files import parsed_json
from bigroc_core.images import from_uint8, to_uint8
from bigroc_core.limits import (
    MAX_FIGURE_IMAGES,
    MAX_FIGURE_PIXELS,
    MAX_FIGURE_SIDE,
    MAX_RECIPE_CHARACTERS,
    MAX_RECIPE_ENTRIES,
)
from bigroc_core.messages import short

# Where settings name a model.
_MODELS = ("generator", "classifier", "classifiers", "robust", "standard")


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
            raise ValueError(f"there is no figure {short(self.figure)}; there are {', '.join(SCHEMAS)}")
        object.__setattr__(self, "settings", checked(SCHEMAS[self.figure], self.settings, "settings"))
        _check_amount([pixels.shape[:3] for pixels in self.images.values()])

    def pixels(self, name: str) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] that the recipe brings; ValueError where it has none of this name."""
        if name not in self.images:
            raise ValueError(f"the recipe names images {short(name)}, but does not hold them")
        return from_uint8(self.images[name])

    def to_json(self) -> str:
        """The recipe as one line of JSON, in ASCII, as files carry it; ValueError where its images are too many for a
        file that can be read again."""
        text = json.dumps(
            {
                "recipe": FORMAT,
                "figure": self.figure,
                "settings": self.settings,
                "checkpoints": dict(self.checkpoints),
                "images": {name: _packed(pixels) for name, pixels in self.images.items()},
                "version": self.version,
            }
        )
        _check_length(text)
        return text


def images_for(images: Tensor) -> np.ndarray:
    """Images (N, 3, H, W) in [0, 1] as a recipe holds them."""
    return to_uint8(images.cpu())


def from_json(said: str) -> Recipe:
    """A recipe from its JSON. ValueError, one line, for anything that is not a recipe or is out of bounds."""
    _check_length(said)
    # What a parser makes of a text takes a hundred times its memory where it is all brackets.
    if sum(map(said.count, "[{,")) > MAX_RECIPE_ENTRIES:
        raise ValueError(f"the recipe has more than {MAX_RECIPE_ENTRIES:,} entries")
    try:
        found = parsed_json(said)
    except ValueError as error:
        raise ValueError(f"the recipe is not JSON: {error}") from None
    if not isinstance(found, dict) or found.get("recipe") != FORMAT:
        raise ValueError(f"this is no recipe of a figure (its format would be {FORMAT})")
    file = checked(FILE, found, "recipe")
    return Recipe(file["figure"], file["settings"], _unpacked(file["images"]), file["checkpoints"], file["version"])


def recipe_in(file: str | os.PathLike[str]) -> Recipe:
    """The recipe that a PNG, PDF or SVG of ours carries.

    Raises ValueError, one line, for a file that cannot be read, carries no recipe, or one that is out of bounds.
    """
    try:
        return from_json(text_in(file))
    except ValueError as error:
        raise ValueError(f"{Path(file).name}: {error}") from None


def _check_length(text: str) -> None:
    if len(text) > MAX_RECIPE_CHARACTERS:
        raise ValueError(
            f"the recipe has {len(text):,} characters, and a figure's file at most {MAX_RECIPE_CHARACTERS:,}: take "
            "fewer images"
        )


# ---------------------------------------------------------------------------------------------------- images as pixels


def _check_amount(shapes: list[tuple[int, ...]]) -> None:
    """ValueError for more images (N, H, W), or larger ones, than a figure takes."""
    count, pixels = sum(n for n, _, _ in shapes), sum(n * height * width for n, height, width in shapes)
    if count > MAX_FIGURE_IMAGES:
        raise ValueError(f"a figure takes at most {MAX_FIGURE_IMAGES} images, not {count:,}")
    if pixels > MAX_FIGURE_PIXELS:
        raise ValueError(f"a figure's images have at most {MAX_FIGURE_PIXELS:,} pixels together, not {pixels:,}")


def _packed(pixels: np.ndarray) -> dict[str, Any]:
    """Images (N, H, W, 3) uint8 as one PNG, stacked."""
    stream = io.BytesIO()
    Image.fromarray(pixels.reshape(-1, *pixels.shape[2:])).save(stream, "PNG", optimize=True)
    return {"count": len(pixels), "png": base64.b64encode(stream.getvalue()).decode()}


def _unpacked(held: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Images by name, each (N, H, W, 3) uint8. What their headers say is added up before any is decoded."""
    pngs, shapes = {}, {}
    for name, one in held.items():
        try:
            pngs[name] = binascii.a2b_base64(one["png"], strict_mode=True)
            shapes[name] = _declared(pngs[name], one["count"])
        except ValueError as error:
            raise ValueError(f"recipe.images[{short(name)}] does not hold images: {error}") from None
    _check_amount(list(shapes.values()))
    return {name: _decoded(pngs[name], shapes[name], name) for name in held}


def _declared(png: bytes, count: int) -> tuple[int, int, int]:
    """(N, H, W) as a PNG's header has it; ValueError for sizes that do not fit."""
    stream = io.BytesIO(png)
    if stream.read(len(PNG)) != PNG or png[12:16] != b"IHDR" or len(png) < 33:
        raise ValueError("it is no PNG")
    for _ in chunks(stream):
        pass
    width, height = struct.unpack(">II", png[16:24])
    tall, rest = divmod(height, count)
    if rest or not (0 < width <= MAX_FIGURE_SIDE and 0 < tall <= MAX_FIGURE_SIDE):
        raise ValueError(f"its size {width}×{height} does not fit {count} images")
    return count, tall, width


def _decoded(png: bytes, shape: tuple[int, int, int], name: str) -> np.ndarray:
    count, tall, width = shape
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as opened:
            if opened.size != (width, count * tall) or opened.mode != "RGB":
                raise ValueError(f"{opened.mode} of {opened.size[0]}×{opened.size[1]} pixels")
            levels = np.asarray(opened)
    except Exception as error:  # of many kinds, where a file is damaged
        raise ValueError(f"recipe.images[{short(name)}] does not hold images: {str(error)[:100]}") from None
    return levels.reshape(count, tall, width, 3).copy()


# ---------------------------------------------------------------------------------------------------------- the models


def model_names(recipe: Recipe) -> list[str]:
    """Classifiers and generators that a recipe computes with, each once, in order."""
    return list(dict.fromkeys(_models_in(recipe.settings)))


def _models_in(value: Any, key: str = "") -> list[str]:
    if isinstance(value, dict):
        return [name for key, one in value.items() for name in _models_in(one, key)]
    if isinstance(value, list):
        return [name for one in value for name in _models_in(one, key)]
    return [value] if key in _MODELS else []


def with_hashes(recipe: Recipe) -> Recipe:
    """The recipe with the hashes of the embedded models that it names."""
    hashes = {name: checkpoint_hash(name) for name in model_names(recipe)}
    return dataclasses.replace(recipe, checkpoints={name: found for name, found in hashes.items() if found})


def check_models(recipe: Recipe) -> None:
    """ValueError where a model is not embedded here, or is another than the one the figure was made with."""
    for name in model_names(recipe):
        found = checkpoint_hash(name)
        if found is None:
            raise ValueError(f"the figure was made with {short(name)}, which is not among the embedded models")
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
        raise ValueError(f"there is no class {short(unknown[0])}; there are {', '.join(classes) or 'none'}")
    return torch.tensor([classes.index(name) for name in names], dtype=torch.int64)
