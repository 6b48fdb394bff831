"""The About tab: what the page does, whom to cite, and its limits."""

from __future__ import annotations

import gradio as gr

from bigroc_core.limits import (
    KEEP_FILES_SECONDS,
    MAX_EVALUATION_IMAGES,
    MAX_EVALUATION_SEEDS,
    MAX_IMAGES_PER_REQUEST,
    MAX_PIXELS,
    MAX_SAMPLES_PER_REQUEST,
    MAX_STEPS_PER_REQUEST,
    MAX_UPLOAD_BYTES,
    MIB,
)

TEXT = f"""
### What it does

A generative model's images are moved, a little, towards their class, along the gradients of a **robust** classifier:
one trained so that small changes of the image do not fool it. Its gradients are therefore changes a person sees as
meaningful, and the images get better. No training is needed, and any generator's images can be boosted. An ordinary
classifier's gradients change the image just as much and improve nothing you would see: choose `cifar10-standard` under
*All settings* to try.

The classes are CIFAR-10's and the models small, so that everything runs on two processor cores. Images of another size
are cropped to a square at their centre and brought to 32×32 pixels.

### Cite

- R. Ganz and M. Elad, *BIGRoC: Boosting Image Generation via a Robust Classifier*, Transactions on Machine Learning
  Research (arXiv:2108.03702): the method, and debiasing.
- S. Golan, R. Ganz and M. Elad, *Enhancing Consistency-Based Image Generation via Adversarially-Trained Classification
  and Energy-Based Discrimination*, 2024 (arXiv:2405.16260): image-dependent early stopping.

### Numbers

p(y|x), ‖δ‖ and the class each image reads as are computed from the rounded, 8-bit images, the very ones in the
download, by the classifier that boosted them. A classifier that steered the images is no independent judge of them:
the *Evaluate* tab, and `python -m bigroc_core evaluate`, measure with one that never boosts.

### Limits and privacy

Per request at most {MAX_IMAGES_PER_REQUEST} images, {MAX_STEPS_PER_REQUEST} steps, {MAX_SAMPLES_PER_REQUEST:,}
samples for debiasing; per evaluation {MAX_EVALUATION_IMAGES:,} images of each of {MAX_EVALUATION_SEEDS} seeds; files up
to {MAX_UPLOAD_BYTES // MIB} MiB and {MAX_PIXELS // 1_000_000} megapixels. Uploads and results are deleted from the
server once they are {KEEP_FILES_SECONDS // 60} minutes old (looked at every {KEEP_FILES_SECONDS // 360} minutes). The
page sends nothing anywhere else. All of it can be called from a program: see *Use via API* below.
"""


def build() -> None:
    """Lay the tab out."""
    gr.Markdown(TEXT, elem_id="about")
