"""Links that restore a tab's controls: only values that the controls take come through."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest
from starlette.datastructures import QueryParams

from bigroc_core.experiments.boost import BoostRequest
from bigroc_core.experiments.evaluate import PRESET, SWEEP, UPLOADED_SET
from bigroc_core.experiments.requests import DEBIASED
from bigroc_core.norms import NORMS
from bigroc_core.sources import ImagesRequest
from bigroc_core.ui import boost_tab, controls, evaluate_tab, interpolate_tab, links, threat_models_tab
from bigroc_core.ui.forms import control

SHARED = {
    "eps": control(BoostRequest, "eps", maximum=16),
    "seed": control(ImagesRequest, "seed"),
    "norm": control(BoostRequest, "norm"),
    "classes": control(ImagesRequest, "classes", choices=["cat", "dog"]),
    "alpha": control(BoostRequest, "step_size"),
    "beside": controls.checkboxes(["random", "standard"], "Beside", value=["random"]),
    "warm": gr.Checkbox(False, label="Warm"),
    "numbers": gr.Textbox("", label="Numbers", max_length=60),
}


def read(query: str) -> tuple[dict[str, Any], list[str]]:
    return links.read(QueryParams(query), SHARED)


def test_values_come_back_as_the_controls_have_them() -> None:
    values, problems = read("tab=boost&eps=1.25&seed=7&norm=linf&classes=dog&classes=cat&alpha=0.1&__theme=dark")
    assert values == {"eps": 1.25, "seed": 7, "norm": "linf", "classes": ["dog", "cat"], "alpha": "0.1"}
    assert not problems
    values, problems = read("beside=standard&beside=random&warm=true&numbers=" + "1" * 60)
    assert values == {"beside": ["standard", "random"], "warm": True, "numbers": "1" * 60}
    assert not problems


def test_what_was_emptied_comes_back_empty() -> None:
    values, problems = read("beside=&classes=&alpha=&warm=false")
    assert values == {"beside": [], "classes": [], "alpha": "", "warm": False}
    assert not problems


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("beside=nobody", "beside: it takes any of random, standard, not nobody"),
        ("warm=1", "warm: it takes true or false, not 1"),
        ("numbers=" + "1" * 61, "60 characters at most"),
        ("eps=", "eps: it takes a number from 0 to 16, not nothing"),
        ("eps=17", "eps: it takes a number from 0 to 16, not 17"),
        ("eps=nan", "eps: it takes a number"),
        ("eps=-1", "from 0 to 16, not -1"),
        ("eps=1e999", "not 1e999"),
        ("eps=much", "a number from 0 to 16, not much"),
        ("eps=1&eps=2", "eps: it takes one value"),
        ("seed=1.5", "seed: it takes a whole number"),
        ("norm=l3", "norm: it takes one of l2, linf, not l3"),
        ("norm=l2&norm=l2", "norm: it takes one value"),
        ("classes=cow", "classes: it takes any of cat, dog, not cow"),
        ("alpha=" + "1" * 41, "40 characters at most"),
        ("seed=inf", "not inf"),
        ("shell=rm", "there is no control 'shell'"),
    ],
)
def test_what_a_control_does_not_take_is_refused_and_the_rest_restored(query: str, says: str) -> None:
    values, problems = read(f"{query}&{'norm=linf' if 'norm' not in query else 'seed=3'}")
    assert says in problems[0]
    assert values == ({"norm": "linf"} if "norm" not in query else {"seed": 3})


def value(update: dict[str, Any]) -> Any:
    return update.get("value")


def test_a_link_to_the_boost_tab_shows_what_belongs_to_its_values() -> None:
    updates = boost_tab.restored({"generator": "cifar10-dcgan", "eps": 1.5, "target": DEBIASED})
    by_name = dict(zip(boost_tab.SHARED, updates, strict=False))
    assert value(by_name["eps"]) == 1.5
    assert value(by_name["target"]) == DEBIASED
    assert by_name["classes"]["visible"] is False  # an unconditional generator draws no class
    assert by_name["target_classes"]["visible"] is False
    assert by_name["steps"] == gr.skip()
    *_, debias_box, presets, _size, _facts, origin = updates
    assert debias_box["visible"] is True
    assert "Set by hand" in origin
    assert any("recommended" in choice for choice in presets["choices"][0])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"norm": "linf", "eps": 2.0}, "eps is at most 1 in this norm"),
        ({"generator": "cifar10-dcgan", "classes": ["cat"]}, "draws no class 'cat'"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        boost_tab.restored(values)


def test_a_link_to_an_interpolation_shows_the_boxes_of_its_kinds_and_its_generators_classes() -> None:
    asked = {"source": "Upload", "target_generator": "cifar10-cgan", "target_class": "dog", "warm_start": True}
    updates = interpolate_tab.restored(asked)
    by_name = dict(zip(interpolate_tab.SHARED, updates, strict=False))
    assert value(by_name["warm_start"]) is True
    assert value(by_name["target_class"]) == "dog"
    assert ("dog", "dog") in by_name["target_class"]["choices"]
    assert by_name["steps"] == gr.skip()
    boxes = updates[len(by_name) :]
    assert [box.get("visible") for box in boxes] == [False, True, False, None, None, None]
    with pytest.raises(ValueError, match="draws no class 'dog'"):
        interpolate_tab.restored({"target_generator": "cifar10-dcgan", "target_class": "dog"})


def test_a_link_to_an_evaluation_shows_what_belongs_to_its_values() -> None:
    with gr.Blocks():
        tab = evaluate_tab.build()
    assert tab is not None
    asked = {"source": UPLOADED_SET, "eps_from": SWEEP, "eps": 0.1, "norm": "linf", "compare_with": [], "count": 300}
    updates = tab.apply(asked)
    by_name = dict(zip(tab.shared, updates, strict=False))
    assert {name: value(by_name[name]) for name in asked} == asked
    assert by_name["eps"]["maximum"] == NORMS["linf"].slider
    assert by_name["eps"]["label"] == "Largest ε tried"
    assert PRESET not in by_name["eps_from"]["choices"]
    assert by_name["seeds"]["visible"] is False  # a set is what it is
    assert [box["visible"] for box in updates[len(by_name) :]] == [False, True, True, False]
    for wrong, says in (
        ({"norm": "linf", "eps": 2.0}, "eps is at most 0.5"),
        ({"source": UPLOADED_SET, "eps_from": PRESET}, "no preset"),
    ):
        with pytest.raises(ValueError, match=says):
            tab.apply(wrong)


def test_a_link_to_a_tab_within_a_tab_selects_both() -> None:
    with gr.Blocks(), gr.Tabs() as inner:
        one = links.Restorable("every-class", {}, [], lambda values: [], within=(threat_models_tab.TAB, inner))
    assert one.tabs == [inner]
    assert [tabs.selected for tabs in one.selection()] == ["threat-models", "every-class"]


def test_a_link_to_a_tab_alone_leaves_its_opening_as_it_is() -> None:
    with gr.Blocks(), gr.Tabs() as tabs:
        with gr.Tab("One"):
            box = gr.Column()
        one = links.Restorable("boost", SHARED, [box], lambda values: [gr.update(visible=False)])
    follow = links.follower([one], tabs)
    assert list(follow("?tab=boost&__theme=dark")) == [tabs]
    assert list(follow("?tab=boost&seed=3")) == [tabs, box]


def test_a_link_that_restores_nothing_does_not_say_that_the_rest_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(links.errors, "warn", said.append)

    def refuse(_values: dict[str, Any]) -> list[Any]:
        raise ValueError("these do not go together")

    with gr.Blocks(), gr.Tabs() as tabs:
        follow = links.follower([links.Restorable("boost", SHARED, [], refuse)], tabs)
    follow("?tab=boost&seed=3&nonsense=1")
    assert follow("?tab=nowhere&seed=3") == gr.skip()
    assert "no control 'nonsense'; these do not go together. The settings are as the page opens" in said[0]
    assert "there is no tab 'nowhere'" in said[1]
    assert not any("rest is restored" in one for one in said)
