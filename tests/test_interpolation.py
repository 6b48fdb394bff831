"""Interpolation is P1 Eq. 3: in its ball, nearer in features, equal to the textbook's loop, for any module."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn

import bigroc_core as bc
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.networks import Classifier, build_network
from bigroc_core.images import from_uint8
from bigroc_core.interpolation import feature_distance
from bigroc_core.training.cifar10 import find_cifar10, load_cifar10


class Small(nn.Module):
    """Not ours: three levels of features under names of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Softplus())
        self.deep = nn.ModuleDict({"second": nn.Conv2d(6, 8, 3, stride=2), "third": nn.Conv2d(8, 4, 3, stride=2)})
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.deep["second"](self.first(x)))
        return self.head(torch.tanh(self.deep["third"](x)).mean((2, 3)))


NAMES = ("first", "deep.second", "deep.third")


def pair(count: int = 3, side: int = 12, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return tuple(torch.rand((2, count, 3, side, side), generator=draws, dtype=dtype))  # type: ignore[return-value]


def features_of(model: Small, x: Tensor) -> list[Tensor]:
    first = model.first(x)
    second = model.deep["second"](first)
    return [first, second, model.deep["third"](torch.tanh(second))]


def textbook(model: Small, x: Tensor, y: Tensor, c: float, steps: int, weights: tuple[float, ...]) -> Tensor:
    """P1 Eq. 3 by P1 Alg. 1, image by image."""
    frames = []
    for xs, xt in zip(x.split(1), y.split(1), strict=True):
        radius = c * (xt - xs).norm()
        wanted = [f.detach() for f in features_of(model, xt)]
        delta = torch.zeros_like(xs)
        for _ in range(steps):
            moved = (xs + delta).requires_grad_(True)
            loss = sum(
                w * (f - t).square().sum() / f.numel()
                for w, f, t in zip(weights, features_of(model, moved), wanted, strict=True)
            )
            (g,) = torch.autograd.grad(loss, moved)  # type: ignore[arg-type]
            delta = delta - 2.5 * radius / steps * g / g.norm()
            delta = delta * min(1.0, float(radius / delta.norm()))
            delta = (xs + delta).clamp(0, 1) - xs
        frames.append(xs + delta)
    return torch.cat(frames)


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_frames_are_the_textbooks(batch_size: int | None) -> None:
    model = Small().double()
    x, y = pair()
    weights = (1.0, 0.0, 3.0)
    found = bc.interpolate(model, x, y, (0.6, 0.2), steps=7, weights=weights, features=NAMES, batch_size=batch_size)
    assert found.shape == (2, *x.shape)
    for frame, c in zip(found, (0.6, 0.2), strict=True):
        torch.testing.assert_close(frame, textbook(model, x, y, c, 7, weights), rtol=0, atol=1e-9)


@pytest.mark.parametrize("warm_start", [False, True])
def test_frames_stay_in_their_balls_and_come_nearer(warm_start: bool) -> None:
    model = Small()
    x, y = pair(dtype=torch.float32)
    fractions = (0.0, 0.2, 0.5, 1.0)
    found = bc.interpolate(model, x, y, fractions, steps=20, features=NAMES, warm_start=warm_start)
    whole = (y - x).flatten(1).norm(dim=1)
    distances = []
    for frame, c in zip(found, fractions, strict=True):
        assert bool(((frame - x).flatten(1).norm(dim=1) <= c * whole + 1e-6).all())
        assert frame.min() >= 0
        assert frame.max() <= 1
        levels = zip(features_of(model, frame), features_of(model, y), strict=True)
        distances.append(sum(float((a - b).detach().square().mean()) for a, b in levels))
    assert torch.equal(found[0], x)
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.2 * distances[0]


def test_a_warm_start_goes_on_from_the_smaller_fraction() -> None:
    model = Small()
    x, y = pair(dtype=torch.float32)
    cold = bc.interpolate(model, x, y, (0.5, 0.1), steps=3, features=NAMES)
    warm = bc.interpolate(model, x, y, (0.5, 0.1), steps=3, features=NAMES, warm_start=True)
    assert torch.equal(cold[1], warm[1])
    assert not torch.equal(cold[0], warm[0])


def test_ours_name_their_features_and_stay_untouched() -> None:
    card = Card(name="tiny", kind="classifier", architecture="resnet9", classes=CIFAR10_CLASSES)
    model = Classifier(build_network("resnet9", classes=10, width=4), card).train()
    before = copy.deepcopy(model.state_dict())
    x, y = pair(2, 32, torch.float32)
    found = bc.interpolate(model, x, y, (0.5,), steps=2)
    assert found.shape == (1, 2, 3, 32, 32)
    assert model.training
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())
    named = bc.interpolate(model, x, y, (0.5,), steps=2, features=[f"network.{n}" for n in model.feature_names])
    assert torch.equal(named, found)


