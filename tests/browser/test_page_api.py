"""The page's endpoints, called as programs call them."""

from __future__ import annotations

import io
import shlex
import socket
import time
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from serving import PATIENCE, Server

from bigroc_core.__main__ import main
from bigroc_core.images import read_image


def zip_of(result: tuple[Any, ...]) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(part for part in result if isinstance(part, str) and part.endswith(".zip")))


def test_every_endpoint_is_named_and_described(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {
        "/boost",
        "/cancel_boost",
        "/preset",
        "/check_upload",
        "/debias",
        "/cancel_debias",
        "/evaluate",
        "/evaluation_status",
        "/evaluation_result",
        "/cancel_evaluation",
    } <= set(endpoints)
    for name, endpoint in endpoints.items():
        assert endpoint["description"], name
        assert all(parameter["parameter_name"] for parameter in endpoint["parameters"]), name
    assert client.view_api(return_format="dict", print_info=False)["unnamed_endpoints"] == {}


def test_the_boost_endpoint_and_the_command_line_give_the_same_images(client: Client, tmp_path: Path) -> None:
    result = client.predict(count=4, seed=7, steps=5, eps=1.0, target="Estimated", api_name="/boost")
    archive = zip_of(result)
    command = next(part for part in result if isinstance(part, str) and part.startswith("python -m bigroc_core boost"))
    words = shlex.split(command)[3:]
    words[words.index("boosted")] = str(tmp_path / "boosted")
    assert main(words) == 0
    written = sorted((tmp_path / "boosted").rglob("*.png"), key=lambda path: path.name)
    pages = sorted(name for name in archive.namelist() if name.startswith("boosted/"))
    assert len(written) == len(pages) == 4
    for path, name in zip(written, pages, strict=True):
        difference = (read_image(path).pixels - read_image(archive.read(name)).pixels).abs()
        assert float(difference.max()) <= 2 / 255


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"eps": 1_801.0}, "Strength ε"),
        ({"steps": -1}, "Steps T"),
        ({"count": 65}, "Images"),
        ({"step_size": "nan"}, "step_size"),
        ({"step_size": "-1"}, "step_size"),
        ({"stop_at": "7"}, "stop_at"),
        ({"seed": -1}, "seed"),
        ({"classes": ["unicorn"]}, "unicorn"),
        ({"classifier": "cifar10-judge"}, "cifar10-judge"),
        ({"source": "Upload"}, "no image has been uploaded"),
        ({"target": "Estimated, debiased", "validation_seed": 0}, "separate"),
    ],
)
def test_a_bad_request_gets_one_clear_sentence(
    client: Client, server: Server, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(AppError) as refused:
        client.predict(**arguments, api_name="/boost")
    message = str(refused.value)
    assert said.lower() in message.lower()
    assert "Traceback" not in message + server.log()


def images_of_all_kinds(folder: Path) -> dict[str, str]:
    """Files by name, and what the page must say of each ("" where it is simply read)."""
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (48, 32, 3), np.uint8))
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(rng.integers(0, 65536, (32, 32)).astype(np.uint16)).save(folder / "sixteen.png")
    Image.new("RGB", (1, 1), "red").save(folder / "one.png")
    palette = photo.quantize(8)
    palette.save(folder / "palette.png", transparency=0)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    palette.save(folder / "moving.gif", save_all=True, append_images=[photo.quantize(4)])
    whole = io.BytesIO()
    photo.save(whole, "PNG")
    (folder / "half.png").write_bytes(whole.getvalue()[:2000])
    (folder / "text.png").write_text("not an image")
    (folder / "empty.png").write_bytes(b"")
    Image.new("1", (20_000, 20_000)).save(folder / "vast.png")
    return {
        "cmyk.jpg": "",
        "sixteen.png": "",
        "one.png": "",
        "palette.png": "laid on white",
        "turned.jpg": "upright",
        "moving.gif": "the first of several frames",
        "half.png": "truncated",
        "text.png": "not an image",
        "empty.png": "empty",
        "vast.png": "25 million",
    }


