"""README.md and docs/: what is generated is fresh, links resolve, commands are understood, and run."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bigroc_core.__main__ import build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PROGRAMS = ("bigroc ", "python -m bigroc_core ")
# Forms, not commands: what a person puts in their place stands in capitals or as dots.
FORM = re.compile(r"…|COMMAND|\bNAME\b|\bFILE\b|\|")


def tool(name: str) -> ModuleType:
    """A script of tools/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_made_from_docstrings_and_cards_is_fresh() -> None:
    stale = [path.name for path, text in tool("write_docs").pages() if path.read_text("utf-8") != text]
    assert stale == [], "python tools/write_docs.py makes them anew"


def anchors(page: Path) -> set[str]:
    """The fragments of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, fragment = link.partition("#")
        if target.startswith(("http:", "https:")):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (fragment and fragment not in anchors(file)):
            broken.append(link)
    assert broken == []


def test_the_readme_is_two_screens() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 130


def commands(page: Path) -> Iterator[str]:
    """Every command of ours on a page, in blocks and in running text, joined over line ends."""
    text = page.read_text("utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if line.startswith(PROGRAMS))
    for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"```.*?```", "", text, flags=re.S)):
        line = " ".join(code.split())
        if line.startswith(PROGRAMS) and not FORM.search(line) and len(line.split()) > 3:
            yield line


def words_of(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    return words[1:] if words[0] == "bigroc" else words[3:]


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))], ids=lambda page: page.name)
def test_every_command_is_one_that_exists(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser, wrong = build_parser(), []
    for line in commands(page):
        try:
            parser.parse_args(words_of(line))
        except SystemExit as ended:
            if ended.code:
                wrong.append((line, capsys.readouterr().err))
    assert wrong == []


def test_every_figure_shown_has_its_recipe_or_its_command() -> None:
    for page in PAGES:
        text = page.read_text("utf-8")
        for shown in re.findall(r"!\[[^]]*\]\(([^)]+\.png)\)", text):
            assert re.search(rf"(--output|--plot) \S*{re.escape(Path(shown).name)}", text) or (
                page.name == "RESULTS.md" and json.loads((ROOT / "RESULTS.json").read_text("utf-8"))["curve"]
            ), (page.name, shown)
