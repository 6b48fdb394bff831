"""Consistency training as improved by Song & Dhariwal (2023, "iCT"), of networks that diffusers samples from.

A consistency function f takes an image with noise of any level σ to the image without it; two points of the same noise
at neighbouring levels must come to the same image. There is no teacher but the network itself.
"""

from __future__ import annotations

import copy
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from bigroc_core.cards import Card, card_of_folder
from bigroc_core.generators.pipelines import PipelineSampler, pipeline_block
from bigroc_core.generators.sampling import Generator, Sampler

# The scheduler's grid that timesteps count in, as OpenAI's models have it; the levels of training are another matter.
TIMESTEPS = 201


def pseudo_huber(images: Tensor, others: Tensor, offset: float) -> Tensor:
    """√(‖x - y‖² + c²) - c of images (N, 3, H, W), per image (N,); c = offset (iCT, Eq. 8)."""
    return ((images - others).square().flatten(1).sum(1) + offset**2).sqrt() - offset


def huber_offset(dimensions: int) -> float:
    """iCT's c = 0.00054·√d for images of d numbers."""
    return 0.00054 * math.sqrt(dimensions)


def discretisation(step: int, steps: int, first: int, last: int) -> int:
    """How many intervals the noise levels have at a step of a run: doubled from `first` to `last`, each for as many
    steps (iCT, Section 3.4)."""
    doublings = math.floor(math.log2(last / first))
    each = max(1, steps // (doublings + 1))
    return int(min(first * 2 ** (step // each), last))


def noise_levels(scheduler: Any, intervals: int) -> Tensor:
    """(intervals + 1,) float64 noise levels σ, rising from the scheduler's least to its greatest."""
    ramp = type(scheduler).from_config(scheduler.config, num_train_timesteps=intervals + 1)
    return ramp.sigmas.double().flip(0)


def draw_intervals(levels: Tensor, count: int, log_sigma: tuple[float, float], draws: torch.Generator) -> Tensor:
    """(count,) indices i of intervals [σᵢ, σᵢ₊₁], each as likely as a lognormal σ is to lie in it (iCT, Eq. 10).

    log_sigma: mean and deviation of ln σ.
    """
    mean, deviation = log_sigma
    below = torch.erf((levels.log() - mean) / (math.sqrt(2) * deviation))
    return torch.multinomial(below.diff(), count, replacement=True, generator=draws)


class ConsistencyFunction(nn.Module):
    """f(x, σ) = c_skip(σ)·x + c_out(σ)·network(x / √(σ² + σ_data²), 250·ln σ), with f(x, σ_min) = x.

    Exactly what a ConsistencyModelPipeline computes in a step before it clips the image.
    """

    def __init__(self, unet: nn.Module, scheduler: Any) -> None:
        super().__init__()
        self.unet, self.scheduler = unet, scheduler

    def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """noisy: images (N, 3, H, W) in [-1, 1] plus noise of deviation sigma, (N,) float64; labels: (N,)."""
        wide = sigma.view(-1, 1, 1, 1)
        skip, out = (scale.float() for scale in self.scheduler.get_scalings_for_boundary_condition(wide))
        scaled = noisy / (wide.square() + self.scheduler.config.sigma_data**2).sqrt().float()
        found = self.unet(scaled, 250 * sigma.log(), class_labels=labels, return_dict=False)[0].float()
        return skip * noisy + out * found


def consistency_loss(
    student: nn.Module, teacher: nn.Module, images: Tensor, noise: Tensor, levels: Tensor, labels: Tensor | None
) -> Tensor:
    """Mean of d(f(x + σᵢ₊₁z, σᵢ₊₁), f(x + σᵢz, σᵢ)) / (σᵢ₊₁ - σᵢ), where the latter is held still (iCT, Eqs. 5, 7).

    images, noise: (N, 3, H, W); levels: (2, N) float64, σᵢ and σᵢ₊₁. student, teacher: the same function; the former
    may be wrapped for several processes.
    """
    lower, upper = levels
    with torch.no_grad():
        target = teacher(images + lower.view(-1, 1, 1, 1).float() * noise, lower, labels)
    found = student(images + upper.view(-1, 1, 1, 1).float() * noise, upper, labels)
    distance = pseudo_huber(found, target, huber_offset(images[0].numel()))
    return (distance / (upper - lower).float()).mean()


# ------------------------------------------------------------------------------------------- networks and pipelines


def timesteps_of(side: int) -> dict[str, list[int]]:
    """Timesteps of one and of two steps at a side in pixels, by their number.

    The second of two starts at σ = 0.82 at 32 pixels, as iCT has it for CIFAR-10, and at 1.53 above, as for ImageNet.
    """
    return {"1": [0], "2": [123 if side <= 32 else 111, 0]}


def consistency_scheduler() -> Any:
    """The scheduler that a pipeline of ours is sampled with."""
    from diffusers import CMStochasticIterativeScheduler

    return CMStochasticIterativeScheduler(num_train_timesteps=TIMESTEPS)


def build_unet(arguments: dict[str, Any], classes: int, side: int = 32) -> nn.Module:
    """diffusers' UNet2DModel for images of `side` pixels and so many classes, untrained, without attention unless the
    arguments ask for it; ValueError for arguments that it does not take."""
    from diffusers import UNet2DModel

    widths = arguments.get("block_out_channels", (16, 32, 64, 96))
    fixed = {"sample_size": side, "in_channels": 3, "out_channels": 3, "num_class_embeds": classes}
    try:
        if clash := sorted(set(fixed) & set(arguments)):
            raise ValueError(f"{clash[0]} is {fixed[clash[0]]} for these images")
        unet: nn.Module = UNet2DModel(
            **{  # type: ignore[assignment]
                "layers_per_block": 1,
                "block_out_channels": widths,
                "norm_num_groups": 8,
                "add_attention": False,
                "down_block_types": ["DownBlock2D"] * len(widths),
                "up_block_types": ["UpBlock2D"] * len(widths),
                **arguments,
                **fixed,
            }
        )
        # Some of what does not fit shows only in computing.
        with torch.no_grad():
            unet(torch.zeros(1, 3, side, side), 0, torch.zeros(1, dtype=torch.int64))
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"diffusers' UNet2DModel cannot be built with {arguments}: {reason}") from error
    return unet


def consistency_generators(unet: nn.Module, card: Card) -> list[Generator]:
    """The network as it is now, sampled by diffusers in one step and in two."""
    from diffusers import ConsistencyModelPipeline

    pipeline: Any = ConsistencyModelPipeline(unet.eval(), consistency_scheduler())
    pipeline.set_progress_bar_config(disable=True)
    samplers: list[Sampler] = [
        PipelineSampler(
            pipeline,
            {"num_inference_steps": None, "timesteps": timesteps},
            len(card.classes),
            pipeline_block(pipeline.device, card.input_size[0]),
        )
        for timesteps in card.arguments["timesteps"].values()
    ]
    return [Generator(sampler, card) for sampler in samplers]


def export_consistency(unet: nn.Module, card: Card, folder: Path) -> None:
    """Write folder/NAME, a ConsistencyModelPipeline with fp16 weights, and NAME.json.

    File by file, the weights by a rename: a kill at any moment leaves a pipeline that can be read, or none yet. Raises
    OSError, naming the folder, if it cannot be written.
    """
    place, written = folder / card.name, folder / f".{card.name}.tmp"
    try:
        _write_pipeline(unet, card, place, written)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise OSError(f"{place} could not be written: {str(error).splitlines()[0]}") from error
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _write_pipeline(unet: nn.Module, card: Card, place: Path, written: Path) -> None:
    """Write the pipeline at `written`, and move its files and its card to `place` and beside it."""
    from diffusers import ConsistencyModelPipeline

    half = copy.deepcopy(unet).half().to("cpu").to(memory_format=torch.contiguous_format)
    pipeline: Any = ConsistencyModelPipeline(half, consistency_scheduler())
    shutil.rmtree(written, ignore_errors=True)
    pipeline.save_pretrained(written, safe_serialization=True)
    (written / "card").write_text(card.to_json(), "utf-8")
    os.replace(written / "card", card_of_folder(place))
    # model_index.json, which tells that this is a pipeline, lies uppermost and comes last.
    files = [path for path in written.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: -len(path.parts)):
        target = place / path.relative_to(written)
        target.parent.mkdir(parents=True, exist_ok=True)
        # safetensors writes for the owner's eyes alone.
        path.chmod(card_of_folder(place).stat().st_mode)
        os.replace(path, target)
