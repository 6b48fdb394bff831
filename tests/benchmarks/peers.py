"""L2 PGD towards given classes by other libraries and by P1's published loop, each as `attack(images, labels)`.

All of them get the same network, ε, α and T, start at the images themselves and take every step.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bigroc_core as bc

Attack = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Setting:
    """What every contender is asked for: an L2 radius, T and α, of images in [0, 1] with so many classes."""

    eps: float
    steps: int
    alpha: float
    classes: int
    side: int


def ours(network: nn.Module, setting: Setting) -> Attack:
    """This project's `boost`."""
    config = bc.BoostConfig(eps=setting.eps, steps=setting.steps, step_size=setting.alpha)
    return lambda images, labels: bc.boost(network, images, labels, config=config).images


def ours_fast(network: nn.Module, setting: Setting) -> Attack:
    """The same with `precision="fast"`."""
    config = bc.BoostConfig(eps=setting.eps, steps=setting.steps, step_size=setting.alpha)
    return lambda images, labels: bc.boost(network, images, labels, config=config, precision="fast").images


def published_loop(network: nn.Module, setting: Setting) -> Attack:
    """P1's notebook: a plain loop, the network as it comes in eval mode."""

    def attack(images: Tensor, labels: Tensor) -> Tensor:
        delta = torch.zeros_like(images)
        for _ in range(setting.steps):
            delta = delta.detach().requires_grad_(True)
            loss = F.cross_entropy(network(images + delta), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, delta)
            length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            delta = delta.detach() - setting.alpha * gradient / length
            length = delta.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            delta = delta * (setting.eps / length).clamp(max=1)
            delta = (images + delta).clamp(0, 1) - images
        return images + delta

    return attack


def torchattacks(network: nn.Module, setting: Setting) -> Attack:
    """torchattacks' PGDL2, targeted."""
    attack = importlib.import_module("torchattacks").PGDL2(
        network, eps=setting.eps, alpha=setting.alpha, steps=setting.steps, random_start=False
    )
    attack.set_mode_targeted_by_label(quiet=True)
    return attack


def foolbox(network: nn.Module, setting: Setting) -> Attack:
    """foolbox' L2 PGD with a targeted criterion."""
    library = importlib.import_module("foolbox")
    model = library.PyTorchModel(network, bounds=(0, 1), device=next(network.parameters()).device)
    attack = library.attacks.L2PGD(abs_stepsize=setting.alpha, steps=setting.steps, random_start=False)

    def run(images: Tensor, labels: Tensor) -> Tensor:
        found: Tensor = attack.run(
            model, images, library.criteria.TargetedMisclassification(labels), epsilon=setting.eps
        )
        return found

    return run


@contextmanager
def _as_robustness_expects() -> Any:
    """A torchvision of 2019; and where there is no CUDA, `.cuda()` that does nothing."""
    utils = types.ModuleType("torchvision.models.utils")
    utils.load_state_dict_from_url = torch.hub.load_state_dict_from_url  # type: ignore[attr-defined]
    sys.modules["torchvision.models.utils"] = utils
    kept = nn.Module.cuda, Tensor.cuda
    if not torch.cuda.is_available():
        nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[assignment,method-assign]
        Tensor.cuda = lambda self, *_, **__: self  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        nn.Module.cuda, Tensor.cuda = kept  # type: ignore[method-assign]


def robustness(network: nn.Module, setting: Setting) -> Attack:
    """The `robustness` library's attacker, whose normalisation is the identity here: the network has its own."""
    with _as_robustness_expects():
        attacker = importlib.import_module("robustness.attacker")
    dataset = types.SimpleNamespace(mean=torch.zeros(3), std=torch.ones(3))

    class Undecorated(nn.Module):
        """The library passes keywords that other networks do not take."""

        def forward(self, images: Tensor, **_: Any) -> Any:
            return network(images)

    with _as_robustness_expects():
        model = attacker.AttackerModel(Undecorated(), dataset).eval()
        device = next(network.parameters()).device
        model.normalizer.new_mean = model.normalizer.new_mean.to(device)
        model.normalizer.new_std = model.normalizer.new_std.to(device)

    def run(images: Tensor, labels: Tensor) -> Tensor:
        with _as_robustness_expects():
            _, found = model(
                images,
                labels,
                make_adv=True,
                constraint="2",
                eps=setting.eps,
                step_size=setting.alpha,
                iterations=setting.steps,
                targeted=True,
                random_start=False,
                do_tqdm=False,
                use_best=False,
                should_normalize=True,
            )
        return found.detach()

    return run


def art(network: nn.Module, setting: Setting) -> Attack:
    """The Adversarial Robustness Toolbox' projected gradient descent."""
    estimators = importlib.import_module("art.estimators.classification")
    evasion = importlib.import_module("art.attacks.evasion")
    device = next(network.parameters()).device
    estimator = estimators.PyTorchClassifier(
        model=network,
        loss=nn.CrossEntropyLoss(),
        input_shape=(3, setting.side, setting.side),
        nb_classes=setting.classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if device.type == "cuda" else "cpu",
    )

    def run(images: Tensor, labels: Tensor) -> Tensor:
        attack = evasion.ProjectedGradientDescent(
            estimator,
            norm=2,
            eps=setting.eps,
            eps_step=setting.alpha,
            max_iter=setting.steps,
            targeted=True,
            num_random_init=0,
            batch_size=len(images),
            verbose=False,
        )
        wanted = F.one_hot(labels, setting.classes).float()
        return torch.from_numpy(attack.generate(images.cpu().numpy(), wanted.cpu().numpy())).to(device)

    return run


CONTENDERS: dict[str, Callable[[nn.Module, Setting], Attack]] = {
    "ours": ours,
    "ours, fast": ours_fast,
    "P1's loop": published_loop,
    "torchattacks": torchattacks,
    "foolbox": foolbox,
    "robustness": robustness,
    "ART": art,
}
