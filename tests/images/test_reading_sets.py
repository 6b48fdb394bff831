"""A set as people's tools leave it is read as they mean it, or refused by a line that says what is wrong."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bigroc_core.images import ImageError, from_uint8, open_image_set, write_image_set
from bigroc_core.images.image_set import ImageSet
from bigroc_core.training.data import load_data

CLASSES = ("cat", "dog", "bird")


def png(seed: int, height: int = 8, width: int = 8) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def zip_of(path: Path, files: dict[str, bytes], windows: bool = False) -> Path:
    """A zip; windows: with backslashes between folders, as PowerShell 5 writes it."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name.replace("/", "\\") if windows else name
            archive.writestr(info, data)
    return path


def made(tmp_path: Path, kind: str, files: dict[str, bytes]) -> Path:
    if kind == "folder":
        return folder_of(tmp_path / "set", files)
    prefix = "wrapped/" if kind == "wrapped zip" else ""
    return zip_of(tmp_path / "set.zip", {prefix + name: data for name, data in files.items()}, kind == "windows zip")


def notes_of(images: ImageSet) -> str:
    return " ".join(images.notes)


KINDS = ("folder", "zip", "wrapped zip", "windows zip")

# ------------------------------------------------------------------------------------------ dataset.json, grouping

GROUPED = {f"{index // 2:05d}/img{index:08d}.png": png(index) for index in range(6)}


def dataset_json(labels: object) -> bytes:
    return json.dumps({"labels": labels}).encode()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("one_hot", [False, True])
def test_dataset_json_gives_the_labels_and_folders_do_not(tmp_path, kind, one_hot):
    numbers = [2, 0, 1, 1, 0, 2]
    labels = [
        [name, np.eye(3)[number].tolist() if one_hot else number] for name, number in zip(GROUPED, numbers, strict=True)
    ]
    path = made(tmp_path, kind, {**GROUPED, "dataset.json": dataset_json(labels[::-1])})
    for classes in (None, CLASSES):
        images = open_image_set(path, classes=classes)
        assert list(images.names) == sorted(GROUPED)
        assert images.labels.tolist() == numbers
        assert "dataset.json" in notes_of(images)
    mapped = open_image_set(path, classes=CLASSES, mapping={"0": "bird", "1": "dog", "2": "cat"})
    assert mapped.labels.tolist() == [0, 2, 1, 1, 2, 0]
    with pytest.raises(ImageError, match=r"label 2 does not exist"):
        open_image_set(path, classes=CLASSES[:2])


@pytest.mark.parametrize("kind", KINDS)
def test_without_labels_in_dataset_json_there_are_none(tmp_path, kind):
    path = made(tmp_path, kind, {**GROUPED, "dataset.json": dataset_json(None)})
    images = open_image_set(path, classes=CLASSES)
    assert images.labels is None
    assert "dataset.json" in notes_of(images)


