"""Any diffusers pipeline of images, class-conditional or not, from its folder or the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bigroc_core.cards import CIFAR10_CLASSES, Card, card_of_folder, read_card
from bigroc_core.classifiers.checkpoints import weights_only
from bigroc_core.classifiers.foreign import class_names
from bigroc_core.generators.sampling import Generator, index_seed


@dataclass(frozen=True)
class HubPipeline:
    """A published pipeline under a name of ours: its repository, how it is called, and what the papers call it."""

    repo: str
    arguments: dict[str, Any]
    title: str


# Timesteps as OpenAI published them for two steps; a pipeline asked for two steps alone would space them otherwise.
HUB_PIPELINES = {
    "ct-imagenet64-1": HubPipeline(
        "openai/diffusers-ct_imagenet64", {"num_inference_steps": 1}, "Consistency training, 1 step"
    ),
    "ct-imagenet64-2": HubPipeline(
        "openai/diffusers-ct_imagenet64",
        {"num_inference_steps": None, "timesteps": [106, 0]},
        "Consistency training, 2 steps",
    ),
    "cd-imagenet64-1": HubPipeline(
        "openai/diffusers-cd_imagenet64_l2", {"num_inference_steps": 1}, "Consistency distillation, 1 step"
    ),
    "cd-imagenet64-2": HubPipeline(
        "openai/diffusers-cd_imagenet64_l2",
        {"num_inference_steps": None, "timesteps": [22, 0]},
        "Consistency distillation, 2 steps",
    ),
    "ddpm-cifar10": HubPipeline("google/ddpm-cifar10-32", {}, "DDPM, CIFAR-10"),
}

# How an image is asked for, in numbers; everything else of a pipeline's call is ours.
SETTINGS = ("num_inference_steps", "timesteps", "eta", "guidance_scale")


class PipelineSampler:
    """Draws images with a diffusers pipeline: one generator state per image, labels always given.

    Left alone a pipeline draws labels from the global state and does not return them.
    """

    def __init__(self, pipeline: Any, settings: Mapping[str, Any], classes: int, block: int) -> None:
        self.pipeline = pipeline
        self.settings = dict(settings)
        self.classes = classes
        self.block = block

    @property
    def network(self) -> Any:
        """The network that the pipeline evaluates."""
        return _network(self.pipeline)

    def __call__(self, seed: int, indices: range, labels: Tensor | None) -> Tensor:
        """Images (n, 3, H, W) in [0, 1] of these indices of a seed, with labels (n,) where the pipeline has classes."""
        states = [torch.Generator().manual_seed(index_seed(seed, index)) for index in indices]
        asked: dict[str, Any] = {"generator": states, "output_type": "np", **self.settings}
        parameters = inspect.signature(self.pipeline.__call__).parameters
        if "batch_size" in parameters:
            asked["batch_size"] = len(states)
        if self.classes:
            assert labels is not None
            asked["class_labels"] = labels.tolist()
        images = torch.from_numpy(self.pipeline(**asked).images).float()
        return images.permute(0, 3, 1, 2).clamp(0, 1)


def load_pipeline(
    source: str | Path, device: torch.device | str = "cpu", settings: Mapping[str, Any] | None = None
) -> Generator:
    """A generator from a pipeline that diffusers saved (a folder), a repository of the Hub, or a name in HUB_PIPELINES.

    settings: num_inference_steps, timesteps, eta or guidance_scale, as the pipeline's call has them. A card beside a
    folder says what it is, and in its arguments the number of steps to take unless told, and the timesteps for so many
    steps. float16 on CUDA.
    Nothing is unpickled and no code of a repository is run. Raises ValueError if diffusers is not installed, the
    folder or repository cannot be read, its card describes another, or a setting does not fit; ConnectionError if it
    cannot be fetched.
    """
    entry = HUB_PIPELINES.get(str(source))
    where = entry.repo if entry else str(source)
    text = card_of_folder(Path(where))
    given = read_card(text) if entry is None and Path(where).is_dir() and text.is_file() else None
    device = torch.device(device)
    pipeline = _read(where, torch.float16 if device.type == "cuda" else torch.float32)
    chosen = {**(entry.arguments if entry else {}), **(settings or {})}
    if given is not None:
        chosen = _as_the_card_says(given, chosen, text)
    parameters = inspect.signature(pipeline.__call__).parameters
    if unfit := [name for name in chosen if name not in SETTINGS or name not in parameters]:
        known = [name for name in SETTINGS if name in parameters]
        raise ValueError(f"{where} is a {type(pipeline).__name__}, which takes {known}, not {unfit}")
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    network = _network(pipeline)
    if network is None or "generator" not in parameters:
        raise ValueError(f"{where} is a {type(pipeline).__name__}; only pipelines of pixels from noise can be used")
    classes = _classes(network) if "class_labels" in parameters else 0
    side = _side(pipeline, network)
    if given is None:
        card = Card(
            name=str(source) if entry else Path(where).name,
            kind="generator",
            architecture="diffusers",
            arguments={"repo": where, **chosen},
            classes=_names(classes),
            conditional=classes > 0,
            input_size=(side, side),
            title=entry.title if entry else type(pipeline).__name__,
            source=where,
        )
    else:
        told = (given.kind, given.architecture, given.input_size, len(given.classes) if given.conditional else 0)
        if told != ("generator", "diffusers", (side, side), classes):
            raise ValueError(
                f"the card {text} describes another model: this is a diffusers pipeline of {side}×{side} images "
                f"with {classes} classes"
            )
        card = dataclasses.replace(given, arguments=chosen)
    return Generator(PipelineSampler(pipeline, chosen, classes, pipeline_block(device, side)), card)


def pipeline_block(device: torch.device, side: int) -> int:
    """How many images of a side a pipeline draws at once: memory for activations grows with the pixels, and a CPU
    gains little from larger batches."""
    return max(1, (2**18 if device.type == "cuda" else 2**14) // side**2)


def _as_the_card_says(card: Card, settings: Mapping[str, Any], text: Path) -> dict[str, Any]:
    """Settings for a pipeline's call: the card's where not given, with the card's timesteps for so many steps."""
    stored = dict(card.arguments)
    timesteps = stored.pop("timesteps", {})
    if not isinstance(timesteps, dict) or not all(
        steps.isdecimal() and isinstance(values, list) and values and all(type(step) is int for step in values)
        for steps, values in timesteps.items()
    ):
        raise ValueError(f'the card {text} has impossible timesteps, which are listed by steps, {{"2": [106, 0]}}')
    chosen = {**stored, **settings}
    if (known := timesteps.get(str(chosen.get("num_inference_steps")))) is not None:
        chosen |= {"num_inference_steps": None, "timesteps": known}
    return chosen


