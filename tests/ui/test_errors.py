"""What a visitor reads when something cannot be done."""

import pytest

from bigroc_core.ui.errors import sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps must be whole", "Steps must be whole."),
        ("photo.png: is not an image.", "photo.png: is not an image."),
        ("set: holds no images", "set: holds no images."),
        ("cifar10-robust knows 10 classes", "cifar10-robust knows 10 classes."),
        ("IMG_1.JPG: is empty", "IMG_1.JPG: is empty."),
        ("", "."),
    ],
)
def test_a_sentence_begins_with_a_capital_but_a_name_keeps_its_own(text, expected):
    assert sentence(ValueError(text)) == expected
