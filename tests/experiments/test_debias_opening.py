"""The study that the Debias tab opens with is kept, and is what its models say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import bigroc_core as bc
from bigroc_core.boosting import logits_of
from bigroc_core.experiments import debias
from bigroc_core.images import from_uint8


def test_the_kept_study_is_what_the_embedded_models_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the page opens with fewer images; `python -m bigroc_core.experiments.opening` makes it anew."""
    monkeypatch.setattr(debias, "study_of", None)  # nothing is computed
    kept = debias.opening()
    asked = debias.opening_request()
    assert kept.settings | dataclasses.asdict(asked) == kept.settings
    assert (kept.done, kept.total, kept.finished) == (400, 400, True)
    logits = logits_of(bc.load_classifier(asked.classifier, device="cpu"), from_uint8(kept.images))
    assert kept.classes == bc.load_classifier(asked.classifier, device="cpu").classes
    np.testing.assert_array_equal(kept.plain, logits.argmax(1).numpy())
    np.testing.assert_array_equal(kept.debiased, (logits + torch.from_numpy(kept.shift)).argmax(1).numpy())


@pytest.mark.parametrize("content", [None, b"not a file of arrays", b"PK\x03\x04 cut off"])
def test_instead_of_a_missing_or_damaged_one_a_smaller_is_computed_and_kept_again(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.npz"
    if content is not None:
        kept.write_bytes(content)
    small = dataclasses.replace(debias.opening_request(), count=10, validation_count=50)
    monkeypatch.setattr(debias, "opening_request", lambda count=0: small)
    computed = debias.opening(kept)
    assert computed.finished
    debias.keep_opening(kept)
    monkeypatch.setattr(debias, "study_of", None)
    again = debias.opening(kept)
    assert again.settings == computed.settings
    np.testing.assert_array_equal(again.images, computed.images)
