"""Open zip archives that strangers made."""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path

from bigroc_core.images.image import ImageError
from bigroc_core.limits import MAX_ARCHIVE_MEMBERS, MAX_ARCHIVE_UNPACKED_BYTES, MIB


def checked_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip archive whose directory is fair: plain names, no encryption, sizes within the limits."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as error:
        raise ImageError(f"{path.name}: is not a whole zip archive ({error}). Make or upload it again.") from error
    infos = archive.infolist()
    if len(infos) > MAX_ARCHIVE_MEMBERS:
        raise ImageError(f"{path.name}: has {len(infos):,} members, more than {MAX_ARCHIVE_MEMBERS:,}. Split it.")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > MAX_ARCHIVE_UNPACKED_BYTES:
        raise ImageError(
            f"{path.name}: unpacks to {unpacked / MIB:,.0f} MiB, more than "
            f"{MAX_ARCHIVE_UNPACKED_BYTES // MIB:,}. Split it."
        )
    seen = set()
    for info in infos:
        parts = info.filename.replace("\\", "/").split("/")
        # zipfile turns backslashes into slashes on Windows only, so they are refused everywhere.
        if "\\" in info.orig_filename or parts[0] == "" or ".." in parts or re.match(r"[A-Za-z]:", info.filename):
            raise ImageError(
                f"{path.name}: its member {info.orig_filename!r} points outside the archive; expected "
                "plain relative names. Make the archive again."
            )
        if info.flag_bits & 1:
            raise ImageError(f"{path.name}: is encrypted ({info.filename}); expected no password. Make it without one.")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ImageError(
                f"{path.name}: {info.filename} is packed by an unusual method; expected stored or deflated."
            )
        if info.filename in seen:
            raise ImageError(f"{path.name}: has two members named {info.filename}; expected different names.")
        seen.add(info.filename)
    return archive
