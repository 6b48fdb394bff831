"""Fast is an equal outcome in other last digits, and exact stays exact beside it."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from textbook import conv_net, some_images
from torch import Tensor

import bigroc_core as bc
from bigroc_core.boosting import logits_of
from bigroc_core.engine import precision
from bigroc_core.engine.exactness import exact_arithmetic, fast_arithmetic
from bigroc_core.images import from_uint8
from bigroc_core.places import ASSETS

CUDA = torch.device("cuda")
EXAMPLES = ASSETS / "examples"


@pytest.fixture
def bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computed natively or, where the CPU cannot, emulated: slower, and the same numbers but for rounding."""
    monkeypatch.setattr(precision, "computes_bf16", lambda device: True)


@pytest.fixture(scope="module")
def examples() -> Tensor:
    return from_uint8(
        np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(EXAMPLES.glob("*.png"))])
    )


@pytest.mark.parametrize(
    "config",
    [
        bc.BoostConfig(eps=0.5, steps=8),
        bc.BoostConfig(eps=0.01, steps=8, norm="linf"),
        bc.BoostConfig(eps=3.0, steps=15, stop_at=0.8),
    ],
)
def test_fast_has_the_outcome_of_exact(bfloat16, examples, config):
    classifier = bc.load_classifier("cifar10-robust")
    labels = (logits_of(classifier, examples).argmax(dim=1) + 1) % 10
    exact, fast = (bc.boost(classifier, examples, labels, config, precision=kind) for kind in ("exact", "fast"))
    assert not torch.equal(fast.images, exact.images)  # it was computed otherwise
    assert torch.equal(fast.logits_after.argmax(dim=1), exact.logits_after.argmax(dim=1))
    ours, theirs = (F.cross_entropy(one.logits_after, labels) for one in (fast, exact))
    if config.stop_at is None:
        assert abs(ours - theirs) <= 0.02 * theirs
        assert abs(fast.l2.mean() - exact.l2.mean()) <= 0.01 * exact.l2.mean()
    else:  # an image may rest a step sooner or later
        assert (fast.steps_taken - exact.steps_taken).abs().max() <= 1
    length = fast.l2 if config.norm == "l2" else fast.linf
    assert length.max() <= config.eps + 1e-6
    assert torch.allclose(fast.l2, (fast.images - examples).flatten(1).norm(dim=1), atol=1e-6)


@pytest.mark.parametrize("stop_at", [None, 0.6])
def test_estimated_targets_are_exact_and_reported_logits_near(bfloat16, examples, stop_at):
    classifier = bc.load_classifier("cifar10-robust")
    config = bc.BoostConfig(eps=1.5, steps=5, stop_at=stop_at)
    fast = bc.boost(classifier, examples, config=config, precision="fast")
    assert torch.equal(fast.labels, logits_of(classifier, examples).argmax(dim=1))
    assert (fast.logits_before - logits_of(classifier, examples)).abs().max() <= 1e-4
    exact = logits_of(classifier, fast.images)
    assert (fast.logits_after - exact).abs().max() <= 0.02 * exact.abs().max()
    *_, last = bc.boost_stream(classifier, examples, config=config, precision="fast")
    assert torch.equal(last.images, fast.images)
    assert torch.equal(last.logits, fast.logits_after)


def test_exact_keeps_its_bits_beside_fast_and_float64_is_always_exact(bfloat16):
    classifier, config = conv_net(), bc.BoostConfig(eps=0.8, steps=4)
    for dtype in (torch.float32, torch.float64):
        x = some_images(4, dtype=dtype)
        before = bc.boost(classifier, x, 1, config).images
        fast = bc.boost(classifier, x, 1, config, precision="fast").images
        assert torch.equal(fast, before) == (dtype == torch.float64)
        assert torch.equal(bc.boost(classifier, x, 1, config).images, before)


def test_without_bfloat16_in_hardware_fast_is_exact(monkeypatch):
    monkeypatch.setattr(precision, "computes_bf16", lambda device: False)
    x, config = some_images(4, dtype=torch.float32), bc.BoostConfig(eps=0.8, steps=4)
    exact, fast = (bc.boost(conv_net(), x, 1, config, precision=kind) for kind in ("exact", "fast"))
    assert torch.equal(fast.images, exact.images)
    assert precision.fastest_precision() == "fp32"


@pytest.mark.parametrize("kind", ["half", None, 16, True])
def test_other_precisions_are_refused(kind):
    for call in (bc.boost, bc.boost_stream):
        with pytest.raises(ValueError, match="precision must be one of exact, fast"):
            call(conv_net(), some_images(1), 1, precision=kind)


def settings() -> tuple[str, str, bool, bool]:
    cudnn = torch.backends.cudnn
    return (cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision, cudnn.deterministic, cudnn.benchmark)


def test_on_cuda_fast_gives_way_to_whoever_computes_exactly():
    before, fast, exact = settings(), ("tf32", "tf32", False, True), ("ieee", "ieee", True, False)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with exact_arithmetic(CUDA):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with fast_arithmetic(CUDA):
        assert settings() == fast
        thread.start()
        assert entered.wait(10)
        assert settings() == exact
        with exact_arithmetic(CUDA):
            assert settings() == exact
        leave.set()
        thread.join()
        assert settings() == fast
    assert settings() == before
