"""The Threat models tab's runs: the engine's own results, on every road, and examples that belong to the models."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.attack import linf_eps_of
from bigroc_core.experiments import every_class
from bigroc_core.experiments import threat_models as threats
from bigroc_core.experiments.comparison import Comparison, archive
from bigroc_core.experiments.every_class import EveryClassRequest, align, towards_every_class
from bigroc_core.experiments.growing import last
from bigroc_core.experiments.threat_models import ThreatModelsRequest, compare_balls, in_both_balls
from bigroc_core.images import from_uint8, read_image, to_uint8
from bigroc_core.settings import Unfit
from bigroc_core.sources import EXAMPLES, UPLOAD
from bigroc_core.ui import threat_models_tab

MODELS = {"generator": "cifar10-cgan", "classifier": "cifar10-robust"}
BALLS = ThreatModelsRequest(**MODELS, count=3, seed=5, classes=("cat", "ship"), eps=3.0, steps=4)
ALIGNED = EveryClassRequest(**MODELS, number=2, eps=4.0, steps=3, step_size=None, stop_at=None)


@pytest.fixture(scope="module")
def balls() -> Comparison:
    return last(compare_balls(BALLS, "cpu"))


@pytest.fixture(scope="module")
def aligned() -> Comparison:
    return last(align(ALIGNED, "cpu"))


def of_page(handler: Callable[..., Any], request: Any) -> tuple[Any, ...]:
    """What a tab shows last."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(request).items()}
    *_, shown = handler(**values, request=SimpleNamespace(session_hash="visitor"))
    return shown


def test_both_balls_hold_what_the_engine_gives(balls: Comparison) -> None:
    classifier = bc.load_classifier("cifar10-robust")
    images, labels = bc.load_generator("cifar10-cgan").sample(3, labels=[3, 8, 3], seed=5)
    images = from_uint8(to_uint8(images))
    l2 = bc.boost(classifier, images, labels, bc.BoostConfig(eps=3.0, steps=4)).images
    eps = linf_eps_of(l2 - images)
    linf = bc.boost(classifier, images, labels, bc.BoostConfig(eps=eps, steps=4, norm="linf")).images
    assert balls.settings["linf_eps"] == eps
    assert f"{eps:.3f}"[:4] in balls.rows[1].name
    for row, expected in zip(balls.rows, (l2, linf), strict=True):
        assert np.array_equal(row.images, to_uint8(expected))
        p = classifier(from_uint8(row.images)).softmax(1)[torch.arange(3), labels]
        np.testing.assert_allclose(row.certainty, p.detach().numpy(), atol=1e-4)
    assert float(balls.l2(0).max()) <= 3.0 + 0.11
    assert float(balls.linf(1).max()) <= eps + 0.5 / 255 + 1e-6
    assert [row[2] for row in balls.table()[:3]] == ["cat", "ship", "cat"]


def test_every_class_is_what_the_engine_gives_through_both_networks_and_the_zip_holds_it(aligned: Comparison) -> None:
    assert [row.name for row in aligned.rows] == ["cifar10-robust", "cifar10-standard"]
    assert [row.note for row in aligned.rows] == ["robust", "standard: not robust"]
    assert (aligned.rows[0].certainty > aligned.before[0]).all()
    image, _ = bc.load_generator("cifar10-cgan").sample(1, start=2)
    copies = from_uint8(to_uint8(image)).repeat(10, 1, 1, 1)
    for row in aligned.rows:
        wanted = bc.boost(bc.load_classifier(row.name), copies, list(range(10)), ALIGNED.config).images
        assert np.array_equal(row.images, to_uint8(wanted))
    files = zipfile.ZipFile(io.BytesIO(archive(aligned)))
    names = [name for name in files.namelist() if name.startswith("cifar10-standard/")]
    assert len(names) == 10
    kept = read_image(files.read(names[4]), name=names[4]).pixels
    assert torch.equal(kept, from_uint8(aligned.rows[1].images[4]))
    assert len(files.read("table.csv").decode().splitlines()) == 21


def test_the_page_gives_the_same_bytes(balls: Comparison, aligned: Comparison) -> None:
    for run, handler, request in (
        (balls, threat_models_tab.threat_models, BALLS),
        (aligned, threat_models_tab.aligned_gradients, ALIGNED),
    ):
        shown = of_page(handler, request)
        assert Path(shown[4]).read_bytes() == archive(run)
        assert json.loads(shown[6]) == run.settings


