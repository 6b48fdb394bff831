"""The options that name a classifier, the same on every command that takes one."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bigroc_core.catalogue import forget
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import check_card, embedded_classifiers, load_classifier
from bigroc_core.files import is_there
from bigroc_core.models_file import ModelEntry, add_model, class_names_in, entry_named, model_entries

VIEWS = ("input", "native")
SOURCES = (
    "a name (`models` lists them), a checkpoint file, hub:OWNER/REPO/FILE, torchvision:, timm: or robustbench:NAME"
)
# What makes another network of one that is known by name, by how people say it.
_CHANGES = {"class_names": "class names", "mean": "mean", "std": "std", "input_size": "input size"}


def add_classifier(
    parser: argparse.ArgumentParser, default: str | None = "cifar10-robust", purpose: str = "boosts", view: bool = True
) -> None:
    """Add --classifier, --arch, --num-classes, --class-names, --mean, --std, --input-size and, if `view`, --view.

    default: the classifier where none is said, or None where the command finds one. purpose: what it does, for help.
    """
    add_classifier_named(parser, "--classifier", default=default, help=f"{purpose}: {SOURCES}")
    add_classifier_details(parser, view)


def add_classifier_named(parser: argparse.ArgumentParser, option: str, **more: Any) -> None:
    """Add an option, or an argument, that names a classifier, or several."""
    parser.add_argument(option, **{"metavar": "NAME", "help": SOURCES, **more})


def add_classifier_details(parser: argparse.ArgumentParser, view: bool = True) -> None:
    """Add what says of the command's classifiers what their files do not: --arch and all that follows it."""
    group = parser.add_argument_group(
        "classifier", "what its file does not say; of several classifiers, of those that are not embedded"
    )
    group.add_argument("--arch", help='architecture of a file that has no card: "resnet50", "timm:NAME"')
    group.add_argument("--num-classes", type=int, metavar="C", help="how many classes it must have")
    group.add_argument(
        "--class-names",
        metavar="NAMES",
        help="in logit order: a file with one per line, or names with commas between; default: those that are known",
    )
    for name, text in (("mean", "mean"), ("std", "standard deviation")):
        group.add_argument(f"--{name}", metavar="R,G,B", help=f"{text} of its input per channel, on [0, 1]")
    group.add_argument("--input-size", metavar="PIXELS", help="its own image size: a side, or HEIGHTxWIDTH")
    if view:
        group.add_argument(
            "--view",
            type=view_of,
            metavar="VIEW",
            help="what it sees of images of another size: input (resized to its own), native (as they are) or a side",
        )


def classifier_of(
    options: argparse.Namespace, device: torch.device | str | None, name: str | None = None
) -> Classifier:
    """The classifier that options of `add_classifier` name; ValueError, one line, for what cannot be.

    name: in place of --classifier, where the command found one.
    """
    source = name or options.classifier
    if source is None:
        raise ValueError("--classifier names no classifier")
    try:
        return load_classifier(classifier_named(options, source), device=device)
    except OSError as error:
        raise ValueError(f"--classifier {source[:200]} cannot be read: {error.strerror or error}") from error


def classifier_entry(options: argparse.Namespace) -> ModelEntry:
    """What options of `add_classifier` say, as one model to know by name; ValueError for a wrong form."""
    return _entry(options, entry_named(options.classifier, "classifier"))


def classifiers_named(options: argparse.Namespace, names: Sequence[str]) -> tuple[str, ...]:
    """The names by which this command's classifiers are known from here on, once its options are taken into account.

    What the options say is said of those that are not embedded, or where all are, of all. A file is called by its name.
    ValueError for a wrong form.
    """
    if not set(given_options(options)) - {"view"}:
        return tuple(names)
    embedded = embedded_classifiers()
    meant = [name for name in names if name not in embedded] or names
    known = {name: _for_this_run(options, name) if name in meant else name for name in names}
    if len(set(known.values())) < len(known):
        raise ValueError(f"two of {', '.join(known)} have one name: the files could not be told apart")
    return tuple(known[name] for name in names)


def classifier_named(options: argparse.Namespace, name: str) -> str:
    """The name by which the command's one classifier is known from here on."""
    return classifiers_named(options, [name])[0]


def _for_this_run(options: argparse.Namespace, source: str) -> str:
    """Make a classifier known as the options have it; returns its name, which is not that of what it is made from."""
    embedded, known = embedded_classifiers().get(source), model_entries("classifier").get(source)
    changed = [said for option, said in _CHANGES.items() if getattr(options, option) is not None]
    if embedded is not None and not changed:
        check_card(embedded, source, options.arch, options.num_classes)
        return source
    if known is None and is_there(Path(source)):
        name = Path(source).name
    else:
        name = f"{source} (other {', '.join(changed)})" if changed else source
    start = known or ModelEntry(name=name, kind="classifier", source=source)
    add_model(dataclasses.replace(_entry(options, start), name=name))
    forget()
    return name


def _entry(options: argparse.Namespace, start: ModelEntry) -> ModelEntry:
    """What a model is, where the options do not say otherwise."""
    names = None if options.class_names is None else _names(options.class_names)
    mean, std, size = _numbers("--mean", options.mean), _numbers("--std", options.std), _size(options.input_size)
    if names is not None and options.num_classes not in (None, len(names)):
        raise ValueError(f"--class-names are {len(names)}, and --num-classes is {options.num_classes}")
    given = {
        "arch": options.arch,
        "classes": options.num_classes if names is None else len(names),
        "class_names": names,
        "mean": None if mean is None else tuple(mean),
        "std": None if std is None else tuple(std),
        "input_size": (size, size) if isinstance(size, int) else size,
    }
    return dataclasses.replace(start, **{name: value for name, value in given.items() if value is not None})


def given_options(options: argparse.Namespace) -> dict[str, str]:
    """The options that change what --classifier names, by name, for settings that tell one run from another."""
    names = ("arch", "num_classes", "class_names", "mean", "std", "input_size", "view")
    return {name: str(value) for name in names if (value := getattr(options, name, None)) is not None}


def view_of(text: str) -> str | int:
    """The value of --view: "input", "native" or a number of pixels."""
    if text in VIEWS:
        return text
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= 8192:
        raise argparse.ArgumentTypeError(f"must be input, native or a side in pixels, not {text[:60]!r}")
    return int(text)


def _numbers(option: str, text: str | None) -> Sequence[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} must be three numbers with commas between, not {text[:60]!r}") from None


def _size(text: str | None) -> int | tuple[int, int] | None:
    if text is None:
        return None
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) not in (1, 2) or not all(part.isascii() and part.isdecimal() and len(part) < 7 for part in parts):
        raise ValueError(f"--input-size must be a side in pixels or HEIGHTxWIDTH, not {text[:60]!r}")
    sides = [int(part) for part in parts]
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _names(text: str) -> tuple[str, ...]:
    path = Path(text)
    try:
        if path.is_file():
            return class_names_in(path)
    except OSError:
        pass
    names = tuple(name.strip() for name in text.split(","))
    if len(names) < 2 or not all(names):
        raise ValueError(
            f"--class-names must be a file with one name per line, or names with commas between: {text[:60]!r}"
        )
    return names
