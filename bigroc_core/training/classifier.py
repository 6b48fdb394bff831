"""Training of classifiers: plainly, or adversarially under an L2 bound (Madry et al. 2018, one or a few steps)."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from bigroc_core.attack import l2_attack
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.training.augmentation import augment
from bigroc_core.training.averaging import running_average
from bigroc_core.training.batches import share_of_batch
from bigroc_core.training.checkpoint import append_log, export, load_state, save_state
from bigroc_core.training.precision import fastest_precision
from bigroc_core.training.splits import LabelledImages, Splits


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe:
    """How a classifier is trained.

    eps: L2 radius of the training attack in [0, 1] pixel units; 0 trains plainly. attack_steps: its PGD steps.
    lr: peak learning rate, reached linearly over `warmup` steps, kept for a fifth of the run, then linear to 0.
    ema: decay of the running average of weights that is evaluated and shipped.
    """

    name: str
    architecture: str = "resnet9"
    arguments: dict[str, Any] = field(default_factory=dict)
    eps: float = 0.0
    attack_steps: int = 1
    epochs: int = 20
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    warmup: int = 300
    ema: float = 0.999
    augmentation: str = "crop-flip"
    precision: str = field(default_factory=fastest_precision)
    seed: int = 0


def accuracy(model: nn.Module, data: LabelledImages, eps: float = 0.0, steps: int = 20, batch: int = 250) -> float:
    """Share of images classified rightly, clean (eps = 0) or under L2 PGD with zero start and step 2.5·eps/steps."""
    device = next(model.parameters()).device
    right = 0
    for start in range(0, len(data), batch):
        images = data.floats(slice(start, start + batch)).to(device)
        labels = data.labels[start : start + batch].to(device)
        if eps > 0:
            images = l2_attack(model, images, labels, eps, steps, None)
        with torch.no_grad():
            right += int((model(images).argmax(1) == labels).sum())
    return right / len(data)


def learning_rate(step: int, total: int, recipe: ClassifierRecipe) -> float:
    """Linear warm-up, flat until a fifth of the run, then linear to zero."""
    rise = min(1.0, (step + 1) / max(1, recipe.warmup))
    fall = min(1.0, (total - step) / (0.8 * total))
    return recipe.lr * min(rise, fall)


def train_classifier(
    recipe: ClassifierRecipe, splits: Splits, folder: Path, command: str, save_minutes: float = 3.0
) -> Classifier:
    """Train by a recipe, in `folder`, resuming the run that lies there; returns the averaged network as exported.

    Every `save_minutes` the run's state is written to folder/state.pt; each epoch adds a line to folder/log.jsonl and
    exports the averaged weights with their card. Under `accelerate launch` batches are split over the processes.
    Raises ValueError if the folder holds a run of another recipe, or of other data.
    """
    from accelerate import Accelerator

    # What a run is: a resumed one must be of the same recipe and the same images.
    whole_recipe = {**dataclasses.asdict(recipe), "size": splits.size, "data": splits.fingerprint()}
    accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    device = accelerator.device
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    card = Card(
        name=recipe.name,
        kind="classifier",
        architecture=recipe.architecture,
        arguments=recipe.arguments,
        classes=splits.classes,
        input_size=splits.size,
        mean=splits.mean,
        std=splits.std,
        training={"recipe": whole_recipe, "command": command},
        data=splits.description,
        license="MIT",
        source="trained for this project",
    )
    network = build_network(recipe.architecture, classes=len(splits.classes), **recipe.arguments)
    model = Classifier(network, card).to(device).to(memory_format=torch.channels_last)
    average = running_average(model, recipe.ema)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
    )
    steps_per_epoch = len(splits.train) // recipe.batch_size
    total = recipe.epochs * steps_per_epoch
    first, elapsed = 0, 0.0
    if (state := load_state(folder / "state.pt", whole_recipe)) is not None:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first, elapsed = state["step"], state["seconds"]
    # One process needs no wrapper; several synchronise gradients through it.
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    share = share_of_batch(recipe.batch_size, accelerator.num_processes)
    watched = splits.validation.subset(slice(0, 1_000))
    began = saved = time.monotonic()

    def write_state(step: int) -> None:
        if accelerator.is_main_process:
            save_state(
                folder / "state.pt",
                {
                    "recipe": whole_recipe,
                    "step": step,
                    "seconds": elapsed + time.monotonic() - began,
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
            )

    progress = tqdm(
        range(first, total),
        initial=first,
        total=total,
        disable=not accelerator.is_main_process,
        desc=recipe.name,
        mininterval=5,
    )
    running = torch.zeros((), device=device)
    for step in progress:
        epoch, within = divmod(step, steps_per_epoch)
        order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(recipe.seed * 10_007 + epoch))
        mine = within * recipe.batch_size + accelerator.process_index * share
        index = order[mine : mine + share]
        # Every draw of this step comes from here, so a resumed run repeats an unbroken one.
        generator = torch.Generator().manual_seed((recipe.seed * 1_000_003 + step) * 64 + accelerator.process_index)
        images = augment(splits.train.floats(index), recipe.augmentation, generator, splits.size)
        images = images.to(device, memory_format=torch.channels_last)
        labels = splits.train.labels[index].to(device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, total, recipe)
        model.train()
        with accelerator.autocast():
            if recipe.eps > 0:
                images = l2_attack(model, images, labels, recipe.eps, recipe.attack_steps, generator)
            loss = F.cross_entropy(wrapped(images).float(), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        average.update_parameters(model)
        running = running.lerp(loss.detach(), 0.02) if step > first else loss.detach()
        if step % 50 == 0:
            progress.set_postfix(epoch=epoch, loss=f"{running.item():.3f}")
        if time.monotonic() - saved > 60 * save_minutes:
            write_state(step + 1)
            saved = time.monotonic()
        if within == steps_per_epoch - 1 and accelerator.is_main_process:
            average.eval()
            with accelerator.autocast():
                clean = accuracy(average, watched)
                robust = accuracy(average, watched, eps=recipe.eps or 0.5, steps=10)
            append_log(
                folder / "log.jsonl",
                {
                    "epoch": epoch + 1,
                    "loss": running.item(),
                    "clean": clean,
                    "pgd10": robust,
                    "seconds": elapsed + time.monotonic() - began,
                },
            )
            tqdm.write(f"{recipe.name} epoch {epoch + 1}: clean {clean:.3f}, PGD-10 {robust:.3f} on {len(watched)}")
            export(average.module.get_submodule("network"), card, folder)
    write_state(total)
    shipped = average.module.eval()
    assert isinstance(shipped, Classifier)
    return shipped
