"""CIFAR-10 from torchvision's layout, an .npz, class folders or mosaics: training and test images in original order."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bigroc_core.cards import CIFAR10_CLASSES
from bigroc_core.images.splits import LabelledImages, Splits
from bigroc_core.places import HOME, PACKAGE

VALIDATION_IMAGES = 5_000
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def find_cifar10(path: str | os.PathLike[str] | None = None) -> Path:
    """Where CIFAR-10 lies: `path`, else $BIGROC_DATA, else, of a clone, ../shared/cifar10 beside it.

    Raises ValueError, saying what is accepted, if nothing is there.
    """
    candidates = [path, os.environ.get("BIGROC_DATA"), None if HOME == PACKAGE else HOME.parent / "shared" / "cifar10"]
    place = next((Path(candidate) for candidate in candidates if candidate is not None), None)
    if place is not None and place.exists():
        return place
    raise ValueError(
        f"CIFAR-10 was not found{'' if place is None else f' at {place}'}; give --data (or BIGROC_DATA) a "
        "folder in torchvision's layout (cifar-10-batches-py), an .npz with x_train, y_train, x_test, y_test, or a "
        "folder with train/CLASS and test/CLASS"
    )


def load_cifar10(path: str | os.PathLike[str] | None = None) -> Splits:
    """CIFAR-10 as train / validation / test.

    path: torchvision's folder, an .npz (x_train, y_train, x_test, y_test as uint8 NHWC), a folder of train/CLASS and
    test/CLASS images, or a folder of lossless mosaics (train-*.webp, test-*.webp, labels.npz); None looks in
    $BIGROC_DATA and then beside the repository.
    Raises ValueError if the data are missing or of another form.
    """
    root = find_cifar10(path)
    if root.is_dir() and (root / "cifar10").is_dir():
        root = root / "cifar10"
    if root.suffix == ".npz":
        train, test = _read_npz(root)
    elif (root / "cifar-10-batches-py").is_dir():
        train, test = _read_torchvision(root / "cifar-10-batches-py")
    elif (root / "data_batch_1").is_file():
        train, test = _read_torchvision(root)
    elif (root / "labels.npz").is_file() and (root / "train-0.webp").is_file():
        train, test = _read_mosaics(root)
    elif (root / "train").is_dir():
        train, test = _read_folders(root / "train"), _read_folders(root / "test")
    else:
        raise ValueError(f"{root} holds CIFAR-10 in no layout known here (torchvision, .npz, class folders)")
    if len(train) <= VALIDATION_IMAGES:
        raise ValueError(f"{root} has {len(train)} training images; more than {VALIDATION_IMAGES} are needed")
    cut = len(train) - VALIDATION_IMAGES
    return Splits(
        name="CIFAR-10",
        classes=CIFAR10_CLASSES,
        size=(32, 32),
        train=train.subset(slice(0, cut)),
        validation=train.subset(slice(cut, None)),
        test=test,
        mean=MEAN,
        std=STD,
        description="CIFAR-10 training images without the last 5,000",
    )


def is_cifar10(root: Path) -> bool:
    """Whether a path holds CIFAR-10 in a layout of its own, or as folders of its ten classes at 32 pixels."""
    if root.suffix == ".npz" or any(
        (root / name).exists() for name in ("cifar10", "cifar-10-batches-py", "data_batch_1", "train-0.webp")
    ):
        return True
    if {path.name for path in root.glob("train/*")} != set(CIFAR10_CLASSES):
        return False
    first = next(root.glob("train/*/*.png"), None)
    return first is not None and Image.open(first).size == (32, 32)


def _labelled(images: np.ndarray, labels: np.ndarray) -> LabelledImages:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"CIFAR-10's images must be (N, H, W, 3) uint8, not {images.shape} {images.dtype}")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{len(images)} images need whole numbers as labels, not {labels.shape} {labels.dtype}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(CIFAR10_CLASSES)):
        raise ValueError(f"CIFAR-10's labels must be 0 to 9, not {labels.min()} to {labels.max()}")
    nchw = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return LabelledImages(torch.from_numpy(nchw), torch.from_numpy(labels.astype(np.int64)))


def _read_npz(path: Path) -> tuple[LabelledImages, LabelledImages]:
    wanted = ("x_train", "y_train", "x_test", "y_test")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = sorted(file)
            arrays = {key: file[key] for key in wanted if key in found}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged, or no .npz of plain arrays: {error}") from error
    if missing := [key for key in wanted if key not in arrays]:
        raise ValueError(f"{path} lacks the arrays {missing}; it has {found}")
    return _labelled(arrays["x_train"], arrays["y_train"]), _labelled(arrays["x_test"], arrays["y_test"])


class _ArraysOnly(pickle.Unpickler):
    """torchvision's CIFAR batches are pickles of numpy arrays: allow that, refuse anything that could run code."""

    def find_class(self, module: str, name: str) -> object:
        if (module.split(".")[0], name) in {
            ("numpy", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }:
            return super().find_class(module, name)
        raise ValueError(f"a CIFAR-10 batch asks for {module}.{name}, which plain arrays never need; refused")


def _read_torchvision(folder: Path) -> tuple[LabelledImages, LabelledImages]:
    def read(names: list[str]) -> LabelledImages:
        parts, labels = [], []
        for name in names:
            try:
                with open(folder / name, "rb") as file:
                    batch = _ArraysOnly(file, encoding="latin1").load()
                parts.append(batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
                labels.extend(batch["labels"])
            except OSError:
                raise
            except Exception as error:  # a damaged pickle raises nearly anything
                raise ValueError(f"{folder / name} is damaged, or no batch of CIFAR-10: {error}") from error
        return _labelled(np.concatenate(parts), np.asarray(labels))

    return read([f"data_batch_{i}" for i in range(1, 6)]), read(["test_batch"])


def _read_folders(folder: Path) -> LabelledImages:
    files: list[tuple[str, Path, int]] = []
    for label, name in enumerate(CIFAR10_CLASSES):
        files += [(path.name, path, label) for path in (folder / name).glob("*.png")]
    if not files:
        raise ValueError(f"{folder} has no CLASS/*.png files of CIFAR-10's classes")
    # The number in the file's name is the order of the original set, which the validation split relies on.
    files.sort()
    images = np.stack([np.asarray(Image.open(path).convert("RGB")) for _, path, _ in files])
    return _labelled(images, np.asarray([label for *_, label in files]))


def _read_mosaics(folder: Path) -> tuple[LabelledImages, LabelledImages]:
    side, columns, per_sheet = 32, 25, 5_000
    labels = np.load(folder / "labels.npz", allow_pickle=False)

    def read(split: str) -> LabelledImages:
        parts = []
        for sheet_path in sorted(folder.glob(f"{split}-*.webp")):
            sheet = np.asarray(Image.open(sheet_path).convert("RGB"))
            tiles = sheet.reshape(-1, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
            parts.append(tiles.reshape(-1, side, side, 3)[:per_sheet])
        return _labelled(np.concatenate(parts)[: len(labels[split])], labels[split])

    return read("train"), read("test")
