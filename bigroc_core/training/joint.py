"""Joint training of a classifier that also tells real images from generated ones (P2 3.1)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from bigroc_core.attack import L2Ball, input_gradient, targeted_pgd
from bigroc_core.cards import Card
from bigroc_core.classifiers.architectures import feature_names, new_network
from bigroc_core.classifiers.checkpoints import load_weights
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.evaluation.realism import realism_statistics, scores, separation
from bigroc_core.images.splits import LabelledImages
from bigroc_core.losses import class_logits, discrimination
from bigroc_core.training.augmentation import augment
from bigroc_core.training.averaging import running_average
from bigroc_core.training.checkpoint import export, half
from bigroc_core.training.classifier import accuracy
from bigroc_core.training.recipes import CURVES, Curves, JointRecipe
from bigroc_core.training.run import Run
from bigroc_core.training.sources import GeneratedSource, Mixture, RealImages


def generated_steps(step: int, recipe: JointRecipe) -> int:
    """T of the attack on generated images at an iteration, counted from 0 (P2 3.1.2)."""
    growths = recipe.last_steps - recipe.first_steps
    every = recipe.grow_every or max(1, recipe.steps // (growths + 1))
    return recipe.first_steps + min(growths, step // every)


def learning_rates(step: int, recipe: JointRecipe) -> tuple[float, float]:
    """Of the body and of the head at an iteration."""
    fall = min(1.0, (recipe.steps - step) / (0.8 * recipe.steps))
    rise = min(1.0, (step + 1) / max(1, recipe.warmup))
    return recipe.lr * min(rise, fall), recipe.lr_head * fall


# ----------------------------------------------------------------------------------------------- attacks and loss


class ClassLogit:
    """What attacks in training descend: f_c ("down"), or -f_c ("up"), of each image's class c.

    P2 ascends and descends softplus(-f_c). That is monotone in f_c, and steps have a fixed length, so the directions
    are the same; but the gradient of f_c itself does not vanish where the sigmoid is flat.
    """

    def __init__(self, model: nn.Module, labels: Tensor, direction: str, autocast: Any = nullcontext) -> None:
        self.model, self.labels, self.autocast = model, labels, autocast
        self.sign = {"down": 1.0, "up": -1.0}[direction]

    def gradient(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return input_gradient(lambda z: self.sign * class_logits(z, self.labels[rows]), self._look, images)

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        with torch.no_grad():
            return self._look(images)

    def _look(self, images: Tensor) -> Tensor:
        with self.autocast():
            return self.model(images).float()


class Attacked(NamedTuple):
    """Images after an attack, how probably real each reads, σ(f_c), and whether its attack was stopped early."""

    images: Tensor  # (N, 3, H, W) in [0, 1]
    real: Tensor  # (N,) in [0, 1]
    stopped: Tensor  # (N,) bool


def attacked(
    objective: ClassLogit, images: Tensor, eps: float, step_size: float, steps: int, stop_above: Tensor | None = None
) -> Attacked:
    """Images (N, 3, H, W) moved along an objective inside the L2 ball of radius eps, from a zero start.

    stop_above: (), the σ(f_c) above which an image's attack stops (P2 3.1.2); None never stops one. The model should
    be in eval mode, or each image's attack would depend on the others of its batch.
    """

    def reading(logits: Tensor, rows: Tensor) -> Tensor:
        return class_logits(logits, objective.labels[rows]).sigmoid()

    rests = None if stop_above is None else lambda logits, rows: reading(logits, rows) > stop_above
    moved = images.clone()
    real = torch.zeros(len(images), device=images.device)
    stopped = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    for point in targeted_pgd(objective, images, L2Ball(eps), step_size, steps, rests):
        moved.index_copy_(0, point.rows, point.images)
        real.index_copy_(0, point.rows, reading(point.logits, point.rows))
        stopped.index_copy_(0, point.rows, point.resting)
    return Attacked(moved, real, stopped)


def both_attacked(
    model: nn.Module,
    real: tuple[Tensor, Tensor],
    generated: tuple[Tensor, Tensor],
    steps: int,
    recipe: JointRecipe,
    accelerator: Any,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Real images made less real and generated ones more, as far as the real ones' mean (P2 3.1.1 and 3.1.2).

    real, generated: images (N, 3, H, W) and their classes (N,). steps: T of the attack on generated ones. Returns both
    kinds as attacked, and the means that the log tells.
    """
    less = attacked(
        ClassLogit(model, real[1], "down", accelerator.autocast),
        real[0],
        recipe.real_eps,
        recipe.real_step_size,
        recipe.real_steps,
    )
    bound = accelerator.reduce(less.real.mean(), "mean")
    more = attacked(
        ClassLogit(model, generated[1], "up", accelerator.autocast),
        generated[0],
        recipe.generated_eps,
        recipe.generated_step_size,
        steps,
        bound,
    )
    told = {"real": less.real.mean(), "generated": more.real.mean(), "stopped": more.stopped.float().mean()}
    return less.images, more.images, told


