"""The papers' settings, against what they print, in [0, 1] units."""

from __future__ import annotations

from pathlib import Path

import pytest

from bigroc_core.__main__ import build_parser, main
from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import Card
from bigroc_core.cli.options import boosting, preset_of
from bigroc_core.presets import PAPER_PRESETS, paper_preset, settings_of


@pytest.mark.parametrize(
    ("name", "eps", "steps", "alpha"),
    [
        ("p1-cgan", 2.5, 30, 2.5 / 30),
        ("p1-biggan", 0.5, 30, 0.5 / 30),
        ("p1-stylegan2-ada", 0.14, 30, 0.14 / 30),
        ("p1-ssgan", 1.5, 30, 0.05),
        ("p1-infomax-gan", 1.5, 30, 0.05),
        ("p1-cgan-pd", 1.5, 7, 1.5 * 1.5 / 7),
        ("p1-sn-resnet-cifar10", 1.8, 7, 1.5 * 1.8 / 7),
        ("p1-adm-g-256", 3.0, 7, 4.5 / 7),
        ("p2-ct-1", 10.0, 35, 0.1),
        ("p2-cd-2", 10.0, 7, 0.14),
        ("p2-biggan", 10.0, 15, 0.1),
    ],
)
def test_settings_are_the_papers_in_units_of_images_in_0_1(name: str, eps: float, steps: int, alpha: float) -> None:
    config = paper_preset(name).config
    assert (config.eps, config.steps) == (pytest.approx(eps), steps)
    assert config.alpha == pytest.approx(alpha)


def test_every_row_with_a_legible_radius_is_there() -> None:
    systems = {(preset.source[:2], preset.system.split(",")[0]) for preset in PAPER_PRESETS.values()}
    first = {"CGAN", "cGAN-PD", "BigGAN", "DiffAugment BigGAN", "StyleGAN2-ADA"}
    first |= {"WGAN-GP", "SNGAN", "InfoMax-GAN", "SSGAN"}
    second = {"Consistency training", "Consistency distillation", "ADM", "BigGAN", "iDDPM"}
    assert {("P1", name) for name in first} | {("P2", name) for name in second} <= systems


def test_rows_whose_classifier_saw_the_images_at_their_own_size_say_so() -> None:
    for name, preset in PAPER_PRESETS.items():
        assert settings_of(name).get("view") == (None if preset.size == 32 else "native")


def test_an_unknown_row_is_refused_with_the_names() -> None:
    with pytest.raises(ValueError, match="no paper preset 'p1-vae'; there are p1-cgan, "):
        settings_of("p1-vae")


def test_the_list_shows_both_scales(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("p1-stylegan2-ada"))
    assert line.split()[6:8] == ["0.14", "0.28"]
    assert line.endswith("0.28 on [-1, 1]")


def test_a_row_sets_what_the_command_line_leaves_open() -> None:
    def config(*more: str) -> BoostConfig:
        options = build_parser().parse_args(["boost", "in", "out", "--preset", "p2-cd-2", *more])
        return boosting(options, {"eps": 1.2, "steps": 10, "loss": "bce"})  # the generator's own, which it replaces

    assert config() == BoostConfig(eps=10, steps=7, step_size=0.14)
    # A row's step size belongs to its ε and steps.
    assert config("--eps", "0.5") == BoostConfig(eps=0.5, steps=7)


def test_an_unknown_row_is_one_line_and_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["boost", "generator:cifar10-cgan", str(tmp_path / "b.npz"), "--preset", "p1-vae"]) == 2
    assert "no paper preset" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_card_has_a_preset_for_each_classifier_it_was_swept_with() -> None:
    found = {"default": {"eps": 1.0, "classifier": "cifar10-robust"}, "other": {"eps": 3.0, "classifier": "other"}}
    card = Card(name="g", kind="generator", architecture="dcgan", presets=found)
    assert preset_of(card) == preset_of(card, "cifar10-robust") == found["default"]
    assert preset_of(card, "other") == found["other"]
    assert preset_of(card, "unknown") == preset_of(None) == {}
