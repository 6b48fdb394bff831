"""The Figures tab's recipes: those of the command line, and problems named."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bigroc_core.__main__ import main
from bigroc_core.catalogue import generator_cards
from bigroc_core.figures.kinds import FIGURE_KINDS, generator_of
from bigroc_core.figures.recipe import Recipe, from_json, recipe_in
from bigroc_core.figures.requests import Asked, Rendered, as_command, compute, default_config, default_pairs, recipe_of
from bigroc_core.ui import figures_tab


def asked(figure: str, **changes: Any) -> Asked:
    generator = generator_of(FIGURE_KINDS[figure], generator_cards())
    config = default_config(figure, generator)
    kind = FIGURE_KINDS[figure]
    values: dict[str, Any] = {
        "generator": generator,
        "classifier": "cifar10-robust",
        "rows": kind.rows,
        "columns": kind.columns,
        "eps": config["eps"],
        "steps": config["steps"],
        "step_size": config["step_size"],
        "pairs": default_pairs(figure),
    }
    return Asked(figure=figure, **values | changes)


@pytest.mark.parametrize("figure", FIGURE_KINDS)
def test_every_figure_is_one_click_and_its_command_gives_the_same_recipe(
    figure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(asked(figure))
    assert from_json(recipe.to_json()) == recipe
    asked_for = []

    def recorded(found: Recipe, *_: object) -> None:
        asked_for.append(found)
        raise ValueError("what it would be made from is enough here")

    monkeypatch.setattr("bigroc_core.cli.figure.make", recorded)
    monkeypatch.chdir(tmp_path)
    main(shlex.split(as_command(recipe))[3:])
    assert asked_for == [recipe]


def test_a_figure_is_made_of_uploaded_images_and_again_from_its_file(tmp_path: Path) -> None:
    paths = []
    for seed in range(2):
        levels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(levels).save(tmp_path / f"{seed}.png")
        paths.append(str(tmp_path / f"{seed}.png"))
    for figure in ("fig6", "fig4"):
        *progress, made = compute(recipe_of(asked(figure, steps=2, files=tuple(paths), columns=2)), "cpu")
        assert isinstance(made, Rendered)
        assert progress
        for format, data in made.files.items():
            (tmp_path / f"figure.{format}").write_bytes(data)
            *_, again = compute(recipe_in(tmp_path / f"figure.{format}"), "cpu")
            assert isinstance(again, Rendered)
            assert again.files == made.files


@pytest.mark.parametrize(
    ("figure", "changes", "said"),
    [
        ("fig12", {}, "no figure 'fig12'"),
        ("fig1", {"generator": "x"}, "no generator 'x'"),
        ("fig1", {"classifier": "cifar10-judge"}, "no classifier 'cifar10-judge'"),
        ("fig1", {"seed": -1}, "seed"),
        ("fig7", {"rows": 21, "columns": 20}, "at most 400 images"),
        ("fig1", {"columns": 0}, "columns"),
        ("fig1", {"steps": 5000}, "at most 200"),
        ("fig1", {"classes": ("unicorn",)}, ""),
        ("fig11", {"pairs": "3"}, "not '3'"),
        ("fig11", {"pairs": "3-3"}, "one image twice"),
        ("fig11", {"pairs": "1-2 " * 9}, "at most 8 pairs"),
        ("fig4", {"share": 2.0}, "share"),
        ("fig5", {"files": ("x.png",)}, "x.png"),
    ],
)
def test_what_cannot_be_is_said(figure: str, changes: dict[str, Any], said: str) -> None:
    def whole() -> None:
        given = asked("fig1", **changes) if figure == "fig12" else asked(figure, **changes)
        recipe = recipe_of(Asked(**given.__dict__ | {"figure": figure}))
        list(compute(recipe, "cpu"))

    with pytest.raises(ValueError, match=said or "unicorn"):
        whole()


def test_the_tab_opens_with_a_figure_that_its_recipe_reproduces() -> None:
    for path in figures_tab.OPENING.values():
        assert recipe_in(path).figure == "fig2"
    assert recipe_in(figures_tab.OPENING["pdf"]) == recipe_in(figures_tab.OPENING["png"])


def test_a_link_restores_the_controls_of_its_figure() -> None:
    updates = dict(
        zip(
            figures_tab.SHARED,
            figures_tab.restored(
                {"figure": "fig4", "generator": "cifar10-cgan", "rows": 2, "classes": ["cat"], "quantile": 0.9}
            ),
            strict=False,
        )
    )
    assert updates["figure"]["value"] == "fig4"
    assert (updates["rows"]["value"], updates["rows"]["visible"]) == (2, True)
    assert updates["quantile"]["visible"]
    assert updates["classes"]["value"] == ["cat"]
    with pytest.raises(ValueError, match="unicorn"):
        figures_tab.restored({"generator": "cifar10-cgan", "classes": ["unicorn"]})
