"""The Evaluate tab as a visitor uses it, and its endpoints as programs call them."""

from __future__ import annotations

import json
import re
import shlex
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from playwright.sync_api import Browser, Page
from serving import Server

from bigroc_core.__main__ import main
from bigroc_core.catalogue import classifier_cards
from bigroc_core.classifiers.registry import embedded_classifiers, is_judge
from bigroc_core.experiments.judging import judge_for, least_images
from bigroc_core.images import encode_png

pytestmark = [
    pytest.mark.skipif(
        not any(is_judge(card) for card in embedded_classifiers().values()), reason="no judge is embedded"
    ),
    pytest.mark.timeout(900),
]

STATUS = "document.querySelector('#evaluation-status .status span').innerText"
LONG = 600


@pytest.fixture(scope="module")
def count() -> int:
    return least_images(judge_for(classifier_cards()["cifar10-robust"])) + 7


def ended(client: Client, job: str) -> dict[str, Any]:
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        status = client.predict(job, api_name="/evaluation_status")
        if status["state"] not in ("queued", "running"):
            return status
        time.sleep(0.2)
    raise AssertionError(f"not done after {LONG} s: {status}")


def job_folders(server: Server) -> list[Path]:
    return list((server.cache / "jobs").iterdir()) if (server.cache / "jobs").exists() else []


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


def start_in(page: Page, **numbers: float) -> None:
    page.get_by_role("tab", name="Evaluate").click()
    for label, value in numbers.items():
        label = label.replace("_", " ")
        box = page.get_by_label(f"number input for {label}").and_(page.locator("input:visible")).first
        box.fill(f"{value:g}")
        box.press("Tab")
    page.locator("#evaluate").click()


