"""The tables of what an outside network sees are the cards' numbers, and are put in the place of those of before."""

from __future__ import annotations

import dataclasses
import json

import pytest

from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.cli.outside_table import HEADING, between_marks, controls_table, gains_table, section, with_section
from bigroc_core.evaluation import ERRORS, Evaluation, Metric, Row
from bigroc_core.evaluation.comparison import RANDOM_DIRECTION

FD, KID = Metric("fd-lite0", "CIFAR-10 train", False), Metric("kid-lite0", "CIFAR-10 train", False)
DISTANCE, DIVERSITY = Metric("distance", "CIFAR-10 train", False), Metric("diversity-lite0", "", True)


def row(name: str, scale: float, wrong: float) -> Row:
    def both(value: float) -> tuple[float, float]:
        return value * scale, value * scale + 0.02

    scores = {DISTANCE: both(1.0), ERRORS: (wrong, wrong), FD: both(30.0), KID: both(0.02), DIVERSITY: both(14.0)}
    return Row(name, scores, (1.0, 1.0))


def card(floor: bool = True) -> Card:
    floors = Row("real images, CIFAR-10 test", {FD: (10.0, 10.0), KID: (0.0, 0.0), DISTANCE: (0.2, 0.2)}, ())
    found = Evaluation(
        "generator:cifar10-cgan",
        "cifar10-judge",
        "",
        2000,
        (0, 1),
        BoostConfig(eps=2.5, steps=3),
        (
            row("as they came", 1.0, 0.2),
            row("boosted, cifar10-robust", 0.6, 0.05),
            row("boosted, cifar10-standard, same ‖δ‖", 0.9, 0.25),
            row(RANDOM_DIRECTION, 1.5, 0.3),
        ),
        floors if floor else None,
    )
    told = {"classifier": "cifar10-robust", **json.loads(json.dumps(found.to_dict())), "command": "evaluate this"}
    return Card(
        name="cifar10-cgan",
        kind="generator",
        architecture="dcgan",
        arguments={},
        classes=CIFAR10_CLASSES,
        metrics={"sweep": {}, "evaluate": told},
    )


def test_a_line_says_what_the_card_says() -> None:
    *_, line = gains_table({"cifar10-cgan": card()})
    # (30 - 18) of (30 - 10), in per cent, and in the judge's features, of two seeds, 40 of 80 and 40 of 82.
    for part in (
        "`cifar10-robust`",
        "2.5, 3",
        "**60.0 ± 0.0 %**",
        "49.4 ± 0.9 %",
        "80.0 ± 0.0 % → 95.0 ± 0.0 %",
        "33.2",
    ):
        assert part in line
    *_, controls = controls_table({"cifar10-cgan": card()})
    assert "15.0 ± 0.0 %" in controls
    assert "-75.0" in controls
    assert "70.0 ± 0.0 %" in controls


def test_cards_without_such_numbers_have_no_line() -> None:
    assert section({"cifar10-cgan": card(floor=False)}) == []
    other = dataclasses.replace(card(), metrics={})
    assert section({"cifar10-cgan": other}) == []


def test_a_section_replaces_the_one_of_before_and_nothing_else() -> None:
    lines = section({"cifar10-cgan": card()})
    assert "evaluate this" in lines
    page = "# Results\n\n## One\n\nfirst\n\n## Two\n\nsecond\n"
    added = with_section(page, lines)
    assert added.startswith(page.rstrip())
    assert added.count(HEADING) == 1
    assert with_section(added, lines) == added
    middle = f"# Results\n\n{HEADING}\n\nold numbers\n\n## Two\n\nsecond\n"
    changed = with_section(middle, lines)
    assert "old numbers" not in changed
    assert changed.endswith("## Two\n\nsecond\n")
    assert with_section(changed, lines) == changed


def test_what_stands_between_marks_is_replaced() -> None:
    page = "before <!-- gains -->\nold\n<!-- /gains --> after"
    assert between_marks(page, "gains", ["| new |"]) == "before <!-- gains -->\n\n| new |\n\n<!-- /gains --> after"
    for wrong in ("no marks", "<!-- /gains --> <!-- gains -->", page + page):
        with pytest.raises(ValueError, match="has not one"):
            between_marks(wrong, "gains", [])
