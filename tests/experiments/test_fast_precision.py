"""Fast experiments: said in their settings and commands, and every number still of the 8-bit images, exactly."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
import torch

import bigroc_core as bc
from bigroc_core import catalogue
from bigroc_core.__main__ import build_parser, main
from bigroc_core.catalogue import classifier_named
from bigroc_core.engine import precision
from bigroc_core.evaluation import Judges, Measuring, Way, Ways, evaluate
from bigroc_core.experiments import boost, compare, every_class, interpolate, snippets, threat_models
from bigroc_core.experiments.comparison import certainty_of
from bigroc_core.experiments.judging import References
from bigroc_core.experiments.sizes import logits_by_size
from bigroc_core.experiments.sweep import Sweeping
from bigroc_core.generators.registry import load_generator
from bigroc_core.interpolation import feature_distance
from bigroc_core.settings import Request
from bigroc_core.sources import EXAMPLES, example_paths
from bigroc_core.streams import generator_stream
from bigroc_core.ui.forms import Form, endpoint

SMALL: dict[str, Any] = {
    "generator": "cifar10-cgan",
    "classifier": "cifar10-robust",
    "count": 1,
    "eps": 2.0,
    "steps": 2,
}


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed natively or, where the CPU cannot, emulated."""
    monkeypatch.setattr(precision, "computes_bf16", lambda device: True)


def last(growing: Any) -> Any:
    *_, run = growing
    assert run.finished
    return run


def test_a_fast_run_says_so_and_its_numbers_are_exact(bfloat16: None) -> None:
    exact, fast = (last(boost.boost(boost.BoostRequest(**SMALL, precision=kind), "cpu")) for kind in ("exact", "fast"))
    assert np.array_equal(fast.originals, exact.originals)
    assert not np.array_equal(fast.frames[-1], exact.frames[-1])  # it was computed otherwise
    classifier = classifier_named("cifar10-robust", "cpu")
    for frame in (0, len(fast.frames) - 1):
        assert np.array_equal(fast.logits_of(frame), logits_by_size(classifier, fast.frames[frame]))
    assert fast.settings == exact.settings | {"precision": "fast"}
    for settings, said in ((fast.settings, True), (exact.settings, False)):
        assert ("precision='fast'" in snippets.as_python(settings)) == said
        words = shlex.split(snippets.as_command(settings))[3:]
        assert build_parser().parse_args(words).precision == ("fast" if said else "exact")


def test_comparisons_are_fast_where_asked_with_exact_numbers(bfloat16: None) -> None:
    example = {"source": EXAMPLES, "example": example_paths()[0].name, "eps": 2.0, "steps": 2}
    for asked, compute in (
        (lambda **how: compare.CompareRequest(**SMALL, values="2", **how), compare.compare),
        (lambda **how: threat_models.ThreatModelsRequest(**SMALL, **how), threat_models.compare_balls),
        (lambda **how: every_class.EveryClassRequest(**example, **how), every_class.align),
    ):
        exact, fast = (last(compute(asked(precision=kind), "cpu")) for kind in ("exact", "fast"))
        assert not np.array_equal(fast.rows[0].images, exact.rows[0].images)
        told = certainty_of(
            classifier_named(fast.settings.get("classifier", fast.rows[0].name), "cpu"),
            fast.rows[0].images,
            fast.targets,
        )
        assert np.array_equal(fast.rows[0].certainty, told)
        assert fast.settings["precision"] == "fast"
        assert "precision" not in exact.settings


