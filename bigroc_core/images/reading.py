"""Read one image file, PIL image or array into (3, H, W) float32 in [0, 1]."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from bigroc_core.images.formats import readable_formats, recognised
from bigroc_core.images.image import EXPECTED, ImageError, ImageSource, ReadImage, Size
from bigroc_core.images.resizing import fit_to
from bigroc_core.images.rounding import from_uint8
from bigroc_core.images.wide_grey import Span, is_wide, wide_grey
from bigroc_core.limits import COMMAND_LINE, MIB, ReadingLimits
from bigroc_core.messages import printable

MOST_SCANS = 100


def read_image(
    source: ImageSource,
    size: Size | None = None,
    name: str | None = None,
    limits: ReadingLimits = COMMAND_LINE,
    span: Span | None = None,
) -> ReadImage:
    """Read one image, by the rules in this package's docstring.

    source: a path; the bytes of an image file; a PIL image; or a numpy array (H, W), (H, W, 1..4) with the
        channels L, LA, RGB or RGBA, uint8, uint16, bool or float in [0, 1].
    size: None, or what `fit_to` then brings the image to.
    name: what messages call the image; by default its file name.
    limits: how much one image may take; `UPLOAD` for what strangers send.
    span: the values that are black and white where the file does not say so (float and 32-bit grey); None to tell it
        from this image alone. All images of a set have the same.

    Raises ImageError (a ValueError) for anything that is not an image, is damaged, or exceeds `limits`.
    """
    name = None if name is None else printable(name)
    if isinstance(source, np.ndarray):
        read = _from_array(source, name or "the array", limits)
    elif isinstance(source, Image.Image):
        read = _from_pil(source, name or "the image", limits, span)
    elif isinstance(source, bytes):
        read = _from_bytes(source, name or "the image", limits, span)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or printable(path.name)
        read = _from_bytes(file_bytes(path, name, limits.image_bytes), name, limits, span)
    else:
        raise ImageError(
            f"{name or 'the image'}: is a {type(source).__name__}; expected a path, bytes, a PIL "
            "image or a numpy array."
        )
    if size is None:
        return read
    fitted = fit_to(read.pixels, size)
    return ReadImage(fitted.pixels, read.notes + fitted.notes)


def check_together(paths: Sequence[str | os.PathLike[str]], limits: ReadingLimits) -> None:
    """ImageError where image files have more pixels together than `limits.pixels`, by their headers.

    Files that are no images are left to `read_image`, which says so.
    """
    pixels = 0
    for path in map(Path, paths):
        with contextlib.suppress(ImageError):
            pixels += math.prod(open_header(file_bytes(path, path.name, limits.image_bytes), path.name, limits).size)
    if limits.pixels is not None and pixels > limits.pixels:
        raise ImageError(
            f"the {len(paths)} images have {pixels // 1_000_000:,} million pixels together, more than the "
            f"{limits.pixels // 1_000_000} million that can be read at once. Make them smaller, or take fewer."
        )


def file_bytes(path: Path, name: str, most: int = COMMAND_LINE.image_bytes) -> bytes:
    """A file's bytes, at most so many. Raises ImageError for what is no file, is empty or too long."""
    name = printable(name)
    if path.is_dir():
        raise ImageError(f"{name}: is a folder; {EXPECTED} file.")
    if path.is_symlink() and not path.exists():
        raise ImageError(
            f"{name}: is a link to {printable(os.readlink(path))}, where there is nothing. Mend or remove the link."
        )
    if not path.exists():
        raise ImageError(f"{path}: does not exist; {EXPECTED} file. Check the path.")
    if not path.is_file():
        raise ImageError(f"{name}: is not a regular file; {EXPECTED} file.")
    try:
        check_bytes(path.stat().st_size, name, most)
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{name}: could not be read ({error.strerror}). Check the file's permissions.") from error


def check_bytes(count: int, name: str, most: int = COMMAND_LINE.image_bytes) -> None:
    if count == 0:
        raise ImageError(f"{printable(name)}: is empty (0 bytes); {EXPECTED}. Export or upload it again.")
    if count > most:
        raise ImageError(
            f"{printable(name)}: has {count / MIB:.1f} MiB, more than the {most // MIB} MiB it may have. Save it "
            "smaller, an image for instance as JPEG."
        )


