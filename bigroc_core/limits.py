"""Every explicit limit on what a user may hand in, in one place.

They keep one request from exhausting a small host (two cores, 16 GB) and bound how long a stranger can occupy
it. Reading functions refuse what exceeds them with a `ValueError` that names the limit. `BoostConfig` has its
own, wider bounds, which say what is mathematically sensible; the limits here say what a public page or an
untrusted file may ask for.
"""

from __future__ import annotations

MIB = 2**20
GIB = 2**30

# One image file, uploaded or on disk or inside an archive: a 50-megapixel photograph as JPEG has 10 to 25
# MiB.
MAX_IMAGE_BYTES = 32 * MIB
# One uploaded file of any kind (an image, or a zip of images).
MAX_UPLOAD_BYTES = 64 * MIB
# Pixels of one image, read from its header before anything is decoded. As float32 RGB this is 600 MB.
MAX_PIXELS = 50_000_000

# Images one request to the page or its API may boost.
MAX_IMAGES_PER_REQUEST = 64
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
# A figure's file, and the recipe that it carries: 400 images of 32 pixels are about 2 MB of it.
MAX_FIGURE_BYTES = 64 * MIB
MAX_RECIPE_CHARACTERS = 16 * MIB
# Radius of one request's ball: in L2 the diagonal of a 3x32x32 cube is 55.4, in L-infinity 1 is already
# everything.
MAX_EPS_L2 = 60.0
MAX_EPS_LINF = 1.0
# Requests waiting for the compute, beyond which newcomers are asked to come back later.
MAX_QUEUE_LENGTH = 32
# Uploads and results are deleted from the server after this many seconds.
KEEP_FILES_SECONDS = 3_600

# Members of a zip or .npz archive, and their sizes together once unpacked: 50,000 PNGs of 256x256 have about
# 6 GiB.
MAX_ARCHIVE_MEMBERS = 200_000
MAX_ARCHIVE_UNPACKED_BYTES = 32 * GIB
# A compressed .npz cannot be read in slices and is held in memory whole.
MAX_COMPRESSED_ARRAY_BYTES = 2 * GIB
# A labels.csv: 200,000 lines of about 80 characters.
MAX_LABELS_CSV_BYTES = 16 * MIB

# A checkpoint's list of its tensors (the header of a .safetensors, the pickle inside a .pt), that of a zip's members,
# and the pickle's operations: a network of 20,000 tensors has about 3 MiB, and 800,000 operations with its optimiser.
MAX_CHECKPOINT_HEADER_BYTES = 16 * MIB
MAX_CHECKPOINT_DIRECTORY_BYTES = 8 * MIB
MAX_CHECKPOINT_OPERATIONS = 1_000_000
# A card or a models.toml; those of the embedded models have up to 17 kB.
MAX_CARD_BYTES = MIB
