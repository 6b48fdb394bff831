"""Recipes: the same figure from the same file, and nothing else from a stranger's."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from bigroc_core.__main__ import main
from bigroc_core.cards import CHECKPOINTS, read_card
from bigroc_core.figures import recipe as recipes
from bigroc_core.figures.drafts import Draft
from bigroc_core.figures.recipe import Recipe, check_models, from_json, recipe_in, with_hashes
from bigroc_core.images import encode_png, from_uint8

CONFIG = {"eps": 0.5, "steps": 2}
PAIRS = {
    "source": {"generator": "cifar10-cgan", "seed": 1, "start": 0, "count": 4, "classes": None},
    "columns": 2,
    "classifier": "cifar10-robust",
    "config": CONFIG,
    "debias": None,
}
WALK = {
    "pairs": [[{"image": "a"}, {"generator": "cifar10-cgan", "seed": 0, "number": 1, "class": "cat"}]],
    "classifiers": ["cifar10-robust"],
    "c": [0.5],
    "steps": 2,
    "weights": None,
    "warm_start": False,
}


def noise(count: int = 1, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def png_with(text: str, path: Path) -> Path:
    info = PngImagePlugin.PngInfo()
    info.add_text("bigroc", text)
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    return path


def test_a_recipe_survives_json_with_its_images() -> None:
    made = with_hashes(Recipe("fig6", WALK, {"a": noise(), "b": noise(3, 24)}))
    again = from_json(made.to_json())
    assert again.settings == made.settings
    assert set(again.checkpoints) == {"cifar10-robust", "cifar10-cgan"}
    for name, pixels in made.images.items():
        np.testing.assert_array_equal(again.images[name], pixels)
    check_models(again)


@pytest.mark.parametrize(
    ("endings", "words"),
    [
        (("pdf",), ["fig1", "--columns", "2", "--steps", "2", "--eps", "1"]),
        (("png", "pdf", "svg"), ["fig2", "--image", "IMAGE", "--steps", "2"]),
        (("svg",), ["fig3", "--rows", "2", "--columns", "6", "--debias", "20", "--steps", "1"]),
        (("png",), ["fig4", "--columns", "2", "--steps", "2"]),
        (
            ("svg",),
            ["fig6", "--source", "IMAGE", "--target", "generator:cifar10-cgan", "--steps", "2", "--c", "0.5", "1"],
        ),
        (("png",), ["fig7", "--images", "SET", "--rows", "2", "--columns", "3", "--steps", "1", "--eps", "0.5"]),
        (("pdf",), ["side-by-side", "--generator", "cifar10-cgan", "--count", "3", "--columns", "2", "--steps", "1"]),
        (("png", "svg"), ["debias", "--generator", "cifar10-dcgan", "--count", "30", "--validation", "20"]),
    ],
    ids=lambda words: words[0],
)
def test_again_gives_the_same_bytes_in_every_format(endings: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(encode_png(from_uint8(noise()[0])))
    np.savez(tmp_path / "set.npz", noise(7))
    places = {"IMAGE": str(tmp_path / "photo.png"), "SET": str(tmp_path / "set.npz")}
    command = ["figure", *(places.get(word, word) for word in words), "--device", "cpu"]
    for ending in endings:
        assert main([*command, "--output", str(tmp_path / f"made.{ending}")]) == 0
    # What it was made from need not be there any more.
    (tmp_path / "photo.png").unlink()
    (tmp_path / "set.npz").unlink()
    for ending in endings:
        made = tmp_path / f"made.{ending}"
        assert main(["figure", "--again", str(made), "--device", "cpu"]) == 0
        assert (tmp_path / f"made-again.{ending}").read_bytes() == made.read_bytes()


def test_what_was_done_to_a_sets_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for number, pixels in enumerate(noise(3)):
        image = Image.fromarray(pixels)
        image.putalpha(255 if number else 100)
        image.save(tmp_path / "set" / f"{number}.png")
    draft = Draft()
    draft.image_set(str(tmp_path / "set"), 0, 3, read_card(CHECKPOINTS / "cifar10-robust.json"))
    assert draft.notes == ["1 image: transparent pixels were laid on white"]


def test_a_generator_from_elsewhere_becomes_pixels_and_a_shift(tmp_path: Path) -> None:
    card = dataclasses.replace(read_card(CHECKPOINTS / "cifar10-dcgan.json"), name="mine")
    (tmp_path / "mine.json").write_text(card.to_json(), "utf-8")
    shutil.copy(CHECKPOINTS / "cifar10-dcgan.safetensors", tmp_path / "mine.safetensors")
    generator, images = str(tmp_path / "mine.safetensors"), tmp_path / "a\udcff.png"
    images.write_bytes(encode_png(from_uint8(noise()[0])))
    shown = {}
    for name, words in {
        "side-by-side": ["--generator", generator, "--count", "2", "--debias", "5", "--steps", "1"],
        "fig6": ["--source", f"generator:{generator}", "--target", str(images), "--steps", "1", "--c", "1"],
    }.items():
        assert main(["figure", name, *words, "--device", "cpu", "--output", str(tmp_path / f"{name}.png")]) == 0
        shown[name] = recipe_in(tmp_path / f"{name}.png")
    assert shown["side-by-side"].images["mine"].shape == (2, 32, 32, 3)
    assert len(shown["side-by-side"].settings["debias"]["shift"]) == 10
    assert list(shown["fig6"].images) == ["mine-0-0", "a?.png"]
    (tmp_path / "mine.safetensors").unlink()
    assert main(["figure", "--again", str(tmp_path / "side-by-side.png"), "--device", "cpu"]) == 0
    again = tmp_path / "side-by-side-again.png"
    assert again.read_bytes() == (tmp_path / "side-by-side.png").read_bytes()


@pytest.mark.parametrize(
    ("figure", "change", "said"),
    [
        ("fig1", {"columns": 10**9}, "settings.columns must be at most 20, not 1000000000"),
        ("fig1", {"columns": True}, "settings.columns"),
        ("fig1", {"config": {"eps": 1e6}}, "settings.config"),
        ("fig1", {"config": {"steps": 100_000}}, "steps"),
        ("fig1", {"config": {"__class__": "x"}}, "settings.config"),
        ("fig1", {"source": {**PAIRS["source"], "count": 10**7}}, "count"),  # type: ignore[dict-item]
        ("fig1", {"source": {"path": "/etc/passwd"}}, "unknown entry 'path'"),
        ("fig1", {"more": 1}, "unknown entry 'more'"),
        ("fig6", {"c": [2.0]}, r"settings\.c\[0\] must be at most 1"),
        ("fig6", {"c": []}, r"settings\.c must be of at least 1 entries"),
        ("fig6", {"steps": "60"}, "settings.steps"),
        ("fig6", {"weights": [float("nan")]}, "finite"),
        ("fig99", {}, "there is no figure 'fig99'"),
    ],
)
def test_values_out_of_bounds_are_refused_by_name(figure: str, change: dict[str, Any], said: str) -> None:
    base = WALK if figure == "fig6" else PAIRS
    text = json.dumps(
        {"recipe": 1, "figure": figure, "settings": base | change, "checkpoints": {}, "images": {}, "version": "0.1.0"}
    )
    with pytest.raises(ValueError, match=said):
        from_json(text)


def test_files_of_others_are_refused_in_one_sentence(tmp_path: Path) -> None:
    plain, text, broken = tmp_path / "plain.png", tmp_path / "text.svg", tmp_path / "broken.pdf"
    Image.new("RGB", (4, 4)).save(plain)
    text.write_text("<svg/>")
    broken.write_bytes(b"%PDF-1.4 /Subject (")
    for path, said in (
        (plain, "carries no recipe"),
        (text, "carries no recipe"),
        (broken, "carries no recipe"),
        (tmp_path / "none.png", "cannot be read"),
        (png_with("{", tmp_path / "half.png"), "not JSON"),
        (png_with("[" * 100_000, tmp_path / "deep.png"), "not JSON"),
        (png_with("[]", tmp_path / "list.png"), "no recipe"),
        (png_with('{"recipe": 1}', tmp_path / "empty.png"), "lacks figure"),
    ):
        with pytest.raises(ValueError, match=said) as refused:
            recipe_in(path)
        assert "\n" not in str(refused.value)


def test_images_that_are_none_or_too_large_are_refused() -> None:
    made = json.loads(Recipe("fig6", WALK, {"a": noise()}).to_json())
    for png, count in (
        ("", 1),
        ("AAAA", 1),
        (made["images"]["a"]["png"], 3),
        (made["images"]["a"]["png"][:200], 1),
        (7, 1),
        (made["images"]["a"]["png"], 10**9),
    ):
        broken = made | {"images": {"a": {"count": count, "png": png}}}
        with pytest.raises(ValueError, match="images"):
            from_json(json.dumps(broken))


def test_other_weights_and_models_that_are_not_here_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = with_hashes(Recipe("fig1", PAIRS))
    check_models(made)
    path = png_with(made.to_json(), tmp_path / "figure.png")
    monkeypatch.setattr(recipes, "checkpoint_hash", lambda name: "0" * 64)
    assert main(["figure", "--again", str(path), "--output", str(tmp_path / "again.png")]) == 2
    assert "other weights of cifar10-" in capsys.readouterr().err
    assert not (tmp_path / "again.png").exists()
    monkeypatch.undo()
    for name in ("somebody-elses", "../secrets", "/etc/passwd"):
        with pytest.raises(ValueError, match="not among the embedded models"):
            check_models(with_hashes(Recipe("fig1", PAIRS | {"classifier": name})))
    with pytest.raises(ValueError, match="does not say which weights"):
        check_models(Recipe("fig1", PAIRS))


@pytest.mark.repository
def test_every_figure_of_the_docs_was_made_with_the_models_that_come_along() -> None:
    root = Path(__file__).resolve().parents[2]
    pages = "".join(page.read_text("utf-8") for page in (root / "README.md", *root.glob("docs/*.md")))
    shown = sorted(set(re.findall(r"!\[[^]]*\]\((?:\.\./)?(assets/[^)]+\.png)\)", pages)))
    assert len(shown) >= 5
    for name in shown:
        check_models(recipe_in(root / name))
