"""Two comparisons of the page: L2 beside L∞ (P1 Fig. 4), and one image towards every class (P1 Fig. 2).

Everything kept is 8-bit, and every number is computed from those images; only the L∞ radius comes from the float
result, as P1 has it.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bigroc_core.attack import linf_eps_of
from bigroc_core.boosting import BoostConfig, Snapshot, boost_stream, logits_of
from bigroc_core.catalogue import classifier_cards, classifier_named, compute_device, generator_cards, on_gpu
from bigroc_core.checks import whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.experiments.interpolate import STANDARD, weights_digest
from bigroc_core.figures.kinds import ALIGNED_CONFIG, THREAT_CONFIG
from bigroc_core.files import one_line_each, zipped
from bigroc_core.images import encode_png, from_uint8, to_uint8
from bigroc_core.limits import MAX_STEPS_PER_REQUEST
from bigroc_core.sources import OneImage, Source

TABLE_HEADERS = ["row", "#", "target y", "p(y|x)", "‖δ‖₂", "‖δ‖∞"]
# The finished examples the tab opens with: seconds of work on two cores, so they are kept.
KEPT = Path(__file__).resolve().parents[2] / "assets" / "threat-models.npz"


@dataclass
class Row:
    """One way of boosting: its images (N, H, W, 3) uint8, p of each image's target (N,), whether it is done, and its
    step until then."""

    name: str
    note: str
    images: np.ndarray
    certainty: np.ndarray
    finished: bool = False
    step: int = 0


@dataclass
class Comparison:
    """The same images boosted in several ways.

    originals (N, H, W, 3) uint8, and p of each one's target for each row (R, N); targets (N,): numbers of classes.
    repeated: whether the originals are one image, N times.
    """

    originals: np.ndarray
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
    finished: bool = field(default=False)

    def l2(self, row: int) -> np.ndarray:
        """‖δ‖₂ (N,) of a row's 8-bit images."""
        return np.sqrt((self._change(row) ** 2).sum(axis=(1, 2, 3)))

    def linf(self, row: int) -> np.ndarray:
        """‖δ‖∞ (N,) of a row's 8-bit images."""
        return np.abs(self._change(row)).max(axis=(1, 2, 3))

    def _change(self, row: int) -> np.ndarray:
        return (self.rows[row].images.astype(np.float32) - self.originals.astype(np.float32)) / 255

    def table(self) -> list[list[Any]]:
        """Per row and image: target, p(y | x), and the size of the change."""
        return [
            [
                row.name,
                i + 1,
                self.classes[y],
                round(float(row.certainty[i]), 4),
                round(float(self.l2(place)[i]), 3),
                round(float(self.linf(place)[i]), 4),
            ]
            for place, row in enumerate(self.rows)
            if row.finished
            for i, y in enumerate(self.targets)
        ]


@dataclass(frozen=True, kw_only=True)
class BallsAsked:
    """P1 Fig. 4 as asked for. share: the quantile of |δ| that becomes the L∞ radius."""

    source: Source
    classifier: str
    eps: float
    steps: int
    share: float = 0.7


@dataclass(frozen=True, kw_only=True)
class AlignedAsked:
    """P1 Fig. 2 as asked for."""

    start: OneImage
    classifier: str
    eps: float
    steps: int
    step_size: float | None = None
    stop_at: float | None = None


