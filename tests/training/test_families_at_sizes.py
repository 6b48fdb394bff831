"""Generators of 64 and 128 pixels, and of any size for `seeds`: what is trained and sampled has the data's size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_own_data import COLOURS, write_classes
from torch.nn import functional as F

from bigroc_core.__main__ import main
from bigroc_core.cards import Card
from bigroc_core.generators.registry import build_generator, load_generator
from bigroc_core.generators.seeds import DIMENSIONS, GRAIN, ROUNDING, SeedGenerator, shrunk
from bigroc_core.training.consistency import consistency_scheduler, noise_levels, timesteps_of
from bigroc_core.training.data import load_data
from bigroc_core.training.families import FAMILIES, build_critic


def untrained(architecture: str, **arguments: int) -> torch.nn.Module:
    return build_generator(Card(name="n", kind="generator", architecture=architecture, arguments=arguments)).eval()


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize("architecture", ["dcgan", "resnet32", "biggan"])
def test_networks_make_images_of_their_size_and_of_32_unless_told(architecture: str, side: int) -> None:
    network = untrained(architecture, width=2, latent=4, classes=3, size=side)
    assert network(torch.randn(2, 4), torch.tensor([0, 2])).shape == (2, 3, side, side)
    if side == 32:
        unsaid = untrained(architecture, width=2, latent=4, classes=3)
        assert list(unsaid.state_dict()) == list(network.state_dict())
    for wrong in (48, 16, 256):
        with pytest.raises(ValueError, match="must be 32, 64 or 128"):
            untrained(architecture, size=wrong)


@pytest.mark.parametrize("side", [32, 64, 128])
@pytest.mark.parametrize("family", ["dcgan", "infomax-gan"])
def test_critics_compare_local_features_at_8_by_8_places_whatever_the_size(family: str, side: int) -> None:
    critic = build_critic(FAMILIES[family], 4, 0, False, side)
    local, final = critic.backbone(torch.randn(2, 3, side, side))
    assert local.shape == (2, critic.backbone.channels, 8, 8)
    assert final.shape[1] == critic.backbone.channels
    assert critic(torch.randn(2, 3, side, side)).realism.shape == (2,)


def test_the_second_of_two_consistency_steps_starts_where_the_paper_has_it() -> None:
    levels = noise_levels(consistency_scheduler(), 200).flip(0)
    for side, sigma in ((32, 0.821), (64, 1.526)):  # iCT, Section 4: two-step samples of CIFAR-10 and ImageNet 64×64
        found = levels[timesteps_of(side)["2"][0]]
        assert abs(found - sigma) == (levels - sigma).abs().min()


# -------------------------------------------------------------------------------------------------------------- seeds


def test_seeds_have_the_means_and_covariances_of_their_classes() -> None:
    draw = torch.Generator().manual_seed(0)
    base = torch.rand((2, 600, 6), generator=draw) @ torch.rand((2, 6, DIMENSIONS), generator=draw) / 12 + 0.25
    network = SeedGenerator(classes=2, size=GRAIN)
    for label, colours in enumerate(base):
        network.fit(label, colours)
    for label, colours in enumerate(base.double()):
        labels = torch.full((DIMENSIONS,), label)
        middle = (network(torch.zeros(1, DIMENSIONS), labels[:1]).double() + 1) / 2
        torch.testing.assert_close(middle.flatten(), colours.mean(0), rtol=0, atol=1e-6)
        # What each latent adds, by itself: together the square root of the covariance.
        added = network(torch.eye(DIMENSIONS), labels).double() / 2 + 0.5 - middle
        found = added.flatten(1).T @ added.flatten(1)
        expected = colours.T.cov(correction=0) + ROUNDING * torch.eye(DIMENSIONS)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_class_of_one_image_is_that_image_up_to_rounding() -> None:
    image = torch.rand(1, 3, GRAIN, GRAIN, generator=torch.Generator().manual_seed(1))
    network = SeedGenerator(classes=1, size=16)
    network.fit(0, shrunk(image))
    found = network(torch.zeros(1, DIMENSIONS), torch.tensor([0]))
    torch.testing.assert_close((found + 1) / 2, F.interpolate(image, (16, 16), mode="bilinear"), rtol=0, atol=1e-6)
    noisy = network(torch.randn(50, DIMENSIONS, generator=torch.Generator().manual_seed(2)), torch.zeros(50).long())
    assert (noisy - found).abs().max() < 5 * 2 / 255


def test_seeds_of_a_folder_of_ones_own_look_like_its_classes_and_images_depend_on_their_number_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_classes(tmp_path / "mine", dict.fromkeys(COLOURS, 20), side=(48, 48))
    assert main(["train", "generator", "--family", "seeds", "--name", "mine-seeds", "--data", str(folder)]) == 0
    run = tmp_path / "runs" / "mine-seeds"
    generator = load_generator(run / "mine-seeds.safetensors")
    assert generator.classes == ("brick", "grass", "sky")
    assert generator.card.input_size == (48, 48)
    assert (run / "sheet.png").is_file()
    assert (run / "mine-seeds.safetensors").stat().st_size < 2**20
    images, labels = generator.sample(30, seed=3)
    part, _ = generator.sample(7, seed=3, start=11)
    assert torch.equal(part, images[11:18])
    assert labels is not None
    data = load_data(folder)
    for label in range(3):
        own = data.train.floats(data.train.labels == label).mean((0, 2, 3))
        torch.testing.assert_close(images[labels == label].mean((0, 2, 3)), own, rtol=0, atol=0.03)
    recipe = json.loads((run / "mine-seeds.json").read_text("utf-8"))["training"]["recipe"]
    assert recipe["size"] == [48, 48]
    assert "steps" not in recipe


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("own") / "mine", dict.fromkeys(COLOURS, 8), side=(72, 64))


@pytest.mark.parametrize("family", ["vae", "cgan", "biggan", "consistency"])
def test_families_train_on_data_of_ones_own_at_64_pixels(
    own: Path, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unet = '{"block_out_channels": [8, 8], "norm_num_groups": 4}'
    words = ["--arguments", unet if family == "consistency" else '{"width": 2, "latent": 4}', "--steps", "2"]
    words += ["--batch-size", "4", "--discriminator-width", "2", "--precision", "fp32"]
    assert (
        main(["train", "generator", "--family", family, "--name", "g", "--data", str(own), "--size", "64", *words]) == 0
    )
    generator = load_generator(tmp_path / "runs" / "g" / ("g" if family == "consistency" else "g.safetensors"))
    assert generator.card.input_size == (64, 64)
    assert generator.classes == (() if family == "vae" else ("brick", "grass", "sky"))
    images, _ = generator.sample(3)
    assert images.shape == (3, 3, 64, 64)
    assert bool(torch.isfinite(images).all())


def test_sizes_that_a_family_does_not_make_are_refused_with_those_that_it_does(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["train", "generator", "--name", "g", "--data", str(own), "--run", str(run), "--family"]
    for family in ("dcgan", "vae", "consistency", "sngan"):
        assert main([*command, family, "--size", "48"]) == 2
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{family} makes images of 32, 64 or 128 pixels a side, and the data are at 48" in told
    small = ["--size", "64", "--batch-size", "4", "--precision", "fp32", "--arguments"]
    for arguments, reason in (
        ('{"size": 32}', "--arguments cannot set size"),
        ('{"depth": 2}', "cannot be built with"),
    ):
        assert main([*command, "dcgan", *small, arguments]) == 2
        assert reason in capsys.readouterr().err
    assert not run.exists()
