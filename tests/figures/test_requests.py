"""The Figures tab's recipes: those of the command line, and problems named."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from bigroc_core.__main__ import main
from bigroc_core.catalogue import generator_cards
from bigroc_core.figures import requests
from bigroc_core.figures.commands import as_command
from bigroc_core.figures.drafts import Draft
from bigroc_core.figures.kinds import FIGURE_KINDS, LAYOUTS, generator_of
from bigroc_core.figures.recipe import Recipe, from_json, recipe_in
from bigroc_core.figures.requests import FigureRequest, Rendered, compute, default_config, default_pairs
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.places import HOME
from bigroc_core.settings import Unfit
from bigroc_core.ui import figures_tab


def asked(figure: str, /, **changes: Any) -> FigureRequest:
    generator = generator_of(FIGURE_KINDS[figure], generator_cards())
    config = default_config(figure, generator)
    kind = FIGURE_KINDS[figure]
    values: dict[str, Any] = {
        "generator": generator,
        "classifier": "cifar10-robust",
        "rows": kind.rows,
        "columns": kind.columns,
        "eps": config.eps,
        "steps": config.steps,
        "step_size": config.step_size,
        "pairs": default_pairs(figure),
    }
    return FigureRequest(**{"figure": figure} | values | changes)


CLASSES = {"classes": ("bird", "automobile", "truck")}
OTHER_CLASSES = {"generator": "imagenette64-seeds", "classifier": "imagenette64-robust"}


@pytest.mark.parametrize(
    ("figure", "changes"),
    [
        *((figure, {}) for figure in FIGURE_KINDS),
        *((figure, OTHER_CLASSES) for figure in ("fig1", "fig4", "fig7", "side-by-side")),
        ("fig1", CLASSES),
        ("fig7", {"classes": ("cat", "dog"), "rows": 2}),
        ("fig7", {"generator": "cifar10-dcgan"}),
    ],
)
def test_every_figure_is_one_click_and_its_command_gives_the_same_recipe(
    figure: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the generators that other tests offer in this process.
    monkeypatch.setattr(requests, "generator_cards", embedded_generators)
    recipe = asked(figure, **changes).recipe
    if "columns" in recipe.settings and "source" in recipe.settings:
        drawn = recipe.settings["source"]["classes"] or []
        assert tuple(drawn[:: recipe.settings["columns"]]) == changes.get("classes", ()), "empty: all, image by image"
    assert from_json(recipe.to_json()) == recipe
    asked_for = []
    finish = Draft.recipe

    def recorded(draft: Draft, figure: str, settings: dict[str, Any]) -> Recipe:
        asked_for.append(finish(draft, figure, settings))
        raise ValueError("what it would be made from is enough here")

    monkeypatch.setattr(Draft, "recipe", recorded)
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
        *progress, made = compute(asked(figure, steps=2, files=tuple(paths), columns=2).recipe, "cpu")
        assert isinstance(made, Rendered)
        assert progress
        for format, data in made.files.items():
            (tmp_path / f"figure.{format}").write_bytes(data)
            assert recipe_in(tmp_path / f"figure.{format}").to_json() == made.recipe.to_json()
        *_, again = compute(recipe_in(tmp_path / "figure.pdf"), "cpu")
        assert isinstance(again, Rendered)
        assert again.files == made.files


@pytest.mark.parametrize(
    ("figure", "changes", "at", "said"),
    [
        ("fig12", {}, "figure", "'fig12'"),
        ("fig1", {"generator": "x"}, "generator", "'x'"),
        ("fig1", {"classifier": "cifar10-judge"}, "classifier", "'cifar10-judge'"),
        ("fig1", {"seed": -1}, "seed", "from 0 on"),
        ("fig1", {"seed": 10**400}, "seed", "from 0 on"),
        ("fig7", {"rows": 21, "columns": 20}, "rows", "from 1 to 20"),
        ("fig7", {"rows": 20, "columns": 20, "steps": 200}, "columns", "80,400 gradients"),
        ("fig1", {"columns": 0}, "columns", "from 1 to 20"),
        ("fig1", {"steps": 5000}, "steps", "200"),
        ("fig1", {"steps": 1.5}, "steps", "whole number"),
        ("fig1", {"classes": ("unicorn",)}, "classes", "unicorn"),
        ("fig8", {"classes": ("cat",)}, "classes", "unconditional"),
        ("fig11", {"pairs": "3"}, "pairs", "not '3'"),
        ("fig11", {"pairs": "3-3"}, "pairs", "one image twice"),
        ("fig11", {"pairs": "1-2 " * 9}, "pairs", "at most 8 pairs"),
        ("fig4", {"quantile": 2.0}, "quantile", "to 1"),
        ("fig3", {"debias": 0}, "debias", "1 or more"),
        ("fig3", {"seed": 1_000_000}, "seed", "choose another"),
        ("fig3", {"files": ("x.png",)}, "files", "uploaded"),
        ("fig6", {"files": ("x.png",)}, "files", "even number"),
        ("fig1", {"files": ("x.png",)}, "files", "x.png"),
        ("fig5", {"files": ("x.png",)}, "files", "uploaded"),
        ("table1", {"files": ("x.png",)}, "files", "measured"),
        ("debias", {"generator": "cifar10-cgan"}, "generator", "conditional"),
        ("debias", {"debias": 0}, "debias", "1 or more"),
    ],
)
def test_what_cannot_be_is_said_at_its_setting(figure: str, changes: dict[str, Any], at: str, said: str) -> None:
    with pytest.raises(Unfit, match=said) as unfit:
        asked("fig1" if figure == "fig12" else figure, **changes | {"figure": figure})
    assert list(unfit.value.problems) == [at]


def test_the_tab_opens_with_a_figure_that_its_recipe_reproduces() -> None:
    for path in figures_tab.OPENING.values():
        assert recipe_in(path).figure == "fig2"
    assert recipe_in(figures_tab.OPENING["pdf"]) == recipe_in(figures_tab.OPENING["png"])


def test_a_link_restores_the_controls_of_its_figure() -> None:
    with gr.Blocks():
        restorable = figures_tab.build()
    values = {"figure": "fig4", "generator": "cifar10-cgan", "rows": 2, "classes": ["cat"], "quantile": 0.9}
    updates = dict(zip(restorable.shared, restorable.apply(values), strict=False))
    assert updates["figure"]["value"] == "fig4"
    assert (updates["rows"]["value"], updates["rows"]["visible"]) == (2, True)
    assert updates["quantile"]["visible"]
    assert updates["classes"]["value"] == ["cat"]
    with pytest.raises(ValueError, match="unicorn"):
        restorable.apply({"generator": "cifar10-cgan", "classes": ["unicorn"]})


@pytest.mark.repository
@pytest.mark.parametrize("figure", ["table1", "table2", "table3", "curve"])
def test_what_was_measured_is_drawn_with_its_numbers(figure: str) -> None:
    *_, made = compute(asked(figure).recipe, "cpu")
    assert isinstance(made, Rendered)
    told = json.loads((HOME / "RESULTS.json").read_text("utf-8"))
    if figure == "curve":
        assert made.recipe.settings["points"][0]["distance"] == told["curve"][0]["distance"]
        return
    # The page that `tables` wrote has the same cells.
    page = (HOME / "RESULTS.md").read_text("utf-8").replace("*", "")
    for row in made.recipe.settings["rows"]:
        assert f"| {' | '.join(one['text'] for one in row['cells'])} |" in page


def test_results_of_ones_own_are_drawn_and_other_files_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own = json.loads((HOME / "RESULTS.json").read_text("utf-8"))
    own["curve"] = own["curve"][:2]
    Path("RESULTS.json").write_text(json.dumps(own))
    assert len(asked("curve").recipe.settings["points"]) == 2
    Path("RESULTS.json").write_text('{"measured": []}')
    with pytest.raises(Unfit, match="not what `tables` writes") as unfit:
        asked("curve")
    assert list(unfit.value.problems) == ["figure"]


@pytest.mark.parametrize("figure", FIGURE_KINDS)
def test_controls_that_play_no_part_are_hidden(figure: str) -> None:
    shown = {name for name, update in figures_tab.following(figure).items() if update["visible"]}
    assert shown <= set(LAYOUTS[FIGURE_KINDS[figure].layout])
    if figure in ("table1", "curve"):
        assert not shown
    assert ("count" in shown) == (figure == "debias")
    assert ("quantile" in shown) == (figure == "fig4")
