"""A frozen network behind its view: what a run looks through, whatever the size of its images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bigroc_core.engine.batching import BatchSize, fitting_batch_size
from bigroc_core.engine.frozen import FrozenNetwork, device_of, frozen_copy
from bigroc_core.engine.logits import as_logits
from bigroc_core.engine.precision import is_fast, reduced
from bigroc_core.engine.views import View, name_of, note_of


class ViewedNetwork:
    """Images (n, 3, H, W) of the network's dtype and device -> logits (n, C), seen through a view.

    fast: whether it computes in bfloat16, wherever it is not asked to be exact. notes: what should be known of how it
    sees and computes, a sentence each; warnings: those among them that hardly anyone wants.
    """

    def __init__(self, network: FrozenNetwork, view: View, fast: bool, name: str) -> None:
        self.dtype, self.device, self.fast = network.dtype, network.device, fast
        self._network, self._name = network, name
        mixed = (
            f"{name} gives an image other logits beside others than alone: results depend on chance or on what else "
            "is in the batch (dropout that is always on, BatchNorm without running statistics, or the like)"
        )
        self.warnings = (mixed,) if network.depends_on_batch else ()
        self.view, self.recorded = view, network.recorded
        self.notes = (*((note,) if (note := note_of(view, name)) else ()), *self.warnings)

    def seeing(self, view: View) -> ViewedNetwork:
        """The same network, not a copy of it, behind another view: for one thread that has both."""
        return ViewedNetwork(self._network, view, self.fast, self._name)

    def logits(self, images: Tensor, exact: bool = True) -> Tensor:
        """(n, C), in the network's dtype. Raises ValueError for an output that is no logits.

        exact: in float32 though the run is a fast one, where CUDA rounds convolutions' inputs to TF32.
        """
        seen = self.view(images)
        if exact or not self.fast:
            output = self._network(seen)
        else:
            with reduced(self.device):
                output = self._network.quickly(seen)
        return as_logits(output, len(images)).to(self.dtype)

    def features(self, images: Tensor, names: Sequence[str]) -> list[Tensor]:
        """What the submodules of these dotted names make of the images, each (n, ...), of the run's own precision."""
        seen = self.view(images)
        if not self.fast:
            return self._network.features(seen, names)
        with reduced(self.device):
            found = self._network.features(seen, names)
        return [feature.to(self.dtype) for feature in found]

    def batch_size(self, images: Tensor, given: int | None) -> BatchSize:
        """How many of these images (N, 3, H, W) to compute at once: as given, or what suits their pixels as seen."""
        own = images.shape[2] * images.shape[3]
        size = given or fitting_batch_size(self._network, self.view(images[:1].detach().to(self.device)), own)
        return BatchSize(min(size, len(images)))


@contextmanager
def viewed_copy(
    classifier: nn.Module, images: Tensor, view: View, features: Sequence[str] = (), precision: str = "exact"
) -> Iterator[ViewedNetwork]:
    """Lends a private copy of the classifier, as `frozen_copy`, behind its view of images (N, 3, H, W)."""
    with torch.inference_mode(False), torch.no_grad():
        example = view(images[:1].detach())
    fast = precision == "fast" and is_fast(device_of(classifier, images), images.dtype)
    with frozen_copy(classifier, example, features, fast) as network:
        yield ViewedNetwork(network, view, fast, name_of(classifier))
