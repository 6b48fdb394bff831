"""Measuring: a classifier's accuracy, and how much boosting helps in the features and by the errors of a judge.

A Fréchet distance is always of "NAME's features", the inputs of the last linear layer of a named classifier, and is
never called FID, which is that of Inception's. With N images in D dimensions its estimate lies above the limit of
many images by a bias that shrinks as 1/N; therefore every distance that is compared here is of the same number of
images against the same reference.

Everything is measured on images rounded to 8 bits, so that a number here is the number of the files written.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import statistics
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigroc_core.attack import l2_norms
from bigroc_core.boosting import BoostConfig, boost, boost_stream
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import is_judge, refuse_judge
from bigroc_core.generators.sampling import Generator, latents
from bigroc_core.images import ImageSet, from_uint8, to_uint8
from bigroc_core.inputs import MAX_EPS, MAX_STEPS, number, whole_number
from bigroc_core.training.classifier import l2_attack
from bigroc_core.training.data import LabelledImages

SHARD = 250
# Pixels read at once (256 images of 32 px), forward passes alone.
READ_PIXELS = 2**18
# Added to a run's seed, so that a random direction is independent of the latent of the image it is added to.
DIRECTION_SEED = 2**40
# Added likewise for the images that debiasing is fitted to, which are never boosted.
DEBIAS_SEED = 2**41
COARSE_POINTS = 8


# ------------------------------------------------------------------------------------- accuracy of a classifier


def evaluate_classifier(
    classifier: Classifier,
    data: LabelledImages,
    eps: float = 0.5,
    steps: int = 20,
    autoattack: int = 0,
    batch_size: int = 250,
    progress: bool = False,
) -> dict[str, Any]:
    """Clean accuracy, and accuracy under untargeted L2 PGD: cross-entropy, step 2.5·eps/steps, zero start.

    data: the images, all of which are attacked and counted. eps: radius in [0, 1] pixel units. autoattack: of how
    many of the first images AutoAttack's accuracy is measured too, through the torchattacks package.
    Returns a JSON-ready dictionary: images, clean, pgd, protocol, and autoattack {images, accuracy}.
    Raises ValueError for an empty set, labels the classifier does not have, sizes out of range, or if AutoAttack is
    asked for and torchattacks is not installed.
    """
    from tqdm import tqdm

    if not len(data):
        raise ValueError("there are no images to measure accuracy on")
    number("eps", eps, MAX_EPS)
    whole_number("autoattack", autoattack, len(data))
    for name, value, most in (("steps", steps, MAX_STEPS), ("batch_size", batch_size, 2**31)):
        if whole_number(name, value, most) < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if tuple(data.images.shape[2:]) != tuple(classifier.card.input_size):
        height, width = classifier.card.input_size
        raise ValueError(
            f"{classifier.card.name} takes images of {height}×{width}, and these are of "
            f"{data.images.shape[2]}×{data.images.shape[3]}: its accuracy on them would mean nothing"
        )
    if int(data.labels.max()) >= len(classifier.classes):
        raise ValueError(f"{classifier.card.name} has {len(classifier.classes)} classes, the data more")
    # Before an hour of PGD rather than after it.
    attack_strongly = _autoattack(eps, len(classifier.classes)) if autoattack else None
    network = _private(classifier).to(memory_format=torch.channels_last)
    device = classifier.mean.device
    clean = robust = 0
    description = f"{classifier.card.name}: clean, PGD-{steps}"
    for start in tqdm(range(0, len(data), batch_size), desc=description, disable=not progress):
        images = data.floats(slice(start, start + batch_size)).to(device, memory_format=torch.channels_last)
        labels = data.labels[start : start + batch_size].to(device)
        with torch.no_grad():
            clean += int((network(images).argmax(1) == labels).sum())
        attacked = l2_attack(network, images, labels, eps, steps, None)
        with torch.no_grad():
            robust += int((network(attacked).argmax(1) == labels).sum())
    measured: dict[str, Any] = {
        "images": len(data),
        "clean": clean / len(data),
        "pgd": robust / len(data),
        "protocol": {
            "norm": "l2", "eps": eps, "steps": steps, "step_size": "2.5*eps/steps", "start": "zero",
            "loss": "cross-entropy",
        },
    }  # fmt: skip
    if attack_strongly is not None:
        right = 0
        for start in tqdm(range(0, autoattack, batch_size), desc="AutoAttack", disable=not progress):
            chosen = slice(start, min(start + batch_size, autoattack))
            images, labels = data.floats(chosen).to(device), data.labels[chosen].to(device)
            attacked = attack_strongly(network, images, labels)
            with torch.no_grad():
                right += int((network(attacked).argmax(1) == labels).sum())
        measured["autoattack"] = {"images": autoattack, "accuracy": right / autoattack, "norm": "l2", "eps": eps}
    return measured


def _autoattack(eps: float, classes: int) -> Callable[[Classifier, Tensor, Tensor], Tensor]:
    try:
        import torchattacks
    except ImportError as error:
        raise ValueError(
            "AutoAttack is measured through the torchattacks package, which is not installed: "
            "pip install torchattacks, or leave --autoattack out"
        ) from error

    def attack(network: Classifier, images: Tensor, labels: Tensor) -> Tensor:
        return torchattacks.AutoAttack(network, norm="L2", eps=eps, n_classes=classes, seed=0)(images, labels)

    return attack


def _private(classifier: Classifier) -> Classifier:
    """A frozen copy in eval mode: features are read through hooks, which threads sharing a module would mix up."""
    return copy.deepcopy(classifier).eval().requires_grad_(False)


# --------------------------------------------------------------------------------------- features and distances


@dataclass(frozen=True)
class Reading:
    """What a classifier makes of N images: features (N, D) and logits (N, C), float32 on the CPU."""

    features: Tensor
    logits: Tensor


def read(classifier: Classifier, images: Tensor) -> Reading:
    """Features and logits of images (N, 3, H, W), floating point in [0, 1], rounded to 8 bits first.

    Raises ValueError for images out of range or of another size than the classifier's card says.
    """
    if tuple(images.shape[-2:]) != tuple(classifier.card.input_size):
        raise ValueError(
            f"images of {images.shape[-2]}×{images.shape[-1]} cannot be measured in {classifier.card.name}'s "
            f"features, which are of {classifier.card.input_size[0]}×{classifier.card.input_size[1]}; bring them "
            "to that size first"
        )
    network = _private(classifier)
    device = network.mean.device
    logits: list[Tensor] = []
    handle = network.register_forward_hook(lambda _module, _inputs, output: logits.append(output.float().cpu()))
    features = []
    at_once = max(1, READ_PIXELS // (images.shape[-2] * images.shape[-1]))
    try:
        with torch.inference_mode():
            for start in range(0, len(images), at_once):
                rounded = from_uint8(to_uint8(images[start : start + at_once])).to(device)
                features.append(network.embedding(rounded).flatten(1).float().cpu())
    finally:
        handle.remove()
    return Reading(torch.cat(features), torch.cat(logits))


def embeddings(classifier: Classifier, batches: Iterable[Tensor]) -> Tensor:
    """The classifier's features of a stream of image batches (n, 3, H, W) in [0, 1]: (N, D) float32 on the CPU.

    Holds one batch of images at a time. Raises ValueError for an empty stream and as `read` does.
    """
    parts = [read(classifier, images).features for images in batches if len(images)]
    if not parts:
        raise ValueError("there are no images to take features of")
    return torch.cat(parts)


@dataclass(frozen=True)
class FeatureStatistics:
    """Of `count` images: mean (D,) and covariance (D, D) of their features, float64."""

    count: int
    mean: np.ndarray
    covariance: np.ndarray


def feature_statistics(features: Tensor) -> FeatureStatistics:
    """Mean and unbiased covariance of features (N, D).

    Raises ValueError when N ≤ D, where the covariance is singular and a distance would mean little.
    """
    from torch_fidelity.metric_fid import fid_features_to_statistics

    count, dimensions = features.shape
    require_images(count, dimensions)
    found = fid_features_to_statistics(features.double())
    return FeatureStatistics(count, found["mu"], found["sigma"])


def require_images(count: int, dimensions: int) -> None:
    """ValueError unless `count` images are enough for a covariance in so many dimensions."""
    if count <= dimensions:
        raise ValueError(
            f"{count} images are too few for a Fréchet distance in {dimensions} dimensions: at least "
            f"{dimensions + 1} are needed, and several times as many for a steady number"
        )


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """‖μ₁ - μ₂‖² + Tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½), by torch-fidelity's formula.

    Raises ValueError if the two are of different dimensions.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features of {len(first.mean)} and of {len(second.mean)} dimensions cannot be compared")
    one, other = ({"mu": s.mean, "sigma": s.covariance} for s in (first, second))
    return float(fid_statistics_to_metric(one, other, verbose=False)[KEY_METRIC_FID])


