"""Every explicit limit on what a user may hand in, in one place.

They keep one request from exhausting a small host (two cores, 16 GB) and bound how long a stranger can occupy
it. Reading functions refuse what exceeds them with a `ValueError` that names the limit. `BoostConfig` has its
own, wider bounds, which say what is mathematically sensible; the limits here say what a public page or an
untrusted file may ask for.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20
GIB = 2**30

# One image file, uploaded or on disk or inside an archive: a 50-megapixel photograph as JPEG has 10 to 25
# MiB.
MAX_IMAGE_BYTES = 32 * MIB
# One uploaded file of any kind (an image, or a zip of images).
MAX_UPLOAD_BYTES = 64 * MIB
# Pixels of one image that a person reads on a machine of their own, by its header before anything is decoded. As
# float32 RGB this is 600 MB.
MAX_PIXELS = 50_000_000
# And its longer side, the most that JPEG knows: what resizes an image grows with its sides, not with its pixels.
MAX_IMAGE_SIDE = 65_535

# Images one request to the page or its API may boost.
MAX_IMAGES_PER_REQUEST = 64
# The longer side of an image on the page, where it is computed; a larger one is brought to it. And the pixels of all
# images of a request together: 32 of that size.
MAX_OWN_SIDE = {"cpu": 512, "cuda": 1024}
MAX_OWN_PIXELS = {device: 32 * side * side for device, side in MAX_OWN_SIDE.items()}
# What a run keeps of its steps for its visitor: of large images fewer steps.
MAX_KEPT_BYTES = 64 * MIB
# Pixels of all images of a study of debiasing, which are kept as 8-bit RGB: 340 images of 256 by 256.
MAX_STUDY_PIXELS = MAX_KEPT_BYTES // 3
# Images one request may draw from a generator to fit or to show debiasing.
MAX_SAMPLES_PER_REQUEST = 2_000
# Images per seed, and seeds, of one evaluation: a background job, minutes long on two cores.
MAX_EVALUATION_IMAGES = 10_000
MAX_EVALUATION_SEEDS = 3
# Background jobs waiting for the one that runs.
MAX_WAITING_JOBS = 8
# PGD steps of one request; the papers use at most 60.
MAX_STEPS_PER_REQUEST = 200
# Settings side by side on the same images, each a run of its own.
MAX_COMPARED = 4
# Values of c, and so frames of each strip, of one interpolation.
MAX_FRACTIONS = 12
# Images that one figure draws, its columns, and the side of an image in it, in pixels.
MAX_FIGURE_IMAGES = 400
MAX_COLUMNS = 20
MAX_FIGURE_SIDE = 512
# A figure's file, and the recipe that it carries: 400 images of 32 pixels are about 2 MB of it. A recipe's entries are
# its commas and brackets; the images it brings have so many pixels together, 400 of 282 by 282.
MAX_FIGURE_BYTES = 64 * MIB
MAX_RECIPE_CHARACTERS = 16 * MIB
MAX_RECIPE_ENTRIES = 200_000
MAX_FIGURE_PIXELS = 32_000_000
# What one figure of the page may compute: images times steps times pixels, over all its runs; 400 images of 32 by 32
# pixels, boosted twice in 60 steps, are minutes on two cores.
MAX_FIGURE_COMPUTING = 50_000 * 32 * 32
# Radius of one request's ball: in L2 the diagonal of a 3x1024x1024 cube is 1,774 (of 3x32x32: 55.4), in L-infinity 1
# is already everything.
MAX_EPS_L2 = 1_800.0
MAX_EPS_LINF = 1.0
# Requests waiting for the compute, beyond which newcomers are told how long that will take; and of one visitor.
MAX_QUEUE_LENGTH = 128
MAX_WAITING_OF_A_VISITOR = 32
# What a run of the page may compute on one core beside others: images times steps times pixels, half a second's.
MAX_LIGHT_COMPUTING = 64 * 32 * 32
# What is computed so that moving the strength shows pictures at once, in seconds, by what the run before it took.
MAX_STRENGTHS_SECONDS = 8.0
# A run that takes less is begun anew where the strength is let go.
MAX_LIVE_SECONDS = 2.0
# Bytes of the pictures that a visitor's browser is sent for it.
MAX_STRENGTHS_BYTES = 8 * MIB
# Runs that are kept so that a reload of the page brings them back.
MAX_KEPT_RUNS = 64
# Uploads and results are deleted from the server after this many seconds.
KEEP_FILES_SECONDS = 3_600

# Members of a zip or .npz archive, and their sizes together once unpacked: 50,000 PNGs of 256x256 have about
# 6 GiB.
MAX_ARCHIVE_MEMBERS = 200_000
MAX_ARCHIVE_UNPACKED_BYTES = 32 * GIB
# A compressed .npz cannot be read in slices and is held in memory whole.
MAX_COMPRESSED_ARRAY_BYTES = 2 * GIB
# A labels.csv or dataset.json: EDM's for the whole of ImageNet has about 50 MB.
MAX_LABELS_BYTES = 64 * MIB

# A checkpoint's list of its tensors (the header of a .safetensors, the pickle inside a .pt), that of a zip's members,
# and the pickle's operations: a network of 20,000 tensors has about 3 MiB, and 800,000 operations with its optimiser.
MAX_CHECKPOINT_HEADER_BYTES = 16 * MIB
MAX_CHECKPOINT_DIRECTORY_BYTES = 8 * MIB
MAX_CHECKPOINT_OPERATIONS = 1_000_000
# A visitor's own checkpoint, where a host takes them, and how many are kept in memory at a time: a ResNet-50 in float32
# has 98 MiB. Other uploads stay within MAX_UPLOAD_BYTES.
MAX_OWN_CHECKPOINT_BYTES = 256 * MIB
MAX_OWN_CHECKPOINTS = 8
# Weights of the models that are kept in memory beside those that come along, as those of the Hub that visitors choose;
# each is computed with in up to two copies besides. The largest, a WRN-50-4, has 852 MiB.
MAX_KEPT_WEIGHTS_BYTES = 2 * GIB
# A card or a models.toml; those of the embedded models have up to 17 kB.
MAX_CARD_BYTES = MIB


@dataclass(frozen=True, kw_only=True)
class ReadingLimits:
    """How much one reading of images may take. All of it is checked by what files declare, before anything is decoded.

    image_bytes, image_pixels, image_side: one encoded image, its pixels and its longer side. images: how many one set
    may hold. pixels: of all the images of a set, or of one request, together, as they are stored; None where they are
    read batch by batch for as long as it takes.
    archive_members, archive_bytes: a zip's or .npz's members and their unpacked sizes together. array_bytes: an array
    that has to be held in memory whole. labels_bytes: a labels.csv or dataset.json.
    """

    image_bytes: int
    image_pixels: int
    image_side: int = MAX_IMAGE_SIDE
    images: int
    pixels: int | None
    archive_members: int
    archive_bytes: int
    array_bytes: int
    labels_bytes: int


# Files that a person reads on a machine of their own.
COMMAND_LINE = ReadingLimits(
    image_bytes=MAX_IMAGE_BYTES,
    image_pixels=MAX_PIXELS,
    images=100_000_000,
    pixels=None,
    archive_members=MAX_ARCHIVE_MEMBERS,
    archive_bytes=MAX_ARCHIVE_UNPACKED_BYTES,
    array_bytes=MAX_COMPRESSED_ARRAY_BYTES,
    labels_bytes=MAX_LABELS_BYTES,
)
# Files that a stranger sends to a page that others use too: a telephone's photograph of 24 megapixels is 300 MB as
# float32; 655 million pixels (10,000 images of 256×256, or 64 photographs of 10 megapixels) take less than a minute.
UPLOAD = ReadingLimits(
    image_bytes=MAX_IMAGE_BYTES,
    image_pixels=25_000_000,
    images=MAX_EVALUATION_IMAGES,
    pixels=MAX_EVALUATION_IMAGES * 256 * 256,
    archive_members=2 * MAX_EVALUATION_IMAGES,
    archive_bytes=512 * MIB,
    array_bytes=128 * MIB,
    labels_bytes=4 * MIB,
)
