"""`python -m bigroc_core tables`: P2's tables on our generators, as one page with the command behind every number."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bigroc_core.cli.classifier_options import add_classifier, classifier_named
from bigroc_core.cli.fields import add_options, values_of
from bigroc_core.cli.options import (
    Commands,
    add_data,
    add_device,
    command_line,
    kept_outputs,
    process_share,
    progress_bars,
)
from bigroc_core.cli.outside_table import section, with_section
from bigroc_core.evaluation.report import cell
from bigroc_core.experiments.measured_tables import COLUMNS, PUBLISHED, TITLES, cells_of
from bigroc_core.experiments.tables import Tables, TablesRequest, tables
from bigroc_core.files import parsed_json, write_bytes, write_text
from bigroc_core.generators.registry import embedded_generators


def add_tables_parser(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the `tables` command."""
    parser = commands.add_parser(
        "tables",
        help="P2's tables and its curve of quality against time, as one page",
        description="P2's Table 1 (consistency in one and two steps: none, robust classifier, non-robust joint model, "
        "robust joint model), Table 2 (other generators), Table 3 (losses) and Section 4.2's quality against time, on "
        "the generators here. Every generator's rows move the same images to the same targets. The page is written "
        "anew after each generator; a killed run goes on where it stopped. Rows that FILE.json holds already are kept "
        "where their command, all models in it and the data are still the same; times are always taken anew.",
    )
    add_options(parser, TablesRequest)
    add_classifier(parser, purpose="the robust classifier, of which alone the options below tell, but for --view")
    add_data(parser)
    add_device(parser)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("RESULTS.md"),
        metavar="FILE.md",
        help="the page; FILE.json beside it has every number (default RESULTS.md)",
    )


def run_tables(options: argparse.Namespace) -> None:
    """Carry out a parsed `tables` command."""
    output: Path = options.output
    if output.suffix != ".md":
        raise ValueError(f"--output must end in .md, not {output.name!r}")
    with kept_outputs(options):
        _tables(options, output)


def _tables(options: argparse.Namespace, output: Path) -> None:
    share, device = process_share(options.device)
    classifier = classifier_named(options, options.classifier)
    values = values_of(TablesRequest, options)
    request = TablesRequest(classifier=classifier, view=options.view, data=options.data, **values)
    growing = Tables(request, device, progress_bars() if share.index == 0 else None, share)
    for made in tables(growing, measured_before(output.with_suffix(".json"))):
        if share.index == 0:
            write(made, output)
    print(f"written: {output}")


def write(made: Tables, output: Path) -> None:
    """The page and its numbers as they are now; the curve's picture once there is one."""
    result = {"measured": made.measured, "stopping": made.stopping, "curve": made.curve, "timing": made.timing}
    write_text(output.with_suffix(".json"), json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    picture = None
    if len(made.curve) > 1:
        from bigroc_core.figures.drawing import quality_against_time, render

        picture = output.with_name(f"{output.stem}-curve.png")
        write_bytes(picture, render(quality_against_time(made.curve, made.request.judge), "png"))
    write_text(output, page(made, picture))


def page(made: Tables, picture: Path | None) -> str:
    """The page in Markdown."""
    request = made.request
    seeds = " ".join(map(str, request.seeds))
    lines = [
        "# Boosting with the joint classifier–discriminator",
        "",
        f"P2's tables on the generators that come along. Fréchet distance to {request.data_name}'s training images in "
        f"`{request.judge}`'s features, {request.count:,} images per seed, mean ± standard deviation over seeds "
        f"{seeds}; in brackets the gain over the images as they came. **Bold**: below every column to its left by "
        "more than twice the standard error of the difference, seed by seed. P2's own numbers are FIDs at 64 "
        "pixels on ImageNet: only the order of columns can be compared.",
        "",
        f"Written by `{command_line()}`. A dash is not measured yet.",
        "",
    ]
    two = {"1 step": made.consistency.name, "2 steps": made.two_steps}

    def seen(name: str) -> str:
        return ", which the joint model was trained on" if name in made.trained_on else ""

    for part in ("1", "2", "3"):
        if part not in request.only:
            continue
        names = (
            {f"{card.name}{seen(card.name)}": card.name for card in made.others}
            if part == "2"
            else {f"{made.consistency.name}, {steps}": name for steps, name in two.items()}
        )
        columns = COLUMNS[part]
        lines += [f"## {TITLES[part]}", "", f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
        for shown, name in names.items():
            rows = made.measured.get(name, {}).get("rows", {})
            lines.append(f"| {shown} | {' | '.join(cells_of(part, rows))} |")
        lines += [
            f"| *P2: {name}, FID* | {' | '.join(f'*{value:.2f}*' for value in values)} |"
            for name, values in PUBLISHED[part].items()
        ]
        lines += [""]
    lines += _stopping_text(made) + _curve_text(made, picture) + _commands_text(made)
    return with_section("\n".join(lines) + "\n", section(embedded_generators()))


def _stopping_text(made: Tables) -> list[str]:
    if not made.stopping:
        return []
    lines = [
        "## Early stopping",
        "",
        "An image rests once it reads as real, softplus(f_c) ≥ ℓ₀; one that does so from the start comes back bit "
        "for bit. The same images with and without, in turns, median of three.",
        "",
        "| | images | left untouched | mean steps | steps saved | seconds | without | time saved |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in made.stopping.items():
        saved, time_saved = 1 - one["mean_steps"] / one["steps"], 1 - one["seconds"] / one["seconds_without"]
        lines.append(
            f"| {name} | {one['images']} | {one['untouched']:.0%} | {one['mean_steps']:.1f} of {one['steps']} | "
            f"{saved:.0%} | {one['seconds']:.2f} | {one['seconds_without']:.2f} | {time_saved:.0%} |"
        )
    return [*lines, ""]


def _curve_text(made: Tables, picture: Path | None) -> list[str]:
    if not made.curve:
        return []
    lines = [
        "## Quality against time",
        "",
        "More consistency steps, or more PGD steps on one-step images (Eq. 13, no early stop); "
        f"{made.timing['device']}, one PGD step {1e3 * made.timing['pgd_step']:.2f} ms an image. "
        f"{made.request.curve_count:,} images per seed.",
        "",
        "| consistency steps | PGD steps | ms per image | distance |",
        "|---|---|---|---|",
    ]
    for one in made.curve:
        cells = (
            one["consistency_steps"],
            one["pgd_steps"],
            f"{1e3 * one['seconds']:.2f}",
            cell(one["distance"], 1, 3),
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return [*lines, "", *([f"![Quality against time]({picture.name})", ""] if picture else [])]


def _commands_text(made: Tables) -> list[str]:
    commands = [one["command"] for one in made.measured.values()]
    commands += [one["command"] for one in made.curve if one["command"] not in commands]
    if not commands:
        return []
    return [
        "## Commands",
        "",
        "Each gives the rows of one generator:",
        "",
        "```sh",
        *dict.fromkeys(commands),
        "```",
    ]


def measured_before(path: Path) -> dict[str, dict[str, Any]]:
    """The rows that an earlier page's numbers hold, by generator; none where there is no such file, or another kind."""
    try:
        found = parsed_json(path.read_text("utf-8"))["measured"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(one, dict) and "rows" in one for one in found.values())
    return found if whole else {}
