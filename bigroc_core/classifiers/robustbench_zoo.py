"""Classifiers of RobustBench's zoo, where that package is installed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bigroc_core.cards import Card
from bigroc_core.classifiers.architectures import did_you_mean
from bigroc_core.classifiers.checkpoints import weights_only
from bigroc_core.classifiers.foreign import Loaded, class_names
from bigroc_core.classifiers.published import downloaded

_PREFIX = "robustbench:"


def robustbench_classifier(name: str) -> Loaded:
    """ "robustbench:[DATASET/[THREAT/]]MODEL" (default cifar10/L2), read without unpickling.

    Without a threat model, the first is taken that has a model of that name. The zoo's networks normalise inside, so
    they take images in [0, 1] as they are. Raises ValueError, saying what the zoo has, for what is not in it;
    ConnectionError for what cannot be fetched.
    """
    try:
        from robustbench.model_zoo import model_dicts
        from robustbench.utils import load_model
    except ImportError as error:
        raise ValueError(
            f"{name} needs the robustbench package and what it requires ({error}): "
            "pip install git+https://github.com/RobustBench/robustbench"
        ) from error
    zoo = {dataset.value: {t.value: m for t, m in threats.items()} for dataset, threats in model_dicts.items()}
    dataset, threat, model = _place(name, zoo)
    folder = Path(torch.hub.get_dir()) / "robustbench"

    def download() -> nn.Module:
        with weights_only():
            network: nn.Module = load_model(model, model_dir=folder, dataset=dataset, threat_model=threat)
        return network

    network = downloaded(name, f"RobustBench's zoo (kept in {folder})", download).eval()
    crop = re.search(r"Crop(\d{1,4})", str(zoo[dataset][threat][model].get("preprocessing") or ""))
    side = int(crop.group(1)) if crop else 224 if dataset == "imagenet" else 32
    try:
        with torch.no_grad():
            classes = network(torch.full((1, 3, side, side), 0.5)).shape[1]
    except Exception as error:  # whatever a network that others wrote raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"{name} cannot take images of {side}×{side} pixels: {reason}") from error
    notes = (f"RobustBench shows it the centre {side} pixels; here it is shown all",) if crop else ()
    card = Card(
        name=name,
        kind="classifier",
        architecture=f"{_PREFIX}{model}",
        input_size=(side, side),
        classes=class_names(classes, cifar10=dataset == "cifar10"),
        title=f"RobustBench's {model} ({dataset}, {threat})",
        source="robustbench.github.io",
        robust="Standard" not in model and threat in ("Linf", "L2"),
    )
    return Loaded(network, card, notes)


def _place(name: str, zoo: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[str, str, str]:
    """Data set, threat model and model that a name means; ValueError, saying what there is, if there is none."""
    parts = name.removeprefix(_PREFIX).split("/")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise ValueError(
            f"{name!r} does not name a model of RobustBench: write robustbench:DATASET/THREAT/MODEL, the data set one "
            f"of {', '.join(zoo)}"
        )
    model, dataset = parts[-1], parts[0] if len(parts) > 1 else "cifar10"
    if dataset not in zoo:
        raise ValueError(f"RobustBench knows data sets {', '.join(zoo)}, not {dataset}")
    threats = zoo[dataset]
    if len(parts) == 2:
        wanted = [threat for threat, models in threats.items() if model in models] or list(threats)
    else:
        wanted = [parts[1] if len(parts) == 3 else "L2"]
    if wanted[0] not in threats:
        raise ValueError(f"RobustBench knows threat models {', '.join(threats)} of {dataset}, not {wanted[0]}")
    if model not in threats[wanted[0]]:
        known = {one: None for threat in wanted for one in threats[threat]}
        close = did_you_mean(model, list(known)) or f"; it has {', '.join(list(known)[:12])}, …"
        raise ValueError(f"RobustBench has no {dataset} {'/'.join(wanted)} model {model!r}{close}")
    return dataset, wanted[0], model
