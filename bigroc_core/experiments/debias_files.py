"""What a study of debiasing is downloaded as, and the Python and the command line that repeat it."""

from __future__ import annotations

from typing import Any

from bigroc_core.catalogue import generator_cards
from bigroc_core.classifiers.own import loading, loading_generator
from bigroc_core.experiments.boost_files import file_names, made_with
from bigroc_core.experiments.debias import Study
from bigroc_core.experiments.snippets import command, script
from bigroc_core.files import csv_bytes, one_line_each, zipped
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.images import encode_png, from_uint8
from bigroc_core.sources import UPLOAD
from bigroc_core.streams import GENERATOR_PREFIX

IMAGE_HEADERS = ["file", "came as", "without debiasing", "with debiasing", "changes"]
CLASS_HEADERS = ["class", "without debiasing", "with debiasing", "d_c"]


def archive(study: Study) -> bytes:
    """A zip of images/NUMBER-CLASS.png by their classes with debiasing, images/labels.csv, which boosts them towards
    these, results.csv, classes.csv and settings.json; always the same bytes."""
    names = file_names(study)
    files = [
        (f"images/{name}", encode_png(from_uint8(pixels))) for name, pixels in zip(names, study.images, strict=True)
    ]
    seen = [
        [name, came, study.classes[before], study.classes[after], before != after]
        for name, came, before, after in zip(names, study.names, study.plain, study.debiased, strict=True)
    ]
    labels = [[name, after] for name, _, _, after, _ in seen]
    return zipped(
        [
            *files,
            ("images/labels.csv", csv_bytes([["file", "label"], *labels])),
            ("results.csv", csv_bytes([IMAGE_HEADERS, *seen])),
            ("classes.csv", csv_bytes([CLASS_HEADERS, *study.rows()])),
            ("settings.json", settings_json(study).encode()),
        ]
    )


def settings_json(study: Study) -> str:
    """Settings and result as JSON, with what they were computed by."""
    counts = {"without": study.histogram(study.plain).tolist(), "with": study.histogram(study.debiased).tolist()}
    return one_line_each(study.settings | counts | made_with(study.settings))


def as_python(study: Study) -> str:
    """A script that repeats the study; of uploads, the classes of the downloaded images under the d that was fitted."""
    settings = study.settings
    lines = [f"classifier = {loading(settings['classifier'])}"]
    uploaded = settings["source"] == UPLOAD.lower()
    if uploaded:
        lines += [
            'paths = sorted(Path("images").glob("*.png"))  # of the unpacked download',
            "images = [read_image(path).pixels[None] for path in paths]",
            'shift = torch.tensor(json.loads(Path("settings.json").read_text())["d"])',
            "logits = torch.cat([logits_of(classifier, image) for image in images])",
        ]
    else:
        lines += [
            f"generator = {loading_generator(settings['generator'])}",
            f"validation, _ = generator.sample({settings['validation_count']}, seed={settings['validation_seed']})",
            "shift = bc.fit_debias(classifier, from_uint8(to_uint8(validation)))  # P1 Eq. 2",
            f"images, _ = generator.sample({settings['count']}, seed={settings['seed']})",
            "logits = logits_of(classifier, from_uint8(to_uint8(images)))",
        ]
    lines += [
        'for name, labels in (("without", logits.argmax(1)), ("with", (logits + shift).argmax(1))):',
        "    counts = class_histogram(labels, len(classifier.classes))",
        '    print(name, counts.tolist(), f"{histogram_entropy(counts):.3f} nats")',
    ]
    others = ["from bigroc_core.boosting import logits_of"]
    others += ["from bigroc_core.debiasing import class_histogram, histogram_entropy"]
    return script(["json", "torch"] if uploaded else [], ["read_image"] if uploaded else [], [*others, "", *lines])


def as_command(study: Study) -> str:
    """The commands that draw the histograms, where one does, and boost such images towards their debiased targets."""
    settings: dict[str, Any] = study.settings
    classifier = settings["classifier"]
    if settings["source"] == UPLOAD.lower():
        said = "# In the unpacked download, whose labels.csv has the classes with debiasing:\n"
        return said + command("boost", "images", "boosted", classifier=classifier)
    name, seed = settings["generator"], settings["seed"]
    images, count = f"{GENERATOR_PREFIX}{name}", settings["count"]
    others = {"debias_count": settings["validation_count"], "debias_seed": settings["validation_seed"]}
    boosted = command(
        "boost", images, "boosted", count=count, seed=seed, classifier=classifier, debias_set=images, **others
    )
    if name not in embedded_generators() or generator_cards()[name].conditional:
        return boosted
    fitted = {"validation": settings["validation_count"], "validation_seed": settings["validation_seed"]}
    drawn = command(
        "figure", "debias", generator=name, seed=seed, count=count, **fitted, classifier=classifier, output="debias.pdf"
    )
    return f"{drawn}\n{boosted}"
