"""A host's own models on the page: of the command line, of models.toml, of the Hub; their weights are random."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
import torchvision
from conftest import serving, visiting
from hub import standing_in
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect
from serving import PATIENCE, Server

from bigroc_core.limits import MAX_OWN_CHECKPOINT_BYTES

STATUS = "document.querySelector('#status .status span').innerText"
MISSING = "madrylab/resnet18_linf_eps8.0"


def robustness_layout(arch: str, classes: int) -> bytes:
    """A checkpoint of random weights as the `robustness` library lays it out."""
    torch.manual_seed(0)
    weights = torchvision.models.get_model(arch, num_classes=classes).state_dict()
    stream = io.BytesIO()
    torch.save({"model": {f"module.attacker.model.{k}": v for k, v in weights.items()}, "epoch": 1}, stream)
    return stream.getvalue()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A page whose host gave a ResNet-50 of a thousand classes, a models.toml, and a Hub of its own."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "ck.pt").write_bytes(robustness_layout("resnet50", 1000))
    (folder / "birds.pt").write_bytes(robustness_layout("resnet18", 3))
    (folder / "models.toml").write_text(
        '[[classifier]]\nname = "birds"\nsource = "birds.pt"\narch = "resnet18"\nclasses = ["robin", "wren", "kite"]\n'
        "input_size = 64\nrobust = true\npreset = { eps = 3.0, steps = 2 }\n",
        "utf-8",
    )
    place = "madrylab/robust-imagenet-models/resolve/main/resnet18_linf_eps0.5.ckpt"
    with pytest.MonkeyPatch.context() as patch, standing_in(place, robustness_layout("resnet18", 1000)) as address:
        patch.setenv("HF_ENDPOINT", address)
        patch.setenv("HF_HOME", str(folder / "hub"))
        own = ("--classifier", str(folder / "ck.pt"), "--arch", "resnet50", "--num-classes", "1000")
        own += ("--input-size", "224", "--models", str(folder / "models.toml"), "--allow-checkpoints")
        with serving(folder, *own) as started:
            yield started


@pytest.fixture
def page(window: BrowserContext, host: Server) -> Iterator[Page]:
    with visiting(window, host) as opened:
        opened.goto(host.url)
        opened.wait_for_selector("#grid .pair")
        yield opened


def of_size(width: int, height: int, path: Path) -> Path:
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    Image.fromarray(np.stack([across, down, 255 - across], -1).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """500 by 375 pixels, as ImageNet's are."""
    return of_size(500, 375, tmp_path / "photo.png")


@pytest.fixture
def thumbnail(tmp_path: Path) -> Path:
    """100 by 75 pixels, which take a fraction of the time."""
    return of_size(100, 75, tmp_path / "photo.png")


def upload(page: Page, path: Path) -> None:
    page.get_by_text("Upload", exact=True).first.click()
    page.locator("#upload input[type=file]").set_input_files(path)
    with Image.open(path) as image:
        page.get_by_text(f"1 of 1 images ready, {image.width}×{image.height} pixels").wait_for()


def choose_classifier(page: Page, typed: str, option: str) -> None:
    box = page.get_by_label("Classifier", exact=True).first
    box.click()
    box.fill(typed)
    page.get_by_role("option", name=option, exact=True).click()


def title(eps: float) -> str:
    return f"ResNet-18, ImageNet, L∞-robust, ε = {eps:g}/255 (Salman et al. 2020)"


def choose_target(page: Page, typed: str, option: str) -> None:
    page.get_by_text("Given class", exact=True).first.click()
    box = page.get_by_label("Target classes").first
    box.click()
    box.fill(typed)
    page.get_by_role("option", name=option, exact=True).click()


def set_number(page: Page, selector: str, value: float) -> None:
    box = page.locator(f"{selector} input[type=number]")
    box.fill(str(value))
    box.press("Tab")
    page.wait_for_timeout(300)


def boost_and_download(page: Page, folder: Path) -> zipfile.ZipFile:
    page.evaluate("document.querySelector('#status .status span').innerText = ''")
    page.locator("#boost").click()
    page.wait_for_function(f"{STATUS}.includes('Done')", timeout=120_000)
    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(folder / "boosted.zip")
    return zipfile.ZipFile(folder / "boosted.zip")


def sizes_in(archive: zipfile.ZipFile) -> set[tuple[int, int]]:
    pictures = [name for name in archive.namelist() if name.endswith(".png")]
    return {Image.open(io.BytesIO(archive.read(name))).size for name in pictures}


def test_a_classifier_of_the_command_line_boosts_a_photograph_towards_a_class_found_by_typing(
    page: Page, photograph: Path, tmp_path: Path
) -> None:
    upload(page, photograph)
    choose_classifier(page, "ck", "ck")
    expect(page.locator("#model")).to_contain_text("1,000 classes · made for 224×224 · robust? its card does not say")
    # ε has followed the size: 2 at 32 pixels is as much per value as 27.1 here.
    assert float(page.locator("#eps input[type=number]").input_value()) == pytest.approx(27.1, abs=0.05)
    choose_target(page, "golden ret", "golden retriever")
    set_number(page, "#steps", 2)
    archive = boost_and_download(page, tmp_path)
    assert sizes_in(archive) == {(500, 375)}
    assert [name for name in archive.namelist() if name.startswith("boosted/")] == ["boosted/001-golden retriever.png"]
    assert "of 1 of these images under 5 steps of PGD" in page.evaluate(STATUS)
    assert page.locator("#closeup img").first.evaluate("i => [i.naturalWidth, i.naturalHeight]") == [500, 375]


