"""Any diffusers pipeline of images, class-conditional or not, from its folder or the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bigroc_core.cards import CIFAR10_CLASSES, MAX_SIDE, Card, card_of_folder, read_card
from bigroc_core.classifiers.foreign import class_guess, class_names
from bigroc_core.engine.batching import is_out_of_memory
from bigroc_core.fingerprints import digest_of_weights
from bigroc_core.generators.pipeline_folders import classes_in, read_pipeline
from bigroc_core.generators.sampling import Generator, index_seed
from bigroc_core.messages import short


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


# One class more than these is the null class of classifier-free guidance.
_NULL_CLASS_OF = (10, 100, 1000)


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
        """Images (n, 3, H, W) in [0, 1] of these indices of a seed, with labels (n,) where the pipeline has classes.

        Grey ones get three equal channels. Raises ValueError, one line, if the pipeline cannot draw with its settings.
        """
        states = [torch.Generator().manual_seed(index_seed(seed, index)) for index in indices]
        asked: dict[str, Any] = {"generator": states, "output_type": "np", **self.settings}
        parameters = inspect.signature(self.pipeline.__call__).parameters
        if "batch_size" in parameters:
            asked["batch_size"] = len(states)
        if self.classes:
            assert labels is not None
            asked["class_labels"] = labels.tolist()
        try:
            images = torch.from_numpy(self.pipeline(**asked).images).float()
        except Exception as error:  # schedulers refuse steps that they cannot space with whatever numpy raises
            if is_out_of_memory(error):
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            said = ", ".join(f"{name}={value}" for name, value in self.settings.items()) or "its own settings"
            raise ValueError(
                f"{type(self.pipeline).__name__} cannot draw with {said}: {reason}; try another num_inference_steps"
            ) from error
        images = images.permute(0, 3, 1, 2).clamp(0, 1)
        return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images

    def fingerprint(self) -> str:
        """See Sampler."""
        parts = self.pipeline.components
        networks = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
        schedule = parts.get("scheduler")
        # What begins with "_" diffusers keeps for itself: where a part was read from, and in no fixed order.
        told = {name: str(value) for name, value in getattr(schedule, "config", {}).items() if name[:1] != "_"}
        described = [type(self.pipeline).__name__, type(schedule).__name__, sorted(told.items())]
        return digest_of_weights([*described, str(sorted(self.settings.items()))], nn.ModuleDict(networks))


def load_pipeline(
    source: str | Path, device: torch.device | str = "cpu", settings: Mapping[str, Any] | None = None
) -> Generator:
    """A generator from a pipeline that diffusers saved (a folder), a repository of the Hub, or a name in HUB_PIPELINES.

    settings: num_inference_steps, timesteps, eta or guidance_scale, as the pipeline's call has them. A card beside a
    folder says what it is, and in its arguments the number of steps to take unless told, and the timesteps for so many
    steps. float16 on CUDA.
    Nothing is unpickled and no code of a folder or repository is run. Raises ValueError if diffusers is not installed,
    the folder or repository cannot be read, its card describes another, or a setting does not fit, or both the number
    of steps and the timesteps are given; ConnectionError if it cannot be fetched.
    """
    entry = HUB_PIPELINES.get(str(source))
    where = entry.repo if entry else str(source)
    text = card_of_folder(Path(where))
    given = read_card(text) if entry is None and Path(where).is_dir() and text.is_file() else None
    device = torch.device(device)
    pipeline, notes = read_pipeline(where, torch.float16 if device.type == "cuda" else torch.float32)
    chosen = _called_with(entry.arguments if entry else {}, settings or {})
    if given is not None:
        chosen = _as_the_card_says(given, chosen, text)
    parameters = inspect.signature(pipeline.__call__).parameters
    if unfit := [name for name in chosen if name not in SETTINGS or name not in parameters]:
        known = [name for name in SETTINGS if name in parameters]
        raise ValueError(f"{where} is a {type(pipeline).__name__}, which takes {known}, not {unfit}")
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    network = _network(pipeline)
    if network is None or "generator" not in parameters or "prompt" in parameters:
        raise ValueError(f"{where} is a {type(pipeline).__name__}; only pipelines of pixels from noise can be used")
    embedded = classes_in(network.config) if "class_labels" in parameters else 0
    size, channels = _output(where, pipeline, network)
    if channels not in (1, 3):
        raise ValueError(f"{where} draws images of {channels} channels; only grey and colour ones can be used")
    if channels == 1:
        notes = (*notes, "its grey images are given three equal channels")
    classes = embedded
    if embedded - 1 in _NULL_CLASS_OF and "num_class_embeds" in network.config:
        told = len(given.classes) if given is not None else embedded - 1
        classes = embedded if told == embedded else embedded - 1
        if classes != embedded:
            notes = (*notes, f"its {embedded} class embeddings are taken as {classes} classes and a null class")
    if entry is None and given is None:
        notes = (*notes, *class_guess(classes, cifar10=_is_cifar10(classes)))
    card = _card(source, where, entry, type(pipeline).__name__, classes, size, chosen)
    if given is not None:
        said = (given.kind, given.architecture, given.input_size, len(given.classes) if given.conditional else 0)
        if said != ("generator", "diffusers", size, classes):
            raise ValueError(
                f"the card {text} describes another model: this is a diffusers pipeline of {size[0]}×{size[1]} images "
                f"with {classes} classes"
            )
        card = dataclasses.replace(given, arguments=chosen)
    block = pipeline_block(device, max(size))
    return Generator(PipelineSampler(pipeline, chosen, classes, block), card, notes)


def _card(
    source: str | Path,
    where: str,
    entry: HubPipeline | None,
    kind: str,
    classes: int,
    size: tuple[int, int],
    settings: Mapping[str, Any],
) -> Card:
    """The card of a pipeline that has none."""
    return Card(
        name=str(source) if entry else Path(where).name,
        kind="generator",
        architecture="diffusers",
        arguments={"repo": where, **settings},
        classes=_names(classes),
        conditional=classes > 0,
        input_size=size,
        title=entry.title if entry else kind,
        source=where,
    )


def pipeline_block(device: torch.device, side: int) -> int:
    """How many images of a side a pipeline draws at once: memory for activations grows with the pixels, and a CPU
    gains little from larger batches."""
    return max(1, (2**18 if device.type == "cuda" else 2**14) // side**2)


def _called_with(arguments: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """A name's arguments with the settings asked for in their place; a number of steps takes that of timesteps, too."""
    _check_steps(settings)
    counted = settings.get("num_inference_steps") is not None
    return {name: value for name, value in arguments.items() if name != "timesteps" or not counted} | {**settings}


