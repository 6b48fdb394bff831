"""Class folders of one's own, and zips of them, become three disjoint splits; what cannot be trained on is named."""

import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from bigroc_core.__main__ import main
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.images import read_image, to_uint8
from bigroc_core.training.augmentation import augment, random_resized_crop
from bigroc_core.training.data import load_data

COLOURS = {"sky": (40, 90, 200), "grass": (60, 170, 40), "brick": (170, 60, 50)}


def write_classes(folder, counts, side=(24, 24), suffix="png", start=0):
    """Noisy pictures of a colour per class."""
    draw = np.random.default_rng(start)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(start, start + count):
            noise = draw.integers(-40, 41, (side[1], side[0], 3))
            picture = np.clip(np.array(COLOURS.get(name, (128, 128, 128))) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / name / f"{index:04d}-{name}.{suffix}")
    return folder


def packed(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder.parent).as_posix())
    return path


def keys(images):
    return {image.numpy().tobytes() for image in images}


def test_one_set_is_divided_into_three_that_share_no_image_and_every_class_is_in_each(tmp_path):
    data = load_data(write_classes(tmp_path / "set", dict.fromkeys(COLOURS, 40)))
    assert data.classes == ("brick", "grass", "sky")
    assert data.size == (24, 24)
    parts = [data.train, data.validation, data.test]
    assert [len(part) for part in parts] == [108 - 12, 12, 12]
    assert all(set(part.labels.tolist()) == {0, 1, 2} for part in parts)
    images = [keys(part.images) for part in parts]
    assert len(images[0] | images[1] | images[2]) == 120
    again = load_data(tmp_path / "set")
    assert torch.equal(again.test.images, data.test.images)
    assert again.fingerprint() == data.fingerprint()


def test_what_was_done_to_the_images_is_counted_by_split(tmp_path):
    write_classes(tmp_path / "set" / "train", {"sky": 20, "brick": 20})
    write_classes(tmp_path / "set" / "val", {"sky": 4, "brick": 4}, start=100)
    for file in sorted((tmp_path / "set" / "val" / "sky").iterdir()):
        with Image.open(file) as image:
            image.putalpha(100)
            image.save(file)
    notes = load_data(tmp_path / "set").notes
    assert [note for note in notes if "transparent" in note] == [
        "test: 4 images: transparent pixels were laid on white"
    ]


def test_train_and_val_as_a_zip_in_a_wrapping_folder_equal_the_folder(tmp_path):
    root = tmp_path / "photos"
    write_classes(root / "train", {"sky": 20, "brick": 10})
    write_classes(root / "val", {"sky": 3, "brick": 5}, start=100)
    folder, archive = load_data(root), load_data(packed(root, tmp_path / "photos.zip"))
    for data in (folder, archive):
        assert [len(part) for part in (data.train, data.validation, data.test)] == [27, 3, 8]
        assert "val/" in data.description
    assert folder.fingerprint() == archive.fingerprint()
    first = read_image(root / "val" / "sky" / "0100-sky.png").pixels
    assert any(np.array_equal(to_uint8(first), image.permute(1, 2, 0).numpy()) for image in folder.test.images)


def test_train_val_and_test_keep_their_parts_whole(tmp_path):
    for name, start in (("train", 0), ("val", 50), ("test", 80)):
        write_classes(tmp_path / "set" / name, {"sky": 4, "brick": 4}, start=start)
    data = load_data(tmp_path / "set")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [8, 8, 8]


def test_larger_images_are_kept_for_crops_and_statistics_are_those_of_the_pixels(tmp_path):
    data = load_data(write_classes(tmp_path / "set", {"sky": 20, "brick": 20}, side=(40, 60)), 32, 9 / 8)
    assert data.train.images.shape[2:] == (36, 36)
    assert data.validation.images.shape[2:] == data.test.images.shape[2:] == (32, 32)
    pixels = data.train.images.double() / 255
    assert torch.allclose(torch.tensor(data.mean).double(), pixels.mean((0, 2, 3)), atol=6e-5)
    assert torch.allclose(torch.tensor(data.std).double(), pixels.std((0, 2, 3), correction=0), atol=6e-5)
    with pytest.raises(ValueError, match="crops"):
        data.reference("train")
    exact = load_data(tmp_path / "set", 38, 9 / 8)  # 43 would enlarge them
    assert exact.train.images.shape[2:] == (38, 38)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("one-image", "class brick has 1 "),
        ("strange-class", "train/ lacks: moss"),
        ("small", "only 20 pixels"),
        ("damaged", "0007-sky.jpg"),
        ("flat", "no labels"),
        ("missing", "do not exist"),
    ],
)
def test_what_cannot_be_trained_on_is_named_before_training_begins(tmp_path, fault, message):
    root = tmp_path / "set"
    write_classes(root / "train", {"sky": 12, "brick": 1 if fault == "one-image" else 12}, suffix="jpg")
    write_classes(root / "val", {"sky": 2, "moss" if fault == "strange-class" else "brick": 2}, suffix="jpg")
    size = 24
    if fault == "small":
        Image.new("RGB", (90, 20)).save(root / "val" / "sky" / "wide.png")
    elif fault == "damaged":
        path = root / "train" / "sky" / "0007-sky.jpg"
        path.write_bytes(path.read_bytes()[:200])
    elif fault == "flat":
        root = root / "train" / "sky"
    elif fault == "missing":
        root = tmp_path / "nothing"
    with pytest.raises(ValueError, match=message):
        load_data(root, size)


def test_crops_of_larger_images_have_the_wanted_size_and_the_images_own_colours():
    images = torch.rand(6, 3, 20, 28)
    for name in ("none", "flip", "crop-flip", "crop-flip-cutout", "resized-crop-flip", "resized-crop-flip-colour"):
        assert augment(images, name, torch.Generator().manual_seed(0), (16, 16)).shape == (6, 3, 16, 16)
    plain = torch.full((4, 3, 20, 20), 0.3)
    assert torch.allclose(random_resized_crop(plain, (16, 16), torch.Generator()), torch.full((4, 3, 16, 16), 0.3))
    ramp = torch.arange(20.0).expand(2, 3, 20, 20) / 20
    crops = random_resized_crop(ramp, (16, 16), torch.Generator().manual_seed(1))
    steps = crops.diff(dim=3) * 20
    assert (steps[..., 1:-1] > 0.35).all()  # never mirrored or rotated, enlarged at most as far as the box is small
    assert (steps < 1.3).all()


def test_the_command_trains_on_three_classes_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "mine", dict.fromkeys(COLOURS, 40), side=(48, 48))
    command = [
        "train",
        "robust",
        "--name",
        "mine",
        "--data",
        str(tmp_path / "mine"),
        "--size",
        "48",
        "--eps",
        "0.5",
        "--arguments",
        '{"width": 4, "stem_stride": 2}',
        "--epochs",
        "3",
        "--batch-size",
        "16",
        "--lr",
        "0.3",
        "--precision",
        "fp32",
    ]
    assert main(command) == 0
    model = load_classifier(tmp_path / "runs" / "mine" / "mine.safetensors")
    assert model.classes == ("brick", "grass", "sky")
    assert model.card.input_size == (48, 48)
    assert str(tmp_path) not in model.card.to_json()
    assert model(torch.rand(2, 3, 48, 48)).shape == (2, 3)
    # Another image in the data is another run.
    shutil.copy(tmp_path / "mine" / "sky" / "0000-sky.png", tmp_path / "mine" / "sky" / "9999-sky.png")
    assert main(command) == 2
