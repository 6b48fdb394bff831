"""Models as repositories of the Hugging Face Hub: weights as safetensors, our card, and a README made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from safetensors.torch import save
from torch import Tensor, nn

from bigroc_core.card_text import hub_card
from bigroc_core.cards import read_card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.published import downloaded
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.files import write_bytes, write_text
from bigroc_core.generators.registry import load_generator
from bigroc_core.generators.sampling import Generator, LatentSampler

FILE, CARD = "model.safetensors", "model.json"
# The Hub counts downloads by it.
CONFIG = "config.json"


class HubModel(ModelHubMixin):
    """A classifier, or a generator of one network, with the Hub's `push_to_hub`, `save_pretrained`, `from_pretrained`.

    model: what `load_classifier` or `load_generator` gave. from_pretrained takes a repository, OWNER/NAME, or a folder,
    and runs and unpickles nothing of it; ValueError, one line, where the files do not fit.
    """

    model: Classifier | Generator

    def __init__(self, model: Classifier | Generator) -> None:
        if not isinstance(model, Classifier | Generator):
            given = type(model).__name__
            raise ValueError(f"a HubModel holds what load_classifier or load_generator gave, not a {given}")
        self.model = model

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The README: the card, as the Hub has it."""
        return ModelCard(hub_card(self.model.card))

    def _save_pretrained(self, save_directory: Path) -> None:
        network = _network_of(self.model)
        write_bytes(save_directory / FILE, save(_smallest(network.state_dict())))
        write_text(save_directory / CARD, self.model.card.to_json())
        write_text(save_directory / CONFIG, json.dumps({"library": "bigroc", "kind": self.model.card.kind}) + "\n")
        # What cannot be loaded again is said before it is pushed.
        _load(save_directory, self.model.card.kind)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **_kwargs: Any,
    ) -> HubModel:
        folder = Path(model_id)
        if not folder.is_dir():

            def download() -> str:
                return snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=[FILE, CARD],
                )

            folder = Path(downloaded(model_id, f"huggingface.co/{model_id}", download))
        return cls(_load(folder))


def _network_of(model: Classifier | Generator) -> nn.Module:
    if isinstance(model, Classifier):
        return model.network
    if not isinstance(model.sampler, LatentSampler):
        raise ValueError(f"{model.card.name} is a pipeline of diffusers: push it with that library's own push_to_hub")
    return model.sampler.network


def _smallest(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half precision where that holds each of them exactly, as it does those that come along."""
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    floats = {name: value for name, value in state.items() if value.is_floating_point()}
    exact = all(bool((value.half().to(value.dtype) == value).all()) for value in floats.values())
    return state | {name: value.half() for name, value in floats.items()} if exact else state


def _load(folder: Path, kind: str | None = None) -> Classifier | Generator:
    for name in (FILE, CARD):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}: it is no model that HubModel.push_to_hub made")
    generator = (kind or read_card(folder / CARD).kind) == "generator"
    return load_generator(str(folder / FILE)) if generator else load_classifier(folder / FILE)
