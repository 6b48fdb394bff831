"""The run that the page opens with is kept, and is what its models make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bigroc_core.boosting import logits_of
from bigroc_core.catalogue import classifier_named, generator_named
from bigroc_core.debiasing import fit_debias
from bigroc_core.experiments import boost_opening
from bigroc_core.experiments.boost_files import archive
from bigroc_core.experiments.sizes import logits_by_size
from bigroc_core.images import from_uint8, to_uint8


def test_the_kept_run_is_what_the_embedded_models_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the page computes it when it starts; `python -m bigroc_core.experiments.opening` makes it anew."""
    monkeypatch.setattr(boost_opening, "boost", None)  # nothing is computed
    run, asked = boost_opening.opening(), boost_opening.opening_request()
    assert run.settings == asked.settings()
    assert run.finished
    assert (run.step, run.steps[0], run.steps[-1]) == (asked.steps, 0, asked.steps)
    drawn, _ = generator_named(asked.generator, "cpu").sample(asked.count, seed=asked.seed)
    np.testing.assert_array_equal(run.originals, to_uint8(drawn))
    # What the page says of it is what its pictures give, and the pictures stay inside the ball.
    classifier = classifier_named(asked.classifier, "cpu")
    validation, _ = generator_named(asked.generator, "cpu").sample(asked.validation_count, seed=asked.validation_seed)
    shift = fit_debias(classifier, from_uint8(to_uint8(validation)))
    np.testing.assert_array_equal(run.targets, (logits_of(classifier, from_uint8(run.originals)) + shift).argmax(1))
    for frame in (0, len(run.frames) - 1):
        np.testing.assert_allclose(run.logits[frame], logits_by_size(classifier, run.frames[frame]), atol=1e-3)
    assert (run.l2(len(run.frames) - 1) <= asked.eps + 0.5 / 255 * run.originals[0].size ** 0.5).all()
    assert (run.chances(len(run.frames) - 1).argmax(1) == run.targets).mean() > 0.9


@pytest.mark.parametrize("content", [None, b"not a file of arrays", b"PK\x03\x04 cut off"])
def test_instead_of_a_missing_or_damaged_one_another_is_computed_and_kept_again(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.npz"
    if content is not None:
        path.write_bytes(content)
    asked = boost_opening.BoostRequest(count=2, steps=2)
    monkeypatch.setattr(boost_opening, "opening_request", lambda: asked)
    computed = boost_opening.opening(path)
    boost_opening.keep_opening(path)
    monkeypatch.setattr(boost_opening, "boost", None)
    again = boost_opening.opening(path)
    assert archive(again) == archive(computed)