def certainty_of(classifier: Classifier, levels: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """p of the targets (N,) for 8-bit images."""
    logits = logits_of(classifier, from_uint8(levels).to(classifier.mean.device)).float().softmax(1).cpu().numpy()
    return np.asarray(logits[np.arange(len(targets)), targets])


def walked(
    run: Comparison, place: int, snapshots: Iterator[Snapshot], steps: int, judge: Classifier, judged: bool = True
) -> Iterator[Snapshot]:
    """Boost into a row of the run, step by step.

    judge: whose p is shown. judged: whether the snapshots' logits are its own, which saves computing them again.
    """
    row = run.rows[place]
    begun = run.done
    for snapshot in snapshots:
        run.done, row.step = begun + snapshot.step, snapshot.step
        run.doing = f"{row.name}, step {snapshot.step} / {steps}"
        row.images = to_uint8(snapshot.images)
        if judged:
            chosen = snapshot.logits.float().softmax(1).gather(1, snapshot.labels[:, None])[:, 0]
            row.certainty = chosen.cpu().numpy()
        else:
            row.certainty = certainty_of(judge, row.images, run.targets)
        yield snapshot
    run.done = begun + steps
    row.certainty = certainty_of(judge, row.images, run.targets)
    row.finished = True


def compare_balls(asked: BallsAsked, device: str | None = None) -> Iterator[Comparison]:
    """P1 Fig. 4: the run, growing, the last time finished. ValueError for bad input."""
    began = time.perf_counter()
    steps = whole(asked.steps, "steps", 1, MAX_STEPS_PER_REQUEST)
    config = BoostConfig(eps=asked.eps, steps=steps)
    linf_eps_of(torch.zeros(1, 1, 1, 1), asked.share)
    device = device or compute_device()
    classifier = classifier_named(asked.classifier, device)
    found = asked.source.read(classifier.classes, classifier.card.input_size, device)
    originals = to_uint8(found.images)
    images = from_uint8(originals).to(device)
    first = next(iter(boost_stream(classifier, images, found.labels, BoostConfig(eps=0.0, steps=0))))
    targets = first.labels.cpu().numpy()
    before = certainty_of(classifier, originals, targets)
    rows = [
        Row(f"L2, ε = {asked.eps:g}", "‖δ‖₂ ≤ ε", originals.copy(), before),
        Row("L∞", f"ε = q{asked.share:g} of |δ|", originals.copy(), before),
    ]
    run = Comparison(
        originals,
        np.stack([before, before]),
        targets,
        classifier.classes,
        rows,
        _balls_settings(asked),
        found.notes,
        total=2 * steps,
    )
    result = images
    for snapshot in walked(run, 0, boost_stream(classifier, images, first.labels, config), steps, classifier):
        run.seconds, result = time.perf_counter() - began, snapshot.images
        yield run
    eps = linf_eps_of(result - images, asked.share)
    rows[1].name, run.settings["linf_eps"] = f"L∞, ε = {eps:.4f}", eps
    flat = BoostConfig(eps=eps, steps=steps, norm="linf")
    for _ in walked(run, 1, boost_stream(classifier, images, first.labels, flat), steps, classifier):
        run.seconds = time.perf_counter() - began
        yield run
    run.finished = True
    yield run


def align(asked: AlignedAsked, device: str | None = None) -> Iterator[Comparison]:
    """P1 Fig. 2: the run, growing, the last time finished. ValueError for bad input."""
    began = time.perf_counter()
    steps = whole(asked.steps, "steps", 1, MAX_STEPS_PER_REQUEST)
    config = BoostConfig(eps=asked.eps, steps=steps, step_size=asked.step_size, stop_at=asked.stop_at)
    device = device or compute_device()
    names = [asked.classifier, *([STANDARD] if STANDARD in classifier_cards() else [])]
    networks = [classifier_named(name, device) for name in dict.fromkeys(names)]
    if any(
        other.classes != networks[0].classes or other.card.input_size != networks[0].card.input_size
        for other in networks
    ):
        networks = networks[:1]
    image, notes = asked.start.read(networks[0].card.input_size, device)
    count = len(networks[0].classes)
    targets = torch.arange(count)
    originals = to_uint8(image[None]).repeat(count, 0)
    before = np.stack([certainty_of(network, originals, targets.numpy()) for network in networks])
    rows = [
        Row(
            network.card.name,
            "robust" if "robust" in network.card.name else "standard: not robust",
            originals.copy(),
            before[place],
        )
        for place, network in enumerate(networks)
    ]
    run = Comparison(
        originals,
        before,
        targets.numpy(),
        networks[0].classes,
        rows,
        _aligned_settings(asked, [network.card.name for network in networks]),
        notes,
        repeated=True,
        total=len(rows) * steps,
    )
    images = from_uint8(originals).to(device)
    for place, network in enumerate(networks):
        for _ in walked(run, place, boost_stream(network, images, targets.to(device), config), steps, network):
            run.seconds = time.perf_counter() - began
            yield run
    run.finished = True
    yield run


compare_balls_on_gpu = on_gpu(compare_balls)
align_on_gpu = on_gpu(align)


# ------------------------------------------------------------------------------------------- settings and files


def _balls_settings(asked: BallsAsked) -> dict[str, Any]:
    return asked.source.settings() | {
        "classifier": asked.classifier,
        "eps": asked.eps,
        "steps": asked.steps,
        "quantile": asked.share,
    }


def _aligned_settings(asked: AlignedAsked, names: list[str]) -> dict[str, Any]:
    return {
        "image": asked.start.settings(),
        "classifiers": names,
        "eps": asked.eps,
        "steps": asked.steps,
        "step_size": asked.step_size,
        "stop_at": asked.stop_at,
    }


def settings_json(run: Comparison) -> str:
    """The settings as JSON, one line per entry."""
    return one_line_each(run.settings | ({} if run.finished else {"cancelled_after_step": run.done}))


def balls_command(run: Comparison) -> str:
    """The command that draws this comparison as P1 Fig. 4; images that no generator drew come from the download."""
    settings, words = run.settings, ["python", "-m", "bigroc_core", "figure", "fig4"]
    if settings["source"] == "generator":
        words += [
            "--generator",
            settings["generator"],
            "--seed",
            str(settings["seed"]),
            "--columns",
            "1",
            "--rows",
            str(settings["count"]),
        ]
        if "classes" in settings:
            words += ["--classes", *(run.classes[y] for y in run.targets)]
    else:
        words += ["--images", "original", "--rows", "1", "--columns", str(len(run.targets))]
    words += [
        "--classifier",
        settings["classifier"],
        "--eps",
        f"{settings['eps']:g}",
        "--steps",
        str(settings["steps"]),
        "--quantile",
        f"{settings['quantile']:g}",
        "--output",
        "fig4.png",
    ]
    return shlex.join(words)


def aligned_command(run: Comparison) -> str:
    """The command that draws this comparison as P1 Fig. 2."""
    settings, words = run.settings, ["python", "-m", "bigroc_core", "figure", "fig2"]
    image = settings["image"]
    if "generator" in image:
        words += ["--generator", image["generator"], "--seed", str(image["seed"]), "--index", str(image["number"])]
    else:
        words += ["--image", f"assets/examples/{image['example']}" if "example" in image else image["file"]]
    words += [
        "--robust",
        settings["classifiers"][0],
        "--eps",
        f"{settings['eps']:g}",
        "--steps",
        str(settings["steps"]),
    ]
    for name in ("step_size", "stop_at"):
        if settings[name] is not None:
            words += [f"--{name.replace('_', '-')}", f"{settings[name]:g}"]
    return shlex.join([*words, "--output", "fig2.png"])


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
        labels = io.StringIO(newline="")
        csv.writer(labels).writerows(
            [["file", "label"], *([f"{i:03d}.png", run.classes[y]] for i, y in enumerate(run.targets))]
        )
        files.append(("original/labels.csv", labels.getvalue().encode()))
    for row in run.rows:
        if row.finished:
            files += [
                (f"{folder_of(row.name)}/{i:03d}-{run.classes[y]}.png", encode_png(from_uint8(row.images[i])))
                for i, y in enumerate(run.targets)
            ]
    table = io.StringIO(newline="")
    csv.writer(table).writerows([TABLE_HEADERS, *run.table()])
    return zipped(
        [
            *files,
            ("table.csv", table.getvalue().encode()),
            ("settings.json", settings_json(run).encode()),
        ]
    )


# ------------------------------------------------------------------------------------- the examples kept in assets/


def opening_balls(steps: int) -> BallsAsked:
    """The example of P1 Fig. 4 that the tab opens with."""
    name, card = next(iter(generator_cards().items()))
    classes = tuple(one for one in ("airplane", "automobile", "bird", "dog", "horse", "ship") if one in card.classes)
    source = Source(generator=name, count=6, classes=classes)
    return BallsAsked(source=source, classifier=next(iter(classifier_cards())), eps=THREAT_CONFIG["eps"], steps=steps)


def opening_aligned(steps: int) -> AlignedAsked:
    """The example of P1 Fig. 2 that the tab opens with."""
    return AlignedAsked(
        start=OneImage(generator=next(iter(generator_cards())), number=8),
        classifier=next(iter(classifier_cards())),
        eps=ALIGNED_CONFIG["eps"],
        steps=steps,
        step_size=ALIGNED_CONFIG["step_size"],
        stop_at=0.99,
    )


def opening(kept: Path = KEPT) -> tuple[Comparison, Comparison]:
    """Both finished examples: the kept ones, or where models have changed since, ones of few steps, on the CPU."""
    balls, aligned = opening_balls(int(THREAT_CONFIG["steps"])), opening_aligned(int(ALIGNED_CONFIG["steps"]))
    try:
        with np.load(kept, allow_pickle=False) as found:
            if str(found["digest"]) == _digest():
                runs = unpacked(found, "balls"), unpacked(found, "aligned")
                asked = {**_balls_settings(balls), "linf_eps": runs[0].settings.get("linf_eps")}
                if runs[0].settings == asked and runs[1].settings == _aligned_settings(
                    aligned, [row.name for row in runs[1].rows]
                ):
                    return runs
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        # A page with shorter examples is better than none.
        pass
    *_, first = compare_balls(opening_balls(2), "cpu")
    *_, second = align(opening_aligned(2), "cpu")
    return first, second


def _digest() -> str:
    first, *others = classifier_cards()
    return weights_digest((first, *(name for name in others if name == STANDARD), next(iter(generator_cards()))))


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


def unpacked(found: Any, name: str) -> Comparison:
    """The run that `packed` made entries of; KeyError or ValueError where they are not such ones."""
    told = json.loads(str(found[f"{name}-settings"]))
    rows = [
        Row(title, note, found[f"{name}-images"][place], found[f"{name}-certainty"][place], True)
        for place, (title, note) in enumerate(told["rows"])
    ]
    return Comparison(
        found[f"{name}-originals"],
        found[f"{name}-before"],
        found[f"{name}-targets"],
        tuple(told["classes"]),
        rows,
        told["settings"],
        tuple(told["notes"]),
        told["repeated"],
        finished=True,
    )


def keep_opening(path: Path = KEPT) -> None:
    """Compute the opening examples anew and keep them: `python -m bigroc_core.experiments.threat_models`."""
    entries: dict[str, Any] = {"digest": np.array(_digest())}
    runs = {
        "balls": compare_balls(opening_balls(int(THREAT_CONFIG["steps"])), "cpu"),
        "aligned": align(opening_aligned(int(ALIGNED_CONFIG["steps"])), "cpu"),
    }
    for name, growing in runs.items():
        *_, run = growing
        entries |= packed(run, name)
    np.savez_compressed(path, **entries)


if __name__ == "__main__":
    keep_opening()
