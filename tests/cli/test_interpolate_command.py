"""`interpolate` writes the engine's frames, whole or not at all; bad input is one line and status 2."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.cards import CHECKPOINTS
from bigroc_core.cli import interpolate as interpolate_command
from bigroc_core.experiments import interpolate as experiment
from bigroc_core.experiments.frames import frame_names
from bigroc_core.images import from_uint8, read_image, to_uint8
from bigroc_core.places import ASSETS

EXAMPLES = sorted((ASSETS / "examples").glob("*.png"))
BOTH = ["--classifier", "cifar10-robust", "cifar10-standard"]


def run(*words: object) -> int:
    return main(["interpolate", *map(str, words), "--steps", "2", "--device", "cpu"])


def pixels(path: Path) -> np.ndarray:
    return to_uint8(read_image(path).pixels)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """(2, 32, 32, 3): what the engine gives for c = 0.2 and 1 between two generated images."""
    generator = bc.load_generator("cifar10-cgan")
    source, _ = generator.sample(1, labels=[5], seed=3, start=4)
    target, _ = generator.sample(1, seed=0, start=1)
    ends = (from_uint8(to_uint8(image)) for image in (source, target))
    return to_uint8(bc.interpolate(bc.load_classifier("cifar10-robust", device="cpu"), *ends, (0.2, 1.0), 2)[:, 0])


ENDS = [
    "generator:cifar10-cgan",
    "generator:cifar10-cgan",
    "--source-seed",
    "3",
    "--source-index",
    "4",
    "--source-class",
    "dog",
    "--c",
    "1",
    "0.2",
]


def test_a_folder_holds_the_engines_frames_their_numbers_and_the_settings(tmp_path: Path, frames: np.ndarray) -> None:
    out = tmp_path / "new" / "out"
    assert run(ENDS[0], ENDS[1], out, *ENDS[2:]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "c-0.200.png",
        "c-1.000.png",
        "frames.csv",
        "settings.json",
        "source.png",
        "target.png",
    ]
    assert np.array_equal(np.stack([pixels(out / "c-0.200.png"), pixels(out / "c-1.000.png")]), frames)
    with (out / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    source = pixels(out / "source.png").astype(float)
    for row, frame in zip(rows, frames, strict=True):
        assert float(row["‖δ‖₂"]) == pytest.approx(np.linalg.norm((frame - source) / 255), abs=5e-4)
    assert [row["c"] for row in rows] == ["0.2", "1.0"]
    settings = json.loads((out / "settings.json").read_text())
    assert settings["source"] == {"generator": "cifar10-cgan", "seed": 3, "number": 4, "class": "dog"}
    assert (settings["c"], settings["steps"], settings["classifiers"]) == ([0.2, 1.0], 2, ["cifar10-robust"])
    # Started from the files it wrote it goes the same way.
    again = tmp_path / "again.npz"
    assert run(out / "source.png", out / "target.png", again, "--c", "0.2", "1") == 0
    with np.load(again) as arrays:
        assert np.array_equal(arrays["arr_0"], frames)


def test_several_classifiers_get_a_folder_each_and_share_npz_and_animation(tmp_path: Path, frames: np.ndarray) -> None:
    for name in ("out", "out.npz", "out.gif"):
        assert run(ENDS[0], ENDS[1], tmp_path / name, *ENDS[2:], *BOTH) == 0
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays.files == ["arr_0"]
        written = arrays["arr_0"]
    assert (written.shape, written.dtype) == ((4, 32, 32, 3), np.uint8)
    assert np.array_equal(written[:2], frames)
    for place, name in enumerate(BOTH[1:]):
        for frame, c in enumerate(("0.200", "1.000")):
            assert np.array_equal(pixels(tmp_path / "out" / name / f"c-{c}.png"), written[2 * place + frame])
    with Image.open(tmp_path / "out.gif") as gif:
        assert (gif.format, gif.n_frames) == ("GIF", 2)


def test_weights_and_warm_start_reach_the_engine(tmp_path: Path) -> None:
    x, y = (read_image(path).pixels[None] for path in EXAMPLES[:2])
    classifier = bc.load_classifier("cifar10-robust", device="cpu")
    options = ["--c", "0.3", "0.6", "--weights", "0", "0", "2", "--warm-start"]
    assert run(EXAMPLES[0], EXAMPLES[1], tmp_path / "out.npz", *options) == 0
    wanted = bc.interpolate(classifier, x, y, (0.3, 0.6), 2, weights=(0, 0, 2), warm_start=True)
    with np.load(tmp_path / "out.npz") as arrays:
        assert np.array_equal(arrays["arr_0"], to_uint8(wanted[:, 0]))


def test_values_of_c_that_three_decimals_do_not_tell_apart_keep_their_own_files() -> None:
    assert frame_names((0.0, 0.25)) == ["c-0.000.png", "c-0.250.png"]
    assert frame_names((0.1, 0.10004)) == ["c-0.10000.png", "c-0.10004.png"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.png", EXAMPLES[1]], "nowhere.png"),
        (["text.png", EXAMPLES[1]], "text.png"),
        (["generator:nothing", EXAMPLES[1]], "nothing"),
        ([EXAMPLES[0], EXAMPLES[0]], "same image"),
        ([EXAMPLES[0], EXAMPLES[1], "--c", "1.5"], "fractions[0]"),
        ([EXAMPLES[0], EXAMPLES[1], "--steps", "-1"], "steps"),
        ([EXAMPLES[0], EXAMPLES[1], "--c", "nan"], "fractions[0]"),
        ([EXAMPLES[0], EXAMPLES[1], "--weights", "1"], "weights must be"),
        ([EXAMPLES[0], EXAMPLES[1], "--classifier", "cifar10-judge"], "only ever judges"),
        ([EXAMPLES[0], EXAMPLES[1], "--classifier", "no-such"], "no-such"),
        ([EXAMPLES[0], EXAMPLES[1], "--device", "quantum"], "quantum"),
        ([EXAMPLES[0], EXAMPLES[1], "--source-class", "dog"], "--source-class"),
        (["generator:cifar10-dcgan", EXAMPLES[1], "--source-class", "dog"], "--source-class"),
        (["generator:cifar10-cgan", EXAMPLES[1], "--source-class", "unicorn"], "airplane"),
        (["generator:cifar10-cgan", EXAMPLES[1], "--source-seed", "-1"], "source's seed"),
        (["generator:cifar10-cgan", EXAMPLES[1], "--source-index", "-1"], "source's image number"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: list[object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("not an image")
    places = [tmp_path / word if word == "text.png" else word for word in words]
    arguments = [*map(str, (*places[:2], tmp_path / "out")), "--steps", "2", "--device", "cpu", *map(str, places[2:])]
    assert main(["interpolate", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert said in error
    assert [path.name for path in tmp_path.iterdir()] == ["text.png"]


def test_nothing_is_overwritten_and_an_interrupted_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept.txt").write_text("kept")
    (tmp_path / "mine.npz").write_text("kept")
    for name in ("mine", "mine.npz", "frames.png"):
        assert run(EXAMPLES[0], EXAMPLES[1], tmp_path / name) == 2
        assert name in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(EXAMPLES[0], EXAMPLES[1], tmp_path / "empty", "--c", "1") == 0
    assert (tmp_path / "empty" / "c-1.000.png").is_file()

    def half(*_: object, **__: object) -> Iterator[tuple[str, bytes]]:
        yield "first.png", b"written"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(interpolate_command, "frame_files", half)
    before = sorted(tmp_path.rglob("*"))
    assert run(EXAMPLES[0], EXAMPLES[1], tmp_path / "full", "--c", "1") == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "full") in said
    assert "No space left on device" in said

    def stopped(*_: object, **__: object) -> Iterator[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "interpolate_stream", stopped)
    assert run(EXAMPLES[0], EXAMPLES[1], tmp_path / "stopped", "--c", "1") == 130
    assert sorted(tmp_path.rglob("*")) == before


def test_the_source_itself_is_the_frame_at_c_0(tmp_path: Path) -> None:
    assert run(EXAMPLES[0], EXAMPLES[1], tmp_path / "out", "--c", "0") == 0
    assert torch.equal(read_image(tmp_path / "out" / "c-0.000.png").pixels, read_image(EXAMPLES[0]).pixels)


def test_generators_and_classifiers_from_elsewhere_are_taken_too(tmp_path: Path) -> None:
    for name in ("cifar10-cgan", "cifar10-standard"):
        shutil.copy(CHECKPOINTS / f"{name}.safetensors", tmp_path / f"my-{name}.safetensors")
        card = json.loads((CHECKPOINTS / f"{name}.json").read_text("utf-8"))
        (tmp_path / f"my-{name}.json").write_text(json.dumps({**card, "name": f"my-{name}"}), "utf-8")
    mine, other = tmp_path / "my-cifar10-cgan.safetensors", tmp_path / "my-cifar10-standard.safetensors"
    words = [f"generator:{mine}", EXAMPLES[0], "--source-class", "dog", "--c", "0.5", "--classifier", other]
    assert run(words[0], words[1], tmp_path / "out", *words[2:]) == 0
    assert run("generator:cifar10-cgan", EXAMPLES[0], tmp_path / "same", *words[2:-1], "cifar10-standard") == 0
    name = "c-0.500.png"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    settings = json.loads((tmp_path / "out" / "settings.json").read_text("utf-8"))
    assert settings["classifiers"] == ["my-cifar10-standard"]
    assert settings["source"] == {"generator": str(mine), "seed": 0, "number": 0, "class": "dog"}
