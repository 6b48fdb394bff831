"""Figures from Python: the page's and the command's, by name, with what is left out as P1 or the card has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bigroc_core as bc
from bigroc_core.figures.recipe import recipe_in
from bigroc_core.images import to_uint8


def test_a_figure_of_images_of_ones_own_shows_itself_and_keeps_its_recipe(tmp_path: Path) -> None:
    images, labels = bc.load_generator("cifar10-cgan").sample(4, seed=5)
    np.savez(tmp_path / "samples.npz", arr_0=to_uint8(images), arr_1=labels.numpy())
    made = bc.figures.figure("fig7", images=tmp_path / "samples.npz", rows=1, columns=4, steps=1, progress=False)
    assert made._repr_png_() == made.save(tmp_path / "figure.png").read_bytes()
    assert "4 images of samples.npz" in made.caption
    recipe = recipe_in(tmp_path / "figure.png")
    assert recipe.settings["config"]["steps"] == 1
    assert recipe.pixels(recipe.settings["source"]["images"]).equal(
        images.new_tensor(to_uint8(images)).movedim(-1, 1) / 255
    )
    with pytest.raises(ValueError, match=r"as \.png, \.pdf, \.svg, not 'figure\.gif'"):
        made.save(tmp_path / "figure.gif")


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("fig99", {}, "there is no figure 'fig99'; there are fig1"),
        ("fig6", {"images": "samples.npz"}, "of single images"),
        ("fig7", {"steps": 10_000}, "steps"),
        ("fig7", {"generator": "cifar10-dcgan", "classes": ("cat",)}, "unconditional"),
    ],
)
def test_what_cannot_be_is_said(kind: str, settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bc.figures.figure(kind, progress=False, **settings)


def test_a_generator_alone_brings_the_classifier_made_for_it() -> None:
    recipe = bc.figures.figure("fig7", generator="cifar10-cgan", rows=1, columns=2, steps=1, progress=False).recipe
    assert recipe.settings["classifier"] == "cifar10-robust"
    assert recipe.settings["source"]["classes"] == ["airplane"] * 2, "as P1's figure has them"
