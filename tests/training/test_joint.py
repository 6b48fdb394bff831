"""Joint training attacks what it should as far as it should, resumes, and measures ℓ₀ of what it exports."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_data import RGB as CLASSES
from small_data import joint_images, pictures
from small_data import tiny_robust as tiny
from torch import Tensor, nn

import bigroc_core as bc
from bigroc_core.__main__ import main
from bigroc_core.cards import Card, read_card
from bigroc_core.classifiers.networks import Classifier
from bigroc_core.generators.sampling import Generator
from bigroc_core.images import write_image_set
from bigroc_core.images.splits import LabelledImages
from bigroc_core.training import joint
from bigroc_core.training.checkpoint import export, trim_log
from bigroc_core.training.data import load_data
from bigroc_core.training.joint import fresh_joint_network, generated_steps, joint_loss, train_joint
from bigroc_core.training.recipes import Curves, JointRecipe
from bigroc_core.training.sources import GeneratedSource, Mixture, RealImages, load_real, open_generated

SHARE = 12


@pytest.fixture
def real() -> RealImages:
    return joint_images()[0]


@pytest.fixture
def source() -> GeneratedSource:
    return joint_images()[1]


RECIPE = JointRecipe(
    name="tiny-joint",
    init="init",
    real="pictures",
    generated=("columns",),
    weights=(1.0,),
    size=(16, 16),
    steps=8,
    batch_size=SHARE,
    first_steps=1,
    last_steps=4,
    generated_step_size=0.08,
    real_step_size=0.1,
    warmup=2,
    ema=0.8,
    augmentation="none",
    precision="fp32",
)


# ------------------------------------------------------------------------------------- what training really does


class Seen:
    """Each iteration's images as they came, as the network was trained on them, and the network of that moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.came: list[Tensor] = []
        self.trained_on: list[Tensor] = []
        self.networks: list[Classifier] = []
        self.labels: list[Tensor] = []
        augment, loss = joint.augment, joint.joint_loss

        def note_images(images: Tensor, *arguments: object) -> Tensor:
            self.came.append(augment(images, *arguments))
            return self.came[-1]

        def note_labels(real: Tensor, real_labels: Tensor, generated: Tensor, labels: Tensor) -> dict[str, Tensor]:
            self.labels.append(torch.cat([real_labels, labels]))
            return loss(real, real_labels, generated, labels)

        def note_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if isinstance(module, Classifier) and module.training:
                self.trained_on.append(inputs[0].detach().clone())
                network = tiny()
                network.network.load_state_dict(module.network.state_dict())
                self.networks.append(network)

        monkeypatch.setattr(joint, "augment", note_images)
        monkeypatch.setattr(joint, "joint_loss", note_labels)
        self.hook = nn.modules.module.register_module_forward_pre_hook(note_input)

    def __iter__(self):
        return zip(self.came, self.trained_on, self.networks, self.labels, strict=True)


@pytest.fixture
def seen(monkeypatch):
    watching = Seen(monkeypatch)
    yield watching
    watching.hook.remove()


