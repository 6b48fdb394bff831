"""`python -m bigroc_core evaluate | sweep`: what boosting does to the distance from real images, and the ε for it."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from pathlib import Path
from typing import Any

from bigroc_core.boosting import NORMS, BoostConfig
from bigroc_core.cards import CHECKPOINTS, Card
from bigroc_core.cli.classifier_options import add_classifier
from bigroc_core.cli.options import (
    Commands,
    add_boosting,
    add_common,
    add_measured_images,
    add_sweeping,
    boosting,
    command_line,
    finish,
    kept_outputs,
    preset_of,
    probability_or_l0,
    process_share,
    progress_bars,
    require_embedded,
    subject_of,
    tell_notes,
    update_card,
)
from bigroc_core.evaluation import LITE0_METRICS, METRICS, Sweep, Trials
from bigroc_core.evaluation.report import as_csv, as_latex, as_text, sweep_table
from bigroc_core.experiments.judging import Outside, chooser_for, has_judge, judge_for, standard_for
from bigroc_core.experiments.measurement import COUNT, SEEDS, FindEps, Measured, Measurement, measure
from bigroc_core.experiments.measuring import Beside, card_entry, largest_eps
from bigroc_core.experiments.sweep import SWEEP_COUNT, SWEEP_SEEDS, Sweeping, sweeps
from bigroc_core.files import write_text
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.losses import LOSSES
from bigroc_core.streams import GENERATOR_PREFIX

REFERENCE_HELP = "train, validation or test images of CIFAR-10 or --data, or a folder, zip or .npz"


def _embedded_generator_card(options: argparse.Namespace) -> Card | None:
    """The card of the embedded generator that IN names; ValueError where --write-card needs one and there is none.

    Settings behind a "?" draw other images, which have no card to write to, but are boosted as the card says.
    """
    name = options.images.removeprefix(GENERATOR_PREFIX)
    cards = embedded_generators() if options.images.startswith(GENERATOR_PREFIX) else {}
    if options.write_card:
        require_embedded(name, cards)
    return cards.get(name.partition("?")[0])


# ------------------------------------------------------------------------------------------------- evaluate


def add_evaluate_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `evaluate` command."""
    parser = commands.add_parser(
        "evaluate",
        help="what boosting does to the distance from real images, beside two controls",
        description="Images as they came, boosted, and at the same size of change boosted through a standard "
        "classifier and moved in a random direction: Fréchet distance to real images in a judge's features, and the "
        "judge's errors on the target classes; with --metrics also FID, IS, KID, precision and recall. Of a generator "
        f"{COUNT} images of each of the seeds {', '.join(map(str, SEEDS))} are measured. A killed run goes on where it "
        "stopped; accelerate launch spreads it over processes.",
    )
    add_measured_images(parser, Measurement)
    add_classifier(parser, None, "boosts (default: the preset's, else cifar10-robust)")
    parser.add_argument("--no-random-direction", action="store_true", help="leave that control out")
    parser.add_argument(
        "--beside-eps",
        type=float,
        nargs="+",
        default=[],
        metavar="EPS",
        help="rows with other ε, for instance a paper's",
    )
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="WAY",
        help="rows boosted otherwise, to the same targets: a classifier's name, settings, or both, "
        "as cifar10-standard,eps=2,stop_at=none; what is not said is as in the main row",
    )
    parser.add_argument("--reference", nargs="+", default=["train", "test"], metavar="SET", help=REFERENCE_HELP)
    parser.add_argument(
        "--metrics",
        nargs="+",
        choices=(*METRICS, *LITE0_METRICS),
        default=[],
        help="also these, in Inception's features (prc: precision and recall) or in EfficientNet-Lite0's",
    )
    parser.add_argument(
        "--inception-weights",
        type=Path,
        metavar="FILE",
        help="in torch-fidelity's format (default: its cache, or its download)",
    )
    parser.add_argument(
        "--inception-layer",
        default="2048",
        metavar="D",
        help="64, 192 or 768 for few images; then not comparable with anyone's FID",
    )
    parser.add_argument("--find-eps", action="store_true", help="first find ε as `sweep` does, on seeds of its own")
    parser.add_argument("--sweep-seeds", type=int, nargs="+", default=list(SWEEP_SEEDS), help="for --find-eps")
    parser.add_argument("--sweep-count", type=int, default=SWEEP_COUNT, help="images per seed for --find-eps")
    add_sweeping(parser)
    parser.add_argument("--csv", type=Path, help="also write the table as CSV")
    parser.add_argument("--latex", type=Path, help="also write the table for a paper")
    add_boosting(parser)
    add_common(parser)


