"""Read one image file, PIL image or array into (3, H, W) float32 in [0, 1]."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from bigroc_core.images.image import EXPECTED, FORMATS, ImageError, ImageSource, ReadImage, Size
from bigroc_core.images.resizing import fit_to
from bigroc_core.images.rounding import from_uint8
from bigroc_core.limits import MAX_IMAGE_BYTES, MAX_PIXELS, MIB


def read_image(source: ImageSource, size: Size | None = None, name: str | None = None) -> ReadImage:
    """Read one image, by the rules in this package's docstring.

    source: a path; the bytes of an image file; a PIL image; or a numpy array (H, W), (H, W, 1..4) with the
        channels L, LA, RGB or RGBA, uint8, uint16, bool or float in [0, 1].
    size: None, or what `fit_to` then brings the image to.
    name: what messages call the image; by default its file name.

    Raises ImageError (a ValueError) for anything that is not an image, is damaged, or exceeds `limits`.
    """
    if isinstance(source, np.ndarray):
        read = _from_array(source, name or "the array")
    elif isinstance(source, Image.Image):
        read = _from_pil(source, name or "the image")
    elif isinstance(source, bytes):
        name = name or "the image"
        read = _from_bytes(source, name)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or path.name
        read = _from_bytes(file_bytes(path, name), name)
    else:
        raise ImageError(
            f"{name or 'the image'}: is a {type(source).__name__}; expected a path, bytes, a PIL "
            "image or a numpy array."
        )
    if size is None:
        return read
    fitted = fit_to(read.pixels, size)
    return ReadImage(fitted.pixels, read.notes + fitted.notes)


def file_bytes(path: Path, name: str) -> bytes:
    if path.is_dir():
        raise ImageError(f"{name}: is a folder; {EXPECTED} file.")
    if not path.exists():
        raise ImageError(f"{path}: does not exist; {EXPECTED} file. Check the path.")
    if not path.is_file():
        raise ImageError(f"{name}: is not a regular file; {EXPECTED} file.")
    try:
        check_bytes(path.stat().st_size, name)
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{name}: could not be read ({error.strerror}). Check the file's permissions.") from error


def check_bytes(count: int, name: str) -> None:
    if count == 0:
        raise ImageError(f"{name}: is empty (0 bytes); {EXPECTED}. Export or upload it again.")
    if count > MAX_IMAGE_BYTES:
        raise ImageError(
            f"{name}: has {count / MIB:.1f} MiB, more than the {MAX_IMAGE_BYTES // MIB} MiB one image "
            "may have. Save it smaller or as JPEG."
        )


def check_pixels(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"{name}: is {width}×{height} pixels; expected at least 1×1.")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name}: is {width:,}×{height:,} pixels, more than the {MAX_PIXELS // 1_000_000} million "
            "one image may have. Make it smaller."
        )


def open_header(data: bytes, name: str) -> Image.Image:
    """Parse the header alone; nothing is decoded before format and size have been accepted."""
    check_bytes(len(data), name)
    Image.init()
    try:
        image = Image.open(io.BytesIO(data), formats=[known for known in FORMATS if known in Image.OPEN])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name}: has more pixels than the {MAX_PIXELS // 1_000_000} million one image may have "
            f"({error}). Make it smaller."
        ) from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: is not an image, or its beginning is damaged; {EXPECTED}. Convert it to one of these."
        ) from error
    except Exception as error:  # Pillow's parsers raise nearly anything on a malformed file
        raise ImageError(f"{name}: is damaged ({error}); {EXPECTED}. Export or upload it again.") from error
    check_pixels(*image.size, name)
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


def _from_bytes(data: bytes, name: str) -> ReadImage:
    image = open_header(data, name)
    if image.format == "PNG":
        # Pillow decodes past wrong checksums, which are what a PNG has to tell damage by.
        try:
            image.verify()
        except Exception as error:
            raise ImageError(
                f"{name}: is truncated or damaged ({error}); {EXPECTED}, whole. Export or upload it again."
            ) from error
        image = open_header(data, name)
    frames = _frames(image)
    read = _from_pil(image, name)
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


def _from_pil(image: Image.Image, name: str) -> ReadImage:
    check_pixels(*image.size, name)
    notes = []
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
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            pixels = _from_wide_grey(image, name, notes)
        else:
            pixels = _from_8_bit(image, notes)
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


def _from_wide_grey(image: Image.Image, name: str, notes: list[str]) -> Tensor:
    """Grey of more than 8 bits: divided by the largest value of its depth, so that nothing is clipped.

    A float image already in [0, 1] is taken as it is; values beyond the usual ranges are stretched from their
    own lowest and highest.
    """
    values = np.array(image).astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: has NaN or infinite pixels; expected finite numbers. Export it again.")
    low, high = float(values.min()), float(values.max())
    tags: Any = getattr(image, "tag_v2", {})
    depth = tags.get(258, (16,))[0]
    if image.mode.startswith("I;16"):
        scale = float(2 ** min(depth, 16) - 1)
        values /= scale if high <= scale else 65535.0
        if tags.get(262) == 0:  # TIFF's WhiteIsZero, which Pillow leaves to us at 16 bits
            values = 1 - values
    elif image.mode == "F" and low >= 0 and high <= 1:
        pass
    elif image.mode == "F" and low >= 0 and high <= 255:
        values /= 255
    elif low >= 0 and high <= 65535:
        values /= 65535
    else:
        values = (values - low) / (high - low) if high > low else np.zeros_like(values)
        notes.append(f"its values {low:g} to {high:g} were stretched to black to white")
    return torch.from_numpy(values).clamp_(0, 1).expand(3, -1, -1).clone()


def _from_array(array: np.ndarray, name: str) -> ReadImage:
    expected = "expected (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4)"
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        turn = " Move the channels last." if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise ImageError(f"{name}: has shape {tuple(array.shape)}; {expected}.{turn}")
    check_pixels(array.shape[1], array.shape[0], name)
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


def size_in_header(data: bytes, name: str) -> tuple[int, int]:
    """(width, height) once upright, without decoding."""
    image = open_header(data, name)
    width, height = image.size
    # Pillow reports a TIFF's size as it will be once turned.
    return (height, width) if orientation_of(image) >= 5 and image.format != "TIFF" else (width, height)
