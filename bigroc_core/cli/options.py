"""Options that several commands share, each written once, and what they stand for."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import CHECKPOINTS, Card, read_card
from bigroc_core.checks import whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.cli.classifier_options import classifier_named
from bigroc_core.cli.fields import add_options, values_of
from bigroc_core.engine.views import ViewName
from bigroc_core.evaluation import ALONE, MEASURES, Share
from bigroc_core.experiments.measuring import Subject
from bigroc_core.experiments.requests import CONFIG_FIELDS, BoostingRequest
from bigroc_core.files import held, write_text
from bigroc_core.images.classes import OPTION, parse_mapping
from bigroc_core.presets import settings_of
from bigroc_core.streams import ImageStream

if TYPE_CHECKING:
    from accelerate import PartialState

MAX_COUNT = 100_000_000
# What an option takes for the setting that is no value.
NONE = "none"
# The options that make a BoostConfig, by its fields' names.
BOOSTING_OPTIONS = (*CONFIG_FIELDS, "l0")
# Where files lie on one machine and what it computes with are no part of how a result is made again.
_OF_THIS_MACHINE = (
    "--run",
    "--output",
    "--csv",
    "--latex",
    "--images-to",
    "--inception-weights",
    "--device",
    "--save-minutes",
)
Commands = argparse._SubParsersAction  # argparse has no public name for what add_subparsers returns


def add_class_mapping(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which of the classifier's classes the images' classes are."""
    parser.add_argument(
        OPTION,
        metavar="FROM=TO,…",
        help="the images' classes as the classifier's, by name or number, for instance "
        "automobile=car,airplane=plane, or @FILE with one FROM=TO a line; classes of the same name need none",
    )


def mapping_of(options: argparse.Namespace, classifier: Classifier) -> dict[str, str]:
    """The mapping that options give; ValueError for a wrong form, or for a classifier whose classes have no names."""
    mapping = parse_mapping(options.map_classes)
    if mapping and not classifier.classes:
        raise ValueError(f"{OPTION} maps onto class names, which {classifier.card.name} does not have")
    return mapping


def add_boosting(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a BoostConfig, each overruling the generator's preset."""
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="a row of the papers' tables, as `presets` lists them; the options below overrule it (default: the "
        f"generator's own, else ε {BoostConfig.eps} in {BoostConfig.steps} steps)",
    )
    of_the_preset: dict[str, Any] = dict.fromkeys(CONFIG_FIELDS)
    add_options(parser, BoostingRequest, CONFIG_FIELDS, **of_the_preset)
    parser.add_argument("--l0", type=float, help="reference realism, default: the classifier card's")


def preset_of(card: Card | None, classifier: str | None = None) -> dict[str, Any]:
    """The settings that a generator's card recommends: its default ones, or those found for a classifier, if any."""
    if card is None:
        return {}
    if classifier is None:
        return dict(card.presets.get("default", {}))
    return card.preset_for(classifier)


def boosting(options: argparse.Namespace, preset: dict[str, Any]) -> BoostConfig:
    """The preset's settings, or those of the paper's row asked for, overruled by those given on the command line."""
    if options.preset is not None:
        preset = settings_of(options.preset)
    chosen = {name: preset[name] for name in BOOSTING_OPTIONS if preset.get(name) is not None}
    # A preset's step size belongs to its ε and steps.
    if options.eps is not None or options.steps is not None:
        chosen.pop("step_size", None)
    given = {name: value for name in BOOSTING_OPTIONS if (value := getattr(options, name, None)) is not None}
    # "none" is said where the preset has a value, which saying nothing leaves as it is.
    settings: dict[str, Any] = {name: None if value == NONE else value for name, value in {**chosen, **given}.items()}
    return BoostConfig(**settings)


def view_in(options: argparse.Namespace) -> ViewName:
    """What the classifier sees of images of another size: as --view says, else as the paper's row asked for has it."""
    given: ViewName = getattr(options, "view", None)
    preset = getattr(options, "preset", None)
    if given is not None or preset is None:
        return given
    of_the_row: ViewName = settings_of(preset).get("view")
    return of_the_row


def probability_or_l0(text: str) -> float | str | None:
    """The value of --stop-at: a number, "l0" or "none"."""
    return None if text == NONE else text if text == "l0" else float(text)


