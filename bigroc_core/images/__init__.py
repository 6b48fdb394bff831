"""Images in and out: reading, checking, converting and writing single images and image sets.

Inside the project an image is a float32 tensor (3, H, W), RGB, in [0, 1]. This package is the only way in
(`read_image`, `open_image_set`) and the only way out (`to_uint8`, `encode_png`, `write_image_set`).

Rules, stated once:

- *Frames*: of an animation the first frame is taken.
- *Transparency* is laid on white.
- *Orientation*: the EXIF rotation is applied.
- *Colour*: an embedded ICC profile is converted to sRGB where possible and ignored otherwise; CMYK becomes
  RGB.
- *Depth*: grey of 12 or 16 bits keeps its precision, white being the largest value of its depth. Float and 32-bit grey
  say no white: it is the end of the narrowest usual range ([0, 1], [-1, 1], 8 bits, 16 bits) that has the values, of
  all images of a set together; values of float pictures may overshoot it by a tenth and are clamped; notes say so.
  16-bit RGB is read by Pillow at 8 bits.
- *Kinds*: what Pillow reads, of the kinds in `image.FORMATS`; HEIC where the package pillow-heif is installed.
- *Size*: `fit_to`, the largest centred box of the wanted shape, averaged by area when shrinking, Lanczos-3
  when enlarging.
- *Rounding* to 8 bits happens in `to_uint8` alone, half to even.
"""

from bigroc_core.images.folder_layout import class_folders
from bigroc_core.images.image import ImageError, ImageSource, ReadImage, Size, tally
from bigroc_core.images.image_set import ImageBatch, ImageSet
from bigroc_core.images.opening import open_image_set
from bigroc_core.images.reading import check_together, read_image
from bigroc_core.images.resizing import fit_to, shrunk_to
from bigroc_core.images.rounding import encode_png, from_uint8, to_pil, to_uint8
from bigroc_core.images.sheet import Sheet, show
from bigroc_core.images.wordnet import readable_names
from bigroc_core.images.writing import ImageSetWriter, is_unfinished, write_image_set

__all__ = [
    "ImageBatch",
    "ImageError",
    "ImageSet",
    "ImageSetWriter",
    "ImageSource",
    "ReadImage",
    "Sheet",
    "Size",
    "check_together",
    "class_folders",
    "encode_png",
    "fit_to",
    "from_uint8",
    "is_unfinished",
    "open_image_set",
    "read_image",
    "readable_names",
    "show",
    "shrunk_to",
    "tally",
    "to_pil",
    "to_uint8",
    "write_image_set",
]
