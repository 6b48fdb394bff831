"""One step of training a generator: its family's losses for both networks, a VAE's, or a consistency model's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bigroc_core.cards import Card
from bigroc_core.generators.dcgan import DCGANGenerator
from bigroc_core.training.augmentation import differentiable
from bigroc_core.training.consistency import (
    ConsistencyFunction,
    consistency_loss,
    consistency_scheduler,
    discretisation,
    draw_intervals,
    noise_levels,
)
from bigroc_core.training.critics import Critic
from bigroc_core.training.families import CONSISTENCY, FAMILIES, VAE, Family, build_critic
from bigroc_core.training.gan_losses import ADVERSARIAL, evidence_lower_bound, gradient_penalty, infonce, rotated
from bigroc_core.training.recipes import GeneratorRecipe
from bigroc_core.training.run import Run


class CriticObjective(nn.Module):
    """A family's loss for its critic, as one call, so that data-parallel wrappers see every parameter's use."""

    def __init__(self, critic: Critic, family: Family, auxiliary: float) -> None:
        super().__init__()
        self.critic, self.family, self.auxiliary = critic, family, auxiliary

    def forward(
        self, real: Tensor, fake: Tensor, real_labels: Tensor | None, labels: Tensor | None, draws: torch.Generator
    ) -> Tensor:
        """The loss of real and generated images (N, 3, H, W) in [-1, 1] with their labels (N,) or None."""
        family = self.family
        seen = differentiable(torch.cat([real, fake]), family.augmentation, draws)
        both = torch.cat([real_labels, labels]) if real_labels is not None and labels is not None else None
        verdict = self.critic(seen.contiguous(memory_format=torch.channels_last), both)
        count = len(real)
        loss = ADVERSARIAL[family.loss].discriminator(*verdict.realism.split([count, len(fake)]))
        if self.auxiliary and verdict.class_logits is not None and real_labels is not None:
            loss = loss + self.auxiliary * F.cross_entropy(verdict.class_logits[:count], real_labels)
        if family.infomax:
            loss = loss + family.infomax * infonce(verdict.local[:count], verdict.pooled[:count])
        if family.turns[0]:
            turned, turns = rotated(real)
            loss = loss + family.turns[0] * F.cross_entropy(self.critic(turned).turn_logits, turns)
        if family.penalty:
            mix = torch.rand(count, generator=draws).to(real.device)
            with torch.autocast(real.device.type, enabled=False):
                penalty = gradient_penalty(lambda x: self.critic(x).realism, real, fake, mix)
            loss = loss + family.penalty * penalty
        return loss


def generator_objective(
    critic: Critic, family: Family, auxiliary: float, fake: Tensor, labels: Tensor | None, draws: torch.Generator
) -> Tensor:
    """A family's loss for its generator, of the images (N, 3, H, W) in [-1, 1] that it made."""
    verdict = critic(differentiable(fake, family.augmentation, draws), labels)
    loss = ADVERSARIAL[family.loss].generator(verdict.realism)
    if auxiliary and verdict.class_logits is not None and labels is not None:
        loss = loss + auxiliary * F.cross_entropy(verdict.class_logits, labels)
    if family.infomax and verdict.local is not None and verdict.pooled is not None:
        loss = loss + family.infomax * infonce(verdict.local, verdict.pooled)
    if family.turns[1]:
        turned, turns = rotated(fake)
        loss = loss + family.turns[1] * F.cross_entropy(critic(turned).turn_logits, turns)
    return loss


