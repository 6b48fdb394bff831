"""Every command and Python example of README.md and docs/ runs: with fewer images and steps, else as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from answering import config_of, free_port
from PIL import Image
from test_docs import ROOT, commands, words_of
from torchvision import models

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.cards import CIFAR10_CLASSES
from bigroc_core.images import encode_png, to_uint8

# By hand: with the rest they would take longer than a check of every change may.
pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1_800)]

PAGES = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("command-line", "use", "results", "benchmarks")),
]
# Put behind a command, which makes it small; the first whose words are all in it.
SMALLER: tuple[tuple[tuple[str, ...], str], ...] = (
    (("--help",), ""),
    (("boost", "generator:"), "--count 2 --steps 1"),
    (("boost",), "--steps 1"),
    (("interpolate",), "--steps 1"),
    (("sweep",), "--count 330 --seeds 1000 --eps-list 0.5 1 --steps 1"),
    (("evaluate", "--find-eps"), "--count 330 --seeds 0"),
    (("evaluate",), "--count 150 --seeds 0 --steps 1"),
    (("figure", "--again"), ""),
    (("figure", "fig2"), "--steps 2"),
    (("figure", "fig6"), "--steps 1"),
    (("figure", "debias"), "--count 20 --validation 20"),
    (("figure",), "--rows 1 --columns 2 --steps 1"),
)
# Not run here, and why.
ELSEWHERE = {
    "--metrics fid": "Inception's weights are downloaded",
    "evaluate-classifier cifar10-robust": "all test images: tests/evaluation runs it on few",
    "evaluate-joint cifar10-joint": "all test images: tests/training runs it on few",
    "tables --output": "hours: tests/cli/test_tables.py runs it on few images",
    "figure training": "of a run of hours: tests/training/test_commands_end_to_end.py",
    "train joint": "hours: tests/training/test_commands_end_to_end.py",
    "train generator": "hours: tests/training/test_commands_end_to_end.py",
}
PYTHON_ELSEWHERE = {
    "cifar_l2_0_5.pt": "a checkpoint of the reader's: tests/classifiers/test_robustness_checkpoints.py",
    "Client(": "needs the page: tests/browser/test_programs_page.py",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-50 of a thousand classes as the robustness library saves it, untrained."""
    path = tmp_path_factory.mktemp("weights") / "resnet50_l2_eps3.ckpt"
    torch.manual_seed(0)
    state = models.resnet50(weights=None).state_dict()
    torch.save({"model": {f"module.model.{name}": value for name, value in state.items()}}, path)
    return path


@pytest.fixture
def here(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A reader's folder: images by class, an .npz, two pictures, a mask, and a checkpoint."""
    images, labels = bc.load_generator("cifar10-cgan").sample(18)
    for name, number, image in zip("abc", labels, images, strict=False):  # of the usual classifier's classes
        folder = tmp_path / "my-images" / CIFAR10_CLASSES[number]
        folder.mkdir(parents=True)
        for file in (folder / f"{name}.png", tmp_path / f"{name}.png"):
            file.write_bytes(encode_png(image))
    shutil.copytree(ROOT / "assets" / "examples", tmp_path / "assets" / "examples")
    Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
    np.savez(tmp_path / "samples.npz", arr_0=to_uint8(images), arr_1=labels.numpy())
    (tmp_path / weights.name).symlink_to(weights)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_runs(page: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran, wrong = 0, []
    for line in commands(page):
        words = words_of(line)
        if words[0] == "page" or any(part in " ".join(words) for part in ELSEWHERE):
            continue
        if "1000" in words and "--num-classes" in words:  # of ImageNet: its own classes
            (here / "my-images").rename(here / "others")
            (here / "my-images" / "n01440764").mkdir(parents=True)
            shutil.copy(here / "a.png", here / "my-images" / "n01440764")
        if words[0] in ("boost", "interpolate"):
            out = here / words[2 if words[0] == "boost" else 3]
            shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
        smaller = next(
            (more for parts, more in SMALLER if all(any(word.startswith(part) for word in words) for part in parts)), ""
        )
        try:
            status = main([*words, *smaller.split()])
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = capsys.readouterr().err
        if status:
            wrong.append((line, said[-500:]))
        elif "--output" in words:
            assert (here / words[words.index("--output") + 1]).stat().st_size > 1_000
        ran += 1
        if (here / "others").exists():
            shutil.rmtree(here / "my-images")
            (here / "others").rename(here / "my-images")
    assert wrong == []
    assert ran or page.name == "use.md"


@pytest.mark.parametrize(
    "line",
    [
        line
        for page in (ROOT / "README.md", ROOT / "docs" / "hosting.md")
        for line in commands(page)
        if words_of(line)[0] == "page"
    ],
)
def test_every_command_that_serves_the_page_serves_it(line: str, here: Path) -> None:
    port = free_port()
    words = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import bigroc_core.__main__ as m; sys.exit(m.main())",
    ]
    with (here / "log.txt").open("w") as log:
        page = subprocess.Popen([*words, str(ROOT), *words_of(line), "--port", str(port)], stdout=log, stderr=log)
    try:
        config = config_of(page, port, here / "log.txt", 900)
    finally:
        page.terminate()
        page.wait(30)
    # Under the name of its file.
    assert ('"resnet50_l2_eps3"' in config) == ("resnet50_l2_eps3" in line)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "use.md"], ids=lambda page: page.name)
def test_every_python_example_runs(page: Path, here: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)
    names: dict[str, object] = {}
    for block in blocks:
        if not any(part in block for part in PYTHON_ELSEWHERE):
            exec(compile(block, str(page), "exec"), names)
    assert "bc" in names


def test_what_is_run_elsewhere_is_still_there() -> None:
    lines = [line for page in PAGES for line in commands(page)]
    text = "".join(page.read_text("utf-8") for page in PAGES)
    assert [part for part in ELSEWHERE if not any(part in line for line in lines)] == []
    assert [part for part in PYTHON_ELSEWHERE if part not in text] == []
