"""One vocabulary of options for a classifier, whichever command takes one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision

from bigroc_core.catalogue import models_of_a_run
from bigroc_core.cli.classifier_options import add_classifier, classifier_entry, classifier_of, given_options

ARCH = "shufflenet_v2_x0_5"


@pytest.fixture(autouse=True)
def as_in_a_command() -> Iterator[None]:
    """What a command adds to the known models is forgotten when it ends."""
    with models_of_a_run():
        yield


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_classifier(parser)
    return parser.parse_args(words)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(torchvision.models.get_model(ARCH, num_classes=3).state_dict(), path)
    return str(path)


def test_a_file_is_what_the_options_say(weights: str, tmp_path: Path) -> None:
    (tmp_path / "names").write_text("ant\nbee\ncat\n", "utf-8")
    for names in ("ant,bee,cat", str(tmp_path / "names")):
        options = parsed(
            *("--classifier", weights, "--arch", ARCH, "--num-classes", "3", "--class-names", names),
            *("--mean", "0.5,0.4,0.3", "--std", "0.2,0.3,0.4", "--input-size", "64x48", "--view", "native"),
        )
        card = classifier_of(options, "cpu").card
        assert (card.classes, card.mean, card.std) == (("ant", "bee", "cat"), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
        assert card.input_size == (64, 48)
        assert options.view == "native"
        entry = classifier_entry(options)
        assert (entry.name, entry.classes, entry.class_names) == ("net", 3, card.classes)
        assert set(given_options(options)) == {
            *("arch", "num_classes", "class_names", "mean", "std", "input_size", "view"),
        }


def test_without_options_it_is_the_robust_one_seen_as_its_card_says() -> None:
    options = parsed()
    assert (classifier_of(options, "cpu").card.name, options.view) == ("cifar10-robust", None)
    assert given_options(options) == {}
    assert parsed("--view", "96").view == 96


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mean", "1,2"), "mean must be three numbers"),
        (("--mean", "a,b,c"), "--mean must be three numbers"),
        (("--std", "1,1,0"), "std must be three positive numbers"),
        (("--input-size", "big"), "--input-size must be a side"),
        (("--input-size", "1x2x3"), "--input-size must be a side"),
        (("--num-classes", "7"), "has 10 classes, not the 7"),
        (("--class-names", "one"), "--class-names must be a file"),
        (("--class-names", "one,two"), "there are 2 class names"),
        (("--classifier", "a" * 300), "there is no classifier or file"),
        (("--classifier", "a\0b"), "there is no classifier or file"),
    ],
)
def test_what_cannot_be_is_one_line(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        classifier_of(parsed(*words), "cpu")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("view", ["wide", "0", "-3", "99999999999", "1.5"])
def test_a_view_is_input_native_or_a_side(view: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--view={view}")
    assert "must be input, native or a side in pixels" in capsys.readouterr().err