def test_the_command_that_is_shown_draws_the_same_numbers(
    balls: Comparison,
    aligned: Comparison,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for run, command in ((balls, threats.as_command), (aligned, every_class.as_command)):
        assert main([*shlex.split(command(run))[3:], "--device", "cpu"]) == 0
        caption = capsys.readouterr().out
        for place, row in enumerate(run.rows):
            assert f"mean ‖δ‖₂ {run.l2(place).mean():.2f}" in caption
            assert any(f"{row.certainty.mean():.{digits}f}" in caption for digits in (2, 3))
    assert f"{balls.settings['linf_eps']:.4f}" in balls.rows[1].name


def test_the_command_of_every_class_names_both_networks_and_many_images_are_rows(balls: Comparison) -> None:
    words = shlex.split(every_class.as_command(every_class.opening()))
    assert words[words.index("--standard") + 1] == "imagenette64-standard"
    many = replace(balls, targets=np.zeros(30, int), settings=balls.settings | {"source": "upload"})
    words = shlex.split(threats.as_command(many))
    assert (words[words.index("--rows") + 1], words[words.index("--columns") + 1]) == ("30", "1")


def test_batches_of_any_size_give_the_same_images(balls: Comparison) -> None:
    classifier = bc.load_classifier("cifar10-robust")
    images, labels = bc.load_generator("cifar10-cgan").sample(3, labels=[3, 8, 3], seed=5)
    config = bc.BoostConfig(eps=3.0, steps=4)
    other = last(in_both_balls(classifier, images, labels, config, batch_size=50))
    for row, wanted in zip(other.rows, balls.rows, strict=True):
        assert np.array_equal(row.images, wanted.images)
    with pytest.raises(ValueError, match="must be l2"):
        next(in_both_balls(classifier, images, labels, replace(config, norm="linf")))


def test_networks_that_do_not_go_together_are_refused() -> None:
    classifier = bc.load_classifier("cifar10-robust")
    other = bc.load_classifier("cifar10-standard")
    other.card = replace(other.card, classes=other.card.classes[::-1])
    with pytest.raises(ValueError, match="differ in classes"):
        next(towards_every_class([classifier, other], torch.rand(3, 32, 32), ALIGNED.config))


def test_the_tab_opens_with_finished_examples_of_these_very_models(tmp_path: Path) -> None:
    """Otherwise with shorter ones; `python -m bigroc_core.experiments.opening` makes them anew."""
    balls, aligned = threats.opening(), every_class.opening()
    assert balls.settings["steps"] == 30
    assert aligned.settings["steps"] == 60
    assert (aligned.rows[0].certainty >= 0.98).all()
    # Lost or outdated, they are computed again with few steps.
    assert threats.opening(tmp_path / "none.npz").settings["steps"] == 2
    with np.load(every_class.KEPT) as entries:
        outdated = {**entries, "digest": np.array("of other weights")}
    np.savez(tmp_path / "outdated.npz", **outdated)
    assert every_class.opening(tmp_path / "outdated.npz").settings["steps"] == 2


def test_examples_are_kept_so_that_they_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for experiment, shorter in ((threats, {"steps": 3, "count": 2}), (every_class, {"steps": 3})):
        request = replace(experiment.opening_request(), **shorter)
        monkeypatch.setattr(experiment, "opening_request", lambda request=request: request)
    threats.keep_opening(tmp_path / "kept.npz")
    for experiment in (threats, every_class):
        assert experiment.opening(tmp_path / "kept.npz").settings["steps"] == 3


@pytest.mark.parametrize(
    ("request_class", "changes", "at", "said"),
    [
        (ThreatModelsRequest, {"steps": 0}, "steps", "from 1 to 200"),
        (ThreatModelsRequest, {"steps": 201}, "steps", "200"),
        (ThreatModelsRequest, {"quantile": 1.5}, "quantile", "1.5"),
        (ThreatModelsRequest, {"eps": -1.0}, "eps", "-1"),
        (ThreatModelsRequest, {"classifier": "cifar10-judge"}, "classifier", "cifar10-judge"),
        (ThreatModelsRequest, {"source": UPLOAD}, "files", "uploaded"),
        (ThreatModelsRequest, {"generator": "x"}, "generator", "x"),
        (EveryClassRequest, {"steps": 0}, "steps", "from 1 to 200"),
        (EveryClassRequest, {"source": UPLOAD}, "file", "no image has been uploaded"),
        (EveryClassRequest, {"source": EXAMPLES, "example": "x.png"}, "example", "x.png"),
        (EveryClassRequest, {"step_size": "a"}, "step_size", "'a'"),
        (EveryClassRequest, {"stop_at": 0}, "stop_at", "rest"),
        (EveryClassRequest, {"number": 1.5}, "number", "1.5"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(request_class: Any, changes: dict[str, Any], at: str, said: str) -> None:
    with pytest.raises(Unfit, match=said) as refused:
        request_class(**changes)
    assert list(refused.value.problems) == [at]


def test_a_link_restores_the_controls() -> None:
    updates = dict(
        zip(
            threat_models_tab.SHARED,
            threat_models_tab.restored({"generator": "cifar10-dcgan", "quantile": 0.9, "source": "Generator"}),
            strict=False,
        )
    )
    assert updates["quantile"]["value"] == 0.9
    assert not updates["classes"]["visible"]
    with pytest.raises(ValueError, match="draws no class"):
        threat_models_tab.restored({"generator": "cifar10-dcgan", "classes": ["cat"]})