def measurement_of(options: argparse.Namespace) -> Measurement:
    """What a parsed `evaluate` command asks for; what it leaves open is the generator's preset's, or `with_networks_of`
    the classifier."""
    preset = preset_of(_embedded_generator_card(options), options.classifier)
    beside = [Beside(changes={"eps": eps, "step_size": None}) for eps in options.beside_eps]
    seeds = tuple(options.sweep_seeds)
    return Measurement(
        **subject_of(options, preset.get("classifier")),
        config=boosting(options, preset),
        control=None if options.control == "none" else options.control,
        random_direction=not options.no_random_direction,
        beside=(*beside, *map(Beside.parse, options.beside)),
        judge=None if options.judge == "none" else options.judge,
        references=tuple(options.reference),
        outside=Outside(
            metrics=tuple(options.metrics), weights=options.inception_weights, layer=options.inception_layer
        ),
        floor=options.floor,
        find=FindEps(
            chooser=options.chooser or "",
            measure=options.choose_by,
            largest=options.largest,
            count=options.sweep_count,
            seeds=seeds,
        )
        if options.find_eps
        else None,
        images_to=options.images_to,
    )


def with_networks_of(card: Card, asked: Measurement, options: argparse.Namespace) -> Measurement:
    """With the judge, the control and the chooser of the classifier's size and classes where the command names none.

    Where there is no such judge it takes outside metrics; ValueError if none are asked for.
    """
    if options.judge is None and (not options.metrics or has_judge(card)):
        asked = dataclasses.replace(asked, judge=judge_for(card))
    if options.control is None:
        standard = standard_for(card)
        asked = dataclasses.replace(asked, control=None if standard == card.name else standard)
    if asked.find is not None and not asked.find.chooser:
        asked = dataclasses.replace(asked, find=dataclasses.replace(asked.find, chooser=chooser_for(card)))
    return asked


def run_evaluate(options: argparse.Namespace) -> None:
    """Carry out a parsed `evaluate` command."""
    with kept_outputs(options):
        _evaluate(options)


def _evaluate(options: argparse.Namespace) -> None:
    share, device = process_share(options.device)
    asked = measurement_of(options)
    opened = asked.opened(device)
    asked = with_networks_of(opened.classifier.card, asked, options)
    tell_notes(opened.notes, share)
    measured = measure(asked, opened, progress_bars() if share.index == 0 else None, share)
    if share.index == 0:
        _tell(options, measured, opened.card)


def _tell(options: argparse.Namespace, measured: Measured, card: Card | None) -> None:
    if measured.swept is not None:
        print(sweep_table(measured.swept))
    tell_notes(measured.notes)
    print(as_text(measured.found))
    for path, text in ((options.csv, as_csv), (options.latex, as_latex)):
        if path is not None:
            write_text(path, text(measured.found))
            print(f"written: {path}")
    result = measured.to_dict() | {"command": command_line()}
    finish(options, result)
    if options.write_card:
        assert card is not None  # _embedded_generator_card saw to it
        entry = card_entry("evaluate", card, measured.classifier)
        update_card(CHECKPOINTS / f"{card.name}.json", metrics={entry: result})


# ---------------------------------------------------------------------------------------------------- sweep


