"""Only what goes together is offered, and where something does not, a sentence says why; the rest is restored."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.datastructures import QueryParams
from torch import Tensor

import bigroc_core as bc
from bigroc_core import catalogue
from bigroc_core.boosting import BoostConfig
from bigroc_core.experiments import judging
from bigroc_core.experiments.boost import BoostRequest, boost
from bigroc_core.experiments.evaluate import EvaluateRequest
from bigroc_core.experiments.growing import last
from bigroc_core.experiments.requests import ESTIMATED, GIVEN
from bigroc_core.experiments.sizes import boost_by_size
from bigroc_core.experiments.threat_models import ThreatModelsRequest, as_command, compare_balls
from bigroc_core.generators.sampling import Generator
from bigroc_core.images import encode_png, from_uint8
from bigroc_core.settings import Unfit
from bigroc_core.sources import EXAMPLES, GENERATOR
from bigroc_core.ui import boost_tab, links
from bigroc_core.ui.forms import Form

ROBUST, MANY = "cifar10-robust", "of-a-thousand"


class Noise:
    """Draws noise, of whatever class."""

    block = 8

    def __call__(self, seed: int, indices: range, _labels: Tensor | None) -> Tensor:
        return torch.rand((len(indices), 3, 32, 32), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def thousand() -> None:
    """A conditional generator of a thousand classes is offered."""
    card = catalogue.generator_cards()["cifar10-cgan"]
    names = tuple(f"kind {number}" for number in range(1000))
    catalogue.offer_generator(Generator(Noise(), dataclasses.replace(card, name=MANY, title="", classes=names)), MANY)


@pytest.mark.usefixtures("thousand")
def test_a_thousand_classes_of_a_generator_are_estimated_by_a_classifier_of_ten_and_it_says_why() -> None:
    target, classes, _, _ = boost_tab.show_fitting(GENERATOR, MANY, ROBUST, GIVEN, ["kind 3"])
    assert target["value"] == ESTIMATED
    assert "draws classes that" in target["info"]
    assert [name for _, name in classes["choices"]] == list(bc.load_classifier(ROBUST).classes)
    assert classes["value"] == []
    with pytest.raises(Unfit, match="have them estimated, or choose target classes"):
        BoostRequest(generator=MANY, classifier=ROBUST, target=GIVEN)
    for told in ({"target": ESTIMATED}, {"target": GIVEN, "target_classes": ("dog",)}):
        *_, run = boost(BoostRequest(generator=MANY, classifier=ROBUST, count=2, steps=1, **told), "cpu")
        assert run.finished
        assert set(run.classes) == set(bc.load_classifier(ROBUST).classes)


def test_examples_of_classes_that_a_classifier_does_not_know_are_estimated_and_it_says_why() -> None:
    first, other = next(iter(catalogue.generator_cards())), "imagenette64-robust"
    target, _, _, _ = boost_tab.show_fitting(EXAMPLES, first, ROBUST, GIVEN, [])
    assert target["value"] == ESTIMATED
    assert "the examples are of classes that" in target["info"].lower()
    with pytest.raises(Unfit, match="have them estimated, or choose target classes") as refused:
        BoostRequest(source=EXAMPLES, classifier=ROBUST, target=GIVEN)
    assert list(refused.value.problems) == ["target"]
    BoostRequest(source=EXAMPLES, classifier=ROBUST, target=GIVEN, target_classes=("dog",))
    assert boost_tab.show_fitting(EXAMPLES, first, other, ESTIMATED, [])[0]["value"] == GIVEN
    BoostRequest(source=EXAMPLES, classifier=other, target=GIVEN)
    # Also where images had been uploaded before.
    assert BoostRequest(source=EXAMPLES, classifier=other, files=("mine.png",)).images.files == ()


@pytest.mark.usefixtures("thousand")
def test_so_they_are_in_both_balls_and_a_measurement_takes_another_generator() -> None:
    run = last(compare_balls(ThreatModelsRequest(generator=MANY, classifier=ROBUST, count=2, steps=1), "cpu"))
    classifier = bc.load_classifier(ROBUST)
    first = next(boost_by_size(classifier, run.originals, None, BoostConfig(eps=0.0, steps=0)))
    assert run.targets.tolist() == first.labels.tolist()
    assert "targets are estimated" in " ".join(run.notes)
    # The command draws the download's images, whose labels the classifier knows.
    assert "--images original" in as_command(run)
    with pytest.raises(Unfit, match=r"draws classes that .* does not know: take one without labels") as refused:
        EvaluateRequest(generator=MANY, classifier=ROBUST)
    assert list(refused.value.problems) == ["generator"]


def test_a_generators_classes_are_the_classifiers_by_their_names() -> None:
    card, name = catalogue.generator_cards()["cifar10-cgan"], "other-way-round"
    catalogue.offer_generator(
        Generator(Noise(), dataclasses.replace(card, name=name, title="", classes=card.classes[::-1])), name
    )
    run = last(compare_balls(ThreatModelsRequest(generator=name, classifier=ROBUST, count=3, steps=1), "cpu"))
    assert [run.classes[target] for target in run.targets] == list(card.classes[::-1][:3])


def test_a_classifier_that_no_judge_fits_is_refused_at_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = judging.embedded_classifiers()
    others = {name: card for name, card in fitting.items() if card.input_size != (32, 32)}
    monkeypatch.setattr(judging, "embedded_classifiers", lambda: others)
    with pytest.raises(Unfit, match="none here has cifar10-robust's at 32×32 pixels") as refused:
        EvaluateRequest(classifier=ROBUST)
    assert list(refused.value.problems) == ["classifier"]


@pytest.mark.parametrize("name", ["mask.png", "002.png"])
def test_a_mask_in_which_nothing_may_move_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encode_png(from_uint8(np.zeros((32, 32, 3), np.uint8))))
    request = BoostRequest(
        generator="cifar10-cgan", classifier=ROBUST, count=2, steps=1, mask_files=(str(tmp_path / name),)
    )
    with pytest.raises(ValueError, match=f"the mask {name}: is black everywhere") as refused:
        list(boost(request, "cpu"))
    assert "\n" not in str(refused.value)


def test_a_link_of_an_older_page_says_what_is_no_more_and_restores_the_rest() -> None:
    form = Form(BoostRequest)
    for name in boost_tab.SHARED:
        form.add(name)
    old = QueryParams("tab=boost&epsilon=2&attack=l2&classifier=cifar10-old&steps=12&seed=7&norm=linf&run=boost")
    values, problems = links.read(old, form.shared)
    assert values == {"steps": 12, "seed": 7, "norm": "linf"}
    assert [text.split(":")[0] for text in problems] == [
        "there is no control 'epsilon'",
        "there is no control 'attack'",
        "classifier",
    ]
    assert "cifar10-old" in problems[2]
    updates = dict(zip(boost_tab.SHARED, boost_tab.restored(values), strict=False))
    assert updates["steps"]["value"] == 12
    assert updates["norm"]["value"] == "linf"