def cache_folder() -> Path:
    """Where reference statistics are kept: $BIGROC_CACHE, else bigroc in the user's cache folder."""
    if chosen := os.environ.get("BIGROC_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bigroc"


def fingerprint(classifier: Classifier) -> str:
    """SHA-256 of all that decides a classifier's output: architecture, preprocessing and weights."""
    card = classifier.card
    digest = hashlib.sha256(json.dumps([card.architecture, card.arguments, card.mean, card.std]).encode())
    for name, tensor in sorted(classifier.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim
                      else str(tensor.item()).encode())  # fmt: skip
    return digest.hexdigest()


def reference_statistics(
    classifier: Classifier, images: Tensor, cache: Path | None = None, progress: bool = False
) -> FeatureStatistics:
    """Statistics of real images (N, 3, H, W) uint8 in a classifier's features, computed once and then read.

    cache: folder to keep them in, by the contents of weights and images; None: `cache_folder()`. A file that cannot
    be read is computed again; a folder that cannot be written to costs only the time.
    Raises ValueError for too few images and as `read` does.
    """
    from tqdm import tqdm

    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"reference images must be (N, 3, H, W) uint8, not {tuple(images.shape)} {images.dtype}")
    content = hashlib.sha256(f"{tuple(images.shape)}".encode())
    content.update(np.ascontiguousarray(images.numpy()).data)
    key = hashlib.sha256((fingerprint(classifier) + content.hexdigest()).encode()).hexdigest()[:20]
    path = (cache or cache_folder()) / f"features-of-{classifier.card.name}-{key}.npz"
    if (kept := _load_arrays(path)) is not None and {"count", "mean", "covariance"} <= set(kept):
        return FeatureStatistics(int(kept["count"]), kept["mean"], kept["covariance"])

    def batches() -> Iterator[Tensor]:
        description = f"reference in {classifier.card.name}'s features"
        for start in tqdm(range(0, len(images), SHARD), desc=description, disable=not progress):
            yield images[start : start + SHARD].float() / 255

    found = feature_statistics(embeddings(classifier, batches()))
    try:
        _save_arrays(path, {"count": np.asarray(found.count), "mean": found.mean, "covariance": found.covariance})
    except OSError:
        return found
    return found


