"""BatchNorm folded into the convolution before it: the same function with a layer less to compute and to remember."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Pair:
    """A convolution and the BatchNorm that alone reads its output, by their dotted names."""

    conv: str
    norm: str

    def shows_in(self, name: str) -> bool:
        """Whether the submodule `name` ends between the two, so that folding may change what it gives."""
        return _within(self.conv, name) and not _within(self.norm, name)


def foldable_pairs(network: nn.Module, image: Tensor, tensors: Iterable[Tensor]) -> list[Pair]:
    """The pairs of a network in eval mode that can be folded, found by watching it at work on one image (1, 3, H, W).

    tensors: all that the network holds; its run shares them, and has everything else to itself.
    Where the network cannot be watched, or might take another way with another image, there are none.
    """
    modules = dict(network.named_modules())
    kinds = {type(module) for module in modules.values()}
    hooked = any(_hooks(module) for module in modules.values())
    compiled = any(hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in modules.values())
    if nn.BatchNorm2d not in kinds or nn.Conv2d not in kinds or hooked or compiled:
        return []
    # A copy, to keep what the network may note down about its own run.
    watched = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    watch = _Watch()
    for name, module in watched.named_modules():
        module.register_forward_pre_hook(watch.enter(name))
        module.register_forward_hook(watch.leave(name))
    try:
        with torch.inference_mode(False), torch.no_grad(), watch:
            output = watched(image.detach().clone())
    except Exception:
        # Whatever is wrong with the network or the image is told where the work itself meets it.
        return []
    owners = Counter(id(p) for m in modules.values() for p in m._parameters.values() if p is not None)
    returned = {id(leaf) for leaf in tree_leaves(output)}

    def to_itself(name: str) -> bool:
        """Whether the module ran once, and nobody else uses its parameters."""
        own = [id(parameter) for parameter in modules[name].parameters()]
        return len(watch.calls[name]) == 1 and all(owners[p] == 1 and watch.readers.get(p) == [name] for p in own)

    found = []
    for norm, calls in watch.calls.items():
        given = id(calls[0][0])
        conv = watch.made_by.get(given)
        if (
            type(modules[norm]) is nn.BatchNorm2d
            and modules[norm].running_mean is not None  # else it measures the batch
            and conv is not None
            and type(modules[conv]) is nn.Conv2d
            and watch.readers.get(given) == [norm]
            and given not in returned
            and to_itself(conv)
            and to_itself(norm)
        ):
            found.append(Pair(conv, norm))
    return found


def fold(network: nn.Module, pair: Pair) -> Tensor:
    """Make the convolution give what its BatchNorm gave, and the BatchNorm pass it on.

    Both get new tensors; those they had stay as they were. Returns what every output channel's weights were
    multiplied by, (C, 1, 1, 1).
    """
    conv, norm = network.get_submodule(pair.conv), network.get_submodule(pair.norm)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight.double()
        shift = -norm.running_mean.double() if conv.bias is None else conv.bias.double() - norm.running_mean.double()
        bias = shift * scale if norm.bias is None else shift * scale + norm.bias.double()
        factor = scale.to(conv.weight.dtype)[:, None, None, None]
        conv.weight = nn.Parameter(conv.weight * factor, requires_grad=False)
        conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
    norm.forward = _as_it_is  # type: ignore[method-assign]
    return factor


class _Undecided(Exception):
    """What the network does is not the same every time."""


class _Watch(TorchDispatchMode):
    """Which module made each tensor and which modules' operations read it."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[str] = []
        self.calls: dict[str, list[tuple[Any, Any]]] = {}
        self.made_by: dict[int, str] = {}
        self.readers: dict[int, list[str]] = {}
        self.alive: list[Any] = []  # an address must not be given to another tensor meanwhile

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else the first operation imports torch's compiler, which takes a second.
        return False

    def enter(self, name: str) -> Callable[[nn.Module, Any], None]:
        return lambda _module, _inputs: self.running.append(name)

    def leave(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(_module: nn.Module, inputs: Any, output: Any) -> None:
            self.running.pop()
            given = inputs[0] if inputs else None
            self.alive += [given, output]
            self.calls.setdefault(name, []).append((given, output))
            self.made_by.setdefault(id(output), name)

        return note

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        # A number read out of a tensor may send the network another way next time; a draw would move the state of a
        # generator that is not ours.
        if func is torch.ops.aten._local_scalar_dense.default or torch.Tag.nondeterministic_seeded in func.tags:
            raise _Undecided
        given = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        for tensor in given:
            self.readers.setdefault(id(tensor), []).append(self.running[-1] if self.running else "")
        output = func(*args, **(kwargs or {}))
        self.alive += [*given, output]
        return output


def is_folded(module: nn.Module) -> bool:
    """Whether `fold` made this BatchNorm pass on what it is given."""
    return vars(module).get("forward") is _as_it_is


def _as_it_is(input: Tensor) -> Tensor:
    return input


def _within(name: str, ancestor: str) -> bool:
    return name == ancestor or name.startswith(f"{ancestor}.") or not ancestor


def _hooks(module: nn.Module) -> bool:
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))
