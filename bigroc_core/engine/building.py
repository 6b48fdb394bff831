"""Building networks whose weights are read from a file next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode


class WithoutStartingWeights(TorchFunctionMode):
    """Networks built within it keep whatever lies in their memory: nothing is drawn that is overwritten anyway.

    On "meta" tensors even drawing nothing would cost a second, as PyTorch imports its compiler for it.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """What `torch.nn.init` would fill stays as it is; everything else is done."""
        given = dict(kwargs or {})
        if getattr(func, "__module__", None) == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)