def test_files_of_all_kinds_are_read_or_refused_with_a_reason(client: Client, server: Server, tmp_path: Path) -> None:
    expected = images_of_all_kinds(tmp_path)
    files = [handle_file(str(tmp_path / name)) for name in expected]
    said = client.predict(files=files, api_name="/check_upload")
    for name, words in expected.items():
        assert not words or any(name in line and words in line for line in said.split("<li")), (name, words)
    result = client.predict(
        source="Upload",
        files=files,
        target="Given class",
        target_classes=["church", "tench"],
        steps=2,
        api_name="/boost",
    )
    assert len([name for name in zip_of(result).namelist() if name.startswith("boosted/")]) == 6
    with pytest.raises(AppError, match="not an image"):
        client.predict(
            source="Upload", files=[handle_file(str(tmp_path / "text.png"))], target="Estimated", api_name="/boost"
        )
    assert "Traceback" not in server.log()


def files_that_would_hold_the_server(folder: Path) -> dict[str, str]:
    """Small files that once held it for minutes, and the endpoint that reads each."""
    (folder / "tags.svg").write_bytes(b"<svg>" + b"<dc:description>" * 25_000)
    (folder / "string.pdf").write_bytes(b"%PDF/Subject (" + b"a" * 20_000_000)
    (folder / "many.svg").write_bytes(b"<svg><dc:description>" + b"[]," * 2_000_000 + b"</dc:description></svg>")
    np.savez_compressed(folder / "millions.npz", np.zeros((2_000_000, 1, 1, 3), np.uint8))
    figures = dict.fromkeys(("tags.svg", "string.pdf", "many.svg"), "figure_again")
    return {**figures, "millions.npz": "boost"}


def test_another_visitor_is_answered_while_a_hostile_file_is_refused(
    client: Client, server: Server, tmp_path: Path
) -> None:
    hostile = files_that_would_hold_the_server(tmp_path)

    def refused(name: str, endpoint: str) -> str:
        file = handle_file(str(tmp_path / name))
        given = {"source": "Upload", "files": [file], "target": "Estimated"} if endpoint == "boost" else {"file": file}
        with pytest.raises(AppError) as said:
            first.predict(**given, api_name=f"/{endpoint}")
        return str(said.value)

    first = Client(server.url, verbose=False, httpx_kwargs={"timeout": PATIENCE})
    waited = []
    with ThreadPoolExecutor(1) as thread:
        for name, endpoint in hostile.items():
            job = thread.submit(refused, name, endpoint)
            while not waited or not job.done():
                began = time.monotonic()
                client.predict(count=1, steps=1, api_name="/boost")
                waited.append(time.monotonic() - began)
            assert name in job.result()
    first.close()
    assert max(waited) < 10  # a fraction of a second where nobody else uses the machine
    assert "Traceback" not in server.log()


def test_an_upload_that_its_visitor_breaks_off_leaves_no_fault_in_the_log(server: Server) -> None:
    host, port = server.url.removeprefix("http://").rstrip("/").split(":")
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 1000000\r\n".encode()
    head += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    for _ in range(3):
        with socket.create_connection((host, int(port)), PATIENCE) as leaving:
            leaving.sendall(
                f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + part + bytes(5000)
            )
            time.sleep(0.2)
        urllib.request.urlopen(server.url, timeout=PATIENCE).close()
    assert "Traceback" not in server.log()


def test_an_l_infinity_run_looks_and_presets(client: Client) -> None:
    result = client.predict(count=3, steps=4, norm="linf", eps=0.05, stop_at="0.99", api_name="/boost")
    table = next(part for part in result if isinstance(part, dict) and "headers" in part)
    assert all(row[7] <= 0.05 + 0.5 / 255 for row in table["data"])
    # Of the example: what a program boosted, it has.
    looked = client.predict(0, 2, 10, api_name="/look")
    table = next(part for part in looked if isinstance(part, dict) and "headers" in part)
    assert all(row[6] == 0 for row in table["data"])
    strong, subtle = (client.predict(preset=name, api_name="/preset") for name in ("strong", "subtle"))
    assert strong != subtle
    study = client.predict(count=20, validation_count=50, api_name="/debias")
    table = next(part for part in study if isinstance(part, dict) and "headers" in part)
    assert sum(row[1] for row in table["data"]) == sum(row[2] for row in table["data"]) == 20


def test_what_visitors_upload_and_make_stays_in_the_folder_that_is_emptied(server: Server, client: Client) -> None:
    client.predict(count=1, steps=1, api_name="/boost")
    assert list(server.cache.rglob("boosted.zip"))