def test_interpolating_fast_ends_as_near(bfloat16: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    classifier = bc.load_classifier("cifar10-robust")
    x, y = bc.load_generator("cifar10-cgan").sample(4)[0].split(2)
    exact, fast = (bc.interpolate(classifier, x, y, (0.5,), 8, precision=kind)[0] for kind in ("exact", "fast"))
    assert not torch.equal(fast, exact)
    ours, theirs = (feature_distance(classifier, images, y) for images in (fast, exact))
    assert ((ours - theirs).abs() <= 0.02 * theirs).all()
    moved, radius = (fast - x).flatten(1).norm(dim=1), 0.5 * (y - x).flatten(1).norm(dim=1)
    assert (moved <= radius + 1e-5).all()
    request = interpolate.InterpolateRequest(
        source_generator="cifar10-cgan", target_generator="cifar10-cgan", fractions=(0.5,), steps=2, precision="fast"
    )
    run = last(interpolate.interpolation_of(request.walk, "cpu"))
    assert run.settings["precision"] == "fast"
    assert "precision='fast'" in interpolate.as_python(run.settings)
    assert main(shlex.split(interpolate.as_command(run.settings))[3:]) == 0
    with pytest.raises(ValueError, match="precision must be one of exact, fast"):
        bc.interpolate(classifier, x, y, precision="half")


def test_measuring_fast_is_another_run_with_a_command_of_its_own() -> None:
    classifier, config = bc.load_classifier("cifar10-robust"), bc.BoostConfig()
    exact, fast = (Way(classifier, config, precision=kind) for kind in ("exact", "fast"))
    assert fast.settings() == exact.settings() | {"precision": "fast"}
    assert fast.name == f"{exact.name}, fast"
    asked = Sweeping(images="generator:cifar10-cgan", classifier="cifar10-robust", configs=(config,), precision="fast")
    assert build_parser().parse_args(shlex.split(asked.command)[3:]).precision == "fast"
    for command in (["tables"], ["interpolate", "a.png", "b.png", "out"], ["boost", "in", "out"], ["evaluate", "in"]):
        assert build_parser().parse_args(command).precision == "exact"


@pytest.mark.parametrize(("device", "usual"), [("cuda", "fast"), ("cpu", "exact")])
def test_the_page_begins_with_what_suits_the_machine(monkeypatch: pytest.MonkeyPatch, device: str, usual: str) -> None:
    monkeypatch.setattr(catalogue, "compute_device", lambda: device)
    with gr.Blocks():
        form = Form(interpolate.InterpolateRequest, precision="exact")
        assert form.add("precision").value == usual


def test_what_was_added_later_ends_an_endpoints_parameters() -> None:
    @endpoint(boost.BoostRequest, gain="changes no result")
    def handler(request: Request, visitor: gr.Request, gain: float) -> tuple[Any, ...]:
        """Answer."""
        return request, gain

    names = list(handler.__signature__.parameters)  # type: ignore[attr-defined]
    assert names[-5:] == ["gain", "request", "files", "mask_files", "precision"]
    visitor = gr.Request(session_hash="any")
    request, gain = handler(
        **SMALL | {name: getattr(boost.BoostRequest(**SMALL), name) for name in names[:-5]}, gain=5, request=visitor
    )
    assert (request, gain) == (boost.BoostRequest(**SMALL), 5)


@pytest.mark.campaign
@pytest.mark.timeout(3_600)
def test_fast_images_are_as_near_to_real_ones(bfloat16: None) -> None:
    classifier, judge = bc.load_classifier("cifar10-robust"), bc.load_classifier("cifar10-judge")
    config = bc.BoostConfig(eps=2.0, steps=10)
    found = evaluate(
        generator_stream(load_generator("cifar10-cgan")),
        Ways(main=Way(classifier, config), beside=[Way(classifier, config, precision="fast")], random_direction=False),
        Judges(judge=judge, references=References(["train"], None, None, (32, 32)).in_features_of(judge)),
        Measuring(count=1_000, seeds=(0, 1, 2, 3, 4)),
    )
    _, exact, fast = found.rows
    for metric in found.metrics:
        ours, theirs = np.array(fast.scores[metric]), np.array(exact.scores[metric])
        print(f"{metric.name}: fast {ours.mean():.4f}, exact {theirs.mean():.4f} ± {theirs.std(ddof=1):.4f}")
        assert abs(ours.mean() - theirs.mean()) <= theirs.std(ddof=1)
    print(f"‖δ‖₂: fast {np.mean(fast.l2):.4f}, exact {np.mean(exact.l2):.4f}")
    assert abs(np.mean(fast.l2) - np.mean(exact.l2)) <= 0.01 * np.mean(exact.l2)
