"""Training of generators: networks, losses and augmentations of a family, a running average that is sampled."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from bigroc_core.cards import Card
from bigroc_core.generators.dcgan import DCGANGenerator
from bigroc_core.generators.registry import build_generator
from bigroc_core.generators.sampling import Generator, LatentSampler
from bigroc_core.images import to_uint8
from bigroc_core.training.augmentation import differentiable, random_flip
from bigroc_core.training.averaging import running_average
from bigroc_core.training.batches import share_of_batch
from bigroc_core.training.checkpoint import append_log, export, load_state, save_state
from bigroc_core.training.consistency import (
    INTERVALS,
    LOG_SIGMA,
    TIMESTEPS_OF,
    ConsistencyFunction,
    build_unet,
    consistency_generators,
    consistency_loss,
    consistency_scheduler,
    discretisation,
    draw_intervals,
    export_consistency,
    noise_levels,
)
from bigroc_core.training.critics import Critic
from bigroc_core.training.families import CONSISTENCY, FAMILIES, VAE, Family, build_critic
from bigroc_core.training.gan_losses import (
    ADVERSARIAL,
    evidence_lower_bound,
    gradient_penalty,
    infonce,
    rotated,
)
from bigroc_core.training.precision import fastest_precision
from bigroc_core.training.splits import Splits


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe:
    """How a generator is trained.

    family: one of FAMILIES, "vae" or "consistency". arguments: of the generator's network. discriminator_width: of the
    critic, or a VAE's encoder. auxiliary: weight of the auxiliary classifier's cross-entropy in both losses (Odena et
    al. 2017), conditional only. lr_generator, lr_discriminator: Adam's rates, constant for half of the run, then
    linear to a tenth. ema: decay of the running average that is sampled and shipped. deviation: σ of a VAE's pixels,
    which are in [-1, 1]. intervals: between a consistency model's noise levels, at the start and at the end;
    log_sigma: mean and deviation of ln σ as they are drawn.
    """

    name: str
    family: str
    arguments: dict[str, Any] = field(default_factory=dict)
    discriminator_width: int = 40
    steps: int = 10_000
    batch_size: int = 64
    lr_generator: float = 2e-4
    lr_discriminator: float = 4e-4
    auxiliary: float = 0.0
    deviation: float = 0.3
    ema: float = 0.999
    intervals: tuple[int, int] | None = None
    log_sigma: tuple[float, float] | None = None
    precision: str = field(default_factory=fastest_precision)
    seed: int = 0

    def entries(self) -> dict[str, Any]:
        """As states and cards hold it, without what plays no part in the family."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


def sample_sheet(
    generators: Sequence[Generator], path: Path, rows: int = 10, columns: int = 10, scale: int = 2
) -> None:
    """A grid of samples of seed 0; a column per class where conditional, each generator's rows below the other's."""
    each = rows // len(generators)
    drawn = torch.cat([generator.sample(each * columns, seed=0)[0] for generator in generators])
    pixels, rows = torch.from_numpy(to_uint8(drawn)), each * len(generators)
    grid = pixels.view(rows, columns, *pixels.shape[1:]).permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)
    sheet = Image.fromarray(grid.contiguous().numpy())
    sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(path)


