"""What a classifier sees of an image of another size: the differentiable step between the two.

An image keeps its own size, and its perturbation is of its own pixels; the view stands inside the gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from bigroc_core.checks import whole
from bigroc_core.engine.batching import is_out_of_memory
from bigroc_core.engine.frozen import frozen_copy
from bigroc_core.engine.logits import as_logits
from bigroc_core.engine.precision import private_modes
from bigroc_core.messages import short

INPUT, NATIVE = "input", "native"
MAX_SIDE = 4_096
MAX_ASPECT = 4  # of what a network that takes any size is shown

ViewName = str | int | None  # "input", "native", a side in pixels; None is what suits the classifier
Size = tuple[int, int]  # (height, width) in pixels

# Of networks whose card does not say: whether they take other sizes than (height, width).
_takes_others: WeakKeyDictionary[nn.Module, dict[Size, bool]] = WeakKeyDictionary()


@dataclass(frozen=True)
class View:
    """Images (n, 3, H, W) -> what the network sees of them: the centre `part`, resized to `size`.

    Bilinear with antialiasing: the same as torch.nn.functional.interpolate(..., antialias=True), as two matrix
    products, because CUDA's own backward pass of that is not deterministic. Where nothing changes, images pass as
    they are.
    """

    image: Size
    part: Size
    size: Size

    def __call__(self, images: Tensor) -> Tensor:
        (height, width), (part_height, part_width) = self.image, self.part
        if self.part != self.image:
            top, left = (height - part_height) // 2, (width - part_width) // 2
            images = images[:, :, top : top + part_height, left : left + part_width]
        if self.size[0] != part_height:
            images = _weights(part_height, self.size[0], images.dtype, str(images.device)) @ images
        if self.size[1] != part_width:
            images = images @ _weights(part_width, self.size[1], images.dtype, str(images.device)).T
        return images.contiguous()  # some networks flatten with .view()

    @property
    def is_identity(self) -> bool:
        return self.image == self.part == self.size


@functools.lru_cache(maxsize=16)
def _weights(pixels: int, wanted: int, dtype: torch.dtype, device: str) -> Tensor:
    """(wanted, pixels): each row a triangle around where the pixel wanted lies, as wide as the scale asks for."""
    # An inference tensor would be kept, and be of no use to autograd.
    with torch.inference_mode(False):
        scale = pixels / wanted
        centres = (torch.arange(wanted, dtype=torch.float64, device="cpu") + 0.5) * scale
        places = torch.arange(pixels, dtype=torch.float64, device="cpu") + 0.5
        weights = (1 - (places - centres[:, None]).abs() / max(scale, 1.0)).clamp_min(0)
        return (weights / weights.sum(1, keepdim=True)).to(device, dtype)


class Seeing(nn.Module):
    """A network that sees images of any size through its view of them: (N, 3, H, W) in [0, 1] -> its output.

    view: as `view_of` takes it, which also says what it raises.
    """

    def __init__(self, network: nn.Module, view: ViewName = None) -> None:
        super().__init__()
        self.network, self.view = network, view

    def forward(self, images: Tensor) -> Any:
        return self.network(view_of(self.network, (images.shape[2], images.shape[3]), self.view)(images))


def whole_of(image: Size, side: Size) -> View:
    """All of an image, its shorter side brought to `side`'s; beyond MAX_ASPECT:1 the centre of that shape."""
    if image == side:
        return View(image, image, image)
    height, width = min(image[0], MAX_ASPECT * image[1]), min(image[1], MAX_ASPECT * image[0])
    if side[0] * width >= side[1] * height:
        size = side[0], max(side[1], round(width * side[0] / height))
    else:
        size = max(side[0], round(height * side[1] / width)), side[1]
    return View(image, (height, width), size)


def centre_of(image: Size, side: Size) -> View:
    """The largest centred part of an image that has the shape of `side`, at that size."""
    (height, width), (tall, wide) = image, side
    if height * wide >= width * tall:
        part = max(1, round(width * tall / wide)), width
    else:
        part = height, max(1, round(height * wide / tall))
    return View(image, part, side)


