"""Measurements as shards on disk: a run stops and goes on at any point, splits over processes, and stays small."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import secrets
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bigroc_core.attack import l2_norms
from bigroc_core.evaluation.features import Extractor
from bigroc_core.files import make_folder
from bigroc_core.images import ImageSetWriter, is_unfinished, write_image_set
from bigroc_core.sources import ImageStream

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


def load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz, or None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


@contextlib.contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` if all goes well and vanishes if not.

    Raises OSError, saying that nothing is lost, where it cannot be written.
    """
    make_folder(path.parent)
    # Not the process number: processes on several machines may share it, and the folder.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror or error}). Nothing written so far is lost: "
            "once that is mended, for instance by making room, the same command goes on",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an .npz whole or not at all."""
    with whole_or_not_at_all(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Run:
    """A measurement in a folder.

    folder/settings.json holds all that decides the numbers except the images; a shard counts only if it was measured
    on the very images its place has now, and by all the extractors asked for.
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
        with whole_or_not_at_all(path) as temporary:
            temporary.write_text(text, "utf-8")

    def _path(self, stage: str, seed: int, start: int, count: int) -> Path:
        return self.folder / f"{stage}-{seed}-{start:06}-{count}.npz"

    def measure(
        self,
        stage: str,
        source: ImageStream,
        extractors: Mapping[str, Extractor],
        variants: Callable[[int, int, Tensor, Tensor | None], Variants],
        count: int,
        seed: int,
        progress: Progress | None = None,
        share: Share = ALONE,
        pictures: Pictures | None = None,
    ) -> None:
        """Have every shard of `count` images of a seed on disk; variants(seed, start, images, labels) makes them.

        extractors: by the name under which what they find is kept. Of the one called "judge" the logits say which
        images look like another class than the target; of others they are kept. pictures: where
        to write the images themselves, too.
        """
        writers = self._writers(pictures, count, seed, share) if pictures else {}
        if progress:
            progress(f"{stage}, seed {seed}", 0, count)
        for number, start in enumerate(range(0, count, SHARD)):
            size = min(SHARD, count - start)
            if number % share.count == share.index:
                images, labels = source.draw(seed, start, size)
                images = images.cpu()
                digest = _digest(images, labels)
                path = self._path(stage, seed, start, size)
                measured = _is_done(path, digest, extractors)
                unwritten = [name for name, writer in writers.items() if (start, start + size) in writer.missing()]
                if unwritten or not measured:
                    made, targets = variants(seed, start, images, labels)
                    if not measured:
                        save_arrays(path, _measured(made, targets, images, digest, extractors))
                    for name in unwritten:
                        writers[name].write(start, made[name].cpu())
            if progress:
                progress(f"{stage}, seed {seed}", start + size, count)
        share.wait()
        if share.index == 0:
            for writer in writers.values():
                self._write_labels(writer, pictures, stage, count, seed)
                writer.finish()

    def _writers(self, pictures: Pictures, count: int, seed: int, share: Share) -> dict[str, ImageSetWriter]:
        """A writer for every variant whose images are not all written."""
        writers = {}
        if share.index:
            share.wait()
        for name in pictures.variants:
            folder = pictures.folder / f"seed-{seed}" / plain_name(name)
            # Laid in the run's folder with the first image, so that finished pictures are told from a stranger's.
            mark = self.folder / f"pictures-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]}"
            if mark.exists() and folder.is_dir() and not is_unfinished(folder):
                continue
            writers[name] = write_image_set(folder, count, SHARD, dict(self.settings))
            mark.touch()
        if not share.index:
            share.wait()
        return writers

    def _write_labels(
        self, writer: ImageSetWriter, pictures: Pictures | None, stage: str, count: int, seed: int
    ) -> None:
        """labels.csv beside the images. Class folders would bring other tools to read them in another order."""
        names = pictures.classes if pictures is not None else None
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["file", "label"])
        for start in range(0, count, SHARD):
            with np.load(self._path(stage, seed, start, min(SHARD, count - start)), allow_pickle=False) as arrays:
                labels = arrays["targets"].tolist()
            for offset, label in enumerate(labels):
                lines.writerow([writer.name_of(start + offset), names[label] if names else label])
        with whole_or_not_at_all(writer.out / "labels.csv") as temporary:
            temporary.write_text(text.getvalue(), "utf-8")

    def values(self, stage: str, variant: str, count: int, seed: int, what: str) -> Iterator[np.ndarray]:
        """One variant's `what`, shard by shard: "wrong" (n,) bool, "l2" (n,), or "NAME/features", "NAME/logits"."""
        for start in range(0, count, SHARD):
            with np.load(self._path(stage, seed, start, min(SHARD, count - start)), allow_pickle=False) as arrays:
                yield arrays[f"{variant}/{what}"]

    def features(self, stage: str, variant: str, count: int, seed: int, extractor: str) -> Iterator[Tensor]:
        """One variant's features (n, D), shard by shard."""
        return (torch.from_numpy(part) for part in self.values(stage, variant, count, seed, f"{extractor}/features"))

    def mean(self, stage: str, variant: str, count: int, seed: int, what: str) -> float:
        """The mean of a per-image number."""
        return sum(float(part.sum(dtype=np.float64)) for part in self.values(stage, variant, count, seed, what)) / count

    @contextlib.contextmanager
    def on_disk(self, stage: str, variant: str, count: int, seed: int, what: str) -> Iterator[Tensor]:
        """All of `what` as one (N, D) tensor whose memory is a file, for metrics that read across the whole set."""
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".joined-") as scratch:
            path = Path(scratch) / "joined.npy"
            join(path, count, self.values(stage, variant, count, seed, what))
            yield mapped(path)


def join(path: Path, count: int, parts: Iterator[np.ndarray]) -> None:
    """Write parts (n, D) as one .npy of `count` rows with one of them in memory at a time."""
    joined: np.memmap | None = None
    start = 0
    for part in parts:
        if joined is None:
            joined = np.lib.format.open_memmap(path, "w+", part.dtype, (count, *part.shape[1:]))
        joined[start : start + len(part)] = part
        start += len(part)
    assert joined is not None
    assert start == count
    joined.flush()


def mapped(path: Path) -> Tensor:
    """An .npy as a tensor whose memory is the file; changes stay private."""
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))


def plain_name(name: str) -> str:
    """A name for a folder: letters, digits, dots and hyphens."""
    words = "".join(c if c.isascii() and (c.isalnum() or c == ".") else " " for c in name.replace("ε", "eps")).split()
    return "-".join(words)


def _measured(
    made: Mapping[str, Tensor], targets: Tensor, images: Tensor, digest: str, extractors: Mapping[str, Extractor]
) -> dict[str, np.ndarray]:
    arrays = {"digest": np.asarray(digest), "extractors": _keys(extractors), "targets": targets.cpu().numpy()}
    for name, variant in made.items():
        for extractor, extract in extractors.items():
            reading = extract(variant)
            arrays[f"{name}/{extractor}/features"] = reading.features.numpy()
            if extractor == "judge":
                arrays[f"{name}/wrong"] = (reading.logits.argmax(1) != targets.cpu()).numpy()
            else:
                arrays[f"{name}/{extractor}/logits"] = reading.logits.numpy()
        arrays[f"{name}/l2"] = l2_norms(variant.cpu() - images).numpy()
    return arrays


def _keys(extractors: Mapping[str, Extractor]) -> np.ndarray:
    return np.asarray([f"{name} {extractor.key}" for name, extractor in extractors.items()])


def _is_done(path: Path, digest: str, extractors: Mapping[str, Extractor]) -> bool:
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
