"""Classifiers others publish: on the Hugging Face Hub, by torchvision, by timm, in RobustBench's zoo.

What cannot be fetched raises ConnectionError, what does not exist or does not fit ValueError; each is one line.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from bigroc_core.cards import Card
from bigroc_core.classifiers.architectures import did_you_mean, import_timm, new_network
from bigroc_core.classifiers.checkpoints import read_checkpoint, weights_only
from bigroc_core.classifiers.foreign import Loaded, class_names
from bigroc_core.classifiers.preprocessing import timm_preprocessing, weights_preprocessing
from bigroc_core.classifiers.state_dicts import load_weights, state_dict_of

T = TypeVar("T")


@dataclass(frozen=True)
class HubEntry:
    """A published checkpoint: its repository and file on the Hugging Face Hub, its architecture and classes."""

    repo: str
    file: str
    architecture: str
    classes: int
    title: str


def _salman(name: str, architecture: str, network: str) -> tuple[str, HubEntry]:
    title = f"{network}, ImageNet, L2-robust, ε = 3 (Salman et al. 2020)"
    repo = "madrylab/robust-imagenet-models"
    return f"madrylab/{name}", HubEntry(repo, f"{name}.ckpt", architecture, 1000, title)


HUB_CLASSIFIERS = dict(
    (
        _salman("resnet18_l2_eps3", "resnet18", "ResNet-18"),
        _salman("resnet50_l2_eps3", "resnet50", "ResNet-50"),
        _salman("wide_resnet50_2_l2_eps3", "wide_resnet50_2", "WRN-50-2"),
        _salman("wide_resnet50_4_l2_eps3", "wide_resnet50_4", "WRN-50-4"),
    )
)


def _downloaded(wanted: str, where: str, download: Callable[[], T]) -> T:
    try:
        return download()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{wanted} is refused: its file at {where} holds more than weights") from error
    except Exception as error:  # each library's HTTP client has its own exceptions, changing between versions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ConnectionError(f"{wanted} could not be fetched from {where}: {reason}") from error


def hub_file(repo: str, file: str, wanted: str) -> Path:
    """A file of a Hub repository, from the local cache or the network."""
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    except ImportError as error:
        raise ValueError(f"{wanted} needs the huggingface_hub package: pip install huggingface_hub") from error

    def download() -> str:
        cached = try_to_load_from_cache(repo, file)
        if isinstance(cached, str):
            return cached
        # Asked once: the download itself would retry for half a minute before it says that there is no network.
        get_hf_file_metadata(hf_hub_url(repo, file), timeout=10)
        return hf_hub_download(repo, file)

    return Path(_downloaded(wanted, f"huggingface.co/{repo} (file {file})", download))


def hub_file_named(name: str) -> Path:
    """The file that "hub:OWNER/REPO/FILE" names."""
    parts = name.removeprefix("hub:").split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{name!r} does not name a file on the Hub: write hub:OWNER/REPO/FILE")
    return hub_file(f"{parts[0]}/{parts[1]}", parts[2], name)


def torchvision_classifier(name: str) -> Loaded:
    """ "torchvision:NAME" with that library's default weights."""
    from torchvision import models

    architecture = name.removeprefix("torchvision:")
    known = models.list_models(module=models)
    if architecture not in known:
        raise ValueError(f"torchvision has no classifier {architecture!r}{did_you_mean(architecture, known)}")
    weights = models.get_model_weights(architecture).DEFAULT

    def download() -> dict[str, torch.Tensor]:
        state: dict[str, torch.Tensor] = weights.get_state_dict(progress=False, weights_only=True)
        return state

    state = _downloaded(name, weights.url, download)
    network = new_network(architecture, len(weights.meta["categories"]))
    load_weights(network, state, f"torchvision's weights and its {architecture}")
    transforms = weights.transforms()
    return Loaded(
        network,
        Card(
            name=name,
            kind="classifier",
            architecture=architecture,
            classes=tuple(weights.meta["categories"]),
            input_size=(transforms.crop_size[0], transforms.crop_size[0]),
            mean=channels("mean", transforms.mean),
            std=channels("std", transforms.std),
            title=f"torchvision's {architecture}",
            source=weights.url,
        ),
    )


def timm_classifier(name: str) -> Loaded:
    """ "timm:NAME" with that library's weights: its file on the Hub, read as any other."""
    timm = import_timm(name)
    model = name.removeprefix("timm:")
    settings = timm.models.get_pretrained_cfg(model) if timm.is_model(model.split(".")[0]) else None
    if settings is None or not settings.hf_hub_id:
        known = timm.list_models(pretrained=True)
        raise ValueError(f"timm publishes no weights for {model!r}{did_you_mean(model, known)}")
    path = hub_file(settings.hf_hub_id, settings.hf_hub_filename or "model.safetensors", name)
    network = new_network(name, settings.num_classes)
    load_weights(network, state_dict_of(read_checkpoint(path), name).weights, f"timm's weights and its {model}")
    return Loaded(
        network,
        Card(
            name=name,
            kind="classifier",
            architecture=name,
            classes=class_names(settings.num_classes, cifar10=False),
            input_size=(settings.input_size[1], settings.input_size[2]),
            mean=channels("mean", settings.mean),
            std=channels("std", settings.std),
            title=f"timm's {model}",
            license=settings.license or "",
            source=f"huggingface.co/{settings.hf_hub_id}",
        ),
    )


def robustbench_classifier(name: str) -> Loaded:
    """ "robustbench:[DATASET/THREAT/]MODEL" (default cifar10/L2), read without unpickling.

    The zoo's networks normalise inside, so they take images in [0, 1] as they are.
    """
    try:
        from robustbench.model_zoo import model_dicts
        from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel
        from robustbench.utils import load_model
    except ImportError as error:
        raise ValueError(
            f"{name} needs the robustbench package and what it requires ({error}): "
            "pip install git+https://github.com/RobustBench/robustbench"
        ) from error
    *place, model = name.removeprefix("robustbench:").split("/")
    if len(place) not in (0, 2):
        raise ValueError(f"{name!r} does not name a model of RobustBench: write robustbench:DATASET/THREAT/MODEL")
    dataset, threat = place or ("cifar10", "L2")
    datasets, threats = ([entry.value for entry in kind] for kind in (BenchmarkDataset, ThreatModel))
    if dataset not in datasets or threat not in threats:
        raise ValueError(
            f"RobustBench knows data sets {', '.join(datasets)} and threat models {', '.join(threats)}, "
            f"not {dataset}/{threat}"
        )
    zoo = model_dicts[BenchmarkDataset(dataset)][ThreatModel(threat)]
    if model not in zoo:
        raise ValueError(f"RobustBench has no {dataset} {threat} model {model!r}{did_you_mean(model, list(zoo))}")
    folder = Path(torch.hub.get_dir()) / "robustbench"

    def download() -> nn.Module:
        with weights_only():
            network: nn.Module = load_model(model, model_dir=folder, dataset=dataset, threat_model=threat)
        return network

    network = _downloaded(name, f"RobustBench's zoo (kept in {folder})", download).eval()
    size = (224, 224) if dataset == "imagenet" else (32, 32)
    with torch.no_grad():
        classes = network(torch.zeros(1, 3, *size)).shape[1]
    return Loaded(
        network,
        Card(
            name=name,
            kind="classifier",
            architecture=f"robustbench:{model}",
            input_size=size,
            classes=class_names(classes, cifar10=dataset == "cifar10"),
            title=f"RobustBench's {model} ({dataset}, {threat})",
            source="robustbench.github.io",
        ),
    )
