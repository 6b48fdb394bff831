"""Measurements as shards on disk: a run stops and goes on at any point, splits over processes, and stays small."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigroc_core.attack import l2_norms
from bigroc_core.evaluation.features import Extractor
from bigroc_core.files import held, whole_or_not_at_all, write_bytes, write_text
from bigroc_core.images import ImageSetWriter, is_unfinished, write_image_set
from bigroc_core.streams import ImageStream, check_stream

# How the folders begin that large arrays lie in while a metric reads them.
JOINED = ".joined-"
# Images per shard: the unit of resuming and of splitting, and the batch that is boosted together.
SHARD = 250

# What is measured of one batch: images by the name of how they were made, and the classes they are meant to show.
Variants = tuple[dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Share:
    """Which part of the work is this process's: shards index, index + count, … `wait` returns once all are there."""

    index: int = 0
    count: int = 1
    wait: Callable[[], None] = lambda: None


ALONE = Share()


@dataclass(frozen=True)
class Pictures:
    """A folder that gets the images of these variants, in folders by seed and variant, with their targets' names."""

    folder: Path
    variants: tuple[str, ...]
    classes: tuple[str, ...] | None


# Called with what is being done, how many images of it are done, and of how many. Whatever it raises stops the run,
# which then goes on from there when it is started again.
Progress = Callable[[str, int, int], None]
# Called between the steps of what takes long, whatever it is told of them: what it raises stops the run.
Still = Callable[..., object]
# Makes the variants of a seed's images from a place on, (N, 3, H, W) with their labels (N,) if they have any.
MakesVariants = Callable[[int, int, Tensor, Tensor | None, Still], Variants]


def load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz, or None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz whole or not at all."""
    with whole_or_not_at_all(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How much is measured, where it is kept, and which part of it is this process's.

    count: images per seed. run: folder in which the measurement is kept and from which a killed one goes on; None keeps
    nothing. images_to: folder that also gets the images of every row.
    """

    count: int
    seeds: Sequence[int] = (0, 1, 2)
    run: Path | None = None
    images_to: Path | None = None
    progress: Progress | None = None
    share: Share = ALONE

    def check(self, source: ImageStream) -> None:
        """ValueError unless `source` can give as many images, and all processes know one folder."""
        check_stream(source, self.count, self.seeds)
        if self.share.count > 1 and self.run is None:
            raise ValueError("several processes need one folder for the run that all of them see")

    def tell(self, text: str, done: int, total: int) -> None:
        """Report progress, where somebody listens."""
        if self.progress:
            self.progress(text, done, total)

    @contextlib.contextmanager
    def kept(self, settings: Mapping[str, Any]) -> Iterator[Run]:
        """The run of these settings: in its folder, or in one that vanishes again."""
        with contextlib.ExitStack() as stack:
            folder = self.run or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if self.run is not None and self.share.index == 0:
                stack.enter_context(held(self.run))
                for abandoned in self.run.glob(f"{JOINED}*"):  # by one that was killed
                    shutil.rmtree(abandoned, ignore_errors=True)
            run = Run(folder, settings, self)
            run.open()
            yield run


@dataclass(frozen=True)
class Stage:
    """What a run does to every image: variants(seed, start, images, labels, still) makes them, extractors read them.

    Of the extractor called "judge" the logits say which images look like another class than the target; of others they
    are kept. pictures: where to write the images themselves, too.
    """

    name: str
    source: ImageStream
    extractors: Sequence[Extractor]
    variants: MakesVariants
    pictures: Pictures | None = None