def _load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz, or None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------- images to be measured


@dataclass(frozen=True)
class ImageStream:
    """Images by (seed, start, count): (n, 3, H, W) float32 in [0, 1] and their labels (n,) int64 or None.

    size: how many there are; None for a generator, which has as many as one asks for, others for every seed.
    """

    name: str
    draw: Callable[[int, int, int], tuple[Tensor, Tensor | None]]
    size: int | None = None


def generator_stream(generator: Generator) -> ImageStream:
    """A generator's images, rounded to 8 bits as its files are; a conditional one's classes in turn."""

    def draw(seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        images, labels = generator.sample(count, seed=seed, start=start)
        return from_uint8(to_uint8(images)), labels

    return ImageStream(f"generator:{generator.card.name}", draw)


def image_set_stream(images: ImageSet) -> ImageStream:
    """Images made elsewhere. Their order is fixed, so a seed decides only the random directions beside them."""

    def draw(_seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        batch = images.batch(start, count)
        return batch.images, batch.labels

    return ImageStream(str(images.path), draw, len(images))


def _check_stream(source: ImageStream, count: int, seeds: Sequence[int]) -> None:
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must be one or more different numbers, not {list(seeds)}")
    if source.size is not None and count > source.size:
        raise ValueError(f"{source.name} has {source.size} images; {count} were asked for")
    if source.size is not None and len(seeds) > 1:
        raise ValueError(f"{source.name} is a fixed set of images, which has no seeds; give one")


# --------------------------------------------------------------------------------------------------- the measuring

# What is measured of one batch: images by the name of how they were made, and the classes they are meant to show.
Variants = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Measured:
    """Of N images made in one way: features (N, D), whether the judge sees another class than the target (N,), and
    ‖δ‖₂ (N,) from the images as they came."""

    features: Tensor
    wrong: np.ndarray
    l2: np.ndarray


@dataclass(frozen=True)
class Run:
    """A measurement as shards on disk, so that it stops and goes on at any point and memory does not grow.

    folder/settings.json holds all that decides the numbers except the images; a shard counts only if it was measured
    on the very images its place has now.
    """

    folder: Path
    settings: Mapping[str, Any]

    def open(self) -> None:
        """Make the folder, or check that what lies in it was measured with the same settings (else ValueError)."""
        path = self.folder / "settings.json"
        text = json.dumps(self.settings, indent=1, sort_keys=True)
        if path.exists():
            if path.read_text("utf-8") != text:
                raise ValueError(f"{self.folder} holds a run of other settings; give another folder or remove it")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(text, "utf-8")
        os.replace(temporary, path)

    def _path(self, stage: str, seed: int, start: int, count: int) -> Path:
        return self.folder / f"{stage}-{seed}-{start:06}-{count}.npz"

    def measure(
        self,
        stage: str,
        source: ImageStream,
        judge: Classifier,
        variants: Callable[[int, int, Tensor, Tensor | None], Variants],
        count: int,
        seed: int,
        progress: bool,
    ) -> None:
        """Have every shard of `count` images of a seed on disk; variants(seed, start, images, labels) makes them."""
        from tqdm import tqdm

        description = f"{stage}, seed {seed}"
        bar = tqdm(total=count, desc=description, unit="img", disable=not progress)
        for start in range(0, count, SHARD):
            size = min(SHARD, count - start)
            path = self._path(stage, seed, start, size)
            images, labels = source.draw(seed, start, size)
            images = images.cpu()
            digest = _digest(images, labels)
            kept = _load_arrays(path)
            if kept is None or str(kept.get("digest")) != digest:
                made, targets = variants(seed, start, images, labels)
                arrays = {"digest": np.asarray(digest)}
                for name, variant in made.items():
                    reading = read(judge, variant)
                    arrays[f"{name}/features"] = reading.features.numpy()
                    arrays[f"{name}/wrong"] = (reading.logits.argmax(1) != targets.cpu()).numpy()
                    arrays[f"{name}/l2"] = l2_norms(variant - images).numpy()
                _save_arrays(path, arrays)
            bar.update(size)
        bar.close()

    def collect(self, stage: str, variant: str, count: int, seed: int) -> Measured:
        """One variant's measurements over all shards of a seed."""
        parts: dict[str, list[np.ndarray]] = {"features": [], "wrong": [], "l2": []}
        for start in range(0, count, SHARD):
            with np.load(self._path(stage, seed, start, min(SHARD, count - start)), allow_pickle=False) as arrays:
                for key, found in parts.items():
                    found.append(arrays[f"{variant}/{key}"])
        features, wrong, l2 = (np.concatenate(parts[key]) for key in ("features", "wrong", "l2"))
        return Measured(torch.from_numpy(features), wrong, l2)


def _digest(images: Tensor, labels: Tensor | None) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images.numpy()).data)
    digest.update(b"" if labels is None else labels.numpy().tobytes())
    return digest.hexdigest()


