"""Write image sets whole or not at all, and continue where a killed run stopped."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bigroc_core.files import make_folder
from bigroc_core.images.folder_layout import MARKER, SETTINGS, STATE, class_folders
from bigroc_core.images.image import SUFFIXES
from bigroc_core.images.rounding import encode_png, to_uint8

MARKED = b"bigroc_core wrote this folder. Where it lies inside a folder of images, that is read without it.\n"


class ImageSetWriter:
    """A folder or .npz being written batch by batch; made by `write_image_set`.

    The batches `missing()` lists are written in any order, also by several processes that opened the same
    output one after another; then one of them calls `finish()`.
    """

    def __init__(self, out: Path, count: int, batch_size: int, classes: tuple[str, ...] | None) -> None:
        self.out = out
        self.count = count
        self.batch_size = batch_size
        self.classes = classes
        self._is_npz = _is_npz(out)
        self._state = _state_folder(out)
        self._folders = None if classes is None else class_folders(classes)
        self._digits = max(6, len(str(count - 1)))
        self._kind: tuple[tuple[int, ...], bool] | None = None
        self._made_out = not out.exists()

    def name_of(self, index: int) -> str:
        """The file name of an image, in a folder."""
        return f"{index:0{self._digits}d}.png"

    def missing(self) -> list[tuple[int, int]]:
        """The batches still to be written, as (start, stop), in order."""
        if self._is_npz and self.out.exists():
            return []
        return [
            (start, min(start + self.batch_size, self.count))
            for start in range(0, self.count, self.batch_size)
            if not self._done(start).exists()
        ]

    def _done(self, start: int) -> Path:
        """The file whose existence says that the batch is written: its shard, or an empty mark."""
        return self._state / (f"{start:012d}.npz" if self._is_npz else f"{start:012d}.done")

    def write(self, start: int, images: Tensor | Sequence[Tensor], labels: Tensor | None = None) -> None:
        """Write one batch of `missing()`: images (n, 3, H, W) float in [0, 1], labels (n,) integers or None.

        Into a folder also n images (3, H, W) of different sizes. Raises ValueError if they do not fit the set, OSError
        if they cannot be written (disk full); what was written before stays, and the same command continues there.
        """
        shapes = {tuple(image.shape) for image in images}
        expected = min(self.batch_size, self.count - start)
        whole = len(images) == expected and all(len(shape) == 3 for shape in shapes)
        if start < 0 or start % self.batch_size or not whole:
            given = f"{len(images)} of {', '.join(map(str, sorted(shapes)))}"
            raise ValueError(
                f"images {given} from {start} are no batch of this set; expected batches of {self.batch_size} among "
                f"{self.count} images."
            )
        levels = [to_uint8(image) for image in images]  # all of them, so that a batch with a fault writes nothing
        if self._is_npz and len(shapes) > 1:
            raise ValueError(f"{self.out}: an .npz holds images of one size; write those of several into a folder.")
        numbers = None if labels is None else labels.detach().cpu().numpy().astype(np.int64)
        if numbers is not None:
            bound = np.iinfo(np.int64).max if self.classes is None else len(self.classes)
            if numbers.shape != (len(images),) or numbers.min() < 0 or numbers.max() >= bound:
                raise ValueError(f"labels {numbers.tolist()[:8]} do not fit {len(images)} images and {bound} classes.")
        kind = (min(shapes) if self._is_npz else (), labels is not None)
        if self._kind not in (None, kind):
            raise ValueError(f"a batch (shape, labelled) is {kind} where earlier ones were {self._kind}.")
        self._kind = kind
        with self._explaining_os_errors():
            if self._is_npz:
                stacked = np.stack(levels)
                arrays = [stacked] if numbers is None else [stacked, numbers]
                self._put(self._done(start), _savez(arrays))
                return
            for offset in range(len(images)):
                name = self.name_of(start + offset)
                if numbers is not None:
                    number = int(numbers[offset])
                    name = f"{number if self._folders is None else self._folders[number]}/{name}"
                (self.out / name).parent.mkdir(parents=True, exist_ok=True)
                self._put(self.out / name, encode_png(images[offset]))
            self._put(self._done(start), b"")

    def finish(self) -> Path:
        """Complete the output once nothing is missing, and remove the state. Returns the output's path."""
        missing = self.missing()
        if missing:
            raise ValueError(f"{self.out}: {len(missing)} batches are still missing, the first from {missing[0][0]}.")
        with self._explaining_os_errors():
            if self._is_npz and not self.out.exists():
                with _gone_if_not_whole(self._state / "assembled.tmp") as assembled:
                    self._assemble(assembled)
                    os.replace(assembled, self.out)
            elif not self._is_npz:
                self._put(self.out / MARKER, MARKED)
            # The settings go last: until then a killed clean-up is still recognised as this run.
            for leftover in self._state.iterdir():
                if leftover.name != SETTINGS:
                    leftover.unlink()
            shutil.rmtree(self._state)
        return self.out

    def withdraw(self) -> None:
        """Undo the beginning of a run that wrote no image, so that bad input leaves nothing behind."""
        begun = [self._state] if self._is_npz else list(self.out.iterdir())
        if begun != [self._state] or any(entry.name != SETTINGS for entry in self._state.iterdir()):
            return
        shutil.rmtree(self._state)
        if self._made_out and not self._is_npz:
            self.out.rmdir()

    def _put(self, path: Path, data: bytes) -> None:
        """Write a file whole or not at all."""
        # Not the process number: processes on several machines may share it, and the output's folder.
        with _gone_if_not_whole(self._state / f"{secrets.token_hex(8)}.tmp") as temporary:
            temporary.write_bytes(data)
            os.replace(temporary, path)

    def _assemble(self, path: Path) -> None:
        """Join the shards as numpy.savez would have written them, with one of them in memory at a time."""
        shards = [self._done(start) for start in range(0, self.count, self.batch_size)]
        with np.load(shards[0], allow_pickle=False) as first:
            keys = {key: (first[key].shape[1:], first[key].dtype) for key in sorted(first.files)}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for key, (shape, dtype) in keys.items():
                # By name alone zipfile stamps the member 1980-01-01, so the same images give the same bytes.
                with archive.open(f"{key}.npy", "w", force_zip64=True) as stream:
                    header = {
                        "descr": np.lib.format.dtype_to_descr(dtype),
                        "fortran_order": False,
                        "shape": (self.count, *shape),
                    }
                    np.lib.format.write_array_header_1_0(stream, header)
                    for shard in shards:
                        with np.load(shard, allow_pickle=False) as arrays:
                            if sorted(arrays.files) != sorted(keys) or arrays[key].shape[1:] != shape:
                                raise ValueError(f"{self.out}: batches differ in image size or in having labels.")
                            stream.write(arrays[key].tobytes())

    @contextlib.contextmanager
    def _explaining_os_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            explained = OSError(
                f"{self.out}: could not be written ({error.strerror or error}). Nothing written so far is "
                "lost: once that is mended, for instance by making room, the same command continues."
            )
            explained.errno = error.errno
            raise explained from error


