"""Whatever people call a classifier or a loss: outputs of many kinds, images without a gradient, and what is said."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from textbook import CLASSES, conv_net, some_images, transformer
from torch import Tensor, nn

import bigroc_core as bc
from bigroc_core.boosting import logits_of
from bigroc_core.images import open_image_set, write_image_set

FEW = bc.BoostConfig(eps=0.8, steps=4)
LABELS = torch.arange(4) % CLASSES


class Answering(nn.Module):
    """A network that returns what `answer` makes of its logits."""

    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.network = conv_net()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(self.network(x))


@dataclasses.dataclass
class Output:
    loss: None
    logits: Tensor


@pytest.mark.parametrize("answer", [lambda z: (z, None), lambda z: [z, z], lambda z: Output(None, z)])
def test_logits_are_found_in_what_a_module_returns(answer):
    x = some_images(4)
    expected = bc.boost(conv_net(), x, config=FEW)
    result = bc.boost(Answering(answer), x, config=FEW)
    assert torch.equal(result.images, expected.images)
    assert torch.equal(result.logits_after, expected.logits_after)
    assert torch.equal(logits_of(Answering(answer), x), expected.logits_before)
    *_, last = bc.boost_stream(Answering(answer), x, config=FEW)
    assert torch.equal(last.images, expected.images)


@pytest.mark.parametrize("script", [torch.jit.script, lambda module: torch.jit.trace(module, torch.rand(2, 3, 16, 16))])
def test_torchscript_boosts_as_the_module_it_came_from(script):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), norm, nn.ReLU(), nn.Flatten(), nn.Linear(392, CLASSES)).eval()
    x = some_images(4, dtype=torch.float32)
    scripted = script(copy.deepcopy(module))
    before = copy.deepcopy(scripted.state_dict())
    ours, theirs = (bc.boost(one, x, LABELS, bc.BoostConfig(eps=0.8, steps=1)) for one in (scripted, module))
    assert (ours.images - theirs.images).abs().max() <= 1e-5
    assert ours.notes == ()
    assert all(torch.equal(tensor, before[name]) for name, tensor in scripted.state_dict().items())
    assert all(p.requires_grad for p in scripted.parameters())


def test_a_default_device_is_not_where_things_are_made():
    x = some_images(4)
    small = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    shift, config = [0.5, 0.0, 0.0, -0.5, 0.2], bc.BoostConfig(eps=2.0, steps=3, stop_at=0.9, loss="combined", l0=1.0)
    mask = torch.ones(16, 16).numpy()
    expected = bc.boost(small, x, debias=shift, config=config, view=8, mask=mask)
    labelled = bc.boost(small, x, [0, 1, 2, 3], FEW)
    frames = bc.interpolate(small, x, x.flip(0), (0.5,), steps=2, features=["0"])
    fitted = bc.fit_debias(small, x)
    # "meta" stands for a GPU: whatever is made there by mistake cannot be computed with.
    with torch.device("meta"):
        result = bc.boost(small, x, debias=shift, config=config, view=8, mask=mask)
        assert torch.equal(result.images, expected.images)
        assert torch.equal(bc.boost(small, x, [0, 1, 2, 3], FEW).images, labelled.images)
        assert torch.equal(bc.interpolate(small, x, x.flip(0), (0.5,), steps=2, features=["0"]), frames)
        assert torch.equal(bc.fit_debias(small, x), fitted)


def test_models_are_read_and_images_drawn_whatever_the_default_device(tmp_path):
    network = torchvision.models.resnet18(num_classes=7).eval()
    torch.save(network.state_dict(), tmp_path / "net.pt")
    written = write_image_set(tmp_path / "set.npz", 2, 2, {})
    written.write(0, some_images(2, dtype=torch.float32), None)
    written.finish()

    def read() -> list[Tensor]:
        generator, classifier = bc.load_generator("cifar10-cgan"), bc.load_classifier("cifar10-robust")
        images, labels = generator.sample(2, labels=[3, 5], seed=1)
        foreign = bc.load_classifier(tmp_path / "net.pt", arch="resnet18")
        result = bc.boost(classifier, images, labels, FEW)
        from_file = open_image_set(tmp_path / "set.npz").batch(0, 2).images
        return [images, labels, result.images, foreign(images.cpu()), from_file]

    expected = read()
    with torch.device("meta"):
        found = read()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


# --- what depends on the batch ---------------------------------------------------------------------------------


class AlwaysDropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = conv_net()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(F.dropout(x, 0.3))  # without `training=self.training` it is always on


def of_the_batch() -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7))


@pytest.mark.parametrize("make", [AlwaysDropping, of_the_batch])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_whose_results_depend_on_the_batch_is_warned_of(make, dtype):
    classifier, x = make(), some_images(3, dtype=dtype)
    for _ in range(2):  # with the private copy just made, and with the one kept
        torch.manual_seed(1)
        with pytest.warns(UserWarning, match="depend on chance or on what else is in the batch"):
            result = bc.boost(classifier, x, 1, FEW)
        assert any("batch" in note for note in result.notes)
        torch.manual_seed(1)
        with pytest.warns(UserWarning, match="depend on chance"):
            *_, last = bc.boost_stream(classifier, x, 1, FEW)
        assert last.notes == result.notes
        assert torch.equal(last.images, result.images)  # finding out takes none of the caller's draws


@pytest.mark.parametrize("make", [conv_net, transformer, lambda: bc.load_classifier("cifar10-robust")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ordinary_networks_are_not(make, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = make()
        x = some_images(3, 32 if hasattr(classifier, "card") else 16, dtype)
        assert bc.boost(classifier, x, 1, FEW).notes == ()
        assert [snapshot.notes for snapshot in bc.boost_stream(classifier, x, 1, FEW)] == [()] * 5


# --- images without a gradient ---------------------------------------------------------------------------------


class Rooted(nn.Module):
    """Finite logits everywhere, and an infinite slope at black pixels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3 * 16 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1).sqrt())


