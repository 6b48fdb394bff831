"""`boost` gives images back at the size they came in, whatever the classifier wants."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor

import bigroc_core as bc
from bigroc_core.__main__ import build_parser, main
from bigroc_core.boosting import logits_of
from bigroc_core.cli.evaluate import measurement_of
from bigroc_core.images import open_image_set
from bigroc_core.presets import PAPER_PRESETS

SIZES = {"a": (32, 32), "b": (96, 64), "c": (128, 128), "d": (40, 56), "e": (96, 64)}  # (width, height)


def picture(size: tuple[int, int], seed: int) -> np.ndarray:
    """Soft colours, (H, W, 3) uint8."""
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    soft = torch.nn.functional.interpolate(coarse, (size[1], size[0]), mode="bicubic").clamp(0, 1)
    return (soft[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for seed, (name, size) in enumerate(SIZES.items()):
        Image.fromarray(picture(size, seed)).save(folder / f"{name}.png")
    return folder


def as_tensor(levels: np.ndarray) -> Tensor:
    return torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255


def test_a_folder_of_many_sizes_comes_back_each_at_its_own_and_as_boost_has_it(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["boost", str(mixed), str(out), "--target", "3", "--eps", "2", "--steps", "3"]) == 0
    written = open_image_set(out, "own")
    classifier = bc.load_classifier("cifar10-robust")
    for row, (name, size) in enumerate(SIZES.items()):
        image = written.batch(row, 1).images
        assert tuple(image.shape[2:]) == (size[1], size[0])
        before = as_tensor(np.asarray(Image.open(mixed / f"{name}.png")))
        expected = bc.boost(classifier, before, 3, bc.BoostConfig(eps=2.0, steps=3)).images
        assert (image - expected).abs().max() <= 0.5 / 255 + 1e-3  # rounded, and beside others in its batch
        assert 0.1 < float((image - before).norm()) <= 2.0 + 0.5 / 255 * before.numel() ** 0.5


def test_what_was_done_to_the_images_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.new("RGBA", (32, 32), (200, number, 0, 100 if number else 255)).save(tmp_path / "in" / f"{number}.png")
    assert main(["boost", str(tmp_path / "in"), str(tmp_path / "out"), "--target", "3", "--steps", "1"]) == 0
    assert "note: 2 images: transparent pixels were laid on white" in capsys.readouterr().out


@pytest.mark.parametrize("size", [(64, 64), (128, 96)])
def test_an_npz_keeps_its_size(tmp_path: Path, size: tuple[int, int]) -> None:
    levels = np.stack([picture(size, seed) for seed in range(3)])
    np.savez(tmp_path / "in.npz", arr_0=levels, arr_1=np.arange(3))
    words = ["boost", str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), "--eps", "1", "--steps", "2"]
    assert main(words) == 0
    with np.load(tmp_path / "out.npz") as found:
        assert found["arr_0"].shape == levels.shape
        assert (found["arr_0"] != levels).any()
    assert main([*words[:2], str(tmp_path / "native.npz"), *words[3:], "--view", "native"]) == 0
    with np.load(tmp_path / "out.npz") as seen, np.load(tmp_path / "native.npz") as native:
        assert (seen["arr_0"] != native["arr_0"]).any()


@pytest.mark.parametrize("view", [None, "native", 24])
def test_debiasing_is_fitted_as_the_images_are_seen(view: str | int | None, mixed: Path, tmp_path: Path) -> None:
    levels = np.stack([picture((64, 64), 100 + seed) for seed in range(12)])
    np.savez(tmp_path / "in.npz", arr_0=levels)
    classifier = bc.load_classifier("cifar10-robust")
    pictures = [as_tensor(picture(size, seed)) for seed, size in enumerate(SIZES.values())]
    shift = 1 - torch.cat([logits_of(classifier, one, view=view) for one in pictures]).mean(0)
    images = torch.cat([as_tensor(one) for one in levels])
    expected = (logits_of(classifier, images, view=view) + shift).argmax(1)
    words = ["boost", str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), "--debias-set", str(mixed)]
    said = [] if view is None else ["--view", str(view)]
    assert main([*words, *said, "--debias-count", "5", "--eps", "1", "--steps", "1"]) == 0
    with np.load(tmp_path / "out.npz") as found:
        assert found["arr_1"].tolist() == expected.tolist()


def test_a_preset_of_256_pixels_comes_out_at_256(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", arr_0=picture((256, 256), 0)[None])
    words = ["boost", str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), "--preset", "p1-adm-g-256", "--target", "1"]
    assert main(words) == 0
    with np.load(tmp_path / "out.npz") as found:
        assert found["arr_0"].shape == (1, 256, 256, 3)


@pytest.mark.parametrize("name", ["p2-cd-2", "p1-adm-g-128", "p1-adm-g-256"])
def test_rows_of_imagenet_systems_run_at_their_sizes_through_a_robust_model_as_it_is_published(
    name: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network, side = torchvision.models.shufflenet_v2_x0_5(weights=None), PAPER_PRESETS[name].size
    state = {f"module.model.{key}": value for key, value in network.state_dict().items()}
    torch.save({"model": state, "epoch": 90}, tmp_path / "robust.ckpt")
    levels = picture((side, side), 0)[None]
    np.savez(tmp_path / "in.npz", arr_0=levels, arr_1=np.array([282]))
    words = ["--classifier", str(tmp_path / "robust.ckpt"), "--arch", "shufflenet_v2_x0_5", "--preset", name]
    assert main(["boost", str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), *words]) == 0
    with np.load(tmp_path / "out.npz") as found:
        moved = (found["arr_0"].astype(float) - levels) / 255
    eps = PAPER_PRESETS[name].config.eps
    assert moved.shape == (1, side, side, 3)
    assert 0.1 < np.linalg.norm(moved) <= eps + 0.5 / 255 * moved.size**0.5


@pytest.mark.parametrize(("said", "view"), [((), "native"), (("--view", "24"), 24)])
def test_a_row_of_the_papers_brings_its_view_to_measurements_and_figures_too(
    said: tuple[str, ...], view: str | int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "in.npz", arr_0=picture((64, 64), 0)[None])
    images = str(tmp_path / "in.npz")
    how = ("--preset", "p2-cd-2", *said)
    assert measurement_of(build_parser().parse_args(["evaluate", images, *how])).view == view
    made = []
    monkeypatch.setattr("bigroc_core.cli.figure._make", lambda recipe, draft, _output: made.append((recipe, draft)))
    words = ["--images", images, "--columns", "1", "--output", str(tmp_path / "f.png"), *how]
    assert main(["figure", "side-by-side", *words]) == 0
    ((recipe, draft),) = made
    assert recipe.settings["view"] == draft.view == view


def test_an_npz_of_many_sizes_is_refused_before_anything_is_written(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["boost", str(mixed), str(tmp_path / "out.npz"), "--target", "3"]) == 2
    said = capsys.readouterr().err
    assert "4 sizes" in said
    assert "folder" in said
    assert [path.name for path in tmp_path.iterdir()] == ["mixed"]


PHOTOS = Path(os.environ.get("BIGROC_DATA", Path(__file__).resolve().parents[3] / "shared")) / "photos"


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="photos/ of the shared data is not here")
def test_a_folder_of_photographs_comes_back_each_at_its_size(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["boost", str(PHOTOS), str(out), "--estimate", "--eps", "4", "--steps", "1"]) == 0
    photographs, written = open_image_set(PHOTOS, "own", labelled=False), open_image_set(out, "own")
    sizes = [photographs.own_size(row) for row in range(len(photographs))]
    assert [written.own_size(row) for row in range(len(written))] == sizes
    assert len(sizes) == 24
    for row in (0, 11, 23):
        before, after = photographs.batch(row, 1).images, written.batch(row, 1).images
        assert 0 < float((after - before).norm()) <= 4 + 0.5 / 255 * before.numel() ** 0.5
