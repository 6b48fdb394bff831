"""diffusers pipelines, saved by diffusers itself: labelled, deterministic by seed, and refused with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch

from bigroc_core.cards import CIFAR10_CLASSES
from bigroc_core.generators.pipelines import HUB_PIPELINES, HubPipeline, load_pipeline, parse_settings
from bigroc_core.generators.registry import load_generator


def unet(classes: int | None) -> diffusers.UNet2DModel:
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(16, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=classes,
    )


@pytest.fixture(scope="module")
def consistency(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class-conditional consistency model, as openai/diffusers-cd_imagenet64_l2 is, but small."""
    folder = tmp_path_factory.mktemp("pipelines") / "consistency"
    scheduler = diffusers.CMStochasticIterativeScheduler(num_train_timesteps=40)
    diffusers.ConsistencyModelPipeline(unet(10), scheduler).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ddim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipelines") / "ddim"
    diffusers.DDIMPipeline(unet(None), diffusers.DDIMScheduler()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("settings", ["num_inference_steps=1", "timesteps=22,0"])
def test_consistency_images_depend_on_seed_index_and_label_alone(consistency: Path, settings: str) -> None:
    generator = load_generator(f"{consistency}?{settings}")
    assert (generator.classes, generator.card.input_size) == (CIFAR10_CLASSES, (8, 8))
    generator.sampler.block = 4
    whole, labels = generator.sample(6, seed=3)
    assert labels is not None
    assert labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert whole.shape == (6, 3, 8, 8)
    assert whole.min() >= 0
    assert whole.max() <= 1
    # Whatever the batch, and whatever the global state.
    generator.sampler.block = 5
    torch.manual_seed(99)
    parts = [generator.sample(count, seed=3, start=start)[0] for start, count in ((0, 1), (1, 5))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    other, _ = generator.sample(1, labels=[7], seed=3)
    assert float((other - whole[:1]).abs().max()) > 1e-4
    assert float((generator.sample(1, seed=4)[0] - whole[:1]).abs().max()) > 1e-2


def test_two_steps_take_the_published_timesteps(consistency: Path) -> None:
    pipeline = diffusers.ConsistencyModelPipeline.from_pretrained(consistency)
    pipeline.set_progress_bar_config(disable=True)
    generator = load_generator(f"{consistency}?timesteps=22,0")
    asked = []
    step = generator.sampler.pipeline.scheduler.step  # type: ignore[attr-defined]

    def watched(model_output: object, timestep: torch.Tensor, *rest: object, **named: object) -> object:
        asked.append(float(timestep))
        return step(model_output, timestep, *rest, **named)

    generator.sampler.pipeline.scheduler.step = watched  # type: ignore[attr-defined]
    ours, _ = generator.sample(1, seed=0)
    pipeline.scheduler.set_timesteps(timesteps=[22, 0])
    assert asked == [float(t) for t in pipeline.scheduler.timesteps]
    assert HUB_PIPELINES["cd-imagenet64-2"].arguments["timesteps"] == [22, 0]
    assert HUB_PIPELINES["ct-imagenet64-2"].arguments["timesteps"] == [106, 0]
    assert ours.shape == (1, 3, 8, 8)


def test_steps_that_are_asked_for_take_the_place_of_a_names_own(
    consistency: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline that is given both follows its timesteps."""
    arguments = {"num_inference_steps": None, "timesteps": [22, 0]}
    monkeypatch.setitem(HUB_PIPELINES, "two-steps", HubPipeline(str(consistency), arguments, "Two steps"))
    expected, _ = load_generator(f"{consistency}?num_inference_steps=4").sample(1, seed=0)
    four = load_generator("two-steps?num_inference_steps=4")
    assert torch.equal(four.sample(1, seed=0)[0], expected)
    assert four.card.arguments == {"repo": str(consistency), "num_inference_steps": 4}
    assert not torch.equal(load_generator("two-steps").sample(1, seed=0)[0], expected)
    for both in ("num_inference_steps=4&timesteps=22,0", "timesteps=22,0&num_inference_steps=4"):
        with pytest.raises(ValueError, match="give one of them"):
            parse_settings(both)
    with pytest.raises(ValueError, match="give one of them"):
        load_pipeline(consistency, settings={"num_inference_steps": 4, "timesteps": [22, 0]})


def test_classes_that_a_pipeline_does_not_name_are_a_guess_that_is_told(
    consistency: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "10 classes are taken as CIFAR-10's" in "; ".join(load_generator(consistency).notes)
    monkeypatch.setenv("BIGROC_MODELS", str(tmp_path / "models.toml"))
    names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
    text = f'[[generator]]\nname = "named"\nsource = "{consistency}"\nclasses = {names}\n'
    (tmp_path / "models.toml").write_text(text, "utf-8")
    named = load_generator("named")
    assert (named.classes, named.notes) == (tuple(names), ())


def test_unconditional_pipelines_and_their_steps(ddim: Path) -> None:
    few, labels = load_generator(f"{ddim}?num_inference_steps=2").sample(3, seed=1)
    assert labels is None
    again, _ = load_pipeline(ddim, settings={"num_inference_steps": 2}).sample(2, seed=1, start=1)
    torch.testing.assert_close(again, few[1:], rtol=0, atol=1e-5)
    more, _ = load_generator(f"{ddim}?num_inference_steps=4").sample(3, seed=1)
    assert float((more - few).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="unconditional"):
        load_generator(f"{ddim}?num_inference_steps=2").sample(1, labels=[0])


def test_what_decides_a_pipelines_images_decides_its_fingerprint(ddim: Path, tmp_path: Path) -> None:
    def told(folder: Path, steps: int = 2) -> str:
        return load_generator(f"{folder}?num_inference_steps={steps}").sampler.fingerprint()

    same = tmp_path / "moved"
    shutil.copytree(ddim, same)
    assert told(same) == told(ddim)
    others = [told(ddim, 3)]
    for name, scheduler in (("scheduled", diffusers.DDIMScheduler(beta_end=0.03)), ("trained", None)):
        network = unet(None)
        if scheduler is None:
            next(network.parameters()).data += 1e-3
        diffusers.DDIMPipeline(network, scheduler or diffusers.DDIMScheduler()).save_pretrained(tmp_path / name)
        others.append(told(tmp_path / name))
    assert len({told(ddim), *others}) == 4


def test_what_does_not_fit_is_refused(ddim: Path, consistency: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"DDIMPipeline, which takes .*num_inference_steps.*not \['guidance_scale'\]"):
        load_generator(f"{ddim}?guidance_scale=3")
    for text in ("steps=3", "num_inference_steps=many", "timesteps=", "num_inference_steps"):
        with pytest.raises(ValueError, match="is no setting of a generator"):
            parse_settings(text)
    with pytest.raises(ValueError, match="10 classes"):
        load_generator(consistency).sample(1, labels=[10])
    (tmp_path / "model_index.json").write_text("{", "utf-8")
    with pytest.raises(ValueError, match="cannot be read as a diffusers pipeline"):
        load_generator(tmp_path)


def test_a_repository_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"nobody/nothing could not be fetched .* embedded generators serve"):
        load_generator("nobody/nothing")
    with pytest.raises(ConnectionError, match="openai/diffusers-cd_imagenet64_l2 could not be fetched"):
        load_generator("cd-imagenet64-2")


def small_unet(size: int | tuple[int, int] = 8, channels: int = 3, **more: object) -> diffusers.UNet2DModel:
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=more.pop("out", channels),
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        **more,
    )


def ddpm(*size: object, **more: object) -> diffusers.DDPMPipeline:
    return diffusers.DDPMPipeline(small_unet(*size, **more), diffusers.DDPMScheduler())


@pytest.mark.parametrize(
    ("saved", "note"),
    [
        ({}, ""),
        ({"variant": "fp16"}, "only the variant fp16"),
        ({"variant": "ema", "max_shard_size": "10KB"}, "only the variant ema"),
        ({"max_shard_size": "10KB"}, ""),
        ({"safe_serialization": False}, ""),
    ],
    ids=["plain", "fp16", "sharded ema", "sharded", "bin"],
)
def test_weights_are_found_under_whatever_name_they_were_saved(tmp_path: Path, saved: dict, note: str) -> None:
    ddpm().save_pretrained(tmp_path / "plain")
    ddpm().save_pretrained(tmp_path / "pipe", **saved)
    expected, _ = load_generator(f"{tmp_path / 'plain'}?num_inference_steps=2").sample(1, seed=1)
    generator = load_generator(f"{tmp_path / 'pipe'}?num_inference_steps=2")
    torch.testing.assert_close(generator.sample(1, seed=1)[0], expected, rtol=0, atol=1e-6)
    assert (note in "; ".join(generator.notes)) if note else not generator.notes


def test_safetensors_without_a_variant_are_preferred(tmp_path: Path) -> None:
    ddpm().save_pretrained(tmp_path / "pipe")
    broken = ddpm()
    for parameter in broken.unet.parameters():
        parameter.data.zero_()
    broken.save_pretrained(tmp_path / "pipe", variant="non_ema")
    broken.save_pretrained(tmp_path / "pipe", safe_serialization=False)
    generator = load_generator(tmp_path / "pipe")
    assert any(float(parameter.abs().max()) > 0 for parameter in generator.sampler.network.parameters())
    assert not generator.notes


@pytest.mark.parametrize(("size", "card"), [(28, (28, 28)), ((8, 12), (8, 12)), ([12, 8], (12, 8))])
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_are_those_of_what_comes_out(tmp_path: Path, size: object, card: tuple, channels: int) -> None:
    ddpm(size, channels).save_pretrained(tmp_path / "pipe")
    generator = load_generator(f"{tmp_path / 'pipe'}?num_inference_steps=2")
    images, _ = generator.sample(3, seed=0)
    assert generator.card.input_size == card
    assert images.shape == (3, 3, *card)
    if channels == 1:
        assert torch.equal(images[:, 0], images[:, 2])
        assert "grey" in "; ".join(generator.notes)


def test_latents_are_decoded_and_counted_in_pixels(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4),
        latent_channels=3,
        norm_num_groups=2,
        num_vq_embeddings=8,
    )
    pipeline = diffusers.LDMPipeline(decoder, small_unet(8), diffusers.DDIMScheduler())
    pipeline.save_pretrained(tmp_path / "pipe")
    generator = load_generator(f"{tmp_path / 'pipe'}?num_inference_steps=2")
    assert generator.card.input_size == (16, 16)
    assert generator.sample(2, seed=0)[0].shape == (2, 3, 16, 16)


@pytest.mark.parametrize(("embedded", "classes"), [(10, 10), (11, 10), (101, 100), (12, 12)])
def test_a_null_class_is_not_drawn(tmp_path: Path, embedded: int, classes: int) -> None:
    scheduler = diffusers.CMStochasticIterativeScheduler(num_train_timesteps=40)
    pipeline = diffusers.ConsistencyModelPipeline(small_unet(num_class_embeds=embedded), scheduler)
    pipeline.save_pretrained(tmp_path / "pipe")
    generator = load_generator(tmp_path / "pipe")
    assert len(generator.classes) == classes
    assert ("null class" in "; ".join(generator.notes)) == (embedded != classes)
    images, _ = generator.sample(2, labels=[0, classes - 1])
    assert images.shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match=f"{classes} classes"):
        generator.sample(1, labels=[classes])


def test_steps_that_a_scheduler_cannot_space_are_one_line(tmp_path: Path) -> None:
    diffusers.PNDMPipeline(small_unet(), diffusers.PNDMScheduler()).save_pretrained(tmp_path / "pipe")
    assert load_generator(f"{tmp_path / 'pipe'}?num_inference_steps=8").sample(1)[0].shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"cannot draw with num_inference_steps=2: .*try another") as refusal:
        load_generator(f"{tmp_path / 'pipe'}?num_inference_steps=2").sample(1)
    assert "\n" not in str(refusal.value)


FLAG = "import pathlib; pathlib.Path(__file__).with_name('RAN').touch()\n"


def change_index(folder: Path, **entries: object) -> None:
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **entries}), "utf-8")


def class_as_a_list(folder: Path) -> None:
    (folder / "pipeline.py").write_text(FLAG + "class Mine: pass\n", "utf-8")
    change_index(folder, _class_name=["pipeline", "Mine"])


def class_is_none(folder: Path) -> None:
    (folder / "None.py").write_text(FLAG, "utf-8")
    change_index(folder, _class_name=None)


def part_from_a_file(folder: Path) -> None:
    (folder / "unet" / "mine.py").write_text(FLAG + "class Mine: pass\n", "utf-8")
    change_index(folder, unet=["mine", "Mine"])


def part_named_like_its_file(folder: Path) -> None:
    (folder / "unet" / "unet.py").write_text(FLAG + "class UNet2DModel: pass\n", "utf-8")
    change_index(folder, unet=["unet", "UNet2DModel"])


def part_of_another_library(folder: Path) -> None:
    change_index(folder, scheduler=["os", "system"])


def part_that_is_a_function(folder: Path) -> None:
    change_index(folder, scheduler=["diffusers", "is_torch_available"])


def part_that_is_a_pipeline(folder: Path) -> None:
    """Whose own reader imports what its index names."""
    (folder / "unet" / "evil.py").write_text(FLAG + "class X: pass\n", "utf-8")
    (folder / "unet" / "model_index.json").write_text(json.dumps({"_class_name": ["evil", "X"]}), "utf-8")
    change_index(folder, unet=["diffusers", "DiffusionPipeline"])


def part_that_finds_its_class_itself(folder: Path) -> None:
    change_index(folder, unet=["diffusers", "AutoModel"])


def part_outside(folder: Path) -> None:
    change_index(folder, **{"../unet": ["diffusers", "UNet2DModel"]})


def no_scheduler(folder: Path) -> None:
    change_index(folder, scheduler=[None, None])


def more_weights_than_its_files(folder: Path) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text("utf-8")), "block_out_channels": [40_000, 40_000]}), "utf-8"
    )


def nested(folder: Path) -> None:
    (folder / "model_index.json").write_text("[" * 100_000, "utf-8")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (class_as_a_list, "_class_name must be the name of a class"),
        (class_is_none, "_class_name must be the name of a class"),
        (part_from_a_file, "only classes of diffusers and transformers"),
        (part_named_like_its_file, "only classes of diffusers and transformers"),
        (part_of_another_library, "only classes of diffusers and transformers"),
        (part_that_is_a_function, "no such class"),
        (part_that_is_a_pipeline, "no such class"),
        (part_that_finds_its_class_itself, "no such class"),
        (part_outside, "no name of a folder"),
        (no_scheduler, "needs scheduler"),
        (more_weights_than_its_files, "weights by its config.json, and files of"),
        (nested, "nests too deep"),
    ],
)
def test_nothing_in_a_folder_runs_and_what_is_wrong_is_one_line(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    ddpm().save_pretrained(tmp_path / "pipe")
    spoil(tmp_path / "pipe")
    with pytest.raises(ValueError, match=f"cannot be read as a diffusers pipeline: .*{message}") as refusal:
        load_generator(tmp_path / "pipe")
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.rglob("RAN"))


def test_python_files_beside_a_good_pipeline_are_no_obstacle_and_do_not_run(tmp_path: Path) -> None:
    ddpm().save_pretrained(tmp_path / "pipe")
    for name in (
        "pipeline.py",
        "DDPMPipeline.py",
        "unet/UNet2DModel.py",
        "unet/diffusers.py",
        "scheduler/scheduler.py",
    ):
        (tmp_path / "pipe" / name).write_text(FLAG, "utf-8")
    assert load_generator(f"{tmp_path / 'pipe'}?num_inference_steps=2").sample(1)[0].shape == (1, 3, 8, 8)
    assert not list(tmp_path.rglob("RAN"))
