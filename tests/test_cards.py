"""Cards come back as they were written, and a bad one is named."""

from __future__ import annotations

import json

import pytest

from bigroc_core.cards import CIFAR10_CLASSES, Card, read_card
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.generators.registry import load_generator


@pytest.mark.parametrize("l0", [None, 1.5, (0.5, 2.0)])
def test_a_card_comes_back_equal(tmp_path, l0):
    card = Card(
        name="c",
        kind="classifier",
        architecture="resnet9",
        arguments={"width": 4},
        classes=("cat", "dog"),
        mean=(0.5, 0.4, 0.3),
        std=(0.2, 0.2, 0.2),
        training={"epochs": 3},
        l0=l0,
    )
    (tmp_path / "c.json").write_text(card.to_json(), "utf-8")
    assert read_card(tmp_path / "c.json") == card


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 3),
        ("classes", 10),
        ("classes", "cat"),
        ("classes", [1, 2]),
        ("input_size", 32),
        ("input_size", [32, 0]),
        ("mean", [0.5]),
        ("std", [1, 1, 0]),
        ("arguments", [4]),
        ("presets", None),
        ("l0", "high"),
        ("l0", -0.5),
        ("l0", 1e9),
        ("l0", float("nan")),
        ("l0", []),
        ("l0", [1.0, True]),
        ("colour", "red"),
        ("role", "boss"),
        ("robust", "yes"),
        ("sizes", "some"),
        ("l0", 10**17),
        ("input_size", [10**9, 10**9]),
        ("name", "😀" * 200),
        ("name", ""),
        ("name", "a\nb"),
    ],
)
def test_an_impossible_entry_is_named(tmp_path, key, value):
    entries = {"name": "c", "kind": "classifier", "architecture": "resnet9", key: value}
    (tmp_path / "c.json").write_text(json.dumps(entries), "utf-8")
    with pytest.raises(ValueError, match=key):
        read_card(tmp_path / "c.json")


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "c", "kind": "classifier", "architecture": "resnet9", "l0": ' + "9" * 400 + "}",
        '{"name": "c", "kind": "classifier", "architecture": "resnet9", "l0": ' + "9" * 9_000 + "}",
        '{"name": "c", "kind": "classifier", "architecture": "resnet9", "training": {"x": '
        + "[" * 60
        + "]" * 60
        + "}}",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"name": "c\\u0000", "kind": "classifier", "architecture": "resnet9"}',
        '{"name": "c", "kind": "classifier", "architecture": "resnet9", "title": "\\ud800"}',
        '{"name": "c", "kind": "classifier", "architecture": "resnet9", "training": {"\\udfff": 1}}',
        '{"name": "c", "kind": "classifier", "architecture": "resnet9", "mean": [1e999, 0, 0]}',
        '{"' + "k" * 5_000 + '": 1}',
        "[]",
        "",
        " " * 2_000_000,
    ],
    ids=range(13),
)
def test_hostile_text_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "c.json").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=r"c\.json") as refusal:
        read_card(tmp_path / "c.json")
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 1_000


def test_a_judge_marked_as_cards_had_it_is_still_one(tmp_path):
    entries = {"name": "c", "kind": "classifier", "architecture": "resnet9", "training": {"role": "judge"}}
    (tmp_path / "c.json").write_text(json.dumps(entries), "utf-8")
    assert read_card(tmp_path / "c.json").role == "judge"


def test_a_reference_per_class_must_be_one_of_every_class(tmp_path):
    entries = {"name": "c", "kind": "classifier", "architecture": "resnet9", "classes": ["cat", "dog"], "l0": [1, 2, 3]}
    (tmp_path / "c.json").write_text(json.dumps(entries), "utf-8")
    with pytest.raises(ValueError, match="l0: 3 values, not one per class"):
        read_card(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("kind", "architecture", "load"),
    [
        ("classifier", "resnet9", load_classifier),
        ("generator", "dcgan", load_generator),
    ],
)
@pytest.mark.parametrize("arguments", [{"breadth": 4}, {"width": -4}, {"width": "wide"}])
def test_arguments_that_a_network_does_not_take_are_named(tmp_path, kind, architecture, load, arguments):
    card = Card(name="c", kind=kind, architecture=architecture, arguments=arguments, classes=CIFAR10_CLASSES)
    (tmp_path / "c.json").write_text(card.to_json(), "utf-8")
    (tmp_path / "c.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be built with") as refusal:
        load(tmp_path / "c.safetensors")
    assert "\n" not in str(refusal.value)