def test_training_reads_dataset_json_and_refuses_folders_that_only_group(tmp_path):
    files = {f"{index // 20:05d}/img{index:08d}.png": png(index) for index in range(40)}
    labels = [[name, index % 2] for index, name in enumerate(files)]
    path = zip_of(tmp_path / "edm.zip", {**files, "dataset.json": dataset_json(labels)})
    splits = load_data(path)
    assert len(splits.classes) == 2
    assert sorted(splits.train.labels.unique().tolist()) == [0, 1]
    with pytest.raises(ValueError, match="has no labels"):
        load_data(zip_of(tmp_path / "grouped.zip", files))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no entry"),
        (dataset_json("cat"), "labels are a str"),
        (dataset_json([["a.png"]]), "entry 0 of dataset.json's labels is a list of 1"),
        (dataset_json([["a.png", 0], ["c.png", 0]]), "entry 1.*names 'c.png', which is not an image"),
        (dataset_json([["a.png", 0]]), "no label for 1 images"),
        (dataset_json([["a.png", 0], ["a.png", 0]]), "second time"),
        (dataset_json([["a.png", -1], ["b.png", 0]]), "label -1; expected a whole number"),
        (dataset_json([["a.png", 10**400], ["b.png", 0]]), "very large whole number"),
        (dataset_json([["a.png", [0.5, 0.5]], ["b.png", 0]]), "list of which one is 1"),
        (dataset_json([["a.png", True], ["b.png", 0]]), "label True"),
        (dataset_json([["a\ud800\u202e" + "x" * 5_000, 0]]), r"a\\ud800\\u202exxx"),
    ],
)
def test_a_wrong_dataset_json_is_refused_with_the_entry_at_fault(tmp_path, content, reason):
    folder = folder_of(tmp_path / "set", {"a.png": png(0), "b.png": png(1), "dataset.json": content})
    with pytest.raises(ImageError, match=reason) as refused:
        open_image_set(folder)
    assert len(str(refused.value)) < 800
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "names",
    [
        ["000000/000000.png", "000000/000001.png"],
        ["000000/000999.png", "001000/001000.png", "002000/002000.png"],
        ["00000/00.png", "00001/10.png", "00002/20.png"],
        ["00/9.png", "01/10.png", "02/100.png"],
    ],
)
def test_zero_padded_folders_that_only_group_are_no_classes(tmp_path, kind, names):
    path = made(tmp_path, kind, {name: png(index) for index, name in enumerate(names)})
    for classes in (None, CLASSES):
        images = open_image_set(path, classes=classes)
        assert images.labels is None
        assert list(images.names) == names
        assert "only group" in notes_of(images)


def test_numbered_folders_that_are_classes_stay_classes(tmp_path):
    plain = folder_of(
        tmp_path / "plain", {f"{number}/{number}{file}.png": png(number) for number in (0, 1, 9) for file in "01"}
    )
    images = open_image_set(plain)
    assert images.labels.tolist() == [0, 0, 1, 1, 9, 9]
    # GTSRB's folders: padded, and each counts its files from the start.
    padded = folder_of(
        tmp_path / "padded", {f"0000{number}/00000_0000{file}.png": png(number) for number in (0, 1) for file in "01"}
    )
    images = open_image_set(padded)
    assert sorted(images.labels.tolist()) == [0, 0, 1, 1]
    assert "read as class numbers" in notes_of(images)
    # Said to be classes, folders are classes.
    grouped = folder_of(tmp_path / "grouped", GROUPED)
    mapping = {"00000": "cat", "00001": "dog", "00002": "cat"}
    assert open_image_set(grouped, classes=CLASSES, mapping=mapping).labels.tolist() == [0, 0, 1, 1, 0, 0]
    assert open_image_set(grouped, classes=("00000", "00001", "00002")).labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_set_opened_without_labels_may_have_any_folders(tmp_path):
    files = {"what ever/1.png": png(1), "n99/2.png": png(2), "3.png": png(3), "deep/er/still/4.png": png(4)}
    folder = folder_of(tmp_path / "set", files)
    images = open_image_set(folder, classes=CLASSES, labelled=False)
    assert images.labels is None
    assert list(images.names) == ["what ever/1.png", "n99/2.png", "3.png", "deep/er/still/4.png"]
    assert "not looked at" in notes_of(images)
    # The order is that of the set with its labels.
    listed = b"file,label\n3.png,what\n1.png,ever\n2.png,else\n"
    for name, more in (
        ("csv", {"labels.csv": listed, **{f"{n}.png": png(n) for n in (1, 2, 3)}}),
        ("grouped", GROUPED),
    ):
        folder = folder_of(tmp_path / name, more)
        assert open_image_set(folder, labelled=False).names == open_image_set(folder).names
        assert open_image_set(folder, classes=CLASSES, labelled=False).labels is None
    np.savez(tmp_path / "set.npz", np.zeros((2, 4, 4, 3), np.uint8), np.array([700, 800]))
    assert open_image_set(tmp_path / "set.npz", classes=CLASSES, labelled=False).labels is None


