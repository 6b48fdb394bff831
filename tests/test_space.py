"""The block at the top of README.md, which configures a Space, and what its checker finds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_docs import ROOT, tool

checker = tool("check_space")
# As it once was: with a Python that ZeroGPU does not run.
ONCE = """---
title: BIGRoC
emoji: 🖼️
colorFrom: indigo
colorTo: green
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
app_file: app.py
pinned: false
license: mit
short_description: Boost generated images with adversarially robust classifiers
---
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    for name in ("README.md", "requirements.txt", "pyproject.toml", "app.py"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_this_repository_is_a_space() -> None:
    assert checker.check(ROOT) == []


def test_the_block_as_it_once_was_is_refused(space: Path) -> None:
    (space / "README.md").write_text(ONCE, "utf-8")
    (said,) = checker.check(space)
    assert "python_version is 3.11, and ZeroGPU runs 3.10.13 or 3.12.12" in said


@pytest.mark.parametrize("name", ["README.md", "requirements.txt", "pyproject.toml"])
def test_a_file_that_is_not_there_is_named(space: Path, name: str) -> None:
    (space / name).unlink()
    (said,) = checker.check(space)
    assert name in said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('python_version: "3.12.12"', "python_version: 3.12", "must be a str, not 3.12"),
        ("colorTo: green", "colorTo: orange", "colorTo is 'orange'"),
        ("app_file: app.py", "app_file: main.py", "there is no such file"),
        ("sdk_version: 6.31.0", "sdk_version: 5.49.1", "is not within requirements.txt"),
        ("suggested_hardware: cpu-basic", "suggested_hardware: h100", "suggested_hardware is 'h100'"),
        ("pinned: false", "pinned: false\nsuggested_cpu: 2", "suggested_cpu is no setting"),
        ("sdk: gradio\n", "", "sdk is missing"),
        ("Boost generated images", "Boost, that is improve, generated images", "longer than 60"),
        ("license: mit", "license: MIT", "small letters"),
        ("datasets: [uoft-cs/cifar10]", "datasets: [cifar10]", "no OWNER/NAME"),
    ],
)
def test_each_rule_can_fail(space: Path, old: str, new: str, said: str) -> None:
    readme = (space / "README.md").read_text("utf-8")
    assert old in readme
    (space / "README.md").write_text(readme.replace(old, new, 1), "utf-8")
    assert any(said in one for one in checker.check(space)), checker.check(space)


def test_what_models_toml_takes_from_the_hub_must_be_fetched_when_the_space_is_built(space: Path) -> None:
    entry = '[[classifier]]\nname = "mine"\nsource = "hub:me/robust/weights.pt"\narch = "resnet50"\nclasses = 10\n'
    (space / "models.toml").write_text(entry, "utf-8")
    (said,) = checker.check(space)
    assert "models.toml offers me/robust" in said
    readme = (space / "README.md").read_text("utf-8")
    fetched = readme.replace("pinned: false", 'pinned: false\npreload_from_hub: ["me/robust weights.pt"]')
    (space / "README.md").write_text(fetched, "utf-8")
    assert checker.check(space) == []


def test_a_torch_that_zero_gpu_does_not_run_is_said(space: Path) -> None:
    wanted = (space / "requirements.txt").read_text("utf-8").replace("torch>=2.9,<3", "torch>=2.14")
    (space / "requirements.txt").write_text(wanted, "utf-8")
    (said,) = checker.check(space)
    assert "ZeroGPU runs 2.8.0, 2.9.1, 2.10.0, 2.11.0" in said
