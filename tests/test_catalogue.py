"""models.toml: the user's own models are known by name everywhere, and a mistake in it is one line with its key."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

import bigroc_core as bc
from bigroc_core import catalogue, models_file
from bigroc_core.__main__ import main
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers import registry
from bigroc_core.classifiers.entries import describe_classifier
from bigroc_core.models_file import ModelEntry, model_entries, read_models

ARCH = "shufflenet_v2_x0_5"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """No models.toml but the test's own, and nothing left for other tests."""
    monkeypatch.setenv(models_file.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models_file, "_ADDED", {})
    catalogue.forget()
    yield
    monkeypatch.undo()
    catalogue.forget()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A foreign file of five classes in a folder of its own."""
    torch.manual_seed(0)
    (tmp_path / "weights").mkdir()
    torch.save(
        {"model": torchvision.models.get_model(ARCH, num_classes=5).state_dict()}, tmp_path / "weights" / "net.pt"
    )
    return tmp_path / "weights" / "net.pt"


def written(folder: Path, text: str) -> Path:
    (folder / "models.toml").write_text(text, "utf-8")
    return folder / "models.toml"


FOREIGN = f"""
[[classifier]]
name = "birds"
source = "weights/net.pt"
arch = "{ARCH}"
classes = "names.txt"
mean = [0.5, 0.4, 0.3]
std = [0.2, 0.3, 0.4]
input_size = [64, 48]
robust = true
l0 = 1.5
preset = {{ eps = 3.0, steps = 7 }}
"""


def test_a_classifier_is_loaded_by_its_name_as_the_file_says(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "names.txt").write_text("robin\nwren\nkite\nrook\nswift\n", "utf-8")
    written(tmp_path, FOREIGN)
    classifier = bc.load_classifier("birds")
    card = classifier.card
    assert (card.name, card.classes) == ("birds", ("robin", "wren", "kite", "rook", "swift"))
    assert (card.mean, card.std, card.input_size) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), (64, 48))
    assert (card.robust, card.l0, card.presets["default"]) == (True, 1.5, {"eps": 3.0, "steps": 7})
    plain = bc.load_classifier(weights, arch=ARCH, mean=card.mean, std=card.std, input_size=(64, 48))
    images = torch.rand(2, 3, 64, 48)
    with torch.no_grad():
        assert torch.equal(classifier(images), plain(images))
    # What a caller says overrules it.
    assert bc.load_classifier("birds", input_size=96).card.input_size == (96, 96)


def test_it_is_described_without_building_its_network(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, FOREIGN.replace('classes = "names.txt"', ""))
    expected = bc.load_classifier("birds").card

    def refuse(*_: object) -> None:
        raise AssertionError("a network was loaded")

    monkeypatch.setattr(registry, "read_foreign", refuse)
    monkeypatch.setattr(registry, "load_weights", refuse, raising=False)
    described = catalogue.classifier_cards()["birds"]
    for key in ("name", "classes", "mean", "std", "input_size", "robust", "l0", "presets", "architecture"):
        assert getattr(described, key) == getattr(expected, key), key


@pytest.mark.parametrize(
    ("source", "more", "size", "classes"),
    [
        ("torchvision:resnet18", "", (224, 224), 1000),
        ("hub:someone/birds/net.pt", 'arch = "resnet18"\nclasses = ["a", "b"]', (224, 224), 2),
        ("hub:someone/birds/net.pt", 'arch = "inception_v3"\nclasses = "imagenet"', (299, 299), 1000),
        ("madrylab/resnet50_linf_eps4.0", "", (224, 224), 1000),
        ("robustbench:imagenet/Linf/Salman2020Do_R18", "", (224, 224), 1000),
        ("cifar10-robust", "", (32, 32), 10),
    ],
)
def test_what_would_have_to_be_fetched_is_described_without(
    tmp_path: Path, source: str, more: str, size: tuple[int, int], classes: int
) -> None:
    written(tmp_path, f'[[classifier]]\nname = "far"\nsource = "{source}"\n{more}\n')
    card = describe_classifier(model_entries("classifier")["far"])
    assert (card.name, card.input_size, len(card.classes)) == ("far", size, classes)


def test_what_has_been_fetched_is_described_by_its_file(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    written(
        tmp_path,
        f'[[classifier]]\nname = "far"\nsource = "hub:someone/birds/net.pt"\narch = "{ARCH}"\n'
        f'[[classifier]]\nname = "other"\nsource = "hub:someone/birds/net.pt"\narch = "{ARCH}"\nclasses = 7\n',
    )
    assert catalogue.classifier_cards()["far"].classes == ()
    cached = tmp_path / "hub" / "models--someone--birds"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots" / ("0" * 40)).mkdir(parents=True)
    weights.rename(cached / "snapshots" / ("0" * 40) / "net.pt")
    cards = catalogue.classifier_cards()
    assert cards["far"].classes == bc.load_classifier("far").classes == tuple(f"class {index}" for index in range(5))
    # What does not fit is refused when it is loaded, and does not take all others with it.
    assert len(cards["other"].classes) == 7
    with pytest.raises(ValueError, match="has 5 classes, not the 7"):
        bc.load_classifier("other")


def test_every_name_that_is_listed_is_shown_or_it_is_said_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "madrylab/resnet50_l2_eps3"]) == 0
    assert '"architecture": "resnet50"' in capsys.readouterr().out
    assert main(["generators", "ct-imagenet64-1"]) == 2
    assert "openai/diffusers-ct_imagenet64 of the Hugging Face Hub, which has no card" in capsys.readouterr().err


def test_generators_are_known_by_name_with_their_preset(tmp_path: Path) -> None:
    written(tmp_path, '[[generator]]\nname = "mine"\nsource = "cifar10-cgan"\npreset = "p1-cgan"\n')
    generator = bc.load_generator("mine")
    assert (generator.card.name, generator.card.presets["default"]["eps"]) == ("mine", 2.5)
    assert torch.equal(generator.sample(2, seed=3)[0], bc.load_generator("cifar10-cgan").sample(2, seed=3)[0])
    assert catalogue.generator_cards()["mine"].classes == CIFAR10_CLASSES
    assert catalogue.generator_named("mine", "cpu").card.name == "mine"


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def toml(folder: str, name: str) -> Path:
        (tmp_path / folder).mkdir()
        return written(tmp_path / folder, f'[[classifier]]\nname = "{name}"\nsource = "cifar10-robust"\n')

    app, here, said, option = (toml(name, name) for name in ("app", "here", "said", "option"))
    monkeypatch.setattr(models_file, "CHECKPOINTS", app.parent / "checkpoints")
    assert list(model_entries("classifier")) == ["app"]
    monkeypatch.chdir(here.parent)
    assert list(model_entries("classifier")) == ["here"]
    monkeypatch.setenv(models_file.VARIABLE, str(said))
    assert list(model_entries("classifier")) == ["said"]
    catalogue.use_models(str(option))
    assert "option" in catalogue.classifier_cards()
    monkeypatch.setenv(models_file.VARIABLE, str(tmp_path / "nowhere.toml"))
    with pytest.raises(ValueError, match=r"BIGROC_MODELS names .*nowhere.toml, which is no file"):
        model_entries("classifier")


def test_every_command_knows_the_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(
        tmp_path,
        '[[classifier]]\nname = "mine"\nsource = "cifar10-robust"\n'
        '[[generator]]\nname = "gan"\nsource = "cifar10-cgan"\n',
    )
    path = path.rename(tmp_path / "other.toml")
    assert main(["--models", str(path), "models"]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["--models", str(path), "generators", "gan"]) == 0
    assert '"name": "gan"' in capsys.readouterr().out
    command = ["boost", "generator:gan", str(tmp_path / "out"), "--classifier", "mine", "--count", "2", "--steps", "1"]
    assert main(["--models", str(path), *command, "--device", "cpu"]) == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


def test_a_model_of_one_run_is_offered_until_it_ends(weights: Path) -> None:
    entry = ModelEntry(name="net", kind="classifier", source=str(weights), arch=ARCH, robust=True)
    catalogue.add_for_this_run(entry)
    assert len(catalogue.classifier_cards()["net"].classes) == 5
    assert catalogue.classifier_named("net", "cpu").card.input_size == (224, 224)
    with pytest.raises(ValueError, match="arch is missing"):
        catalogue.add_for_this_run(ModelEntry(name="other", kind="classifier", source=str(weights)))


GOOD = '[[classifier]]\nname = "a"\nsource = "cifar10-robust"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[classifier]]\nname = "a"\nsource = \n', "is not TOML: .*line 3"),
        ('[[classifier]]\nname = "a\n', "is not TOML: .*line 2"),
        ('name = "a"\n', "'name' is not known"),
        ('[classifier]\nname = "a"\n', r"write \[\[classifier\]\]"),
        ('[[classifier]]\nname = "a"\n', r"classifier 1 \('a'\): source is missing"),
        ('[[classifier]]\nsource = "x"\n', "classifier 1: name is missing"),
        (GOOD + 'colour = "red"\n', "'colour' is not known; known: name, source, classes"),
        (GOOD + "mean = [0.5, 0.5]\n", "mean must be three numbers"),
        (GOOD + "std = [0.5, 0.5, 0.0]\n", "std must be three positive numbers"),
        (GOOD + "mean = [nan, 0.5, 0.0]\n", "mean must be three numbers"),
        (GOOD + "input_size = 0\n", "input_size must be pixels"),
        (GOOD + "input_size = [32, 32, 3]\n", "input_size must be pixels"),
        (GOOD + 'robust = "yes"\n', "robust must be true or false"),
        (GOOD + "l0 = -1\n", "l0 must be a number from 0"),
        (GOOD + "l0 = []\n", "l0 must be a number from 0"),
        (GOOD + "classes = 0\n", "classes must be how many"),
        (GOOD + 'classes = "nowhere.txt"\n', "classes must be a file with one name per line"),
        (GOOD + "classes = [1, 2]\n", "classes must be how many"),
        (GOOD + 'preset = "p9"\n', "preset must be a row that `presets` lists"),
        (GOOD + "preset = { eps = -1.0 }\n", "preset must be a row .*eps"),
        (GOOD + "preset = { speed = 1 }\n", "preset must be a row .*speed"),
        (GOOD + GOOD, "name: two models are called 'a'"),
        (GOOD.replace('"a"', '"cifar10-robust"'), "'cifar10-robust' is the name of an embedded model"),
        (GOOD.replace('"a"', '"timm:a"'), "name must be a printable name"),
        (GOOD.replace('"a"', '"' + "😀" * 200 + '"'), "name must be a printable name"),
        (GOOD.replace('"a"', '"a\\u0000b"'), "NUL"),
        (GOOD + f"l0 = {10**399}\n", "more than 19 digits"),
        (GOOD + f"l0 = {'9' * 9_000}\n", "cannot be read"),
        (GOOD + "mean = " + "[" * 50 + "]" * 50 + "\n", "nests deeper"),
        (GOOD + "mean = " + "[" * 100_000 + "\n", "nests too deep|is not TOML"),
        ("x" * 2_000_000, "has over"),
    ],
)
def test_a_mistake_is_one_line_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        read_models(written(tmp_path, text))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 600


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_bytes(b'[[classifier]]\nname = "\xff"\n')
    with pytest.raises(ValueError, match="not UTF-8"):
        read_models(tmp_path / "models.toml")


def test_models_are_known_by_their_cards_and_not_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = {
        "a-robust-sounding-one": Card(name="a", kind="classifier", architecture="resnet9", robust=False),
        "b": Card(name="b", kind="classifier", architecture="resnet9", robust=True),
        "c": Card(name="c", kind="classifier", architecture="resnet9", role="judge", robust=True),
        "d": Card(name="d", kind="classifier", architecture="resnet9", role="control", robust=False),
    }
    monkeypatch.setattr(registry, "embedded_classifiers", lambda: cards)
    assert list(catalogue.classifier_cards()) == ["b", "a-robust-sounding-one", "d"]
    assert [name for name, card in cards.items() if catalogue.is_control(card)] == ["d"]


def test_the_embedded_models_say_what_they_are() -> None:
    cards = registry.embedded_classifiers()
    assert {name: (card.role, card.robust) for name, card in cards.items()} == {
        "cifar10-joint": ("boosts", True),
        "cifar10-joint-vanilla": ("boosts", False),
        "cifar10-judge": ("judge", True),
        "cifar10-robust": ("boosts", True),
        "cifar10-standard": ("control", False),
        "imagenette64-judge": ("judge", True),
        "imagenette64-robust": ("boosts", True),
        "imagenette64-standard": ("control", False),
    }
    assert {card.sizes for card in cards.values()} == {"any"}


def test_the_page_goes_on_offering_the_plain_robust_one_first() -> None:
    names = ["imagenette64-robust", "cifar10-robust", "cifar10-joint", "imagenette64-standard"]
    assert list(catalogue.classifier_cards()) == [*names, "cifar10-joint-vanilla", "cifar10-standard"]
