"""Labels of other classes: mapped as asked, refused by name, and offered a mapping. Images are never touched."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bigroc_core import load_classifier, load_generator
from bigroc_core.__main__ import main
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.networks import ResNet9
from bigroc_core.generators.dcgan import DCGANGenerator
from bigroc_core.images import from_uint8, open_image_set, to_uint8
from bigroc_core.images.classes import class_number, class_table, nearest, parse_mapping
from bigroc_core.images.writing import ImageSetWriter
from bigroc_core.training.checkpoint import export

STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "Ships", "truck")
TO_CIFAR10 = [0, 2, 1, 3, 4, 5, 7, 8, 9]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny classifier of CIFAR-10's classes and a generator of others."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    card = Card(name="tiny", kind="classifier", architecture="resnet9", arguments={"width": 4}, classes=CIFAR10_CLASSES)
    export(ResNet9(10, 4), card, folder)
    for name, classes in (("stl10", STL10), ("reordered", CIFAR10_CLASSES[::-1]), ("unlabelled", ())):
        arguments = {"latent": 8, "width": 4, "classes": len(classes)}
        card = Card(
            name=name,
            kind="generator",
            architecture="dcgan",
            arguments=arguments,
            classes=classes,
            conditional=bool(classes),
        )
        export(DCGANGenerator(**arguments), card, folder)
    return folder


def boosted(models, where, out, *more):
    """The status of `boost` with ε = 0, which writes the images as they came and the labels as they are read."""
    return main(
        [
            "boost",
            where,
            str(out),
            "--classifier",
            str(models / "tiny.safetensors"),
            "--eps",
            "0",
            "--steps",
            "0",
            "--device",
            "cpu",
            *more,
        ]
    )


def source(models, name):
    return f"generator:{models / name}.safetensors"


def error_of(capsys):
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_mapping_moves_labels_and_leaves_images_alone(models, tmp_path):
    mapping = ["--map-classes", "car=automobile, Ships=8", "--count", "18"]
    assert boosted(models, source(models, "stl10"), tmp_path / "out.npz", *mapping) == 0
    images, labels = load_generator(models / "stl10.safetensors").sample(18)
    with np.load(tmp_path / "out.npz") as written:
        assert written["arr_1"].tolist() == [TO_CIFAR10[label] for label in labels]
        assert (written["arr_0"] == to_uint8(images)).all()


def test_the_same_names_in_another_order_need_no_mapping(models, tmp_path):
    assert boosted(models, source(models, "reordered"), tmp_path / "out.npz", "--count", "10") == 0
    with np.load(tmp_path / "out.npz") as written:
        assert written["arr_1"].tolist() == list(range(9, -1, -1))


def test_the_error_names_the_classes_that_do_not_match_and_offers_a_mapping(models, tmp_path, capsys):
    assert boosted(models, source(models, "stl10"), tmp_path / "out.npz") == 2
    error = error_of(capsys)
    assert "2 of stl10's 9 classes (car, Ships)" in error
    assert "--map-classes car=CLASS,Ships=ship" in error
    assert boosted(models, source(models, "stl10"), tmp_path / "out.npz", "--map-classes", "car=automobile") == 2
    assert "1 of stl10's 9 classes (Ships)" in error_of(capsys)
    assert not (tmp_path / "out.npz").exists()


def test_another_mapping_is_another_run(models, tmp_path, capsys):
    out = tmp_path / "out"
    assert boosted(models, source(models, "stl10"), out, "--count", "9", "--map-classes", "car=1,Ships=8") == 0
    assert boosted(models, source(models, "stl10"), out, "--count", "9", "--map-classes", "car=9,Ships=8") == 2
    assert "out" in error_of(capsys)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == sorted(
        {CIFAR10_CLASSES[number] for number in TO_CIFAR10}
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("car", "FROM=TO"),
        ("", "FROM=TO"),
        ("car=", "FROM=TO"),
        ("car=1,,Ships=8", "FROM=TO"),
        ("car=1,car=2", "twice"),
        ("car=autombile,Ships=ship", "did you mean automobile?"),
        ("car=10,Ships=ship", "no class '10'"),
        ('"car=1', "read"),
    ],
)
def test_a_wrong_mapping_is_one_clear_line(models, tmp_path, capsys, text, expected):
    assert boosted(models, source(models, "stl10"), tmp_path / "out.npz", "--map-classes", text) == 2
    assert expected in error_of(capsys)
    assert not (tmp_path / "out.npz").exists()


def test_a_mapping_for_images_without_labels_is_refused(models, tmp_path, capsys):
    Image.new("RGB", (32, 32)).save(tmp_path / "one.png")
    for where in (source(models, "unlabelled"), str(tmp_path / "one.png")):
        assert boosted(models, where, tmp_path / "out.npz", "--map-classes", "car=automobile") == 2
        assert "has no labels" in error_of(capsys)


def test_class_folders_and_numbers_of_a_set_are_mapped(tmp_path):
    for number, folder in enumerate(("cat", "plane", "plane")):
        (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / "set" / folder / f"{number}.png")
    with pytest.raises(ValueError, match=r"label plane does not exist.*--map-classes plane=airplane"):
        open_image_set(tmp_path / "set", classes=CIFAR10_CLASSES)
    found = open_image_set(tmp_path / "set", classes=CIFAR10_CLASSES, mapping={"plane": "airplane"})
    assert found.labels.tolist() == [3, 0, 0]
    pixels = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    np.savez(tmp_path / "set.npz", pixels, np.array([12, 3, 3, 0]))
    with pytest.raises(ValueError, match=r"from 0 to 12.*--map-classes 0=CLASS,3=CLASS,12=CLASS"):
        open_image_set(tmp_path / "set.npz", classes=CIFAR10_CLASSES)
    found = open_image_set(tmp_path / "set.npz", classes=CIFAR10_CLASSES, mapping={"12": "cat", "3": "dog", "0": "9"})
    assert found.labels.tolist() == [3, 5, 5, 9]
    assert (to_uint8(found.batch(0, 4).images) == to_uint8(from_uint8(pixels))).all()
    with pytest.raises(ValueError, match="label 0 does not exist"):
        open_image_set(tmp_path / "set.npz", classes=CIFAR10_CLASSES, mapping={"12": "cat", "3": "dog"})


def test_evaluate_counts_errors_on_the_mapped_labels(models, tmp_path):
    # The judge only has to be another network; its errors depend on which labels reach it.
    torch.manual_seed(1)
    card = Card(
        name="other", kind="classifier", architecture="resnet9", arguments={"width": 4}, classes=CIFAR10_CLASSES
    )
    export(ResNet9(10, 4), card, tmp_path)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "real.npz", rng.integers(0, 256, (64, 32, 32, 3), np.uint8))
    errors = {}
    for name, cars in (("right", "automobile"), ("wrong", "truck")):
        written = tmp_path / f"{name}.json"
        status = main(
            [
                "evaluate",
                source(models, "stl10"),
                "--classifier",
                str(models / "tiny.safetensors"),
                "--judge",
                str(tmp_path / "other.safetensors"),
                "--control",
                "none",
                "--no-random-direction",
                "--count",
                "45",
                "--seeds",
                "0",
                "--eps",
                "0",
                "--steps",
                "0",
                "--reference",
                str(tmp_path / "real.npz"),
                "--run",
                str(tmp_path / name),
                "--device",
                "cpu",
                "--output",
                str(written),
                "--map-classes",
                f"car={cars},Ships=ship",
            ]
        )
        assert status == 0
        found = json.loads(written.read_text())
        assert f"car={cars}" in found["source"]
        errors[name] = next(s["mean"] for s in found["rows"][0]["scores"] if s["metric"] == "errors")
    images, labels = load_generator(models / "stl10.safetensors").sample(45)
    with torch.no_grad():
        read = load_classifier(tmp_path / "other.safetensors")(from_uint8(to_uint8(images))).argmax(1)
    for name, car in (("right", 1), ("wrong", 9)):
        table = torch.tensor([car if number == 1 else number for number in TO_CIFAR10])
        assert errors[name] == pytest.approx(float((read != table[labels]).float().mean()))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Air-Plane", "airplane"),
        ("plane", "airplane"),
        ("trucks", "truck"),
        ("tabby cat", "cat"),
        ("car", None),
        ("wing", None),
        ("!", None),
    ],
)
def test_names_are_suggested_only_where_they_are_near(name, expected):
    assert nearest(name, CIFAR10_CLASSES) == expected


def test_names_that_two_classes_share_are_told_apart_by_number():
    known = ("crane", "dog", "crane")
    assert class_table("a", known, known, "b", {"dog": "dog"}) == (0, 1, 2)
    with pytest.raises(ValueError, match=r"2 classes are called 'crane'.*\[0, 2\]"):
        class_number("crane", known)
    assert class_number("2", known) == 2
    assert parse_mapping('"tench, Tinca tinca=fish",b=c') == {"tench, Tinca tinca": "fish", "b": "c"}


def folders(root, *names):
    """A folder with one image in each of these folders."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (number, 0, 0)).save(root / name / f"{number:06d}.bmp")
    return root


