"""Reading checkpoint files without ever running code from them, or letting them say how much memory to take."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import re
import struct
import tarfile
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from bigroc_core.classifiers.state_dicts import StateDict, load_weights, printable, state_dict_of
from bigroc_core.limits import (
    MAX_CHECKPOINT_DIRECTORY_BYTES,
    MAX_CHECKPOINT_HEADER_BYTES,
    MAX_CHECKPOINT_OPERATIONS,
    MIB,
)

__all__ = [
    "StateDict",
    "load_weights",
    "read_checkpoint",
    "read_safetensors",
    "state_dict_of",
    "weights_only",
]


class _Inert:
    """Stands where a checkpoint records a numpy number or a trainer's options: neither needed nor built."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


# Old and new numpy name these differently; by name, reading does not depend on the numpy installed here.
_ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Inert, name)
    for name in (
        "numpy.dtype",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "argparse.Namespace",
    )
]
# What torch's reader calls with numbers of the file's own choosing, and fills memory by it; no weights need them.
_EXPANDING = (
    "builtins bytearray",
    "__builtin__ bytearray",
    "torch._utils _rebuild_device_tensor_from_numpy",
    "torch._utils _rebuild_device_tensor_from_cpu_tensor",
    "torch._utils _rebuild_nested_tensor",
)
# torch keeps its allow-list, and Python its warning filters, in one place per process: one read at a time.
_READING = threading.Lock()

_ADVICE = "if you trust its origin, open it where it was made and save the state dict alone"


@contextmanager
def weights_only() -> Iterator[None]:
    """Within it every torch.load of this process, other libraries' too, is limited to weights and inert data."""
    with _READING, torch.serialization.safe_globals(_ALLOWED), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
        os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
            else:
                os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


def read_checkpoint(path: Path) -> Any:
    """What a checkpoint file holds, tensors on the CPU: .safetensors, or a torch.save file of either format.

    The kind is told by the content. Nothing is ever unpickled: torch's weights-only reader, which knows tensors and
    plain containers, is widened by numpy scalars and argparse.Namespace, both as inert data, and nothing else. Tensors
    of a torch.save zip are views of the file, which is not read before they are. Raises ValueError, one line, for a
    file that is missing, truncated, of another kind, says that it unpacks to more than it holds, or needs more than
    that, naming the global it needs.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint file {path}")
    try:
        with open(path, "rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ValueError(f"the checkpoint {path} cannot be read: {error}") from error
    if not head:
        raise ValueError(f"the checkpoint {path} is empty")
    return read_safetensors(path) if head[8:9] == b"{" else _read_torch(path, head)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, on the CPU; ValueError if missing, truncated or something else."""
    from safetensors.torch import load_file

    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
    except OSError as error:
        raise ValueError(f"the checkpoint {path} cannot be read as safetensors: {_line(error)}") from error
    if length > MAX_CHECKPOINT_HEADER_BYTES:
        raise ValueError(
            f"the checkpoint {path} cannot be read as safetensors: its header says {length:,} bytes, and at most "
            f"{MAX_CHECKPOINT_HEADER_BYTES:,} are read"
        )
    try:
        return load_file(path)
    except Exception as error:  # types that this version does not know are a KeyError, the rest SafetensorError
        raise ValueError(f"the checkpoint {path} cannot be read as safetensors: {_line(error)}") from error


