"""Published generators are read as downloaded and make the images that the original code makes.

make_published_checkpoints.py says how checkpoints of the original classes are made; they are too large to keep.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.generators.biggan import BigGANGenerator
from bigroc_core.generators.registry import load_generator
from bigroc_core.generators.resnet32 import ResNet32Generator

PUBLISHED = Path(os.environ.get("BIGROC_PUBLISHED_CHECKPOINTS", "/nowhere"))


def mimicry_file(path: Path, classes: int = 0) -> ResNet32Generator:
    """A small checkpoint as Mimicry saves one: weights, the optimiser's state, the step."""
    torch.manual_seed(0)
    network = ResNet32Generator(latent=16, width=8, classes=classes).eval()
    optimizer = torch.optim.Adam(network.parameters())
    torch.save(
        {
            "model_state_dict": network.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "global_step": 100000,
        },
        path,
    )
    return network


def biggan_file(path: Path) -> dict[str, Tensor]:
    """A small checkpoint as BigGAN's code saves one: raw weights beside the vectors of their power iteration."""
    torch.manual_seed(0)
    state = dict(BigGANGenerator(latent=16, width=2).state_dict())
    for key, weight in list(state.items()):
        if key.endswith(".weight") and ("conv" in key or key in ("linear.weight", "output_layer.2.weight")):
            state[key] = torch.randn_like(weight)
            layer = key.removesuffix("weight")
            state[f"{layer}u0"], state[f"{layer}sv0"] = torch.randn(1, len(weight)), torch.ones(1)
    torch.save(state, path)
    return state


@pytest.mark.parametrize("classes", [0, 10])
def test_mimicrys_checkpoints_are_told_by_their_names(tmp_path: Path, classes: int) -> None:
    network = mimicry_file(tmp_path / "netG_100000_steps.pth", classes)
    generator = load_generator(tmp_path / "netG_100000_steps.pth")
    assert (generator.card.architecture, generator.sampler.latent) == ("resnet32", 16)
    assert generator.classes == (CIFAR10_CLASSES if classes else ())
    assert ("taken as CIFAR-10's" in "; ".join(generator.notes)) == (classes == 10)  # the file does not say it
    latents = torch.randn(4, 16)
    labels = torch.arange(4) if classes else None
    assert torch.equal(generator.sampler.network(latents, labels), network(latents, labels))
    images, _ = generator.sample(3, seed=1)
    assert images.shape == (3, 3, 32, 32)


def test_biggans_weights_are_divided_by_their_spectral_norm(tmp_path: Path) -> None:
    state = biggan_file(tmp_path / "biggan-cifar10.pth")
    generator = load_generator(tmp_path / "biggan-cifar10.pth")
    assert (generator.card.architecture, generator.card.conditional) == ("biggan", True)
    folded = generator.sampler.network.state_dict()
    for key, raw in state.items():
        if key.removesuffix(".weight") + ".u0" in state and key.endswith(".weight"):
            # From a random vector one power iteration comes near the largest singular value, and never above it.
            largest = float(torch.linalg.matrix_norm(raw.flatten(1), 2))
            ratio = raw.flatten()[0] / folded[key].flatten()[0]
            assert 0.3 * largest < abs(float(ratio)) <= largest * (1 + 1e-5)
            torch.testing.assert_close(folded[key] * ratio, raw, rtol=1e-4, atol=1e-5)
        elif not key.endswith(("u0", "sv0")):
            assert torch.equal(folded[key], raw)


def test_a_step_of_biggan_is_what_its_code_computes(tmp_path: Path) -> None:
    state = biggan_file(tmp_path / "biggan.pth")
    u, weight = state["blocks.0.0.conv1.u0"], state["blocks.0.0.conv1.weight"]
    matrix = weight.flatten(1)
    v = F.normalize(u @ matrix)
    sigma = (v @ matrix.T @ F.normalize(v @ matrix.T).T).squeeze()
    folded = load_generator(tmp_path / "biggan.pth").sampler.network.state_dict()["blocks.0.0.conv1.weight"]
    torch.testing.assert_close(folded, weight / sigma, rtol=1e-5, atol=1e-6)


def test_a_card_beside_a_published_checkpoint_says_that_its_classes_are_cifar10s(tmp_path: Path) -> None:
    mimicry_file(tmp_path / "netG.pth", classes=10)
    card = load_generator(tmp_path / "netG.pth").card
    (tmp_path / "netG.json").write_text(card.to_json(), "utf-8")
    assert not load_generator(tmp_path / "netG.pth").notes


