"""What `pip install` gets: one set of bounds, and a wheel that carries weights and pictures and works from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from answering import config_of, free_port
from packaging.requirements import Requirement

from bigroc_core import places
from bigroc_core.__main__ import main

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = SETTINGS["project"]


def bounds(lines: list[str]) -> dict[str, tuple[str, frozenset[str]]]:
    """Each package's bounds and extras by name, the package's own optional groups taken in."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for line in lines:
        one = Requirement(line)
        if one.name == PROJECT["name"]:
            for group in one.extras:
                found |= bounds(PROJECT["optional-dependencies"][group])
        else:
            found[one.name.lower()] = (str(one.specifier), frozenset(one.extras))
    return found


def file_of(name: str) -> list[str]:
    """The packages in a requirements file, those of the file that it takes in besides."""
    lines = (ROOT / name).read_text("utf-8").split("\n")
    wanted = [line for line in lines if line and not line.startswith(("#", "-r"))]
    return wanted + [more for line in lines if line.startswith("-r ") for more in file_of(line[3:])]


@pytest.mark.repository
@pytest.mark.parametrize(("name", "group"), [("requirements.txt", "page"), ("requirements-dev.txt", "test")])
def test_requirements_files_and_the_package_have_the_same_bounds(name: str, group: str) -> None:
    assert bounds(file_of(name)) == bounds(PROJECT["dependencies"] + PROJECT["optional-dependencies"][group])


@pytest.mark.repository
def test_the_docker_image_is_given_all_that_the_package_is_built_of() -> None:
    wheel = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {PROJECT["readme"], *PROJECT["license-files"], *wheel["packages"], *wheel["force-include"]}
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    copied = {name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]}
    assert copied == wanted | {"pyproject.toml"}


def test_what_is_installed_here_is_within_the_bounds() -> None:
    wanted = bounds(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"])
    outside = {n: version(n) for n, (b, _) in wanted.items() if not Requirement(n + b).specifier.contains(version(n))}
    assert outside == {}
    assert all("<" in bound for name, (bound, _) in bounds(PROJECT["dependencies"]).items()), "no upper bound"


def test_the_package_alone_is_imported_without_what_only_some_commands_need() -> None:
    code = (
        "import sys, bigroc_core.__main__ as main; main.build_parser();"
        "print(*sorted({'gradio', 'diffusers', 'torch_fidelity', 'accelerate', 'timm'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


def test_a_missing_optional_package_is_named_with_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where only `pip install bigroc` was run: Python's own word for a module that is not there."""
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["page"]) == 2
    assert 'pip install "bigroc[page]"' in capsys.readouterr().err


def run(words: list[str | Path], folder: Path, **more: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "BIGROC_DATA")} | more
    ran = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.repository
@pytest.mark.slow
def test_the_wheel_works_from_any_folder(tmp_path: Path) -> None:
    """In an environment of its own, over the packages that are here: boosting, the page, the types."""
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", tmp_path, ROOT]
    run([*build], tmp_path)
    (wheel,) = tmp_path.glob("bigroc-*.whl")
    carried = set(zipfile.ZipFile(wheel).namelist())
    tracked = run(["git", "ls-files", "checkpoints", "assets", "bigroc_core", "RESULTS.json"], ROOT).split()
    assert {name if name.startswith("bigroc_core/") else f"bigroc_core/{name}" for name in tracked} <= carried

    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / "bin"
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    (packages / "here.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", "utf-8")
    run([binaries / "python", "-m", "pip", "install", "--no-deps", "-q", wheel], tmp_path)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = run([binaries / "python", "-c", "import bigroc_core as b; print(b.__file__)"], elsewhere)
    assert Path(where.strip()).is_relative_to(packages)
    run([binaries / "bigroc", "boost", "generator:cifar10-cgan", "out", "--count", "2", "--steps", "1"], elsewhere)
    assert len(list((elsewhere / "out").rglob("*.png"))) == 2
    assert "cifar10-robust" in run([binaries / "bigroc", "models"], elsewhere)

    port = free_port()
    with (tmp_path / "page.txt").open("w") as log:
        page = subprocess.Popen(
            [binaries / "bigroc", "page", "--port", str(port)], cwd=elsewhere, stdout=log, stderr=log
        )
    try:
        assert "cifar10-robust" in config_of(page, port, tmp_path / "page.txt", 600)
    finally:
        page.terminate()
        page.wait(30)


@pytest.mark.repository
def test_a_clone_has_its_weights_beside_the_package() -> None:
    assert ROOT / "checkpoints" == places.CHECKPOINTS
    assert ROOT / "assets" == places.ASSETS
