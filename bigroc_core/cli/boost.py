"""`python -m bigroc_core boost IN OUT`: an image set or a generator's samples, boosted as a stream."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bigroc_core.boosting import boost, view_note
from bigroc_core.checks import whole
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import refuse_judge
from bigroc_core.cli.classifier_options import add_classifier, classifier_of, given_options
from bigroc_core.cli.fields import add_options
from bigroc_core.cli.options import (
    add_boosting,
    add_class_mapping,
    boosting,
    check_seed,
    count_of,
    default_device,
    mapping_of,
    preset_of,
    process_state,
    tell_notes,
    view_in,
)
from bigroc_core.evaluation import Way, fingerprint
from bigroc_core.experiments.boost import debias_shift
from bigroc_core.experiments.requests import BoostingRequest, said_of_precision
from bigroc_core.files import held
from bigroc_core.images import tally, write_image_set
from bigroc_core.images.classes import OPTION
from bigroc_core.images.masks import Masks, masks_for
from bigroc_core.messages import printable
from bigroc_core.overlapping import overlapped
from bigroc_core.sources import DEBIAS_SEED
from bigroc_core.streams import ImageStream, drawn, open_stream, rows_by_size

if TYPE_CHECKING:
    from accelerate import PartialState

# Images of one size: their numbers in the set, pixels, labels and masks.
_Group = tuple[list[int], Tensor, Tensor | None, Tensor | None]
# Images of a written batch, which are held together, as float32 about 400 MB.
MAX_BATCH_PIXELS = 2**25


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
    parser.add_argument("--debias-seed", type=int, default=DEBIAS_SEED, help="seed of a generated debiasing set")
    add_class_mapping(parser)
    parser.add_argument(
        "--mask",
        metavar="FILE|DIR",
        help="grey picture of the images' size, white where pixels may move; or a folder or zip with one for each "
        "image, by its name",
    )
    add_boosting(parser)
    parser.add_argument("--batch-size", type=int, default=256, help="images per written batch")
    add_options(parser, BoostingRequest, ("precision",))
    parser.add_argument("--device", help="torch device; default CUDA where there is one")


def run_boost(options: argparse.Namespace) -> None:
    """Carry out a parsed `boost` command; under `accelerate launch` the batches are spread over the processes."""
    state = process_state()
    with held(options.out) if state.is_main_process else contextlib.nullcontext():
        _boost(options, state)


def _boost(options: argparse.Namespace, state: PartialState) -> None:
    from tqdm import tqdm

    several = state.num_processes > 1
    device = state.device if several else default_device(options.device)
    classifier = classifier_of(options, device)
    refuse_judge(classifier.card)
    mapping = mapping_of(options, classifier)
    # Labels that nothing is made of are not read, so that folders may have any names.
    labelled = bool(mapping) or not (options.estimate or options.target is not None or options.debias_set is not None)
    drawing = device if options.precision == "fast" else "cpu"
    source = open_stream(options.source, classifier, mapping, labelled, own_sizes=True, device=drawing)
    count = count_of(source, options.count, "--count")
    check_seed(source, options.seed)
    if mapping and not source.labelled:
        raise ValueError(f"{options.source} has no labels, so {OPTION} has nothing to map; leave it out")
    config = boosting(options, preset_of(source.card, classifier.card.name))
    view = view_in(options)
    batch_size = _batch_size(source, count, options)
    targets = _targets_of(options, source, classifier)
    shift, fitted_on = None, None
    if options.debias_set is not None:
        validation = open_stream(options.debias_set, classifier, labelled=False, own_sizes=True)
        fitting = count_of(validation, options.debias_count, "--debias-count")
        _check_apart(options, source, validation)
        fitted_on = f"{validation.identity}, seed {options.debias_seed}, {fitting} images"
        shift = debias_shift(classifier, validation, options.debias_seed, fitting, device, view)
    masks, of_masks = None, tuple[str, ...]()
    shapes = source.shapes[:count] if source.shapes else (source.card.input_size,) if source.card else ()
    if options.mask is not None:
        masks, of_masks = masks_for(options.mask, source.names and source.names[:count], shapes)
    if state.is_main_process:
        seen = [note for size in sorted(set(shapes))[:3] if (note := view_note(classifier, size, view))]
        tell_notes((*classifier.notes, *source.notes, *of_masks, *seen))
    # The set that debiasing was fitted on, not the shift: its last digits depend on how many images fit into memory.
    settings: dict[str, Any] = {
        "source": f"{source.identity}, seed {options.seed}" if source.size is None else source.identity,
        "classifier": f"{classifier.card.name}:{fingerprint(classifier)[:16]}",
        "targets": targets,
        "debias": fitted_on,
        **given_options(options),
        "view": view,
        **({} if masks is None else {"mask": masks.pictures.digest()}),
        **config.settings(),
        **Way(classifier, config).l0_of_card,
        **said_of_precision(options.precision),
    }
    names = classifier.classes or source.classes
    with state.main_process_first():
        writer = write_image_set(options.out, count, batch_size, settings, names)
    missing = writer.missing()
    mine = missing[state.process_index :: state.num_processes]
    try:
        if state.is_main_process and source.encoded:
            tell_notes(_read_once(source, masks, missing))
        # Nobody writes before all have seen what is missing, else their shares would not fit together.
        state.wait_for_everyone()
        with tqdm(
            total=sum(stop - start for start, stop in mine),
            unit="image",
            desc="boost",
            disable=not state.is_main_process,
        ) as bar:

            def read(batch: tuple[int, int]) -> list[_Group]:
                return [
                    _read(source, masks, options.seed, rows, device) for rows in rows_by_size(source, range(*batch))
                ]

            def boosted(groups: list[_Group]) -> tuple[list[Tensor], Tensor]:
                made: dict[int, tuple[Tensor, int]] = {}
                for rows, images, labels, mask in groups:
                    chosen = labels if targets == "own" else options.target if targets != "estimated" else None
                    more: dict[str, Any] = {"mask": mask, "view": view, "precision": options.precision}
                    result = boost(classifier, images.to(device, non_blocking=True), chosen, config, shift, **more)
                    made |= zip(rows, zip(result.images.cpu(), result.labels.tolist(), strict=True), strict=True)
                    bar.update(len(rows))
                in_order = [made[row] for row in sorted(made)]
                return [image for image, _ in in_order], torch.tensor([label for _, label in in_order])

            def write(batch: tuple[int, int], made: tuple[list[Tensor], Tensor]) -> None:
                writer.write(batch[0], *made)

            if not _overlaps(device):
                for batch in mine:
                    write(batch, boosted(read(batch)))
            elif source.card is not None and drawing != "cpu":  # what draws is what boosts
                overlapped(mine, lambda batch: batch, lambda batch: boosted(read(batch)), write)
            else:
                overlapped(mine, read, boosted, write)
    except ValueError:
        if state.is_main_process:
            writer.withdraw()
        raise
    state.wait_for_everyone()
    if state.is_main_process:
        print(f"{count} images in {printable(str(writer.finish()), 1_000)}")


def _check_apart(options: argparse.Namespace, source: ImageStream, validation: ImageStream) -> None:
    """ValueError where debiasing would be fitted on the very images that are boosted."""
    same = options.debias_set == options.source or validation.identity == source.identity
    if same and source.size is None and options.debias_seed == options.seed:
        raise ValueError(
            f"--debias-seed and --seed are both {options.seed}, of one generator: P1 Eq. 2 is fitted on other images "
            "than those that are boosted"
        )


def _batch_size(source: ImageStream, count: int, options: argparse.Namespace) -> int:
    """Images per written batch: as the option says, but no more pixels together than MAX_BATCH_PIXELS.

    ValueError where an .npz is to hold images of different sizes.
    """
    wanted = whole(options.batch_size, "batch_size", 1, 2**31)
    if source.shapes is None:
        return wanted
    shapes = set(source.shapes[:count])
    if len(shapes) > 1 and options.out.suffix.lower() == ".npz":
        sizes = sorted(shapes)
        raise ValueError(
            f"{source.name} holds images of {len(shapes)} sizes, from {sizes[0][1]}×{sizes[0][0]} to {sizes[-1][1]}×"
            f"{sizes[-1][0]}, and an .npz holds one size: boost them into a folder"
        )
    largest = max(height * width for height, width in shapes)
    return max(1, min(wanted, MAX_BATCH_PIXELS // largest))


def _overlaps(device: torch.device) -> bool:
    """Whether reading and writing leave alone what computes."""
    return device.type != "cpu"


def _read(source: ImageStream, masks: Masks | None, seed: int, rows: list[int], device: torch.device) -> _Group:
    images, labels = drawn(source, seed, rows)
    # What lies in pinned memory goes to a GPU while others compute.
    images = images.pin_memory() if device.type == "cuda" else images
    return rows, images, labels, None if masks is None else masks.batch(rows)


def _read_once(source: ImageStream, masks: Masks | None, batches: list[tuple[int, int]]) -> list[str]:
    """Find a damaged image, or mask, before anything is written, not hours later; what is done to the images."""
    from tqdm import tqdm

    indices = [index for start, stop in batches for index in range(start, stop)]
    done: list[str] = []
    for index in tqdm(indices, unit="image", desc="check", leave=False):
        if source.look is None:
            source.draw(0, index, 1)
        else:
            done += source.look(index)
        if masks is not None:
            masks.batch([index])
    return tally(done)


def _targets_of(options: argparse.Namespace, source: ImageStream, classifier: Classifier) -> str:
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
