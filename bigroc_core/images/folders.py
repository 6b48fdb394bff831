"""Image sets in folders and in zip archives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bigroc_core.images.archives import checked_archive
from bigroc_core.images.arranging import Listing, arrange, is_hidden
from bigroc_core.images.classes import KnownClasses
from bigroc_core.images.folder_layout import SETTINGS, STATE
from bigroc_core.images.image import ImageError, SetReading
from bigroc_core.images.image_set import ImageSet, image_files
from bigroc_core.images.labels import some_of
from bigroc_core.images.reading import check_bytes, file_bytes
from bigroc_core.limits import MIB
from bigroc_core.messages import printable

# Classes are one folder deep, and a dataset.json's files a few; deeper ones are looked at only to say what is wrong.
DEEPEST_LABELLED = 6
# Where folders mean nothing; a path has its own end, but links can make many of them.
DEEPEST = 100


def open_folder(path: Path, reading: SetReading) -> ImageSet:
    """A folder of images as a set; see `open_image_set`."""
    if (path / STATE / SETTINGS).exists():
        raise ImageError(f"{path}: is the output of an unfinished run. Run its command again to finish it.")
    notes: list[str] = []
    deepest = DEEPEST_LABELLED if reading.labelled else DEEPEST
    deeper: list[str] = []
    files = list(_files(path, "", (os.path.realpath(path),), deepest, notes, deeper))
    if deeper:
        notes.append(f"left out what lies more than {deepest} folders deep ({some_of(deeper)})")
    where = path.resolve().name  # "." has none
    if not files:
        raise ImageError(f"{where}: is an empty folder; expected images, flat or in class subfolders.")

    def table(name: str) -> bytes:
        return file_bytes(path / name, name, reading.limits.labels_bytes)

    def data_of(name: str) -> bytes:
        return file_bytes(path / name, name, reading.limits.image_bytes)

    listing = arrange(files, table, where, reading)
    listing = Listing(listing.names, listing.labels, listing.classes, (*notes, *listing.notes))
    for name in listing.names:
        _check_kind(path / name, name, where)
    return image_files(path, listing, data_of, reading)


def _files(
    folder: Path, prefix: str, around: tuple[str, ...], deepest: int, notes: list[str], deeper: list[str]
) -> Iterator[str]:
    """Relative names of all files, of hidden folders only the mark of an output. around: the real paths of the folder
    and of those it lies in, back into which no link is followed. deeper: is added folders that are not looked into."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise ImageError(
            f"{folder}: could not be read ({error.strerror}). Check its permissions, or leave the folder out."
        ) from error
    for entry in entries:
        name = prefix + entry.name
        if not entry.is_dir() or entry.name == STATE:
            yield name
        elif is_hidden(entry.name):
            continue
        elif len(around) > deepest:
            deeper.append(name)
        else:
            real = os.path.realpath(entry.path)
            if real in around:
                notes.append(f"left out {printable(name)}, a link back to a folder around it")
            else:
                yield from _files(Path(entry.path), name + "/", (*around, real), deepest, notes, deeper)


def _check_kind(path: Path, name: str, where: str) -> None:
    """ImageError for a name behind which there is no file to read."""
    if path.is_file():
        return
    shown = f"{where}: {printable(name)}"
    if path.is_symlink() and not path.exists():
        raise ImageError(
            f"{shown} is a link to {printable(os.readlink(path))}, where there is nothing. Mend or remove the link."
        )
    raise ImageError(f"{shown} is not a regular file but a pipe, a socket or a device; expected an image. Remove it.")


def open_zip(path: Path, inner: str, reading: SetReading) -> ImageSet:
    """A zip of images as a set, or the folder `inner` of it ("" or with a closing slash); see `open_image_set`."""
    archive = checked_archive(path, reading.limits)
    limits = reading.limits
    members = {
        info.filename[len(inner) :]: info
        for info in archive.infolist()
        if not info.is_dir() and info.filename.startswith(inner)
    }
    visible = [name for name in members if not any(map(is_hidden, PurePosixPath(name).parts))]
    if not visible:
        where = f"{path.name}/{inner}" if inner else path.name
        raise ImageError(f"{where}: holds no files; expected images, flat or in class subfolders.")
    tops = {PurePosixPath(name).parts[0] for name in visible}
    if len(tops) == 1 and all("/" in name for name in visible):
        wrapper = tops.pop()
        is_class = wrapper.isdecimal() or wrapper in reading.mapping
        if not (is_class or KnownClasses(reading.classes or ()).numbers(wrapper)):
            start = len(wrapper) + 1
            members = {name[start:]: info for name, info in members.items() if name.startswith(wrapper + "/")}

    def data_of(name: str) -> bytes:
        try:
            # zipfile stops at the declared size, which was checked, whatever the stream would unpack to.
            return archive.read(members[name])
        except Exception as error:
            raise ImageError(
                f"{path.name}: its member {printable(name)} is damaged ({error}). Make the archive again."
            ) from error

    def table(name: str) -> bytes:
        if members[name].file_size > limits.labels_bytes:
            raise ImageError(
                f"{path.name}: its {name} unpacks to more than the {limits.labels_bytes // MIB} MiB it may have."
            )
        return data_of(name)

    listing = arrange(list(members), table, path.name, reading)
    for name in listing.names:
        check_bytes(members[name].file_size, name, limits.image_bytes)
    return image_files(path, listing, data_of, reading)
