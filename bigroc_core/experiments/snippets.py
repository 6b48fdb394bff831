"""A run of the page as the Python and as the command line that repeat it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.sources import example_class

CONFIG_FIELDS = ("eps", "steps", "step_size", "norm", "loss", "gradient", "stop_at")


def as_python(settings: dict[str, Any]) -> str:
    """A script that repeats the run and writes boosted/*.png; uploads are read from the current folder."""
    card = classifier_cards()[settings["classifier"]]
    lines = ["from pathlib import Path", ""]
    from_files = settings["source"] != "generator"
    if from_files:
        lines += ["import torch", ""]
    lines += ["import bigroc_core as bc"]
    reading = "read_image, " if from_files else ""
    lines += [f"from bigroc_core.images import encode_png, from_uint8, {reading}to_uint8", ""]
    lines += [f'classifier = bc.load_classifier("{settings["classifier"]}")']
    if from_files:
        folder = "assets/examples/" if settings["source"] == "examples" else ""
        paths = ", ".join(repr(folder + name) for name in settings["files"])
        lines += [f"paths = [{paths}]"]
        lines += [f"images = torch.stack([read_image(path, size={card.input_size}).pixels for path in paths])"]
        known = _example_labels(settings, card.classes) if settings["source"] == "examples" else None
    else:
        lines += [f'generator = bc.load_generator("{settings["generator"]}")']
        lines += [f"images, labels = generator.sample({_sample_arguments(settings)})"]
        known = None
    lines += ["images = from_uint8(to_uint8(images))  # as saved in files"]
    if settings["target"] == "given class":
        if names := settings.get("target_classes"):
            chosen = [card.classes.index(name) for name in names]
            lines += [f"labels = [{chosen}[i % {len(chosen)}] for i in range(len(images))]  # {', '.join(names)}"]
        elif known is not None:
            lines += [f"labels = {known}"]
        target = ", labels=labels"
    elif settings["target"] == "estimated":
        target = ""
    else:
        lines += [
            f"validation, _ = generator.sample({settings['validation_count']}, seed={settings['validation_seed']})",
            "shift = bc.fit_debias(classifier, from_uint8(to_uint8(validation)))",
        ]
        target = ", debias=shift"
    fields = ", ".join(f"{name}={settings[name]!r}" for name in CONFIG_FIELDS)
    lines += [
        f"config = bc.BoostConfig({fields})",
        f"result = bc.boost(classifier, images{target}, config=config)",
        "",
        'folder = Path("boosted")',
        "folder.mkdir(exist_ok=True)",
        "for number, image in enumerate(result.images):",
        '    (folder / f"{number:03d}.png").write_bytes(encode_png(image))',
    ]
    return "\n".join(lines) + "\n"


def _sample_arguments(settings: dict[str, Any]) -> str:
    arguments = [str(settings["count"])]
    classes = settings.get("classes", "all in turn")
    if classes != "all in turn":
        order = generator_cards()[settings["generator"]].classes
        numbers = [order.index(name) for name in classes]
        arguments += [f"labels=[{numbers}[i % {len(numbers)}] for i in range({settings['count']})]"]
    return ", ".join([*arguments, f"seed={settings['seed']}"])


def _example_labels(settings: dict[str, Any], classes: tuple[str, ...]) -> list[int | None]:
    return [example_class(Path(name), classes) for name in settings["files"]]


def as_command(settings: dict[str, Any], to: str = "boosted") -> str:
    """The command that boosts such images into the folder `to`."""
    targets = settings.get("target_classes", [])
    if len(targets) > 1 or settings.get("classes", "all in turn") != "all in turn":
        return "# One command takes one target class for all images, and all of a generator's classes: use the Python."
    words = ["python", "-m", "bigroc_core", "boost"]
    if settings["source"] == "generator":
        words += [
            f"generator:{settings['generator']}",
            to,
            "--count",
            str(settings["count"]),
            "--seed",
            str(settings["seed"]),
        ]
    else:
        words += ["assets/examples" if settings["source"] == "examples" else "FOLDER_OF_YOUR_IMAGES", to]
    words += ["--classifier", settings["classifier"]]
    if targets:
        classes = classifier_cards()[settings["classifier"]].classes
        words += ["--target", str(classes.index(targets[0]))]
    elif settings["target"] == "estimated":
        words += ["--estimate"]
    elif settings["target"] != "given class":
        words += [
            "--debias-set",
            f"generator:{settings['generator']}",
            "--debias-count",
            str(settings["validation_count"]),
            "--debias-seed",
            str(settings["validation_seed"]),
        ]
    return shlex.join([*words, *_config_words(settings)])


def command_for_folder(settings: dict[str, Any], images: str, to: str) -> str:
    """The command that boosts a folder of images, towards the labels that it has, into the folder `to`."""
    words = ["python", "-m", "bigroc_core", "boost", images, to, "--classifier", settings["classifier"]]
    return shlex.join([*words, *_config_words(settings)])


def _config_words(settings: dict[str, Any]) -> list[str]:
    given = [name for name in CONFIG_FIELDS if settings[name] is not None]
    return [word for name in given for word in (f"--{name.replace('_', '-')}", f"{settings[name]}")]
