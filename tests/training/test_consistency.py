"""Consistency training follows its paper, computes what diffusers samples with, resumes, and saves a pipeline."""

from __future__ import annotations

import json
import math
import resource
import shutil
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_data import soft_pictures
from torch import Tensor, nn

from bigroc_core.__main__ import main
from bigroc_core.cards import CIFAR10_CLASSES, embedded_cards, read_card, weights_of
from bigroc_core.generators import registry
from bigroc_core.generators.cost import sampling_cost
from bigroc_core.generators.pipelines import load_pipeline
from bigroc_core.generators.registry import load_generator
from bigroc_core.generators.sampling import index_seed
from bigroc_core.images.splits import Splits
from bigroc_core.training import run as training
from bigroc_core.training.consistency import (
    ConsistencyFunction,
    build_unet,
    consistency_loss,
    consistency_scheduler,
    discretisation,
    draw_intervals,
    export_consistency,
    huber_offset,
    noise_levels,
    pseudo_huber,
    timesteps_of,
)
from bigroc_core.training.generator import GeneratorRecipe, train_generator

TIMESTEPS_OF = timesteps_of(32)
TINY = {"block_out_channels": [8, 16], "norm_num_groups": 4}


@pytest.fixture(scope="module")
def splits() -> Splits:
    return soft_pictures()


def recipe(**changes: Any) -> GeneratorRecipe:
    given = {
        "name": "tiny",
        "family": "consistency",
        "arguments": TINY,
        "steps": 3,
        "batch_size": 8,
        "lr_generator": 1e-3,
        "intervals": (2, 4),
        "precision": "fp32",
        **changes,
    }
    return GeneratorRecipe(**given)


