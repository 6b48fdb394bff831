"""An experiment's settings as the Python and as the command line that repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bigroc_core.catalogue import classifier_cards, generator_cards
from bigroc_core.classifiers.own import loading, loading_generator, shell
from bigroc_core.experiments.requests import CONFIG_FIELDS, DEBIASED, ESTIMATED, GIVEN, said_of_precision
from bigroc_core.sources import EXAMPLES, GENERATOR, example_class
from bigroc_core.streams import GENERATOR_PREFIX, numbers_to

IN_TURN = "all in turn"


def command(*words: str, **options: Any) -> str:
    """A command of this program. options: by their names in Python; one that is None is left out, one that is a list
    takes several values."""
    parts = ["python", "-m", "bigroc_core", *words]
    for name, value in options.items():
        if value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            parts += [f"--{name.replace('_', '-')}", *map(str, values)]
    return shell(parts)


def script(imports: Sequence[str], names: Sequence[str], lines: Sequence[str]) -> str:
    """A script of these lines. imports: modules besides pathlib and bigroc_core. names: what it takes from
    bigroc_core.images, besides what all take."""
    others = [f"import {name}" for name in imports]
    images = ", ".join(sorted({"encode_png", "from_uint8", "to_uint8", *names}))
    head = ["from pathlib import Path", "", *others, *([""] if others else []), "import bigroc_core as bc"]
    return "\n".join([*head, f"from bigroc_core.images import {images}", "", *lines]) + "\n"


def in_turn(numbers: Sequence[int], count: int | str) -> str:
    """Python for as many labels, these classes in turn."""
    return f"[{list(numbers)}[i % {len(numbers)}] for i in range({count})]"


def as_python(settings: dict[str, Any]) -> str:
    """A script that repeats the run and writes boosted/*.png; uploads are read from the current folder."""
    card = classifier_cards()[settings["classifier"]]
    from_files = settings["source"] != GENERATOR.lower()
    lines = [f"classifier = {loading(settings['classifier'])}"]
    if from_files:
        lines += _reading(settings)
    else:
        lines += [f"generator = {loading_generator(settings['generator'])}"]
        lines += [f"images, labels = generator.sample({_sample_arguments(settings)})"]
    rounded = "from_uint8(to_uint8(image))[None] for image in images" if from_files else "from_uint8(to_uint8(images))"
    lines += [f"images = [{rounded}]" if from_files else f"images = {rounded}  # as saved in files"]
    target = ""
    if settings["target"] == GIVEN.lower():
        target = ", labels=labels"
        if names := settings.get("target_classes"):
            numbers = [card.classes.index(name) for name in names]
            lines += [f"labels = {in_turn(numbers, 'len(images)')}  # {', '.join(names)}"]
        elif from_files:
            lines += [f"labels = {[example_class(Path(name), card.classes) for name in settings['files']]}"]
        elif table := numbers_to(card, settings["generator"], generator_cards()[settings["generator"]].classes, {}):
            lines += [
                f"labels = [{list(table)}[y] for y in labels]  # the classifier's numbers of the generator's classes"
            ]
    elif settings["target"] == DEBIASED.lower():
        target = ", debias=shift"
        lines += [
            f"validation, _ = generator.sample({settings['validation_count']}, seed={settings['validation_seed']})",
            "shift = bc.fit_debias(classifier, from_uint8(to_uint8(validation)))",
        ]
    fields = ", ".join(f"{name}={settings[name]!r}" for name in CONFIG_FIELDS)
    masked = "masks" in settings
    if masked:
        lines += [
            'paths = sorted(Path("masks").glob("*.png"))  # of the unpacked download',
            "masks = [read_image(path).pixels[:1] for path in paths]",
        ]
    lines += [f"config = bc.BoostConfig({fields})"]
    how = "config=config" + "".join(f", precision={value!r}" for value in _precision(settings).values())
    if from_files:
        # Each of them may be of a size of its own.
        each = ["image", *(["label"] if target else []), *(["mask"] if masked else [])]
        given = "".join(f", {word}" for word in [*(["labels=[label]"] if target else []), *(["mask=mask"] * masked)])
        drawn = "images" if len(each) == 1 else f"zip({', '.join(f'{name}s' for name in each)})"
        lines += [f"boosted = [bc.boost(classifier, image{given}, {how}).images[0] for {', '.join(each)} in {drawn}]"]
    else:
        given = f"{target}, {how}{', mask=torch.stack(masks)' * masked}"
        lines += [f"boosted = bc.boost(classifier, images{given}).images"]
    lines += [
        "",
        'folder = Path("boosted")',
        "folder.mkdir(exist_ok=True)",
        "for number, image in enumerate(boosted, 1):",
        '    (folder / f"{number:03d}.png").write_bytes(encode_png(image))',
    ]
    reads = from_files or masked
    return script(["torch"] if masked and not from_files else [], ["read_image"] if reads else [], lines)


def _reading(settings: dict[str, Any]) -> list[str]:
    """Lines that read the images of files, at the sizes that the run had them at."""
    names = settings["files"]
    if any(Path(name).suffix.lower() in (".zip", ".npz") for name in names):
        return [
            'paths = sorted(Path("original").glob("*.png"))  # of the unpacked download',
            "images = [read_image(path).pixels for path in paths]",
        ]
    folder = "assets/examples/" if settings["source"] == EXAMPLES.lower() else ""
    paths = ", ".join(repr(folder + name) for name in names)
    if sizes := settings.get("sizes"):
        return [
            f"paths, sizes = [{paths}], {sizes}",
            "images = [read_image(path, size=size).pixels for path, size in zip(paths, sizes)]",
        ]
    return [f"paths = [{paths}]", "images = [read_image(path).pixels for path in paths]"]


def _sample_arguments(settings: dict[str, Any]) -> str:
    arguments = [str(settings["count"])]
    if (classes := settings.get("classes", IN_TURN)) != IN_TURN:
        order = generator_cards()[settings["generator"]].classes
        arguments += [f"labels={in_turn([order.index(name) for name in classes], settings['count'])}"]
    return ", ".join([*arguments, f"seed={settings['seed']}"])


def as_command(settings: dict[str, Any], to: str = "boosted") -> str:
    """The command that boosts such images into the folder `to`."""
    if "masks" in settings:
        return (
            "# In the unpacked download, which holds images, targets and masks by the same names:\n"
            + command_for_folder(settings, "original", to)
        )
    targets = settings.get("target_classes", [])
    if len(targets) > 1 or settings.get("classes", IN_TURN) != IN_TURN:
        return "# One command takes one target class for all images, and all of a generator's classes: use the Python."
    images = "assets/examples" if settings["source"] == EXAMPLES.lower() else "FOLDER_OF_YOUR_IMAGES"
    comment = ""
    if "sizes" in settings:
        images = "original"
        comment = "# In the unpacked download, which holds the images at the sizes that they were boosted at:\n"
    options: dict[str, Any] = {}
    if settings["source"] == GENERATOR.lower():
        images = GENERATOR_PREFIX + settings["generator"]
        options = {"count": settings["count"], "seed": settings["seed"]}
    options["classifier"] = settings["classifier"]
    if targets:
        options["target"] = classifier_cards()[settings["classifier"]].classes.index(targets[0])
    elif settings["target"] == ESTIMATED.lower():
        options["estimate"] = []
    elif settings["target"] == DEBIASED.lower():
        options |= {
            "debias_set": images,
            "debias_count": settings["validation_count"],
            "debias_seed": settings["validation_seed"],
        }
    never = {"stop_at": "none"} if settings["stop_at"] is None and stops_early(images, settings["classifier"]) else {}
    return comment + command("boost", images, to, **options, **_config(settings) | never)


def stops_early(images: str, classifier: str) -> bool:
    """Whether a command on these images stops early unless it is told not to: as their generator's card has it for this
    classifier."""
    name = images.removeprefix(GENERATOR_PREFIX).partition("?")[0]
    if not images.startswith(GENERATOR_PREFIX) or name not in generator_cards():
        return False
    return generator_cards()[name].preset_for(classifier).get("stop_at") is not None


def command_for_folder(settings: dict[str, Any], images: str, to: str) -> str:
    """The command that boosts a folder of images, towards the labels that it has, into the folder `to`."""
    masked = {"mask": "masks"} if "masks" in settings else {}
    return command("boost", images, to, classifier=settings["classifier"], **masked, **_config(settings))


def _config(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: settings[name] for name in CONFIG_FIELDS} | _precision(settings)


def _precision(settings: dict[str, Any]) -> dict[str, str]:
    return said_of_precision(settings.get("precision", "exact"))
