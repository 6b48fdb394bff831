"""CIFAR-10 is the same set in every layout, and its splits are disjoint."""

import pickle

import numpy as np
import pytest
import torch

from bigroc_core.training import cifar10
from bigroc_core.training.cifar10 import VALIDATION_IMAGES, find_cifar10, load_cifar10


def small_cifar(count: int = VALIDATION_IMAGES + 40) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    return {
        "x_train": draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        "y_train": draw.integers(0, 10, count).astype(np.uint8),
        "x_test": draw.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8),
        "y_test": draw.integers(0, 10, 30).astype(np.uint8),
    }


def write_torchvision(arrays, folder):
    folder.mkdir()
    parts = np.array_split(np.arange(len(arrays["y_train"])), 5)
    batches = {f"data_batch_{i + 1}": ("train", part) for i, part in enumerate(parts)}
    batches["test_batch"] = ("test", np.arange(len(arrays["y_test"])))
    for name, (split, part) in batches.items():
        flat = arrays[f"x_{split}"][part].transpose(0, 3, 1, 2).reshape(len(part), -1)
        labels = [int(label) for label in arrays[f"y_{split}"][part]]
        (folder / name).write_bytes(pickle.dumps({"data": flat, "labels": labels}))


def test_npz_and_torchvision_layout_give_the_same_splits(tmp_path):
    arrays = small_cifar()
    np.savez(tmp_path / "cifar.npz", **arrays)
    write_torchvision(arrays, tmp_path / "cifar-10-batches-py")
    from_npz = load_cifar10(tmp_path / "cifar.npz")
    from_torchvision = load_cifar10(tmp_path)
    for name in ("train", "validation", "test"):
        a, b = getattr(from_npz, name), getattr(from_torchvision, name)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
    assert len(from_npz.validation) == VALIDATION_IMAGES
    assert np.array_equal(from_npz.validation.images[-1].permute(1, 2, 0).numpy(), arrays["x_train"][-1])
    assert np.array_equal(from_npz.train.images[0].permute(1, 2, 0).numpy(), arrays["x_train"][0])


def test_a_batch_that_would_run_code_is_refused(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    write_torchvision(small_cifar(), folder)
    marker = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    (folder / "data_batch_1").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="refused"):
        load_cifar10(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("layout", ["missing", "empty", "no-arrays", "too-few", "cut", "floats", "columns", "classes"])
def test_bad_data_are_named(tmp_path, layout):
    path = tmp_path / "data"
    if layout == "empty":
        path.mkdir()
    elif layout == "no-arrays":
        path = tmp_path / "data.npz"
        np.savez(path, x=np.zeros(3))
    elif layout != "missing":
        path = tmp_path / "data.npz"
        arrays = small_cifar(100)
        if layout == "floats":
            arrays["x_train"] = arrays["x_train"] / 255
        elif layout == "columns":
            arrays["y_train"] = arrays["y_train"][:, None]
        elif layout == "classes":
            arrays["y_test"] = arrays["y_test"] + 1
        np.savez(path, **arrays)
        if layout == "cut":
            path.write_bytes(path.read_bytes()[:-100])
    message = {"cut": "damaged", "floats": "uint8", "columns": "whole numbers", "classes": "0 to 9"}.get(layout, "data")
    with pytest.raises(ValueError, match=message):
        load_cifar10(path)


@pytest.mark.parametrize("contents", [b"", b"\x80\x04N.", pickle.dumps({"data": np.zeros((2, 5), np.uint8)})])
def test_a_damaged_batch_is_named(tmp_path, contents):
    write_torchvision(small_cifar(), tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(contents)
    with pytest.raises(ValueError, match="data_batch_3"):
        load_cifar10(tmp_path)


def test_where_nothing_is_named_an_installed_package_looks_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Least of all beside Python's packages, which a reader would then be told about."""
    monkeypatch.delenv("BIGROC_DATA", raising=False)
    monkeypatch.setattr(cifar10, "HOME", cifar10.PACKAGE)
    with pytest.raises(ValueError, match=r"^CIFAR-10 was not found; give --data"):
        find_cifar10()
    monkeypatch.setenv("BIGROC_DATA", "nowhere")
    with pytest.raises(ValueError, match="not found at nowhere; give --data"):
        find_cifar10()