def test_folders_of_any_names_are_boosted_where_their_labels_are_not_wanted(models, tmp_path, capsys):
    images = folders(tmp_path / "in", "what", "ever")
    assert boosted(models, str(images), tmp_path / "own") == 2
    assert "does not exist" in error_of(capsys)
    for number, more in enumerate((["--estimate"], ["--target", "3"], ["--debias-set", str(images)])):
        assert boosted(models, str(images), tmp_path / f"{number}.npz", *more, "--debias-count", "2") == 0
        assert "not looked at" in capsys.readouterr().out
        assert len(np.load(tmp_path / f"{number}.npz")["arr_0"]) == 2


def test_folders_that_only_group_are_boosted_as_without_labels(models, tmp_path, capsys):
    images = folders(tmp_path / "in", "000000", "000001")
    assert boosted(models, str(images), tmp_path / "grouped.npz") == 0
    assert "only group the images" in capsys.readouterr().out
    assert boosted(models, str(images), tmp_path / "estimated.npz", "--estimate") == 0
    assert (tmp_path / "grouped.npz").read_bytes() == (tmp_path / "estimated.npz").read_bytes()


def test_a_killed_run_does_not_go_on_with_other_images(models, tmp_path, capsys, monkeypatch):
    images = folders(tmp_path / "in", "cat", "dog")
    write = ImageSetWriter.write

    def killed(self, start, *arguments):
        if start:
            raise KeyboardInterrupt
        write(self, start, *arguments)

    monkeypatch.setattr(ImageSetWriter, "write", killed)
    assert boosted(models, str(images), tmp_path / "out", "--batch-size", "1") == 130
    monkeypatch.setattr(ImageSetWriter, "write", write)
    before = (images / "dog" / "000001.bmp").read_bytes()
    Image.new("RGB", (32, 32), (99, 0, 0)).save(images / "dog" / "000001.bmp")
    assert len(before) == (images / "dog" / "000001.bmp").stat().st_size
    assert boosted(models, str(images), tmp_path / "out", "--batch-size", "1") == 2
    assert "other settings" in error_of(capsys)
    (images / "dog" / "000001.bmp").write_bytes(before)
    assert boosted(models, str(images), tmp_path / "out", "--batch-size", "1") == 0


def test_the_mapping_of_a_file_is_the_mapping_of_the_option(models, tmp_path):
    (tmp_path / "map.txt").write_text("# of STL-10\ncar = automobile\nShips = 8\n")
    for name, mapping in (("file", f"@{tmp_path / 'map.txt'}"), ("option", "car=automobile,Ships=8")):
        where = source(models, "stl10")
        assert boosted(models, where, tmp_path / f"{name}.npz", "--count", "9", "--map-classes", mapping) == 0
    assert (tmp_path / "file.npz").read_bytes() == (tmp_path / "option.npz").read_bytes()
