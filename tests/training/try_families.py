"""Train every family for a few steps on real CIFAR-10 and report what became of each.

    PYTHONPATH=. python tests/training/try_families.py OUT [FAMILY …] [--steps 200]

Needs the data (BIGROC_DATA or --data). Per family: the losses' range, the range of the critic's outputs on real and
generated images, and the Fréchet distance of 1,000 generated images to the training images in `cifar10-judge`'s
features, before the first step and after the last. Both networks learn at the same rate: with the critic twice as fast,
as in long trainings, DCGAN's generator is at times left behind for longer than so few steps. OUT/FAMILY holds a sheet
of samples. Exits with status 1 if a number is not finite, an output is beyond ±100 or a distance did not fall.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path

import torch

import bigroc_core as bc
from bigroc_core.evaluation import ClassifierFeatures, frechet_distance
from bigroc_core.evaluation.features import embeddings
from bigroc_core.evaluation.references import embedded_statistics
from bigroc_core.evaluation.statistics import FeatureStatistics, feature_statistics
from bigroc_core.generators.sampling import Generator
from bigroc_core.images.splits import Splits
from bigroc_core.training.cifar10 import load_cifar10
from bigroc_core.training.families import FAMILIES, VAE, build_critic
from bigroc_core.training.generator import GeneratorRecipe, train_generator

IMAGES, BOUND = 1_000, 100.0


def statistics(generator: Generator, extractor: ClassifierFeatures) -> FeatureStatistics:
    batches = (generator.sample(100, seed=1, start=start)[0] for start in range(0, IMAGES, 100))
    return feature_statistics(embeddings(extractor, batches))


def critic_range(recipe: GeneratorRecipe, splits: Splits, generator: Generator, folder: Path) -> tuple[float, float]:
    """The least and greatest output of the trained critic on 200 real and 200 generated images."""
    family = FAMILIES[recipe.family]
    critic = build_critic(family, recipe.discriminator_width, len(generator.classes), recipe.auxiliary > 0).eval()
    critic.load_state_dict(torch.load(folder / "state.pt", weights_only=True)["critic"])
    images, labels = generator.sample(200, seed=2)
    real = splits.validation.subset(slice(0, 200))
    with torch.inference_mode():
        told = real.labels if family.conditional else None
        outputs = [critic(real.floats(slice(0, 200)) * 2 - 1, told), critic(images * 2 - 1, labels)]
    values = torch.cat([output.realism for output in outputs])
    return float(values.min()), float(values.max())


def attempt(recipe: GeneratorRecipe, splits: Splits, folder: Path) -> bool:
    judge = bc.load_classifier("cifar10-judge")
    extractor, reference = ClassifierFeatures(judge), embedded_statistics(judge, "train")
    assert reference is not None
    before = statistics(_untrained(recipe, splits, folder / "untrained"), extractor)
    trained = train_generator(recipe, splits, folder, "try_families", save_minutes=0.2)
    distances = [frechet_distance(s, reference) for s in (before, statistics(trained, extractor))]
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    losses = [value for line in log for name, value in line.items() if name not in ("step", "seconds")]
    low, high = critic_range(recipe, splits, trained, folder) if recipe.family in FAMILIES else (0.0, 0.0)
    good = all(map(math.isfinite, [*losses, low, high, *distances])) and max(-low, high) <= BOUND
    good = good and distances[1] < distances[0]
    print(
        f"{recipe.family:20} loss {min(losses):8.2f} to {max(losses):8.2f}  critic {low:7.2f} to {high:7.2f}  "
        f"distance {distances[0]:7.2f} -> {distances[1]:7.2f}  {'good' if good else 'BAD'}",
        flush=True,
    )
    return good


def _untrained(recipe: GeneratorRecipe, splits: Splits, folder: Path) -> Generator:
    """The generator as its training begins, of the same seed."""
    one_step = dataclasses.replace(recipe, steps=1, lr_generator=0.0, lr_discriminator=0.0)
    return train_generator(one_step, splits, folder, "try_families")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="default: all")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    splits = load_cifar10(options.data)
    good = True
    for family in options.families or [*FAMILIES, VAE]:
        small = {"dcgan": {}, "resnet32": {"width": 64}, "biggan": {"width": 16}}
        architecture = FAMILIES[family].architecture if family in FAMILIES else "dcgan"
        recipe = GeneratorRecipe(
            name=f"tried-{family}",
            family=family,
            arguments=small[architecture],
            discriminator_width=32,
            steps=options.steps,
            batch_size=32,
            lr_generator=4e-4,
            lr_discriminator=4e-4,
            precision="fp32",
            auxiliary=1.0 if family == "cgan" else 0.0,
            ema=0.9,
        )
        good &= attempt(recipe, splits, options.out / family)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
