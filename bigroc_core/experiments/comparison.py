"""The same images boosted in several ways, a row for each: as they grow, their numbers, and the files of them.

Everything kept is 8-bit, and every number is computed from those images.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bigroc_core.classifiers.networks import Classifier
from bigroc_core.experiments.growing import settings_json
from bigroc_core.experiments.masks import Masks, files_of
from bigroc_core.experiments.sizes import Moment, Pictures, l2_of, linf_of, logits_by_size
from bigroc_core.files import csv_bytes, zipped
from bigroc_core.images import encode_png, from_uint8

TABLE_HEADERS = ["row", "#", "target y", "p(y|x)", "‖δ‖₂", "‖δ‖∞"]


@dataclass
class Row:
    """One way of boosting: its N pictures, p of each image's target (N,), whether it is done, and its
    step until then."""

    name: str
    note: str
    images: Pictures
    certainty: np.ndarray
    finished: bool = False
    step: int = 0


@dataclass
class Comparison:
    """The same images boosted in several ways.

    originals: N pictures, and p of each one's target for each row (R, N); targets (N,): numbers of classes.
    repeated: whether the originals are one image, N times. masks: where its images may change.
    """

    originals: Pictures
    before: np.ndarray
    targets: np.ndarray
    classes: tuple[str, ...]
    rows: list[Row]
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    repeated: bool = False
    done: int = 0
    total: int = 1
    doing: str = "reading the images"
    seconds: float = 0.0
    finished: bool = False
    masks: Masks | None = None

    def l2(self, row: int) -> np.ndarray:
        """‖δ‖₂ (N,) of a row's 8-bit images."""
        return l2_of(self.originals, self.rows[row].images)

    def linf(self, row: int) -> np.ndarray:
        """‖δ‖∞ (N,) of a row's 8-bit images."""
        return linf_of(self.originals, self.rows[row].images)

    def table(self) -> list[list[Any]]:
        """Per finished row and image: target, p(y | x), and the size of the change."""
        return [
            [row.name, i + 1, self.classes[y], round(float(p), 4), round(float(l2), 3), round(float(linf), 4)]
            for place, row in enumerate(self.rows)
            if row.finished
            for i, (y, p, l2, linf) in enumerate(
                zip(self.targets, row.certainty, self.l2(place), self.linf(place), strict=True)
            )
        ]


def certainty_of(classifier: Classifier, pictures: Pictures, targets: np.ndarray) -> np.ndarray:
    """p of the targets (N,) for 8-bit images."""
    chances = torch.from_numpy(logits_by_size(classifier, pictures)).softmax(1).numpy()
    return np.asarray(chances[np.arange(len(targets)), targets])


def walked(
    run: Comparison, place: int, moments: Iterator[Moment], steps: int, judge: Classifier, judged: bool = True
) -> Iterator[Moment]:
    """Boost into a row of the run, step by step.

    judge: whose p is shown. judged: whether the moments' logits are its own, which saves computing them again.
    """
    row = run.rows[place]
    begun = run.done
    for moment in moments:
        run.done, row.step = begun + moment.step, moment.step
        run.doing = f"{row.name}, step {moment.step} / {steps}"
        row.images = moment.pictures
        if judged:
            row.certainty = moment.logits.softmax(1).gather(1, moment.labels[:, None])[:, 0].numpy()
        else:
            row.certainty = certainty_of(judge, row.images, run.targets)
        yield moment
    run.done = begun + steps
    row.certainty = certainty_of(judge, row.images, run.targets)
    row.finished = True


# --------------------------------------------------------------------------------------------------------- files


def folder_of(name: str) -> str:
    """A row's name as a folder's: "L2, ε = 5" is L2-eps-5."""
    return re.sub(r"[^\w.-]+", "-", name.replace("∞", "inf").replace("ε", "eps"))


def archive(run: Comparison) -> bytes:
    """A zip of original/*.png, one folder per finished row, table.csv and settings.json; always the same bytes.

    With original/labels.csv where each of the originals has one target, so that the program boosts them towards these.
    """
    originals = run.originals[:1] if run.repeated else run.originals
    files = [(f"original/{i:03d}.png", encode_png(from_uint8(pixels))) for i, pixels in enumerate(originals)]
    if not run.repeated:
        labels = [[f"{i:03d}.png", run.classes[y]] for i, y in enumerate(run.targets)]
        files.append(("original/labels.csv", csv_bytes([["file", "label"], *labels])))
    if run.masks is not None:
        files += files_of(run.masks, run.originals, [f"{i:03d}.png" for i in range(len(run.originals))])
    files += [
        (f"{folder_of(row.name)}/{i:03d}-{run.classes[y]}.png", encode_png(from_uint8(row.images[i])))
        for row in run.rows
        if row.finished
        for i, y in enumerate(run.targets)
    ]
    table = csv_bytes([TABLE_HEADERS, *run.table()])
    return zipped([*files, ("table.csv", table), ("settings.json", settings_json(run).encode())])


def packed(run: Comparison, name: str) -> dict[str, Any]:
    """A finished run as entries of an .npz, each beginning with `name`."""
    told = {
        "rows": [[row.name, row.note] for row in run.rows],
        "classes": run.classes,
        "settings": run.settings,
        "notes": run.notes,
        "repeated": run.repeated,
    }
    return {
        **{f"{name}-{key}": getattr(run, key) for key in ("originals", "before", "targets")},
        f"{name}-images": np.stack([row.images for row in run.rows]),
        f"{name}-certainty": np.stack([row.certainty for row in run.rows]),
        f"{name}-settings": np.array(json.dumps(told)),
    }


def unpacked(entries: Mapping[str, Any], name: str) -> Comparison:
    """The run that `packed` made entries of; KeyError or ValueError where they are not such ones."""
    told = json.loads(str(entries[f"{name}-settings"]))
    images, certainty = entries[f"{name}-images"], entries[f"{name}-certainty"]
    rows = [Row(title, note, images[place], certainty[place], True) for place, (title, note) in enumerate(told["rows"])]
    originals, before, targets = (entries[f"{name}-{key}"] for key in ("originals", "before", "targets"))
    settings, notes = told["settings"], tuple(told["notes"])
    return Comparison(
        originals, before, targets, tuple(told["classes"]), rows, settings, notes, told["repeated"], finished=True
    )
