"""A card for people: what a model is, how it was trained and what was measured, as Markdown; and as the Hub has it."""

from __future__ import annotations

import math
from typing import Any

from safetensors import safe_open

from bigroc_core.cards import Card, weights_of

MIB = 2**20
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
HUB_TAGS = ("bigroc", "adversarial-robustness", "image-generation")
HUB_CLASSIFIER = """Boosts generated images: images in [0, 1] are moved along its gradients towards their classes.

```python
import bigroc_core as bc
from bigroc_core.hub import HubModel

classifier = HubModel.from_pretrained("OWNER/REPOSITORY").model
result = bc.boost(classifier, images, labels, bc.BoostConfig(eps=1.0, steps=30))
```
"""
HUB_GENERATOR = """Draws images whose number and seed say what they are, to be boosted with a robust classifier.

```python
from bigroc_core.hub import HubModel

generator = HubModel.from_pretrained("OWNER/REPOSITORY").model
images, labels = generator.sample(16, seed=0)
```
"""


def parameters_of(name: str) -> int:
    """How many numbers the weights of an embedded model are, those that were not trained left out."""
    count = 0
    for path in weights_of(name):
        with safe_open(path, "pt") as file:
            count += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys() if not key.endswith(BUFFERS))  # noqa: SIM118
    return count


def mebibytes_of(name: str) -> float:
    """How much the files of an embedded model's weights hold."""
    return sum(path.stat().st_size for path in weights_of(name)) / MIB


def accuracy(card: Card) -> tuple[str, str] | None:
    """Clean accuracy and that under PGD in per cent, as `evaluate-classifier` measured them, or None."""
    measured = card.metrics.get("evaluate-classifier")
    return (f"{measured['clean']:.1%}", f"{measured['pgd']:.1%}") if measured else None


def distances(card: Card) -> list[tuple[str, str, str]]:
    """A generator's images as they came and boosted, each with its Fréchet distance and gain; [] if not measured."""
    rows: list[dict[str, Any]] = card.metrics.get("evaluate", {}).get("rows", [])
    shown = []
    for row in rows:
        score = next((one for one in row["scores"] if one["metric"] == "distance"), None)
        if score is not None:
            gain = f"{_spread(score['gain'], 100, 1)} %" if score["gain"]["mean"] else "–"
            shown.append((row["images"], _spread(score, 1, 3), gain))
    return shown


def _spread(score: dict[str, Any], factor: float, digits: int) -> str:
    std = f" ± {factor * score['std']:.{digits}f}" if score.get("std") is not None else ""
    return f"{factor * score['mean']:.{digits}f}{std}"


def markdown(card: Card) -> str:
    """What a card says, for people: network, data, licence, how it was trained, what was measured by which command."""
    arguments = ", ".join(f"{name} {value}" for name, value in card.arguments.items() if not isinstance(value, dict))
    network = f"{card.architecture}{f' ({arguments})' if arguments else ''}"
    lines = [f"{card.title or card.name}: {network}, images of {card.input_size[0]}×{card.input_size[1]} pixels."]
    known = {"Classes": ", ".join(card.classes), "Data": card.data, "Source": card.source, "Licence": card.license}
    lines += ["", *(f"- {name}: {text}" for name, text in known.items() if text)]
    if command := card.training.get("command"):
        lines += ["", "Trained by", "", *_code(command)]
    if measured := card.metrics.get("evaluate-classifier"):
        clean, pgd = accuracy(card) or ("", "")
        eps = measured["protocol"]["eps"]
        said = f"Accuracy on {measured['images']:,} test images: {clean} clean, {pgd} under L2 PGD with ε = {eps:g}"
        if attacked := measured.get("autoattack"):
            said += f"; on the first {attacked['images']:,} {attacked['accuracy']:.1%} under AutoAttack with that ε"
        said += ", by"
        lines += ["", said, "", *_code(measured["command"])]
    if rows := distances(card):
        measured = card.metrics["evaluate"]
        lines += [
            "",
            f"Fréchet distance to real images in {measured['distances_and_errors_of']}'s features (not FID), "
            f"{measured['count']:,} images, mean ± standard deviation over {len(measured['seeds'])} seeds, and gain:",
            "",
            "| images | distance | gain |",
            "|---|---|---|",
            *(f"| {name} | {distance} | {gain} |" for name, distance, gain in rows),
            "",
            "Measured by",
            "",
            *_code(measured["command"]),
        ]
    return "\n".join(lines) + "\n"


def _code(command: str) -> list[str]:
    return ["```sh", command, "```"]


def hub_card(card: Card) -> str:
    """The README of a model's repository on the Hugging Face Hub: metadata as the Hub reads it, then `markdown`."""
    from huggingface_hub import EvalResult, ModelCardData

    measured = card.metrics.get("evaluate-classifier")
    data = {"CIFAR-10": "uoft-cs/cifar10", "Imagenette": "frgfm/imagenette"}
    dataset = next((name for name in data if name in card.data), None)
    accuracies = {"accuracy": measured["clean"], "accuracy under L2 PGD": measured["pgd"]} if measured else {}
    if measured and (attacked := measured.get("autoattack")):
        accuracies[f"accuracy under AutoAttack, L2, {attacked['images']} images"] = attacked["accuracy"]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=data.get(dataset or "", "imagefolder"),
            dataset_name=dataset or card.data or "class folders",
            metric_type="accuracy",
            metric_name=name,
            metric_value=round(value, 4),
        )
        for name, value in accuracies.items()
    ]
    classifier = card.kind == "classifier"
    metadata = ModelCardData(
        license=(card.license or "other").lower(),
        library_name="bigroc",
        pipeline_tag="image-classification" if classifier else "unconditional-image-generation",
        datasets=[data[dataset]] if dataset else None,
        tags=[*HUB_TAGS, *(["robust"] if card.robust else [])],
        model_name=card.name if results else None,
        eval_results=results or None,
    )
    use = HUB_CLASSIFIER if classifier else HUB_GENERATOR
    return f"---\n{metadata.to_yaml()}\n---\n\n# {card.name}\n\n{markdown(card)}\n## Use\n\n{use}"
