"""Whatever command takes a classifier takes any, with the same words for it, and images at their own size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import bigroc_core as bc
from bigroc_core.__main__ import build_parser, main
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.figures.recipe import recipe_in
from bigroc_core.images import fit_to, from_uint8, open_image_set, read_image, to_uint8
from bigroc_core.training.checkpoint import export

ARCH, CLASSES = "shufflenet_v2_x0_5", ("church", "cup", "golf ball")
# What the file does not say.
SAID = ("--arch", ARCH, "--class-names", ",".join(CLASSES), "--input-size", "48", "--num-classes", "3")
FILE = ("--classifier", "net.pt")
MEAN = ("--mean", "0.5,0.4,0.3", "--std", "0.2,0.3,0.4")
VOCABULARY = {"--arch", "--num-classes", "--class-names", "--mean", "--std", "--input-size"}
SIZE = (40, 64)  # (height, width) of the images


def pixels(count: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """Soft colours, (N, H, W, 3) uint8."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return to_uint8(torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(0, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.pt, which says nothing of itself; judge.safetensors; images.npz and real.npz, not square; photos/CLASS."""
    made = tmp_path_factory.mktemp("any")
    torch.manual_seed(0)
    torch.save({"state_dict": torchvision.models.get_model(ARCH, num_classes=3).state_dict()}, made / "net.pt")
    card = Card(
        name="judge",
        kind="classifier",
        architecture="resnet9",
        arguments={"width": 2},
        classes=CLASSES,
        input_size=(48, 48),
        role="judge",
    )
    export(Classifier(build_network("resnet9", classes=3, width=2), card).eval().network, card, made)
    np.savez(made / "images.npz", arr_0=pixels(24, SIZE, 0), arr_1=np.arange(24) % 3)
    np.savez(made / "real.npz", arr_0=pixels(40, SIZE, 1))
    for label, name in enumerate(CLASSES):
        (made / "photos" / name).mkdir(parents=True)
        for number, one in enumerate(pixels(22, (52, 52), label)):
            Image.fromarray(one).save(made / "photos" / name / f"{number:03}.png")
    return made


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BIGROC_CACHE", str(folder / "cache"))


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


@pytest.mark.parametrize(
    "command",
    [
        *("boost", "evaluate", "sweep", "tables", "interpolate", "evaluate-classifier", "evaluate-joint"),
        *(
            f"figure {kind}"
            for kind in ("fig1", "fig2", "fig3", "fig4", "fig5", "fig6", "fig11", "side-by-side", "debias")
        ),
        "train joint",
    ],
)
def test_every_command_that_takes_a_classifier_has_the_same_words_for_it(command: str) -> None:
    parser = build_parser()
    for word in command.split():
        parser = next(action for action in parser._actions if action.dest in ("command", "kind")).choices[word]
    known = {option for action in parser._actions for option in action.option_strings}
    assert known >= VOCABULARY | (set() if command == "train joint" else {"--view"})


JUDGED = ("--judge", "judge.safetensors", "--control", "none")
EVALUATED = ("evaluate", "images.npz", "--classifier", "net.pt", *SAID, "--judge", "judge.safetensors")
HOW = ("--control", "none", "--reference", "real.npz", "--eps", "2", "--steps", "2")


def test_images_are_evaluated_at_their_own_size_through_any_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*EVALUATED, *HOW, "--run", "run", "--images-to", "moved", "--output", "told.json")
    assert main([*words, *MEAN]) == 0
    said = capsys.readouterr().out
    assert "judge sees" in said
    assert "net.pt" in said
    told = json.loads((folder / "told.json").read_text("utf-8"))
    assert (told["classifier"], told["count"]) == ("net.pt", 24)
    classifier = bc.load_classifier(
        "net.pt", arch=ARCH, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), input_size=48, class_names=CLASSES
    )
    before = from_uint8(pixels(24, SIZE, 0))
    moved = bc.boost(classifier, before, torch.arange(24) % 3, bc.BoostConfig(eps=2.0, steps=2))
    written = open_image_set(folder / "moved" / "seed-0" / "boosted-net.pt", "own").batch(0, 24).images
    assert tuple(written.shape[2:]) == SIZE
    assert (written - moved.images).abs().max() <= 0.51 / 255
    # Whatever changes what is computed makes another run.
    assert "other settings" in error_of(capsys, *words)
    assert "other settings" in error_of(capsys, *words, *MEAN, "--view", "64")
    assert main([*words, *MEAN]) == 0
    # So do other images of the same name, which are measured anew, but never mixed with those that were written.
    kept = (folder / "images.npz").read_bytes()
    try:
        np.savez(folder / "images.npz", arr_0=pixels(24, SIZE, 7), arr_1=np.arange(24) % 3)
        assert "moved" in (refused := error_of(capsys, *words, *MEAN))
        assert "exists already" in refused
        assert main([word for word in (*words, *MEAN) if word not in ("--images-to", "moved")]) == 0
        assert json.loads((folder / "told.json").read_text("utf-8"))["rows"] != told["rows"]
    finally:
        (folder / "images.npz").write_bytes(kept)


