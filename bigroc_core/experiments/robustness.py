"""Whether a classifier whose card does not say so is robust, tried on the images at hand."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bigroc_core.boosting import BoostConfig
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.experiments.sizes import Pictures, boost_by_size, groups_of, logits_by_size

# L2 PGD of this ε at 32 pixels, scaled with the side. On photographs and generated images the embedded robust networks
# keep 10 to 14 labels of 16, the standard one 0 to 5.
EPS_AT_32, STEPS, MOST = 0.2, 5, 8


def away(logits: Tensor, labels: Tensor) -> Tensor:
    """-cross-entropy (n,): descended, it leads away from the labels."""
    return -cross_entropy(logits, labels, reduction="none")


def labels_kept(classifier: Classifier, pictures: Pictures) -> tuple[int, int]:
    """Of how many of the first MOST pictures the label survives PGD away from it, and how many these are."""
    tried = list(pictures[:MOST])
    labels = torch.from_numpy(logits_by_size(classifier, tried)).argmax(1)
    kept = 0
    for group in groups_of(tried):
        height, width = tried[group[0]].shape[:2]
        eps = EPS_AT_32 * (height * width) ** 0.5 / 32
        config = BoostConfig(eps=eps, steps=STEPS, step_size=2.5 * eps / STEPS, loss=away)
        *_, moment = boost_by_size(classifier, [tried[i] for i in group], labels[group], config)
        kept += int((moment.logits.argmax(1) == labels[group]).sum())
    return kept, len(tried)


def robustness_note(classifier: Classifier, pictures: Pictures) -> tuple[str, ...]:
    """A sentence about a classifier whose card does not say whether it is robust; none of another."""
    if classifier.card.robust is not None:
        return ()
    kept, tried = labels_kept(classifier, pictures)
    said = f"{classifier.card.name} keeps the label of {kept} of {tried} of these images under {STEPS} steps of PGD"
    return (f"{said}: it looks robust" if 2 * kept > tried else f"{said}: not robust, expect noise, not features",)