@dataclass(frozen=True)
class Run:
    """A measurement in a folder.

    folder/settings.json holds all that decides the numbers except the images; a shard counts only if it was measured
    on the very images its place has now, and by all the extractors asked for.
    """

    folder: Path
    settings: Mapping[str, Any]
    measuring: Measuring

    def open(self) -> None:
        """Make the folder, or check that what lies in it was measured with the same settings (else ValueError)."""
        path = self.folder / "settings.json"
        text = json.dumps(self.settings, indent=1, sort_keys=True)
        if not path.exists():
            write_text(path, text)
        elif path.read_text("utf-8") != text:
            raise ValueError(f"{self.folder} holds a run of other settings; give another folder or remove it")

    def _shards(self) -> Iterator[tuple[int, int]]:
        """Where each shard begins, and how many images it has."""
        count = self.measuring.count
        return ((start, min(SHARD, count - start)) for start in range(0, count, SHARD))

    def _path(self, stage: str, seed: int, start: int, size: int) -> Path:
        return self.folder / f"{stage}-{seed}-{start:06}-{size}.npz"

    def measure(self, stage: Stage) -> None:
        """Have every shard of every seed on disk."""
        for seed in self.measuring.seeds:
            self._measure(stage, seed)

    def _measure(self, stage: Stage, seed: int) -> None:
        count, share = self.measuring.count, self.measuring.share
        writers = self._writers(stage.pictures, stage.source.identity, seed) if stage.pictures else {}
        said = f"{stage.name}, seed {seed}"
        self.measuring.tell(said, 0, count)
        for number, (start, size) in enumerate(self._shards()):
            if number % share.count == share.index:
                still = partial(self._go_on, said, start)
                images, labels = stage.source.draw(seed, start, size)
                images = images.cpu()
                digest = _digest(images, labels)
                path = self._path(stage.name, seed, start, size)
                measured = _is_done(path, digest, stage.extractors)
                unwritten = [name for name, writer in writers.items() if (start, start + size) in writer.missing()]
                if unwritten or not measured:
                    made, targets = stage.variants(seed, start, images, labels, still)
                    if not measured:
                        save_arrays(path, _measured(made, targets, images, digest, stage.extractors, still))
                    for name in unwritten:
                        writers[name].write(start, made[name].cpu())
            self.measuring.tell(said, start + size, count)
        share.wait()
        if share.index == 0:
            for writer in writers.values():
                self._write_labels(writer, stage, seed)
                writer.finish()

    def _go_on(self, said: str, done: int, *_steps: int) -> None:
        """Say once more where the run stands, so that whoever listens can stop it here."""
        self.measuring.tell(said, done, self.measuring.count)

    def _writers(self, pictures: Pictures, content: str, seed: int) -> dict[str, ImageSetWriter]:
        """A writer for every variant whose images are not all written. content: which images they are made of, by which
        those written before are told from others' of the same names (else ValueError)."""
        writers, share, said = {}, self.measuring.share, content.encode("utf-8", "surrogateescape")
        if share.index:
            share.wait()
        for name in pictures.variants:
            folder = pictures.folder / f"seed-{seed}" / plain_name(name)
            # Laid in the run's folder with the first image, so that finished pictures are told from a stranger's. Once
            # it was empty.
            mark = self.folder / f"pictures-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}"
            ours = mark.exists() and mark.read_bytes() in (b"", said)
            if ours and folder.is_dir() and not is_unfinished(folder):
                continue
            settings = {**self.settings, **({"images": content} if content else {})}
            writers[name] = write_image_set(folder, self.measuring.count, SHARD, settings)
            write_bytes(mark, said)
        if not share.index:
            share.wait()
        return writers

    def _write_labels(self, writer: ImageSetWriter, stage: Stage, seed: int) -> None:
        """labels.csv beside the images. Class folders would bring other tools to read them in another order."""
        names = stage.pictures.classes if stage.pictures is not None else None
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["file", "label"])
        for start, size in self._shards():
            with np.load(self._path(stage.name, seed, start, size), allow_pickle=False) as arrays:
                labels = arrays["targets"].tolist()
            for offset, label in enumerate(labels):
                lines.writerow([writer.name_of(start + offset), names[label] if names else label])
        write_text(writer.out / "labels.csv", text.getvalue())

    def values(self, stage: str, variant: str, seed: int, what: str) -> Iterator[np.ndarray]:
        """One variant's `what`, shard by shard: "wrong" (n,) bool, "l2" (n,), or "NAME/features", "NAME/logits"."""
        for start, size in self._shards():
            with np.load(self._path(stage, seed, start, size), allow_pickle=False) as arrays:
                yield arrays[f"{variant}/{what}"]

    def targets(self, stage: str, seed: int) -> Tensor:
        """The classes that a stage's images are meant to show, (N,) int64."""
        parts = []
        for start, size in self._shards():
            with np.load(self._path(stage, seed, start, size), allow_pickle=False) as arrays:
                parts.append(torch.from_numpy(arrays["targets"]).long())
        return torch.cat(parts)

    def features(self, stage: str, variant: str, seed: int, extractor: str) -> Iterator[Tensor]:
        """One variant's features (n, D), shard by shard."""
        return (torch.from_numpy(part) for part in self.values(stage, variant, seed, f"{extractor}/features"))

    def mean(self, stage: str, variant: str, seed: int, what: str) -> float:
        """The mean of a per-image number."""
        parts = self.values(stage, variant, seed, what)
        return sum(float(part.sum(dtype=np.float64)) for part in parts) / self.measuring.count

    @contextlib.contextmanager
    def on_disk(self, stage: str, variant: str, seed: int, what: str) -> Iterator[Tensor]:
        """All of `what` as one (N, D) tensor whose memory is a file, for metrics that read across the whole set."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=JOINED) as scratch:
            path = Path(scratch) / "joined.npy"
            with whole_or_not_at_all(path) as temporary:
                join(temporary, self.measuring.count, self.values(stage, variant, seed, what))
            yield mapped(path)


def join(path: Path, count: int, parts: Iterator[np.ndarray]) -> None:
    """Write parts (n, D) as one .npy of `count` rows with one of them in memory at a time."""
    rows = 0
    # Not through a map of the file: where there is no room, the system kills who writes to one.
    with open(path, "wb") as file:
        for part in parts:
            if file.tell() == 0:
                header = np.lib.format.header_data_from_array_1_0(part) | {"shape": (count, *part.shape[1:])}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(part.tobytes())
            rows += len(part)
    assert rows == count


def mapped(path: Path) -> Tensor:
    """An .npy as a tensor whose memory is the file; changes stay private."""
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))


def plain_name(name: str) -> str:
    """A name for a folder: letters, digits, dots and hyphens."""
    words = "".join(c if c.isascii() and (c.isalnum() or c == ".") else " " for c in name.replace("ε", "eps")).split()
    return "-".join(words)


def _measured(
    made: Mapping[str, Tensor],
    targets: Tensor,
    images: Tensor,
    digest: str,
    extractors: Sequence[Extractor],
    still: Still,
) -> dict[str, np.ndarray]:
    arrays = {"digest": np.asarray(digest), "extractors": _keys(extractors), "targets": targets.cpu().numpy()}
    for name, variant in made.items():
        for extractor in extractors:
            still()
            reading = extractor(variant)
            arrays[f"{name}/{extractor.kind}/features"] = reading.features.numpy()
            if extractor.kind == "judge":
                arrays[f"{name}/wrong"] = (reading.logits.argmax(1) != targets.cpu()).numpy()
            else:
                arrays[f"{name}/{extractor.kind}/logits"] = reading.logits.numpy()
        arrays[f"{name}/l2"] = l2_norms(variant.cpu() - images).numpy()
    return arrays


def _keys(extractors: Sequence[Extractor]) -> np.ndarray:
    return np.asarray([f"{extractor.kind} {extractor.key}" for extractor in extractors])


def _is_done(path: Path, digest: str, extractors: Sequence[Extractor]) -> bool:
    """Whether a shard is there, undamaged, of these images, by these extractors."""
    kept = load_arrays(path)
    return (
        kept is not None
        and str(kept.get("digest")) == digest
        and "extractors" in kept
        and set(_keys(extractors).tolist()) <= set(kept["extractors"].tolist())
    )


def _digest(images: Tensor, labels: Tensor | None) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(images.numpy()).data)
    digest.update(b"" if labels is None else labels.numpy().tobytes())
    return digest.hexdigest()