def f_c(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return network(images).gather(1, labels[:, None])[:, 0]


def walked(
    network: nn.Module, image: Tensor, label: Tensor, sign: float, eps: float, step: float, steps: int, bound: float
) -> tuple[Tensor, int]:
    """One image's attack as P2 3.1.2 says it, and the steps it took."""
    x = image.clone()
    for taken in range(steps):
        leaf = x.clone().requires_grad_()
        logit = f_c(network, leaf[None], label[None])[0]
        if logit.sigmoid() > bound:
            return x, taken
        # Ascend softplus(-f_c) for real images, descend it for generated ones.
        (gradient,) = torch.autograd.grad(sign * nn.functional.softplus(-logit), leaf)
        x = x - step * gradient / gradient.norm()
        delta = x - image
        x = (image + delta * min(1.0, eps / float(delta.norm()))).clamp(0, 1)
    return x, steps


def test_real_images_are_made_less_real_and_generated_ones_more_as_far_as_the_real_mean(tmp_path, real, source, seen):
    train_joint(RECIPE, tiny(), real, [source], tmp_path, "train")
    moved, stopped_early = [], 0
    expected_steps = [1, 1, 2, 2, 3, 3, 4, 4]
    for steps, (came, trained_on, network, labels) in zip(expected_steps, seen, strict=True):
        before, after = f_c(network, came, labels), f_c(network, trained_on, labels)
        assert (after[:SHARE] < before[:SHARE]).all()
        bound = float(after[:SHARE].sigmoid().mean())
        rested = before[SHARE:].sigmoid() > bound
        assert (after[SHARE:][~rested] > before[SHARE:][~rested]).all()
        assert torch.equal(trained_on[SHARE:][rested], came[SHARE:][rested])
        for index in range(SHARE):
            attack = (RECIPE.real_eps, RECIPE.real_step_size, RECIPE.real_steps, math.inf)
            there, _ = walked(network, came[index], labels[index], -1.0, *attack)
            assert torch.allclose(trained_on[index], there, atol=2e-4)
        for index in range(SHARE, 2 * SHARE):
            attack = (RECIPE.generated_eps, RECIPE.generated_step_size, steps, bound)
            there, taken = walked(network, came[index], labels[index], 1.0, *attack)
            assert torch.allclose(trained_on[index], there, atol=2e-4)
            moved.append(taken)
            stopped_early += 0 < taken < steps
    # Every case was met: at rest from the start, stopped on the way, and all steps of each T.
    assert stopped_early > 0
    assert set(moved) == {0, 1, 2, 3, 4}


def test_the_vanilla_model_is_trained_on_images_as_they_are(tmp_path, real, source, seen):
    train_joint(dataclasses.replace(RECIPE, vanilla=True), tiny(), real, [source], tmp_path, "train")
    assert len(seen.came) == RECIPE.steps
    assert all(torch.equal(came, trained_on) for came, trained_on, _, _ in seen)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {line["T"] for line in lines} == {0}


def test_the_attack_grows_as_scheduled():
    of_p2 = dataclasses.replace(RECIPE, steps=10_000, first_steps=1, last_steps=100, grow_every=1_000)
    assert [generated_steps(step, of_p2) for step in (0, 999, 1_000, 5_500, 9_999)] == [1, 1, 2, 6, 10]
    short = dataclasses.replace(RECIPE, steps=100, first_steps=2, last_steps=6)
    grown = [generated_steps(step, short) for step in range(100)]
    assert grown == sorted(grown)
    assert [grown.count(steps) for steps in range(2, 7)] == [20] * 5
    assert generated_steps(0, dataclasses.replace(RECIPE, steps=1, first_steps=1, last_steps=9)) == 1


def test_the_loss_is_p2s_equations_6_to_11():
    draw = torch.Generator().manual_seed(0)
    real, generated = torch.randn((2, 5, 4), generator=draw, dtype=torch.float64) * 4
    labels, others = torch.randint(0, 4, (2, 5), generator=draw)
    expected = 0.0
    for logits, classes, sign in ((real, labels, 1), (generated, others, -1)):
        for row, c in zip(logits.tolist(), classes.tolist(), strict=True):
            ce = math.log(sum(map(math.exp, row))) - row[c]
            bce = -math.log(1 / (1 + math.exp(-sign * row[c])))
            expected += (ce + bce) / 5
    assert joint_loss(real, labels, generated, others)["loss"].item() == pytest.approx(expected, rel=1e-13)
    both = (real.requires_grad_(), generated.requires_grad_())
    assert torch.autograd.gradcheck(lambda r, g: joint_loss(r, labels, g, others)["loss"], both)


# ---------------------------------------------------------------------------------------------- runs and results


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_killed_run_resumes_to_the_same_weights_and_curves(tmp_path, real, source, monkeypatch, at):
    options = {"save_minutes": 1e-9, "curves": Curves(watched=12, reports=4)}
    train_joint(RECIPE, tiny(), real, [source], tmp_path / "whole", "train", **options)
    steps, original = 0, torch.optim.SGD.step

    def step(self, *arguments, **keywords):
        nonlocal steps
        steps += 1
        if steps == at:
            raise Killed
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    # A state older than the log's last line, as a kill between the two leaves it.
    with pytest.raises(Killed):
        train_joint(RECIPE, tiny(), real, [source], tmp_path / "killed", "train", **{**options, "save_minutes": 3e-3})
    monkeypatch.setattr(torch.optim.SGD, "step", original)
    train_joint(RECIPE, tiny(), real, [source], tmp_path / "killed", "train", **options)
    whole, resumed = (load_file(tmp_path / run / "tiny-joint.safetensors") for run in ("whole", "killed"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    cards = [read_card(tmp_path / run / "tiny-joint.json") for run in ("whole", "killed")]
    assert cards[0] == cards[1]
    logs = [
        [json.loads(line) | {"seconds": 0} for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("whole", "killed")
    ]
    assert [line["step"] for line in logs[0]] == [2, 4, 6, 8]
    assert logs[0] == logs[1]


def test_a_log_loses_what_will_be_done_again(tmp_path):
    path = tmp_path / "log.jsonl"
    trim_log(path, 3)
    assert not path.exists()
    path.write_text('{"step": 2}\n{"step": 4}\n{"step": 6}\n{"st', "utf-8")
    trim_log(path, 4)
    assert path.read_text() == '{"step": 2}\n{"step": 4}\n'
    path.write_text('{"step": 2}\n{"st', "utf-8")
    trim_log(path, 9)
    assert path.read_text() == '{"step": 2}\n'


def test_the_model_tells_generated_from_real_and_its_card_has_their_reference(tmp_path, real, source):
    recipe = dataclasses.replace(
        RECIPE, steps=90, batch_size=16, last_steps=3, real_eps=0.2, real_step_size=0.1, lr=0.05
    )
    returned = train_joint(recipe, tiny(), real, [source], tmp_path, "train", curves=Curves(watched=60, reports=3))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["auc"] == lines[-1]["auc_of"]["columns"] > 0.9
    assert lines[-1]["clean"] > 0.9
    loaded = bc.load_classifier(tmp_path / "tiny-joint.safetensors")
    assert loaded.l0 == loaded.card.l0 == returned.card.l0
    images, labels = real.held_out.floats(slice(None)), real.held_out.labels
    readings = nn.functional.softplus(f_c(loaded, images, labels)).double()
    assert loaded.l0 == pytest.approx(readings.mean().item(), abs=1e-5)
    realism = loaded.card.metrics["realism"]
    assert realism["images"] == 60
    assert realism["l0_of_class"] == pytest.approx([readings[labels == c].mean().item() for c in range(3)], abs=1e-5)
    assert realism["quantiles"]["0.5"] == pytest.approx(readings.median().item(), abs=0.1)
    assert loaded.classes == CLASSES
    # The same weights boost: those that read as real already stay as they are, others end up nearer to it.
    generated, targets = source.held_out(30)
    config = bc.BoostConfig(eps=2, steps=8, loss="combined", stop_at="l0")
    result = bc.boost(loaded, generated, targets, config)
    start, end = (
        nn.functional.softplus(z.gather(1, targets[:, None])[:, 0]) for z in (result.logits_before, result.logits_after)
    )
    assert (end - start)[start < loaded.l0].min() > 0
    assert torch.equal(result.images[start >= loaded.l0], generated[start >= loaded.l0])


def test_another_recipe_does_not_continue_a_run(tmp_path, real, source):
    train_joint(RECIPE, tiny(), real, [source], tmp_path, "train")
    with pytest.raises(ValueError, match="another recipe"):
        train_joint(dataclasses.replace(RECIPE, lr=0.5), tiny(), real, [source], tmp_path, "train")


# ------------------------------------------------------------------------------------------ where images come from


def test_a_mixture_keeps_its_weights():
    def named(name: str) -> GeneratedSource:
        return GeneratedSource(name, lambda start, count, draws: pytest.fail("not drawn"), lambda count: None)

    mixture = Mixture([named("a"), named("b"), named("c")], (1.0, 2.5, 0.1))
    counts = [mixture.counts(16, torch.Generator().manual_seed(seed)) for seed in range(2_000)]
    assert {sum(one) for one in counts} == {16}
    shares = torch.tensor([1.0, 2.5, 0.1]) / 3.6 * 16
    found = torch.tensor(counts).float()
    assert ((found - shares).abs() < 1).all()
    assert torch.allclose(found.mean(0), shares, atol=0.05)


def as_folder(data: LabelledImages, path, names: tuple[str, ...] = CLASSES):
    writer = write_image_set(path, len(data), len(data), {}, names)
    writer.write(0, data.floats(slice(None)), data.labels)
    writer.finish()
    return path


def as_npz(data: LabelledImages, path, labelled: bool = True):
    arrays = {"arr_0": data.images.permute(0, 2, 3, 1).numpy()}
    np.savez(path, **arrays, **({"arr_1": data.labels.numpy()} if labelled else {}))
    return path


def test_one_command_trains_at_64_pixels_from_folders_and_an_npz_and_resumes(tmp_path, capsys):
    init = tiny(side=64)
    export(init.network, init.card, tmp_path / "init")
    folder = as_folder(pictures(40, 0, generated=False, side=64), tmp_path / "real")
    generated = as_npz(pictures(30, 1, generated=True, side=64), tmp_path / "generated.npz")
    others = as_npz(pictures(30, 2, generated=True, side=64), tmp_path / "others.npz", labelled=False)
    words = [
        "train",
        "joint",
        "--name",
        "at64",
        "--init",
        str(tmp_path / "init" / "init.safetensors"),
        "--real",
        str(folder),
        "--generated",
        str(generated),
        str(others),
        "--weights",
        "2",
        "1",
        "--steps",
        "3",
        "--batch-size",
        "6",
        "--watched",
        "4",
        "--reports",
        "1",
        "--run",
        str(tmp_path / "run"),
        "--precision",
        "fp32",
    ]
    assert main(words) == 0
    weights = (tmp_path / "run" / "at64.safetensors").read_bytes()
    assert main(words) == 0
    assert (tmp_path / "run" / "at64.safetensors").read_bytes() == weights
    card = read_card(tmp_path / "run" / "at64.json")
    assert card.classes == ("blue", "green", "red")
    assert card.input_size == (64, 64)
    assert isinstance(card.l0, float)
    assert card.training["recipe"]["weights"] == (2.0, 1.0) or card.training["recipe"]["weights"] == [2.0, 1.0]
    assert "generated.npz, others.npz" in card.data
    assert bc.load_classifier(tmp_path / "run" / "at64.safetensors").l0 == card.l0
    # Images that took the place of others, under the same names, are noticed.
    as_npz(pictures(30, 3, generated=True, side=64), generated)
    capsys.readouterr()
    assert main(words) == 2
    assert "other generated images" in capsys.readouterr().err
    as_npz(pictures(30, 1, generated=True, side=64), generated)
    assert main(words) == 0
    first, second = sorted(folder.glob("*/*.png"))[:2]
    first.write_bytes(second.read_bytes())
    assert main(words) == 2
    assert "other data" in capsys.readouterr().err


def test_real_images_are_resized_divided_and_rounded(tmp_path):
    folder = as_folder(pictures(40, 0, generated=False, side=24), tmp_path / "real")
    real = load_real(str(folder), None, None, (16, 16), tiny(), {})
    assert (len(real.train), len(real.held_out)) == (36, 4)
    assert real.classes == ("blue", "green", "red")
    images = torch.cat([real.train.floats(slice(None)), real.held_out.floats(slice(None))])
    assert images.shape == (40, 3, 16, 16)
    assert torch.equal(images * 255, (images * 255).round())
    assert len({image.numpy().tobytes() for image in images}) == 40
    # The brightest channel tells the class: labels go with their images.
    order = torch.tensor([CLASSES.index(name) for name in real.classes])
    labels = torch.cat([real.train.labels, real.held_out.labels])
    assert torch.equal(images.mean((2, 3)).argmax(1), order[labels])


def test_data_give_their_own_held_out_images_at_the_models_size_and_a_run_knows_them_again(tmp_path, source):
    folder = as_folder(pictures(60, 0, generated=False, side=24), tmp_path / "mine")
    real = load_real(None, None, folder, (16, 16), tiny(), {})
    splits = load_data(folder, 16)
    assert real.classes == ("blue", "green", "red")
    assert torch.equal(real.train.floats(slice(None)), splits.train.floats(slice(None)))
    assert torch.equal(real.held_out.floats(slice(None)), splits.validation.floats(slice(None)))
    recipe = dataclasses.replace(RECIPE, steps=2, last_steps=1, batch_size=8)
    train_joint(recipe, tiny(), real, [source], tmp_path / "run", "train")
    assert read_card(tmp_path / "run" / "tiny-joint.json").training["recipe"]["data"] == splits.fingerprint()
    as_folder(pictures(60, 1, generated=False, side=24), tmp_path / "other")
    other = load_real(None, None, tmp_path / "other", (16, 16), tiny(), {})
    with pytest.raises(ValueError, match="another recipe"):
        train_joint(recipe, tiny(), other, [source], tmp_path / "run", "train")


def test_data_of_other_classes_than_the_init_classifiers_are_refused_and_wordnet_numbers_are_its_classes(tmp_path):
    strange = as_folder(pictures(30, 0, generated=False), tmp_path / "strange", ("red", "green", "mauve"))
    with pytest.raises(ValueError, match="the classes green, mauve, red, and init was trained on red, green"):
        load_real(None, None, strange, (16, 16), tiny(), {})
    with pytest.raises(ValueError, match="--data and --real both"):
        load_real(str(strange), None, strange, (16, 16), tiny(), {})
    numbered = as_folder(pictures(30, 0, generated=False), tmp_path / "n", ("n01440764", "n01443537", "n01484850"))
    assert load_real(None, None, numbered, (16, 16), tiny(), {}).classes == CLASSES
    with pytest.raises(ValueError, match="only 16 pixels on their shorter side, and --size 64 would enlarge them"):
        load_real(None, None, numbered, (64, 64), tiny(side=64), {})


def test_wordnet_folders_are_the_init_classifiers_classes(tmp_path):
    folder = as_folder(pictures(30, 0, generated=False), tmp_path / "real", ("n01440764", "n01443537", "n01484850"))
    assert load_real(str(folder), None, None, (16, 16), tiny(), {}).classes == CLASSES
    numbered = as_npz(pictures(30, 0, generated=False), tmp_path / "real.npz")
    assert load_real(str(numbered), None, None, (16, 16), tiny(), {}).classes == CLASSES


class Plain:
    """A generator that draws pictures, conditional where it has classes."""

    block = 1

    def __call__(self, seed: int, indices: range, labels: Tensor | None) -> Tensor:
        data = pictures(len(indices), hash((seed, indices.start)) % 2**31, generated=True)
        if labels is not None:
            data.images[:] = 0
            data.images[torch.arange(len(indices)), labels] = 255
        return data.floats(slice(None))


def generator_of(classes: tuple[str, ...], side: int = 16) -> Generator:
    card = Card(
        name="plain",
        kind="generator",
        architecture="",
        classes=classes,
        conditional=bool(classes),
        input_size=(side, side),
    )
    return Generator(Plain(), card)


def test_a_generators_labels_are_put_in_the_real_images_order(monkeypatch, real):
    monkeypatch.setattr(
        "bigroc_core.training.sources.load_generator", lambda *_: generator_of(("rot", "blue", "green"))
    )
    opened = open_generated("generator:plain", (16, 16), real, tiny(), {"rot": "red"}, 0)
    images, labels = opened.draw(0, 6, torch.Generator())
    # Channel 0 is the generator's first class.
    assert torch.equal(labels, torch.tensor([0, 2, 1])[images.mean((2, 3)).argmax(1)])
    with pytest.raises(ValueError, match="1 of plain's 3 classes"):
        open_generated("generator:plain", (16, 16), real, tiny(), {}, 0)


def test_images_that_training_watches_are_none_that_it_trains_on(monkeypatch, tmp_path, real):
    monkeypatch.setattr("bigroc_core.training.sources.load_generator", lambda *_: generator_of(()))
    named = as_npz(pictures(50, 3, generated=True), tmp_path / "set.npz")
    for source in ("generator:plain", str(named)):
        opened = open_generated(source, (16, 16), real, tiny(), {}, 0)
        trained_on = [opened.draw(start, 8, torch.Generator().manual_seed(start))[0] for start in range(0, 80, 8)]
        watched, _ = opened.held_out(5)
        ours = {image.numpy().tobytes() for image in torch.cat(trained_on)}
        assert len(watched) == 5
        assert not ours & {image.numpy().tobytes() for image in watched}


def test_unlabelled_images_get_the_init_classifiers_labels_among_the_real_classes(tmp_path, real):
    data = pictures(40, 3, generated=True)
    named = as_npz(data, tmp_path / "set.npz", labelled=False)
    init = tiny(("grey", "blue", "green", "red"))
    images, labels = open_generated(str(named), (16, 16), real, init, {}, 0).draw(0, 20, torch.Generator())
    # Red, green, blue are columns 3, 2, 1 of the init classifier; grey is none of the real images' classes.
    assert torch.equal(labels, init(images)[:, [3, 2, 1]].argmax(1))
    with pytest.raises(
        ValueError, match=r"no labels, and init cannot estimate them.*give generated images with labels"
    ):
        open_generated(str(named), (16, 16), real, tiny(("a", "b", "c")), {}, 0)


# ------------------------------------------------------------------------------------------------------- bad input


def test_generated_images_of_another_size_or_other_classes_are_refused(tmp_path, real, monkeypatch):
    larger = as_npz(pictures(12, 0, generated=True, side=20), tmp_path / "larger.npz")
    with pytest.raises(ValueError, match=r"20×20, and the model is trained at 16×16"):
        open_generated(str(larger), (16, 16), real, tiny(), {}, 0)
    monkeypatch.setattr("bigroc_core.training.sources.load_generator", lambda *_: generator_of(CLASSES, 32))
    with pytest.raises(ValueError, match=r"32×32, and the model is trained at 16×16"):
        open_generated("generator:plain", (16, 16), real, tiny(), {}, 0)
    strange = as_folder(pictures(12, 0, generated=True), tmp_path / "strange", ("red", "green", "mauve"))
    with pytest.raises(ValueError, match="mauve"):
        open_generated(str(strange), (16, 16), real, tiny(), {}, 0)
    data = pictures(12, 0, generated=True)
    numbers = as_npz(LabelledImages(data.images, data.labels + 7), tmp_path / "numbers.npz")
    with pytest.raises(ValueError, match="labels in arr_1"):
        open_generated(str(numbers), (16, 16), real, tiny(), {}, 0)


def test_real_images_without_labels_or_of_another_size_than_cifar10s_are_refused(tmp_path):
    unlabelled = as_npz(pictures(12, 0, generated=False), tmp_path / "real.npz", labelled=False)
    with pytest.raises(ValueError, match=r"real\.npz has no labels"):
        load_real(str(unlabelled), None, None, (16, 16), tiny(), {})
    with pytest.raises(ValueError, match="the model takes 16×16; give other --data"):
        load_real(None, None, None, (16, 16), tiny(), {})


def test_an_init_classifier_whose_head_does_not_fit_is_refused():
    wide = tiny()
    wide.card = dataclasses.replace(wide.card, classes=("red", "green"))
    with pytest.raises(ValueError, match="gives 3 values for its 2 classes"):
        fresh_joint_network(wide, 3)
    elsewhere = tiny()
    elsewhere.card = dataclasses.replace(elsewhere.card, architecture="robustbench:Someone2020", arguments={})
    with pytest.raises(ValueError, match="init cannot be trained on: its architecture has to be built anew"):
        fresh_joint_network(elsewhere, 3)


def test_all_but_the_head_is_the_init_classifiers():
    init = tiny()
    torch.manual_seed(9)
    network, head = fresh_joint_network(init, 7)
    assert head == "head"
    assert network.head.weight.shape[0] == 7
    theirs = init.network.state_dict()
    same = {
        name: torch.equal(value, theirs[name])
        for name, value in network.state_dict().items()
        if not name.startswith("head.")
    }
    assert all(same.values())
    assert len(same) == len(theirs) - 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--real-eps", "nan"], "--real-eps must be"),
        (["--last-steps", "0"], "--last-steps 0 is less than"),
        (["--weights", "1"], "--weights must be 2 positive numbers"),
        (["--weights", "1", "-1"], "--weights must be"),
        (["--init", "cifar10-judge"], "only ever judges"),
        (["--init", "cifar10-robus"], "did you mean cifar10-robust"),
        (["--generated", "generator:cifar10-dcgan", "generator:cifar10-dcgan"], "twice"),
        (["--generated", "generator:nothing"], "there is no generator 'nothing'"),
        (["--held-out", "x"], "--held-out goes with --real"),
        (["--size", "64"], "the model takes 64×64; give other --data"),
        (["--watched", "1"], "--watched must be"),
        (["--steps", "0"], "--steps must be"),
    ],
)
def test_impossible_commands_are_refused_in_one_line_before_anything_is_made(
    tmp_path, capsys, monkeypatch, words, said
):
    data = {}
    for split, count in (("train", 5_010), ("test", 3)):
        data[f"x_{split}"] = np.zeros((count, 32, 32, 3), np.uint8)
        data[f"y_{split}"] = np.zeros(count, np.int64)
    np.savez(tmp_path / "cifar10.npz", **data)
    run = tmp_path / "run"
    base = ["train", "joint", "--name", "tiny", "--data", str(tmp_path / "cifar10.npz"), "--run", str(run)]
    assert main([*base, *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not run.exists()
