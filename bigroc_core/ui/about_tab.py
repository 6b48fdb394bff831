"""The About tab: what the page does, whom to cite, and its limits."""

from __future__ import annotations

import gradio as gr

from bigroc_core.limits import (
    KEEP_FILES_SECONDS,
    MAX_EVALUATION_IMAGES,
    MAX_EVALUATION_SEEDS,
    MAX_IMAGES_PER_REQUEST,
    MAX_SAMPLES_PER_REQUEST,
    MAX_STEPS_PER_REQUEST,
    MAX_UPLOAD_BYTES,
    MIB,
    UPLOAD,
)
from bigroc_core.places import ASSETS
from bigroc_core.ui import controls

METHOD = """<h3>What it does</h3>
<p>A generative model's images are moved, a little, towards their class, along the gradients of a
<strong>robust</strong> classifier: one trained so that small changes of the image do not fool it. To change its mind
an image has to change what a person sees; so its gradients paint, and the images get better. No training is needed, no
access to the generator, and any generator's images can be boosted: a few gradient steps on the images themselves, never
further than ε.</p>
<p>A <strong>joint model</strong> (the <em>Joint</em> classifiers) has also learnt, from attacked real and attacked
generated images, how real an image of each class reads. With its loss, Eq. 13 of the second paper, an image moves
towards its class and towards reading as real as real images do, no further; those that do so from the start are left
untouched.</p>"""
BEFORE_AFTER = "Samples of a small VAE of Imagenette, and under each the same image boosted (ε = 8)."
ALIGNED = (
    "One image moved towards every class until the network is 99 % sure. Through the robust network (top) it comes to "
    "look like the class; through an ordinary one (bottom) the same certainty takes a change that nobody sees."
)
TEXT = f"""<h3>What boosting is not</h3>
<ul>
<li><em>Not a generator</em>: it makes nothing from nothing. What a generator never draws stays missing.</li>
<li><em>Not free of taste</em>: the image moves towards what the classifier holds typical of its class. A large ε makes
images alike and over-saturated; the curve of a sweep turns up again, and that is where to stop.</li>
<li><em>Not super-resolution or restoration</em>: the size stays, and detail is the classifier's idea of the class.</li>
<li><em>Not its own judge</em>: p(y|x) of the classifier that steered the images always rises. The <em>Evaluate</em>
tab, and <code>python -m bigroc_core evaluate</code>, measure with a classifier that never boosts, beside two
controls.</li>
<li><em>Not a defence or an attack tool</em>: the networks here are small, and made to show the method.</li>
</ul>
<p>The models are small, so that everything runs on two processor cores, and know ten classes each: CIFAR-10's at 32×32
pixels, or Imagenette's at 64×64. Images of another size keep it; the classifier sees them at its own.</p>
<h3>Cite</h3>
<ul>
<li>R. Ganz and M. Elad, <em>BIGRoC: Boosting Image Generation via a Robust Classifier</em>, Transactions on Machine
Learning Research (arXiv:2108.03702): the method, and debiasing.</li>
<li>S. Golan, R. Ganz and M. Elad, <em>Enhancing Consistency-Based Image Generation via Adversarially-Trained
Classification and Energy-Based Discrimination</em>, 2024 (arXiv:2405.16260): the joint model, its losses, and early
stopping.</li>
</ul>
<h3>Numbers</h3>
<p>p(y|x), ‖δ‖ and the class each image reads as are computed from the rounded, 8-bit images, the very ones in the
download. ε is on pixels in [0, 1]; P1's CIFAR-10 numbers are on [-1, 1], twice as large.</p>
<h3>Limits and privacy</h3>
<p>Per request at most {MAX_IMAGES_PER_REQUEST} images, {MAX_STEPS_PER_REQUEST} steps, {MAX_SAMPLES_PER_REQUEST:,}
samples for debiasing; per evaluation {MAX_EVALUATION_IMAGES:,} images of each of {MAX_EVALUATION_SEEDS} seeds; files up
to {MAX_UPLOAD_BYTES // MIB} MiB and {UPLOAD.image_pixels // 1_000_000} megapixels. Uploads and results are deleted from
the server once they are {KEEP_FILES_SECONDS // 60} minutes old (looked at every {KEEP_FILES_SECONDS // 360} minutes).
The page sends nothing anywhere else. All of it can be called from a program: see <em>Use via API</em> at
the foot of a wide window.</p>"""


def build() -> None:
    """Lay the tab out."""
    controls.prose(METHOD, elem_id="about")
    with gr.Row(equal_height=False):
        for name, caption in (("before-after.png", BEFORE_AFTER), ("fig2.png", ALIGNED)):
            if (ASSETS / name).exists():
                with gr.Column(min_width=320):
                    gr.Image(
                        str(ASSETS / name),
                        type="filepath",
                        format="png",
                        show_label=False,
                        label=caption,
                        interactive=False,
                        buttons=["fullscreen"],
                        alt_text=caption,
                    )
                    controls.html(f'<p class="note">{caption}</p>')
    controls.prose(TEXT, elem_classes="about")
