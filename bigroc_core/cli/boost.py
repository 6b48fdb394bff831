"""`python -m bigroc_core boost IN OUT`: an image set or a generator's samples, boosted as a stream."""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bigroc_core.boosting import GRADIENTS, NORMS, BoostConfig, boost
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import refuse_judge
from bigroc_core.cli.classifier_options import add_classifier, classifier_of
from bigroc_core.debiasing import fit_debias
from bigroc_core.evaluation import fingerprint
from bigroc_core.generators.registry import load_generator
from bigroc_core.images import ImageSet, from_uint8, open_image_set, to_uint8, write_image_set
from bigroc_core.images.classes import OPTION, class_table, parse_mapping
from bigroc_core.losses import LOSSES
from bigroc_core.presets import settings_of

if TYPE_CHECKING:
    from accelerate import PartialState

GENERATOR_PREFIX = "generator:"
MAX_COUNT = 100_000_000
# The options that make a BoostConfig, by its fields' names.
BOOSTING_OPTIONS = ("eps", "steps", "step_size", "norm", "loss", "gradient", "stop_at", "l0")


@dataclass(frozen=True)
class Source:
    """Images to be boosted, read by range. `read(start, count)` gives ((n, 3, H, W) in [0, 1], (n,) labels or None).

    identity: tells one set from another, by contents. encoded: whether a damaged image shows only when it is read.
    preset: what a generator's card recommends with the classifier.
    """

    count: int
    classes: tuple[str, ...] | None
    read: Callable[[int, int], tuple[Tensor, Tensor | None]]
    labelled: bool
    identity: str
    encoded: bool = False
    notes: tuple[str, ...] = ()
    preset: dict[str, Any] = field(default_factory=dict)


def open_source(
    text: str,
    count: int | None,
    seed: int,
    classifier: Classifier,
    count_option: str = "--count",
    mapping: Mapping[str, str] | None = None,
) -> Source:
    """A folder, zip, .npz or image by path, or `generator:NAME`; sizes and class names are the classifier's.

    count: how many images (a generator's default is 64; a set's, all), given as `count_option`. Generated images are
    rounded to 8 bits, as files are, so that boosting `generator:NAME` and boosting the files it wrote give the same.
    mapping: of --map-classes, for images whose classes are not the classifier's; it changes labels, never images.
    Raises ValueError for what cannot be opened, classes that are not the classifier's, or a count beyond the set.
    """
    if text.startswith(GENERATOR_PREFIX):
        generator = load_generator(text.removeprefix(GENERATOR_PREFIX))
        table = labels_to(classifier, generator.card.name, generator.classes, mapping or {})

        def sample(start: int, number: int) -> tuple[Tensor, Tensor | None]:
            images, labels = generator.sample(number, seed=seed, start=start)
            return from_uint8(to_uint8(images)), labels if labels is None or table is None else table[labels]

        total = 64 if count is None else count
        if not 1 <= total <= MAX_COUNT:
            raise ValueError(f"{count_option} must be from 1 to {MAX_COUNT:,}, not {total}")
        sample(0, 0)  # refuses a bad seed before anything is written
        mapped = "" if table is None else f", classes {table.tolist()}"
        return Source(
            total,
            generator.classes or None,
            sample,
            bool(generator.classes),
            f"{text}?seed={seed}{mapped}",
            preset=preset_of(generator.card, classifier.card.name),
        )
    found = open_image_set(text, classifier.card.input_size, classifier.classes or None, mapping)
    total = len(found) if count is None else count
    if not 1 <= total <= len(found):
        raise ValueError(f"{count_option} is {total}, but {text} holds {len(found)} images")

    def read(start: int, number: int) -> tuple[Tensor, Tensor | None]:
        batch = found.batch(start, number)
        return batch.images, batch.labels

    labels = found.labels
    if labels is not None and classifier.classes and int(labels.max()) >= len(classifier.classes):
        raise ValueError(
            f"{text} has class {int(labels.max())}, but {classifier.card.name} knows classes 0 to "
            f"{len(classifier.classes) - 1}"
        )
    classes = found.classes if labels is not None else None
    encoded = found.path.suffix.lower() != ".npz" or found.path.is_dir()
    return Source(
        total, classes, read, labels is not None, f"{Path(text).name}:{contents(found)}", encoded, found.notes
    )


