"""`python -m bigroc_core figure KIND`: pictures for papers."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bigroc_core.attack import TINY
from bigroc_core.boost_command import GENERATOR_PREFIX, check_classes, default_device, probability_or_l0
from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.classifiers.registry import load_classifier, refuse_judge
from bigroc_core.debiasing import class_histogram, fit_debias, histogram_entropy
from bigroc_core.evaluation import generator_stream
from bigroc_core.evaluation_commands import DEBIAS_SEED, Commands, add_boosting, booster, boosting, preset_of
from bigroc_core.generators.registry import load_generator
from bigroc_core.images import fit_to, from_uint8, read_image, to_uint8
from bigroc_core.interpolation import feature_distance, interpolate
from bigroc_core.training.commands import command_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bigroc_core.figures import TargetedRow


def add_figure_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `figure` command and its kinds."""
    figure = commands.add_parser("figure", help="make a figure for a paper or a page")
    kinds = figure.add_subparsers(dest="kind", required=True, metavar="KIND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--output", type=Path, required=True, help="a .png (300 dpi), .pdf or .svg file")
    shared.add_argument("--device", help="torch device; default: cuda where there is one, else cpu")

    fig2 = kinds.add_parser("fig2", parents=[shared], help="one image, every target class, robust and standard",
                            description="P1 Fig. 2 (its ε = 30, T = 60, α = 0.5 are on [-1, 1] pixels).")  # fmt: skip
    given = fig2.add_mutually_exclusive_group(required=True)
    given.add_argument("--generator", help="start from one of its images")
    given.add_argument("--image", type=Path, help="start from this image file")
    fig2.add_argument("--seed", type=int, default=0)
    fig2.add_argument("--index", type=int, default=0, help="which image of the seed")
    fig2.add_argument("--robust", default="cifar10-robust", metavar="NAME")
    fig2.add_argument("--standard", default="cifar10-standard", metavar="NAME")
    fig2.add_argument("--eps", type=float, default=15.0, help="L2 radius, images in [0, 1] (default 15)")
    fig2.add_argument("--steps", type=int, default=60)
    fig2.add_argument("--step-size", type=float, default=0.25)
    fig2.add_argument("--stop-at", type=probability_or_l0, metavar="P",
                      help="an image rests at this p of its class: what it takes to convince each network")  # fmt: skip

    fig6 = kinds.add_parser("fig6", parents=[shared], help="from one image to another, robust and standard",
                            description="P1 Fig. 6: interpolation by P1 Eq. 3, one frame per c. Under each frame "
                            "‖δ‖₂ and its feature distance to the target as a share of the source's.")  # fmt: skip
    for side, index in (("source", 0), ("target", 1)):
        fig6.add_argument(f"--{side}", required=True, metavar="IMAGE", help="an image file, or generator:NAME")
        fig6.add_argument(f"--{side}-seed", type=int, default=0)
        fig6.add_argument(f"--{side}-index", type=int, default=index,
                          help=f"which image of the seed (default {index})")  # fmt: skip
        fig6.add_argument(f"--{side}-class", metavar="CLASS", help="of a conditional generator; default: the index's")
    fig6.add_argument("--classifiers", nargs="+", default=["cifar10-robust", "cifar10-standard"], metavar="NAME",
                      help="one row each (default cifar10-robust cifar10-standard)")  # fmt: skip
    fig6.add_argument("--c", nargs="+", type=float, default=[0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
                      help="radii as shares of ‖x_t - x_s‖₂, from 0 to 1")  # fmt: skip
    fig6.add_argument("--steps", type=int, default=60)
    fig6.add_argument("--weights", nargs="+", type=float, help="one per resolution, fine to coarse; default 1 each")
    fig6.add_argument("--warm-start", action="store_true",
                      help="begin each frame where the one of the next smaller c ended")  # fmt: skip

    pairs = kinds.add_parser("side-by-side", parents=[shared], help="images before and after boosting")
    pairs.add_argument("--generator", required=True)
    pairs.add_argument("--seed", type=int, default=0)
    pairs.add_argument("--start", type=int, default=0, help="the first image of the seed")
    pairs.add_argument("--count", type=int, default=10)
    pairs.add_argument("--columns", type=int, default=10)
    pairs.add_argument("--classifier", help="default: the generator's preset, else cifar10-robust")
    add_boosting(pairs)

    debias = kinds.add_parser("debias", parents=[shared], help="class histograms without and with debiasing")
    debias.add_argument("--generator", required=True, help="an unconditional one")
    debias.add_argument("--seed", type=int, default=0)
    debias.add_argument("--count", type=int, default=2_000)
    debias.add_argument("--validation", type=int, default=1_000, help="images that the debiasing is fitted to")
    debias.add_argument("--classifier", default="cifar10-robust")

    curve = kinds.add_parser("sweep", parents=[shared], help="the curve of a sweep")
    curve.add_argument("results", type=Path, help="the JSON that `sweep --output` wrote")


def run_figure(options: argparse.Namespace) -> None:
    """Carry out a parsed `figure` command. The figure carries its settings and this command."""
    from bigroc_core import figures  # matplotlib is slow to import, and only figures need it

    suffix = options.output.suffix.lower().removeprefix(".")
    if suffix not in figures.FORMATS:
        raise ValueError(f"--output must end in .{', .'.join(figures.FORMATS)}, not {options.output.name!r}")
    make = {"fig2": _fig2, "fig6": _fig6, "side-by-side": _side_by_side, "debias": _debias_histograms,
            "sweep": _sweep_curve}  # fmt: skip
    figure, recipe = make[options.kind](options)
    print(f"written: {figures.write_figure(figure, options.output, {**recipe, 'command': command_line()})}")


Made = tuple["Figure", dict[str, Any]]


def targeted_row(classifier: Classifier, original: Tensor, config: BoostConfig, name: str) -> TargetedRow:
    """One image (3, H, W) boosted towards every class: P1 Fig. 2's row. P and ‖δ‖₂ are those of the 8-bit pictures."""
    from bigroc_core.figures import TargetedRow

    classes = len(classifier.classes)
    repeated = original.expand(classes, -1, -1, -1).contiguous()
    result = boost(classifier, repeated, torch.arange(classes), config=config)
    images = from_uint8(to_uint8(result.images)).cpu()
    with torch.no_grad():
        certainty = classifier(images.to(classifier.mean.device)).float().softmax(1).diagonal().cpu()
    return TargetedRow(name, images, certainty, (images - original).flatten(1).norm(dim=1))


def _fig2(options: argparse.Namespace) -> Made:
    from bigroc_core.figures import fig2

    device = default_device(options.device)
    robust = load_classifier(options.robust, device=device)
    standard = load_classifier(options.standard, device=device)
    for classifier in (robust, standard):
        refuse_judge(classifier.card)
    if robust.classes != standard.classes:
        raise ValueError(f"{options.robust} and {options.standard} have different classes")
    if options.image is not None:
        original = read_image(options.image, size=robust.card.input_size).pixels
        origin: dict[str, Any] = {"image": options.image.name}
    else:
        drawn, _ = load_generator(options.generator).sample(1, seed=options.seed, start=options.index)
        original, origin = drawn[0], {"generator": options.generator, "seed": options.seed, "index": options.index}
    original = from_uint8(to_uint8(original))
    config = BoostConfig(eps=options.eps, steps=options.steps, step_size=options.step_size, stop_at=options.stop_at)
    rows = [targeted_row(robust, original, config, "Robust"), targeted_row(standard, original, config, "Standard")]
    recipe = {"figure": "P1 Fig. 2", **origin, "robust": robust.card.name, "standard": standard.card.name,
              "config": dataclasses.asdict(config)}  # fmt: skip
    for row in rows:
        print(f"{row.name:<9} mean P {row.certainty.mean():.3f}, mean ‖δ‖₂ {row.l2.mean():.3f}")
    return fig2(original, rows, robust.classes), recipe


def _fig6(options: argparse.Namespace) -> Made:
    from bigroc_core.figures import InterpolatedRow, fig6

    device = default_device(options.device)
    classifiers = [load_classifier(name, device=device) for name in options.classifiers]
    for classifier in classifiers:
        refuse_judge(classifier.card)
    sizes = {classifier.card.input_size for classifier in classifiers}
    if len(sizes) > 1:
        raise ValueError(f"the classifiers take images of different sizes: {sorted(sizes)}")
    (size,) = sizes
    source, source_origin = _end(options, "source", size)
    target, target_origin = _end(options, "target", size)
    if torch.equal(source, target):
        raise ValueError("--source and --target are the same image: there is no way between them")
    fractions, rows = sorted(options.c), []
    for classifier in classifiers:
        found = interpolate(classifier, source[None], target[None], fractions, options.steps, options.weights,
                            warm_start=options.warm_start)[:, 0]  # fmt: skip
        frames = from_uint8(to_uint8(found))
        distances = feature_distance(classifier, torch.cat([source[None], frames]), target[None], options.weights)
        share = distances[1:] / distances[0].clamp_min(TINY)
        l2 = (frames - source).flatten(1).norm(dim=1)
        rows.append(InterpolatedRow(classifier.card.name, frames, l2, share))
        print(f"{classifier.card.name}: ‖δ‖₂ {l2[-1]:.3f} and {share[-1]:.4f} of the source's feature distance at "
              f"c = {fractions[-1]:g}")  # fmt: skip
    recipe = {"figure": "P1 Fig. 6", "source": source_origin, "target": target_origin,
              "classifiers": [classifier.card.name for classifier in classifiers], "c": fractions,
              "steps": options.steps, "weights": options.weights, "warm_start": options.warm_start}  # fmt: skip
    return fig6(source, target, rows, fractions), recipe


def _end(options: argparse.Namespace, side: str, size: tuple[int, int]) -> tuple[Tensor, dict[str, Any]]:
    """The source or target image (3, H, W) at 8-bit levels, and where it comes from."""
    named, seed, index, of_class = (
        getattr(options, name) for name in (side, f"{side}_seed", f"{side}_index", f"{side}_class")
    )
    if not named.startswith(GENERATOR_PREFIX):
        return from_uint8(to_uint8(read_image(Path(named), size=size).pixels)), {"image": Path(named).name}
    generator = load_generator(named.removeprefix(GENERATOR_PREFIX))
    labels = None
    if of_class is not None:
        classes = generator.classes or ()
        if of_class not in classes:
            raise ValueError(f"--{side}-class must be one of {', '.join(classes) or 'none'}, not {of_class!r}")
        labels = [classes.index(of_class)]
    drawn, _ = generator.sample(1, labels=labels, seed=seed, start=index)
    origin = {"generator": generator.card.name, "seed": seed, "index": index, "class": of_class}
    return from_uint8(to_uint8(fit_to(drawn[0].cpu(), size).pixels)), origin


def _side_by_side(options: argparse.Namespace) -> Made:
    from bigroc_core.figures import side_by_side

    generator = load_generator(options.generator)
    preset = preset_of(generator.card)
    classifier, config = booster(options, preset), boosting(options, preset)
    check_classes(generator.card.name, generator.classes, classifier)
    if options.count < 1 or options.columns < 1:
        raise ValueError("--count and --columns must be at least 1")
    drawn, labels = generator.sample(options.count, seed=options.seed, start=options.start)
    before = from_uint8(to_uint8(drawn))
    result = boost(classifier, before, labels, config=config)
    captions = [classifier.classes[label] for label in result.labels.tolist()]
    recipe = {
        "figure": "side by side", "generator": generator.card.name, "seed": options.seed, "start": options.start,
        "count": options.count, "classifier": classifier.card.name, "config": dataclasses.asdict(config),
    }  # fmt: skip
    return side_by_side(before, result.images.cpu(), captions, options.columns), recipe


def _debias_histograms(options: argparse.Namespace) -> Made:
    from bigroc_core.figures import debias_histograms

    generator = load_generator(options.generator)
    classifier = load_classifier(options.classifier, device=default_device(options.device))
    if generator.classes:
        raise ValueError(f"{generator.card.name} is conditional: its labels are given, and debiasing plays no part")
    stream = generator_stream(generator)
    held_out, _ = stream.draw(DEBIAS_SEED, 0, options.validation)
    shift = fit_debias(classifier, held_out)
    images, _ = stream.draw(options.seed, 0, options.count)
    still = BoostConfig(eps=0.0, steps=0)
    counts = [
        class_histogram(boost(classifier, images, config=still, debias=debias).labels, len(classifier.classes))
        for debias in (None, shift)
    ]
    entropies = (histogram_entropy(counts[0]), histogram_entropy(counts[1]))
    print(f"entropy of the class histogram: {entropies[0]:.3f} nats without, {entropies[1]:.3f} with debiasing")
    recipe = {"figure": "debiasing", "generator": generator.card.name, "seed": options.seed, "count": options.count,
              "validation": options.validation, "classifier": classifier.card.name, "shift": shift.tolist(),
              "without": counts[0].tolist(), "with": counts[1].tolist(), "entropies": entropies}  # fmt: skip
    return debias_histograms(counts[0].tolist(), counts[1].tolist(), classifier.classes, entropies), recipe


def _sweep_curve(options: argparse.Namespace) -> Made:
    from bigroc_core.figures import sweep_curve

    try:
        result = json.loads(options.results.read_text("utf-8"))
        points = [(p["stage"], p["eps"], p["frechet"]["mean"], p["frechet"]["std"]) for p in result["points"]]
        best, features_of = float(result["best"]), str(result["features_of"])
        source, seeds = result["source"], result["seeds"]
        norm = result["config"]["norm"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        kind = type(error).__name__
        raise ValueError(f"{options.results} is not what `sweep --output` writes: {kind}: {error}") from error
    groups = {stage: [(eps, mean, std) for s, eps, mean, std in points if s == stage] for stage in ("fine", "coarse")}
    unit = "$\\epsilon$ (L2, images in [0, 1])" if norm == "l2" else "$\\epsilon$ (L$\\infty$, images in [0, 1])"
    figure = sweep_curve(groups["fine"], best, features_of, groups["coarse"], unit)
    return figure, {"figure": "sweep", "source": source, "seeds": seeds, "best": best}