def test_one_image_towards_itself_stays() -> None:
    x, _ = pair(dtype=torch.float32)
    assert torch.equal(bc.interpolate(Small(), x, x, (1.0,), steps=3, features=NAMES)[0], x)


def test_bad_input_is_named() -> None:
    model, (x, y) = Small(), pair(dtype=torch.float32)
    for message, arguments in (
        ("target: images must be", (x, y * 2)),
        ("source: images must be", (x - 1, y)),
        ("as many images", (x, y[:2])),
        ("of one type", (x, y.double())),
    ):
        with pytest.raises(ValueError, match=message):
            bc.interpolate(model, *arguments, features=NAMES)
    for message, options in (
        (r"fractions\[1\] must be", {"fractions": (0.5, 1.5)}),
        ("fractions must be one or more", {"fractions": ()}),
        ("steps must be", {"steps": -1}),
        ("weights must be 3 numbers", {"weights": (1.0,)}),
        (r"weights\[0\]", {"weights": (-1.0, 1, 1)}),
        ("not all be 0", {"weights": (0.0, 0.0, 0.0)}),
        ("no submodule 'fourth'; it has first", {"features": ["fourth"]}),
        ("one or more", {"features": "first"}),
        ("batch_size", {"batch_size": 0}),
    ):
        with pytest.raises(ValueError, match=message):
            bc.interpolate(model, x, y, **{"features": NAMES, **options})
    with pytest.raises(ValueError, match="Small does not say which features"):
        bc.interpolate(model, x, y)


def test_between_real_images_a_frame_is_nearer_in_features_than_a_cross_fade_of_the_same_length() -> None:
    """P1's claim for Eq. 3, over ten pairs of test images; ten steps of the sixty by default, to be quick."""
    try:
        find_cifar10()
    except ValueError as error:
        pytest.skip(str(error))
    images = from_uint8(load_cifar10().test.images[:21].permute(0, 2, 3, 1).numpy())
    x, y = images[:10], images[11:21]
    classifier = bc.load_classifier("cifar10-robust", device="cpu")
    fractions = (0.0, 0.1, 0.25, 0.5, 1.0)
    frames = bc.interpolate(classifier, x, y, fractions, steps=10)
    whole = (y - x).flatten(1).norm(dim=1)
    distances = []
    for c, frame in zip(fractions, frames, strict=True):
        lengths = (frame - x).flatten(1).norm(dim=1)
        assert bool((lengths <= c * whole + 1e-6).all())
        fade = x + (lengths / whole)[:, None, None, None] * (y - x)
        distances.append(float(feature_distance(classifier, frame, y).mean()))
        faded = float(feature_distance(classifier, fade, y).mean())
        print(f"c = {c:g}: feature distance {distances[-1]:.4f}, of the cross-fade {faded:.4f}")
        assert c == 0 or c > 0.5 or distances[-1] < faded
    assert torch.equal(frames[0], x)
    assert all(nearer < further for further, nearer in itertools.pairwise(distances))
