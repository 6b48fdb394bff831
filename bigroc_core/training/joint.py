"""Joint training of a classifier that also tells real images from generated ones (P2 3.1)."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
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
from bigroc_core.losses import class_logits, discrimination
from bigroc_core.training.augmentation import augment
from bigroc_core.training.averaging import running_average
from bigroc_core.training.batches import share_of_batch
from bigroc_core.training.checkpoint import append_log, export, half, load_state, save_state, trim_log
from bigroc_core.training.classifier import accuracy
from bigroc_core.training.precision import fastest_precision
from bigroc_core.training.sources import GeneratedSource, Mixture, RealImages
from bigroc_core.training.splits import LabelledImages


@dataclass(frozen=True, kw_only=True)
class JointRecipe:
    """How a joint model is trained. Sizes of attacks are L2, in units of images in [0, 1].

    init: the robust classifier that training starts from. real, generated: names of the images; weights: each
    source's share of the generated ones. vanilla: train on the images as they are, attacking none.
    real_*: the attack on real images. generated_*: the attack on generated ones, whose number of steps T grows by one
    every `grow_every` iterations from `first_steps` to `last_steps`; None lets the run reach the last just before its
    end. batch_size: real images of each iteration, and as many generated ones. lr: of the body, reached linearly over
    `warmup` iterations; lr_head: of the fresh head. Both are kept for a fifth of the run, then fall linearly to 0.
    """

    name: str
    init: str
    real: str
    generated: tuple[str, ...]
    weights: tuple[float, ...]
    size: tuple[int, int]
    vanilla: bool = False
    real_eps: float = 0.5
    real_step_size: float = 0.25
    real_steps: int = 2
    generated_eps: float = 5.0
    generated_step_size: float = 0.2
    first_steps: int = 1
    last_steps: int = 8
    grow_every: int | None = None
    steps: int = 3_000
    batch_size: int = 32
    lr: float = 0.01
    lr_head: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: int = 200
    ema: float = 0.998
    augmentation: str = "flip"
    precision: str = field(default_factory=fastest_precision)
    seed: int = 0


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
    watched: int = 256,
    reports: int = 20,
) -> Classifier:
    """Train by a recipe, in `folder`, resuming the run that lies there; returns the averaged network as exported.

    Every `save_minutes` the run's state is written to folder/state.pt. `reports` times a run a line is added to
    folder/log.jsonl (means over the iterations since the last: the loss and its terms, σ(f_c) of attacked real and
    generated images, the share of generated ones whose attack was stopped; and of the averaged network, on `watched`
    held-out real images and as many generated ones of each source: the area under the curve that tells them apart,
    clean accuracy and accuracy under PGD), and the averaged weights are exported with their card, with ℓ₀ (P2 Eq. 14)
    of those images. The last export's ℓ₀ is of all held-out real images. Under `accelerate launch` each process takes
    its share of every batch.
    Raises ValueError for an init classifier that no joint model can be made of, fewer images than a batch takes, or a
    folder that holds a run of another recipe.
    """
    from accelerate import Accelerator

    if recipe.batch_size > len(real.train):
        raise ValueError(f"a batch of {recipe.batch_size} is more than the {len(real.train)} real training images")
    accelerator = Accelerator(mixed_precision="bf16" if recipe.precision == "bf16" else "no")
    device = accelerator.device
    share = share_of_batch(recipe.batch_size, accelerator.num_processes)
    torch.manual_seed(recipe.seed)
    network, head = fresh_joint_network(init, len(real.classes))
    folder.mkdir(parents=True, exist_ok=True)
    arguments = {name: value for name, value in init.card.arguments.items() if name != "classes"}
    card = Card(
        name=recipe.name,
        kind="classifier",
        architecture=init.card.architecture,
        arguments=arguments,
        classes=real.classes,
        input_size=recipe.size,
        mean=init.card.mean,
        std=init.card.std,
        training={"recipe": dataclasses.asdict(recipe), "command": command},
        data=f"{real.data}; images of {', '.join(source.name for source in sources)}",
        license=init.card.license,
        source="trained for this project",
    )
    model = Classifier(network, card, feature_names(network)).to(device).to(memory_format=torch.channels_last)
    average = running_average(model, recipe.ema)
    heads = [p for name, p in model.named_parameters() if name.startswith(f"network.{head}.")]
    body = [p for name, p in model.named_parameters() if not name.startswith(f"network.{head}.")]
    optimizer = torch.optim.SGD(
        [
            {"params": [p for p in body if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in body if p.ndim <= 1], "weight_decay": 0.0},
            {"params": heads, "weight_decay": recipe.weight_decay},
        ],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=True,
    )
    first, elapsed = 0, 0.0
    ends: list[int] = []
    sums: dict[str, Tensor] = {}
    if (state := load_state(folder / "state.pt", dataclasses.asdict(recipe))) is not None:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first, elapsed, ends = state["step"], state["seconds"], state["ends"]
        sums = {name: total.to(device) for name, total in state["sums"].items()}
    if ends:
        card = dataclasses.replace(card, training={**card.training, "ended_before": ends})
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    mixture = Mixture(sources, recipe.weights)
    steps_per_epoch = len(real.train) // recipe.batch_size
    report_every = max(1, recipe.steps // reports)
    watch = _Watch(real, sources, watched, recipe.real_eps) if accelerator.is_main_process else None
    if watch is not None:
        # A run that was killed after its last state does these iterations, and their lines, once more.
        trim_log(folder / "log.jsonl", first)
    began = saved = time.monotonic()

    def write_state(step: int) -> None:
        if accelerator.is_main_process:
            save_state(
                folder / "state.pt",
                {
                    "recipe": dataclasses.asdict(recipe),
                    "step": step,
                    "seconds": elapsed + time.monotonic() - began,
                    "ends": ends,
                    "sums": sums,
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                },
            )

    def attack(images: Tensor, labels: Tensor, generated: Tensor, generated_labels: Tensor, steps: int) -> Any:
        """Both kinds attacked, in eval mode, and the means that the log tells."""
        model.eval()
        less = attacked(
            ClassLogit(model, labels, "down", accelerator.autocast),
            images,
            recipe.real_eps,
            recipe.real_step_size,
            recipe.real_steps,
        )
        bound = accelerator.reduce(less.real.mean(), "mean")
        more = attacked(
            ClassLogit(model, generated_labels, "up", accelerator.autocast),
            generated,
            recipe.generated_eps,
            recipe.generated_step_size,
            steps,
            bound,
        )
        model.train()
        told = {"real": less.real.mean(), "generated": more.real.mean(), "stopped": more.stopped.float().mean()}
        return less.images, more.images, told

    model.train()
    order, order_of = torch.empty(0), -1
    progress = tqdm(
        range(first, recipe.steps),
        initial=first,
        total=recipe.steps,
        desc=recipe.name,
        mininterval=5,
        disable=not accelerator.is_main_process,
    )
    for step in progress:
        epoch, within = divmod(step, steps_per_epoch)
        if epoch != order_of:
            draws = torch.Generator().manual_seed(recipe.seed * 10_007 + epoch)
            order, order_of = torch.randperm(len(real.train), generator=draws), epoch
        mine = accelerator.process_index * share
        # Every draw of this step comes from here, so a resumed run repeats an unbroken one.
        draws = torch.Generator().manual_seed((recipe.seed * 1_000_003 + step) * 64 + accelerator.process_index)
        index = order[within * recipe.batch_size + mine :][:share]
        labels = real.train.labels[index].to(device)
        generated, generated_labels = mixture.draw(step * recipe.batch_size + mine, share, draws)
        generated_labels = generated_labels.to(device)
        # The same for both, or it would tell them apart.
        both = augment(torch.cat([real.train.floats(index), generated]), recipe.augmentation, draws, recipe.size)
        images, generated = both.to(device, memory_format=torch.channels_last).split(share)
        now = generated_steps(step, recipe)
        told: dict[str, Tensor] = {}
        if not recipe.vanilla:
            images, generated, told = attack(images, labels, generated, generated_labels, now)
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
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach()
        if step % 20 == 0:
            progress.set_postfix(T=now, loss=f"{terms['loss'].item():.3f}")
        last = step + 1 == recipe.steps
        if (step + 1) % report_every == 0 or last:
            if watch is not None:
                average.eval()
                with accelerator.autocast():
                    seen = watch(average.module)
                counted = sums.pop("iterations")
                means = {name: (total / counted).item() for name, total in sums.items()}
                append_log(
                    folder / "log.jsonl",
                    {
                        "step": step + 1,
                        "seconds": elapsed + time.monotonic() - began,
                        "T": 0 if recipe.vanilla else now,
                        **means,
                        **seen,
                    },
                )
                tqdm.write(
                    f"{recipe.name} {step + 1}: "
                    + ", ".join(
                        f"{name} {value:.3f}" for name, value in (means | seen).items() if isinstance(value, float)
                    )
                )
                export(average.module.get_submodule("network"), dataclasses.replace(card, l0=seen["l0"]), folder)
            sums = {}
        if last or time.monotonic() - saved > 60 * save_minutes:
            write_state(step + 1)
            saved = time.monotonic()
    return _finished(average.module, card, real, folder, accelerator.is_main_process)


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
