"""Losses of GANs, each as its paper writes it: a discriminator's and a generator's from realism logits, and extras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AdversarialLoss:
    """discriminator(real, fake) and generator(fake): means over realism logits (N,), each to be minimised."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Mean of max(0, 1 - D(x)) over real and max(0, 1 + D(G(z))) over generated (Lim & Ye 2017)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def discriminator_logistic(real: Tensor, fake: Tensor) -> Tensor:
    """-log σ(D(x)) over real and -log(1 - σ(D(G(z)))) over generated (Goodfellow et al. 2014, Eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_non_saturating(fake: Tensor) -> Tensor:
    """-log σ(D(G(z))) (Goodfellow et al. 2014, Section 3)."""
    return F.softplus(-fake).mean()


def discriminator_wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """D(G(z)) - D(x) in the mean (Arjovsky et al. 2017, Eq. 2)."""
    return fake.mean() - real.mean()


def generator_of_the_mean(fake: Tensor) -> Tensor:
    """-D(G(z)) in the mean: the generator's side of the hinge and of the Wasserstein loss."""
    return -fake.mean()


ADVERSARIAL = {
    "hinge": AdversarialLoss(discriminator_hinge, generator_of_the_mean),
    "non-saturating": AdversarialLoss(discriminator_logistic, generator_non_saturating),
    "wasserstein": AdversarialLoss(discriminator_wasserstein, generator_of_the_mean),
}


def gradient_penalty(realism_of: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor) -> Tensor:
    """Mean of (‖∇D(x̂)‖₂ - 1)² at x̂ = mix·real + (1 - mix)·fake (Gulrajani et al. 2017, Eq. 3).

    real, fake: (N, 3, H, W). mix: (N,) in [0, 1]. realism_of: images -> (N,), no image's depending on another.
    """
    weight = mix.view(-1, 1, 1, 1)
    between = (weight * real + (1 - weight) * fake).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(realism_of(between).sum(), between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()


def rotated(images: Tensor) -> tuple[Tensor, Tensor]:
    """The first quarter of images (N, 3, S, S) as they are, the second turned by 90°, then 180° and 270°, and the
    number (N,) of quarter turns of each (SSGAN, Chen et al. 2019)."""
    turns = torch.arange(len(images)) * 4 // max(1, len(images))
    parts = [torch.rot90(images[turns == turn], turn, (2, 3)) for turn in range(4)]
    return torch.cat(parts), turns.to(images.device)


def infonce(local: Tensor, pooled: Tensor) -> Tensor:
    """Contrastive loss that binds an image's global features to its own local ones (InfoMax-GAN, Lee et al. 2021).

    local: (N, R, L), projected features at L places; pooled: (N, R). For each of an image's places: the cross-entropy
    of its score with its own image's global features against the scores of all places of the other images with these.
    """
    count, _, places = local.shape
    # scores[i, j, l]: global features of image i with place l of image j.
    scores = torch.einsum("ir,jrl->ijl", pooled, local)
    own = scores.diagonal().T  # (N, L)
    others = scores.masked_fill(torch.eye(count, dtype=torch.bool, device=scores.device)[:, :, None], float("-inf"))
    against = others.flatten(1).logsumexp(1, keepdim=True).expand(count, places)
    return (torch.logaddexp(own, against) - own).mean()


def evidence_lower_bound(
    images: Tensor, decoded: Tensor, mean: Tensor, log_variance: Tensor, deviation: float
) -> Tensor:
    """Negative ELBO per image up to a constant, in the mean (Kingma & Welling 2014, Eq. 10).

    ‖x - x'‖²/2σ² of images (N, 3, H, W) and their reconstructions, with σ = deviation, plus the divergence of
    N(mean, exp(log_variance)), both (N, Z), from the standard normal.
    """
    misfit = (images - decoded).square().flatten(1).sum(1) / (2 * deviation**2)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
    return (misfit + divergence).mean()
