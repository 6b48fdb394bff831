"""What a notebook shows of images and results, and what it says of those that it leaves out."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

import bigroc_core as bc
from bigroc_core.images import Sheet, show, to_uint8


def picture(sheet: Sheet) -> torch.Tensor:
    opened = Image.open(io.BytesIO(sheet.png)).convert("RGB")
    return torch.frombuffer(bytearray(opened.tobytes()), dtype=torch.uint8).view(opened.height, opened.width, 3)


def test_every_image_stands_over_its_other_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    before, after = torch.rand(2, 5, 3, 80, 90)
    seen = picture(show(before, after, columns=3))
    for place in range(5):
        block, column = divmod(place, 3)
        for row, images in enumerate((before, after)):
            top, left = 3 + block * (2 * 83 + 3) + row * 83, 3 + column * 93
            assert seen[top : top + 80, left : left + 90].equal(torch.from_numpy(to_uint8(images[place])))


def test_small_images_are_enlarged_without_smoothing() -> None:
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    seen = picture(show(images))[3:75, 3:75]
    assert seen[::9, ::9].equal(torch.from_numpy(to_uint8(images[0])))
    assert seen.equal(seen[::9, ::9].repeat_interleave(9, 0).repeat_interleave(9, 1))


def test_what_is_left_out_is_said() -> None:
    many = torch.zeros(200, 3, 80, 80)
    assert picture(show(many)).shape[0] == picture(show(many[:64])).shape[0] + 16


def test_frames_stand_in_columns() -> None:
    frames = torch.stack([torch.full((2, 3, 80, 80), value) for value in (0.0, 0.5, 1.0)])
    seen = picture(show(frames))
    assert seen.shape == (2 * 86, 3 * 83 + 3, 3)
    assert [int(seen[40, 40 + 83 * place, 0]) for place in range(3)] == [0, 128, 255]


def test_a_result_shows_itself_alone_or_under_its_originals() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 80 * 80, 4))
    images = torch.rand(3, 3, 80, 80)
    result = bc.boost(network, images, config=bc.BoostConfig(steps=1), progress=True)
    assert result._repr_png_() == show(result.images).png
    assert result.show(images).png == show(images, result.images).png
    assert next(iter(bc.boost_stream(network, images)))._repr_png_() == show(images).png


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([torch.zeros(4, 5)], r"must be \(N, 3, H, W\)"),
        ([torch.zeros(0, 3, 5, 5)], "N at least 1"),
        ([torch.zeros(2, 3, 5, 5), torch.zeros(3, 3, 5, 5)], "under each of 2 images"),
    ],
)
def test_what_cannot_be_shown_is_said(rows: list[torch.Tensor], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        show(*rows)


def test_a_sheet_is_written_as_png_alone(tmp_path) -> None:
    sheet = show(torch.zeros(1, 3, 8, 8))
    assert sheet.save(tmp_path / "sheet.png").read_bytes() == sheet.png
    with pytest.raises(ValueError, match=r"as \.png, not 'sheet\.jpg'"):
        sheet.save(tmp_path / "sheet.jpg")