def add_sweep_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `sweep` command."""
    parser = commands.add_parser(
        "sweep",
        help="find the ε that brings a generator's images nearest to real ones",
        description="The ε with the lowest distance to the validation images of CIFAR-10, or of --data, in the "
        "features of a network other than the boosting one: a classifier's, or (lite0) one that others trained. "
        "Several steps, norms or losses are tried in all combinations. Of a generator "
        f"{SWEEP_COUNT} images of each of the seeds {', '.join(map(str, SWEEP_SEEDS))} are moved. With --write-card "
        "the best becomes the generator's preset. A killed run goes on where it stopped; accelerate launch spreads it "
        "over processes.",
    )
    add_measured_images(parser)
    add_classifier(parser, None, "boosts (default: cifar10-robust)")
    parser.add_argument("--reference", default="validation", metavar="SET", help=REFERENCE_HELP)
    parser.add_argument(
        "--reference-count",
        type=int,
        metavar="N",
        help="of more reference images only N, always the same: less to read once, at a wider error bar",
    )
    add_sweeping(parser)
    parser.add_argument(
        "--eps-list", type=float, nargs="+", metavar="EPS", help="exactly these ε, instead of coarse to fine"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[30], metavar="T")
    parser.add_argument(
        "--fewer-steps",
        type=int,
        nargs="+",
        default=[],
        metavar="T",
        help="then try these T at the ε found, and take the smallest within the error bar of the best",
    )
    parser.add_argument("--step-size", type=float, help="step size α (default eps/steps); needs --eps-list")
    parser.add_argument("--norm", choices=NORMS, nargs="+", default=["l2"])
    parser.add_argument("--loss", choices=sorted(LOSSES), nargs="+", default=["ce"])
    parser.add_argument(
        "--stop-at", type=probability_or_l0, metavar="P", help="an image rests at this p of its target, or at l0"
    )
    add_common(parser)


def run_sweep(options: argparse.Namespace) -> None:
    """Carry out a parsed `sweep` command."""
    with kept_outputs(options):
        _sweep(options)


def _sweep(options: argparse.Namespace) -> None:
    _embedded_generator_card(options)
    share, device = process_share(options.device)
    asked = Sweeping(
        **subject_of(options, None),
        configs=(),
        chooser=options.chooser or "",
        measure=options.choose_by,
        reference=options.reference,
        reference_count=options.reference_count,
        trials=Trials(None if options.eps_list is None else tuple(options.eps_list), tuple(options.fewer_steps)),
    )
    opened = asked.opened(device)
    asked = dataclasses.replace(asked, chooser=asked.chooser or chooser_for(opened.classifier.card))
    tell_notes(opened.notes, share)
    configs = tuple(
        BoostConfig(
            eps=largest_eps(options.largest, norm, opened.size),
            steps=steps,
            step_size=options.step_size,
            norm=norm,
            loss=loss,
            stop_at=options.stop_at,
        )
        for steps, norm, loss in itertools.product(options.steps, options.norm, options.loss)
    )
    found = sweeps(
        dataclasses.replace(asked, configs=configs), opened, progress_bars() if share.index == 0 else None, share
    )
    tell_notes(opened.done(share), share)
    if share.index == 0:
        _tell_sweeps(options, found, opened.card, opened.classifier.card.name)


def _tell_sweeps(options: argparse.Namespace, found: list[Sweep], card: Card | None, classifier: str) -> None:
    for one in reversed(found):
        if len(found) > 1:
            print(f"T {one.config.steps}, {one.config.norm}, {one.config.loss}")
        print(sweep_table(one))
    best = found[0]
    tell_notes(best.notes)
    if best.at_the_end:
        print("note: the best ε is the largest tried; a larger one may be better still")
    result = {
        "classifier": classifier,
        **best.to_dict(),
        "others": [one.to_dict() for one in found[1:]],
        "debias_images": options.debias,
        "command": command_line(),
    }
    finish(options, result)
    if options.write_card:
        assert card is not None  # _embedded_generator_card saw to it
        update_card(
            CHECKPOINTS / f"{card.name}.json",
            metrics={card_entry("sweep", card, classifier): result},
            presets={card_entry("preset", card, classifier): _preset(best, classifier)},
        )


def _preset(best: Sweep, classifier: str) -> dict[str, Any]:
    """What the generator's card recommends from now on."""
    config = best.config
    preset = {
        "eps": best.best.eps,
        "steps": best.best.steps,
        "step_size": config.step_size,
        "norm": config.norm,
        "loss": config.loss,
        "classifier": classifier,
        "source": "swept",
        "command": command_line(),
    }
    return preset | ({} if config.stop_at is None else {"stop_at": config.stop_at})