def moved_by(images: Tensor, directions: Tensor, lengths: Tensor) -> Tensor:
    """Images moved along `directions` (N, 3, H, W) so that ‖δ‖₂ per image is `lengths` (N,) after the clamp to [0, 1].

    Where the box does not let them go so far, as far as it lets them; a zero direction does not move.
    """
    x, norms = images.double(), l2_norms(directions).double()
    unit = directions.double() / norms.clamp_min(1e-12).view(-1, 1, 1, 1)
    wanted = lengths.double().to(x.device)

    def at(scales: Tensor) -> Tensor:
        return (x + scales.view(-1, 1, 1, 1) * unit).clamp(0, 1)

    # ‖δ‖ grows with the scale, never beyond it: bisect between the length itself and where the box is surely filled.
    low, high = wanted.clone(), wanted * 1024
    for _ in range(48):
        middle = (low + high) / 2
        short = l2_norms(at(middle) - x) < wanted
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return at(high).to(images.dtype)


# ------------------------------------------------------------------------------------------ does boosting help?


@dataclass(frozen=True)
class Row:
    """One way of making the images, over the seeds: distances by reference, the judge's errors and mean ‖δ‖₂."""

    name: str
    frechet: dict[str, tuple[float, ...]]
    errors: tuple[float, ...]
    l2: tuple[float, ...]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; rows[0] is the images as they came."""

    source: str
    judge: str
    count: int
    seeds: tuple[int, ...]
    config: BoostConfig
    rows: tuple[Row, ...]

    def gains(self, row: Row, reference: str) -> tuple[float, ...]:
        """1 - distance after / before, seed by seed."""
        before = self.rows[0].frechet[reference]
        return tuple(1 - after / b for after, b in zip(row.frechet[reference], before, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: every number per seed, its mean and its standard deviation."""
        return {
            "source": self.source, "count": self.count, "seeds": list(self.seeds),
            "config": dataclasses.asdict(self.config), "features_and_errors_of": self.judge,
            "rows": [
                {
                    "images": row.name,
                    "l2": summary(row.l2),
                    "errors": summary(row.errors),
                    "frechet": {reference: summary(values) for reference, values in row.frechet.items()},
                    "gain": {reference: summary(self.gains(row, reference)) for reference in row.frechet},
                }
                for row in self.rows
            ],
        }  # fmt: skip

    def table(self) -> str:
        """The rows as plain text."""
        references = list(self.rows[0].frechet)
        head = ["images", "mean ‖δ‖₂", "errors %"]
        for reference in references:
            head += [f"distance to {reference}", "gain %"]
        lines = [head]
        for row in self.rows:
            cells = [row.name, _cell(row.l2, 1, 3), _cell(row.errors, 100, 1)]
            for reference in references:
                cells += [_cell(row.frechet[reference], 1, 3), _cell(self.gains(row, reference), 100, 1)]
            lines.append(cells)
        seeds = " ".join(map(str, self.seeds))
        return (
            f"{self.source}: {self.count} images, seeds {seeds}, mean ± std; Fréchet distance in {self.judge}'s "
            f"features and {self.judge}'s errors on the targets\n" + aligned(lines)
        )