def _network(pipeline: Any) -> Any:
    return getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)


def _read(where: str, dtype: torch.dtype) -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ValueError(f"{where} needs the package diffusers, which is missing: pip install diffusers") from error
    local = Path(where).is_dir()
    try:
        with weights_only(), _without_bars():
            return diffusers.DiffusionPipeline.from_pretrained(where, torch_dtype=dtype, low_cpu_mem_usage=False)
    except Exception as error:  # diffusers, huggingface_hub and their HTTP client each have exceptions of their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        if local:
            raise ValueError(f"{where} cannot be read as a diffusers pipeline: {reason}") from error
        raise ConnectionError(
            f"the diffusers pipeline {where} could not be fetched from the Hugging Face Hub: {reason}. Without a "
            "network the embedded generators serve (python -m bigroc_core generators)"
        ) from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without diffusers' progress bars, which would stand among the lines of our commands."""
    from diffusers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def parse_settings(text: str) -> dict[str, Any]:
    """Settings as they stand behind a "?" on the command line: "num_inference_steps=50&eta=0.5", "timesteps=22,0".

    Raises ValueError for another form.
    """
    settings: dict[str, Any] = {}
    for part in text.split("&"):
        name, given, value = part.partition("=")
        try:
            if not given or name not in SETTINGS:
                raise ValueError
            if name == "timesteps":
                settings |= {name: [int(step) for step in value.split(",")], "num_inference_steps": None}
            else:
                settings[name] = int(value) if name == "num_inference_steps" else float(value)
        except ValueError as error:
            raise ValueError(
                f"{part!r} is no setting of a generator; expected for instance num_inference_steps=50, timesteps=22,0 "
                "or eta=0.5"
            ) from error
    return settings


def _classes(network: Any) -> int:
    config = network.config
    count = config.get("num_class_embeds") or config.get("num_embeds_ada_norm")
    return int(count or 0)


def _side(pipeline: Any, network: Any) -> int:
    side = network.config.sample_size
    vae = getattr(pipeline, "vae", None)
    scale = 2 ** (len(vae.config.block_out_channels) - 1) if vae is not None else 1
    return int(side if isinstance(side, int) else side[0]) * scale


def _names(classes: int) -> tuple[str, ...]:
    """ImageNet's names for its thousand classes, CIFAR-10's for ten, else numbers."""
    return class_names(classes, cifar10=classes == len(CIFAR10_CLASSES)) if classes else ()
