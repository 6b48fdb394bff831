"""The wrappings that people's trainers leave around a network: each gives the network's own logits."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import bigroc_core as bc
from bigroc_core.classifiers.state_dicts import state_dict_of

ARCH = "shufflenet_v2_x0_5"
State = dict[str, Tensor]
MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = torchvision.models.get_model(ARCH, weights=None, num_classes=5).eval()
    # Statistics as training leaves them, so that losing them shows.
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return made


@pytest.fixture(scope="module")
def right() -> nn.Module:
    return network(0)


@pytest.fixture(scope="module")
def wrong() -> State:
    return network(1).state_dict()


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def averaged_model(net: nn.Module) -> State:
    return torch.optim.swa_utils.AveragedModel(net).state_dict()


def parameters_of(net: nn.Module) -> State:
    return {key: value.detach() for key, value in net.named_parameters()}


def squashed(net: nn.Module) -> State:
    """As latent diffusion's trainer names its averages: without dots, parameters only."""
    return {f"model_ema.{key.replace('.', '')}": value for key, value in parameters_of(net).items()}


# What is saved, of the right network and another one's weights.
WRAPPINGS: dict[str, Callable[[nn.Module, State], Any]] = {
    "bare": lambda net, _: net.state_dict(),
    "AveragedModel": lambda net, _: averaged_model(net),
    "torchvision's reference": lambda net, other: {"model": other, "model_ema": averaged_model(net), "epoch": 3},
    "model_ema alone": lambda net, _: {"model_ema": net.state_dict(), "epoch": 3},
    "timm's trainer": lambda net, other: {"state_dict": other, "state_dict_ema": net.state_dict(), "arch": "x"},
    "timm's trainer with options": lambda net, _: {
        "state_dict": net.state_dict(),
        "args": argparse.Namespace(lr=0.1, opt="sgd"),
    },
    "torch.compile": lambda net, _: under("_orig_mod.", net.state_dict()),
    "DDP of compiled": lambda net, _: under("module._orig_mod.", net.state_dict()),
    "compiled of DDP": lambda net, _: under("_orig_mod.module.", net.state_dict()),
    "DataParallel": lambda net, _: {"state_dict": under("module.", net.state_dict())},
    "FSDP": lambda net, _: under("_fsdp_wrapped_module.", net.state_dict()),
    "Lightning with a loss's weights": lambda net, _: {
        "state_dict": {**under("model.", net.state_dict()), "criterion.weight": torch.ones(5)},
        "pytorch-lightning_version": "2.0",
    },
    "Lightning net": lambda net, _: {"state_dict": under("net.", net.state_dict()), "epoch": 1},
    "Lightning backbone": lambda net, _: {"state_dict": under("backbone.", net.state_dict())},
    "Lightning compiled": lambda net, _: {"state_dict": under("model._orig_mod.", net.state_dict())},
    "Lightning with averages inside": lambda net, other: {
        "state_dict": {**under("model.", other), **under("ema_model.module.", net.state_dict())}
    },
    "averages of parameters alone": lambda net, other: {
        "model": {**other, **{k: v for k, v in net.state_dict().items() if k not in parameters_of(net)}},
        "ema": parameters_of(net),
    },
    "latent diffusion's averages": lambda net, other: {
        "state_dict": {
            **under("model.", {**other, **{k: v for k, v in net.state_dict().items() if k not in parameters_of(net)}}),
            **squashed(net),
        }
    },
    "model_state": lambda net, _: {"model_state": net.state_dict(), "epoch": 1},
    "classifier beside an optimiser": lambda net, _: {
        "optimizer": torch.optim.Adam(net.parameters()).state_dict(),
        "classifier": net.state_dict(),
    },
    "BasicSR": lambda net, other: {"params": other, "params_ema": net.state_dict()},
    "two dictionaries deep": lambda net, _: {"checkpoint": {"weights": {"network": net.state_dict()}}},
    "a tuple": lambda net, _: (net.state_dict(), 0.91),
    "thop's counters": lambda net, _: {**net.state_dict(), "conv1.total_ops": torch.zeros(1), "total_params": MEAN},
    "a projection beside it": lambda net, _: {
        **under("encoder.", net.state_dict()),
        "projector.weight": torch.ones(2, 2),
    },
}


def saved(tmp_path: Any, contents: Any) -> Any:
    torch.save(contents, tmp_path / "net.pt")
    return tmp_path / "net.pt"


