"""Figures: files that open, exact pixels, and settings that travel with them."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.cli.figure import add_figure_parser, run_figure
from bigroc_core.experiments.every_class import towards_every_class
from bigroc_core.experiments.growing import last
from bigroc_core.figures.drawing import (
    DPI,
    Block,
    InterpolatedRow,
    TargetedRow,
    Tile,
    Walk,
    blocks,
    debias_histograms,
    fig2,
    fig3,
    interpolations,
    render,
    side_by_side,
    sweep_curve,
    tile_figure,
    write_figure,
)
from bigroc_core.figures.making import make, targeted_rows
from bigroc_core.figures.parts import finished
from bigroc_core.figures.recipe import Recipe, recipe_in
from bigroc_core.images import encode_png, from_uint8, to_uint8
from bigroc_core.training.checkpoint import export


def small_classifier(seed: int, name: str) -> Classifier:
    torch.manual_seed(seed)
    card = Card(name=name, kind="classifier", architecture="resnet9", arguments={"width": 2}, classes=CIFAR10_CLASSES)
    network = Classifier(build_network("resnet9", classes=10, width=2), card)
    network(torch.rand(32, 3, 32, 32))
    return network.eval().requires_grad_(False)


def picture(seed: int = 0, side: int = 32) -> torch.Tensor:
    """8-bit noise, in which any smoothing or uneven enlargement shows."""
    levels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return from_uint8(levels)


def recipe(best: float = 1.0) -> Recipe:
    """Of a figure that needs no model; best is what tells it from others."""
    point = {"stage": "fine", "eps": 0.5, "mean": 2.0, "std": None}
    return Recipe(
        "sweep", {"points": [point], "best": best, "features_of": "NAME", "norm": "l2", "source": "(g\\)", "seeds": [0]}
    )


def drawn(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def contains(page: np.ndarray, image: torch.Tensor, scale: int) -> bool:
    """Whether the page shows the image enlarged by squares, pixel for pixel."""
    levels = to_uint8(image).repeat(scale, 0).repeat(scale, 1)
    height, width = levels.shape[:2]
    corners = np.argwhere((page == levels[0, 0]).all(-1))
    return any(np.array_equal(page[y : y + height, x : x + width], levels) for y, x in corners)


@pytest.mark.parametrize("side", [32, 24, 48])
def test_every_image_pixel_is_a_square_of_whole_dots(side: int) -> None:
    tiles = [
        Tile(picture(index, side), row, column, below="name")
        for index, (row, column) in enumerate([(0, 0), (0, 1.2), (1, 2.2), (0.5, 3.2)])
    ]
    page = drawn(render(tile_figure(tiles, ("a", "b"), lines_below=(1, 1), width_inches=2.0)))
    assert page.shape[1] <= 2.0 * DPI
    scales = [scale for scale in range(1, 20) if all(contains(page, tile.image, scale) for tile in tiles)]
    assert len(scales) == 1


def test_a_png_has_print_resolution_and_carries_its_settings(tmp_path: Path) -> None:
    figure = side_by_side(torch.stack([picture(0)] * 3), torch.stack([picture(1)] * 3), ["cat", "dog", "frog"], 3)
    path = write_figure(figure, tmp_path / "pairs.png", recipe(2.0))
    image = Image.open(path)
    assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
    assert recipe_in(path) == recipe(2.0)
    assert image.size == tuple(round(inches * DPI) for inches in figure.get_size_inches())


def test_pdf_embeds_its_fonts_and_svg_needs_none(tmp_path: Path) -> None:
    figure = debias_histograms([10, 90], [45, 55], ("cat", "dog"), (0.325, 0.688))
    pdf = write_figure(figure, tmp_path / "h.pdf", recipe()).read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf  # TrueType, whole glyphs: what journals ask for
    assert b"/Type3" not in pdf
    svg = write_figure(figure, tmp_path / "h.svg", recipe()).read_text("utf-8")
    assert "<text" not in svg
    assert recipe_in(tmp_path / "h.pdf") == recipe_in(tmp_path / "h.svg") == recipe()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.pdf", "h.svg"]


@pytest.mark.parametrize("format", ["png", "pdf", "svg"])
def test_the_same_results_give_the_same_bytes(format: str) -> None:
    def make() -> bytes:
        return render(sweep_curve([(0, 3.0, 0.1), (1, 2.0, 0.2)], 1.0, "NAME", [(0.5, 2.5, None)]), format, recipe())

    assert make() == make()


def test_fig2_shows_the_original_and_every_class_through_both_classifiers() -> None:
    original = picture(50)
    config = BoostConfig(eps=15, steps=4, step_size=0.5)
    networks = (small_classifier(0, "r"), small_classifier(1, "s"))
    rows = targeted_rows(last(towards_every_class(networks, original, config)), ("r", "s"))
    for row, network in zip(rows, networks, strict=True):
        result = boost(network, original.expand(10, -1, -1, -1), torch.arange(10), config=config)
        assert torch.equal(row.images, from_uint8(to_uint8(result.images)))
        torch.testing.assert_close(row.l2, result.l2, rtol=0, atol=0.1)
        torch.testing.assert_close(row.certainty, network(row.images).softmax(1).diagonal(), rtol=1e-3, atol=1e-4)
    page = drawn(render(fig2(original, rows, CIFAR10_CLASSES)))
    shown = [original, *rows[0].images, *rows[1].images]
    assert all(contains(page, image, 5) for image in shown)


def test_interpolations_show_both_ends_and_every_frame_through_every_classifier() -> None:
    rows = [
        InterpolatedRow(name, torch.stack([picture(seed + i) for i in range(4)]), torch.zeros(4), torch.ones(4))
        for name, seed in (("a", 0), ("b", 10))
    ]
    page = drawn(render(interpolations([Walk(picture(50), picture(51), rows)] * 2, (0.1, 0.4, 0.7, 1.0))))
    shown = [picture(50), picture(51), *rows[0].frames, *rows[1].frames]
    assert any(all(contains(page, image, scale) for image in shown) for scale in range(4, 12))
    with pytest.raises(ValueError, match="4 frames for 3 values of c"):
        interpolations([Walk(picture(50), picture(51), rows)], (0.1, 0.4, 0.7))


def test_blocks_show_every_version_of_every_image_and_mark_without_covering() -> None:
    sets = [torch.stack([picture(10 * block + index) for index in range(6)]) for block in range(3)]
    marked = torch.tensor([True, False, False, False, False, True])
    page = drawn(render(blocks([Block("a", sets[0]), Block("b", sets[1], marked), Block("c", sets[2])], 3, "xy")))
    assert any(all(contains(page, image, scale) for one in sets for image in one) for scale in range(2, 9))
    red = (page == (212, 0, 42)).all(-1)
    assert red.any()
    thirds = np.array_split(red, 3, axis=1)
    assert not thirds[0].any()
    assert not thirds[2].any()
    with pytest.raises(ValueError, match="equally many"):
        blocks([Block("a", sets[0]), Block("b", sets[1][:5])], 3)
    with pytest.raises(ValueError, match="1 names for 2 rows"):
        blocks([Block("a", sets[0])], 3, ["x"])


def test_fig3_shows_the_counts_it_was_given() -> None:
    images = torch.stack([picture(index) for index in range(4)])
    figure = fig3((Block("a", images),) * 3, ([3, 1, 0], [1, 2, 1]), (0.562, 1.04), ("cat", "dog", "frog"), 2, "note")
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes if axes.patches]
    assert heights == [[3, 1, 0], [1, 2, 1]]
    with pytest.raises(ValueError, match="2 and 3 counts for 3 classes"):
        fig3((Block("a", images),) * 3, ([3, 1], [1, 2, 1]), (0.5, 1.0), ("cat", "dog", "frog"), 2, "note")


def test_side_by_side_shows_all_images_over_several_rows() -> None:
    before = torch.stack([picture(index) for index in range(5)])
    after = torch.stack([picture(index + 10) for index in range(5)])
    page = drawn(render(side_by_side(before, after, list("abcde"), columns=2, width_inches=1.0)))
    assert all(contains(page, image, 3) or contains(page, image, 4) for image in (*before, *after))


def test_histograms_draw_one_bar_per_class_and_count() -> None:
    figure = debias_histograms([10, 0, 90], [30, 33, 37], ("cat", "dog", "frog"), (0.3, 1.1))
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights == [[10, 0, 90], [30, 33, 37]]
    assert "0.300 of 1.099" in figure.axes[0].get_title()


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    figure = sweep_curve([(0, 3.0, None)], 0.0, "NAME")
    with pytest.raises(ValueError, match="'gif'"):
        write_figure(figure, tmp_path / "x.gif")
    with pytest.raises(ValueError, match="at least one image"):
        tile_figure([], lines_below=())
    with pytest.raises(ValueError, match="one size"):
        tile_figure([Tile(picture(0, 32), 0, 0), Tile(picture(0, 16), 0, 1)], lines_below=(0,))
    with pytest.raises(ValueError, match="2 captions for 3"):
        side_by_side(torch.zeros(3, 3, 8, 8), torch.zeros(3, 3, 8, 8), ["a", "b"])
    with pytest.raises(ValueError, match="one shape"):
        side_by_side(torch.zeros(3, 3, 8, 8), torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="9 images for 10 classes"):
        fig2(picture(), [TargetedRow("r", torch.zeros(9, 3, 32, 32), torch.zeros(9), torch.zeros(9))], CIFAR10_CLASSES)
    with pytest.raises(ValueError, match="counts for 2 classes"):
        debias_histograms([1], [1, 2], ("a", "b"), (0, 0))
    with pytest.raises(ValueError, match="at least one point"):
        sweep_curve([], 0.0, "NAME")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------ the command


def run(*words: object) -> None:
    parser = argparse.ArgumentParser()
    add_figure_parser(parser.add_subparsers())
    run_figure(parser.parse_args(["figure", *map(str, words)]))


def test_figure_fig2_from_an_image_file(tmp_path: Path) -> None:
    for seed, name in ((0, "robust"), (1, "standard")):
        classifier = small_classifier(seed, name)
        export(classifier.network, classifier.card, tmp_path)
    (tmp_path / "cat.png").write_bytes(encode_png(picture(3)))
    words = (
        "fig2",
        "--image",
        tmp_path / "cat.png",
        "--robust",
        tmp_path / "robust.safetensors",
        "--standard",
        tmp_path / "standard.safetensors",
        "--steps",
        2,
        "--device",
        "cpu",
    )
    run(*words, "--output", tmp_path / "fig2.png")
    image, kept = Image.open(tmp_path / "fig2.png"), recipe_in(tmp_path / "fig2.png")
    assert kept.settings["start"] == {"image": "cat.png"}
    assert np.array_equal(kept.images["cat.png"][0], to_uint8(picture(3)))
    assert (kept.settings["config"]["eps"], kept.settings["config"]["steps"]) == (15.0, 2)
    assert contains(np.asarray(image.convert("RGB")), picture(3), 5)
    with pytest.raises(ValueError, match=r"\.png, \.pdf, \.svg"):
        run(*words, "--output", tmp_path / "fig2.jpg")
    with pytest.raises(ValueError, match="nothing-here"):
        run("fig2", "--image", tmp_path / "nothing-here.png", *words[3:], "--output", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_figure_fig6_from_image_files(tmp_path: Path) -> None:
    classifier = small_classifier(0, "robust")
    export(classifier.network, classifier.card, tmp_path)
    for seed, name in ((3, "cat.png"), (4, "dog.png")):
        (tmp_path / name).write_bytes(encode_png(picture(seed)))
    words = (
        "fig6",
        "--source",
        tmp_path / "cat.png",
        "--target",
        tmp_path / "dog.png",
        "--steps",
        2,
        "--c",
        0.5,
        0,
        "--classifiers",
        tmp_path / "robust.safetensors",
        "--device",
        "cpu",
    )
    for ending in ("png", "pdf", "svg"):
        run(*words, "--output", tmp_path / f"fig6.{ending}")
    image = Image.open(tmp_path / "fig6.png")
    for ending in ("png", "pdf", "svg"):
        settings = recipe_in(tmp_path / f"fig6.{ending}").settings
        assert settings["pairs"] == [[{"image": "cat.png"}, {"image": "dog.png"}]]
        assert (settings["c"], settings["steps"]) == ([0.0, 0.5], 2)
    kept = bc.load_classifier(tmp_path / "robust.safetensors", device="cpu")
    frames = bc.interpolate(kept, picture(3)[None], picture(4)[None], (0.0, 0.5), steps=2)[:, 0]
    page = np.asarray(image.convert("RGB"))
    assert any(all(contains(page, one, scale) for one in (*frames, picture(4))) for scale in range(4, 20))
    for more, said in (
        (("--target", tmp_path / "cat.png"), "same image"),
        (("--c", 2), "at most 1"),
        (("--c", "nan"), "finite"),
        (("--weights", 0, 0, 0), "not all be 0"),
        (("--weights", 1), "3 numbers"),
        (("--steps", -1), "steps"),
        (("--source", "generator:cifar10-cgan", "--source-class", "unicorn"), "'unicorn'"),
        (("--classifiers", "cifar10-judge"), "cifar10-judge"),
    ):
        with pytest.raises(ValueError, match=said):
            run(*words, *more, "--output", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_figure_sweep_from_a_results_file(tmp_path: Path) -> None:
    results = tmp_path / "sweep.json"
    points = [{"eps": eps, "steps": 30, "stage": "fine", "frechet": {"mean": 3 - eps, "std": None}} for eps in (0, 1)]
    results.write_text(
        json.dumps(
            {"points": points, "best": 1, "features_of": "NAME", "source": "g", "seeds": [0], "config": {"norm": "l2"}}
        )
    )
    run("sweep", results, "--output", tmp_path / "curve.png")
    assert recipe_in(tmp_path / "curve.png").settings["best"] == 1
    results.write_text("{}")
    with pytest.raises(ValueError, match=r"sweep\.json is not what"):
        run("sweep", results, "--output", tmp_path / "other.png")


def test_figure_training_from_a_log_and_again(tmp_path: Path) -> None:
    terms = {
        "ce_real": 1.5,
        "ce_generated": 1.2,
        "bce_real": 0.7,
        "bce_generated": 0.6,
        "auc": 0.8,
        "clean": 0.9,
        "pgd10": 0.5,
        "seconds": 3.0,
    }
    attacks = {"real": 0.7, "generated": 0.4, "stopped": 0.2}
    for name, more, panels in (("robust", attacks, 3), ("vanilla", {}, 2)):
        log = tmp_path / name / "log.jsonl"
        log.parent.mkdir()
        log.write_text("\n".join(json.dumps({"step": step, **terms, **more}) for step in (100, 200)))
        run("training", log, "--output", tmp_path / f"{name}.png")
        recipe = recipe_in(tmp_path / f"{name}.png")
        assert recipe.settings["name"] == name
        made = finished(make(recipe, "cpu"))
        assert len(made.figure.axes) == panels
        assert "200 iterations" in made.caption
        main(["figure", "--again", str(tmp_path / f"{name}.png"), "--output", str(tmp_path / "again.png")])
        assert (tmp_path / "again.png").read_bytes() == (tmp_path / f"{name}.png").read_bytes()
    log.write_text(json.dumps({"step": 100}))
    with pytest.raises(ValueError, match=r"log\.jsonl is no log of .*line 1 lacks .*ce_real"):
        run("training", log, "--output", tmp_path / "none.png")