def with_a_black_one(dtype: torch.dtype) -> Tensor:
    x = 0.1 + 0.8 * some_images(5, dtype=dtype)
    x[2, :, :4] = 0
    return x


@pytest.mark.parametrize("batch_size", [None, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("gradient", ["normalized", "raw"])
def test_an_image_with_a_nan_gradient_stays_and_is_named_and_the_others_move_on(batch_size, dtype, norm, gradient):
    x = with_a_black_one(dtype)
    config = bc.BoostConfig(eps=0.05, steps=3, norm=norm, gradient=gradient)
    with pytest.warns(UserWarning, match=r"image 2 \(counted from 0\) stays in place"):
        result = bc.boost(Rooted(), x, 1, config, batch_size=batch_size)
    assert torch.equal(result.images[2], x[2])
    others = [0, 1, 3, 4]
    expected = bc.boost(Rooted(), x[others], 1, config)
    assert expected.notes == ()
    assert (result.images[others] - expected.images).abs().max() <= (1e-6 if dtype == torch.float32 else 1e-9)
    assert (result.l2[others] > 0).all()
    (note,) = result.notes
    assert "NaN" in note
    assert "try" not in note


def test_an_image_that_loses_its_gradient_on_the_way_stays_where_that_was():
    x = some_images(3).clamp(0.1, 0.9)
    config = bc.BoostConfig(eps=20.0, steps=8, step_size=2.0)  # pixels of all three run into black
    with pytest.warns(UserWarning, match="images 0, 1, 2"):
        *snapshots, last = bc.boost_stream(Rooted(), x, 1, config)
    assert snapshots[0].notes == ()
    assert (last.images != x).any()
    assert last.images.isfinite().all()
    assert (last.images - snapshots[-1].images).abs().max() <= 1e-15


@pytest.mark.parametrize("batch_size", [None, 1])
def test_a_gradient_that_is_zero_everywhere_is_said(batch_size):
    class Stepped(nn.Module):
        """Flat for dark images, as a rounding would be for all."""

        def __init__(self) -> None:
            super().__init__()
            self.network = conv_net()

        def forward(self, x: Tensor) -> Tensor:
            logits = self.network(x)
            return torch.where(x.mean((1, 2, 3))[:, None] < 0.1, logits.detach(), logits)

    x = some_images(4)
    x[[1, 3]] *= 0.05
    with pytest.warns(UserWarning, match="images 1, 3 .*zero everywhere"):
        result = bc.boost(Stepped(), x, LABELS, FEW, batch_size=batch_size)
    assert torch.equal(result.images[[1, 3]], x[[1, 3]])
    assert (result.l2[[0, 2]] > 0.1).all()
    resting = bc.boost(Stepped(), x, config=bc.BoostConfig(steps=3, stop_at=1e-9))
    assert resting.notes == ()  # they rest, and need none


def test_an_interpolated_image_with_a_nan_gradient_stays_too():
    class Deep(Rooted):
        def __init__(self) -> None:
            super().__init__()
            self.root = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.root(x.sqrt()).flatten(1))

    x = with_a_black_one(torch.float64)
    y = 0.1 + 0.8 * some_images(5, seed=9)
    with pytest.warns(UserWarning, match="NaN .*: 2 "):
        (frame,) = bc.interpolate(Deep(), x, y, (0.3,), steps=3, features=["root"])
    assert torch.equal(frame[2], x[2])
    assert (frame != x).flatten(1).any(1).tolist() == [True, True, False, True, True]


class Breaking(nn.Module):
    """NaN logits for images whose first pixel is black."""

    def __init__(self) -> None:
        super().__init__()
        self.network = conv_net()

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) * (x[:, 0, 0, 0] / x[:, 0, 0, 0])[:, None]


