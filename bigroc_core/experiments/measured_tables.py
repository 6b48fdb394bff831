"""P2's tables as they were measured: the numbers that `tables` keeps beside its page, and what stands in each cell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigroc_core.evaluation.comparison import mean_and_std
from bigroc_core.evaluation.report import cell
from bigroc_core.files import parsed_json
from bigroc_core.places import HOME

# FIDs that P2 prints: none, robust classifier, non-robust joint, robust joint (Table 1); none, robust classifier, joint
# (Table 2); CE, BCE, Eq. 12, Eq. 13 (Table 3).
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "1": {
        "CT, 1 step": (13.00, 10.71, 12.30, 9.60),
        "CT, 2 steps": (11.12, 9.65, 11.28, 8.51),
        "CD, 1 step": (6.20, 5.55, 6.33, 4.95),
        "CD, 2 steps": (4.69, 4.20, 4.66, 3.84),
    },
    "2": {"ADM": (2.61, 2.40, 2.31), "BigGAN": (4.06, 3.92, 3.83), "iDDPM": (2.92, 2.67, 2.55)},
    "3": {
        "CT, 1 step": (10.78, 9.75, 9.71, 9.60),
        "CT, 2 steps": (10.26, 8.59, 8.62, 8.51),
        "CD, 1 step": (5.51, 5.00, 5.10, 4.95),
        "CD, 2 steps": (4.17, 3.89, 4.97, 3.84),
    },
}
COLUMNS = {
    "1": ("none", "robust classifier", "non-robust joint", "robust joint"),
    "2": ("none", "robust classifier", "robust joint"),
    "3": ("CE", "BCE", "Eq. 12", "Eq. 13"),
}
TITLES = {
    "1": "Table 1: consistency models",
    "2": "Table 2: other generators, without training again",
    "3": "Table 3: what is minimised",
}
# Of Table 3, whose rows they are.
ABLATION = {"CE": "ce", "BCE": "bce", "Eq. 12": "ce-bce", "Eq. 13": "robust joint"}
# Where `tables` writes them unless it is told otherwise; and those that come along.
RESULTS = "RESULTS.json"


def results_at() -> Path | None:
    """The results at hand: in the current folder, else those that come along; None where there are none."""
    return next((path for path in (Path(RESULTS), HOME / RESULTS) if path.is_file()), None)


def results_in(path: Path | None) -> dict[str, Any]:
    """What `tables` wrote. ValueError for anything else."""
    if path is None:
        raise ValueError(f"there is no {RESULTS} here: `python -m bigroc_core tables` measures and writes it")
    try:
        results = parsed_json(path.read_text("utf-8"))
        if not isinstance(results["measured"], dict) or not isinstance(results["curve"], list):
            raise ValueError("its parts are of other kinds")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not what `tables` writes beside its page: {error}") from None
    return dict(results)


def rows_of(part: str, results: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """A table's rows: how the generator is called, and its cells. part: "1", "2" or "3"."""
    measured = results["measured"]
    consistency = [name for name, one in measured.items() if "ce" in one["rows"]]
    if part == "2":
        named = {name: name for name in measured if name not in consistency}
    else:
        # One step is the model's own name; others are asked for behind it.
        named = {
            f"{name.partition('?')[0]}, {2 if '?' in name else 1} step{'s' if '?' in name else ''}": name
            for name in sorted(consistency)
        }
    return [(shown, cells_of(part, measured[name]["rows"])) for shown, name in named.items()]


def judge_of(results: Mapping[str, Any]) -> str:
    """In whose features the distances are, as the commands say."""
    for one in results["measured"].values():
        words = shlex.split(one["command"])
        if "--judge" in words[:-1]:
            return words[words.index("--judge") + 1]
    return "the judge"


def cells_of(part: str, rows: Mapping[str, Any]) -> list[str]:
    """The cells of a generator's rows in a table, by column."""
    return cells([rows.get(ABLATION.get(column, column)) for column in COLUMNS[part]], first=part != "3")


def cells(rows: Sequence[dict[str, Any] | None], first: bool) -> list[str]:
    """A table's cells; bold where below every one to the left beyond the error bar. first: whether the first is the
    images as they came, which gain nothing."""
    texts: list[str] = []
    for place, row in enumerate(rows):
        if row is None:
            texts.append("–")
            continue
        text = cell(row["distance"], 1, 3)
        if place or not first:
            text += f" ({cell(row['gain'], 100, 1)} %)"
        before = [other for other in rows[:place] if other is not None]
        if before and all(clearly_below(row["distance"], other["distance"]) for other in before):
            text = f"**{text}**"
        texts.append(text)
    return texts


def clearly_below(values: Sequence[float], others: Sequence[float]) -> bool:
    """Whether the mean of the differences, seed by seed, is below zero by more than twice its standard error."""
    differences = [a - b for a, b in zip(values, others, strict=True)]
    mean, std = mean_and_std(differences)
    return mean is not None and std is not None and mean + 2 * std / len(differences) ** 0.5 < 0
