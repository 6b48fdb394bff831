"""What `precision="fast"` looks through on CUDA: weights in bfloat16, and a convolution with its ReLU as one kernel.

A large network at bfloat16 is bound by memory, and most of what it moves are the biases, sums and ReLUs between its
convolutions. cuDNN computes relu(convolution + bias + other) without writing what comes between; its gradient to the
input is that of the convolution behind the ReLU's mask. The logits stay what autocast makes them, to bfloat16's
rounding, and that is checked when the copy is made.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from bigroc_core.engine.folding import is_folded
from bigroc_core.engine.logits import as_logits

AGREEMENT = 0.05  # of the largest logit: three times what bfloat16's rounding does to a ResNet-50's

_SUMS = (operator.add, operator.iadd, torch.add)
_RELUS = (torch.relu, torch.relu_, F.relu, F.relu_)


class ConvolutionReLU(torch.autograd.Function):
    """relu(convolution(x) + bias + other), with gradients to x and other (n, C, H, W) alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, other: Tensor | None, layer: nn.Conv2d) -> Tensor:
        geometry: Any = (layer.stride, layer.padding, layer.dilation, layer.groups)
        if other is None:
            out = torch.cudnn_convolution_relu(x, layer.weight, layer.bias, *geometry)
        else:
            out = torch.cudnn_convolution_add_relu(x, layer.weight, other, 1.0, layer.bias, *geometry)
        ctx.save_for_backward(x, out)
        ctx.layer = layer
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, out = ctx.saved_tensors
        layer: nn.Conv2d = ctx.layer
        gradient = torch.ops.aten.threshold_backward(gradients[0], out, 0)
        below = None
        if ctx.needs_input_grad[0]:
            below, _, _ = torch.ops.aten.convolution_backward(
                gradient,
                x,
                layer.weight,
                None,
                layer.stride,
                layer.padding,
                layer.dilation,
                False,
                [0, 0],
                layer.groups,
                [True, False, False],
            )
        return below, gradient if ctx.needs_input_grad[1] else None, None


class FusedConvolution(nn.Module):
    """A convolution in bfloat16 whose output, or its sum with another map, goes through a ReLU."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        x = x.to(self.layer.weight.dtype, memory_format=torch.channels_last)
        if other is not None:
            other = other.to(self.layer.weight.dtype, memory_format=torch.channels_last)
        result: Tensor = ConvolutionReLU.apply(x, other, self.layer)
        return result


def fused_copy(network: nn.Module, seen: Tensor) -> nn.Module:
    """The network, for use under bfloat16's autocast only, with what can be fused fused.

    network: frozen, in eval mode, on CUDA; seen: images (n, 3, h, w) as it gets them. Where nothing can be, or it
    would compute something else, the copy differs by its weights' precision alone.
    """
    plain = copy.deepcopy(network)
    for module in plain.modules():
        if type(module) in (nn.Conv2d, nn.Linear):
            module.to(torch.bfloat16)
    try:
        fused = _fused(fx.symbolic_trace(plain))
        agrees = fused is not None and _agree(plain, fused, seen)
    except Exception:
        # A network that fx cannot follow, or a convolution that this cuDNN cannot fuse.
        return plain
    return fused if fused is not None and agrees else plain


def _agree(plain: nn.Module, fused: nn.Module, seen: Tensor) -> bool:
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
        theirs, ours = (as_logits(network(seen), len(seen)).float() for network in (plain, fused))
    return bool((theirs - ours).abs().max() <= AGREEMENT * theirs.abs().max())


def _fused(traced: fx.GraphModule) -> fx.GraphModule | None:
    """Every convolution that only a ReLU reads, or a sum that only a ReLU reads, as a FusedConvolution."""
    modules = dict(traced.named_modules())

    def is_relu(node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(modules[str(node.target)]) is nn.ReLU
        return (node.op == "call_function" and node.target in _RELUS) or (
            node.op == "call_method" and node.target in ("relu", "relu_")
        )

    def convolution(node: object) -> fx.Node | None:
        """The convolution that gives this value to nobody else."""
        while isinstance(node, fx.Node) and len(node.users) == 1 and node.op == "call_module":
            module = modules[str(node.target)]
            if type(module) is nn.Conv2d:
                fits = module.padding_mode == "zeros" and not isinstance(module.padding, str)
                return node if fits and module.bias is not None else None
            if not (type(module) is nn.Identity or is_folded(module)):
                return None
            node = node.args[0]
        return None

    changed = False
    for node in list(traced.graph.nodes):
        if not is_relu(node):
            continue
        given, other = node.args[0], None
        conv = convolution(given)
        if conv is None and isinstance(given, fx.Node) and given.target in _SUMS and len(given.users) == 1:
            first, second = given.args[:2]
            conv, other = convolution(first), second
            if conv is None:
                conv, other = convolution(second), first
            if not isinstance(other, fx.Node) or given.kwargs:
                continue
        if conv is None:
            continue
        name = f"fused_{conv.name}"
        traced.add_submodule(name, FusedConvolution(modules[str(conv.target)]))
        with traced.graph.inserting_before(node):
            made = traced.graph.call_module(name, (conv.args[0], *(() if other is None else (other,))))
        node.replace_all_uses_with(made)
        changed = True
    if not changed:
        return None
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced
