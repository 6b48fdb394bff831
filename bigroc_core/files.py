"""Files: written whole or not at all, zips that are always the same bytes, settings that people read and write."""

from __future__ import annotations

import contextlib
import csv
import glob
import io
import json
import os
import secrets
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bigroc_core.limits import MAX_CARD_BYTES

# What a settings file may nest, and how large its whole numbers may be.
MAX_DEPTH = 16
MAX_INTEGER = 2**63
# Why a parser gives up where the syntax is right.
TOO_MUCH = "it nests too deep, or has a number of thousands of digits"


def one_line_each(entries: dict[str, Any]) -> str:
    """JSON with one line per entry."""
    lines = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


class NotWritten(OSError):
    """A file that could not be written. path: which one. why: what the system says."""

    def __init__(self, path: Path, error: OSError) -> None:
        self.path, self.why = path, error.strerror or str(error)
        super().__init__(
            error.errno,
            f"{path} could not be written ({self.why}). Nothing written so far is lost: "
            "once that is mended, for instance by making room, the same command goes on",
        )


@contextlib.contextmanager
def whole_or_not_at_all(path: Path, folder: bool = False) -> Iterator[Path]:
    """A path beside `path` to write a file to, or a folder: if all goes well it takes the place of `path`, or of an
    empty folder there, and if not it vanishes; if the process is killed, with the next writing of `path`. Raises
    NotWritten, naming `path` and saying that nothing is lost, where it cannot be written."""
    # Not the process number: processes on several machines may share it, and the folder.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    make_folder(path.parent)
    _remove_abandoned(path)
    try:
        with contextlib.ExitStack() as stack:
            _claim(temporary, folder, stack)
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        raise NotWritten(path, error) from error
    finally:
        _remove(temporary)


def _claim(temporary: Path, folder: bool, stack: contextlib.ExitStack) -> None:
    """Make it, and lock it for as long as this process writes to it."""
    if folder:
        temporary.mkdir()
    with contextlib.suppress(ImportError):
        import fcntl  # not on Windows

        while True:
            file = os.open(temporary, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, file)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            # Before it was locked, another may have taken it for abandoned.
            if is_there(temporary) and os.path.samestat(os.fstat(file), os.stat(temporary)):
                return
            if folder:
                temporary.mkdir(exist_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove what killed writers of `path` left behind: nobody holds it any more."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        for one in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"):
            with contextlib.suppress(OSError):
                file = os.open(one, os.O_RDONLY)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _remove(one)
                finally:
                    os.close(file)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


class Taken(ValueError):
    """An output that another run is writing to."""


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Keep other runs away from an output while this one writes to it; Taken if one is writing there.

    By a lock on a hidden file beside it, which ends with the process however that ends. Where files cannot be locked,
    or none can be made, nothing is kept away; who writes then says what is wrong.
    """
    place = Path(os.path.abspath(out))
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            if place.name and "\0" not in place.name:
                _hold(place.with_name(f".{place.name}.lock"), out, stack)
        yield


@contextlib.contextmanager
def held_in_turn(out: Path, waiting: Callable[[], object], seconds: float = 0.5) -> Iterator[None]:
    """The same, for what several runs make alike: waits until no other is writing there. waiting: called now and then
    meanwhile; what it raises ends the wait."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(held(out))
                break
            except Taken:
                waiting()
                time.sleep(seconds)
        yield


def _hold(lock: Path, out: Path, stack: contextlib.ExitStack) -> None:
    import fcntl  # not on Windows

    made = next((folder for folder in reversed(lock.parents) if not folder.exists()), None)
    lock.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        stack.callback(os.close, file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Taken(
                f"{out}: another run is writing there; wait until it has ended, or choose another name for this one"
            ) from None
        # Whoever held it removes it in the end, perhaps after it was opened here.
        if is_there(lock) and os.path.samestat(os.fstat(file), os.stat(lock)):
            break
    stack.callback(_let_go, lock, made)


def _let_go(lock: Path, made: Path | None) -> None:
    with contextlib.suppress(OSError):
        lock.unlink()
        folder = lock.parent
        while made is not None and made in (folder, *folder.parents):
            folder.rmdir()  # what was made for the lock alone; else this ends it
            folder = folder.parent


def write_bytes(path: Path, data: bytes) -> None:
    """Whole or not at all; OSError, naming the file, where it cannot be written."""
    with whole_or_not_at_all(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all; OSError, naming the file, where it cannot be written."""
    write_bytes(path, text.encode("utf-8"))


def csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    """A table as a file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, where they are not there. OSError says why it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        file = next((one for one in (folder, *folder.parents) if one.exists() and not one.is_dir()), None)
        why = f"{file} is a file and not a folder" if file else error.strerror
        raise OSError(f"the folder {folder} cannot be made: {why}; choose another place for it") from error


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of files by name, in order; always the same bytes for the same files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            # Without a date of its own, which would differ from one time to the next.
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()


def is_there(path: Path) -> bool:
    """Whether a path exists; no path at all (too long a name, a NUL in it) does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def read_settings_text(path: Path) -> str:
    """The text of a settings file; ValueError, saying why, if it cannot be read, is too long or is not UTF-8."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_CARD_BYTES + 1)
        if len(content) > MAX_CARD_BYTES:
            raise ValueError(f"it has over {MAX_CARD_BYTES:,} bytes")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(error.strerror or type(error).__name__) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error


def read_json(path: Path) -> Any:
    """What a JSON file says; ValueError, saying why, if it cannot be read or `check_plain` refuses it."""
    entries = parsed_json(read_settings_text(path))
    check_plain(entries)
    return entries


def parsed_json(text: str | bytes) -> Any:
    """What JSON says; ValueError, saying why, for what is none or is more than any of ours."""
    try:
        return json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except (RecursionError, ValueError) as error:
        raise ValueError(TOO_MUCH) from error


def check_plain(value: Any, depth: int = 0) -> None:
    """ValueError for what no setting is: deep nesting, huge whole numbers, text with NUL or halves of characters."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("it has text with a NUL or half a character (a surrogate) in it")
    elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise ValueError("it has a whole number of more than 19 digits")
    elif isinstance(value, dict):
        for key, child in value.items():
            check_plain(key, depth + 1)
            check_plain(child, depth + 1)
    elif isinstance(value, list):
        for child in value:
            check_plain(child, depth + 1)
