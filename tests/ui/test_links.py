"""Links that restore a tab's controls: only values that the controls take come through."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest
from starlette.datastructures import QueryParams

from bigroc_core.ui import boost_tab, controls, links

SHARED = {
    "eps": controls.slider(0, 16, "ε"), "seed": controls.seed_number(), "norm": controls.norm_radio(),
    "classes": controls.class_dropdown("Classes", ("cat", "dog"), ""), "alpha": controls.step_size_box(),
}  # fmt: skip


def read(query: str) -> tuple[dict[str, Any], list[str]]:
    return links.read(QueryParams(query), SHARED)


def test_values_come_back_as_the_controls_have_them() -> None:
    values, problems = read("tab=boost&eps=1.25&seed=7&norm=linf&classes=dog&classes=cat&alpha=0.1&__theme=dark")
    assert values == {"eps": 1.25, "seed": 7, "norm": "linf", "classes": ["dog", "cat"], "alpha": "0.1"}
    assert not problems


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("eps=17", "eps: it takes a number from 0 to 16, not 17"), ("eps=nan", "eps: it takes a number"),
        ("eps=-1", "from 0 to 16, not -1"), ("eps=1e999", "not 1e999"), ("eps=much", "'much' is not a number"),
        ("eps=1&eps=2", "eps: it takes one value"), ("seed=1.5", "seed: it takes a whole number"),
        ("norm=l3", "norm: 'l3' is not among its choices"), ("norm=l2&norm=l2", "norm: it takes one value"),
        ("classes=cow", "classes: 'cow' is not among its choices"), ("alpha=" + "1" * 41, "40 characters at most"),
        ("seed=inf", "not inf"), ("shell=rm", "there is no control 'shell'"),
    ],
)  # fmt: skip
def test_what_a_control_does_not_take_is_refused_and_the_rest_restored(query: str, says: str) -> None:
    values, problems = read(f"{query}&{'norm=linf' if 'norm' not in query else 'seed=3'}")
    assert says in problems[0]
    assert values == ({"norm": "linf"} if "norm" not in query else {"seed": 3})


def value(update: dict[str, Any]) -> Any:
    return update.get("value")


def test_a_link_to_the_boost_tab_shows_what_belongs_to_its_values() -> None:
    updates = boost_tab.restored({"generator": "cifar10-dcgan", "eps": 1.5, "target": boost_tab.DEBIASED})
    by_name = dict(zip(boost_tab.SHARED, updates, strict=False))
    assert value(by_name["eps"]) == 1.5
    assert value(by_name["target"]) == boost_tab.DEBIASED
    assert by_name["classes"]["visible"] is False  # an unconditional generator draws no class
    assert by_name["target_classes"]["visible"] is False
    assert by_name["steps"] == gr.skip()
    *_, debias_box, presets = updates
    assert debias_box["visible"] is True
    assert any("recommended" in choice for choice in presets["choices"][0])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"norm": "linf", "eps": 2.0}, "eps is at most 0.5 in this norm"),
        ({"generator": "cifar10-dcgan", "classes": ["cat"]}, "draws no class 'cat'"),
    ],
)
def test_values_that_do_not_go_together_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        boost_tab.restored(values)