# ------------------------------------------------------------------------------------------------------ labels.csv


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbffile,label\r\n0.png,cat\r\nsub/1.png,dog\r\n",
        b"file;label\r\n0.png;cat\r\nsub\\1.png;dog\r\n",
        b"sep=;\r\nfile;label\r\n0.png;cat\r\nsub/1.png;dog\r\n",
        b"file\tlabel\n0.png\tcat\nsub/1.png\tdog\n",
        "file,label\r\n0.png,cat\r\nsub/1.png,dog\r\n".encode("utf-16"),
        "file;label\r\n0.png;cat\r\nsub/1.png;dog\r\n".encode("utf-16-be").join([b"\xfe\xff", b""]),
        b"file,label\n./0.png,cat\n./sub/1.png,dog\n",
        b",file,label\n0,0.png,cat\n1,sub/1.png,dog\n",
        b"0,0.png,cat\n1,sub/1.png,dog\n",
        b"File,LABEL\n0.png,CAT\nsub/1.png,Dog\n",
        b"file, label\n0.png, cat\n\nsub/1.png, dog\n,\n",
        b'"file","label"\n"0.png","cat"\n"sub/1.png","dog"\n',
        b"0.png,cat\nsub/1.png,dog\n",
        b"label;file;note\ncat;0.png;a, b, c\ndog;sub/1.png;\n",
        b"file,label\n0.png,0.0\nsub/1.png,1.0\n",
    ],
)
def test_labels_csv_as_spreadsheets_write_it(tmp_path, content):
    folder = folder_of(tmp_path / "set", {"0.png": png(0), "sub/1.png": png(1), "labels.csv": content})
    images = open_image_set(folder, classes=CLASSES)
    assert list(images.names) == ["0.png", "sub/1.png"]
    assert images.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "(has no lines|0 bytes)"),
        (b"file,label\n", "no lines under its header"),
        (b"file,label\n0.png,cat\n\nnone.png,dog\n", "line 4 names 'none.png'"),
        (b"file,label\n0.png,cat\n1.png\n", "line 3 has no label for 1.png"),
        (b"file,label\n0.png,cat\n0.png,dog\n", "names a file twice.*line 3"),
        (b"picture,kind\n0.png,cat\n", "line 1 .picture, kind. is neither a header nor"),
        (b"0.png,cat,tabby\n1.png,dog,husky\n", "line 1"),
        (b"file|label\n0.png|cat\n", "expected the columns file,label, with commas, semicolons or tabs"),
        (b'file,label\n0.png,"cat\n', "not a CSV.*after line 1"),
        ("file,label\n0.png,cat\n".encode("utf-16")[:-1], "not a CSV"),
        (b"file,label\n" + b"\xe9\x00\x1b" * 5_000 + b",cat\n", r"line 2 names '\\xe9\\x00"),
    ],
)
def test_a_wrong_labels_csv_is_refused_with_its_line_and_what_was_expected(tmp_path, content, reason):
    folder = folder_of(tmp_path / "set", {"0.png": png(0), "1.png": png(1), "labels.csv": content})
    with pytest.raises(ImageError, match=reason) as refused:
        open_image_set(folder, classes=CLASSES)
    assert len(str(refused.value)) < 800
    assert str(refused.value).isprintable()


# ------------------------------------------------------------------------------------------------- zips of Windows


def test_a_zip_of_windows_is_read_without_what_windows_leaves_in_it(tmp_path):
    files = {"cat/1.PNG": png(1), "dog/2.Png": png(2)}
    litter = {
        "cat/Thumbs.db": b"x",
        "DESKTOP.INI": b"x",
        "dog/@eaDir/2.png/SYNOPHOTO_THUMB_M.jpg": b"x",
        "__MACOSX/cat/._1.png": b"x",
    }
    path = zip_of(tmp_path / "set.ZIP", files | litter, windows=True)
    images = open_image_set(path, classes=CLASSES)
    assert list(images.names) == ["cat/1.PNG", "dog/2.Png"]
    assert images.labels.tolist() == [0, 1]
    assert images.notes == ()
    assert len(images.batch(0, 2).images) == 2
    assert open_image_set(path / "cat").names == ["1.PNG"]
    assert open_image_set(path).classes == ("cat", "dog")


@pytest.mark.parametrize(
    "name", ["..\\evil.png", "a\\..\\..\\evil.png", "\\evil.png", "C:\\evil.png", "\\\\host\\evil.png"]
)
def test_only_names_outside_the_archive_are_refused(tmp_path, name):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for index, member in enumerate(("good.png", name)):
            info = zipfile.ZipInfo("x")
            info.filename = member
            archive.writestr(info, png(index))
    with pytest.raises(ImageError, match="points outside the archive"):
        open_image_set(path)