def test_a_distance_wants_images_of_one_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mixed").mkdir()
    for number, size in enumerate(((48, 48), (40, 64), (48, 48))):
        Image.fromarray(pixels(1, size, number)[0]).save(folder / "mixed" / f"{number}.png")
    said = error_of(capsys, "evaluate", "mixed", *EVALUATED[2:], *HOW)
    assert "2 sizes, from 64×40 to 48×48" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--arch", "resnet18"), "do not fit"),
        (("--arch", ARCH, "--num-classes", "4"), "3 classes, not the 4"),
        (("--arch", ARCH, "--class-names", "a,b"), "3 classes"),
        (("--arch", ARCH, "--mean", "1,2"), "mean must be three numbers"),
        (("--arch", ARCH, "--input-size", "huge"), "--input-size must be"),
        ((), "say what it is"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "interpolate", "figure", "evaluate-classifier"])
def test_what_is_said_of_a_classifier_wrongly_is_one_line(
    command: str, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = ("photos/cup/000.png", "photos/cup/001.png")
    begun = {
        "evaluate": ("evaluate", "images.npz", "--classifier", "net.pt", *HOW, "--judge", "judge.safetensors"),
        "interpolate": ("interpolate", first, second, "out", "--classifier", "net.pt"),
        "figure": ("figure", "side-by-side", "--images", "images.npz", "--classifier", "net.pt", "--output", "f.png"),
        "evaluate-classifier": ("evaluate-classifier", "net.pt", "--data", "photos"),
    }
    assert said in error_of(capsys, *begun[command], *words)
    assert not Path("out").exists()


def test_what_an_embedded_classifier_is_said_to_be_must_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    begun = ("interpolate", "photos/cup/000.png", "photos/cup/001.png", "out", "--steps", "1", "--c", "1")
    assert "10 classes, not the 7" in error_of(capsys, *begun, "--num-classes", "7")
    assert "leave arch out" in error_of(capsys, *begun, "--arch", "resnet50")
    assert main([*begun, "--num-classes", "10"]) == 0
    # What was said is over with the command it was said to.
    assert bc.load_classifier("cifar10-robust").card.name == "cifar10-robust"


def test_an_interpolation_is_at_the_sources_size(folder: Path) -> None:
    Image.fromarray(pixels(1, SIZE, 3)[0]).save(folder / "from.png")
    words = ("interpolate", "from.png", "photos/cup/003.png", "frames.npz", *MEAN)
    assert main([*words, "--view", "24", "--c", "0.5", "--steps", "2"]) == 0
    classifier = bc.load_classifier("cifar10-robust", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    source = read_image("from.png").pixels[None]
    target = from_uint8(to_uint8(fit_to(read_image("photos/cup/003.png").pixels[None], SIZE).pixels))
    expected = bc.interpolate(classifier, source, target, (0.5,), 2, view=24)
    with np.load(folder / "frames.npz") as found:
        assert np.array_equal(found["arr_0"], to_uint8(expected[:, 0]))


def test_a_figure_shows_images_at_their_own_size_and_keeps_its_view(folder: Path) -> None:
    words = ("figure", "side-by-side", "--images", "images.npz", "--columns", "2", "--classifier", "net.pt", *SAID)
    recipes = []
    for name, view in (("own.png", ()), ("native.png", ("--view", "native"))):
        assert main([*words, *view, "--eps", "1", "--steps", "1", "--output", name]) == 0
        recipes.append(recipe_in(folder / name))
    assert [recipe.settings.get("view") for recipe in recipes] == [None, "native"]
    assert all(np.array_equal(one.images["images.npz"], pixels(24, SIZE, 0)[:2]) for one in recipes)


def test_accuracy_of_images_at_their_own_size(folder: Path) -> None:
    words = ("evaluate-classifier", "net.pt", *SAID, "--data", "photos", "--steps", "1", "--output", "accuracy.json")
    found = {}
    for view in ((), ("--view", "native"), ("--view", "input")):
        assert main([*words, *view]) == 0
        found[view[-1:]] = json.loads((folder / "accuracy.json").read_text("utf-8"))["protocol"]
    assert found[()]["eps"] == pytest.approx(0.75)  # at 48 pixels
    assert [found[(view,)]["image_size"] for view in ("native", "input")] == [[52, 52]] * 2
    assert found["native",]["eps"] == pytest.approx(0.5 * 52 / 32)


@pytest.mark.parametrize(
    "words",
    [
        ("boost", "guessed", "boosted", "--steps", "1", "--target", "1"),
        ("evaluate-classifier", "net.pt", *SAID, "--data", "guessed", "--steps", "1"),
        ("figure", "side-by-side", "--images", "guessed", "--columns", "2", "--output", "f.png", *FILE, *SAID),
        ("train", "standard", "--name", "n", "--data", "guessed", "--size", "48", "--epochs", "1"),
        ("evaluate", "images.npz", *FILE, *SAID, *JUDGED, "--reference", "guessed", "--eps", "1", "--steps", "1"),
        (
            "evaluate",
            "images.npz",
            *FILE,
            *SAID,
            *JUDGED,
            "--reference",
            "real.npz",
            "--floor",
            "guessed",
            "--eps",
            "0",
        ),
        ("sweep", "images.npz", *FILE, *SAID, "--features", *JUDGED[1:2], "--reference", "guessed", "--eps-list", "1"),
    ],
)
def test_what_was_guessed_about_images_is_said(
    words: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (folder / "guessed").exists():
        shutil.copytree(folder / "photos", folder / "guessed")
        (folder / "guessed" / "cup" / "notes.txt").write_text("not an image", "utf-8")
    main(list(words))
    assert "note: " in (said := capsys.readouterr().out)
    assert "notes.txt" in said