def summary(values: Sequence[float]) -> dict[str, Any]:
    """{mean, std, per_seed}; std is the sample's, None for a single seed."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation, "per_seed": list(values)}


def _cell(values: Sequence[float], factor: float, digits: int) -> str:
    mean = f"{factor * statistics.fmean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {factor * statistics.stdev(values):.{digits}f}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


UNBOOSTED = "as they came"
RANDOM_DIRECTION = "random direction, same ‖δ‖"


def evaluate(
    source: ImageStream,
    classifier: Classifier,
    judge: Classifier,
    config: BoostConfig,
    references: Mapping[str, FeatureStatistics],
    *,
    count: int,
    seeds: Sequence[int] = (0, 1, 2),
    control: Classifier | None = None,
    random_direction: bool = True,
    debias: Tensor | None = None,
    run: Path | None = None,
    progress: bool = False,
) -> Evaluation:
    """Does boosting bring images nearer to real ones, and to their classes, and is it the robust classifier's doing?

    Per seed `count` images as they came, boosted through `classifier` (P1 Alg. 2), and as controls at the same ‖δ‖₂
    image by image: boosted through `control` (a standard network) towards the same targets and scaled, and moved in a
    random direction. All in `judge`'s features against each of `references`, and by its errors: the share of
    images to which it gives another class than the target. Targets are the labels; without labels the classes that
    `classifier` estimates, with `debias` (P1 Eq. 2) if given.

    run: folder in which the measurement is kept and from which a killed one goes on; None keeps nothing.
    Raises ValueError if the judge took part (as classifier or control), for too few images, classifiers with other
    classes, labels together with debias, or a `run` folder of other settings.
    """
    _check_stream(source, count, seeds)
    _check_roles(judge, classifier, *([control] if control else []))
    dimensions = len(next(iter(references.values())).mean)
    require_images(count, dimensions)
    boosted_name = f"boosted, {classifier.card.name}"
    control_name = f"boosted, {control.card.name}, same ‖δ‖" if control else ""

    def variants(seed: int, start: int, images: Tensor, labels: Tensor | None) -> Variants:
        result = boost(classifier, images, labels, config=config, debias=debias)
        made = {UNBOOSTED: images, boosted_name: result.images}
        lengths = l2_norms(result.images - images)
        if control is not None:
            # Without early stopping, so that it uses the ball it is to be compared in.
            whole = dataclasses.replace(config, stop_at=None)
            other = boost(control, images, result.labels, config=whole)
            made[control_name] = moved_by(images, other.images - images, lengths)
        if random_direction:
            noise = latents(tuple(images.shape[1:]), seed + DIRECTION_SEED, range(start, start + len(images)))
            made[RANDOM_DIRECTION] = moved_by(images, noise, lengths)
        return made, result.labels

    settings = {
        "kind": "evaluate", "source": source.name, "classifier": fingerprint(classifier), "judge": fingerprint(judge),
        "control": fingerprint(control) if control else None, "random_direction": random_direction,
        "config": dataclasses.asdict(config), "debias": None if debias is None else debias.tolist(), "shard": SHARD,
    }  # fmt: skip
    names = [UNBOOSTED, boosted_name, *([control_name] if control else []),
             *([RANDOM_DIRECTION] if random_direction else [])]  # fmt: skip
    rows: dict[str, list[tuple[dict[str, float], float, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        kept = Run(run or Path(scratch), settings)
        kept.open()
        for seed in seeds:
            kept.measure("evaluate", source, judge, variants, count, seed, progress)
            for name in names:
                found = kept.collect("evaluate", name, count, seed)
                own = feature_statistics(found.features)
                distances = {key: frechet_distance(own, reference) for key, reference in references.items()}
                rows[name].append((distances, float(found.wrong.mean()), float(found.l2.mean())))
    return Evaluation(
        source.name, judge.card.name, count, tuple(seeds), config,
        tuple(
            Row(name, {key: tuple(d[key] for d, _, _ in found) for key in references},
                tuple(e for _, e, _ in found), tuple(n for _, _, n in found))
            for name, found in rows.items()
        ),
    )  # fmt: skip


def _check_roles(measuring: Classifier, *boosting: Classifier) -> None:
    """A judge boosts nothing, and whoever boosts does not measure."""
    for classifier in boosting:
        refuse_judge(classifier.card)
        if fingerprint(classifier) == fingerprint(measuring):
            raise ValueError(f"{measuring.card.name} would measure images that were boosted through it; take another")
        if len(classifier.classes) != len(measuring.classes):
            raise ValueError(
                f"{classifier.card.name} has {len(classifier.classes)} classes, {measuring.card.name} "
                f"{len(measuring.classes)}; both must know the same"
            )


# -------------------------------------------------------------------------------------------------- the right ε


@dataclass(frozen=True)
class SweepPoint:
    """Distances, one per seed, of images boosted with this ε in so many steps. `stage`: "coarse" or "fine"."""

    eps: float
    steps: int
    stage: str
    frechet: tuple[float, ...]
    l2: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean distance over the seeds."""
        return statistics.fmean(self.frechet)


