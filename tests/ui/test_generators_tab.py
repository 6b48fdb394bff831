"""The Generators tab: its numbers are the cards' and the networks', its samples the generators' own."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

import bigroc_core as bc
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.generators.systems import SYSTEMS
from bigroc_core.images import to_uint8
from bigroc_core.ui import generators_tab
from bigroc_core.ui.generators_tab import COLUMNS, ROWS, cards, describe, generators, quality, sheet_of, systems

NAMES = list(embedded_generators())


@pytest.mark.parametrize("name", NAMES)
def test_a_sheet_is_the_first_samples_of_seed_0_row_by_row(name: str) -> None:
    sheet = sheet_of(name)
    generator = bc.load_generator(name)
    labels = [i % sheet.columns for i in range(ROWS * sheet.columns)] if generator.classes else None
    images = to_uint8(generator.sample(ROWS * sheet.columns, labels, seed=0)[0])
    side = generator.card.input_size[0]
    assert sheet.pixels.shape == (ROWS * side, sheet.columns * side, 3)
    for i, image in enumerate(images):
        row, column = divmod(i, sheet.columns)
        assert np.array_equal(sheet.pixels[side * row : side * (row + 1), side * column : side * (column + 1)], image)
    assert sheet.columns == (len(generator.classes) or COLUMNS)


@pytest.mark.parametrize("name", NAMES)
def test_quality_is_the_cards_own(name: str) -> None:
    card = embedded_generators()[name]
    found = quality(card)
    if "evaluate" not in card.metrics:
        assert found is None
        return
    assert found is not None
    rows = card.metrics["evaluate"]["rows"]
    assert found["before"] == rows[0]["scores"][0]["mean"]
    assert found["after"] == rows[1]["scores"][0]["mean"]
    assert found["gain"] == rows[1]["scores"][0]["gain"]["mean"]
    assert found["features"] == card.metrics["evaluate"]["distances_and_errors_of"]


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"evaluate": {}},
        {"evaluate": None},
        {"evaluate": {"rows": []}},
        {"evaluate": {"rows": [{"scores": []}] * 2}},
    ],
)
def test_what_was_not_measured_is_said(metrics: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    card = dataclasses.replace(embedded_generators()[NAMES[0]], metrics=metrics, presets={}, training={})
    assert quality(card) is None
    assert describe(card)["stands_for"] is None
    monkeypatch.setattr(generators_tab, "generator_cards", lambda: {card.name: card})
    page = cards(drawn=False)
    assert "not measured" in page
    assert "not known" in page


def test_drawn_and_empty_cards_differ_in_what_was_computed_alone() -> None:
    empty, drawn = cards(drawn=False), cards(drawn=True)
    assert empty.count("<img") == 0
    assert drawn.count("<img") == drawn.count('class="maker"') == empty.count('class="maker"') == len(NAMES)
    assert empty.count("<small>") == drawn.count("<small>")
    # Pixels in base64 may spell anything.
    assert "FID" not in re.sub(r'src="[^"]*"', "", drawn)


def test_a_checkpoint_that_cannot_be_read_leaves_the_others_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    good = embedded_generators()[NAMES[0]]
    broken = dataclasses.replace(good, name="<broken>")
    monkeypatch.setattr(generators_tab, "generator_cards", lambda: {"<broken>": broken, good.name: good})
    monkeypatch.setattr(generators_tab, "checkpoint_bytes", lambda card: 0)
    page = cards(drawn=True)
    assert "there is no generator &#x27;&lt;broken&gt;&#x27;" in page
    assert page.count("<img") == 1


def test_the_list_for_programs_has_every_generator() -> None:
    listed = {entry["name"]: entry for entry in generators()}
    assert set(listed) == set(NAMES)
    for name, entry in listed.items():
        weights = bc.load_generator(name).sampler.network.parameters()
        assert entry["parameters"] == sum(weight.numel() for weight in weights)
        assert entry["macs"] > 0
        assert entry["checkpoint_bytes"] > entry["parameters"]


def test_every_system_stands_in_the_table_with_a_command() -> None:
    table = systems()
    assert table.count("<code>") == len(SYSTEMS)
    for system in SYSTEMS:
        assert f'<th scope="row">{system.name}' in table
