"""Files of timm's and torchvision's architectures are shown images as those libraries show them."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

import bigroc_core as bc
from bigroc_core.classifiers import published
from bigroc_core.classifiers.architectures import build_empty, expected_shapes, new_network
from bigroc_core.classifiers.entries import describe_classifier
from bigroc_core.classifiers.hub_models import HUB_CLASSIFIERS
from bigroc_core.classifiers.preprocessing import preprocessing_of
from bigroc_core.classifiers.robustbench_zoo import _place
from bigroc_core.models_file import ModelEntry

TIMM = (
    "resnet10t",
    "vit_tiny_patch16_224",
    "mobilenetv3_small_050",
    "convnext_atto",
    "mixer_s32_224",
    "tf_efficientnet_lite1",
    "deit_tiny_distilled_patch16_224",
)
TORCHVISION = ("googlenet", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5")


def logits_are_the_modules(classifier: bc.load_classifier, net: nn.Module, mean: list[float], std: list[float]) -> None:
    images = torch.rand(1, 3, *classifier.card.input_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net((images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
        torch.testing.assert_close(classifier(images), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TIMM)
def test_timm_files_have_its_mean_std_and_size(tmp_path, name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=4).eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    classifier = bc.load_classifier(tmp_path / "net.pt", arch=f"timm:{name}")
    known = net.pretrained_cfg
    assert classifier.card.input_size == tuple(known["input_size"][1:])
    assert (classifier.card.mean, classifier.card.std) == (known["mean"], known["std"])
    assert any(known["interpolation"] in note and f"{100 * known['crop_pct']:.4g}" in note for note in classifier.notes)
    logits_are_the_modules(classifier, net, known["mean"], known["std"])


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_files_have_its_mean_std_and_size(tmp_path, name):
    torch.manual_seed(0)
    options = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    net = torchvision.models.get_model(name, weights=None, num_classes=4, **options).eval()
    # With GoogLeNet's auxiliary heads, which a trained one keeps in its file.
    torch.save({"state_dict": net.state_dict()}, tmp_path / "net.pt")
    classifier = bc.load_classifier(tmp_path / "net.pt", arch=name)
    known = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    assert classifier.card.input_size == (known.crop_size[0], known.crop_size[0])
    assert classifier.card.mean == tuple(known.mean)
    assert any(known.interpolation.value in note and str(known.resize_size[0]) in note for note in classifier.notes)
    assert any("the file has no mean and std" in note for note in classifier.notes)
    logits_are_the_modules(classifier, net, known.mean, known.std)


def test_every_architecture_of_the_hubs_robust_models_can_be_built():
    assert len(HUB_CLASSIFIERS) == 4 * 10 + 6 * 2 + 3 * 5
    for architecture in {entry.architecture for entry in HUB_CLASSIFIERS.values()}:
        assert [name for name, shape in expected_shapes(architecture).items() if shape is None]
    assert HUB_CLASSIFIERS["madrylab/densenet_l2_eps3"].architecture == "densenet161"
    assert HUB_CLASSIFIERS["madrylab/resnet50_linf_eps4.0"].file == "resnet50_linf_eps4.0.ckpt"
    assert not HUB_CLASSIFIERS["madrylab/resnet18_l2_eps0"].robust


def test_robustness_files_with_a_custom_forward_are_read(tmp_path):
    # Their VGG and MobileNet checkpoints have one more "model." than their ResNets.
    torch.manual_seed(0)
    net = torchvision.models.mobilenet_v2(num_classes=3).eval()
    state = {f"module.{place}model.{key}": v for place in ("", "attacker.") for key, v in wrapped(net).items()}
    torch.save({"model": {**state, "module.normalizer.new_mean": torch.full((3, 1, 1), 0.5)}}, tmp_path / "net.ckpt")
    classifier = bc.load_classifier(tmp_path / "net.ckpt", arch="mobilenet_v2", mean=(0, 0, 0), std=(1, 1, 1))
    logits_are_the_modules(classifier, net, [0, 0, 0], [1, 1, 1])


def wrapped(net: nn.Module) -> dict[str, torch.Tensor]:
    return {f"model.{key}": value for key, value in net.state_dict().items()}


ZOO = {
    "cifar10": {"Linf": {"A": {}}, "L2": {"B": {}}},
    "imagenet": {"Linf": {"Salman2020Do_R18": {"preprocessing": "Res256Crop224"}}, "corruptions": {"SIN": {}}},
}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("robustbench:B", ("cifar10", "L2", "B")),
        ("robustbench:imagenet/Linf/Salman2020Do_R18", ("imagenet", "Linf", "Salman2020Do_R18")),
        ("robustbench:imagenet/SIN", ("imagenet", "corruptions", "SIN")),
    ],
)
def test_robustbench_names_find_their_place_in_the_zoo(name, place):
    assert _place(name, ZOO) == place


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("robustbench:imagenet/L2/Salman2020Do_R18", "threat models Linf, corruptions of imagenet, not L2"),
        ("robustbench:imagenet/Linf/Nobody", "no imagenet Linf model 'Nobody'; it has Salman2020Do_R18"),
        ("robustbench:imagenet/Salman2020", "did you mean Salman2020Do_R18"),
        ("robustbench:svhn/Linf/A", "data sets cifar10, imagenet, not svhn"),
        ("robustbench:imagenet/", "does not name a model"),
    ],
)
def test_what_robustbench_does_not_have_is_said_with_what_it_has(name, message):
    with pytest.raises(ValueError, match=message):
        _place(name, ZOO)


def test_a_vit_is_built_for_the_size_of_its_weights(monkeypatch):
    """torchvision's for vit_h_14 are for 518 pixels; built for 224 none of them would fit."""
    built = []

    def without_numbers(*given: object, **named: object) -> nn.Module:
        with torch.device("meta"):
            built.append(new_network(*given, **named))
        return built[-1]

    monkeypatch.setattr(published, "new_network", without_numbers)
    monkeypatch.setattr(published, "downloaded", lambda *_: {})
    monkeypatch.setattr(published, "load_weights", lambda *_: None)
    card = published.torchvision_classifier("torchvision:vit_h_14").card
    assert (card.input_size, built[0].image_size) == ((518, 518), 518)
    assert build_empty(card.architecture, 1000, **card.arguments).image_size == 518
    described = describe_classifier(ModelEntry(name="h", kind="classifier", source="torchvision:vit_h_14"))
    assert (described.input_size, described.arguments) == (card.input_size, card.arguments)
    for size in (519, "large"):
        with pytest.raises(ValueError, match="vit_h_14 cannot be built for images of"):
            build_empty("vit_h_14", 2, image_size=size)
    # A file of somebody's own is of the usual size.
    assert preprocessing_of("vit_h_14", 2, build_empty("vit_h_14", 2)).size == (224, 224)
