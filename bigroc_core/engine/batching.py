"""Batches that fit into memory: how large to begin with, and halving one that did not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bigroc_core.engine.frozen import FrozenNetwork

# Measured on two cores with ResNet-9 at 32 px (3.3 ms per image and step from 8 images on, flat to 128) and
# ResNet-18 at 224 px (85 ms alone, 59 ms for 4, 54 ms for 8).
CPU_BATCH_PIXELS = 2**18
CPU_BATCH_LIMIT = 64
CPU_BATCH_OWN_PIXELS = 2**24
COPIES_HELD = 8  # of each image: original, perturbed, gradient, perturbation, and what comes between
CUDA_BATCH_LIMIT = 1024
CUDA_MEMORY_SHARE = 0.5  # of what is free; the rest is for workspaces and for whoever else is there


@dataclass
class BatchSize:
    """The largest number of images to compute at once; falls when memory runs out and stays there."""

    images: int

    def halve(self, tried: int, error: BaseException) -> None:
        """Half of what was tried. Raises MemoryError where that was a single image."""
        if tried <= 1:
            raise MemoryError(
                "a single image does not fit into memory with this classifier: take smaller images, "
                f"a smaller classifier or a device with more memory ({error})"
            ) from error
        self.images = max(1, tried // 2)


def in_batches(compute: Callable[..., tuple[Tensor, ...]], size: BatchSize, *tensors: Tensor) -> tuple[Tensor, ...]:
    """compute(*tensors) over batches of rows, joined again. A batch that is out of memory is halved and
    redone.

    tensors: at least one, each with N ≥ 1 rows. compute must return tensors with as many rows as it was
    given, and give the same when it is called again. Raises MemoryError when a single row does not fit.
    """
    total = len(tensors[0])
    parts: list[tuple[Tensor, ...]] = []
    start = 0
    while start < total:
        batch = tuple(tensor[start : start + size.images] for tensor in tensors)
        part = _unless_out_of_memory(compute, size, batch)
        if part is not None:
            parts.append(part)
            start += len(batch[0])
    return parts[0] if len(parts) == 1 else tuple(torch.cat(column) for column in zip(*parts, strict=True))


def _unless_out_of_memory(
    compute: Callable[..., tuple[Tensor, ...]], size: BatchSize, batch: tuple[Tensor, ...]
) -> tuple[Tensor, ...] | None:
    try:
        return compute(*batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size.halve(len(batch[0]), error)
    # Only here, with the exception gone, is what the failed batch held free to be returned.
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is a device's or the CPU allocator's way of saying that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    texts = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def fitting_batch_size(network: FrozenNetwork, seen: Tensor, own_pixels: int | None = None) -> int:
    """How many images to compute at once: what fits on CUDA, what is fast elsewhere.

    seen: the first as the network sees it, (1, 3, h, w), on its device. own_pixels: of an image itself, where that is
    another number: beside the network, a run holds each image several times.
    """
    pixels = seen.shape[2] * seen.shape[3]
    own_pixels = pixels if own_pixels is None else own_pixels
    if network.device.type != "cuda":
        return max(1, min(CPU_BATCH_LIMIT, CPU_BATCH_PIXELS // pixels, CPU_BATCH_OWN_PIXELS // own_pixels))
    try:
        per_image = activation_bytes(network, seen)
    except torch.OutOfMemoryError:
        return 1
    if own_pixels != pixels:
        per_image += COPIES_HELD * own_pixels * 3 * seen.element_size()
    free, _ = torch.cuda.mem_get_info(network.device)
    free += torch.cuda.memory_reserved(network.device) - torch.cuda.memory_allocated(network.device)
    # Walking back, a layer holds gradients of about the size of its activations beside those still saved.
    return max(1, min(CUDA_BATCH_LIMIT, int(CUDA_MEMORY_SHARE * free / max(1, 2 * per_image))))


def activation_bytes(network: FrozenNetwork, image: Tensor) -> int:
    """Bytes that autograd keeps between the forward and the backward pass of one image (1, 3, H, W)."""
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        logits = network(image.detach().clone().requires_grad_())  # alive until all addresses are noted
    owned = network.parameter_storages()
    del logits
    return sum(size for address, size in saved.items() if address not in owned)
