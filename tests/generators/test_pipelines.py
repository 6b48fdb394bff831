"""diffusers pipelines, saved by diffusers itself: labelled, deterministic by seed, and refused with the reason."""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest
import torch

from bigroc_core.cards import CIFAR10_CLASSES
from bigroc_core.generators.pipelines import HUB_PIPELINES, load_pipeline, parse_settings
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


def test_unconditional_pipelines_and_their_steps(ddim: Path) -> None:
    few, labels = load_generator(f"{ddim}?num_inference_steps=2").sample(3, seed=1)
    assert labels is None
    again, _ = load_pipeline(ddim, settings={"num_inference_steps": 2}).sample(2, seed=1, start=1)
    torch.testing.assert_close(again, few[1:], rtol=0, atol=1e-5)
    more, _ = load_generator(f"{ddim}?num_inference_steps=4").sample(3, seed=1)
    assert float((more - few).abs().max()) > 1e-3
    with pytest.raises(ValueError, match="unconditional"):
        load_generator(f"{ddim}?num_inference_steps=2").sample(1, labels=[0])


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
