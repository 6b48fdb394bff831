"""Models as repositories of the Hub: what is pushed comes back as it was, and its card is what the Hub reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from stand_ins.hub_stand_in import hub

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.card_text import hub_card
from bigroc_core.hub import CARD, FILE, HubModel
from bigroc_core.places import CHECKPOINTS

ROOT = Path(__file__).resolve().parents[1]
THERE_AND_BACK = """
import torch, bigroc_core as bc
from bigroc_core.hub import HubModel
classifier = bc.load_classifier("cifar10-judge")
print(HubModel(classifier).push_to_hub("me/my-judge"))
back = HubModel.from_pretrained("me/my-judge").model
images = torch.rand(2, 3, 32, 32)
assert back.card == classifier.card
assert torch.equal(back.eval()(images), classifier.eval()(images))
try:
    HubModel.from_pretrained("me/nothing")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_pushed_to_the_hub_and_fetched_again(tmp_path: Path) -> None:
    with hub() as (address, files):
        environment = os.environ | {"HF_ENDPOINT": address, "HF_TOKEN": "hf_none", "HF_HOME": str(tmp_path)}
        words = [sys.executable, "-c", THERE_AND_BACK]
        ran = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert set(files) == {"me/my-judge"}
    assert set(files["me/my-judge"]) >= {FILE, CARD, "config.json", "README.md"}
    assert "\n# cifar10-judge\n" in files["me/my-judge"]["README.md"].decode()
    assert ran.stdout.splitlines()[-1].startswith(("ValueError", "ConnectionError")), ran.stdout


def test_weights_and_card_come_back_from_a_folder(tmp_path: Path) -> None:
    for model in (bc.load_classifier("cifar10-judge"), bc.load_generator("cifar10-ssgan")):
        folder = tmp_path / model.card.name
        HubModel(model).save_pretrained(folder)
        # Ours are exact in half precision, so the file is no larger than the one that comes along.
        ours = CHECKPOINTS / f"{model.card.name}.safetensors"
        assert (folder / FILE).stat().st_size < ours.stat().st_size + 1_000
        assert HubModel.from_pretrained(str(folder)).model.card == model.card
    before, _ = bc.load_generator("cifar10-ssgan").sample(2)
    after, _ = HubModel.from_pretrained(str(tmp_path / "cifar10-ssgan")).model.sample(2)
    assert torch.equal(before, after)


def test_weights_that_half_precision_would_change_are_kept_in_full(tmp_path: Path) -> None:
    classifier = bc.load_classifier("cifar10-judge")
    with torch.no_grad():
        next(classifier.parameters()).add_(1e-6)
    HubModel(classifier).save_pretrained(tmp_path)
    back = HubModel.from_pretrained(str(tmp_path)).model
    assert all(map(torch.equal, back.state_dict().values(), classifier.state_dict().values()))


def test_what_cannot_come_back_is_not_pushed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pipeline of diffusers"):
        HubModel(bc.load_generator("cifar10-ct")).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not a Linear"):
        HubModel(torch.nn.Linear(2, 2))  # type: ignore[arg-type]
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has no model\.safetensors"):
        HubModel.from_pretrained(str(tmp_path))


@pytest.mark.parametrize("name", [*bc.embedded_classifiers(), *bc.embedded_generators()])
def test_the_hub_reads_the_card_of_every_model(name: str) -> None:
    card = (bc.embedded_classifiers() | bc.embedded_generators())[name]
    read = ModelCard(hub_card(card)).data
    assert read.license == "mit"
    assert read.library_name == "bigroc"
    assert card.training["command"] in hub_card(card)
    measured = card.metrics.get("evaluate-classifier")
    if measured:
        told = [measured["clean"], measured["pgd"]]
        if strong := measured.get("autoattack"):
            told.append(strong["accuracy"])
            assert f"{strong['accuracy']:.1%} under AutoAttack" in hub_card(card)
        assert [one.metric_value for one in read.eval_results] == [round(one, 4) for one in told]


def test_the_command_prints_the_hub_card_and_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "cifar10-robust", "--hub-card"]) == 0
    assert capsys.readouterr().out == hub_card(bc.embedded_classifiers()["cifar10-robust"])
    assert main(["generators", "cifar10-cgan", "--hub-card"]) == 0
    assert "unconditional-image-generation" in capsys.readouterr().out
    assert main(["models", "cifar10-robust"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "cifar10-robust"
    assert main(["models", "--hub-card"]) == 2
    assert "of one model" in capsys.readouterr().err
