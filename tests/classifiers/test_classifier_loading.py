"""Classifiers by name and from files with torchvision's or timm's names."""

from __future__ import annotations

import importlib.util

import pytest
import torch
import torchvision
from safetensors.torch import save_file

import bigroc_core as bc
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers import registry
from bigroc_core.classifiers.networks import build_network
from bigroc_core.training.checkpoint import export


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of embedded checkpoints: a tiny robust classifier, a standard one, a judge."""
    monkeypatch.setattr(registry, "CHECKPOINTS", tmp_path)
    for seed, name in enumerate(("cifar10-standard", "cifar10-robust", "cifar10-judge")):
        torch.manual_seed(seed)
        card = Card(
            name=name,
            kind="classifier",
            architecture="resnet9",
            arguments={"width": 4},
            classes=CIFAR10_CLASSES,
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.3, 0.4),
            role="judge" if name == "cifar10-judge" else "boosts",
            robust=name == "cifar10-robust",
        )
        export(build_network("resnet9", classes=10, width=4), card, tmp_path)
    return tmp_path


def test_judges_are_listed_but_never_offered_for_boosting(folder):
    assert list(registry.embedded_classifiers()) == ["cifar10-judge", "cifar10-robust", "cifar10-standard"]
    assert list(registry.boosting_classifiers()) == ["cifar10-robust", "cifar10-standard"]
    assert bc.load_classifier("cifar10-judge").card.name == "cifar10-judge"


def test_an_exported_classifier_comes_back_the_same_frozen_and_in_eval_mode(folder):
    torch.manual_seed(1)
    network = build_network("resnet9", classes=10, width=4).eval()
    images = torch.rand(3, 3, 32, 32)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    for source in ("cifar10-robust", folder / "cifar10-robust.safetensors"):
        classifier = bc.load_classifier(source, device="cpu")
        # Stored in half precision: equal to about its 11 bits.
        torch.testing.assert_close(classifier(images), network((images - mean) / std), rtol=0, atol=2e-3)
        assert not classifier.training
        assert not any(parameter.requires_grad for parameter in classifier.parameters())
        assert all(parameter.dtype == torch.float32 for parameter in classifier.parameters())


def test_loading_leaves_the_random_state_alone(folder):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    bc.load_classifier("cifar10-robust")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("name", list(registry.embedded_classifiers()))
def test_every_embedded_classifier_loads_and_has_its_classes_features_and_embedding(name):
    card = registry.embedded_classifiers()[name]
    classifier = bc.load_classifier(card.name)
    images = torch.rand(2, 3, *card.input_size)
    with torch.no_grad():
        assert classifier(images).shape == (2, len(card.classes))
        assert classifier.embedding(images).ndim == 2
        sides = [level.shape[-1] for level in classifier.features(images).values()]
    assert sides == sorted(sides, reverse=True)
    assert sides


@pytest.mark.parametrize("name", ["cifar10-robst", "no/such/file.pt", "hub:repo", "torchvision:resnet19", ""])
def test_unknown_names_are_one_clear_line(folder, name):
    with pytest.raises(ValueError) as refusal:
        bc.load_classifier(name)
    assert "\n" not in str(refusal.value)


def test_a_typing_error_is_answered_with_the_name_that_was_meant(folder):
    with pytest.raises(ValueError, match="did you mean cifar10-robust"):
        bc.load_classifier("cifar10-robst")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "resnet50"}, "is a resnet9, not the resnet50"),
        ({"classes": 3}, "has 10 classes, not the 3"),
        ({"std": (0.2, 0.0, 0.2)}, "std must be three positive numbers"),
        ({"mean": (0.5,)}, "mean must be three numbers"),
        ({"mean": (0.5, float("nan"), 0.5)}, "mean must be three numbers"),
        ({"input_size": 0}, "input_size must be"),
        ({"features": ("stage9",)}, "no module 'stage9'.*did you mean stage"),
    ],
)
def test_impossible_options_say_what_is_wrong(folder, options, message):
    with pytest.raises(ValueError, match=message):
        bc.load_classifier("cifar10-robust", **options)


def test_a_damaged_pair_of_weights_and_card_is_one_clear_line(folder):
    weights, card = folder / "cifar10-robust.safetensors", folder / "cifar10-robust.json"
    card.write_text(card.read_text("utf-8").replace('"width": 4', '"width": 8'), "utf-8")
    with pytest.raises(ValueError, match="do not fit together"):
        bc.load_classifier("cifar10-robust")
    weights.write_bytes(weights.read_bytes()[:-50])
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        bc.load_classifier("cifar10-robust")


def test_without_a_network_the_message_says_what_from_where_and_what_serves_instead(folder, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = r"nobody/nothing.*net\.ckpt.*embedded cifar10-robust serves instead"
    with pytest.raises(ValueError, match=said) as refusal:
        bc.load_classifier("hub:nobody/nothing/net.ckpt", arch="resnet50")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_torchvision_s_names_with_a_head_of_another_size(tmp_path, kind):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=7).eval()
    path = tmp_path / f"net.{kind}"
    if kind == "pt":
        torch.save({"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, path)
    else:
        save_file(network.state_dict(), path)
    classifier = bc.load_classifier(path, arch="resnet18", input_size=64, features=("layer2.0", "layer4"))
    images = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(classifier(images), network((images - mean) / std))
        torch.testing.assert_close(network.fc(classifier.embedding(images)), classifier(images))
        assert list(classifier.features(images)) == ["layer2.0", "layer4"]
    assert classifier.card.input_size == (64, 64)


def test_feature_names_of_known_families_are_found(tmp_path):
    torch.save(torchvision.models.densenet121(num_classes=5).state_dict(), tmp_path / "net.pt")
    names = bc.load_classifier(tmp_path / "net.pt", arch="densenet121").feature_names
    assert names == tuple(f"features.denseblock{level}" for level in (1, 2, 3, 4))


def test_timm_s_names(tmp_path):
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet18", num_classes=6).eval()
    torch.save(network.state_dict(), tmp_path / "net.pt")
    classifier = bc.load_classifier(tmp_path / "net.pt", arch="timm:resnet18")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(classifier(images), network((images - classifier.mean) / classifier.std))
    assert classifier.feature_names[-1] == "layer4"


@pytest.mark.parametrize(
    ("package", "source"), [("timm", "timm:resnet18.a1_in1k"), ("robustbench", "robustbench:Standard")]
)
def test_a_package_that_is_not_installed_is_named(package, source):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(ValueError, match=f"needs the {package} package"):
        bc.load_classifier(source)


def test_the_list_counts_what_the_classifier_has(folder):
    rows = {row.name: row for row in registry.describe_classifiers()}
    classifier = bc.load_classifier("cifar10-robust")
    assert rows["cifar10-robust"].where == "embedded"
    assert rows["cifar10-robust"].parameters == sum(p.numel() for p in classifier.parameters())
    assert rows["madrylab/resnet50_l2_eps3"].parameters == 25_557_032
    assert {row.where for row in rows.values()} == {"embedded", "hub", "robustbench", "torchvision", "timm"}
