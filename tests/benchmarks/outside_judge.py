"""How boosting is seen by a network that nobody here trained: ε found, and reported, in EfficientNet-Lite0's features.

For every generator and every classifier of its size:

1. the ε of the lowest kernel distance (KID) to held-out real images, on `--sweep-count` images at `--sweep-steps`
   steps, then of `--steps` the fewest within the error bar of the best at that ε;
2. at that ε, on `--count` images of every one of `--seeds`, which are not those of the sweep: Fréchet distance and KID
   to the training images, what as many real test images have (the floor), the gain above it, diversity within classes,
   and beside them the distance and the agreement with the target of the embedded judge; also as the generator's card
   says now, through the standard network and in a random direction, both moved as far image by image;
3. a sheet of ten images: as they came, as the card says now, and at the ε that was found.

`--out` is written after every pair and read again: a run that was stopped goes on where it stood, and its images'
features are kept in `--work`. `--budget` starts no pair that would probably not be done in time. `--plan` only counts.

    python tests/benchmarks/outside_judge.py --data cifar10.npz --out outside.json --sheets sheets
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from bigroc_core.boosting import BoostConfig, boost
from bigroc_core.cards import Card
from bigroc_core.classifiers.registry import boosting_classifiers
from bigroc_core.cli.options import progress_bars
from bigroc_core.engine.exactness import exact_arithmetic
from bigroc_core.evaluation import LITE0_METRICS, Sweep, Trials, cache_folder
from bigroc_core.evaluation.lite0 import DIMENSIONS
from bigroc_core.evaluation.lite0 import KIND as LITE0
from bigroc_core.evaluation.report import as_text, sweep_table
from bigroc_core.experiments.judging import Outside, judge_for, standard_for
from bigroc_core.experiments.measurement import Measured, Measurement, measure
from bigroc_core.experiments.measuring import CONFIG_FIELDS, Beside, Opened, Subject
from bigroc_core.experiments.sweep import Sweeping, sweeps
from bigroc_core.files import write_text
from bigroc_core.generators.pipelines import PipelineSampler
from bigroc_core.generators.registry import embedded_generators, load_generator
from bigroc_core.images import to_uint8
from bigroc_core.sources import DEBIAS_COUNT
from bigroc_core.streams import GENERATOR_PREFIX, ImageStream, generator_stream
from bigroc_core.training.cifar10 import is_cifar10

SHEET_IMAGES, SHEET_SEED, ENLARGED = 10, 0, 3


@dataclass(frozen=True)
class Pair:
    """A generator and a classifier that boosts its images."""

    generator: Card
    classifier: Card

    @property
    def name(self) -> str:
        """As the results have it."""
        return f"{self.generator.name} {self.classifier.name}"

    @property
    def start(self) -> BoostConfig:
        """How it is boosted but for ε and T: as P1, or where the classifier knows realism as P2."""
        return BoostConfig() if self.classifier.l0 is None else BoostConfig(loss="combined", stop_at="l0")

    @property
    def preset(self) -> BoostConfig | None:
        """What the generator's card says now, if anything."""
        if not (preset := self.generator.preset_for(self.classifier.name)):
            return None
        return BoostConfig(**{name: preset[name] for name in CONFIG_FIELDS if preset.get(name) is not None})

    def subject(self, options: argparse.Namespace) -> dict[str, Any]:
        """The fields of a Subject."""
        small = self.generator.input_size == (32, 32)
        data = next((path for path in options.data if is_cifar10(path) == small), None)
        return {
            "images": f"{GENERATOR_PREFIX}{self.generator.name}",
            "classifier": self.classifier.name,
            "debias": 0 if self.generator.conditional else min(DEBIAS_COUNT, options.debias),
            # CIFAR-10 is found as $BIGROC_DATA, and is then known to be what the statistics beside its judge are of.
            "data": None if small else data,
            "run": options.work / self.name.replace(" ", "-"),
        }

    def sweeping(self, options: argparse.Namespace) -> Sweeping:
        """The first part."""
        config = dataclasses.replace(self.start, eps=max(options.eps), steps=options.sweep_steps)
        return Sweeping(
            **self.subject(options),
            configs=(config,),
            chooser=LITE0,
            count=options.sweep_count,
            seeds=tuple(options.sweep_seeds),
            trials=Trials(tuple(options.eps), tuple(options.steps)),
        )

    def measurement(self, options: argparse.Namespace, config: BoostConfig) -> Measurement:
        """The second part, at the settings that the first found."""
        standard = standard_for(self.classifier)
        beside = [Beside.of("", self.preset)] if self.preset is not None and not options.no_preset else []
        subject = self.subject(options)
        # With a few images, to try this out, there is no covariance in 1,280 dimensions.
        metrics = LITE0_METRICS if options.count > DIMENSIONS else tuple(m for m in LITE0_METRICS if m != "fd-lite0")
        return Measurement(
            **subject | {"run": subject["run"] / "report"},
            config=config,
            count=options.count,
            seeds=tuple(options.seeds),
            control=standard,
            random_direction=True,
            beside=tuple(beside),
            judge=judge_for(self.classifier),
            references=("train",),
            outside=Outside(metrics=metrics),
            floor="test",
        )