def check_pixels(width: int, height: int, name: str, limits: ReadingLimits = COMMAND_LINE) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: is {width}×{height} pixels; expected at least 1×1.")
    if width * height > limits.image_pixels:
        raise ImageError(
            f"{name}: is {width:,}×{height:,} pixels, more than the {limits.image_pixels // 1_000_000} million "
            "one image may have. Make it smaller."
        )
    if max(width, height) > limits.image_side:
        raise ImageError(
            f"{name}: is {width:,}×{height:,} pixels, longer than the {limits.image_side:,} that a side may have. "
            "Cut it into pieces, or make it smaller."
        )


def open_header(data: bytes, name: str, limits: ReadingLimits = COMMAND_LINE) -> Image.Image:
    """Parse the header alone; nothing is decoded before format and size have been accepted."""
    check_bytes(len(data), name, limits.image_bytes)
    kind = recognised(data)
    try:
        image = Image.open(io.BytesIO(data), formats=readable_formats(kind))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name}: has more pixels than the {limits.image_pixels // 1_000_000} million one image may have "
            f"({error}). Make it smaller."
        ) from error
    except Image.UnidentifiedImageError as error:
        if kind:
            raise ImageError(
                f"{name}: is a {kind.name} image that cannot be read here; {kind.advice}, or save it as PNG or JPEG."
            ) from error
        if data[:4] == b"PK\3\4":
            raise ImageError(
                f"{name}: is an archive, and an image is wanted here. Unpack it, and give its images one by one."
            ) from error
        raise ImageError(
            f"{name}: is not an image, or its beginning is damaged; {EXPECTED}. Convert it to one of these."
        ) from error
    except Exception as error:  # Pillow's parsers raise nearly anything on a malformed file
        raise ImageError(f"{name}: is damaged ({error}); {EXPECTED}. Export or upload it again.") from error
    check_pixels(*image.size, name, limits)
    # Only a progressive JPEG has several scans, about ten, and each is work for all of its pixels.
    if image.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > MOST_SCANS:
        raise ImageError(f"{name}: is a JPEG of more than {MOST_SCANS} scans, which no camera makes. Save it again.")
    return image


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    # A malformed EXIF block says nothing about the pixels, which may be perfectly good.
    with contextlib.suppress(Exception):
        return int(image.getexif().get(0x0112, 1))
    return 1


def _from_bytes(data: bytes, name: str, limits: ReadingLimits, span: Span | None) -> ReadImage:
    image = open_header(data, name, limits)
    if image.format == "PNG":
        # Pillow decodes past wrong checksums, which are what a PNG has to tell damage by.
        try:
            image.verify()
        except Exception as error:
            raise ImageError(
                f"{name}: is truncated or damaged ({error}); {EXPECTED}, whole. Export or upload it again."
            ) from error
        image = open_header(data, name, limits)
    frames = _frames(image)
    read = _from_pil(image, name, limits, span)
    return ReadImage(read.pixels, (f"the first of {frames} frames was taken", *read.notes) if frames else read.notes)


def _frames(image: Image.Image) -> str | None:
    """How many frames an animation has, or None where there is just one."""
    if image.format in ("GIF", "TIFF"):
        # Their frames form a chain, and a small file can hold millions: only a second one is looked for.
        try:
            image.seek(1)
        except Exception:
            return None
        finally:
            image.seek(0)
        return "several"
    # A photograph with a second picture for depth or brightness (MPO) is no animation.
    frames = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    return str(frames) if frames > 1 else None