class VariationalAutoencoder(nn.Module):
    """Encoder and decoder (Kingma & Welling 2014) as one call: images -> loss."""

    def __init__(self, decoder: DCGANGenerator, width: int, deviation: float) -> None:
        super().__init__()
        self.decoder, self.deviation = decoder, deviation
        layers: list[nn.Module] = []
        inputs, outputs = 3, width
        for _ in range(decoder.ups):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs, outputs = outputs, 2 * outputs
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * 16, 2 * decoder.latent))

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Negative ELBO of images (N, 3, H, W) in [-1, 1]; noise: (N, latent), standard normal."""
        mean, log_variance = self.encoder(images).float().chunk(2, 1)
        decoded = self.decoder(mean + noise * (log_variance / 2).exp()).float()
        return evidence_lower_bound(images, decoded, mean, log_variance, self.deviation)


@dataclass(frozen=True)
class Step:
    """One step of training. take(draws, step): takes it and returns its losses by name. parts: what a resumed run
    needs. optimizers: with the learning rate of each at the start."""

    take: Callable[[torch.Generator, int], dict[str, Tensor]]
    parts: dict[str, Any]
    optimizers: tuple[tuple[torch.optim.Optimizer, float], ...]


RealBatch = Callable[[torch.Generator], tuple[Tensor, Tensor | None]]


def step_of(recipe: GeneratorRecipe, card: Card, generator: nn.Module, run: Run, real_batch: RealBatch) -> Step:
    """How a network of a family is trained one step further."""
    if recipe.family == CONSISTENCY:
        return _consistency_step(recipe, generator, run, real_batch)
    if recipe.family == VAE:
        return _vae_step(recipe, generator, run, real_batch)
    return _gan_step(recipe, card, generator, run, real_batch)


def _gan_step(recipe: GeneratorRecipe, card: Card, generator: nn.Module, run: Run, real_batch: RealBatch) -> Step:
    family, accelerator = FAMILIES[recipe.family], run.accelerator
    classes = len(card.classes)
    critic = build_critic(family, recipe.discriminator_width, classes, recipe.auxiliary > 0, card.input_size[0])
    critic = critic.to(run.device).to(memory_format=torch.channels_last)
    generator_steps: Any = torch.optim.Adam(generator.parameters(), lr=recipe.lr_generator, betas=family.betas)
    critic_steps: Any = torch.optim.Adam(critic.parameters(), lr=recipe.lr_discriminator, betas=family.betas)
    wrapped, objective, generator_steps, critic_steps = accelerator.prepare(
        generator, CriticObjective(critic, family, recipe.auxiliary), generator_steps, critic_steps
    )
    latent = int(generator.latent)  # type: ignore[arg-type]

    def noise(draws: torch.Generator) -> tuple[Tensor, Tensor | None]:
        latents = torch.randn(run.share, latent, generator=draws).to(run.device)
        if not classes:
            return latents, None
        return latents, torch.randint(0, classes, (run.share,), generator=draws).to(run.device)

    def take(draws: torch.Generator, _step: int) -> dict[str, Tensor]:
        for _ in range(family.critic_steps):
            real, real_labels = real_batch(draws)
            latents, labels = noise(draws)
            with accelerator.autocast():
                with torch.no_grad():
                    fake = wrapped(latents, labels).float()
                critic_loss = objective(real, fake, real_labels, labels, draws)
            critic_steps.zero_grad()
            accelerator.backward(critic_loss)
            critic_steps.step()
        latents, labels = noise(draws)
        critic.requires_grad_(False)
        with accelerator.autocast():
            fake = wrapped(latents, labels)
            generator_loss = generator_objective(critic, family, recipe.auxiliary, fake, labels, draws)
        generator_steps.zero_grad()
        accelerator.backward(generator_loss)
        generator_steps.step()
        critic.requires_grad_(True)
        return {"discriminator": critic_loss, "generator": generator_loss}

    parts = {"critic": critic, "generator_steps": generator_steps, "critic_steps": critic_steps}
    return Step(take, parts, ((generator_steps, recipe.lr_generator), (critic_steps, recipe.lr_discriminator)))


def _vae_step(recipe: GeneratorRecipe, generator: nn.Module, run: Run, real_batch: RealBatch) -> Step:
    assert isinstance(generator, DCGANGenerator)
    autoencoder = VariationalAutoencoder(generator, recipe.discriminator_width, recipe.deviation)
    autoencoder = autoencoder.to(run.device).to(memory_format=torch.channels_last)
    adam: Any = torch.optim.Adam(autoencoder.parameters(), lr=recipe.lr_generator)
    accelerator = run.accelerator
    wrapped, adam = accelerator.prepare(autoencoder, adam)

    def take(draws: torch.Generator, _step: int) -> dict[str, Tensor]:
        images, _ = real_batch(draws)
        noise = torch.randn(run.share, generator.latent, generator=draws).to(run.device)
        with accelerator.autocast():
            loss: Tensor = wrapped(images, noise)
        adam.zero_grad()
        accelerator.backward(loss)
        adam.step()
        return {"elbo": loss}

    return Step(take, {"encoder": autoencoder.encoder, "steps": adam}, ((adam, recipe.lr_generator),))


def _consistency_step(recipe: GeneratorRecipe, unet: nn.Module, run: Run, real_batch: RealBatch) -> Step:
    function = ConsistencyFunction(unet, consistency_scheduler())
    # The paper's choice; its rectified start stands in for a warm-up.
    optimizer: Any = torch.optim.RAdam(unet.parameters(), lr=recipe.lr_generator)
    accelerator = run.accelerator
    wrapped, optimizer = accelerator.prepare(function, optimizer)

    def take(draws: torch.Generator, step: int) -> dict[str, Tensor]:
        images, labels = real_batch(draws)
        noise = torch.randn(images.shape, generator=draws).to(images)
        levels = noise_levels(function.scheduler, discretisation(step, recipe.steps, *recipe.intervals))
        index = draw_intervals(levels, len(images), recipe.log_sigma, draws)
        ends = torch.stack([levels[index], levels[index + 1]]).to(images.device)
        with accelerator.autocast():
            loss = consistency_loss(wrapped, function, images, noise, ends, labels)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        return {"consistency": loss}

    return Step(take, {"optimizer": optimizer}, ((optimizer, recipe.lr_generator),))