def _read_torch(path: Path, head: bytes) -> Any:
    is_zip, is_pickle = _is_zip(path), head[:1] == b"\x80"
    if head.startswith(b"PK") and not is_zip:
        raise ValueError(f"the checkpoint {path} is truncated or damaged: its zip directory is missing")
    if not is_zip and not is_pickle:
        if tarfile.is_tarfile(path):
            raise ValueError(
                f"the checkpoint {path} is in PyTorch's tar format of 2017, which only unpickling can read; {_ADVICE}"
            )
        raise ValueError(f"the checkpoint {path} is neither safetensors nor a file written by torch.save")
    if is_zip:
        _check_pickle(path, io.BytesIO(_checked_archive(path)), pickles=1)
    else:
        with open(path, "rb") as file:
            _check_pickle(path, file, pickles=5)
    try:
        with weights_only(), _plainly_named(path) as name:
            return torch.load(name, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # a damaged file makes the reader raise anything from EOFError to RuntimeError
        raise ValueError(f"the checkpoint {path} {_refusal(path, error)}") from error


def _is_zip(path: Path) -> bool:
    """Whether it is one; of a damaged directory the library says it by raising."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False


@contextmanager
def _plainly_named(path: Path) -> Iterator[Path]:
    """The path, or a link to it where its name is not UTF-8, which torch cannot map into memory."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / "checkpoint"
            link.symlink_to(path.resolve())
            yield link
    else:
        yield path


def _checked_archive(path: Path) -> bytes:
    """The pickle inside a torch.save zip, which lists its tensors; ValueError if the zip is none or a bomb.

    torch.save compresses nothing: what says that it unpacks to more than the file holds was not written by it.
    """
    size = path.stat().st_size
    damaged = f"the checkpoint {path} is truncated or damaged: its zip directory"
    try:
        if (directory := _directory_bytes(path)) > MAX_CHECKPOINT_DIRECTORY_BYTES:
            raise _Refused(
                f"{damaged} says {directory:,} bytes, and at most {MAX_CHECKPOINT_DIRECTORY_BYTES:,} are read"
            )
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            # torch's reader knows no case, and takes the folder that the first member lies in.
            pickles = [member for member in members if member.filename.lower().endswith("/data.pkl")]
            if not pickles:
                raise _Refused(f"the checkpoint {path} is a zip file, but not one written by torch.save (no data.pkl)")
            if [member.filename for member in pickles] != [f"{members[0].filename.split('/')[0]}/data.pkl"]:
                raise _Refused(
                    f"the checkpoint {path} is refused: torch.save writes one list of tensors (data.pkl), in the "
                    f"folder of its first member, and this holds {printable(pickles[-1].filename[:200])}; {_ADVICE}"
                )
            unpacked = sum(member.file_size for member in members)
            if unpacked > size + MIB or pickles[0].file_size > MAX_CHECKPOINT_HEADER_BYTES:
                raise _Refused(
                    f"the checkpoint {path} is refused: its {size:,} bytes say that they unpack to {unpacked:,}, "
                    f"{pickles[0].file_size:,} of them a pickle; torch.save compresses nothing; {_ADVICE}"
                )
            packed = next(
                (
                    member
                    for member in members
                    if member.compress_type != zipfile.ZIP_STORED and "/data/" in member.filename.lower()
                ),
                None,
            )
            if packed is not None:
                raise _Refused(
                    f"the checkpoint {path} is refused: its tensors are compressed, which torch.save never does; "
                    f"{_ADVICE}"
                )
            return archive.read(pickles[0])
    except _Refused as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # zipfile knows half a dozen ways to say that a file is damaged
        raise ValueError(f"{damaged} cannot be read: {_line(error)}") from error


def _directory_bytes(path: Path) -> int:
    """The size of a zip's directory as its last records say it, before the directory is read.

    _Refused where these do not say in all ways that it lies right before them: Python's reader and torch's each go by
    one way, and could be shown two directories.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(max(0, size - 2**16 - 22))
        tail = file.read()
        end = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - 18))
        at = size - len(tail) + end
        length, start = struct.unpack("<II", tail[end + 12 : end + 20])
        if end >= 20 and tail[end - 20 : end - 16] == b"PK\x06\x07":
            at -= 20 + 56
            file.seek(max(0, at))
            record = file.read(56)
            if int.from_bytes(tail[end - 12 : end - 4], "little") != at or record[:4] != b"PK\x06\x06":
                raise _Refused(f"the checkpoint {path} is truncated or damaged: its zip directory is not where it says")
            length, start = struct.unpack("<QQ", record[40:56])
    if length <= MAX_CHECKPOINT_DIRECTORY_BYTES and start + length != at:
        raise _Refused(f"the checkpoint {path} is truncated or damaged: its zip directory is not where it says")
    return int(length)


def _check_pickle(path: Path, file: IO[bytes], pickles: int) -> None:
    """ValueError for a pickle too long to be a list of tensors, or that would fill memory; read by opcode, not run.

    pickles: how many follow one another. What is damaged is left to torch's reader to say.
    """
    operations = 0
    try:
        for _ in range(pickles):
            for opcode, argument, _ in pickletools.genops(file):
                operations += 1
                if operations > MAX_CHECKPOINT_OPERATIONS:
                    raise _Refused(f"its pickle has over {MAX_CHECKPOINT_OPERATIONS:,} operations")
                if opcode.name == "GLOBAL" and argument in _EXPANDING:
                    raise _Refused(f"it needs {str(argument).replace(' ', '.')}, which weights do not")
    except _Refused as error:
        raise ValueError(f"the checkpoint {path} is refused: {error}; nothing in it was run; {_ADVICE}") from None
    except Exception:
        return


class _Refused(Exception):
    """A pickle holds what is not let through to torch's reader."""


def _refusal(path: Path, error: Exception) -> str:
    """Why torch's weights-only reader would not read the file, as one line."""
    if "TorchScript" in str(error):
        return f"is a TorchScript program, not weights; {_ADVICE}"
    unpickling = isinstance(error, pickle.UnpicklingError)
    needed = re.search(r"GLOBAL (\S{1,200})", str(error)[:2_000])
    if name := needed.group(1) if needed else _first_global(path) if unpickling else "":
        return f"is refused: it needs {_printable(name)}, which weights do not; nothing in it was run; {_ADVICE}"
    if unpickling:
        return f"is refused: it is a pickle that holds more than weights; nothing in it was run; {_ADVICE}"
    return f"is truncated or damaged: {_line(error)}"


def _first_global(path: Path) -> str:
    """The first global a bare pickle names; read opcode by opcode, none of it is run."""
    strings: list[str] = []
    try:
        with open(path, "rb") as file:
            for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
                if opcode.name == "GLOBAL":
                    return str(argument).replace(" ", ".")
                if opcode.name == "STACK_GLOBAL":
                    return ".".join(strings[-2:])
                if number > MAX_CHECKPOINT_OPERATIONS:
                    break
                if isinstance(argument, str):
                    strings = [*strings[-1:], argument]
    except Exception:
        pass
    return ""


def _line(error: BaseException) -> str:
    text = str(error).strip()[:2_000].splitlines()
    return _printable(text[0]) if text else type(error).__name__


def _printable(text: str) -> str:
    """At most 200 characters of a text that a file may have written, those that cannot be printed as `?`."""
    return printable(text[:200])
