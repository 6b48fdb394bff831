"""An image keeps its own size, whatever its classifier wants: what is seen, what moves, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from textbook import CLASSES, conv_net, some_images, textbook
from torch import Tensor, nn
from torchvision.models import VisionTransformer, resnet18, vit_b_16

import bigroc_core as bc
from bigroc_core.boosting import logits_of
from bigroc_core.cards import Card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.engine.views import takes_any_size, view_note, view_of
from bigroc_core.interpolation import feature_distance, target_note

NAMES = tuple("abcdefghij")
SIZES = [(32, 32), (64, 64), (96, 64), (128, 128), (256, 256)]


def carded(network: nn.Module, side: int, name: str) -> Classifier:
    card = Card(name=name, kind="classifier", architecture="own", classes=NAMES, input_size=(side, side))
    return Classifier(network, card).eval()


def with_a_head(transformer: VisionTransformer) -> Classifier:
    """torchvision begins with a head of zeros, which has no gradient."""
    nn.init.normal_(transformer.heads.head.weight, std=0.5)
    return carded(transformer, 224, "vit")


@pytest.fixture(scope="module")
def classifiers() -> dict[str, Classifier]:
    torch.manual_seed(0)
    narrow = VisionTransformer(224, 32, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=10)
    return {
        "robust": bc.load_classifier("cifar10-robust", device="cpu"),
        "resnet": carded(resnet18(num_classes=10), 224, "resnet"),
        "vit": with_a_head(narrow),
    }


def images_of(count: int, size: tuple[int, int], dtype: torch.dtype = torch.float64) -> Tensor:
    return some_images(count, max(size), dtype)[:, :, : size[0], : size[1]].contiguous()


def resized(size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)


def seen_by(name: str, size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """What each of the three should see: all of it with the shorter side as its input's, or the centre square."""
    side, shorter = {"robust": 32, "resnet": 224, "vit": 224}[name], min(size)
    if size == (side, side):
        return lambda x: x
    if name == "vit":
        top, left = (size[0] - shorter) // 2, (size[1] - shorter) // 2
        return lambda x: resized((side, side))(x[:, :, top : top + shorter, left : left + shorter])
    return resized((size[0] * side // shorter, size[1] * side // shorter))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["robust", "resnet", "vit"])
def test_an_image_of_any_size_keeps_it_and_is_boosted_as_by_the_textbook(classifiers, name, size):
    # The ResNet has one image and one norm of the time.
    count, kinds = (1, [("l2", 0.7)]) if name == "resnet" else (2, [("l2", 0.7), ("linf", 0.02)])
    x, labels = images_of(count, size), torch.tensor([3, 8])[:count]
    for norm, eps in kinds:
        result = bc.boost(classifiers[name], x, labels, bc.BoostConfig(eps=eps, steps=2, norm=norm))
        expected = textbook(classifiers[name], x, labels, eps, 2, norm, see=seen_by(name, size))
        assert result.images.shape == x.shape
        assert (expected - x).abs().max() > 1e-4
        assert (result.images - expected).abs().max() <= 1e-9
        length = result.l2 if norm == "l2" else result.linf
        assert length.max() <= eps + 1e-9


@pytest.mark.slow
def test_a_vit_b_16_boosts_images_of_another_size():
    torch.manual_seed(0)
    size = (96, 64)
    classifier, x = with_a_head(vit_b_16(num_classes=10)), images_of(1, size)
    result = bc.boost(classifier, x, 3, bc.BoostConfig(eps=0.7, steps=1))
    expected = textbook(classifier, x, torch.tensor([3]), 0.7, 1, see=seen_by("vit", size))
    assert (result.images - expected).abs().max() <= 1e-9
    with pytest.raises(ValueError, match="native"):
        bc.boost(classifier, x, 3, view="native")


@pytest.mark.parametrize("size", [(96, 64), (37, 50)])
def test_outside_the_square_that_a_network_of_one_size_sees_nothing_moves(classifiers, size):
    x, shorter = images_of(2, size, torch.float32), min(size)
    result = bc.boost(classifiers["vit"], x, 3, bc.BoostConfig(eps=1.0, steps=2))
    top, left = (size[0] - shorter) // 2, (size[1] - shorter) // 2
    inside = torch.zeros(size, dtype=torch.bool)
    inside[top : top + shorter, left : left + shorter] = True
    moved = result.images != x
    assert not moved[:, :, ~inside].any()
    assert moved[:, :, inside].float().mean() > 0.9
    assert any(f"{shorter}×{shorter}" in note for note in result.notes)


@pytest.mark.parametrize(
    ("size", "side"), [((64, 64), (32, 32)), ((96, 64), (48, 32)), ((20, 30), (224, 336)), ((375, 500), (224, 299))]
)
def test_the_resize_is_torchs_own_and_so_is_its_gradient(classifiers, size, side):
    view = view_of(classifiers["robust" if 32 in side else "resnet"], size)
    assert view.size == side
    # torch's own weights are of the images' type, so in float32 its last digits are not the better ones.
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        x = images_of(2, size, dtype).requires_grad_()
        weights = torch.rand(2, 3, *side, generator=torch.Generator().manual_seed(1), dtype=dtype)
        ours, theirs = view(x), resized(side)(x)
        assert (ours - theirs).abs().max() <= tolerance
        (of_ours,) = torch.autograd.grad((ours * weights).sum(), x)
        (of_theirs,) = torch.autograd.grad((theirs * weights).sum(), x)
        assert (of_ours - of_theirs).abs().max() <= 10 * tolerance * of_theirs.abs().max()


def test_beyond_four_to_one_the_centre_of_that_shape_is_seen(classifiers):
    for size, centre in (((20, 100), (slice(None), slice(10, 90))), ((150, 30), (slice(15, 135), slice(None)))):
        x = images_of(1, size)
        moved = bc.boost(classifiers["robust"], x, 2, bc.BoostConfig(steps=1)).images != x
        assert moved[:, :, *centre].float().mean() > 0.5
        moved[:, :, *centre] = False
        assert not moved.any()


class Plain(nn.Module):
    """A classifier without its card: what boosting does with it has nothing to do with views."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.network = classifier.network
        self.register_buffer("mean", classifier.mean)
        self.register_buffer("std", classifier.std)

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_image_of_the_classifiers_size_comes_back_bit_for_bit_as_without_views(classifiers, dtype):
    robust, x = classifiers["robust"], images_of(3, (32, 32), dtype)
    config = bc.BoostConfig(eps=1.0, steps=4)
    without = bc.boost(Plain(robust), x, config=config)
    for view in (None, "input", "native", 32):
        result = bc.boost(robust, x, config=config, view=view)
        assert torch.equal(result.images, without.images)
        assert torch.equal(result.logits_after, without.logits_after)
        assert result.notes == ()


@pytest.mark.parametrize("size", [(96, 64), (128, 128)])
def test_the_native_view_is_the_papers_loop(classifiers, size):
    x, labels = images_of(1, size), torch.tensor([7])
    result = bc.boost(classifiers["resnet"], x, labels, bc.BoostConfig(eps=1.5, steps=2), view="native")
    assert (result.images - textbook(classifiers["resnet"], x, labels, 1.5, 2)).abs().max() <= 1e-9
    assert result.notes == ()


def test_a_network_of_one_size_refuses_what_it_cannot_see(classifiers):
    x = images_of(1, (64, 64))
    for view in ("native", 64):
        for call in (bc.boost, bc.boost_stream, logits_of, bc.fit_debias):
            with pytest.raises(ValueError, match=r"^vit takes images of 224×224 pixels only.*'input'") as refused:
                call(classifiers["vit"], x, view=view)
            assert "\n" not in str(refused.value)
    assert bc.boost(classifiers["vit"], images_of(1, (224, 224)), 1, bc.BoostConfig(steps=0), view="native").notes == ()


@pytest.mark.parametrize("view", ["big", "", 0, -3, 1.5, True, 100_000, (32, 32)])
def test_other_views_do_not_exist(classifiers, view):
    with pytest.raises(ValueError, match=r"^view .*must be"):
        bc.boost(classifiers["robust"], images_of(1, (64, 64)), view=view)


def test_a_side_of_ones_own_is_what_the_network_sees(classifiers):
    x, labels = images_of(2, (48, 64)), torch.tensor([1, 7])
    config = bc.BoostConfig(eps=1.0, steps=2)
    result = bc.boost(classifiers["robust"], x, labels, config, view=24)
    expected = textbook(classifiers["robust"], x, labels, 1.0, 2, see=resized((24, 32)))
    assert (result.images - expected).abs().max() <= 1e-9
    assert "64×48 pixels, at 32×24" in " ".join(result.notes)


def test_a_bare_module_sees_images_as_they_are_unless_told_its_side():
    x, labels = some_images(2, 24), torch.tensor([1, 5])
    flat = conv_net()  # of 16 pixels, and no others
    for view, message in (("input", "has no card"), ("native", "cannot take images of 24×24")):
        with pytest.raises(ValueError, match=message):
            bc.boost(flat, x, labels, view=view)
    result = bc.boost(flat, x, labels, bc.BoostConfig(eps=0.5, steps=3), view=16)
    assert (result.images - textbook(flat, x, labels, 0.5, 3, see=resized((16, 16)))).abs().max() <= 1e-9
    any_size = nn.Sequential(nn.Conv2d(3, CLASSES, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for view in (None, "native"):
        result = bc.boost(any_size, x, labels, bc.BoostConfig(eps=0.5, steps=3), view=view)
        assert (result.images - textbook(any_size, x, labels, 0.5, 3)).abs().max() <= 1e-9


class Counting(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        sizes: list[tuple[int, ...]] = []
        self.note = lambda x: sizes.append(tuple(x.shape))
        self.read = lambda: sizes

    def forward(self, x: Tensor) -> Tensor:
        self.note(x)
        return self.network(x)


def test_which_sizes_a_network_takes_is_its_cards_word_or_found_out_once(classifiers):
    assert takes_any_size(classifiers["resnet"], (224, 224))
    assert not takes_any_size(classifiers["vit"], (224, 224))
    small = carded(Counting(conv_net()), 16, "small")
    assert not takes_any_size(small, (16, 16))
    tries = len(small.network.read())
    assert not takes_any_size(small, (16, 16))
    assert len(small.network.read()) == tries
    for said, expected in (("any", True), ("one", False)):
        told = Counting(conv_net())
        told.card = type("Card", (), {"sizes": said, "input_size": (16, 16)})()
        assert takes_any_size(told, (16, 16)) == expected
        assert told.read() == []


def test_logits_shift_and_targets_are_of_the_same_view(classifiers):
    robust, x = classifiers["robust"], images_of(6, (64, 48))
    for view, see in ((None, resized((43, 32))), ("native", lambda images: images)):
        expected = Plain(robust).double()(see(x))
        assert (logits_of(robust, x, view=view) - expected).abs().max() <= 1e-9
        shift = bc.fit_debias(robust, x, view=view)
        assert (shift - (1 - expected.mean(dim=0))).abs().max() <= 1e-9
        labels = bc.boost(robust, x, config=bc.BoostConfig(steps=0), debias=shift, view=view).labels
        assert torch.equal(labels, (expected + shift).argmax(dim=1))
    robust.float()


def test_batches_are_of_pixels_as_seen_and_change_nothing(classifiers):
    body = nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    small = carded(Counting(body), 32, "small")
    x, config = images_of(9, (256, 256)), bc.BoostConfig(eps=1.0, steps=2)
    result = bc.boost(small, x, 3, config)
    assert small.network.read()[-1][0] == 9
    small.network.read().clear()
    bc.boost(small, x, 3, config, view="native")
    assert max(shape[0] for shape in small.network.read()) == 2**18 // 256**2
    again = bc.boost(small, x, 3, config, batch_size=2)
    assert (again.images - result.images).abs().max() <= 1e-9


def test_notes_say_what_is_seen_of_another_size(classifiers):
    assert view_note(classifiers["robust"], (32, 32)) is None
    assert "64×96" in (note := view_note(classifiers["robust"], (96, 64)) or "")
    assert "32×48" in note
    assert "centre 64×256" in (view_note(classifiers["robust"], (1000, 64)) or "")
    assert "centre 64×64" in (view_note(classifiers["vit"], (96, 64)) or "")
    assert "centre 224×224" in (view_note(classifiers["vit"], (300, 224)) or "")
    assert view_note(classifiers["resnet"], (128, 128), "native") is None
    result = bc.boost(classifiers["robust"], images_of(1, (96, 64)), 1, bc.BoostConfig(steps=1))
    assert result.notes == (note,)


class Resizing(nn.Module):
    """What a view does, as a part of the network."""

    def __init__(self, classifier: Classifier, size: tuple[int, int]) -> None:
        super().__init__()
        self.classifier, self.size = classifier, size

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(resized(self.size)(x))


def test_interpolation_sees_through_the_view_and_brings_the_target_to_the_sources_size(classifiers):
    robust = classifiers["robust"]
    x, y = images_of(2, (48, 64)), images_of(2, (90, 100)).flip(3)
    brought = resized((48, 64))(y[:, :, 7:82])  # the centre 75×100 has the source's shape
    inside = Resizing(robust, (32, 43))
    names = [f"classifier.network.{name}" for name in robust.feature_names]
    frames = bc.interpolate(robust, x, y, (0.4, 1.0), steps=2)
    expected = bc.interpolate(inside, x, brought.clamp(0, 1), (0.4, 1.0), steps=2, features=names)
    assert frames.shape == (2, *x.shape)
    assert (frames - expected).abs().max() <= 1e-9
    for frame, share in zip(frames, (0.4, 1.0), strict=True):
        lengths, whole = ((one - x).flatten(1).norm(dim=1) for one in (frame, brought))
        assert (lengths <= share * whole + 1e-9).all()
    assert "centre 100×75" in (target_note((48, 64), (90, 100)) or "")
    assert target_note((48, 64), (48, 64)) is None
    apart = feature_distance(inside, x, brought.clamp(0, 1), features=names)
    assert torch.allclose(feature_distance(robust, x, y), apart, rtol=1e-9)
