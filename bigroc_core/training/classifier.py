"""Training of classifiers: plainly, or adversarially under an L2 bound (Madry et al. 2018, one or a few steps)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from bigroc_core.attack import l2_attack
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.images.splits import LabelledImages, Splits
from bigroc_core.training.augmentation import augment
from bigroc_core.training.averaging import running_average
from bigroc_core.training.checkpoint import export
from bigroc_core.training.recipes import BEST, LAST, ClassifierRecipe
from bigroc_core.training.run import Run

# Validation images that say after every epoch how a run fares.
WATCHED = 1_000


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


def watched_of(validation: LabelledImages) -> LabelledImages:
    """The validation images that a run is judged by while it trains: the first, or where they come class by class, as
    those of class folders do, as many spread over all of them."""
    classes, runs = len(validation.labels.unique()), len(validation.labels.unique_consecutive())
    if classes == runs and len(validation) > WATCHED:
        return validation.subset(torch.linspace(0, len(validation) - 1, WATCHED).long())
    return validation.subset(slice(0, WATCHED))


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
    exports the averaged weights with their card, if it is one that the recipe keeps. Under `accelerate launch` batches
    are split over the processes.
    Raises ValueError if the folder holds a run of another recipe, or of other data.
    """
    # What a run is: a resumed one must be of the same recipe and the same images.
    entries = {**recipe.entries(), "size": splits.size, "data": splits.fingerprint()}
    steps_per_epoch = len(splits.train) // recipe.batch_size
    torch.manual_seed(recipe.seed)
    network = build_network(recipe.architecture, classes=len(splits.classes), **recipe.arguments)
    run = Run(folder, entries, recipe.epochs * steps_per_epoch, save_minutes)
    card = Card(
        name=recipe.name,
        kind="classifier",
        architecture=recipe.architecture,
        arguments=recipe.arguments,
        classes=splits.classes,
        input_size=splits.size,
        mean=splits.mean,
        std=splits.std,
        training=run.training(command),
        data=splits.description,
        license="MIT",
        source="trained for this project",
        robust=recipe.eps > 0,
    )
    model = Classifier(network, card).to(run.device).to(memory_format=torch.channels_last)
    average = running_average(model, recipe.ema)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    # One process needs no wrapper; several synchronise gradients through it.
    wrapped, optimizer = run.accelerator.prepare(
        model,
        torch.optim.SGD(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=True,
        ),
    )
    run.restore(model=model, average=average, optimizer=optimizer)
    watched = watched_of(splits.validation)
    shipped = average.module
    assert isinstance(shipped, Classifier)

    def measure(step: int) -> None:
        epoch = step // steps_per_epoch
        average.eval()
        with run.accelerator.autocast():
            clean = accuracy(average, watched)
            robust = accuracy(average, watched, eps=recipe.eps or 0.5, steps=10)
        run.log(step, epoch=epoch, loss=run.kept["loss"].item(), clean=clean, pgd10=robust)
        tqdm.write(f"{recipe.name} epoch {epoch}: clean {clean:.3f}, PGD-10 {robust:.3f} on {len(watched)}")
        score = robust if recipe.eps > 0 else clean
        if recipe.keep == LAST:
            export(shipped.network, card, folder)
        elif score > run.kept.get("best", torch.tensor(-1.0)).item():
            run.kept["best"] = torch.tensor(score)
            export(shipped.network, dataclasses.replace(card, training={**card.training, "epoch": epoch}), folder)

    for step in run.steps():
        index, draws = run.rows(len(splits.train), step), run.draws(step)
        images = augment(splits.train.floats(index), recipe.augmentation, draws, splits.size)
        images = images.to(run.device, memory_format=torch.channels_last)
        labels = splits.train.labels[index].to(run.device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, run.steps_in_all, recipe)
        model.train()
        with run.accelerator.autocast():
            if recipe.eps > 0:
                images = l2_attack(model, images, labels, recipe.eps, recipe.attack_steps, draws)
            loss = F.cross_entropy(wrapped(images).float(), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        run.accelerator.backward(loss)
        optimizer.step()
        average.update_parameters(model)
        run.kept["loss"] = run.kept.get("loss", loss.detach()).lerp(loss.detach(), 0.02)
        if step % 50 == 0:
            run.progress.set_postfix(epoch=step // steps_per_epoch, loss=f"{run.kept['loss'].item():.3f}")
        if (step + 1) % steps_per_epoch == 0 and run.is_main:
            measure(step + 1)
        if run.is_time_to_save(step):
            run.save(step + 1)
    if recipe.keep == BEST:
        return load_classifier(str(folder / f"{recipe.name}.safetensors"), device=run.device)
    if run.had_ended and run.is_main:
        export(shipped.network, card, folder)
    return shipped.eval()