@contextlib.contextmanager
def _gone_if_not_whole(temporary: Path) -> Iterator[Path]:
    """A place to write to, where nothing is left once there is no room for it."""
    try:
        yield temporary
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _savez(arrays: Sequence[np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, *arrays)
    return stream.getvalue()


def _is_npz(out: Path) -> bool:
    return out.suffix.lower() == ".npz"


def _state_folder(out: Path) -> Path:
    return out.with_name(f".{out.name}{STATE}") if _is_npz(out) else out / STATE


def is_unfinished(out: str | os.PathLike[str]) -> bool:
    """Whether an output is one that `write_image_set` began and that was never finished."""
    return (_state_folder(Path(out)) / SETTINGS).exists()


def write_image_set(
    out: str | os.PathLike[str],
    count: int,
    batch_size: int,
    settings: Mapping[str, Any],
    classes: Sequence[str] | None = None,
) -> ImageSetWriter:
    """Begin, or continue, writing `count` images in batches of `batch_size` to a folder or `.npz`.

    A folder gets `CLASS/000012.png` where labels are known (the class's name, or its number without
    `classes`), else `000012.png`; an .npz gets `arr_0` and `arr_1` as OpenAI's guided-diffusion writes them.
    Names sort by index, and `open_image_set` reads either back in order. Files appear whole or not at all;
    the .npz appears at the end. A folder keeps a hidden file, `.bigroc-output`, so that the
    folder around it can be read without it. A run that was killed and is started again finds what it wrote through a
    hidden folder of state (`.bigroc-partial` inside the output folder, or beside the .npz), continues with
    the batches that are missing and gives the same bytes.

    settings: everything, as JSON, that the pixels depend on; continuing with others is refused.

    Raises ValueError if the output exists and is not this run's, or if settings differ; OSError if it cannot
    be made.

        writer = write_image_set(out, len(images), 256, settings)
        for start, stop in writer.missing():
            writer.write(start, boosted, labels)
        writer.finish()
    """
    out = Path(out)
    if count < 1 or batch_size < 1:
        raise ValueError(f"count is {count} and batch_size {batch_size}; expected at least 1 of each.")
    if out.suffix.lower() in SUFFIXES | {".zip", ".npy"}:
        raise ValueError(f"{out}: ends in {out.suffix}; expected the name of a folder or of an .npz.")
    names = None if classes is None else tuple(classes)
    try:
        record = json.loads(
            json.dumps({"count": count, "batch_size": batch_size, "classes": names, **settings}, allow_nan=False)
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"settings cannot be written as JSON ({error}); expected plain numbers, strings, lists."
        ) from error
    writer = ImageSetWriter(out, count, batch_size, names)
    state = _state_folder(out)
    settings_file = state / SETTINGS
    if settings_file.is_file():
        _check_same_run(json.loads(settings_file.read_text()), record, out)
        return writer
    if out.is_dir() and not _is_npz(out):
        occupied = any(entry.name != STATE for entry in out.iterdir())
    else:
        occupied = out.exists()
    if occupied:
        with contextlib.suppress(OSError):
            state.rmdir()  # empty, of a run that was killed in the last of its clean-up
        raise ValueError(f"{out}: exists already and is not an unfinished run. Choose another name, or remove it.")
    make_folder(state.parent)
    with writer._explaining_os_errors():
        state.mkdir(exist_ok=True)
        writer._put(settings_file, json.dumps(record, indent=1, sort_keys=True).encode())
    return writer


def _check_same_run(earlier: Mapping[str, Any], now: Mapping[str, Any], out: Path) -> None:
    differences = [
        f"{key} was {earlier.get(key)!r} and is now {now.get(key)!r}"
        for key in sorted({*earlier, *now})
        if earlier.get(key) != now.get(key)
    ]
    if differences:
        raise ValueError(
            f"{out}: is an unfinished run with other settings ({'; '.join(differences)}). Continue it "
            "with its own settings, choose another name, or remove it."
        )