def contents(found: ImageSet) -> str:
    """A digest of a set's names, labels and files: an archive's checksums, a folder's sizes, an image's bytes."""
    if found.path.is_dir():
        files = [str((found.path / name).stat().st_size) for name in found.names]
    elif found.path.suffix.lower() in (".zip", ".npz"):
        with zipfile.ZipFile(found.path) as archive:
            files = [f"{info.filename} {info.CRC:08x}" for info in archive.infolist()]
    else:
        files = [hashlib.sha256(found.path.read_bytes()).hexdigest()]
    labels = [] if found.labels is None else map(str, found.labels.tolist())
    return hashlib.sha256("\n".join((*found.names, *files, *labels)).encode()).hexdigest()[:16]


def check_classes(name: str, classes: tuple[str, ...], classifier: Classifier) -> None:
    """ValueError where a generator's classes are not the classifier's, in its order."""
    if labels_to(classifier, name, classes, {}) is not None:
        raise ValueError(
            f"{name} has {classifier.card.name}'s classes in another order ({', '.join(classes[:3])}, …): its labels "
            "would name other things. boost, evaluate and sweep on the command line put them right"
        )


def labels_to(classifier: Classifier, name: str, classes: tuple[str, ...], mapping: Mapping[str, str]) -> Tensor | None:
    """A table (C,) from a generator's labels to the classifier's, or None where they are the same.

    classes: the generator's, none if it is unconditional. Raises ValueError naming those that are neither mapped nor
    the classifier's.
    """
    if not (classes and classifier.classes):
        return None
    # As they stand; names that two classes share would not tell them apart.
    if not mapping and classes == classifier.classes:
        return None
    table = class_table(name, classes, classifier.classes, classifier.card.name, mapping)
    return None if table == tuple(range(len(classifier.classes))) else torch.tensor(table)