class CriticObjective(nn.Module):
    """A family's loss for its critic, as one call, so that data-parallel wrappers see every parameter's use."""

    def __init__(self, critic: Critic, family: Family, auxiliary: float) -> None:
        super().__init__()
        self.critic, self.family, self.auxiliary = critic, family, auxiliary

    def forward(
        self, real: Tensor, fake: Tensor, real_labels: Tensor | None, labels: Tensor | None, draws: torch.Generator
    ) -> Tensor:
        """The loss of real and generated images (N, 3, 32, 32) in [-1, 1] with their labels (N,) or None."""
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
    """A family's loss for its generator, of the images (N, 3, 32, 32) in [-1, 1] that it made."""
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
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * width * 16, 2 * decoder.latent),
        )

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Negative ELBO of images (N, 3, 32, 32) in [-1, 1]; noise: (N, latent), standard normal."""
        mean, log_variance = self.encoder(images).float().chunk(2, 1)
        decoded = self.decoder(mean + noise * (log_variance / 2).exp()).float()
        return evidence_lower_bound(images, decoded, mean, log_variance, self.deviation)


def train_generator(
    recipe: GeneratorRecipe, splits: Splits, folder: Path, command: str, save_minutes: float = 3.0
) -> Generator:
    """Train by a recipe, in `folder`, resuming the run that lies there; returns the averaged generator as exported.

    Every `save_minutes`: folder/state.pt, a sample sheet, a line in folder/log.jsonl and an export of the averaged
    weights with their card. Under `accelerate launch` each process takes its share of the batch. A run that has ended
    goes on where the recipe asks for more steps and nothing else; "ended_before" in the card's training lists where.
    Raises ValueError for an unknown family, or if the folder holds a run of another recipe.
    """
    from accelerate import Accelerator

    if recipe.family not in (*FAMILIES, VAE, CONSISTENCY):
        known = ", ".join((*FAMILIES, VAE, CONSISTENCY))
        raise ValueError(f"family must be one of {known}, not {recipe.family!r}")
    accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    device = accelerator.device
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    family = FAMILIES.get(recipe.family)
    card = _card(recipe, family, splits, command)
    generator = (
        (build_unet(recipe.arguments, len(card.classes)) if recipe.family == CONSISTENCY else build_generator(card))
        .to(device)
        .to(memory_format=torch.channels_last)
    )
    average = running_average(generator, recipe.ema)
    share = share_of_batch(recipe.batch_size, accelerator.num_processes)

    def real_batch(draws: torch.Generator) -> tuple[Tensor, Tensor | None]:
        index = torch.randint(0, len(splits.train), (share,), generator=draws)
        images = random_flip(splits.train.floats(index), draws).to(device) * 2 - 1
        return images, splits.train.labels[index].to(device) if card.conditional else None

    if recipe.family == CONSISTENCY:
        step_of = _consistency_step(recipe, generator, real_batch, accelerator)
    elif family is None:
        step_of = _vae_step(recipe, generator, real_batch, share, accelerator)
    else:
        step_of = _gan_step(recipe, family, card, generator, real_batch, share, accelerator)
    parts: dict[str, Any] = {"generator": generator, "average": average, **step_of.parts}
    first, elapsed = 0, 0.0
    ends: list[int] = []
    if (state := load_state(folder / "state.pt", recipe.entries())) is not None:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first, elapsed, ends = state["step"], state["seconds"], state["ends"]
    if ends:
        card = dataclasses.replace(card, training={**card.training, "ended_before": ends})
    began = saved = time.monotonic()
    losses: dict[str, float] = {}

    def drawn_from(network: nn.Module) -> list[Generator]:
        if recipe.family == CONSISTENCY:
            return consistency_generators(network, card)
        return [Generator(LatentSampler(network, device), card)]

    def write(step: int) -> None:
        if not accelerator.is_main_process:
            return
        seconds = elapsed + time.monotonic() - began
        save_state(
            folder / "state.pt",
            {
                "recipe": recipe.entries(),
                "step": step,
                "seconds": seconds,
                "ends": ends,
                **{name: part.state_dict() for name, part in parts.items()},
            },
        )
        append_log(folder / "log.jsonl", {"step": step, "seconds": seconds, **losses})
        export_of = export_consistency if recipe.family == CONSISTENCY else export
        export_of(average.module, card, folder)
        sample_sheet(drawn_from(average.module), folder / f"sheet-{step:06d}.png")

    progress = tqdm(
        range(first, recipe.steps),
        initial=first,
        total=recipe.steps,
        desc=recipe.name,
        mininterval=5,
        disable=not accelerator.is_main_process,
    )
    for step in progress:
        # Every draw of this step comes from here, so a resumed run repeats an unbroken one.
        draws = torch.Generator().manual_seed((recipe.seed * 1_000_003 + step) * 64 + accelerator.process_index)
        rate = min(1.0, max(0.1, 2 * (1 - step / recipe.steps)))
        for optimizer, lr in step_of.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * rate
        found = step_of.run(draws, step)
        average.update_parameters(generator)
        if step % 50 == 0:
            losses = {name: loss.item() for name, loss in found.items()}
            progress.set_postfix({name: f"{loss:.2f}" for name, loss in losses.items()})
        if time.monotonic() - saved > 60 * save_minutes:
            write(step + 1)
            saved = time.monotonic()
    write(recipe.steps)
    return drawn_from(average.module)[0]


def _card(recipe: GeneratorRecipe, family: Family | None, splits: Splits, command: str) -> Card:
    common: dict[str, Any] = {
        "name": recipe.name,
        "kind": "generator",
        "training": {"recipe": recipe.entries(), "command": command},
        "data": splits.description,
        "input_size": splits.size,
        "license": "MIT",
        "source": "trained for this project",
    }
    if recipe.family == CONSISTENCY:
        return Card(
            **common,
            architecture="diffusers",
            arguments={"num_inference_steps": 1, "timesteps": TIMESTEPS_OF},
            classes=splits.classes,
            conditional=True,
        )
    conditional = family is not None and family.conditional
    classes = splits.classes if conditional else ()
    architecture = family.architecture if family is not None else "dcgan"
    return Card(
        **common,
        architecture=architecture,
        arguments={**recipe.arguments, "classes": len(classes)},
        classes=classes,
        conditional=conditional,
    )


@dataclass(frozen=True)
class _Step:
    """One step of training. run(draws, step): takes it and returns its losses by name. parts: what a resumed run needs.
    optimizers: with the learning rate of each at the start."""

    run: Callable[[torch.Generator, int], dict[str, Tensor]]
    parts: dict[str, Any]
    optimizers: tuple[tuple[torch.optim.Optimizer, float], ...]


RealBatch = Callable[[torch.Generator], tuple[Tensor, Tensor | None]]


def _gan_step(
    recipe: GeneratorRecipe,
    family: Family,
    card: Card,
    generator: nn.Module,
    real_batch: RealBatch,
    share: int,
    accelerator: Any,
) -> _Step:
    device = accelerator.device
    classes = len(card.classes)
    critic = build_critic(family, recipe.discriminator_width, classes, recipe.auxiliary > 0)
    critic = critic.to(device).to(memory_format=torch.channels_last)
    generator_steps: Any = torch.optim.Adam(generator.parameters(), lr=recipe.lr_generator, betas=family.betas)
    critic_steps: Any = torch.optim.Adam(critic.parameters(), lr=recipe.lr_discriminator, betas=family.betas)
    wrapped, objective, generator_steps, critic_steps = accelerator.prepare(
        generator, CriticObjective(critic, family, recipe.auxiliary), generator_steps, critic_steps
    )
    latent = int(generator.latent)  # type: ignore[arg-type]

    def noise(draws: torch.Generator) -> tuple[Tensor, Tensor | None]:
        latents = torch.randn(share, latent, generator=draws).to(device)
        return latents, torch.randint(0, classes, (share,), generator=draws).to(device) if classes else None

    def run(draws: torch.Generator, _step: int) -> dict[str, Tensor]:
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
    return _Step(run, parts, ((generator_steps, recipe.lr_generator), (critic_steps, recipe.lr_discriminator)))


def _vae_step(
    recipe: GeneratorRecipe, generator: nn.Module, real_batch: RealBatch, share: int, accelerator: Any
) -> _Step:
    assert isinstance(generator, DCGANGenerator)
    autoencoder = VariationalAutoencoder(generator, recipe.discriminator_width, recipe.deviation)
    autoencoder = autoencoder.to(accelerator.device).to(memory_format=torch.channels_last)
    adam: Any = torch.optim.Adam(autoencoder.parameters(), lr=recipe.lr_generator)
    wrapped, adam = accelerator.prepare(autoencoder, adam)

    def run(draws: torch.Generator, _step: int) -> dict[str, Tensor]:
        images, _ = real_batch(draws)
        noise = torch.randn(share, generator.latent, generator=draws).to(accelerator.device)
        with accelerator.autocast():
            loss: Tensor = wrapped(images, noise)
        adam.zero_grad()
        accelerator.backward(loss)
        adam.step()
        return {"elbo": loss}

    return _Step(run, {"encoder": autoencoder.encoder, "steps": adam}, ((adam, recipe.lr_generator),))


def _consistency_step(recipe: GeneratorRecipe, unet: nn.Module, real_batch: RealBatch, accelerator: Any) -> _Step:
    function = ConsistencyFunction(unet, consistency_scheduler())
    # The paper's choice; its rectified start stands in for a warm-up.
    optimizer: Any = torch.optim.RAdam(unet.parameters(), lr=recipe.lr_generator)
    wrapped, optimizer = accelerator.prepare(function, optimizer)
    first, last = recipe.intervals or INTERVALS

    def run(draws: torch.Generator, step: int) -> dict[str, Tensor]:
        images, labels = real_batch(draws)
        noise = torch.randn(images.shape, generator=draws).to(images)
        levels = noise_levels(function.scheduler, discretisation(step, recipe.steps, first, last))
        index = draw_intervals(levels, len(images), recipe.log_sigma or LOG_SIGMA, draws)
        ends = torch.stack([levels[index], levels[index + 1]]).to(images.device)
        with accelerator.autocast():
            loss = consistency_loss(wrapped, function, images, noise, ends, labels)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        return {"consistency": loss}

    return _Step(run, {"optimizer": optimizer}, ((optimizer, recipe.lr_generator),))
