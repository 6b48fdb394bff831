"""What cards keep of measurements in EfficientNet-Lite0's features, as tables in Markdown."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bigroc_core.cards import Card
from bigroc_core.evaluation import ERRORS, Evaluation, Metric, Row
from bigroc_core.evaluation.comparison import RANDOM_DIRECTION
from bigroc_core.evaluation.report import cell

HEADING = "## As a network sees it that nobody here trained"
FRECHET, KERNEL, DIVERSITY, JUDGES = "fd-lite0", "kid-lite0", "diversity-lite0", "distance"
STANDARD = "-standard, same ‖δ‖"
# P1's relative gains in FID at its own ε, of the generators of the same kind.
PUBLISHED = {
    "cifar10-cgan": 33.2,
    "cifar10-cgan-pd": 19.4,
    "cifar10-dcgan": 21.9,
    "cifar10-ssgan": 28.4,
    "cifar10-vae": 41.7,
}


@dataclass(frozen=True)
class Kept:
    """A measurement that a generator's card keeps: of boosting through this classifier. command: what measured it.
    recommended: the ε of the card's preset for this classifier, None without one."""

    generator: str
    classifier: str
    found: Evaluation
    command: str
    recommended: float | None

    @property
    def strength(self) -> str:
        """ε and T, and the preset's ε where that is another."""
        config = self.found.config
        other = self.recommended is not None and self.recommended != config.eps
        return f"{config.eps:g}, {config.steps}" + (f" (recommended: ε {self.recommended:g})" if other else "")

    def metric(self, name: str) -> Metric:
        """The metric of this name, to the first reference."""
        return next(metric for metric in self.found.metrics if metric.name == name)

    def row(self, ending: str) -> Row | None:
        """The row whose name ends so, if there is one."""
        return next((row for row in self.found.rows if row.name.endswith(ending)), None)

    def above_floor(self, row: Row | None, name: str) -> str:
        """A row's gain above the floor, in per cent; "–" without one."""
        gains = self.found.gains_above_floor(row, self.metric(name)) if row is not None else None
        return "–" if gains is None else f"{cell(gains, 100, 1)} %"

    def agreement(self, row: Row | None) -> str:
        """How often the judge gives a row's images the class they should have, in per cent; "–" without the row."""
        return "–" if row is None else f"{cell([1 - one for one in row.scores[ERRORS]], 100, 1)} %"


def kept(cards: Mapping[str, Card]) -> Iterator[Kept]:
    """All that cards keep of this kind."""
    for name, card in cards.items():
        for entry, told in card.metrics.items():
            if entry.partition(" ")[0] != "evaluate":
                continue
            found = Evaluation.from_dict(told)
            if found.floor is not None and any(metric.name == FRECHET for metric in found.metrics):
                through = str(told["classifier"])
                yield Kept(name, through, found, str(told["command"]), card.preset_for(through).get("eps"))


