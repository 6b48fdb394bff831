"""Training of GANs: hinge loss, spectrally normalised discriminator, running average of the generator's weights."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.generators.dcgan import DCGANDiscriminator, DCGANGenerator
from bigroc_core.generators.registry import build_generator
from bigroc_core.generators.sampling import Generator, LatentSampler
from bigroc_core.images import to_uint8
from bigroc_core.training.augmentation import random_flip
from bigroc_core.training.averaging import running_average
from bigroc_core.training.batches import share_of_batch
from bigroc_core.training.checkpoint import append_log, export, load_state, save_state
from bigroc_core.training.data import Splits
from bigroc_core.training.precision import fastest_precision


@dataclass(frozen=True, kw_only=True)
class GANRecipe:
    """How a GAN is trained.

    arguments: of the generator's network. auxiliary: weight of the auxiliary classifier's cross-entropy in both losses
    (Odena et al. 2017), conditional only. lr_generator, lr_discriminator: Adam's rates, constant for half of the run,
    then linear to a tenth. ema: decay of the running average that is sampled and shipped.
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
    ema: float = 0.999
    precision: str = field(default_factory=fastest_precision)
    seed: int = 0


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Mean of max(0, 1 − D(x)) over real and max(0, 1 + D(G(z))) over generated (Lim & Ye 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator_hinge(fake: Tensor) -> Tensor:
    """Mean of −D(G(z))."""
    return -fake.mean()


def sample_sheet(generator: Generator, path: Path, rows: int = 10, columns: int = 10, scale: int = 2) -> None:
    """A grid of samples of seed 0; a column per class where conditional."""
    images, _ = generator.sample(rows * columns, seed=0)
    pixels = torch.from_numpy(to_uint8(images))
    grid = pixels.view(rows, columns, *pixels.shape[1:]).permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)
    sheet = Image.fromarray(grid.contiguous().numpy())
    sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST).save(path)


