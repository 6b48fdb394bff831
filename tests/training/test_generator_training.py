"""Every family's losses are their formulas, and its training resumes, samples what it exports and stays bounded."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from small_data import soft_pictures
from torch import Tensor, nn

from bigroc_core.generators.registry import load_generator
from bigroc_core.images.splits import Splits
from bigroc_core.training.augmentation import DIFFERENTIABLE, differentiable
from bigroc_core.training.critics import Critic, ResNetBackbone
from bigroc_core.training.families import FAMILIES, VAE, build_critic
from bigroc_core.training.gan_losses import (
    ADVERSARIAL,
    evidence_lower_bound,
    gradient_penalty,
    infonce,
    rotated,
)
from bigroc_core.training.generator import GeneratorRecipe, train_generator


@pytest.fixture
def splits() -> Splits:
    return soft_pictures()


def test_adversarial_losses_are_their_formulas() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.25])
    hinge, saturating, wasserstein = (ADVERSARIAL[name] for name in ("hinge", "non-saturating", "wasserstein"))
    assert hinge.discriminator(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1.25) / 2)
    assert hinge.generator(fake).item() == pytest.approx(2.75 / 2)

    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    expected = -sum(math.log(sigmoid(z)) for z in (2, 0.5, -1)) / 3
    expected -= sum(math.log(1 - sigmoid(z)) for z in (-3, 0.25)) / 2
    assert saturating.discriminator(real, fake).item() == pytest.approx(expected)
    assert saturating.generator(fake).item() == pytest.approx(-sum(math.log(sigmoid(z)) for z in (-3, 0.25)) / 2)
    assert wasserstein.discriminator(real, fake).item() == pytest.approx(-2.75 / 2 - 1.5 / 3)
    assert wasserstein.generator(fake).item() == pytest.approx(2.75 / 2)


def test_gradient_penalty_of_a_known_critic() -> None:
    # D(x) = ½‖x‖² has the gradient x, so the penalty is (‖x̂‖ - 1)².
    real, fake, mix = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4), torch.rand(5)
    found = gradient_penalty(lambda x: 0.5 * x.square().flatten(1).sum(1), real, fake, mix)
    between = mix.view(-1, 1, 1, 1) * real + (1 - mix.view(-1, 1, 1, 1)) * fake
    assert found.item() == pytest.approx((between.flatten(1).norm(dim=1) - 1).square().mean().item(), rel=1e-5)
    # A linear critic's penalty moves its weights towards norm one.
    weight = nn.Parameter(torch.full((48,), 0.5))
    gradient_penalty(lambda x: x.flatten(1) @ weight, real, fake, mix).backward()
    assert weight.grad is not None
    assert bool((weight.grad > 0).all())


def test_quarters_are_turned_by_quarter_turns() -> None:
    images = torch.rand(8, 3, 6, 6)
    turned, turns = rotated(images)
    assert turns.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    for image, back, turn in zip(images, turned, turns.tolist(), strict=True):
        assert torch.equal(torch.rot90(back, -turn, (1, 2)), image)


def test_infonce_is_its_definition() -> None:
    local, pooled = torch.randn(4, 5, 3), torch.randn(4, 5)
    losses = []
    for i, place in itertools.product(range(4), range(3)):
        own = math.exp(float(pooled[i] @ local[i, :, place]))
        others = sum(math.exp(float(pooled[i] @ local[j, :, other])) for j in range(4) for other in range(3) if j != i)
        losses.append(-math.log(own / (own + others)))
    assert infonce(local, pooled).item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_evidence_lower_bound_is_its_definition() -> None:
    images, decoded = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    mean, log_variance = torch.randn(2, 6), torch.randn(2, 6)
    latent = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(latent, torch.distributions.Normal(0.0, 1.0)).sum(1)
    pixels = torch.distributions.Normal(decoded, 0.4)
    constant = 48 * math.log(0.4 * math.sqrt(2 * math.pi))
    expected = (-pixels.log_prob(images).flatten(1).sum(1) - constant + divergence).mean()
    found = evidence_lower_bound(images, decoded, mean, log_variance, 0.4)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_differentiable_augmentation_repeats_and_lets_gradients_through() -> None:
    images = torch.rand(6, 3, 32, 32, requires_grad=True)
    for name in DIFFERENTIABLE:
        first = differentiable(images, (name,), torch.Generator().manual_seed(0))
        again = differentiable(images, (name,), torch.Generator().manual_seed(0))
        assert torch.equal(first, again)
        assert not torch.equal(first, images)
        (gradient,) = torch.autograd.grad(first.sum(), images)
        # Every image is still seen in part, whatever its hole or shift.
        assert bool((gradient.flatten(1).abs().sum(1) > 0).all()) or name == "color"
    hole = differentiable(torch.ones(200, 1, 32, 32), ("cutout",), torch.Generator().manual_seed(0))
    zeros = (hole == 0).flatten(1).sum(1)
    assert zeros.max() == 16 * 16
    assert 0 < zeros.min() < 16 * 16
    shifted = differentiable(torch.ones(200, 1, 32, 32), ("translation",), torch.Generator().manual_seed(0))
    rows = (shifted[:, 0].sum(2) == 0).sum(1)
    assert set(rows.tolist()) == {0, 1, 2, 3, 4}


def largest_singular_value(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.flatten(1), 2))


def test_a_spectral_critic_is_bounded_and_wgans_judges_each_image_alone() -> None:
    torch.manual_seed(0)
    critic = build_critic(FAMILIES["sngan"], 8, 0, auxiliary=False)
    for _ in range(30):
        critic(torch.randn(4, 3, 32, 32))
    critic.eval()
    for module in critic.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert largest_singular_value(module.weight.detach()) < 1.1
    plain = build_critic(FAMILIES["wgan-gp"], 8, 0, auxiliary=False)
    images = torch.randn(5, 3, 32, 32)
    torch.testing.assert_close(plain(images).realism[:2], plain(images[:2]).realism, rtol=1e-4, atol=1e-5)


def test_heads_are_there_when_asked_for() -> None:
    critic = Critic(ResNetBackbone(8), classes=3, auxiliary=True, turns=True, infomax=16)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    verdict = critic(images, labels)
    assert verdict.realism.shape == (4,)
    assert verdict.class_logits.shape == (4, 3)
    assert verdict.turn_logits.shape == (4, 4)
    assert verdict.local.shape == (4, 16, 64)
    assert verdict.pooled.shape == (4, 16)
    # The projection head adds what the label says.
    other = critic(images, torch.tensor([1, 1, 2, 0])).realism
    assert not torch.isclose(other[0], verdict.realism[0], rtol=0, atol=1e-6)


def recipe(family: str, name: str = "tiny", steps: int = 3) -> GeneratorRecipe:
    return GeneratorRecipe(
        name=name,
        family=family,
        arguments={"width": 4, "latent": 8},
        discriminator_width=8,
        steps=steps,
        batch_size=8,
        auxiliary=0.1 if family == "cgan" else 0.0,
        precision="fp32",
    )


class Killed(Exception):
    pass


@pytest.mark.parametrize("family", [*FAMILIES, VAE])
def test_training_resumes_and_exports_what_it_samples(
    splits: Splits, tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train_generator(recipe(family), splits, tmp_path / "whole", "train", save_minutes=1e-9)
    loaded = load_generator(tmp_path / "whole" / "tiny.safetensors")
    images, labels = loaded.sample(5, seed=1)
    expected, _ = trained.sample(5, seed=1)
    # Weights are stored as fp16.
    assert (images - expected).abs().max() < 0.01
    assert bool(torch.isfinite(images).all())
    assert (labels is not None) == (family in FAMILIES and FAMILIES[family].conditional)
    assert loaded.card.training["command"] == "train"
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text("utf-8").splitlines()]
    assert all(math.isfinite(value) for line in log for value in line.values())
    # Killed after its second step, it goes on to the same images.
    from bigroc_core.training import run as module

    write, written = module.save_state, []

    def dies(path: Path, state: dict[str, object]) -> None:
        write(path, state)
        written.append(path)
        if len(written) == 2:
            raise Killed

    monkeypatch.setattr(module, "save_state", dies)
    with pytest.raises(Killed):
        train_generator(recipe(family), splits, tmp_path / "killed", "train", save_minutes=1e-9)
    monkeypatch.setattr(module, "save_state", write)
    resumed = train_generator(recipe(family), splits, tmp_path / "killed", "train", save_minutes=1e-9)
    torch.testing.assert_close(resumed.sample(5, seed=1)[0], expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="another recipe"):
        train_generator(recipe(family, "other"), splits, tmp_path / "killed", "train")


def test_a_run_that_has_ended_goes_on_to_more_steps_and_its_card_says_so(splits: Splits, tmp_path: Path) -> None:
    short = train_generator(recipe("cgan", steps=2), splits, tmp_path, "train")
    long = train_generator(recipe("cgan", steps=4), splits, tmp_path, "train more")
    assert not torch.equal(short.sample(5, seed=1)[0], long.sample(5, seed=1)[0])
    card = load_generator(tmp_path / "tiny.safetensors").card
    assert card.training["ended_before"] == [2]
    assert card.training["recipe"]["steps"] == 4
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in log] == [2, 4]
    with pytest.raises(ValueError, match="another recipe"):  # nor back, nor on from the middle
        train_generator(recipe("cgan", steps=3), splits, tmp_path, "train")


def test_an_unfinished_run_does_not_become_a_longer_one(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bigroc_core.training import run as module

    write = module.save_state

    def dies(path: Path, state: dict[str, object]) -> None:
        write(path, state)
        raise Killed

    monkeypatch.setattr(module, "save_state", dies)
    with pytest.raises(Killed):
        train_generator(recipe("cgan", steps=3), splits, tmp_path, "train", save_minutes=1e-9)
    with pytest.raises(ValueError, match="another recipe"):
        train_generator(recipe("cgan", steps=4), splits, tmp_path, "train")


def test_an_unknown_family_is_refused(splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="family must be one of dcgan, cgan, wgan-gp"):
        train_generator(recipe("stylegan"), splits, tmp_path / "run", "train")
    assert not (tmp_path / "run").exists()