def assert_same(classifier: nn.Module, net: nn.Module, mean: Tensor, std: Tensor) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = net((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        assert expected.std() > 1e-4
        torch.testing.assert_close(classifier(images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(WRAPPINGS))
def test_every_wrapping_gives_the_networks_logits(tmp_path, right, wrong, name):
    path = saved(tmp_path, WRAPPINGS[name](right, wrong))
    classifier = bc.load_classifier(path, arch=ARCH, mean=(0, 0, 0), std=(1, 1, 1), input_size=64)
    assert_same(classifier, right, torch.zeros(3), torch.ones(3))


@pytest.mark.parametrize(
    "beside",
    [
        {"0.mean": MEAN.view(1, 3, 1, 1), "0.std": STD.view(1, 3, 1, 1)},
        {"normalize.mean": MEAN, "normalize.std": STD},
        {"mu": MEAN.view(3, 1, 1), "sigma": STD.view(3, 1, 1)},
        {"normalizer.new_mean": MEAN.view(3, 1, 1), "normalizer.new_std": STD.view(3, 1, 1)},
        {"image_mean": MEAN, "image_std": STD},
        {"pixel_mean": 255 * MEAN.view(3, 1, 1), "pixel_std": 255 * STD.view(3, 1, 1)},
    ],
    ids=lambda beside: next(iter(beside)),
)
def test_a_normaliser_among_the_weights_becomes_mean_and_std(tmp_path, right, beside):
    path = saved(tmp_path, {"model": {**under("1.", right.state_dict()), **beside}})
    classifier = bc.load_classifier(path, arch=ARCH, input_size=64)
    assert classifier.card.mean == pytest.approx(MEAN.tolist())
    assert classifier.card.std == pytest.approx(STD.tolist())
    assert_same(classifier, right, MEAN, STD)
    assert any("255" in note for note in classifier.notes) == ("pixel_mean" in beside)


def test_notes_say_what_was_taken_and_what_was_left_out(tmp_path, right, wrong):
    def notes(name: str) -> str:
        path = saved(tmp_path, WRAPPINGS[name](right, wrong))
        return "; ".join(bc.load_classifier(path, arch=ARCH, input_size=64).notes)

    assert "averaged weights (state_dict_ema) are taken, not those beside them (state_dict)" in notes("timm's trainer")
    assert "left out: criterion.weight" in notes("Lightning with a loss's weights")
    assert "projector.weight" in notes("a projection beside it")
    for name in ("bare", "torch.compile", "AveragedModel", "thop's counters"):
        told = notes(name)
        assert "averaged" not in told
        assert "left out" not in told


def test_two_networks_that_fit_alike_are_said(tmp_path, right, wrong):
    path = saved(tmp_path, {**under("encoder_q.", right.state_dict()), **under("encoder_k.", wrong)})
    classifier = bc.load_classifier(path, arch=ARCH, mean=(0, 0, 0), std=(1, 1, 1), input_size=64)
    assert_same(classifier, right, torch.zeros(3), torch.ones(3))
    assert any("encoder_k.* would fit too" in note for note in classifier.notes)


def test_a_deeper_network_is_not_read_as_a_shallower_one(tmp_path):
    # All of a ResNet-18's names and shapes are in a ResNet-34.
    torch.save({"model": under("net.", torchvision.models.resnet34(num_classes=3).state_dict())}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"do not fit together.*unexpected \(layer1.2.conv1.weight"):
        bc.load_classifier(tmp_path / "net.pt", arch="resnet18")


def test_numbers_beside_a_state_dict_are_no_weights():
    state = state_dict_of({"acc": torch.tensor(0.9), "net": {"a.weight": torch.ones(2, 2)}}, "c", {"a.weight": None})
    assert list(state.weights) == ["a.weight"]


def test_class_names_are_given_in_logit_order(tmp_path, right):
    path = saved(tmp_path, right.state_dict())
    names = ("ant", "bee", "cat", "dog", "eel")
    assert bc.load_classifier(path, arch=ARCH, class_names=names, input_size=64).classes == names
    with pytest.raises(ValueError, match="has 5 classes, and there are 2 class names"):
        bc.load_classifier(path, arch=ARCH, class_names=("ant", "bee"), input_size=64)


def test_what_a_network_cannot_take_is_one_line(tmp_path, right):
    path = saved(tmp_path, torchvision.models.vit_b_32(num_classes=2, image_size=224).state_dict())
    with pytest.raises(ValueError, match="cannot take images of 64×64 pixels") as refusal:
        bc.load_classifier(path, arch="vit_b_32", input_size=64)
    assert "\n" not in str(refusal.value)
    classifier = bc.load_classifier(saved(tmp_path, right.state_dict()), arch=ARCH, input_size=64)
    classifier.card = dataclasses.replace(classifier.card, name="small")
    with pytest.raises(ValueError, match=r"small cannot take images of 1×1 pixels.*its own are 64×64"):
        nn.Sequential(nn.Identity(), _Broken(classifier))(torch.rand(1, 3, 1, 1))


class _Broken(nn.Module):
    """A classifier whose network fails as foreign code does."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        self.classifier.network.conv1[0].padding = (0, 0)
        return self.classifier(images)
