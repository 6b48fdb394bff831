"""Reading and writing while a GPU computes: the same bytes, the same errors, nothing of a later batch."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from bigroc_core.__main__ import main
from bigroc_core.cli import boost
from bigroc_core.images import encode_png
from bigroc_core.images.rounding import from_uint8
from bigroc_core.overlapping import overlapped


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Pictures of two sizes, of three classes."""

    rng = np.random.default_rng(0)
    for number in range(9):
        side = 8 if number % 2 else 12
        path = tmp_path / "in" / ("cat", "dog", "ship")[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(from_uint8(rng.integers(0, 256, (side, side, 3), np.uint8))))
    return tmp_path / "in"


@pytest.mark.parametrize("source", ["set", "generator"])
def test_a_run_that_overlaps_gives_the_same_bytes(
    source: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [str(small)] if source == "set" else ["generator:cifar10-cgan", "--count", "4", "--precision", "fast"]
    words = [*images, "--steps", "1", "--batch-size", "2", "--device", "cpu"]
    for name, overlaps in (("plain", False), ("overlapped", True)):
        monkeypatch.setattr(boost, "_overlaps", lambda device, answer=overlaps: answer)
        assert main(["boost", words[0], str(tmp_path / name), *words[1:]]) == 0
    plain = files_of(tmp_path / "plain")
    assert len(plain) >= 4
    assert files_of(tmp_path / "overlapped") == plain


def test_reading_and_writing_go_on_while_a_batch_is_computed() -> None:
    began, read, written = threading.Event(), threading.Event(), threading.Event()

    def reading(batch: int) -> int:
        if batch == 2:
            assert began.wait(10)
            read.set()
        return 10 * batch

    def compute(given: int) -> int:
        if given == 10:  # the second waits for what is done beside it
            began.set()
            assert read.wait(10)
            assert written.wait(10)
        return given + 1

    made: list[tuple[int, int]] = []

    def write(batch: int, result: int) -> None:
        if batch == 0:
            assert began.wait(10)
        made.append((batch, result))
        written.set()

    overlapped([0, 1, 2], reading, compute, write)
    assert made == [(0, 1), (1, 11), (2, 21)]


@pytest.mark.parametrize("at", ["read", "compute", "write"])
def test_a_fault_ends_the_run_and_nothing_later_is_written(at: str) -> None:
    written: list[int] = []

    def step(name: str, batch: int) -> int:
        if (name, batch) == (at, 1):
            raise ValueError("batch 1")
        return batch

    def write(batch: int, _made: int) -> None:
        written.append(step("write", batch))

    with pytest.raises(ValueError, match="batch 1"):
        overlapped([0, 1, 2, 3], lambda batch: step("read", batch), lambda given: step("compute", given), write)
    assert written == [0]