def pairs_of(options: argparse.Namespace) -> Iterator[Pair]:
    """Every wanted generator with every wanted classifier of its size and classes; ValueError for unknown names."""
    generators, classifiers = embedded_generators(), boosting_classifiers()
    known = {**generators, **classifiers}
    if unknown := [name for name in (*options.generators, *options.classifiers) if name not in known]:
        raise ValueError(f"there is no embedded {unknown[0]!r}; there are {', '.join(known)}")
    for name in options.generators:
        for other in options.classifiers:
            pair = Pair(generators[name], classifiers[other])
            named = not pair.generator.conditional or pair.generator.classes == pair.classifier.classes
            if pair.generator.input_size == pair.classifier.input_size and named:
                yield pair


def cost(options: argparse.Namespace, pair: Pair) -> dict[str, int]:
    """Passes forward and back through a boosting network, and images that EfficientNet-Lite0 reads, without references.

    T found is taken to be --sweep-steps.
    """
    swept = len([eps for eps in options.eps if eps]) * options.sweep_steps
    swept += sum(steps for steps in options.steps if steps != options.sweep_steps)
    beside = pair.preset.steps if pair.preset is not None and not options.no_preset else 0
    report = 2 * options.sweep_steps + beside
    tries = len(options.eps) + len([steps for steps in options.steps if steps != options.sweep_steps])
    images, reported = options.sweep_count * len(options.sweep_seeds), options.count * len(options.seeds)
    return {
        "passes": images * swept + reported * report,
        "read": images * tries + reported * (4 + bool(beside)),
    }


def drawn_once(opened: Opened) -> Opened:
    """The same images, drawn where everything else is computed, in float32, and kept for every stage that asks.

    One generator's are kept at a time: about 100 MiB.
    """
    device, name = torch.device(opened.device), opened.stream.name
    return dataclasses.replace(opened, stream=_kept_stream(name, device))


@functools.lru_cache(maxsize=1)
def _kept_stream(name: str, device: torch.device) -> ImageStream:
    generator = load_generator(name.removeprefix(GENERATOR_PREFIX), device)
    if isinstance(generator.sampler, PipelineSampler):
        generator.sampler.pipeline.to(torch.float32)  # which on a GPU it is not by itself
    stream = generator_stream(generator)

    @functools.cache
    def draw(seed: int, start: int, count: int) -> tuple[Tensor, Tensor | None]:
        with exact_arithmetic(device):
            return stream.draw(seed, start, count)

    return dataclasses.replace(stream, name=name, identity=name, draw=draw)


def carried_out(pair: Pair, options: argparse.Namespace) -> tuple[Sweep, Measured, Opened, dict[str, float]]:
    """Both parts, with the seconds of each."""
    progress = None if options.quiet else progress_bars()
    began = time.perf_counter()
    sweeping = pair.sweeping(options)
    opened = drawn_once(sweeping.opened(options.device))
    (swept,) = sweeps(sweeping, opened, progress)
    swept_after = time.perf_counter()
    measured = measure(pair.measurement(options, swept.chosen), opened, progress)
    done = time.perf_counter()
    return swept, measured, opened, {"sweep": swept_after - began, "report": done - swept_after}


def sheet(pair: Pair, chosen: BoostConfig, opened: Opened, subject: Subject) -> Image.Image:
    """Ten images in rows: as they came, as the card says now (if it does), as was chosen."""
    images, labels = opened.stream.draw(SHEET_SEED, 0, SHEET_IMAGES)
    debias = opened.shift(subject)
    rows = [images]
    for config in filter(None, [pair.preset, chosen]):
        rows.append(boost(opened.classifier, images, labels, config=config, debias=debias).images)
    return _tiled(torch.stack(rows))


