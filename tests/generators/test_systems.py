"""The papers' systems: docs/generators.md and the page name the same ones, and every command is one that exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bigroc_core.__main__ import build_parser
from bigroc_core.cli.options import boosting
from bigroc_core.generators.pipelines import HUB_PIPELINES
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.generators.systems import PIPELINE, ROADS, SYSTEMS, TRAINED, System
from bigroc_core.presets import PAPER_PRESETS
from bigroc_core.training.families import CONSISTENCY, FAMILIES, VAE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "generators.md"


def rows_of_the_page() -> list[list[str]]:
    table = PAGE.read_text("utf-8").split("| system | road | IN |")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def parsed(system: System):
    return build_parser().parse_args(shlex.split(system.command)[3:])


@pytest.mark.repository
def test_the_docs_name_the_same_systems_by_the_same_roads() -> None:
    rows = [(name, road, source.strip("`")) for name, road, source, _, _ in rows_of_the_page()]
    ours = [(s.name, s.road, s.source) for s in SYSTEMS]
    assert rows == ours


@pytest.mark.repository
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_the_docs_settings_are_those_of_the_commands_preset(system: System) -> None:
    settings = next(row[3] for row in rows_of_the_page() if row[0] == system.name)
    if system.preset is None:
        assert settings == "illegible: sweep"
        return
    words = shlex.split(re.search(r"`(.*)`", settings)[1])
    written = boosting(build_parser().parse_args(["boost", "in", "out", *words]), {})
    config = boosting(parsed(system), {})
    assert (written.eps, written.steps) == (pytest.approx(config.eps), config.steps)
    assert written.alpha == pytest.approx(config.alpha, abs=1e-4)
    assert system.table.split(" Table ")[0] == PAPER_PRESETS[system.preset].source[:2]


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_every_command_is_understood_and_names_what_there_is(system: System) -> None:
    options = parsed(system)
    assert system.road in ROADS
    if system.family is not None:
        assert system.family in {*FAMILIES, VAE, CONSISTENCY}
    if system.road == TRAINED:
        assert options.source.removeprefix("generator:") in embedded_generators()
    elif system.road == PIPELINE:
        assert options.source.removeprefix("generator:") in HUB_PIPELINES


def test_every_paper_row_and_every_family_has_a_system() -> None:
    assert {*FAMILIES, VAE, CONSISTENCY} == {system.family for system in SYSTEMS} - {None}
    rows = {name for name, preset in PAPER_PRESETS.items() if "Table" in preset.source}
    assert rows == {system.preset for system in SYSTEMS} - {None}
