"""Check that this repository is a Space that would run: `python tools/check_space.py [FOLDER]`.

Each rule names the page of the Hub's documentation that it is from, as that stood on 2026-08-22.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

CONFIG = "https://huggingface.co/docs/hub/spaces-config-reference"
ZERO_GPU = "https://huggingface.co/docs/hub/spaces-zerogpu"
LICENCES = "https://huggingface.co/docs/hub/repositories-licenses"
CARDS = "https://huggingface.co/docs/hub/model-cards"

COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
SDKS = {"gradio", "docker", "static"}
HARDWARE = {
    *("cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l4x4", "l40sx1", "l40sx4", "l40sx8", "a10g-small"),
    *("a10g-large", "a10g-largex2", "a10g-largex4", "a100-large", "a100x4", "a100x8"),
}
TEXTS = {"title", "emoji", "sdk", "python_version", "sdk_version", "app_file", "base_path", "short_description"}
TEXTS |= {"thumbnail", "header", "license", "suggested_hardware", "suggested_storage", "startup_duration_timeout"}
LISTS = {"models", "datasets", "tags", "preload_from_hub", "hf_oauth_scopes"}
FLAGS = {"pinned", "fullWidth", "hf_oauth", "disable_embedding"}
OTHERS = {"colorFrom", "colorTo", "app_port", "app_build_command", "custom_headers", "hf_oauth_expiration_minutes"}
OTHERS |= {"hf_oauth_authorized_org"}
NEEDED = ("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file")
MAX_DESCRIPTION = 60  # the Hub refuses a push with a longer one
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
# What ZeroGPU runs.
ZERO_PYTHON = {"3.12.12", "3.10.13"}
ZERO_TORCH = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")


def front_matter(readme: str) -> dict[str, Any]:
    """The block at the top of a README; ValueError where there is none."""
    found = re.match(r"---\n(.*?)\n---\n", readme, re.S)
    entries = yaml.safe_load(found[1]) if found else None
    if not isinstance(entries, dict):
        raise ValueError(f"README.md does not begin with a block of settings between two lines of --- ({CONFIG})")
    return entries


def wrong_entries(entries: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the block by itself."""
    for name in sorted(set(entries) - TEXTS - LISTS - FLAGS - OTHERS):
        yield f"{name} is no setting of a Space ({CONFIG})"
    for name in NEEDED:
        if name not in entries:
            yield f"{name} is missing ({CONFIG})"
    for names, kind in ((TEXTS, str), (LISTS, list), (FLAGS, bool)):
        for name in sorted(names & set(entries)):
            if not isinstance(entries[name], kind):
                yield f"{name} must be a {kind.__name__}, not {entries[name]!r}: quote numbers ({CONFIG})"
    for name, known in (("colorFrom", COLOURS), ("colorTo", COLOURS), ("sdk", SDKS), ("suggested_hardware", HARDWARE)):
        if name in entries and entries[name] not in known:
            yield f"{name} is {entries[name]!r}, and must be one of {', '.join(sorted(known))} ({CONFIG})"
    for name in ("models", "datasets"):
        for one in entries.get(name, ()):
            if not REPOSITORY.fullmatch(str(one)):
                yield f"{name} has {one!r}, which is no OWNER/NAME ({CONFIG})"
    if len(str(entries.get("short_description", ""))) > MAX_DESCRIPTION:
        yield f"short_description is longer than {MAX_DESCRIPTION} characters ({CARDS})"
    if not str(entries.get("thumbnail", "https://")).startswith("https://"):
        yield f"thumbnail must be an address ({CONFIG})"
    if entries.get("license", "mit") != str(entries.get("license", "mit")).lower():
        yield f"license is written in small letters ({LICENCES})"


def wrong_beside(entries: dict[str, Any], folder: Path) -> Iterator[str]:
    """What does not fit the files beside it."""
    if not (folder / str(entries.get("app_file"))).is_file():
        yield f"app_file is {entries.get('app_file')!r}, and there is no such file ({CONFIG})"
    lines = (folder / "requirements.txt").read_text("utf-8").splitlines()
    needs = {one.name: one.specifier for one in map(Requirement, (line for line in lines if line and line[0] != "#"))}
    gradio, python = str(entries.get("sdk_version")), str(entries.get("python_version"))
    if gradio not in needs.get("gradio", SpecifierSet()):
        yield f"sdk_version {gradio} is not within requirements.txt: gradio{needs['gradio']}"
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    if python not in SpecifierSet(project["requires-python"]):
        yield f"python_version {python} is not within requires-python {project['requires-python']} of pyproject.toml"
    if python not in ZERO_PYTHON:
        yield f"python_version is {python}, and ZeroGPU runs {' or '.join(sorted(ZERO_PYTHON))} ({ZERO_GPU})"
    if not any(version in needs["torch"] for version in ZERO_TORCH):
        yield f"requirements.txt wants torch{needs['torch']}, and ZeroGPU runs {', '.join(ZERO_TORCH)} ({ZERO_GPU})"
    preloaded = {str(one).split()[0] for one in entries.get("preload_from_hub", ())}
    for repository in sorted(offered_from_hub(folder) - preloaded):
        yield f"models.toml offers {repository}, which preload_from_hub does not name ({CONFIG})"


def offered_from_hub(folder: Path) -> set[str]:
    """The Hub's repositories that models.toml beside app.py has the page offer."""
    if not (folder / "models.toml").is_file():
        return set()
    entries = tomllib.loads((folder / "models.toml").read_text("utf-8"))
    sources = [str(one.get("source", "")) for kind in ("classifier", "generator") for one in entries.get(kind, ())]
    named = [source.removeprefix("hub:") for source in sources if source.startswith("hub:")]
    return {"/".join(name.split("/")[:2]) for name in named}


def check(folder: Path) -> list[str]:
    """All that is wrong, a sentence each."""
    try:
        entries = front_matter((folder / "README.md").read_text("utf-8"))
        return [*wrong_entries(entries), *wrong_beside(entries, folder)]
    except FileNotFoundError as error:
        return [f"there is no {error.filename}, which a Space needs"]
    except ValueError as error:
        return [str(error)]


if __name__ == "__main__":
    found = check(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
    print("\n".join(found) or "the block at the top of README.md is as the Hub wants it")
    sys.exit(1 if found else 0)
