"""The Threat models tab's runs: the engine's own results, and examples that belong to the models."""

from __future__ import annotations

import io
import shlex
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bigroc_core as bc
from bigroc_core.__main__ import build_parser
from bigroc_core.attack import linf_eps_of
from bigroc_core.experiments import threat_models as threats
from bigroc_core.experiments.threat_models import AlignedAsked, BallsAsked, align, archive, compare_balls
from bigroc_core.images import from_uint8, read_image, to_uint8
from bigroc_core.sources import UPLOAD, OneImage, Source
from bigroc_core.ui import threat_models_tab

BALLS = BallsAsked(
    source=Source(generator="cifar10-cgan", count=3, seed=5, classes=("cat", "ship")),
    classifier="cifar10-robust",
    eps=3.0,
    steps=4,
)
ALIGNED = AlignedAsked(
    start=OneImage(generator="cifar10-cgan", number=2), classifier="cifar10-robust", eps=4.0, steps=3
)


def test_both_balls_hold_what_the_engine_gives() -> None:
    *growing, run = compare_balls(BALLS, "cpu")
    assert growing
    classifier = bc.load_classifier("cifar10-robust")
    images, labels = bc.load_generator("cifar10-cgan").sample(3, labels=[3, 8, 3], seed=5)
    images = from_uint8(to_uint8(images))
    l2 = bc.boost(classifier, images, labels, bc.BoostConfig(eps=3.0, steps=4)).images
    eps = linf_eps_of(l2 - images)
    linf = bc.boost(classifier, images, labels, bc.BoostConfig(eps=eps, steps=4, norm="linf")).images
    assert run.settings["linf_eps"] == pytest.approx(eps, rel=1e-4)
    assert f"{eps:.3f}"[:4] in run.rows[1].name
    for row, expected in zip(run.rows, (l2, linf), strict=True):
        assert float((from_uint8(row.images) - expected).abs().mean()) < 0.002
        p = classifier(from_uint8(row.images)).softmax(1)[torch.arange(3), labels]
        np.testing.assert_allclose(row.certainty, p.detach().numpy(), atol=1e-4)
    assert float(run.l2(0).max()) <= 3.0 + 0.11
    assert float(run.linf(1).max()) <= eps + 0.5 / 255 + 1e-6
    assert [row[2] for row in run.table()[:3]] == ["cat", "ship", "cat"]


def test_every_class_is_reached_through_both_networks_and_the_zip_holds_it() -> None:
    *_, run = align(ALIGNED, "cpu")
    assert [row.name for row in run.rows] == ["cifar10-robust", "cifar10-standard"]
    assert (run.rows[0].certainty > run.before[0]).all()
    files = zipfile.ZipFile(io.BytesIO(archive(run)))
    names = [name for name in files.namelist() if name.startswith("cifar10-standard/")]
    assert len(names) == 10
    kept = read_image(files.read(names[4]), name=names[4]).pixels
    assert torch.equal(kept, from_uint8(run.rows[1].images[4]))
    assert len(files.read("table.csv").decode().splitlines()) == 21


def test_commands_are_those_that_the_program_takes() -> None:
    *_, balls = compare_balls(replace(BALLS, steps=1), "cpu")
    *_, aligned = align(replace(ALIGNED, steps=1), "cpu")
    for command in (threats.balls_command(balls), threats.aligned_command(aligned)):
        assert build_parser().parse_args(shlex.split(command)[3:]).steps == 1


def test_the_tab_opens_with_finished_examples_of_these_very_models(tmp_path: Path) -> None:
    balls, aligned = threats.opening()
    assert balls.settings["steps"] == 30
    assert aligned.settings["steps"] == 60
    assert (aligned.rows[0].certainty >= 0.98).all()
    # Lost or outdated, they are computed again with few steps.
    shorter, _ = threats.opening(tmp_path / "none.npz")
    assert shorter.settings["steps"] == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 201}, "200"),
        ({"share": 1.5}, "share"),
        ({"eps": -1.0}, "eps"),
        ({"classifier": "cifar10-judge"}, "no classifier"),
        ({"source": Source(kind=UPLOAD)}, "uploaded"),
        ({"source": Source(generator="x")}, "no generator"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(compare_balls(replace(BALLS, **changes), "cpu"))  # type: ignore[arg-type]


def test_a_link_restores_the_controls() -> None:
    updates = dict(
        zip(
            threat_models_tab.BALLS,
            threat_models_tab.restored_balls({"generator": "cifar10-dcgan", "quantile": 0.9, "source": "Generator"}),
            strict=False,
        )
    )
    assert updates["quantile"]["value"] == 0.9
    assert not updates["classes"]["visible"]
    with pytest.raises(ValueError, match="draws no class"):
        threat_models_tab.restored_balls({"generator": "cifar10-dcgan", "classes": ["cat"]})