def train_gan(recipe: GANRecipe, splits: Splits, folder: Path, command: str, save_minutes: float = 3.0) -> Generator:
    """Train by a recipe, in `folder`, resuming the run that lies there; returns the averaged generator as exported.

    Every `save_minutes`: folder/state.pt, a sample sheet, a line in folder/log.jsonl and an export of the averaged
    weights with their card. Under `accelerate launch` each process takes its share of the batch.
    Raises ValueError if the folder holds a run of another recipe.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    device = accelerator.device
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    conditional = recipe.family == "cgan"
    classes = len(CIFAR10_CLASSES) if conditional else 0
    arguments = {**recipe.arguments, "classes": classes}
    card = Card(
        name=recipe.name, kind="generator", architecture="dcgan", arguments=arguments,
        classes=CIFAR10_CLASSES if conditional else (), conditional=conditional,
        training={"recipe": dataclasses.asdict(recipe), "command": command},
        data="CIFAR-10 training images without the last 5,000", license="MIT", source="trained for this project",
    )  # fmt: skip
    built = build_generator(card)
    assert isinstance(built, DCGANGenerator)
    generator = built.to(device).to(memory_format=torch.channels_last)
    critic = DCGANDiscriminator(recipe.discriminator_width, classes).to(device).to(memory_format=torch.channels_last)
    average = running_average(generator, recipe.ema)
    generator_steps = torch.optim.Adam(generator.parameters(), lr=recipe.lr_generator, betas=(0.5, 0.999))
    critic_steps = torch.optim.Adam(critic.parameters(), lr=recipe.lr_discriminator, betas=(0.5, 0.999))
    first, elapsed = 0, 0.0
    if (state := load_state(folder / "state.pt", dataclasses.asdict(recipe))) is not None:
        generator.load_state_dict(state["generator"])
        critic.load_state_dict(state["critic"])
        average.load_state_dict(state["average"])
        generator_steps.load_state_dict(state["generator_steps"])
        critic_steps.load_state_dict(state["critic_steps"])
        first, elapsed = state["step"], state["seconds"]
    if critic.classifier is not None and not recipe.auxiliary:
        # Several processes would wait for the gradients of parameters that no loss depends on.
        critic.classifier.requires_grad_(False)
    wrapped_generator, wrapped_critic, generator_steps, critic_steps = accelerator.prepare(
        generator, _Judgement(critic), generator_steps, critic_steps
    )
    share = share_of_batch(recipe.batch_size, accelerator.num_processes)
    began = saved = time.monotonic()
    losses = {"discriminator": 0.0, "generator": 0.0}

    def write(step: int) -> None:
        if not accelerator.is_main_process:
            return
        seconds = elapsed + time.monotonic() - began
        save_state(folder / "state.pt", {
            "recipe": dataclasses.asdict(recipe), "step": step, "seconds": seconds,
            "generator": generator.state_dict(), "critic": critic.state_dict(), "average": average.state_dict(),
            "generator_steps": generator_steps.state_dict(), "critic_steps": critic_steps.state_dict(),
        })  # fmt: skip
        append_log(folder / "log.jsonl", {"step": step, "seconds": seconds, **losses})
        export(average.module, card, folder)
        average.eval()
        sample_sheet(Generator(LatentSampler(average.module, device), card), folder / f"sheet-{step:06d}.png")

    progress = tqdm(range(first, recipe.steps), initial=first, total=recipe.steps, desc=recipe.name, mininterval=5,
                    disable=not accelerator.is_main_process)  # fmt: skip
    for step in progress:
        # Every draw of this step comes from here, so a resumed run repeats an unbroken one.
        draws = torch.Generator().manual_seed((recipe.seed * 1_000_003 + step) * 64 + accelerator.process_index)
        rate = min(1.0, max(0.1, 2 * (1 - step / recipe.steps)))
        for optimizer, lr in ((generator_steps, recipe.lr_generator), (critic_steps, recipe.lr_discriminator)):
            for group in optimizer.param_groups:
                group["lr"] = lr * rate

        def noise(draws: torch.Generator = draws) -> tuple[Tensor, Tensor | None]:
            latents = torch.randn(share, generator.latent, generator=draws).to(device)
            if not conditional:
                return latents, None
            return latents, torch.randint(0, classes, (share,), generator=draws).to(device)

        index = torch.randint(0, len(splits.train), (share,), generator=draws)
        real = random_flip(splits.train.floats(index), draws).to(device) * 2 - 1
        real_labels = splits.train.labels[index].to(device) if conditional else None

        latents, labels = noise()
        with accelerator.autocast():
            with torch.no_grad():
                fake = wrapped_generator(latents, labels).float()
            both = torch.cat([real, fake]).contiguous(memory_format=torch.channels_last)
            both_labels = torch.cat([real_labels, labels]) if real_labels is not None and labels is not None else None
            logits, class_logits = wrapped_critic(both, both_labels)
            critic_loss = discriminator_hinge(*logits.chunk(2))
            if recipe.auxiliary and class_logits is not None and real_labels is not None:
                critic_loss = critic_loss + recipe.auxiliary * F.cross_entropy(class_logits[:share], real_labels)
        critic_steps.zero_grad()
        accelerator.backward(critic_loss)
        critic_steps.step()

        latents, labels = noise()
        critic.requires_grad_(False)
        with accelerator.autocast():
            logits, class_logits = wrapped_critic(wrapped_generator(latents, labels), labels)
            generator_loss = generator_hinge(logits)
            if recipe.auxiliary and class_logits is not None and labels is not None:
                generator_loss = generator_loss + recipe.auxiliary * F.cross_entropy(class_logits, labels)
        generator_steps.zero_grad()
        accelerator.backward(generator_loss)
        generator_steps.step()
        critic.requires_grad_(True)
        average.update_parameters(generator)

        if step % 50 == 0:
            losses = {"discriminator": critic_loss.item(), "generator": generator_loss.item()}
            progress.set_postfix(D=f"{losses['discriminator']:.2f}", G=f"{losses['generator']:.2f}")
        if time.monotonic() - saved > 60 * save_minutes:
            write(step + 1)
            saved = time.monotonic()
    write(recipe.steps)
    return Generator(LatentSampler(average.module, device), card)


class _Judgement(nn.Module):
    """The discriminator as one call, so that data-parallel wrappers see every parameter's use."""

    def __init__(self, critic: DCGANDiscriminator) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        features = self.critic.features(images)
        class_logits = self.critic.class_logits(features) if self.critic.classifier is not None else None
        return self.critic.realism(features, labels), class_logits
