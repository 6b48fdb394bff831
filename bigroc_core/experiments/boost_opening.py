"""The finished run that the page opens with: kept in assets/, since computing it would hold up the server's start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bigroc_core.experiments.boost import BoostRequest, Run, boost
from bigroc_core.experiments.growing import last
from bigroc_core.experiments.kept import keep, kept, weights_digest
from bigroc_core.experiments.requests import opening_generator, opening_target, recommended
from bigroc_core.places import ASSETS

KEPT = ASSETS / "boost.npz"


def opening_request() -> BoostRequest:
    """A generator's images, boosted as its card says; towards debiased estimates where it has no classes."""
    name = opening_generator()
    return BoostRequest(generator=name, target=opening_target(), **recommended(name))


def opening(path: Path = KEPT) -> Run:
    """The finished example: the kept one, or where models have changed since, one computed on the CPU."""
    request = opening_request()
    return kept(path, _digest(request), request.settings(), unpacked, lambda: last(boost(request, "cpu")))


def keep_opening(path: Path = KEPT) -> None:
    """Make the example anew: `python -m bigroc_core.experiments.opening`."""
    request = opening_request()
    run = last(boost(request, "cpu"))
    frames = len(run.frames) - 1
    told = {name: getattr(run, name) for name in ("names", "classes", "settings", "notes", "steps")}
    entries = {
        "originals": run.originals,
        "targets": run.targets,
        "rested": run.untouched,
        "frames": np.stack(run.frames),
        # Of the first frame and the last, so that no model is needed to show them.
        "logits": np.stack([run.logits_of(0), run.logits_of(frames)]),
        "told": np.array(json.dumps(told)),
    }
    keep(path, _digest(request), entries)


def unpacked(entries: Mapping[str, Any]) -> Run:
    """The run that `keep_opening` kept, without the seconds that it took elsewhere; KeyError or ValueError where it is
    none."""
    told = json.loads(str(entries["told"]))
    frames, (first, final) = list(entries["frames"]), entries["logits"]
    if len(frames) != len(told["steps"]):
        raise ValueError(f"{len(frames)} frames of {len(told['steps'])} steps")
    return Run(
        originals=entries["originals"],
        names=tuple(told["names"]),
        classes=tuple(told["classes"]),
        targets=entries["targets"],
        settings=told["settings"],
        notes=tuple(told["notes"]),
        step=told["steps"][-1],
        steps=told["steps"],
        frames=frames,
        logits={0: first, len(frames) - 1: final},
        rested=entries["rested"],
        finished=True,
    )


def _digest(request: BoostRequest) -> str:
    return weights_digest((request.classifier, request.generator))