# ------------------------------------------------------------------------------------------- names that are not text


def test_names_that_are_not_utf8_are_read_and_shown(tmp_path):
    root = os.fsencode(tmp_path) + b"/caf\xe9"
    for folder, name in ((b"/cat", b"/\xe9.png"), (b"/d\xf6g", b"/b.png"), (b"", b"/r\xe9adme.doc")):
        os.makedirs(root + folder, exist_ok=True)
        with open(root + folder + name, "wb") as file:
            file.write(png(1))
    path = Path(os.fsdecode(root))
    images = open_image_set(path)
    assert images.labels.tolist() == [1, 0]
    assert len(images.batch(0, 2).images) == 2
    assert len(images.digest()) == 16
    assert r"r\xe9adme.doc" in notes_of(images)
    with pytest.raises(ImageError, match=r"d\\xf6g does not exist") as refused:
        open_image_set(path, classes=CLASSES)
    assert str(refused.value).isprintable()
    # What the message offers can be given as it stands.
    assert open_image_set(path, classes=CLASSES, mapping={r"d\xf6g": "dog"}).labels.tolist() == [1, 0]
    writer = write_image_set(tmp_path / "out", 2, 2, {}, images.classes)
    writer.write(0, images.batch(0, 2).images, images.labels)
    writer.finish()
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [".bigroc-output", "cat", "d_g"]
    with open(root + b"/cat/bad\xe9.png", "wb") as file:
        file.write(b"nonsense")
    images = open_image_set(path, 8)
    with pytest.raises(ImageError, match=r"cat/bad\\xe9.png: is not an image"):
        images.batch(0, 3)


# --------------------------------------------------------------------------------------- outputs inside, links, pipes


def written(out: Path, count: int = 2, finish: bool = True) -> None:
    writer = write_image_set(out, count, 1, {})
    pixels = from_uint8(np.zeros((1, 8, 8, 3), np.uint8))
    for start, _ in writer.missing()[: count if finish else 1]:
        writer.write(start, pixels)
    if finish:
        writer.finish()


@pytest.mark.parametrize("finish", [True, False])
@pytest.mark.parametrize("files", [["a.png", "b.png"], ["cat/a.png", "dog/b.png"]])
@pytest.mark.parametrize("out", ["boosted", "boosted.d/deeper"])
def test_an_output_inside_its_input_is_no_input(tmp_path, finish, files, out):
    folder = folder_of(tmp_path / "set", {name: png(index) for index, name in enumerate(files)})
    before = open_image_set(folder)
    written(folder / out, finish=finish)
    images = open_image_set(folder)
    assert images.names == before.names
    assert images.digest() == before.digest()
    assert images.classes == before.classes
    assert f"left out {out}/, which this program wrote" in notes_of(images)
    assert notes_of(images).count("left out") == 1


def test_outputs_are_read_by_themselves_and_as_the_classes_of_a_folder_of_nothing_else(tmp_path):
    for name in ("cat", "dog"):
        written(tmp_path / "set" / name)
    assert len(open_image_set(tmp_path / "set" / "cat")) == 2
    assert sorted(open_image_set(tmp_path / "set", classes=CLASSES).labels.tolist()) == [0, 0, 1, 1]
    written(tmp_path / "half" / "cat", finish=False)
    with pytest.raises(ImageError, match="cat/ is the output of an unfinished run"):
        open_image_set(tmp_path / "half")