def joint_loss(real: Tensor, real_labels: Tensor, generated: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """L = L_CE + L_BCE of P2 Eqs. 6 to 11 under "loss", and its four terms, each a mean over images.

    real, generated: logits (N, C) and (M, C). real_labels, labels: their classes (N,) and (M,) int64.
    """
    terms = {
        "ce_real": F.cross_entropy(real, real_labels),
        "ce_generated": F.cross_entropy(generated, labels),
        "bce_real": discrimination(real, real_labels, real=True).mean(),
        "bce_generated": discrimination(generated, labels, real=False).mean(),
    }
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}


# ------------------------------------------------------------------------------------------------------ the model


def fresh_joint_network(init: Classifier, classes: int) -> tuple[nn.Module, str]:
    """The init classifier's network with a fresh, randomly initialised head for `classes`, and the head's name.

    The head's values come from torch's global random state. Raises ValueError for an architecture that cannot be
    built again here, or whose last layer is not what gives the init classifier's logits.
    """
    card = init.card
    arguments = {name: value for name, value in card.arguments.items() if name != "classes"}
    try:
        network = new_network(card.architecture, classes=classes, **arguments)
    except ValueError as error:
        raise ValueError(
            f"{card.name} cannot be trained on: its architecture has to be built anew for a fresh head ({error})"
        ) from error
    layers = [name for name, module in init.network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    head = layers[-1] if layers else ""
    weights = dict(init.network.state_dict())
    rows = len(weights[f"{head}.weight"]) if layers else 0
    if rows != len(init.classes):
        raise ValueError(
            f"{card.name}'s last layer, {head or 'none'}, gives {rows} values for its {len(init.classes)} classes: it "
            "is no head that a fresh one can be put in the place of"
        )
    fresh = {name: value for name, value in network.state_dict().items() if name.startswith(f"{head}.")}
    load_weights(network, {**weights, **fresh}, f"the network of {card.name} and a fresh one")
    return network, head


def train_joint(
    recipe: JointRecipe,
    init: Classifier,
    real: RealImages,
    sources: Sequence[GeneratedSource],
    folder: Path,
    command: str,
    save_minutes: float = 3.0,
    curves: Curves = CURVES,
) -> Classifier:
    """Train by a recipe, in `folder`, resuming the run that lies there; returns the averaged network as exported.

    Every `save_minutes` the run's state is written to folder/state.pt. As often as `curves` says a line is added to
    folder/log.jsonl (means over the iterations since the last: the loss and its terms, σ(f_c) of attacked real and
    generated images, the share of generated ones whose attack was stopped; and of the averaged network, on held-out
    real images and as many generated ones of each source: the area under the curve that tells them apart, clean
    accuracy and accuracy under PGD), and the averaged weights are exported with their card, with ℓ₀ (P2 Eq. 14) of
    those images. The last export's ℓ₀ is of all held-out real images. Under `accelerate launch` each process takes its
    share of every batch.
    Raises ValueError for an init classifier that no joint model can be made of, fewer images than a batch takes, or a
    folder that holds a run of another recipe, or of other data.
    """
    if recipe.batch_size > len(real.train):
        raise ValueError(f"a batch of {recipe.batch_size} is more than the {len(real.train)} real training images")
    of_sets = {source.name: source.fingerprint for source in sources if source.fingerprint}
    known: dict[str, Any] = {"data": real.fingerprint} if real.fingerprint else {}
    known |= {"generated images": of_sets} if of_sets else {}
    torch.manual_seed(recipe.seed)
    network, head = fresh_joint_network(init, len(real.classes))
    run = Run(folder, {**recipe.entries(), **known}, recipe.steps, save_minutes)
    accelerator, device, share = run.accelerator, run.device, run.share
    card = Card(
        name=recipe.name,
        kind="classifier",
        architecture=init.card.architecture,
        arguments={name: value for name, value in init.card.arguments.items() if name != "classes"},
        classes=real.classes,
        input_size=recipe.size,
        mean=init.card.mean,
        std=init.card.std,
        training=run.training(command),
        data=f"{real.data}; images of {', '.join(source.name for source in sources)}",
        license=init.card.license,
        source="trained for this project",
        robust=not recipe.vanilla,
    )
    model = Classifier(network, card, feature_names(network)).to(device).to(memory_format=torch.channels_last)
    average = running_average(model, recipe.ema)
    wrapped, optimizer = accelerator.prepare(model, _optimizer(model, head, recipe))
    run.restore(model=model, average=average, optimizer=optimizer)
    mixture = Mixture(sources, recipe.weights)
    report_every = max(1, recipe.steps // curves.reports)
    watch = _Watch(real, sources, curves.watched, recipe.real_eps) if run.is_main else None

    def report(step: int, steps: int) -> None:
        assert watch is not None
        average.eval()
        with accelerator.autocast():
            seen = watch(average.module)
        counted = run.kept["iterations"]
        means = {name: (total / counted).item() for name, total in run.kept.items() if name != "iterations"}
        run.log(step, T=steps, **means, **seen)
        told = (f"{name} {value:.3f}" for name, value in (means | seen).items() if isinstance(value, float))
        tqdm.write(f"{recipe.name} {step}: {', '.join(told)}")
        export(average.module.get_submodule("network"), dataclasses.replace(card, l0=seen["l0"]), folder)

    model.train()
    for step in run.steps():
        index, draws = run.rows(len(real.train), step), run.draws(step)
        labels = real.train.labels[index].to(device)
        start = step * recipe.batch_size + accelerator.process_index * share
        generated, generated_labels = mixture.draw(start, share, draws)
        generated_labels = generated_labels.to(device)
        # The same for both, or it would tell them apart.
        both = augment(torch.cat([real.train.floats(index), generated]), recipe.augmentation, draws, recipe.size)
        images, generated = both.to(device, memory_format=torch.channels_last).split(share)
        now = 0 if recipe.vanilla else generated_steps(step, recipe)
        told: dict[str, Tensor] = {}
        if not recipe.vanilla:
            model.eval()
            images, generated, told = both_attacked(
                model, (images, labels), (generated, generated_labels), now, recipe, accelerator
            )
            model.train()
        rate, head_rate = learning_rates(step, recipe)
        for group, lr in zip(optimizer.param_groups, (rate, rate, head_rate), strict=True):
            group["lr"] = lr
        with accelerator.autocast():
            logits = wrapped(torch.cat([images, generated]))
        terms = joint_loss(logits[:share].float(), labels, logits[share:].float(), generated_labels)
        optimizer.zero_grad()
        accelerator.backward(terms["loss"])
        optimizer.step()
        average.update_parameters(model)
        for name, value in {**terms, **told, "iterations": torch.ones((), device=device)}.items():
            run.kept[name] = run.kept.get(name, torch.zeros((), device=device)) + value.detach()
        if step % 20 == 0:
            run.progress.set_postfix(T=now, loss=f"{terms['loss'].item():.3f}")
        if (step + 1) % report_every == 0 or step + 1 == recipe.steps:
            if run.is_main:
                report(step + 1, now)
            run.kept.clear()
        if run.is_time_to_save(step):
            run.save(step + 1)
    return _finished(average.module, card, real, folder, run.is_main)


def _optimizer(model: nn.Module, head: str, recipe: JointRecipe) -> torch.optim.Optimizer:
    """SGD with the head's parameters in a group of their own, the last."""
    prefix = f"network.{head}."
    heads = [p for name, p in model.named_parameters() if name.startswith(prefix)]
    body = [p for name, p in model.named_parameters() if not name.startswith(prefix)]
    return torch.optim.SGD(
        [
            {"params": [p for p in body if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in body if p.ndim <= 1], "weight_decay": 0.0},
            {"params": heads, "weight_decay": recipe.weight_decay},
        ],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
    )


class _Watch:
    """What a run is judged by while it trains: held-out real images, and generated ones that it never trains on."""

    def __init__(self, real: RealImages, sources: Sequence[GeneratedSource], count: int, eps: float) -> None:
        # Every so many, since a set may be sorted by class.
        index = torch.linspace(0, len(real.held_out) - 1, min(count, len(real.held_out))).long()
        pixels = (real.held_out.floats(index) * 255).round().to(torch.uint8)
        self.real = LabelledImages(pixels, real.held_out.labels[index])
        self.generated = {source.name: source.held_out(count) for source in sources}
        self.eps = eps

    def __call__(self, model: nn.Module) -> dict[str, Any]:
        """Readings by name; "auc_of" by source."""
        of_real = scores(model, self.real.floats(slice(None)), self.real.labels)
        found = {name: scores(model, *images) for name, images in self.generated.items()}
        return {
            "auc": separation(of_real, torch.cat(list(found.values()))),
            "auc_of": {name: separation(of_real, one) for name, one in found.items()},
            "clean": accuracy(model, self.real),
            "pgd10": accuracy(model, self.real, eps=self.eps or 0.5, steps=10),
            "l0": float(F.softplus(of_real.double()).mean()),
        }


def _finished(model: nn.Module, card: Card, real: RealImages, folder: Path, exporting: bool) -> Classifier:
    """The model with its weights as exported, and its card with ℓ₀ of all held-out real images (P2 Eq. 14)."""
    shipped = copy.deepcopy(model).eval().requires_grad_(False)
    assert isinstance(shipped, Classifier)
    load_weights(shipped.network, half(shipped.network.state_dict()), "the exported weights and the network")
    measured = realism_statistics(shipped, real.held_out)
    shipped.card = dataclasses.replace(card, l0=measured["l0"], metrics={"realism": measured})
    if exporting:
        export(shipped.network, shipped.card, folder)
    return shipped
