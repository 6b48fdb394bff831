"""Training of generators: a family's networks by its steps, and a running average that is sampled; or a fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from bigroc_core.cards import Card
from bigroc_core.generators.registry import build_generator
from bigroc_core.generators.sampling import Generator, LatentSampler
from bigroc_core.generators.seeds import GRAIN, SeedGenerator, shrunk
from bigroc_core.images import to_uint8
from bigroc_core.images.splits import Splits
from bigroc_core.training.augmentation import random_flip
from bigroc_core.training.averaging import running_average
from bigroc_core.training.checkpoint import export, written_whole
from bigroc_core.training.consistency import build_unet, consistency_generators, export_consistency, timesteps_of
from bigroc_core.training.families import CONSISTENCY, FAMILIES, KNOWN, SEEDS, check_size
from bigroc_core.training.generator_steps import step_of
from bigroc_core.training.recipes import GeneratorRecipe
from bigroc_core.training.run import Run, processes


def sample_sheet(generators: Sequence[Generator], path: Path, rows: int = 10) -> None:
    """A grid of samples of seed 0; a column per class where conditional, each generator's rows below the other's."""
    classes = len(generators[0].classes)
    columns = classes if 1 < classes <= 20 else 10
    each = rows // len(generators)
    drawn = torch.cat([generator.sample(each * columns, seed=0)[0] for generator in generators])
    pixels, rows = torch.from_numpy(to_uint8(drawn)), each * len(generators)
    grid = pixels.view(rows, columns, *pixels.shape[1:]).permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1, 2)
    scale = max(1, 64 // pixels.shape[1])  # small ones twice as large
    sheet = Image.fromarray(grid.contiguous().numpy())
    sheet = sheet.resize((sheet.width * scale, sheet.height * scale), Image.Resampling.NEAREST)
    with written_whole(path) as temporary:
        sheet.save(temporary, "PNG")


def train_generator(
    recipe: GeneratorRecipe, splits: Splits, folder: Path, command: str, save_minutes: float = 3.0
) -> Generator:
    """Train by a recipe, in `folder`, resuming the run that lies there; returns the averaged generator as exported.

    Every `save_minutes`: a sample sheet, a line in folder/log.jsonl, an export of the averaged weights with their
    card, and folder/state.pt. Under `accelerate launch` each process takes its share of the batch. A run that has ended
    goes on where the recipe asks for more steps and nothing else; "ended_before" in the card's training lists where.
    The family `seeds` is fitted at once.
    Raises ValueError for an unknown family, images of a size that it does not make, or if the folder holds a run of
    another recipe, or of other images.
    """
    if recipe.family not in KNOWN:
        raise ValueError(f"family must be one of {', '.join(KNOWN)}, not {recipe.family!r}")
    check_size(recipe.family, splits.size)
    # What a run is: a resumed one must be of the same recipe and the same images.
    entries = {**recipe.entries(), "size": splits.size, "data": splits.fingerprint()}
    if recipe.family == SEEDS:
        return _fitted(recipe, splits, folder, {"recipe": entries, "command": command})
    card = _card(recipe, splits)
    consistency = recipe.family == CONSISTENCY
    torch.manual_seed(recipe.seed)
    generator = (
        build_unet(recipe.arguments, len(card.classes), splits.size[0]) if consistency else build_generator(card)
    )
    run = Run(folder, entries, recipe.steps, save_minutes)
    card = dataclasses.replace(card, training=run.training(command))
    generator = generator.to(run.device).to(memory_format=torch.channels_last)
    average = running_average(generator, recipe.ema)

    def real_batch(draws: torch.Generator) -> tuple[Tensor, Tensor | None]:
        index = torch.randint(0, len(splits.train), (run.share,), generator=draws)
        images = random_flip(splits.train.floats(index), draws).to(run.device) * 2 - 1
        return images, splits.train.labels[index].to(run.device) if card.conditional else None

    def averaged() -> list[Generator]:
        if consistency:
            return consistency_generators(average.module, card)
        return [Generator(LatentSampler(average.module, run.device), card)]

    def write(step: int) -> None:
        (export_consistency if consistency else export)(average.module, card, folder)
        sample_sheet(averaged(), folder / f"sheet-{step:06d}.png")

    step_further = step_of(recipe, card, generator, run, real_batch)
    run.restore(generator=generator, average=average, **step_further.parts)
    for step in run.steps():
        rate = min(1.0, max(0.1, 2 * (1 - step / recipe.steps)))
        for optimizer, lr in step_further.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * rate
        losses = step_further.take(run.draws(step), step)
        average.update_parameters(generator)
        if step % 50 == 0:
            run.kept = {name: loss.detach() for name, loss in losses.items()}
            run.progress.set_postfix({name: f"{loss.item():.2f}" for name, loss in losses.items()})
        if run.is_time_to_save(step):
            run.log(step + 1, **{name: loss.item() for name, loss in run.kept.items()})
            if run.is_main:
                write(step + 1)
            run.save(step + 1)
    if run.had_ended and run.is_main:
        write(recipe.steps)
    return averaged()[0]


def _card(recipe: GeneratorRecipe, splits: Splits) -> Card:
    """The card of a generator that is to be trained; ValueError for arguments that are not the recipe's to choose."""
    family = FAMILIES.get(recipe.family)
    conditional = recipe.family in (CONSISTENCY, SEEDS) or (family is not None and family.conditional)
    classes = splits.classes if conditional else ()
    fixed = {"classes": len(classes), "size": splits.size[0]}
    if clash := sorted(name for name in fixed if recipe.arguments.get(name, fixed[name]) != fixed[name]):
        raise ValueError(f"--arguments cannot set {clash[0]}: it is {fixed[clash[0]]} for these data")
    arguments = {**recipe.arguments, **fixed}
    if recipe.family == CONSISTENCY:
        arguments = {"num_inference_steps": 1, "timesteps": timesteps_of(splits.size[0])}
    architecture = {CONSISTENCY: "diffusers", SEEDS: "seeds"}.get(recipe.family, "dcgan")
    return Card(
        name=recipe.name,
        kind="generator",
        architecture=family.architecture if family is not None else architecture,
        arguments=arguments,
        classes=classes,
        conditional=conditional,
        input_size=splits.size,
        data=splits.description,
        license="MIT",
        source="trained for this project",
    )


def _fitted(recipe: GeneratorRecipe, splits: Splits, folder: Path, training: dict[str, Any]) -> Generator:
    """The Gaussians of the classes' training images and of their mirror images, exported with a card and a sheet."""
    card = dataclasses.replace(_card(recipe, splits), training=training)
    network = build_generator(card)
    assert isinstance(network, SeedGenerator)
    for label in range(len(splits.classes)):
        rows = (splits.train.labels == label).nonzero().flatten()
        colours = torch.cat([shrunk(splits.train.floats(part)) for part in rows.split(500)])
        mirrored = colours.view(-1, 3, GRAIN, GRAIN).flip(3).flatten(1)
        network.fit(label, torch.cat([colours, mirrored]))
    generator = Generator(LatentSampler(network), card)
    if processes().is_main_process:
        export(network, card, folder)
        sample_sheet([generator], folder / "sheet.png")
    return generator
