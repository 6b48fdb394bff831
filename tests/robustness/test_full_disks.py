"""On a full disk, or one that cannot be written to, every command that writes says in a line which file it was, leaves
nothing half-written, and finishes once there is room.

python -m pytest -m campaign tests/robustness/test_full_disks.py, as root, who alone may mount a small disk.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from evaluation.small_models import export_classifier, smooth_pixels
from PIL import Image
from robustness.commands import Commands, said
from robustness.test_kills import HOW, IMAGES, MODELS, timeless
from safetensors import safe_open
from training.test_own_data import COLOURS, write_classes

DISK = "disk"
BYTES = 24 * 2**20
# How much of what a run leaves has room.
SHARES = (0.0, 0.3, 0.7, 0.97)

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TINY = ("--batch-size", "16", "--precision", "fp32", "--save-minutes", "0", "--run", "disk/out", "--name", "mine")
ENDS = ("generator:cifar10-cgan", "generator:cifar10-cgan")
WALK = ("--steps", "2", "--c", "0.2", "0.5", "0.9")
FIGURE = ("--generator", "cifar10-cgan", "--rows", "1", "--columns", "2", "--steps", "1", "--classes", "cat")
MEASURED = ("--reference", "real.npz", "--eps", "1", "--steps", "2")
COMMANDS = {
    "boost to a folder": ("boost", *IMAGES, "disk/out", *HOW),
    "boost to an npz": ("boost", *IMAGES, "disk/out.npz", *HOW),
    "interpolate to a folder": ("interpolate", *ENDS, "disk/out", *WALK),
    "interpolate to an npz": ("interpolate", *ENDS, "disk/out.npz", *WALK),
    "interpolate to a gif": ("interpolate", *ENDS, "disk/out.gif", *WALK),
    "evaluate": ("evaluate", "images.npz", *MODELS, *MEASURED, "--run", "disk/run", "--images-to", "disk/pictures"),
    "evaluate --output": (
        *("evaluate", "images.npz", *MODELS, *MEASURED),
        *("--output", "disk/out.json", "--csv", "disk/out.csv", "--latex", "disk/out.tex"),
    ),
    "sweep": (
        *("sweep", *IMAGES, "--chooser", "controls.safetensors", "--reference", "real.npz"),
        *("--eps-list", "0", "1", "--steps", "2", "--run", "disk/run", "--output", "disk/out.json"),
    ),
    "evaluate-classifier": (
        *("evaluate-classifier", "boosts.safetensors", "--data", "ten", "--steps", "1"),
        *("--output", "disk/out.json"),
    ),
    "evaluate-joint": (
        *("evaluate-joint", "boosts.safetensors", "--data", "ten", "--generated", "images.npz", "--steps", "1"),
        *("--output", "disk/out.json"),
    ),
    **{
        f"figure as {format}": ("figure", "fig7", *FIGURE, "--output", f"disk/out.{format}")
        for format in ("png", "pdf", "svg")
    },
    "train a classifier": ("train", "robust", "--data", "mine", "--arguments", '{"width": 4}', "--epochs", "2", *TINY),
    "train a classifier, plainly": (
        *("train", "standard", "--data", "mine", "--arguments", '{"width": 4}', "--epochs", "2", *TINY),
    ),
    "train a generator": (
        *("train", "generator", "--family", "vae", "--data", "mine", "--steps", "8"),
        *("--arguments", '{"width": 2, "latent": 4}', "--discriminator-width", "2", *TINY),
    ),
    "train a consistency model": (
        *("train", "generator", "--family", "consistency", "--data", "mine", "--steps", "3", *TINY),
        *("--arguments", '{"block_out_channels": [8, 16], "norm_num_groups": 4}'),
    ),
    "fit seeds": ("train", "generator", "--family", "seeds", "--data", "mine", *TINY),
    "train a joint model": (
        *("train", "joint", "--init", "boosts.safetensors", "--data", "ten", "--steps", "4"),
        *("--generated", "images.npz", "--last-steps", "2", "--watched", "6", "--reports", "2", *TINY),
    ),
    "models --hub-card": ("models", "cifar10-robust", "--hub-card", ">", "disk/card.md"),
    "presets": ("presets", ">", "disk/presets.txt"),
}


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    made = Commands()
    yield made
    made.close()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for seed, name in enumerate(("boosts", "controls", "judges")):
        export_classifier(folder, name, seed + 1)
    np.savez(folder / "images.npz", arr_0=smooth_pixels(300, 32), arr_1=np.arange(300) % 10)
    np.savez(folder / "real.npz", arr_0=smooth_pixels(300, 32, 9) // 2)
    write_classes(folder / "mine", dict.fromkeys(COLOURS, 24), side=(32, 32))
    write_classes(folder / "ten", dict.fromkeys(CIFAR10, 20), side=(32, 32))
    return folder


@pytest.fixture
def place(inputs: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with the inputs, and a small disk in it."""
    for path in inputs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    disk = tmp_path / DISK
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={BYTES}", "tmpfs", disk], check=False).returncode:
        pytest.skip("only root may mount a disk")
    yield tmp_path
    subprocess.run(["umount", disk], check=True)