def test_an_uploaded_set_gives_the_command_lines_numbers_after_a_broken_one_failed(
    client: Client, server: Server, count: int, tmp_path: Path
) -> None:
    broken, whole = tmp_path / "broken.zip", tmp_path / "my-set.npz"
    with zipfile.ZipFile(broken, "w") as archive:
        for number, picture in enumerate(pictures(count)):
            data = encode_png(torch.from_numpy(picture).permute(2, 0, 1).float() / 255)
            archive.writestr(f"{number:03}.png", data[: len(data) // 2] if number == 3 else data)
    np.savez(whole, arr_0=pictures(count), arr_1=np.arange(count) % 10)
    asked: dict[str, Any] = {"source": "Uploaded set", "classifier": "cifar10-robust"}
    asked |= {"count": count, "steps": 1, "eps": 0.75}
    first, second = (
        client.predict(**asked, file=handle_file(str(path)), api_name="/evaluate") for path in (broken, whole)
    )
    failed = ended(client, first)
    assert failed["state"] == "failed"
    assert "003.png" in failed["error"]
    assert ended(client, second)["state"] == "done"
    result = client.predict(second, api_name="/evaluation_result")
    assert result["source"] == "my-set.npz"
    assert any("Targets are the labels of my-set.npz" in note for note in result["notes"])
    assert result["csv"].startswith("images,metric")
    assert "toprule" in result["latex"]
    assert "in cifar10-judge's features" in result["headline"]

    words = [str(whole) if word == "my-set.npz" else word for word in shlex.split(result["command"])[3:]]
    assert main([*words, "--run", str(tmp_path / "run"), "--output", str(tmp_path / "out.json")]) == 0
    again = json.loads((tmp_path / "out.json").read_text())
    assert [row["images"] for row in again["rows"]] == [row["images"] for row in result["rows"]]
    for ours, theirs in zip(result["rows"], again["rows"], strict=True):
        assert ours["l2"]["mean"] == pytest.approx(theirs["l2"]["mean"], rel=1e-4)
        for mine, its in zip(ours["scores"], theirs["scores"], strict=True):
            assert (mine["metric"], mine["reference"]) == (its["metric"], its["reference"])
            assert mine["mean"] == pytest.approx(its["mean"], rel=1e-3)

    # The upload's copy is gone, and what is kept lies where Gradio's files lie.
    assert not list((server.cache / "jobs").rglob("*.npz"))
    assert list((server.cache / "jobs").rglob("evaluation.csv"))
    assert client.predict("not-" + second, api_name="/evaluation_status") == {"state": "unknown"}
    assert client.predict("not-" + second, api_name="/cancel_evaluation") is False
    with pytest.raises(AppError, match="no result of this id"):
        client.predict(first, api_name="/evaluation_result")
    assert "Traceback" not in server.log()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"count": 20}, "Images per seed"),
        ({"eps": -1.0}, "Strength ε"),
        ({"eps": 1e9}, "Strength ε"),
        ({"seeds": 9}, "Seeds"),
        ({"classifier": "cifar10-judge"}, "cifar10-judge"),
        ({"eps_from": "Find it by a sweep", "eps": 0}, "above 0"),
        ({"source": "Uploaded set"}, "add a zip"),
    ],
)
def test_a_bad_request_gets_one_clear_sentence(
    client: Client, server: Server, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(AppError) as refused:
        client.predict(**arguments, api_name="/evaluate")
    assert said.lower() in str(refused.value).lower()
    assert "Traceback" not in str(refused.value) + server.log()


def test_a_bad_upload_is_explained_at_once_and_at_the_control(page: Page, server: Server, tmp_path: Path) -> None:
    np.savez(tmp_path / "keys.npz", pictures=pictures(3))
    page.get_by_role("tab", name="Evaluate").click()
    page.get_by_label("Uploaded set").check()
    page.locator("#evaluation-upload input[type=file]").set_input_files(tmp_path / "keys.npz")
    page.get_by_text("expected arr_0").first.wait_for()
    page.locator("#evaluate").click()
    page.wait_for_function(
        "document.querySelectorAll('#evaluation-upload').length && "
        "document.body.innerText.match(/expected arr_0/g).length >= 2"
    )
    assert "Nothing is being measured" in page.evaluate(STATUS)


def test_a_reload_finds_the_job_again_which_nobody_else_sees(
    page: Page, browser: Browser, server: Server, count: int
) -> None:
    start_in(page, Images_per_seed=count, Steps_T=1)
    page.wait_for_function(f"{STATUS}.includes('images ·')", timeout=LONG * 1000)
    page.reload()
    page.get_by_role("tab", name="Evaluate").click()
    page.wait_for_function(f"{STATUS}.includes('Done in')", timeout=LONG * 1000)
    page.locator("#evaluation").filter(has_not_text="An example to begin with").wait_for()
    assert page.locator("#evaluation .scores tbody tr").count() == 4
    assert page.locator("#evaluation .scores tr.best").count() == 1
    assert re.search(r"nearer|farther|as far", page.locator("#evaluation .headline").inner_text())
    with page.expect_download() as download:
        page.locator("#evaluation-csv").click()
    assert download.value.path().read_text().startswith("images,metric")
    page.locator("#evaluation-command .cm-line").filter(has_text=f"--count {count}").wait_for()
    # Narrow as a phone, the table scrolls and the page does not.
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")

    other = browser.new_page()
    other.set_default_timeout(LONG * 1000)
    other.goto(server.url)
    other.get_by_role("tab", name="Evaluate").click()
    other.wait_for_selector("#evaluation-status .status")
    assert "Nothing is being measured" in other.evaluate(STATUS)
    assert "An example to begin with" in other.locator("#evaluation").inner_text()
    assert other.locator("#evaluation-command").is_hidden()
    other.close()


def test_cancel_ends_the_job_and_the_next_one_may_start(page: Page, server: Server) -> None:
    before = len(job_folders(server))
    start_in(page, Images_per_seed=1000, Steps_T=1)
    page.wait_for_function(f"{STATUS}.includes('images ·')", timeout=LONG * 1000)
    assert len(job_folders(server)) == before + 1
    assert page.locator("#evaluate").is_disabled()
    page.locator("#evaluate-cancel").click()
    page.wait_for_function(f"{STATUS}.includes('Cancelled')", timeout=LONG * 1000)
    assert len(job_folders(server)) == before
    page.wait_for_function("!document.querySelector('#evaluate').disabled")
    assert page.locator("#evaluate-cancel").is_disabled()


def test_an_id_that_is_not_known_any_more_shows_the_idle_page(page: Page) -> None:
    start_in(page, Images_per_seed=1000, Steps_T=1)
    page.wait_for_function("!document.querySelector('#evaluate-cancel').disabled")
    stored = page.evaluate("JSON.stringify(localStorage)")
    page.locator("#evaluate-cancel").click()
    page.wait_for_function(f"{STATUS}.includes('Cancelled')", timeout=LONG * 1000)
    assert "bigroc-evaluation" in stored
    page.evaluate("localStorage.setItem('bigroc-evaluation', 'not what was stored')")
    page.reload()
    page.get_by_role("tab", name="Evaluate").click()
    page.wait_for_function(f"{STATUS}.includes('Nothing is being measured')")