def gains_table(cards: Mapping[str, Card]) -> list[str]:
    """A line per generator and classifier: distances, the floor, the gain above it, and what the judge says."""
    lines = [
        "| | through | ε, T | as they came | boosted | real test images | gain above these | KID × 1000 | diversity | "
        "gain in the judge's features | judge agrees with the target | P1's gain (FID) |",
        f"|{'---|' * 12}",
    ]
    for one in kept(cards):
        found, (before, after) = one.found, one.found.rows[:2]
        frechet, kernel, diversity = one.metric(FRECHET), one.metric(KERNEL), one.metric(DIVERSITY)
        assert found.floor is not None
        cells = [
            f"`{one.generator}`",
            f"`{one.classifier}`",
            one.strength,
            *(cell(row.scores[frechet], 1, 1) for row in (before, after, found.floor)),
            f"**{one.above_floor(after, FRECHET)}**",
            " → ".join(cell(row.scores[kernel], 1000, 1) for row in (before, after)),
            " → ".join(cell(row.scores[diversity], 1, 2) for row in (before, after)),
            one.above_floor(after, JUDGES),
            " → ".join(one.agreement(row) for row in (before, after)),
            f"{PUBLISHED[one.generator]} %" if one.generator in PUBLISHED else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def controls_table(cards: Mapping[str, Card]) -> list[str]:
    """A line per generator and classifier: what other ways of moving as far do to distance and agreement."""
    lines = [
        "| | through | boosted: gain | agreement | standard network, same ‖δ‖: gain | agreement | "
        "random direction, same ‖δ‖: gain | agreement |",
        f"|{'---|' * 8}",
    ]
    for one in kept(cards):
        controls = (one.found.rows[1], one.row(STANDARD), one.row(RANDOM_DIRECTION))
        cells = [f"`{one.generator}`", f"`{one.classifier}`"]
        for row in controls:
            cells += [one.above_floor(row, FRECHET), one.agreement(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def section(cards: Mapping[str, Card]) -> list[str]:
    """Both tables with what they mean and the commands behind them, as lines; none where no card keeps such numbers."""
    commands = [one.command for one in kept(cards)]
    if not commands:
        return []
    first = next(kept(cards)).found
    seeds = " ".join(map(str, first.seeds))
    return [
        HEADING,
        "",
        f"Fréchet distance and KID to the training images in the 1,280 features of EfficientNet-Lite0, an ImageNet "
        f"network, {first.count:,} images per seed, mean ± standard deviation over seeds {seeds}. As many real test "
        "images are not at distance 0 (the floor), so gains are those of what lies above it. ε and T were chosen by "
        "KID on other seeds and against held-out images. Diversity: mean distance of two images of one class.",
        "",
        *gains_table(cards),
        "",
        f"`{first.judge}` is small, trained on these 32-pixel images, lightly adversarially at that: what it looks for "
        "is what a robust classifier paints, and it is content after a smaller change, which is why ε chosen in such "
        "features came out smaller. The ImageNet network was trained to tell photographs apart and never saw an "
        "attack; it keeps on gaining at radii where the other finds too much.",
        "",
        "The same in other directions, moved as far image by image. "
        + _of_the_standard_control(cards)
        + "The judge's agreement with the target, beside the gain, tells the two apart.",
        "",
        *controls_table(cards),
        "",
        *_preferred(cards),
        "Each command gives the line of one generator and classifier:",
        "",
        "```sh",
        *dict.fromkeys(commands),
        "```",
        "",
    ]


def _of_the_standard_control(cards: Mapping[str, Card]) -> str:
    """Where boosting through the standard network brings images nearer, too."""
    nearer = []
    for one in kept(cards):
        row = one.row(STANDARD)
        gains = one.found.gains_above_floor(row, one.metric(FRECHET)) if row is not None else None
        if gains is not None and statistics.fmean(gains) > 0:
            nearer.append(f"`{one.generator}` (moved as far as `{one.classifier}` moves it)")
    if not nearer:
        return ""
    return (
        f"Through a standard network the distance falls, too, for {', '.join(nearer)}: by texture, most of which a "
        "person does not see. "
    )


def _preferred(cards: Mapping[str, Card]) -> list[str]:
    """Presets whose ε is not the one that the number alone would have, and why."""
    lines = []
    for name, card in cards.items():
        for entry, preset in card.presets.items():
            if entry not in ("subtle", "strong") and preset.get("note"):
                through = preset["classifier"]
                lines.append(f"- `{name}` through `{through}`: recommended is ε {preset['eps']:g}. {preset['note']}.")
    return ["Where eye and number disagree, the smaller ε is recommended:", "", *lines, ""] if lines else []


def with_section(page: str, lines: list[str]) -> str:
    """A page in Markdown with this section in the place of the one that it has, else at its end."""
    text = "\n".join(lines)
    parts = re.split(rf"^{re.escape(HEADING)}\n.*?(?=^## |\Z)", page, maxsplit=1, flags=re.DOTALL | re.MULTILINE)
    if len(parts) == 1:
        return f"{page.rstrip()}\n\n{text}".rstrip() + "\n"
    return f"{parts[0]}{text}\n{parts[1]}".rstrip() + "\n"


def between_marks(page: str, name: str, lines: list[str]) -> str:
    """A page with these lines between its comments <!-- NAME --> and <!-- /NAME -->; ValueError where it lacks them."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if page.count(start) != 1 or page.count(end) != 1 or page.index(start) > page.index(end):
        raise ValueError(f"the page has not one {start} before one {end}")
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    body = "\n".join(lines)
    return f"{before}{start}\n\n{body}\n\n{end}{after}"