def free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize


def fill(disk: Path, room: int) -> Path:
    """A file that leaves so much room."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        file.write(bytes(max(free(disk) - room, 0)))
    return filler


def empty(disk: Path) -> None:
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def contents(disk: Path) -> dict[str, object]:
    """What lies there, by name, without the clock."""
    found: dict[str, object] = {}
    for path in sorted(disk.rglob("*")):
        if not path.is_file() or path.name == "filler":
            continue
        data = path.read_bytes()
        if path.suffix in (".json", ".jsonl"):
            texts = data.decode().splitlines() if path.suffix == ".jsonl" else [data.decode()]
            found[str(path.relative_to(disk))] = [timeless(json.loads(text)) for text in texts]
        else:
            found[str(path.relative_to(disk))] = b"" if path.name == "state.pt" else data
    return found


def check_whole(path: Path) -> None:
    """Whatever reads such a file can read it."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            assert [arrays[name].size for name in arrays.files]
    elif path.suffix in (".png", ".gif"):
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".safetensors":
        with safe_open(path, "np") as tensors:
            assert [tensors.get_tensor(name) for name in tensors.keys()]  # noqa: SIM118


def check_one_line(folder: Path) -> None:
    """A line that names a file on the disk is all that was said of it."""
    errors = [line for line in said(folder) if re.match(r"error: |Traceback|\w*(Error|Exception|Interrupt)\b", line)]
    assert len(errors) == 1, said(folder)
    assert errors[0].startswith("error: "), errors
    assert said(folder)[-1] == errors[0], said(folder)
    assert "No space left on device" in errors[0] or "Read-only file system" in errors[0], errors


@pytest.mark.campaign
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", COMMANDS)
def test_without_room_a_line_says_so_and_the_same_command_finishes_once_there_is_room(
    name: str, place: Path, commands: Commands
) -> None:
    words, disk = COMMANDS[name], place / DISK
    printed = words[-2] == ">"
    assert commands.run(words, place) == 0, said(place)
    expected, needed = contents(disk), BYTES - free(disk)
    empty(disk)
    for share in SHARES:
        filler = fill(disk, int(share * needed))
        status = commands.run(words, place)
        # What it leaves in the end may be less than it had needed before.
        assert status == 2, (share, status, said(place))
        check_one_line(place)
        assert printed or DISK in said(place)[-1], said(place)
        left = contents(disk)
        assert printed or not [file for file in left if file.endswith(".tmp")], (share, sorted(left))
        for file in left if not printed else ():
            check_whole(disk / file)
        filler.unlink()
        assert commands.run(words, place) == 0, (share, said(place))
        assert contents(disk) == expected, share
        empty(disk)
    if not printed:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert commands.run(words, place) == 2, said(place)
        check_one_line(place)
        assert DISK in said(place)[-1], said(place)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        assert commands.run(words, place) == 0, said(place)
        assert contents(disk) == expected
