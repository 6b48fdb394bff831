"""Kinds of image file that Pillow reads only in part or with help, told by their first bytes."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from bigroc_core.images.image import FORMATS


@dataclass(frozen=True)
class Kind:
    """A kind of image file by name, and what makes it readable."""

    name: str
    advice: str


HEIC = Kind("HEIC", "install the Python package pillow-heif")
JPEG2000 = Kind("JPEG 2000", "it is damaged or an unusual one, or this Pillow was built without JPEG 2000")
TIFF = Kind("TIFF", "of its kinds float RGB, tiled BigTIFF and some compressions are not read, or it is damaged")
JPEG_XL = Kind("JPEG XL", "it is not read here")


def recognised(data: bytes) -> Kind | None:
    """The kind of a file that may need help, by its first bytes; None for all others."""
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return HEIC
    if data[:12] == b"\0\0\0\x0cjP  \r\n\x87\n" or data[:4] == b"\xff\x4f\xff\x51":
        return JPEG2000
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TIFF
    if data[:2] == b"\xff\x0a" or data[:12] == b"\0\0\0\x0cJXL \r\n\x87\n":
        return JPEG_XL
    return None


def readable_formats(kind: Kind | None) -> list[str]:
    """Pillow's names of the formats that are read here. HEIC becomes one where pillow-heif is installed."""
    Image.init()
    if kind is HEIC and "HEIF" not in Image.OPEN:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            pass
        else:
            register_heif_opener()
    return [known for known in FORMATS if known in Image.OPEN]