@pytest.mark.parametrize(("batch_size", "named"), [(None, "images 1, 2"), (1, "image 1")])
def test_logits_that_are_not_finite_are_refused_with_the_images_numbers(batch_size, named):
    x = some_images(3).clamp_min(0.1)
    x[1:, 0, 0, 0] = 0
    with pytest.raises(ValueError, match=rf"not all finite for these images: {named} \(counted from 0\)"):
        bc.boost(Breaking(), x, 1, FEW, batch_size=batch_size)


# --- losses of one's own ---------------------------------------------------------------------------------------


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    others = logits.scatter(1, labels[:, None], float("-inf"))
    return others.amax(1) - logits.gather(1, labels[:, None])[:, 0]


def test_a_loss_of_ones_own_is_what_is_descended():
    x = some_images(4)
    for stop_at in (None, 0.6):
        named, own = (
            bc.boost(conv_net(), x, LABELS, bc.BoostConfig(eps=1.5, steps=6, loss=loss, stop_at=stop_at))
            for loss in ("ce", cross_entropy)
        )
        assert torch.equal(own.images, named.images)
        assert torch.equal(own.steps_taken, named.steps_taken)
    result = bc.boost(conv_net(), x, LABELS, bc.BoostConfig(eps=1.5, steps=6, loss=margin), batch_size=3)
    before, after = (margin(logits, LABELS) for logits in (result.logits_before, result.logits_after))
    assert (after < before).all()


def test_settings_name_it():
    config = bc.BoostConfig(eps=2.0, loss=margin)
    assert config == bc.BoostConfig(eps=2.0, loss=margin)
    assert config != bc.BoostConfig(eps=2.0, loss=cross_entropy)
    assert hash(config) == hash(bc.BoostConfig(eps=2.0, loss=margin))
    assert bc.BoostConfig(**dataclasses.asdict(config)) == config
    assert json.loads(json.dumps(config.settings()))["loss"] == config.loss_name == "margin"
    plain = bc.BoostConfig(l0=[1.0, 2.0], stop_at="l0")
    assert plain.settings() == dataclasses.asdict(plain)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda z, y: F.cross_entropy(z, y), r"one value per image, a tensor of shape \(4,\), not shape \(\)"),
        (lambda z, y: z, r"not shape \(4, 7\)"),
        (lambda z, y: 1.0, "not float"),
        (lambda z, y: margin(z, y).detach(), "no gradient"),
        (lambda z, y: torch.where(y == 2, float("nan"), margin(z, y)), "not finite for image 2"),
        (lambda z, y: margin(z, y) / 0, "not finite for image 0, 1, 2, 3"),
    ],
)
def test_a_bad_loss_is_refused_by_one_sentence(loss, message):
    with pytest.raises(ValueError, match=rf"^the loss <lambda> .*{message}"):
        bc.boost(conv_net(), some_images(4), LABELS, bc.BoostConfig(loss=loss, steps=2))
    with pytest.raises(ValueError, match="function of logits and labels"):
        bc.BoostConfig(loss="hinge")
