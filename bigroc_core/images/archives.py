"""Open zip archives that strangers made."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from pathlib import Path

from bigroc_core.images.image import ImageError
from bigroc_core.limits import COMMAND_LINE, MIB, ReadingLimits
from bigroc_core.messages import printable

_ENTRY = b"PK\x01\x02"
_END = b"PK\x05\x06"
_END_64, _LOCATOR_64 = b"PK\x06\x06", b"PK\x06\x07"
# An archive ends with its directory, where that is, and a comment of at most 65,535 bytes (APPNOTE 4.3.6).
_END_BYTES = 98 + 65_535
# The fixed part, a name and extra fields: longer entries than this on average are nothing that packing programs make.
_ENTRY_BYTES = 1_024


def checked_archive(path: Path, limits: ReadingLimits = COMMAND_LINE) -> zipfile.ZipFile:
    """Open a zip archive whose directory is fair: names inside it, no encryption, sizes within the limits.

    Names have `/` between folders also where Windows wrote `\\`. Only `..` and absolute paths point outside.
    """
    _check_directory(path, limits)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as error:
        raise ImageError(f"{path.name}: is not a whole zip archive ({error}). Make or upload it again.") from error
    try:
        _check_members(archive, path.name, limits)
    except ImageError:
        archive.close()
        raise
    return archive


def _check_directory(path: Path, limits: ReadingLimits) -> None:
    """Count the members before zipfile makes an object of each."""
    most = limits.archive_members * _ENTRY_BYTES
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _END_BYTES))
            tail = stream.read(_END_BYTES)
            end = tail.rfind(_END)
            if end < 0 or len(tail) < end + 22:
                return  # zipfile says what is wrong
            length = struct.unpack("<I", tail[end + 12 : end + 16])[0]
            if tail[max(0, end - 20) : end].startswith(_LOCATOR_64):
                end -= 76
                if end < 0 or not tail[end:].startswith(_END_64):
                    raise ImageError(f"{path.name}: is not a whole zip archive (its end is damaged). Make it again.")
                length = struct.unpack("<Q", tail[end + 40 : end + 48])[0]
            stop = size - len(tail) + end
            stream.seek(max(0, stop - length))
            directory = stream.read(min(length, stop, most + 1))
    except OSError as error:
        raise ImageError(f"{path.name}: could not be read ({error.strerror}). Check the file's permissions.") from error
    count = directory.count(_ENTRY)
    if count > limits.archive_members or len(directory) > most:
        raise ImageError(
            f"{path.name}: has at least {count:,} members, and more than {limits.archive_members:,} cannot be read. "
            "Split it."
        )


def _check_members(archive: zipfile.ZipFile, name: str, limits: ReadingLimits) -> None:
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > limits.archive_bytes:
        raise ImageError(
            f"{name}: unpacks to {unpacked / MIB:,.0f} MiB, more than {limits.archive_bytes // MIB:,}. Split it."
        )
    archive.NameToInfo.clear()
    for info in archive.infolist():
        # zipfile makes slashes of backslashes on Windows only.
        info.filename = info.filename.replace("\\", "/").removeprefix("./")
        shown = printable(info.filename)
        if not info.filename:
            raise ImageError(f"{name}: has a member without a name. Make the archive again.")
        if info.filename.startswith("/") or ".." in info.filename.split("/") or re.match("[A-Za-z]:/", info.filename):
            raise ImageError(
                f"{name}: its member '{shown}' points outside the archive; expected plain relative names. "
                "Make the archive again."
            )
        if info.flag_bits & 1:
            raise ImageError(f"{name}: is encrypted ({shown}); expected no password. Make it without one.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ImageError(
                f"{name}: {shown} is packed by an unusual method; expected stored or deflated, which packing programs "
                "call “Store” and “Deflate”. Make it so."
            )
        if info.filename in archive.NameToInfo:
            raise ImageError(f"{name}: has two members named '{shown}'; expected different names.")
        archive.NameToInfo[info.filename] = info