def add_class_mapping(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which of the classifier's classes the images' classes are."""
    parser.add_argument(
        OPTION,
        metavar="FROM=TO,…",
        help="the images' classes as the classifier's, by name or number, for instance "
        "automobile=car,airplane=plane; classes of the same name need none",
    )


def mapping_of(options: argparse.Namespace, classifier: Classifier) -> dict[str, str]:
    """The mapping that options give; ValueError for a wrong form, or for a classifier whose classes have no names."""
    mapping = parse_mapping(options.map_classes)
    if mapping and not classifier.classes:
        raise ValueError(f"{OPTION} maps onto class names, which {classifier.card.name} does not have")
    return mapping


def add_boost_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `boost` command."""
    parser = commands.add_parser(
        "boost",
        help="boost a set of images, or a generator's samples",
        description="Boost IN into OUT. A killed run, started again, continues and gives the same bytes.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("source", metavar="IN", help="folder, zip, .npz, image, or generator:NAME")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder or .npz")
    add_classifier(parser)
    parser.add_argument("--count", type=int, help="how many images (a generator: 64; a set: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the generator")
    parser.add_argument("--target", type=int, help="one target class for all, instead of the images' own labels")
    parser.add_argument("--estimate", action="store_true", help="estimate targets even where labels are known")
    parser.add_argument(
        "--debias-set",
        metavar="SET",
        help="estimate targets with debiasing, fitted on this image set or generator:NAME",
    )
    parser.add_argument("--debias-count", type=int, default=1000, help="images of the debiasing set")
    parser.add_argument("--debias-seed", type=int, default=1_000_000, help="seed of a generated debiasing set")
    add_class_mapping(parser)
    add_boosting(parser)
    parser.add_argument("--batch-size", type=int, default=256, help="images per written batch")
    parser.add_argument("--device", help="torch device; default CUDA where there is one")


def add_boosting(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a BoostConfig, each overruling the generator's preset."""
    text = "default: the generator's preset, else "
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="a row of the papers' tables, as `presets` lists them; "
        "the options below overrule it (default: the generator's own)",
    )
    parser.add_argument("--eps", type=float, help=f"radius of the ball, images in [0, 1] ({text}{BoostConfig().eps})")
    parser.add_argument("--steps", type=int, help=f"PGD steps T ({text}{BoostConfig().steps})")
    parser.add_argument("--step-size", type=float, help="step size α (default: eps/steps)")
    parser.add_argument("--norm", choices=NORMS, help="of the ball")
    parser.add_argument("--loss", choices=sorted(LOSSES), help="what PGD minimises")
    parser.add_argument("--gradient", choices=GRADIENTS)
    parser.add_argument(
        "--stop-at", type=probability_or_l0, metavar="P", help="an image rests at this p of its target, or at l0"
    )
    parser.add_argument("--l0", type=float, help="reference realism, default: the classifier card's")


def preset_of(card: Card | None, classifier: str | None = None) -> dict[str, Any]:
    """The settings that a generator's card recommends: its default ones, or those found for a classifier, if any."""
    if card is None:
        return {}
    if classifier is None:
        return dict(card.presets.get("default", {}))
    return dict(next((one for one in card.presets.values() if one.get("classifier") == classifier), {}))


def boosting(options: argparse.Namespace, preset: dict[str, Any]) -> BoostConfig:
    """The preset's settings, or those of the paper's row asked for, overruled by those given on the command line."""
    if options.preset is not None:
        preset = settings_of(options.preset)
    chosen = {name: preset[name] for name in BOOSTING_OPTIONS if preset.get(name) is not None}
    # A preset's step size belongs to its ε and steps.
    if options.eps is not None or options.steps is not None:
        chosen.pop("step_size", None)
    given = {name: value for name in BOOSTING_OPTIONS if (value := getattr(options, name, None)) is not None}
    return BoostConfig(**{**chosen, **given})


def probability_or_l0(text: str) -> float | str:
    """The value of --stop-at: a number, or "l0"."""
    return text if text == "l0" else float(text)


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


def run_boost(options: argparse.Namespace) -> None:
    """Carry out a parsed `boost` command; under `accelerate launch` the batches are spread over the processes."""
    from tqdm import tqdm

    state = process_state()
    several = state.num_processes > 1
    device = state.device if several else default_device(options.device)
    classifier = classifier_of(options, device)
    refuse_judge(classifier.card)
    mapping = mapping_of(options, classifier)
    source = open_source(options.source, options.count, options.seed, classifier, mapping=mapping)
    if mapping and not source.labelled:
        raise ValueError(f"{options.source} has no labels, so {OPTION} has nothing to map; leave it out")
    config = boosting(options, source.preset)
    targets = _targets_of(options, source, classifier)
    shift, fitted_on = None, None
    if options.debias_set is not None:
        validation = open_source(
            options.debias_set, options.debias_count, options.debias_seed, classifier, "--debias-count", mapping
        )
        fitted_on = f"{validation.identity}, {validation.count} images"
        shift = fit_debias(classifier, validation.read(0, validation.count)[0].to(device)).cpu()
    if state.is_main_process:
        for note in (*classifier.notes, *source.notes):
            print(f"note: {note}")
    # The set that debiasing was fitted on, not the shift: its last digits depend on how many images fit into memory.
    settings: dict[str, Any] = {
        "source": source.identity,
        "classifier": f"{classifier.card.name}:{fingerprint(classifier)[:16]}",
        "targets": targets,
        "debias": fitted_on,
        **asdict(config),
    }
    names = classifier.classes or source.classes
    with state.main_process_first():
        writer = write_image_set(options.out, source.count, options.batch_size, settings, names)
    missing = writer.missing()
    mine = missing[state.process_index :: state.num_processes]
    try:
        if state.is_main_process and source.encoded:
            _read_once(source, missing)
        # Nobody writes before all have seen what is missing, else their shares would not fit together.
        state.wait_for_everyone()
        with tqdm(
            total=sum(stop - start for start, stop in mine),
            unit="image",
            desc="boost",
            disable=not state.is_main_process,
        ) as bar:
            for start, stop in mine:
                images, labels = source.read(start, stop - start)
                chosen = labels if targets == "own" else options.target if targets != "estimated" else None
                result = boost(classifier, images.to(device), chosen, config, shift)
                writer.write(start, result.images.cpu(), result.labels.cpu())
                bar.update(stop - start)
    except ValueError:
        if state.is_main_process:
            writer.withdraw()
        raise
    state.wait_for_everyone()
    if state.is_main_process:
        print(f"{source.count} images in {writer.finish()}")


def _read_once(source: Source, batches: list[tuple[int, int]]) -> None:
    """Find a damaged image before anything is written, not hours later."""
    from tqdm import tqdm

    indices = [index for start, stop in batches for index in range(start, stop)]
    for index in tqdm(indices, unit="image", desc="check", leave=False):
        source.read(index, 1)


def _targets_of(options: argparse.Namespace, source: Source, classifier: Classifier) -> str:
    """Which targets: "own" labels, "estimated", or "class 3". ValueError where the options contradict each other."""
    chosen = [
        name
        for name, given in (
            ("--target", options.target is not None),
            ("--estimate", options.estimate),
            ("--debias-set", options.debias_set is not None),
        )
        if given
    ]
    if options.target is not None and len(chosen) > 1:
        raise ValueError(f"{' and '.join(chosen)} contradict each other: a given target is not estimated")
    if options.target is not None:
        if not 0 <= options.target < max(1, len(classifier.classes)) and classifier.classes:
            raise ValueError(
                f"--target {options.target} does not exist: {classifier.card.name} has classes 0 to "
                f"{len(classifier.classes) - 1}"
            )
        return f"class {options.target}"
    return "own" if source.labelled and not chosen else "estimated"