def view_of(classifier: nn.Module, image: Size, view: ViewName = None) -> View:
    """How the classifier looks at images of that size.

    view: "input" resizes to the classifier's input size, a number to that side instead; "native" shows the images as
    they are; None is "input" for a classifier with a card and "native" for any other module. Raises ValueError for
    another view, and for one that this network cannot take.
    """
    side, as_it_is = input_size(classifier), View(image, image, image)
    if view is None and side is None:
        # Whatever such a module has against the size, it says itself.
        return as_it_is
    if view == NATIVE:
        _check_native(classifier, image)
        return as_it_is
    if view is not None and view != INPUT:
        if isinstance(view, str):
            raise ValueError(f"view must be None, 'input', 'native' or a side in pixels, not {short(view)}")
        square = whole(view, "view (None, 'input', 'native' or a side in pixels)", 1, MAX_SIDE)
        if side not in (None, (square, square)) and not takes_any_size(classifier, side):
            raise ValueError(f"{_takes_only(classifier, side)} and none of {_by((square, square))}: take view 'input'")
        side = (square, square)
    if side is None:
        raise ValueError(
            f"view 'input' needs a classifier whose card says its input size, and {name_of(classifier)} has no card: "
            "give the side in pixels that it was made for"
        )
    if image == side:
        return as_it_is
    return whole_of(image, side) if takes_any_size(classifier, side) else centre_of(image, side)


def _check_native(classifier: nn.Module, image: Size) -> None:
    side = input_size(classifier)
    if side is None:
        draws = torch.Generator(device="cpu").manual_seed(0)
        example = torch.rand(1, 3, *image, generator=draws, device="cpu")
        with frozen_copy(classifier, example) as network, private_modes(network.device):
            if not _takes(network, example.to(network.device)):
                raise ValueError(
                    f"{name_of(classifier)} cannot take images of {_by(image)} as they are (view 'native'): give the "
                    "side in pixels that it was made for"
                )
    elif image != side and not takes_any_size(classifier, side):
        raise ValueError(
            f"{_takes_only(classifier, side)} and not of {_by(image)} as they are (view 'native'): take view 'input', "
            "which resizes them for it"
        )


def _takes_only(classifier: nn.Module, side: Size) -> str:
    return f"{name_of(classifier)} takes images of {_by(side)} only"


def view_note(classifier: nn.Module, image: Size, view: ViewName = None) -> str | None:
    """What a reader should know of how the classifier sees images of that size; None where it sees them as they are.

    Raises ValueError as `view_of`.
    """
    return note_of(view_of(classifier, image, view), name_of(classifier))


def note_of(view: View, name: str) -> str | None:
    """That sentence about a view, of the classifier called so."""
    if view.is_identity:
        return None
    if view.part == view.image:
        return f"{name} sees the images, {_by(view.image)}, at {_by(view.size)}"
    resized = "" if view.part == view.size else f", at {_by(view.size)}"
    return (
        f"of images of {_by(view.image)}, {name} sees the centre {_by(view.part)} only{resized}; what is outside stays "
        "as it is"
    )


def input_size(classifier: nn.Module) -> Size | None:
    """(height, width) that its card says the classifier was made for; None without a card."""
    size = getattr(getattr(classifier, "card", None), "input_size", None)
    return None if size is None else (int(size[0]), int(size[1]))


def takes_any_size(classifier: nn.Module, side: Size) -> bool:
    """Whether the network takes other sizes than one: as its card says, else found out by trying, once.

    side: (height, width) of images that it takes, where no card says one.
    """
    known = getattr(getattr(classifier, "card", None), "sizes", None)
    if known in ("any", "one"):
        return bool(known == "any")
    side = input_size(classifier) or side
    found = _takes_others.setdefault(classifier, {})
    if side not in found:
        found[side] = _takes_another(classifier, side)
    return found[side]


def _takes_another(classifier: nn.Module, side: Size) -> bool:
    """Half the size first, which is cheap; some networks that halve their images often take only larger ones."""
    draws = torch.Generator(device="cpu").manual_seed(0)
    example = torch.rand(1, 3, *side, generator=draws, device="cpu")
    with frozen_copy(classifier, example) as network, private_modes(network.device):
        for height, width in ((max(1, side[0] // 2), max(1, side[1] // 2)), (2 * side[0], 2 * side[1])):
            if _takes(network, View(side, side, (height, width))(example.to(network.device))):
                return True
    return False


def _takes(network: Callable[[Tensor], Any], images: Tensor) -> bool:
    """Whether the network gives logits for these images, rather than an error of any kind."""
    try:
        as_logits(network(images), len(images))
    except Exception as error:
        if is_out_of_memory(error):
            raise MemoryError(f"no memory to try this classifier on {_by(tuple(images.shape[2:]))}: {error}") from error
        return False
    return True


def name_of(classifier: nn.Module) -> str:
    """Its card's name, or else its type's."""
    return str(getattr(getattr(classifier, "card", None), "name", None) or type(classifier).__name__)


def _by(size: tuple[int, ...]) -> str:
    """(height, width) as people write it, width first."""
    return f"{size[1]}×{size[0]} pixels"
