"""The page as a ZeroGPU Space starts it, with a stand-in for `spaces`; prints what that saw, as JSON. Run by a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import spaces
import torch

import bigroc_core.catalogue as catalogue

ROOT = Path(__file__).resolve().parents[1]


def started() -> list[tuple[str, str]]:
    """Which models the start of the page puts where."""
    loaded: list[tuple[str, str]] = []
    there, load_classifier, load_generator = (
        torch.cuda.is_available,
        catalogue.load_classifier,
        catalogue.load_generator,
    )

    def classifier(name: str, device: str) -> Any:
        loaded.append((name, device))
        return load_classifier(name)

    def generator(name: str, device: str) -> Any:
        loaded.append((name, device))
        return load_generator(name)

    # Outside of what is lent, a ZeroGPU Space makes believe that there is CUDA.
    torch.cuda.is_available = lambda: True
    catalogue.load_classifier, catalogue.load_generator = classifier, generator  # type: ignore[assignment]
    catalogue.load_for_lending()
    torch.cuda.is_available = there
    catalogue.load_classifier, catalogue.load_generator = load_classifier, load_generator
    catalogue.forget()
    return loaded


def used() -> dict[str, Any]:
    """Every kind of request, small, through what is lent."""
    from bigroc_core.experiments import boost, compare, debias, every_class, interpolate, threat_models
    from bigroc_core.figures.requests import FigureRequest, compute_on_gpu
    from bigroc_core.sources import UPLOAD

    generator, classifier = "cifar10-cgan", "cifar10-robust"
    one = {"generator": generator, "classifier": classifier}
    runs = {
        "boost": boost.boost(boost.BoostRequest(**one, count=2, steps=2)),
        "boost, more": boost.boost(boost.BoostRequest(**one, count=64, steps=200)),
        "compare": compare.compare_on_gpu(compare.CompareRequest(**one, count=2, steps=2, values="1, 2")),
        "balls": threat_models.compare_balls_on_gpu(threat_models.ThreatModelsRequest(**one, count=2, steps=2)),
        "classes": every_class.align_on_gpu(every_class.EveryClassRequest(**one, steps=2)),
        "debias": debias.study_on_gpu(debias.DebiasRequest(**one | {"generator": "cifar10-dcgan"}, count=64)),
        "walk": interpolate.interpolation_on_gpu(
            interpolate.InterpolateRequest(classifier=classifier, fractions=(0.5,), steps=2).walk
        ),
        "figure": compute_on_gpu(FigureRequest(figure="fig7", **one, rows=1, columns=2, steps=2).recipe),
    }
    last = {}
    for name, run in runs.items():
        for standing in run:
            last[name] = type(standing).__name__
            if name == "boost, more":
                break
    refused = ""
    try:
        nowhere = boost.BoostRequest(**one, source=UPLOAD, files=(str(ROOT / "README.md"),), target="Estimated")
        for _ in boost.boost(nowhere):
            pass
    except ValueError as error:
        refused = str(error)
    return {"last": last, "refused": refused}


if __name__ == "__main__":
    loaded = started()
    print(
        json.dumps(
            {"loaded": loaded, "marked": spaces.MARKED, **used(), "lent": spaces.LENT, "largest": max(spaces.YIELDED)}
        )
    )