@dataclass(frozen=True)
class Sweep:
    """What `sweep` found. best is the fine point (or ε = 0) with the lowest mean distance."""

    source: str
    chooser: str
    reference: str
    count: int
    seeds: tuple[int, ...]
    config: BoostConfig
    points: tuple[SweepPoint, ...]
    best: SweepPoint

    @property
    def at_the_end(self) -> bool:
        """Whether the best ε is the largest that was tried, so that a larger one may be better still."""
        return self.best.eps == max(point.eps for point in self.points)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; config's eps is the best."""
        return {
            "source": self.source, "count": self.count, "seeds": list(self.seeds),
            "features_of": self.chooser, "reference": self.reference,
            "config": dataclasses.asdict(dataclasses.replace(self.config, eps=self.best.eps)),
            "best": self.best.eps, "at_the_end_of_the_range": self.at_the_end,
            "points": [
                {"eps": p.eps, "steps": p.steps, "stage": p.stage, "frechet": summary(p.frechet), "l2": summary(p.l2)}
                for p in self.points
            ],
        }  # fmt: skip

    def table(self) -> str:
        """The points as plain text."""
        lines = [["ε", "steps", "stage", "mean ‖δ‖₂", "distance", ""]]
        for p in self.points:
            mark = "best" if p is self.best else ""
            lines.append([f"{p.eps:.3f}", str(p.steps), p.stage, _cell(p.l2, 1, 3), _cell(p.frechet, 1, 3), mark])
        seeds = " ".join(map(str, self.seeds))
        return (
            f"{self.source}: {self.count} images, seeds {seeds}; Fréchet distance to {self.reference} in "
            f"{self.chooser}'s features\n" + aligned(lines)
        )


