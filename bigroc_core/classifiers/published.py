"""Classifiers others publish: on the Hugging Face Hub, by torchvision, by timm.

What cannot be fetched raises ConnectionError, what does not exist or does not fit ValueError; each is one line.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from bigroc_core.cards import Card
from bigroc_core.classifiers.architectures import did_you_mean, import_timm, new_network, published_arguments
from bigroc_core.classifiers.checkpoints import read_checkpoint
from bigroc_core.classifiers.foreign import Loaded, class_names
from bigroc_core.classifiers.preprocessing import timm_preprocessing, weights_preprocessing
from bigroc_core.classifiers.state_dicts import load_weights, state_dict_of

T = TypeVar("T")


def downloaded(wanted: str, where: str, download: Callable[[], T]) -> T:
    """What `download` gives; ConnectionError, saying what was wanted and from where, if it fails."""
    try:
        return download()
    except pickle.UnpicklingError as error:
        raise ValueError(f"{wanted} is refused: its file at {where} holds more than weights") from error
    except Exception as error:  # each library's HTTP client has its own exceptions, changing between versions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise ConnectionError(f"{wanted} could not be fetched from {where}: {reason}") from error


def hub_file(repo: str, file: str, wanted: str, progress: Callable[[int, int], object] | None = None) -> Path:
    """A file of a Hub repository, from the local cache or the network.

    progress: called with (bytes fetched, all of them) while it is fetched.
    """
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
        return hf_hub_download(repo, file, tqdm_class=None if progress is None else _telling(progress))

    return Path(downloaded(wanted, f"huggingface.co/{repo} (file {file})", download))


def _telling(progress: Callable[[int, int], object]) -> Any:
    """A progress bar of huggingface_hub's that is not drawn but told."""
    from huggingface_hub.utils import tqdm

    class Told(tqdm):
        def update(self, n: float | None = 1) -> bool | None:
            moved: bool | None = super().update(n)
            self._fetched = getattr(self, "_fetched", 0) + int(n or 0)
            progress(self._fetched, int(self.total or 0))
            return moved

    return Told


def is_cached(repo: str, file: str) -> bool:
    """Whether a file of a Hub repository is on this machine already."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    return isinstance(try_to_load_from_cache(repo, file), str)


def hub_place(name: str) -> tuple[str, str]:
    """The repository and the file that "hub:OWNER/REPO/FILE" names; ValueError where it names none."""
    parts = name.removeprefix("hub:").split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise ValueError(f"{name!r} does not name a file on the Hub: write hub:OWNER/REPO/FILE")
    return f"{parts[0]}/{parts[1]}", parts[2]


def hub_file_named(name: str) -> Path:
    """The file that "hub:OWNER/REPO/FILE" names."""
    return hub_file(*hub_place(name), name)


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

    state = downloaded(name, weights.url, download)
    arguments = published_arguments(architecture)
    network = new_network(architecture, len(weights.meta["categories"]), **arguments)
    # Auxiliary heads, which take no part in inference, are not built.
    state = {key: value for key, value in state.items() if not key.startswith(("aux1.", "aux2.", "AuxLogits."))}
    load_weights(network, state, f"torchvision's weights and its {architecture}")
    known = weights_preprocessing(weights.transforms(), architecture)
    card = Card(
        name=name,
        kind="classifier",
        architecture=architecture,
        arguments=arguments,
        classes=tuple(weights.meta["categories"]),
        input_size=known.size,
        mean=known.mean,
        std=known.std,
        title=f"torchvision's {architecture}",
        source=weights.url,
    )
    return Loaded(network, card, known.notes)


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
    state = state_dict_of(read_checkpoint(path), name, {key: v.shape for key, v in network.state_dict().items()})
    load_weights(network, state.weights, f"timm's weights and its {model}")
    known = timm_preprocessing(settings.to_dict(), name)
    card = Card(
        name=name,
        kind="classifier",
        architecture=name,
        classes=class_names(settings.num_classes, cifar10=False),
        input_size=known.size,
        mean=known.mean,
        std=known.std,
        title=f"timm's {model}",
        license=settings.license or "",
        source=f"huggingface.co/{settings.hf_hub_id}",
    )
    return Loaded(network, card, (*known.notes, *state.notes))