@pytest.fixture(scope="module")
def trained(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three steps."""
    folder = tmp_path_factory.mktemp("run")
    train_generator(recipe(), splits, folder, "train", save_minutes=1e-9)
    return folder


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the pipeline and its card, to be spoilt."""
    shutil.copytree(trained / "tiny", tmp_path / "tiny")
    shutil.copy(trained / "tiny.json", tmp_path)
    return tmp_path / "tiny"


def untrained() -> nn.Module:
    torch.manual_seed(0)
    return build_unet(TINY, 10).eval()


# -------------------------------------------------------------------------------------------------- the paper's parts


def test_pseudo_huber_is_its_formula() -> None:
    images, others = torch.randn(4, 3, 5, 5).double(), torch.randn(4, 3, 5, 5).double()
    expected = [math.sqrt(((x - y) ** 2).sum() + 0.03**2) - 0.03 for x, y in zip(images, others, strict=True)]
    torch.testing.assert_close(pseudo_huber(images, others, 0.03), torch.tensor(expected).double())
    assert pseudo_huber(images, images, 0.03).tolist() == [0, 0, 0, 0]
    assert huber_offset(3 * 32 * 32) == pytest.approx(0.03, abs=1e-4)  # what the paper has for CIFAR-10


def test_the_discretisation_doubles_from_first_to_last() -> None:
    # As the paper has it for CIFAR-10: 10 to 1280 in 400,000 steps, doubled every 50,000.
    assert [discretisation(step, 400_000, 10, 1280) for step in (0, 49_999, 50_000, 399_999)] == [10, 10, 20, 1280]
    run = [discretisation(step, 120, 10, 50) for step in range(120)]
    assert sorted(set(run)) == [10, 20, 40]
    assert run == sorted(run)
    assert {discretisation(step, 7, 5, 5) for step in range(7)} == {5}
    assert discretisation(0, 1, 10, 80) == 10


@pytest.mark.parametrize("log_sigma", [(-1.1, 2.0), (2.5, 1.5)])
def test_levels_are_karras_and_intervals_lognormal(log_sigma: tuple[float, float]) -> None:
    scheduler = consistency_scheduler()
    levels = noise_levels(scheduler, 18)
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    expected = [(low + i / 18 * (high - low)) ** 7 for i in range(19)]
    torch.testing.assert_close(levels, torch.tensor(expected).double())
    # Drawn as often as a lognormal level lies between the two, of those that lie between the least and the greatest.
    drawn = draw_intervals(levels, 200_000, log_sigma, torch.Generator().manual_seed(0))
    found = torch.bincount(drawn, minlength=18) / 200_000
    normal = torch.distributions.Normal(*log_sigma)
    below = normal.cdf(levels.log())
    torch.testing.assert_close(found.double(), below.diff() / (below[-1] - below[0]), rtol=0, atol=4e-3)


class Halves(nn.Module):
    """f(x, σ) = x·(1 - σ/4), with a factor to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(1.0))

    def forward(self, noisy: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        return self.factor * noisy * (1 - sigma.view(-1, 1, 1, 1).float() / 4)


def test_the_loss_is_weighted_by_the_interval_and_holds_the_lower_level_still() -> None:
    function, images, noise = Halves(), torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    levels = torch.tensor([[0.5, 1.0], [0.75, 2.0]]).double()
    loss = consistency_loss(function, function, images, noise, levels, None)
    upper = [(images[i] + s * noise[i]) * (1 - s / 4) for i, s in enumerate((0.75, 2.0))]
    lower = [(images[i] + s * noise[i]) * (1 - s / 4) for i, s in enumerate((0.5, 1.0))]
    offset = 0.00054 * math.sqrt(48)
    norms = [math.sqrt(float((u - v).square().sum()) + offset**2) for u, v in zip(upper, lower, strict=True)]
    assert loss.item() == pytest.approx(((norms[0] - offset) / 0.25 + (norms[1] - offset) / 1.0) / 2, rel=1e-5)
    loss.backward()
    # d/da √(‖a·u - v‖² + c²) at a = 1, with v held still.
    slopes = [float((u * (u - v)).sum()) / n for u, v, n in zip(upper, lower, norms, strict=True)]
    assert function.factor.grad is not None
    assert function.factor.grad.item() == pytest.approx((slopes[0] / 0.25 + slopes[1]) / 2, rel=1e-4)


# ----------------------------------------------------------------------------------------------- as diffusers samples


def test_without_noise_the_image_stays_what_it_is() -> None:
    function = ConsistencyFunction(untrained(), consistency_scheduler())
    images, labels = torch.rand(3, 3, 32, 32) * 2 - 1, torch.tensor([0, 1, 2])
    least = noise_levels(function.scheduler, 10)[:1].repeat(3)
    torch.testing.assert_close(function(images, least, labels), images, rtol=0, atol=1e-6)
    assert not torch.allclose(function(images, least + 0.1, labels), images, rtol=0, atol=1e-3)


@pytest.mark.parametrize("timesteps", [*TIMESTEPS_OF.values(), [106, 0], [190, 60, 0]])
def test_the_function_is_what_the_pipeline_computes(timesteps: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    unet, scheduler = untrained(), consistency_scheduler()
    pipeline = diffusers.ConsistencyModelPipeline(unet, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    step = scheduler.step

    def watched(output: Tensor, timestep: Tensor, sample: Tensor, **named: Any) -> Any:
        # The noise of the next step is left out, so that what is seen is the image alone.
        monkeypatch.setattr(scheduler.config, "s_noise", 0.0)
        sigma = (timestep / 250).exp()
        result = step(output, timestep, sample, **named)
        seen.append((sample, sigma, result[0]))
        return result

    monkeypatch.setattr(scheduler, "step", watched)
    states = [torch.Generator().manual_seed(i) for i in range(4)]
    labels = torch.tensor([3, 1, 4, 1])
    pipeline(
        batch_size=4,
        class_labels=labels.tolist(),
        num_inference_steps=None,
        timesteps=timesteps,
        generator=states,
        output_type="np",
    )
    function = ConsistencyFunction(unet, consistency_scheduler())
    assert len(seen) == len(timesteps)
    assert float(seen[0][1]) == pytest.approx(80)
    for sample, sigma, denoised in seen:
        with torch.no_grad():
            ours = function(sample, sigma.repeat(4), labels)
        torch.testing.assert_close(ours.clamp(-1, 1), denoised, rtol=0, atol=1e-5)


# ---------------------------------------------------------------------------------------------- training and its files


class Killed(Exception):
    pass


def test_training_resumes(trained: Path, splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = training.save_state, []

    def dies(path: Path, state: dict[str, object]) -> None:
        write(path, state)
        written.append(path)
        if len(written) == 2:
            raise Killed

    monkeypatch.setattr(training, "save_state", dies)
    with pytest.raises(Killed):
        train_generator(recipe(), splits, tmp_path, "train", save_minutes=1e-9)
    monkeypatch.setattr(training, "save_state", write)
    resumed = train_generator(recipe(), splits, tmp_path, "train", save_minutes=1e-9)
    expected, _ = load_generator(trained / "tiny").sample(5, seed=1)
    assert torch.equal(load_generator(tmp_path / "tiny").sample(5, seed=1)[0], expected)
    # Weights are stored as fp16.
    assert (resumed.sample(5, seed=1)[0] - expected).abs().max() < 0.01
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3]
    assert all(math.isfinite(value) for line in log for value in line.values())
    with pytest.raises(ValueError, match="another recipe"):
        train_generator(recipe(intervals=(2, 8)), splits, tmp_path, "train")


def test_training_tells_the_network_the_labels(trained: Path) -> None:
    begun = untrained().state_dict()["class_embedding.weight"]
    moved = torch.load(trained / "state.pt", weights_only=True)["generator"]["class_embedding.weight"] != begun
    # The data have classes 0, 1 and 2.
    assert moved.any(1).tolist() == [True] * 3 + [False] * 7


def test_a_sheet_has_rows_of_one_step_and_of_two(trained: Path) -> None:
    sheet = np.asarray(Image.open(trained / "sheet-000003.png"))
    rows = sheet[::2, ::2].reshape(10, 32, 10, 32, 3).swapaxes(1, 2)
    for half, steps in ((rows[:5], 1), (rows[5:], 2)):
        images, _ = load_generator(f"{trained / 'tiny'}?num_inference_steps={steps}").sample(50, seed=0)
        drawn = images.permute(0, 2, 3, 1).reshape(5, 10, 32, 32, 3).numpy()
        assert np.abs(half / 255 - drawn).max() < 0.02  # fp16 in the file
    assert not np.array_equal(rows[:5], rows[5:])


def test_the_folder_is_diffusers_own_and_has_no_pickles(trained: Path) -> None:
    folder = trained / "tiny"
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]
    assert not list(trained.glob(".tiny*"))
    assert len({(folder / file).stat().st_mode for file in files}) == 1
    assert {value.dtype for value in load_file(folder / files[-1]).values()} == {torch.float16}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    assert isinstance(pipeline, diffusers.ConsistencyModelPipeline)
    assert next(pipeline.unet.parameters()).dtype == torch.float32
    # Diffusers itself gives what our road gives.
    pipeline.set_progress_bar_config(disable=True)
    ours = load_generator(folder)
    states = [torch.Generator().manual_seed(index_seed(5, index)) for index in range(2)]
    theirs = pipeline(batch_size=2, class_labels=[0, 1], num_inference_steps=1, generator=states, output_type="np")
    images, labels = ours.sample(2, seed=5)
    assert labels is not None
    torch.testing.assert_close(torch.from_numpy(theirs.images).permute(0, 3, 1, 2), images, rtol=0, atol=1e-5)


def test_a_full_disk_is_named_and_the_pipeline_that_was_there_can_be_read(trained: Path, model: Path) -> None:
    before, _ = load_generator(model).sample(2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(OSError, match="tiny could not be written: "):
            export_consistency(untrained(), read_card(trained / "tiny.json"), model.parent)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.equal(load_generator(model).sample(2)[0], before)
    assert sorted(path.name for path in model.parent.iterdir()) == ["tiny", "tiny.json"]


@pytest.mark.parametrize("steps", [1, 2])
def test_images_depend_on_seed_index_and_label_alone(trained: Path, steps: int) -> None:
    generator = load_generator(f"{trained / 'tiny'}?num_inference_steps={steps}")
    assert generator.classes == CIFAR10_CLASSES
    assert generator.card.arguments == {"num_inference_steps": None, "timesteps": TIMESTEPS_OF[str(steps)]}
    whole, labels = generator.sample(20, seed=3)
    assert labels is not None
    assert labels.tolist() == [*range(10), *range(10)]
    parts = [generator.sample(count, seed=3, start=start)[0] for start, count in ((0, 1), (1, 12), (13, 7))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    other, _ = generator.sample(20, labels=labels.flip(0), seed=3)
    assert float((other - whole).abs().flatten(1).max(1).values.min()) > 1e-4
    assert sampling_cost(generator).evaluations == steps


def test_steps_take_the_cards_timesteps_and_one_is_the_default(trained: Path) -> None:
    folder = trained / "tiny"
    one, two = (load_generator(f"{folder}?num_inference_steps={steps}").sample(2)[0] for steps in (1, 2))
    assert torch.equal(load_generator(folder).sample(2)[0], one)
    spelt_out = ",".join(map(str, TIMESTEPS_OF["2"]))
    assert torch.equal(load_generator(f"{folder}?timesteps={spelt_out}").sample(2)[0], two)
    # Not what diffusers itself would space two steps as; three, which the card does not know, are.
    derived = load_pipeline(folder, settings={"timesteps": [100, 0], "num_inference_steps": None}).sample(2)[0]
    assert float((derived - two).abs().max()) > 1e-3
    assert load_generator(f"{folder}?num_inference_steps=3").card.arguments == {"num_inference_steps": 3}


def test_a_folder_with_a_card_is_listed_and_found_by_name(
    trained: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = embedded_cards(model.parent, "generator")
    assert list(cards) == ["tiny"]
    assert cards["tiny"].arguments["timesteps"] == TIMESTEPS_OF
    assert cards["tiny"].training["command"] == "train"
    assert weights_of("tiny", model.parent) == [model / "unet" / "diffusion_pytorch_model.safetensors"]
    monkeypatch.setattr(registry, "CHECKPOINTS", model.parent)
    expected, _ = load_generator(trained / "tiny").sample(3, seed=1)
    assert torch.equal(load_generator("tiny").sample(3, seed=1)[0], expected)
    assert load_generator("tiny?num_inference_steps=2").card.name == "tiny"
    (model / "model_index.json").unlink()
    assert embedded_cards(model.parent, "generator") == {}


@pytest.mark.parametrize(
    "missing",
    [
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ],
)
def test_a_pipeline_with_something_missing_is_refused(model: Path, missing: str) -> None:
    (model / missing).unlink()
    with pytest.raises(ValueError, match=f"{model} cannot be read as a diffusers pipeline: .+"):
        load_generator(model)


def test_a_folder_that_is_no_pipeline_is_refused(model: Path) -> None:
    (model / "model_index.json").unlink()
    with pytest.raises(ValueError, match=r"without model_index\.json"):
        load_generator(model)


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ("classes", ["cat", "dog"], "describes another model: .* 32×32 images with 10 classes"),
        ("conditional", False, "describes another model"),
        ("input_size", [64, 64], "describes another model"),
        ("kind", "classifier", "describes another model"),
        ("arguments", {"timesteps": [106, 0]}, "impossible timesteps"),
        ("arguments", {"timesteps": {"2": 0}}, "impossible timesteps"),
        ("arguments", {"width": 3}, r"takes \['num_inference_steps', 'timesteps'\], not \['width'\]"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(model: Path, entry: str, value: Any, reason: str) -> None:
    card = model.with_name("tiny.json")
    card.write_text(json.dumps({**json.loads(card.read_text("utf-8")), entry: value}), "utf-8")
    with pytest.raises(ValueError, match=reason):
        load_generator(model)


def test_labels_that_do_not_fit_are_refused(trained: Path) -> None:
    generator = load_generator(trained / "tiny")
    for labels, reason in (([10], "0 to 9"), ([-1], "0 to 9"), ([1, 2], "1 class numbers"), ([1.5], "integers")):
        with pytest.raises(ValueError, match=reason):
            generator.sample(1, labels=labels)  # type: ignore[arg-type]
    # A network of classes is not run without one.
    with pytest.raises(ValueError, match="class_labels should be provided"):
        ConsistencyFunction(untrained(), consistency_scheduler())(torch.zeros(1, 3, 32, 32), torch.ones(1), None)


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 3},
        {"block_out_channels": [9, 16]},
        {"sample_size": 33},
        {"out_channels": 4},
        {"down_block_types": ["DownBlock2D"]},
    ],
)
def test_a_network_that_cannot_be_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="UNet2DModel cannot be built with"):
        build_unet(arguments, 10)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--intervals 0 10", "rise within 1 to 10000"),
        ("--intervals 20 10", "rise"),
        ("--intervals 10 100000", "rise"),
        ("--log-sigma 7 1", "from -6 to 5"),
        ("--log-sigma 0 0", "from 0.1 to 10"),
        ("--log-sigma nan 1", "from -6 to 5"),
    ],
)
def test_impossible_noise_is_named(words: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["train", "generator", "--family", "consistency", "--name", "t", "--run", str(tmp_path / "run")]
    assert main([*common, *words.split()]) == 2
    found = capsys.readouterr().err
    assert f"error: {words.split()[0]} must" in found
    assert reason in found


def test_the_card_names_the_recipe(trained: Path) -> None:
    card = read_card(trained / "tiny.json")
    assert card.training["recipe"]["intervals"] == [2, 4]
    assert (card.architecture, card.conditional, card.input_size) == ("diffusers", True, (32, 32))
