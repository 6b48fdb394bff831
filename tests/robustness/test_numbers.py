"""Numbers that no reader has room for: of 400 digits, more than a float holds; of 5,000, more than Python writes out.

Wherever a number is read, such a one gets that reader's own sentence, short and printable.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch
from starlette.datastructures import QueryParams
from test_recipes_fuzz import RECIPES

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import read_card
from bigroc_core.experiments.boost import BoostRequest
from bigroc_core.experiments.debias import DebiasRequest
from bigroc_core.experiments.evaluate import EvaluateRequest
from bigroc_core.experiments.interpolate import InterpolateRequest
from bigroc_core.figures.recipe import from_json
from bigroc_core.figures.requests import FigureRequest
from bigroc_core.generators.pipelines import parse_settings
from bigroc_core.images.dataset_json import read_dataset_json
from bigroc_core.models_file import read_models
from bigroc_core.settings import Request, hints
from bigroc_core.ui import links
from bigroc_core.ui.forms import control, shared_names

# Any text may stand there; what it names is looked for when it is wanted.
TEXTS = ("file", "source_file", "target_file", "source_class", "target_class", "pairs")
HUGE = {"400 digits": "9" * 400, "5,000 digits": "9" * 5_000}


def number(digits: str) -> int:
    """As a program hands it over, which writes out no more than 4,300 digits."""
    return 10 ** len(digits) - 1


def refusal_of(read: Callable[[], Any]) -> str:
    with pytest.raises(ValueError) as refused:
        read()
    said = str(refused.value)
    assert said.isprintable()
    assert len(said) < 700, said
    assert "Exceeds the limit" not in said
    assert "int too large" not in said
    return said


@pytest.mark.parametrize("digits", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("text", ["{}", "[{}]", "-{}", '{{"a": {}}}'])
def test_in_files(digits: str, text: str, tmp_path: Path) -> None:
    value = text.format(digits)
    card = '{"name": "c", "kind": "classifier", "architecture": "resnet9", "%s": %s}'
    for entry in ("l0", "mean", "input_size", "training", "metrics", "presets", "arguments"):
        (tmp_path / "c.json").write_text(card % (entry, value), "utf-8")
        refusal_of(lambda: read_card(tmp_path / "c.json"))
    refusal_of(lambda: read_dataset_json(f'{{"labels": [["a.png", {value}]]}}'.encode(), ["a.png"], "set"))
    refusal_of(lambda: read_dataset_json(f'{{"labels": {value}}}'.encode(), ["a.png"], "set"))
    if "{" not in value:
        for entry in ("l0", "classes", "input_size", "mean", "preset"):
            (tmp_path / "models.toml").write_text(f'[[classifier]]\nname = "a"\nsource = "a.pt"\n{entry} = {value}\n')
            refusal_of(lambda: read_models(tmp_path / "models.toml"))


@pytest.mark.parametrize("digits", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.figure)
def test_in_recipes(digits: str, recipe: Any) -> None:
    """In the place of every number of a recipe, however deep."""

    def places(value: Any) -> list[tuple[Any, Any]]:
        keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        return [place for key in keys for place in ((value, key), *places(value[key]))]

    told = json.loads(recipe.to_json())
    numbers = [place for place in places(told) if isinstance(place[0][place[1]], int | float)]
    assert numbers
    for parent, key in numbers:
        before, parent[key] = parent[key], "HERE"
        text = json.dumps(told).replace('"HERE"', digits)
        parent[key] = before
        refusal_of(lambda text=text: from_json(text))


@pytest.mark.parametrize("digits", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize(
    "request_class", [BoostRequest, DebiasRequest, EvaluateRequest, InterpolateRequest, FigureRequest]
)
def test_in_settings_and_links(digits: str, request_class: type[Request]) -> None:
    for name in hints(request_class):
        for value in (number(digits), -number(digits), [number(digits)]):
            refusal_of(lambda name=name, value=value: request_class(**{name: value}))
        if name not in TEXTS:
            refusal_of(lambda name=name: request_class(**{name: digits}))
    with gr.Blocks():
        controls = {name: control(request_class, name) for name in shared_names(request_class)}
    for name, one in controls.items():
        values, problems = links.read(QueryParams({name: digits}), {name: one})
        if problems:
            refusal_of(lambda problems=problems: _raise(problems[0]))
        else:  # a text, which its tab judges
            assert values == {name: digits}


def _raise(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("digits", HUGE.values(), ids=HUGE)
def test_from_python(digits: str) -> None:
    value, images = number(digits), torch.rand(2, 3, 8, 8)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))
    for field in dataclasses.fields(BoostConfig):
        for given in (value, -value, [value]):
            refusal_of(lambda field=field, given=given: BoostConfig(**{field.name: given}))
    generator = bc.load_generator("cifar10-cgan")
    for name in ("seed", "start"):
        refusal_of(lambda name=name: generator.sample(1, **{name: value}))
    refusal_of(lambda: generator.sample(value))
    refusal_of(lambda: generator.sample(1, labels=[value]))
    refusal_of(lambda: bc.boost(network, images, [0, value]))
    refusal_of(lambda: bc.boost(network, images, value))
    refusal_of(lambda: bc.boost(network, images, debias=[value, 0, 0]))
    refusal_of(lambda: bc.boost(network, images, mask=np.full((8, 8), value, dtype=object)))
    for option in ("batch_size", "view", "precision"):
        refusal_of(lambda option=option: bc.boost(network, images, **{option: value}))
    refusal_of(lambda: bc.fit_debias(network, images, a=value))
    for option, given in (("fractions", (value,)), ("steps", value), ("weights", (value,))):
        refusal_of(
            lambda option=option, given=given: bc.interpolate(
                network, images, images, **{"features": ["1"], option: given}
            )
        )
    for option, given in (("mean", (value, 0, 0)), ("input_size", value), ("classes", value)):
        refusal_of(lambda option=option, given=given: bc.load_classifier("cifar10-robust", **{option: given}))


@pytest.mark.parametrize("digits", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize(
    "words",
    [
        "boost generator:cifar10-cgan OUT --count N",
        "boost generator:cifar10-cgan OUT --seed N",
        "boost generator:cifar10-cgan OUT --steps N",
        "boost generator:cifar10-cgan OUT --eps N",
        "boost generator:cifar10-cgan OUT --target N",
        "boost generator:cifar10-cgan OUT --batch-size N",
        "boost generator:cifar10-cgan OUT --view N",
        "boost generator:cifar10-cgan OUT --num-classes N",
        "boost generator:cifar10-cgan OUT --mean N,0,0",
        "boost generator:cifar10-cgan OUT --input-size N",
        "boost generator:cifar10-cgan OUT --map-classes cat=N",
        "boost generator:cifar10-cgan?num_inference_steps=N OUT",
        "evaluate generator:cifar10-cgan --count N",
        "evaluate generator:cifar10-cgan --seeds N",
        "evaluate generator:cifar10-cgan --beside eps=N",
        "evaluate generator:cifar10-cgan --inception-layer N --metrics fid",
        "sweep generator:cifar10-cgan --eps-list N",
        "sweep generator:cifar10-cgan --reference-count N",
        "interpolate generator:cifar10-cgan generator:cifar10-cgan OUT --c N",
        "interpolate generator:cifar10-cgan generator:cifar10-cgan OUT --source-index N",
        "interpolate generator:cifar10-cgan generator:cifar10-cgan OUT --target-seed N",
        "figure fig7 --seed N --output OUT.png",
        "figure fig7 --start N --output OUT.png",
        "figure fig11 --pair generator:cifar10-cgan:0:N generator:cifar10-cgan:0:1 --output OUT.png",
        'train generator --name n --family dcgan --arguments {"width":N}',
        "train robust --name n --epochs N",
        "train robust --name n --seed N",
    ],
)
def test_on_the_command_line(digits: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [word.replace("OUT", str(tmp_path / "out")) for word in words.split()]
    try:
        status = main([word.replace("N", digits) for word in given])
    except SystemExit as ended:  # of the parser of options
        status = ended.code
    assert status == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "error: " in last
    assert "Exceeds the limit" not in last
    assert len(last) < 2_500
    assert list(tmp_path.iterdir()) == []


def test_more_than_a_float_holds_is_no_number() -> None:
    assert math.isinf(float("9" * 400))
    assert parse_settings("num_inference_steps=50") == {"num_inference_steps": 50}
    refusal_of(lambda: parse_settings(f"timesteps={'9' * 5_000}"))
