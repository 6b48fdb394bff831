"""Data of one's own are measured on as CIFAR-10 is: at the classifier's size, by its classes, under the data's name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import smooth_pixels

from bigroc_core.__main__ import main
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.experiments.judging import labelled_for
from bigroc_core.training.checkpoint import export
from bigroc_core.training.data import load_data

CLASSES, SIDE, EACH = ("church", "cup", "golf ball"), 48, 60


def export_of(folder: Path, name: str, seed: int, classes: tuple[str, ...] = CLASSES, l0: float | None = None) -> Path:
    torch.manual_seed(seed)
    card = Card(
        name=name,
        kind="classifier",
        architecture="resnet9",
        arguments={"width": 2},
        classes=classes,
        input_size=(SIDE, SIDE),
        l0=l0,
    )
    network = Classifier(build_network("resnet9", classes=len(classes), width=2), card)
    pixels = torch.from_numpy(smooth_pixels(32, SIDE, seed)).permute(0, 3, 1, 2) / 255
    for _ in range(10):
        network(pixels)
    export(network.eval().network, card, folder)
    return folder / f"{name}.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/CLASS/*.png a little larger than SIDE, samples.npz, and small classifiers of their classes and size."""
    made = tmp_path_factory.mktemp("own")
    for label, name in enumerate(CLASSES):
        (made / "photos" / name).mkdir(parents=True)
        for number, pixels in enumerate(smooth_pixels(EACH, SIDE + 4, label)):
            Image.fromarray(pixels).save(made / "photos" / name / f"{number:03}.png")
    np.savez(made / "samples.npz", arr_0=smooth_pixels(40, SIDE, 7), arr_1=np.arange(40) % 3)
    for seed, name in enumerate(("boosts", "controls", "judges")):
        export_of(made, name, seed)
    export_of(made, "joint", 4, l0=0.6)
    export_of(made, "otherwise", 5, (CLASSES[2], *CLASSES[:2]))
    export_of(made, "strange", 6, ("church", "cup", "parachute"))
    return made


@pytest.fixture(autouse=True)
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BIGROC_CACHE", str(folder / "cache"))
    monkeypatch.setenv("BIGROC_DATA", str(folder / "nowhere"))


def result(path: str, *words: str) -> dict:
    assert main([*words, "--data", "photos", "--output", path]) == 0
    return json.loads(Path(path).read_text("utf-8"))


def test_accuracy_is_of_the_test_images_by_the_cards_classes(capsys: pytest.CaptureFixture[str]) -> None:
    found = result("accuracy.json", "evaluate-classifier", "judges.safetensors", "--steps", "1", "--eps", "0")
    data = load_data("photos", SIDE)
    assert found["images"] == len(data.test) == 18
    assert "judges on 18 photos test images" in capsys.readouterr().out
    # Classes in another order are the same classes; labels follow their names.
    other = result("other.json", "evaluate-classifier", "otherwise.safetensors", "--steps", "1", "--eps", "0")
    network = load_classifier("otherwise.safetensors")
    names = [network.classes[int(one)] for one in network(data.test.floats(slice(None))).argmax(1)]
    right = [name == CLASSES[int(label)] for name, label in zip(names, data.test.labels, strict=True)]
    assert other["clean"] == pytest.approx(sum(right) / len(right))


def test_the_radius_grows_with_the_side() -> None:
    found = result("usual.json", "evaluate-classifier", "judges.safetensors", "--steps", "1")
    assert found["protocol"]["eps"] == pytest.approx(0.75)
    joint = result(
        "told-apart.json", "evaluate-joint", "joint.safetensors", "--generated", "samples.npz", "--steps", "1"
    )
    assert joint["protocol"]["eps"] == pytest.approx(0.75)
    assert joint["images"] == 18
    assert joint["realism"]["images"] == 18
    assert joint["separation"]["samples.npz"]["images"] == 40


def test_images_that_come_class_by_class_are_mixed_so_that_the_first_are_of_all_classes() -> None:
    data = load_data("photos", SIDE)
    ordered = data.test.subset(data.test.labels.argsort(stable=True))
    assert set(ordered.labels[:6].tolist()) == {0}
    mixed, _ = labelled_for(load_classifier("judges.safetensors"), data, ordered, {})
    assert set(mixed.labels[:9].tolist()) == {0, 1, 2}
    pairs = [
        {(image.numpy().tobytes(), int(label)) for image, label in zip(part.images, part.labels, strict=True)}
        for part in (ordered, mixed)
    ]
    assert pairs[0] == pairs[1]


def test_splits_of_own_data_are_references_under_their_name(capsys: pytest.CaptureFixture[str]) -> None:
    common = ("samples.npz", "--classifier", "boosts.safetensors", "--count", "30")
    swept = result(
        "sweep.json", "sweep", *common, "--chooser", "controls.safetensors", "--eps-list", "0", "1", "--steps", "2"
    )
    assert swept["reference"] == "photos validation"
    models = ("--control", "controls.safetensors", "--judge", "judges.safetensors")
    found = result("table.json", "evaluate", *common, *models, "--eps", "1", "--steps", "1")
    assert {one["reference"] for one in found["rows"][0]["scores"]} == {"photos train", "photos test", ""}
    assert "photos train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluate-classifier", "strange.safetensors", "--data", "photos"), "classes (golf ball) are not among"),
        (("evaluate-classifier", "judges.safetensors"), "give --data"),
        (("evaluate-classifier", "judges.safetensors", "--data", "photos", "--size", "64"), "64 would enlarge"),
        (("evaluate-classifier", "judges.safetensors", "--data", "photos", "--count", "19"), "from 1 to 18"),
        (("evaluate-joint", "joint.safetensors", "--generated", "samples.npz"), "give --data"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(list(words)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert said in line