def _from_pil(image: Image.Image, name: str, limits: ReadingLimits, span: Span | None) -> ReadImage:
    check_pixels(*image.size, name, limits)
    notes: list[str] = []
    try:
        turned = orientation_of(image) in _UPRIGHT
        image.load()
    except Exception as error:
        raise ImageError(
            f"{name}: is truncated or damaged ({error}); {EXPECTED}, whole. Export or upload it again."
        ) from error
    try:
        # Asked again after loading: Pillow turns a TIFF itself, and a PNG may carry its EXIF after the
        # pixels.
        orientation = orientation_of(image)
        if orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        if turned or orientation in _UPRIGHT:
            notes.append("turned upright as its EXIF orientation says")
        pixels = wide_grey(image, name, span, notes) if is_wide(image) else _from_8_bit(image, notes)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(
            f"{name}: its {image.mode} pixels could not be converted to RGB ({error}). Save it as an RGB PNG."
        ) from error
    return ReadImage(pixels, tuple(notes))


def _from_8_bit(image: Image.Image, notes: list[str]) -> Tensor:
    alpha = None
    colour = image
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        colour = image.getchannel("L") if image.mode == "LA" else rgba.convert("RGB")
    elif image.mode not in ("L", "RGB", "CMYK"):
        colour = image.convert("RGB")
    pixels = from_uint8(np.array(_to_srgb(colour, image.info.get("icc_profile"), notes)))
    if alpha is not None and alpha.getextrema()[0] != 255:
        pixels = _on_white(pixels, torch.from_numpy(np.array(alpha)).float().div_(255), notes)
    return pixels


def _on_white(pixels: Tensor, alpha: Tensor, notes: list[str]) -> Tensor:
    notes.append("transparent pixels were laid on white")
    return pixels.mul_(alpha).add_(1 - alpha).clamp_(0, 1)


def _to_srgb(colour: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    """RGB from an L, RGB or CMYK image, through its embedded profile if that fits the image."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            description = ImageCms.getProfileDescription(profile).strip()
            # Converting sRGB to sRGB would only add rounding.
            if description.startswith("sRGB"):
                return colour.convert("RGB")
            if {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(profile.profile.xcolor_space.strip()) != colour.mode:
                raise ValueError("the profile is for another kind of image")
            converted = ImageCms.profileToProfile(colour, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                notes.append(f"colours converted to sRGB from the profile “{description}”")
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notes.append("its colour profile could not be used and was ignored")
    return colour.convert("RGB")


def _from_array(array: np.ndarray, name: str, limits: ReadingLimits) -> ReadImage:
    expected = "expected (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4)"
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        turn = " Move the channels last." if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(f"{name}: has shape {tuple(array.shape)}; {expected}.{turn}")
    check_pixels(array.shape[1], array.shape[0], name, limits)
    if array.dtype == np.uint8:
        levels = 255.0
    elif array.dtype == np.uint16:
        levels = 65535.0
    elif array.dtype == np.bool_:
        levels = 1.0
    elif np.issubdtype(array.dtype, np.floating):
        levels = 1.0
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ImageError(f"{name}: has values outside [0, 1] or NaN; float pixels are expected in [0, 1].")
    else:
        raise ImageError(f"{name}: has dtype {array.dtype}; expected uint8, uint16, bool or float in [0, 1].")
    # A numpy scalar of the same type divides exactly; see from_uint8.
    pixels = torch.from_numpy(array.astype(np.float32) / np.float32(levels)).movedim(2, 0)
    channels = pixels.shape[0]
    colour = (pixels[:3] if channels >= 3 else pixels[:1].expand(3, -1, -1)).clone(
        memory_format=torch.contiguous_format
    )
    notes: list[str] = []
    if channels in (2, 4) and bool((pixels[-1] < 1).any()):
        colour = _on_white(colour, pixels[-1], notes)
    return ReadImage(colour, tuple(notes))


def upright_size(image: Image.Image, data: bytes) -> tuple[int, int]:
    """(width, height) of an image whose header was read from `data`, once it is upright."""
    width, height = image.size
    # Pillow reports a TIFF's size as it will be once turned.
    if image.format == "TIFF" or not _may_be_turned(image, data):
        return width, height
    return (height, width) if orientation_of(image) >= 5 else (width, height)


def _may_be_turned(image: Image.Image, data: bytes) -> bool:
    """Whether to ask for the orientation. A PNG may have it after its pixels, for which Pillow decodes them all."""
    return image.format != "PNG" or any(mark in data for mark in (b"eXIf", b"Raw profile type exif", b"adobe.xmp"))