def default_device(wanted: str | None) -> torch.device:
    """The wanted device, else CUDA where there is one, else the CPU; ValueError for one that is not there."""
    try:
        device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {wanted!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def process_state() -> PartialState:
    """Which of how many processes of `accelerate launch` this one is."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Without being told, accelerate takes several processes on CPUs for so many runs of one process.
    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU", not torch.accelerator.is_available()))


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where real images lie."""
    parser.add_argument(
        "--data",
        type=Path,
        help="CIFAR-10 (torchvision's folder, an .npz or class folders), or your own class folders or a zip of them",
    )


def add_device(parser: argparse.ArgumentParser, **more: Any) -> None:
    """Add the option that says where to compute."""
    parser.add_argument("--device", help="torch device; default: cuda where there is one, else cpu", **more)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of every measurement."""
    add_data(parser)
    add_device(parser)
    parser.add_argument("--output", type=Path, help="also write the result as JSON")
    parser.add_argument(
        "--write-card", action="store_true", help="write the result, with this command, into the embedded model's card"
    )


def add_measured_images(parser: argparse.ArgumentParser, more: type[Subject] = Subject, **defaults: Any) -> None:
    """Add what is measured: the images, and the options of a Subject, or of an experiment on it. defaults: in place of
    its fields'."""
    parser.add_argument("images", metavar="IN", help="generator:NAME, or a folder, zip or .npz of images")
    add_options(parser, more, **{"seeds": None, **defaults})
    add_class_mapping(parser)


def add_sweeping(parser: argparse.ArgumentParser) -> None:
    """Add how an ε is looked for."""
    parser.add_argument(
        "--features",
        "--chooser",
        dest="chooser",
        metavar="NAME",
        help="an ε is chosen in its features: a classifier's, or lite0 for EfficientNet-Lite0's, trained by others on "
        "ImageNet (default: the standard network of the classifier's size and classes, such as cifar10-standard)",
    )
    parser.add_argument(
        "--choose-by",
        choices=tuple(MEASURES),
        help="Fréchet distance or kernel distance (default: kid for lite0, else frechet)",
    )
    parser.add_argument(
        "--largest",
        type=float,
        default=4.0,
        help="try L2 ε up to this, and L∞ ε of the same change per pixel (default 4)",
    )


def subject_of(options: argparse.Namespace, classifier: str | None) -> dict[str, Any]:
    """The fields of a Subject that `add_measured_images`, `add_classifier` and `add_data` have options for.

    classifier: in place of none given, before cifar10-robust.
    """
    return {
        "images": options.images,
        "classifier": classifier_named(options, options.classifier or classifier or "cifar10-robust"),
        "view": view_in(options),
        "map_classes": options.map_classes,
        "data": options.data,
        **values_of(Subject, options),
        "seeds": tuple(options.seeds or ()),
    }


def progress_bars() -> Callable[[str, int, int], None]:
    """Progress bars, one after the other, for whatever reports (what, done, total)."""
    bars: dict[str, tqdm[Any]] = {}

    def report(text: str, done: int, total: int) -> None:
        if text not in bars:
            for bar in bars.values():
                bar.close()
            bars.clear()
            bars[text] = tqdm(total=total, desc=text, unit="img")
        bars[text].update(done - bars[text].n)
        if done >= total:
            bars.pop(text).close()

    return report


def process_share(device: str | None) -> tuple[Share, torch.device]:
    """This process's part under `accelerate launch`, and its device; alone: all of it, and the device asked for."""
    state = process_state()
    if state.num_processes == 1:
        return ALONE, default_device(device)
    return Share(state.process_index, state.num_processes, state.wait_for_everyone), state.device


def tell_notes(notes: Iterable[str], share: Share = ALONE) -> None:
    """Say, in the first of several processes, what was guessed about models and images."""
    for note in notes if share.index == 0 else ():
        print(f"note: {note}")


def finish(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write a result as JSON where --output asks for it."""
    if options.output is not None:
        write_text(options.output, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        print(f"written: {options.output}")


@contextlib.contextmanager
def kept_outputs(options: argparse.Namespace) -> Iterator[None]:
    """Keep other runs away from where results go. ValueError where one is writing there, or where a result could not be
    written to, before hours are spent on it."""
    with contextlib.ExitStack() as stack:
        for name in ("output", "csv", "latex"):
            path = getattr(options, name, None)
            if path is not None and path.is_dir():
                raise ValueError(f"--{name} {path} is a folder; a file is written")
            if path is not None and process_state().is_main_process:
                stack.enter_context(held(path))
        yield


def require_embedded(name: str, cards: dict[str, Card]) -> None:
    """ValueError where --write-card has no card to write to."""
    if name not in cards:
        raise ValueError(f"--write-card writes to cards in {CHECKPOINTS.name}/ alone, and {name!r} is not there")


def update_card(path: Path, *, metrics: dict[str, Any] | None = None, presets: dict[str, Any] | None = None) -> None:
    """Merge entries into a card's metrics and presets; entries of other names stay as they are."""
    card = read_card(path)
    changed = dataclasses.replace(
        card, metrics={**card.metrics, **(metrics or {})}, presets={**card.presets, **(presets or {})}
    )
    write_text(path, changed.to_json())


def command_line() -> str:
    """The command that is running, as a person would type it elsewhere to get the same."""
    split = [word.split("=", 1) if word.startswith("--data=") else [word] for word in sys.argv[1:]]
    words = iter([part for parts in split for part in parts])
    kept: list[str] = []
    for word in words:
        if word in _OF_THIS_MACHINE:
            next(words, None)
        elif word == "--data":  # which data it was matters, but not the folder they lie in here
            kept += [word, Path(next(words, "")).name]
        elif not word.startswith(tuple(f"{option}=" for option in _OF_THIS_MACHINE)):
            kept.append(word)
    return "python -m bigroc_core " + shlex.join(kept)


def count_of(images: ImageStream, wanted: int | None, option: str) -> int:
    """How many images to take: as the option says, else all of a set, or 64 of a generator; ValueError for too many."""
    if images.size is None:
        return whole(64 if wanted is None else wanted, option, 1, MAX_COUNT)
    if wanted is not None and not 1 <= wanted <= images.size:
        raise ValueError(f"{option} is {wanted}, but {images.name} holds {images.size} images")
    return images.size if wanted is None else wanted


def check_seed(images: ImageStream, seed: int) -> None:
    """ValueError for a seed that a generator cannot draw with, before anything is written."""
    if images.size is None:
        images.draw(seed, 0, 0)