def _check_steps(settings: Mapping[str, Any]) -> None:
    """ValueError where both a number of steps and the steps themselves are given, of which a pipeline follows one."""
    if settings.get("num_inference_steps") is not None and settings.get("timesteps") is not None:
        raise ValueError("num_inference_steps and timesteps both say which steps are taken: give one of them")


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


def parse_settings(text: str) -> dict[str, Any]:
    """Settings as they stand behind a "?" on the command line: "num_inference_steps=50&eta=0.5", "timesteps=22,0".

    Raises ValueError for another form, and where both the number of steps and the timesteps are given.
    """
    settings: dict[str, Any] = {}
    for part in text.split("&"):
        name, given, value = part.partition("=")
        try:
            if not given or name not in SETTINGS:
                raise ValueError
            if name == "timesteps":
                settings[name] = [int(step) for step in value.split(",")]
            else:
                settings[name] = int(value) if name == "num_inference_steps" else float(value)
        except ValueError as error:
            raise ValueError(
                f"{short(part)} is no setting of a generator; expected for instance num_inference_steps=50, "
                "timesteps=22,0 or eta=0.5"
            ) from error
    _check_steps(settings)
    return {"num_inference_steps": None, **settings} if "timesteps" in settings else settings


@torch.no_grad()
def _output(where: str, pipeline: Any, network: Any) -> tuple[tuple[int, int], int]:
    """Height and width of what comes out, and its channels: the network's own, or its decoder's, by decoding."""
    side = network.config.sample_size
    sides = (side, side) if isinstance(side, int) else tuple(side) if isinstance(side, list | tuple) else ()
    if len(sides) != 2 or not all(type(one) is int and 0 < one <= MAX_SIDE for one in sides):
        raise ValueError(f"{where} does not say the size of its images: sample_size is {str(side)[:80]}")
    decoder = getattr(pipeline, "vae", None) or getattr(pipeline, "vqvae", None)
    if decoder is None:
        return (sides[0], sides[1]), int(network.config.in_channels)
    latent = torch.zeros((1, decoder.config.latent_channels, 8, 8), dtype=decoder.dtype, device=decoder.device)
    try:
        decoded = decoder.decode(latent).sample
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"{where} cannot decode its latents: {reason}") from error
    return (sides[0] * decoded.shape[2] // 8, sides[1] * decoded.shape[3] // 8), int(decoded.shape[1])


def _names(classes: int) -> tuple[str, ...]:
    """ImageNet's names for its thousand classes, CIFAR-10's for ten, else numbers."""
    return class_names(classes, cifar10=_is_cifar10(classes)) if classes else ()


def _is_cifar10(classes: int) -> bool:
    return classes == len(CIFAR10_CLASSES)