def test_what_is_no_file_is_one_line_that_says_what(tmp_path):
    folder = folder_of(tmp_path / "set", {"a.png": png(0)})
    (folder / "loop").symlink_to(folder)
    images = open_image_set(folder)
    assert list(images.names) == ["a.png"]
    assert "left out loop, a link back to a folder around it" in notes_of(images)
    (folder / "b.png").symlink_to("/nowhere/b.png")
    with pytest.raises(ImageError, match=r"b.png is a link to /nowhere/b.png, where there is nothing"):
        open_image_set(folder)
    with pytest.raises(ImageError, match=r"b.png: is a link to /nowhere/b.png"):
        open_image_set(folder / "b.png")
    (folder / "b.png").unlink()
    os.mkfifo(folder / "b.png")
    for path in (folder, folder / "b.png"):
        with pytest.raises(ImageError, match=r"b.png.* pipe"):
            open_image_set(path)
    (folder / "b.png").unlink()
    os.mkfifo(folder / "labels.csv")
    with pytest.raises(ImageError, match=r"labels.csv.*not a regular file"):
        open_image_set(folder)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "set", {"cat/a.png": png(0), "dog/b.png": png(1)})
    scandir = os.scandir

    def refusing(path: str) -> object:
        if os.fspath(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(ImageError, match=r"dog: could not be read .Permission denied."):
        open_image_set(folder)


def test_an_output_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(OSError, match=r"file is a file and not a folder"):
        write_image_set(tmp_path / "file" / "out", 1, 1, {})


# ------------------------------------------------------------------------------------------- sizes, groups, digests


def test_images_of_different_sizes_are_grouped_by_size_in_a_fixed_order(tmp_path):
    sizes = [(8, 8), (4, 16), (8, 8), (6, 6), (8, 8), (4, 16)]
    folder = folder_of(tmp_path / "set", {f"{index}.png": png(index, *size) for index, size in enumerate(sizes)})
    images = open_image_set(folder, "own")
    assert images.groups(max_pixels=10_000) == [[0, 2, 4], [1, 5], [3]]
    assert images.groups(max_pixels=128) == [[0, 2], [1, 5], [3], [4]]
    assert images.groups(max_pixels=1, indices=[5, 3, 0]) == [[5], [3], [0]]
    for group in images.groups(max_pixels=10_000):
        batch = images.take(group)
        assert batch.names == tuple(f"{index}.png" for index in group)
        assert tuple(batch.images.shape) == (len(group), 3, *sizes[group[0]])
        one = images.take(group[-1:]).images[0]
        assert torch.equal(batch.images[-1], one)
    with pytest.raises(ImageError, match=r"0.png and 1.png are of different sizes"):
        images.take([0, 1])
    for wrong in ([], [6], [-1]):
        with pytest.raises(ValueError, match="indices"):
            images.take(wrong)
    np.savez(tmp_path / "set.npz", np.arange(5 * 48, dtype=np.uint8).reshape(5, 4, 4, 3))
    array = open_image_set(tmp_path / "set.npz", "own")
    assert array.groups(max_pixels=32) == [[0, 1], [2, 3], [4]]
    assert torch.equal(array.take([4, 1]).images, array.batch(0, 5).images[[4, 1]])


@pytest.mark.parametrize("kind", ["folder", "zip", "one image", "npz", "packed npz"])
def test_a_replaced_image_of_the_same_length_is_another_set(tmp_path, kind):
    def make(name: str, level: int) -> ImageSet:
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), (level, 0, 0)).save(stream, "BMP")
        files = {"a.bmp": stream.getvalue()}
        (tmp_path / name).mkdir()
        if kind == "folder":
            return open_image_set(folder_of(tmp_path / name / "set", files))
        if kind == "one image":
            return open_image_set(folder_of(tmp_path / name, files) / "a.bmp")
        if kind == "zip":
            return open_image_set(zip_of(tmp_path / name / "set.zip", files))
        save = np.savez if kind == "npz" else np.savez_compressed
        save(tmp_path / name / "set.npz", np.full((2, 4, 4, 3), level, np.uint8), np.array([0, 1]))
        return open_image_set(tmp_path / name / "set.npz")

    first, same, other = make("first", 1), make("same", 1), make("other", 2)
    assert first.digest() == same.digest()
    assert first.digest() != other.digest()


def test_other_labels_are_another_set(tmp_path):
    files = {"a.png": png(0), "b.png": png(1)}
    digests = {
        open_image_set(folder_of(tmp_path / labels, {**files, "labels.csv": labels.encode()})).digest()
        for labels in ("file,label\na.png,0\nb.png,1", "file,label\na.png,1\nb.png,1")
    }
    assert len(digests) == 2
