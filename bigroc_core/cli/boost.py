"""`python -m bigroc_core boost IN OUT`: an image set or a generator's samples, boosted as a stream."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bigroc_core.boosting import boost
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import refuse_judge
from bigroc_core.cli.classifier_options import add_classifier, classifier_of
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
)
from bigroc_core.evaluation import fingerprint
from bigroc_core.experiments.boost import debias_shift
from bigroc_core.images import write_image_set
from bigroc_core.images.classes import OPTION
from bigroc_core.messages import printable
from bigroc_core.sources import DEBIAS_SEED
from bigroc_core.streams import ImageStream, open_stream


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
    add_boosting(parser)
    parser.add_argument("--batch-size", type=int, default=256, help="images per written batch")
    parser.add_argument("--device", help="torch device; default CUDA where there is one")


def run_boost(options: argparse.Namespace) -> None:
    """Carry out a parsed `boost` command; under `accelerate launch` the batches are spread over the processes."""
    from tqdm import tqdm

    state = process_state()
    several = state.num_processes > 1
    device = state.device if several else default_device(options.device)
    classifier = classifier_of(options, device)
    refuse_judge(classifier.card)
    mapping = mapping_of(options, classifier)
    # Labels that nothing is made of are not read, so that folders may have any names.
    labelled = bool(mapping) or not (options.estimate or options.target is not None or options.debias_set is not None)
    source = open_stream(options.source, classifier, mapping, labelled)
    count = count_of(source, options.count, "--count")
    check_seed(source, options.seed)
    if mapping and not source.labelled:
        raise ValueError(f"{options.source} has no labels, so {OPTION} has nothing to map; leave it out")
    config = boosting(options, preset_of(source.card, classifier.card.name))
    targets = _targets_of(options, source, classifier)
    shift, fitted_on = None, None
    if options.debias_set is not None:
        validation = open_stream(options.debias_set, classifier, labelled=False)
        fitting = count_of(validation, options.debias_count, "--debias-count")
        fitted_on = f"{validation.identity}, seed {options.debias_seed}, {fitting} images"
        shift = debias_shift(classifier, validation, options.debias_seed, fitting, device)
    if state.is_main_process:
        for note in (*classifier.notes, *source.notes):
            print(f"note: {note}")
    # The set that debiasing was fitted on, not the shift: its last digits depend on how many images fit into memory.
    settings: dict[str, Any] = {
        "source": f"{source.identity}, seed {options.seed}" if source.size is None else source.identity,
        "classifier": f"{classifier.card.name}:{fingerprint(classifier)[:16]}",
        "targets": targets,
        "debias": fitted_on,
        **asdict(config),
    }
    names = classifier.classes or source.classes
    with state.main_process_first():
        writer = write_image_set(options.out, count, options.batch_size, settings, names)
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
                images, labels = source.draw(options.seed, start, stop - start)
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
        print(f"{count} images in {printable(str(writer.finish()), 1_000)}")


def _read_once(source: ImageStream, batches: list[tuple[int, int]]) -> None:
    """Find a damaged image before anything is written, not hours later."""
    from tqdm import tqdm

    indices = [index for start, stop in batches for index in range(start, stop)]
    for index in tqdm(indices, unit="image", desc="check", leave=False):
        source.draw(0, index, 1)


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
