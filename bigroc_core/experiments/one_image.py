"""One image in a request: of a generator by number, uploaded, or an example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bigroc_core.messages import in_words
from bigroc_core.settings import Request, described, like, setting
from bigroc_core.sources import (
    MAX_INDEX,
    UPLOAD,
    ImagesRequest,
    OneImage,
    example_paths,
)


def example_choices() -> list[tuple[str, str]]:
    """The examples by name."""
    return [(in_words(path.stem.replace("-", "_")), path.name) for path in example_paths()]


@dataclass(frozen=True, kw_only=True)
class OneImageRequest(Request):
    """A request's image."""

    source: str = like(
        ImagesRequest, "source", help="Generator, Upload or Examples: where the image comes from.", label="Image from"
    )
    generator: str = like(ImagesRequest, "generator", help="Of Generator: its name, as `generators` lists them.")
    seed: int = like(ImagesRequest, "seed", help="Of Generator: the seed.", least=0)
    number: int = setting(
        0,
        "Of Generator: which image of the seed, from 0.",
        label="Image number",
        info="Which of the seed's images, from 0.",
        least=0,
        most=MAX_INDEX,
    )
    example: str | None = setting(
        None,
        "Of Examples: a file name in assets/examples.",
        label="Example",
        info="Images made by these generators.",
        choices=example_choices,
    )
    file: str | None = setting(None, "Of Upload: the image.", label="Your image")

    @property
    def image(self) -> OneImage:
        """Where the image comes from."""
        return image_in(self, "source", "")

    def conflicts(self) -> dict[str, str]:
        """An upload without a file."""
        return super().conflicts() | not_uploaded("file", self.image)


def of_side(part: str, side: str, default: Any = None) -> Any:
    """The setting of a part of one of two images, the "source" or the "target", as `OneImageRequest` has it."""
    told = described(OneImageRequest)[part]
    named = f"{side} from" if part == "source" else f"{side}: {told.label.lower()}"
    defaults = {} if default is None else {"default": default}
    return like(OneImageRequest, part, label=named.capitalize(), **defaults)


def image_in(request: Request, kind: str, prefix: str) -> OneImage:
    """The image that a request's fields name. kind: the field that says where it comes from; prefix: of the others."""
    given: dict[str, Any] = {part: getattr(request, prefix + part) for part in ("generator", "seed", "number", "file")}
    return OneImage(
        kind=getattr(request, kind),
        class_name=getattr(request, f"{prefix}class", None) or "",
        example=getattr(request, f"{prefix}example") or "",
        **given,
    )


def not_uploaded(field: str, image: OneImage, side: str = "") -> dict[str, str]:
    """What is wrong with an upload's field, if there is no file."""
    missing = image.kind == UPLOAD and not image.file
    told = f"Add an image first, or choose another source: no {side}{' ' * bool(side)}image has been uploaded yet"
    return {field: told} if missing else {}