def test_a_card_beside_a_published_checkpoint_names_its_classes(tmp_path: Path) -> None:
    mimicry_file(tmp_path / "netG.pth", classes=3)
    assert load_generator(tmp_path / "netG.pth").classes == ("class 0", "class 1", "class 2")
    card = Card(
        name="mine",
        kind="generator",
        architecture="resnet32",
        classes=("a", "b", "c"),
        conditional=True,
        presets={"default": {"eps": 1.5}},
    )
    (tmp_path / "netG.json").write_text(card.to_json(), "utf-8")
    generator = load_generator(tmp_path / "netG.pth")
    assert (generator.card.name, generator.classes) == ("mine", ("a", "b", "c"))
    assert generator.card.presets == card.presets
    (tmp_path / "netG.json").write_text(json.dumps({**json.loads(card.to_json()), "classes": ["a", "b"]}), "utf-8")
    with pytest.raises(ValueError, match="describes another checkpoint"):
        load_generator(tmp_path / "netG.pth")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda right, _: {"G_ema": right, "step": 7},
        lambda right, wrong: {"G": wrong, "G_ema": right},
        lambda right, _: {f"module.{key}": value for key, value in right.items()},
        lambda right, _: {"generator": {f"_orig_mod.{key}": value for key, value in right.items()}, "D": {}},
        lambda right, wrong: {"params": wrong, "params_ema": right},
    ],
    ids=["G_ema alone", "G beside G_ema", "DataParallel", "compiled", "params_ema"],
)
def test_generators_are_found_under_what_trainers_wrap_around_them(tmp_path: Path, wrap) -> None:
    torch.manual_seed(0)
    right, wrong = (ResNet32Generator(latent=16, width=8, classes=3).eval() for _ in range(2))
    torch.save(wrap(right.state_dict(), wrong.state_dict()), tmp_path / "netG.pth")
    generator = load_generator(tmp_path / "netG.pth")
    latents, labels = torch.randn(2, 16), torch.tensor([0, 2])
    assert torch.equal(generator.sampler.network(latents, labels), right(latents, labels))
    # Said where another network's weights lie beside the averaged ones.
    assert ("averaged weights" in "; ".join(generator.notes)) == ({"G", "params"} & set(wrap({}, {})) != set())


def broken(path: Path, kind: str) -> str:
    state = dict(ResNet32Generator(16, 8).state_dict())
    if kind == "missing":
        del state["block3.c2.weight"]
        torch.save(state, path)
        return r"1 missing \(block3.c2.weight\)"
    if kind == "extra":
        torch.save({**state, "block5.c1.weight": torch.zeros(1)}, path)
        return r"1 unexpected \(block5.c1.weight\)"
    if kind == "family":
        torch.save(torch.nn.Linear(3, 3).state_dict(), path)
        return "holds no generator known here .*Mimicry.*BigGAN"
    if kind == "attention":
        biggan = dict(BigGANGenerator(latent=16, width=2).state_dict())
        torch.save({**biggan, "blocks.1.1.theta.weight": torch.zeros(1)}, path)
        return "attention"
    torch.save(_Bomb(path.with_name("exploded")), path)
    return "refused"


class _Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["missing", "extra", "family", "attention", "bomb"])
def test_unfit_checkpoints_are_refused_with_the_reason(tmp_path: Path, kind: str) -> None:
    message = broken(tmp_path / "netG.pth", kind)
    with pytest.raises(ValueError, match=message):
        load_generator(tmp_path / "netG.pth")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="BIGROC_PUBLISHED_CHECKPOINTS names no folder")
def test_the_original_classes_images_are_made() -> None:
    paths = sorted(PUBLISHED.glob("*.pth"))
    assert paths
    for path in paths:
        generator = load_generator(path)
        with np.load(path.with_suffix(".npz")) as arrays:
            labels = torch.from_numpy(arrays["labels"]) if "labels" in arrays else None
            images = generator.sampler.network(torch.from_numpy(arrays["latents"]), labels)
            difference = float((images - torch.from_numpy(arrays["images"])).abs().max())
            assert float(np.std(arrays["images"])) > 0.05
        print(f"{path.name}: largest difference {difference:.1e}")
        assert difference < 1e-5