def sweep(
    source: ImageStream,
    classifier: Classifier,
    chooser: Classifier,
    config: BoostConfig,
    reference: FeatureStatistics,
    *,
    reference_name: str = "the reference",
    count: int,
    seeds: Sequence[int],
    grid: Sequence[float] | None = None,
    debias: Tensor | None = None,
    run: Path | None = None,
    progress: bool = False,
) -> Sweep:
    """The ε at which boosted images lie nearest to `reference` in `chooser`'s features.

    The same images (common random numbers) and the same number of them are boosted with every ε, so that sampling
    noise and the distance's bias are shared and the curve is smooth. `chooser` must be neither the boosting
    classifier, whose own features boosting pleases, nor the judge, who only reports.

    grid: the ε to try, each in config.steps steps. None goes from coarse to fine up to config.eps. With steps of
    α = ε/T the first t steps of a run are, exactly, a run of t steps with ε·t/T (‖δ‖ ≤ tα, so the ball is never
    met): one run is read along its path at about eight ε, and only the best of these, what lies halfway to its
    neighbours, and ε = 0 compete in full runs.
    Raises ValueError as `evaluate` does, and for an empty, negative or infinite grid.
    """
    _check_stream(source, count, seeds)
    _check_roles(chooser, classifier)
    if is_judge(chooser.card):
        raise ValueError(f"{chooser.card.name} only ever judges and takes no part in choices; take another classifier")
    require_images(count, len(reference.mean))
    if grid is not None and (not grid or not all(0 <= eps < float("inf") for eps in grid)):
        raise ValueError(f"the ε to try must be one or more finite numbers from 0 on, not {list(grid)}")
    if grid is None and not (config.eps > 0 and config.steps > 0):
        raise ValueError(f"coarse-to-fine needs ε and steps above 0, not {config.eps} and {config.steps}")
    if grid is None and (config.step_size is not None or config.gradient != "normalized"):
        raise ValueError("coarse-to-fine needs normalised steps of ε/T; for others give the ε to try")
    settings = {
        "kind": "sweep", "source": source.name, "classifier": fingerprint(classifier), "chooser": fingerprint(chooser),
        "config": dataclasses.asdict(config), "debias": None if debias is None else debias.tolist(), "shard": SHARD,
    }  # fmt: skip

    def path_variants(_seed: int, _start: int, images: Tensor, labels: Tensor | None) -> Variants:
        every = _coarse_stride(config.steps)
        seen = {
            snapshot.step: snapshot
            for snapshot in boost_stream(classifier, images, labels, config=config, debias=debias, every=every)
        }
        last = seen[max(seen)]
        # Once all images rest the stream ends; where they rest is where they stand at every later step.
        made = {str(step): seen.get(step, last).images for step in _coarse_steps(config.steps)}
        return made, last.labels

    def full_variants(eps: float) -> Callable[[int, int, Tensor, Tensor | None], Variants]:
        def variants(_seed: int, _start: int, images: Tensor, labels: Tensor | None) -> Variants:
            # ε = 0 moves nothing, in however many steps.
            whole = dataclasses.replace(config, eps=eps, steps=config.steps if eps else 0)
            result = boost(classifier, images, labels, config=whole, debias=debias)
            return {"boosted": result.images}, result.labels

        return variants

    def point(kept: Run, eps: float, steps: int, stage: str, shards: str, variant: str) -> SweepPoint:
        found = [kept.collect(shards, variant, count, seed) for seed in seeds]
        distances = tuple(frechet_distance(feature_statistics(one.features), reference) for one in found)
        return SweepPoint(eps, steps, stage, distances, tuple(float(one.l2.mean()) for one in found))

    def full(kept: Run, eps: float) -> SweepPoint:
        if grid is None and eps == config.eps:
            # The end of the path is this very run.
            return point(kept, eps, config.steps, "fine", "path", str(config.steps))
        shards = f"eps {eps:.6g}"
        for seed in seeds:
            kept.measure(shards, source, chooser, full_variants(eps), count, seed, progress)
        return point(kept, eps, config.steps, "fine", shards, "boosted")

    with tempfile.TemporaryDirectory() as scratch:
        kept = Run(run or Path(scratch), settings)
        kept.open()
        coarse: list[SweepPoint] = []
        candidates = sorted(set(grid)) if grid is not None else []
        if grid is None:
            for seed in seeds:
                kept.measure("path", source, chooser, path_variants, count, seed, progress)
            for step in _coarse_steps(config.steps):
                eps = config.eps * step / config.steps
                coarse.append(point(kept, eps, step, "coarse", "path", str(step)))
            candidates = around_the_best([p.eps for p in coarse], [p.mean for p in coarse])
        fine = [full(kept, eps) for eps in candidates]
    points = tuple(sorted((*coarse, *fine), key=lambda p: (p.eps, p.stage)))
    return Sweep(
        source.name, chooser.card.name, reference_name, count, tuple(seeds), config, points,
        min(fine, key=lambda p: p.mean),
    )  # fmt: skip


def _coarse_stride(steps: int) -> int:
    return max(1, -(-steps // COARSE_POINTS))


def _coarse_steps(steps: int) -> list[int]:
    return [*range(_coarse_stride(steps), steps, _coarse_stride(steps)), steps]


def around_the_best(eps: Sequence[float], distances: Sequence[float]) -> list[float]:
    """ε = 0, the best of these ε (ascending), and what lies halfway to its neighbours (0 below the first)."""
    best = min(range(len(eps)), key=lambda i: distances[i])
    below = eps[best - 1] if best else 0.0
    chosen = {0.0, (below + eps[best]) / 2, eps[best]}
    if best + 1 < len(eps):
        chosen.add((eps[best] + eps[best + 1]) / 2)
    return sorted(chosen)
