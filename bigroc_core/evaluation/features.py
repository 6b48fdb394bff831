"""What a network makes of images: a named classifier's features, or those of torch-fidelity's Inception-v3.

A Fréchet distance in a classifier's features, the inputs of its last linear layer, is always "in NAME's features" and
is never called FID, which is that of Inception's 2,048 features.

Everything is measured on images rounded to 8 bits, so that a number here is the number of the files written.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from bigroc_core.classifiers.checkpoints import weights_only
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.engine.exactness import exact_arithmetic
from bigroc_core.engine.views import view_of
from bigroc_core.files import make_folder
from bigroc_core.fingerprints import digest_of_weights
from bigroc_core.images import from_uint8, to_uint8

# Pixels read at once (256 images of 32 px), forward passes alone.
READ_PIXELS = 2**18
# Images that Inception reads at once: each is brought to 299×299, whatever its size.
INCEPTION_BATCH = 32
INCEPTION_LAYERS = ("64", "192", "768", "2048")


@dataclass(frozen=True)
class Reading:
    """What a network makes of N images: features (N, D) and logits (N, C), float32 on the CPU."""

    features: Tensor
    logits: Tensor


class Extractor(Protocol):
    """Makes features of images. kind: a word under which they are kept on disk. name: for people. key: a digest of all
    that decides what comes out. device: where it computes."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def dimensions(self) -> int:
        """D of the features."""
        ...

    @property
    def device(self) -> torch.device: ...

    def __call__(self, images: Tensor) -> Reading:
        """Features and logits of images (N, 3, H, W), floating point in [0, 1], rounded to 8 bits first."""
        ...


def fingerprint(classifier: Classifier) -> str:
    """SHA-256 of all that decides a classifier's output: architecture, preprocessing and weights."""
    card = classifier.card
    return digest_of_weights([card.architecture, card.arguments, card.mean, card.std], classifier)


class ClassifierFeatures:
    """A classifier as an extractor, in a frozen copy in eval mode: features are read through hooks, which threads
    sharing a module would mix up."""

    kind = "judge"

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.name = f"{classifier.card.name}'s features"
        self.key = fingerprint(classifier)
        self._network = copy.deepcopy(classifier).eval().requires_grad_(False)
        self.device = self._network.mean.device
        height, width = classifier.card.input_size
        blank = torch.zeros(1, 3, height, width, device=self.device)
        with torch.inference_mode():
            self.dimensions = int(self._network.embedding(blank).flatten(1).shape[1])

    def __call__(self, images: Tensor) -> Reading:
        """See Extractor. Images of another size than the classifier's own are seen as boosting sees them."""
        view = view_of(self.classifier, (images.shape[-2], images.shape[-1]))
        height, width = view.size
        logits: list[Tensor] = []
        handle = self._network.register_forward_hook(lambda _module, _inputs, out: logits.append(out.float().cpu()))
        features = []
        at_once = max(1, READ_PIXELS // (height * width))
        try:
            with torch.inference_mode(), exact_arithmetic(self.device):
                for start in range(0, len(images), at_once):
                    rounded = from_uint8(to_uint8(images[start : start + at_once])).to(self.device)
                    features.append(self._network.embedding(view(rounded)).flatten(1).float().cpu())
        finally:
            handle.remove()
        return Reading(torch.cat(features), torch.cat(logits))


class InceptionFeatures:
    """torch-fidelity's Inception-v3 (the one FID, IS and KID are defined by): pooled features, unbiased logits.

    weights: a file in torch-fidelity's format; None takes the one in torch.hub's cache and downloads it where it is
    not. layer: which pooled features, "2048" being the metrics' own; with another the results say so.
    Raises ValueError if the weights cannot be had or are no such file.
    """

    kind = "inception"

    def __init__(self, weights: Path | None = None, layer: str = "2048", device: torch.device | str = "cpu") -> None:
        if layer not in INCEPTION_LAYERS:
            raise ValueError(f"Inception has the layers {', '.join(INCEPTION_LAYERS)}, not {layer!r}")
        self.layer = layer
        self.name = "Inception" if layer == "2048" else f"Inception's {layer} features"
        self.dimensions = int(layer)
        self.device = torch.device(device)
        self._network = _inception(weights, layer).to(self.device)
        self.key = digest_of_weights(["inception-v3-compat", layer], self._network)

    def __call__(self, images: Tensor) -> Reading:
        """See Extractor; images may be of any size, which the network itself brings to 299×299."""
        features, logits = [], []
        with torch.inference_mode():
            for start in range(0, len(images), INCEPTION_BATCH):
                rounded = torch.from_numpy(to_uint8(images[start : start + INCEPTION_BATCH])).permute(0, 3, 1, 2)
                found = self._network(rounded.contiguous().to(self.device))
                features.append(found[0].cpu())
                logits.append(found[1].cpu())
        return Reading(torch.cat(features), torch.cat(logits))


def _inception(weights: Path | None, layer: str) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    if weights is None:
        weights = Path(torch.hub.get_dir()) / "checkpoints" / Path(URL_INCEPTION_V3).name
        if not weights.exists():
            _download(URL_INCEPTION_V3, weights)
    try:
        # torch-fidelity alone would unpickle whatever it is given.
        with weights_only():
            return FeatureExtractorInceptionV3(
                "inception-v3-compat", [layer, "logits_unbiased"], feature_extractor_weights_path=str(weights)
            )
    except FileNotFoundError as error:
        raise ValueError(f"there are no Inception weights at {weights}") from error
    except (pickle.UnpicklingError, RuntimeError, KeyError, AttributeError, TypeError, EOFError, OSError) as error:
        raise ValueError(
            f"{weights} is not Inception-v3 in torch-fidelity's format (a plain dictionary of tensors): "
            f"{str(error).splitlines()[0]}"
        ) from error


def _download(url: str, path: Path) -> None:
    make_folder(path.parent)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rsplit("-", 1)[-1], progress=False)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"FID, IS, KID and precision/recall need Inception's weights, which are not at {path} and could not be "
            f"downloaded from {url} ({error}). Download them elsewhere and give --inception-weights FILE; the Fréchet "
            "distance in a classifier's features needs neither them nor a network"
        ) from error


def embeddings(extractor: Extractor, batches: Iterable[Tensor]) -> Iterable[Tensor]:
    """The features of a stream of image batches (n, 3, H, W) in [0, 1], batch by batch: (n, D) float32 on the CPU."""
    return (extractor(images).features for images in batches if len(images))
