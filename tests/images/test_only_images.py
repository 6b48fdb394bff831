"""Sets of which only the images are wanted, and what is told of images that were changed as they were read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bigroc_core.images import ImageError, open_image_set, tally
from bigroc_core.images.image_set import ImageSet
from bigroc_core.sources import read_files


def encoded(seed: int, channels: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, channels), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def png(seed: int) -> bytes:
    return encoded(seed, 3)


def transparent(seed: int) -> bytes:
    return encoded(seed, 4)


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def notes_of(images: ImageSet) -> str:
    return " ".join(images.notes)


# ------------------------------------------------------------------------------------------ where no labels are wanted


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize(
    ("table", "content"),
    [
        ("labels.csv", b"id,breed\na,boston_bull\nb,dingo\n"),  # Kaggle's
        ("labels.csv", b"file,label\nelsewhere.png,1\n"),
        ("dataset.json", b'{"info": {}, "images": [], "annotations": []}'),  # COCO's
        ("dataset.json", b"{"),
    ],
)
def test_a_table_of_others_is_no_obstacle_where_no_labels_are_wanted(tmp_path, kind, table, content):
    files = {"b.png": png(1), "a.png": png(0), table: content}
    path = folder_of(tmp_path / "set", files) if kind == "folder" else zip_of(tmp_path / "set.zip", files)
    images = open_image_set(path, labelled=False)
    assert (list(images.names), images.labels) == (["a.png", "b.png"], None)
    assert table in notes_of(images)
    with pytest.raises(ImageError, match=table):
        open_image_set(path)


def test_a_table_that_can_be_read_gives_the_order_where_no_labels_are_wanted(tmp_path):
    files = {"b.png": png(1), "a.png": png(0), "labels.csv": b"file,label\nb.png,1\na.png,0\n"}
    images = open_image_set(folder_of(tmp_path / "set", files), labelled=False)
    assert (list(images.names), images.labels) == (["b.png", "a.png"], None)


def test_images_are_found_however_deep_they_lie_where_folders_mean_nothing(tmp_path):
    deep = "a/b/c/d/e/f/g/h/i/j/"
    folder = folder_of(tmp_path / "set", {"flat.png": png(0), f"{deep}deep.png": png(1)})
    (folder / deep / "loop").symlink_to(folder)
    images = open_image_set(folder, labelled=False)
    assert sorted(images.names) == [f"{deep}deep.png", "flat.png"]
    assert "loop" in notes_of(images)
    # And where they mean classes, what is not looked into is told.
    assert "left out what lies more than 6 folders deep" in notes_of(open_image_set(folder))


# ------------------------------------------------------------------------------------------ what was done to images


def test_what_was_done_to_images_of_a_set_comes_with_them(tmp_path):
    path = zip_of(tmp_path / "set.zip", {"a.png": transparent(0), "b.png": png(1), "c.png": transparent(2)})
    for size in (None, (4, 4)):
        images = open_image_set(path, size)
        assert images.batch(0, 3).notes == ("transparent pixels were laid on white",) * 2
        assert images.take([1]).notes == ()
    np.savez(tmp_path / "set.npz", np.zeros((2, 8, 8, 3), np.uint8))
    assert open_image_set(tmp_path / "set.npz").batch(0, 2).notes == ()


def test_notes_of_many_images_are_counted():
    assert tally([]) == []
    assert tally(["odd", "even", "odd"]) == ["2 images: odd", "1 image: even"]
    many = tally(f"kind {number}" for number in range(1_000))
    assert len(many) < 20
    assert many[-1].startswith("992 images: ")


def test_what_was_done_to_uploaded_sets_is_told_in_one_line(tmp_path):
    path = zip_of(tmp_path / "set.zip", {"a.png": transparent(0), "b.png": png(1), "c.png": transparent(2)})
    read, refused = read_files([path], None)
    assert not refused
    assert "set.zip: 2 images: transparent pixels were laid on white" in read.notes