def test_one_of_models_toml_brings_its_classes_and_its_preset(page: Page, thumbnail: Path, tmp_path: Path) -> None:
    page.locator("input[aria-label='Generator']").first.click()
    page.get_by_role("option").filter(has_text="seeds").click()
    expect(page.locator("#target")).not_to_contain_text("carry no class")
    page.locator("#target input[value='Given class']").check()
    choose_classifier(page, "birds", "birds")
    # The generator has other classes: they are estimated, and why is said.
    expect(page.locator("#target")).to_contain_text("draws classes that birds does not know")
    expect(page.locator("#target input[value=Estimated]")).to_be_checked()
    upload(page, thumbnail)
    expect(page.locator("#model")).to_contain_text("3 classes · made for 64×64 · robust")
    expect(page.locator("#steps input[type=number]")).to_have_value("2")
    assert float(page.locator("#eps input[type=number]").input_value()) == pytest.approx(
        3 * (100 * 75) ** 0.5 / 64, 0.01
    )
    choose_target(page, "wre", "wren")
    archive = boost_and_download(page, tmp_path)
    assert sizes_in(archive) == {(100, 75)}


def test_one_of_the_hub_is_fetched_with_progress_and_a_failure_is_said(page: Page, thumbnail: Path) -> None:
    upload(page, thumbnail)
    page.evaluate(
        """() => { window.seen = [];
             const model = document.querySelector('#model');
             const all = {subtree: true, childList: true, characterData: true};
             new MutationObserver(() => window.seen.push(model.innerText)).observe(model, all); }"""
    )
    choose_classifier(page, "ResNet-18, ImageNet, L∞-robust, ε = 0.5", f"{title(0.5)} · Hub, 45 MB")
    expect(page.locator("#model")).to_contain_text(re.compile("made for 224×224.*a step's cost"), timeout=60_000)
    seen = page.evaluate("window.seen")
    megabytes = [int(found[1]) for text in seen if (found := re.search(r"(\d+) of \d+ MB", text))]
    assert len(set(megabytes)) >= 2, seen
    assert megabytes == sorted(megabytes)
    choose_classifier(page, "ResNet-18, ImageNet, L∞-robust, ε = 8", f"{title(8)} · Hub, 45 MB")
    failure = page.locator("#model [role=alert]")
    expect(failure).to_contain_text(MISSING)
    expect(failure).to_contain_text("serves instead")


def send_checkpoint(page: Page, path: Path, architecture: str) -> None:
    box = page.locator("#own-checkpoint")
    if not page.locator("#own-use").is_visible():
        box.get_by_role("button", name="Your own checkpoint").click()
    page.locator("#own-file input[type=file]").set_input_files(path)
    expect(page.locator("#own-file")).to_contain_text(path.suffix)
    named = page.locator("#own-arch input")
    named.fill(architecture)
    page.get_by_role("option", name=architecture, exact=True).click()
    page.locator("#own-use").click()


def test_a_visitors_own_checkpoint_boosts_for_them_alone(
    page: Page, browser: Browser, host: Server, thumbnail: Path, tmp_path: Path
) -> None:
    own = tmp_path / "mine.pt"
    own.write_bytes(robustness_layout("resnet18", 5))
    send_checkpoint(page, own, "resnet50")
    expect(page.locator("[data-testid=toast-body]")).to_contain_text("do not fit together")
    page.locator(".toast-close").click()
    # It has been deleted, so the box is empty again.
    expect(page.locator("#own-file")).to_contain_text("Drop File Here")
    send_checkpoint(page, own, "resnet18")
    expect(page.locator("#own-said")).to_contain_text("5 classes")
    upload(page, thumbnail)
    choose_classifier(page, "mine", "mine.pt (your own file)")
    expect(page.locator("#model")).to_contain_text("5 classes")
    set_number(page, "#steps", 2)
    archive = boost_and_download(page, tmp_path)
    assert sizes_in(archive) == {(100, 75)}
    assert "mine.pt is your own file" in archive.read("settings.json").decode()
    assert not list(host.cache.rglob("mine.pt"))
    other = browser.new_page()
    other.goto(f"{host.url}?tab=boost&classifier=mine.pt&seed=5")
    expect(other.locator("[data-testid=toast-body]")).to_contain_text("no link restores", timeout=1000 * PATIENCE)
    expect(other.get_by_label("Seed", exact=True).first).to_have_value("5")
    other.get_by_label("Classifier", exact=True).first.click()
    expect(other.get_by_role("option").first).to_be_visible()
    assert "mine.pt" not in " ".join(other.get_by_role("option").all_inner_texts())
    other.close()
    assert "mine" not in host.log()


def test_a_checkpoint_of_more_than_the_limit_is_refused_while_it_is_sent(host: Server) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="big.pt"\r\n\r\n'
        for _ in range(2 * MAX_OWN_CHECKPOINT_BYTES // 2**20):
            yield bytes(2**20)
        yield b"\r\n--b--\r\n"

    sent = httpx.post(
        f"{host.url}gradio_api/upload",
        content=parts(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
        timeout=PATIENCE,
    )
    assert sent.status_code == 413
    assert not list(host.cache.rglob("big.pt"))