def _tiled(rows: Tensor) -> Image.Image:
    """Rows of images (R, N, 3, H, W) as one picture."""
    levels = torch.stack([torch.from_numpy(to_uint8(row)) for row in rows])  # (R, N, H, W, 3)
    count, columns, height, width, _ = levels.shape
    whole = levels.permute(0, 2, 1, 3, 4).reshape(count * height, columns * width, 3)
    picture = Image.fromarray(whole.numpy())
    return picture.resize((picture.width * ENLARGED, picture.height * ENLARGED), Image.Resampling.NEAREST)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What decides the numbers: results of other settings are not taken for those of these."""
    names = ("eps", "steps", "sweep_steps", "sweep_count", "sweep_seeds", "count", "seeds", "debias")
    return {name: getattr(options, name) for name in names}


def earlier(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The pairs that an earlier run left; ValueError where they are of other settings."""
    if not path.exists():
        return {}
    told = json.loads(path.read_text("utf-8"))
    if told.get("settings") != settings:
        raise ValueError(f"{path} holds results of other settings; give another --out, or remove it")
    found: dict[str, Any] = told["pairs"]
    return found


def run(options: argparse.Namespace) -> None:
    """All pairs, the results written after each."""
    began, last = time.monotonic(), 0.0
    settings = settings_of(options)
    pairs, found = list(pairs_of(options)), earlier(options.out, settings)
    for number, pair in enumerate(pairs, 1):
        if pair.name in found:
            continue
        if options.budget and time.monotonic() - began + last > options.budget:
            print(f"stopped before {pair.name}: {options.budget:g} seconds would not do; the same command goes on")
            break
        started = time.monotonic()
        swept, measured, opened, seconds = carried_out(pair, options)
        picture = sheet(pair, swept.chosen, opened, measured.asked)
        if options.sheets is not None:
            options.sheets.mkdir(parents=True, exist_ok=True)
            picture.save(options.sheets / f"{pair.name.replace(' ', '-')}.png")
        found[pair.name] = {
            "generator": pair.generator.name,
            "classifier": pair.classifier.name,
            "preset_before": pair.preset.settings() if pair.preset is not None else None,
            "sweep": swept.to_dict(),
            "report": measured.to_dict(),
            "seconds": seconds,
        }
        told = {"settings": settings, "device": device_name(options.device), "pairs": found}
        write_text(options.out, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        last = time.monotonic() - started
        print(f"[{number}/{len(pairs)}] {pair.name}, {seconds['sweep']:.1f} + {seconds['report']:.1f} s")
        print(f"{sweep_table(swept)}\n{as_text(measured.found)}\n", flush=True)


def device_name(device: torch.device) -> str:
    """What a person calls it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generators", nargs="+", default=sorted(embedded_generators()))
    parser.add_argument(
        "--classifiers", nargs="+", default=sorted(n for n, card in boosting_classifiers().items() if card.robust)
    )
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="CIFAR-10, and others for other sizes")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON")
    parser.add_argument("--sheets", type=Path, metavar="DIR")
    parser.add_argument("--work", type=Path, default=Path("runs") / "outside-judge", metavar="DIR")
    parser.add_argument("--budget", type=float, help="seconds")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    grid = [0.3, 0.5, 0.8, 1.2, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0]
    parser.add_argument("--eps", type=float, nargs="+", default=[0.0, *grid])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 3, 5, 10, 20])
    parser.add_argument("--sweep-steps", type=int, default=10)
    parser.add_argument("--sweep-count", type=int, default=500)
    parser.add_argument("--sweep-seeds", type=int, nargs="+", default=[1000])
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--debias", type=int, default=DEBIAS_COUNT, help="images that P1 Eq. 2 is fitted to, at most")
    parser.add_argument("--no-preset", action="store_true", help="without the row of the card's present preset")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--plan", action="store_true", help="say what it takes, and do nothing")
    options = parser.parse_args()
    options.device = torch.device(options.device)
    for path in filter(is_cifar10, options.data):
        os.environ["BIGROC_DATA"] = str(path)
    return options


def main() -> None:
    """Measure, or say what it would take."""
    options = parsed()
    if options.plan:
        for pair in pairs_of(options):
            print(pair.name, cost(options, pair))
        print(f"and once, into {cache_folder()}: EfficientNet-Lite0 reads the training, validation and test images")
        return
    run(options)


if __name__ == "__main__":
    main()
