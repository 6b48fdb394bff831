"""Steps of P1 Algorithm 1 recorded as CUDA graphs: one launch in place of hundreds, whatever the network."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bigroc_core.attack import Ball, Point, stepped
from bigroc_core.engine.batching import BatchSize
from bigroc_core.engine.targets import Targets

RECORDED = 4  # graphs that a network's copy keeps, each with a batch's activations
SHORTEST = 4  # steps of a run that is worth recording
NEVER = -1

Rests = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Motion:
    """How a batch moves: inside which ball, by how many steps of which size, and when an image of it rests."""

    ball: Ball
    step_size: float
    steps: int
    rule: Callable[[Targets], Rests | None]


class StepGraph:
    """One step on a batch x (N, 3, H, W) of a fixed shape. Images that rest stay in it, and where they are.

    After a replay, `images` are where the batch stood, `logits` and `resting` belong to them, and `moved` is where it
    stands next.
    """

    def __init__(self, x: Tensor, targets: Targets, motion: Motion) -> None:
        self.x, self.images, self.moved = x.clone(), x.clone(), x.clone()
        self.rows = torch.arange(len(x), device=x.device)
        self.resting = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.targets = dataclasses.replace(targets, labels=targets.labels.clamp(min=0), size=BatchSize(len(x)))
        self.targets.opening = False
        self._motion, self._rests = motion, motion.rule(self.targets)
        self.replay = self._recorded()

    def _recorded(self) -> Callable[[], None]:
        """Takes the step that comes next, without Python's help."""
        device = self.x.device
        beside = torch.cuda.Stream(device)
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            # What cuDNN tries out at first sight must not be recorded.
            for _ in range(2):
                self._take()
        torch.cuda.current_stream(device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._take()
        replay: Callable[[], None] = graph.replay
        return replay

    def _take(self) -> None:
        self.images.copy_(self.moved)
        self.logits, gradient = self.targets.gradient(self.images, self.rows)
        moved = stepped(self.x, self.images, gradient, self._motion.ball, self._motion.step_size)
        if self._rests is not None:
            self.resting |= self._rests(self.logits, self.rows)
            moved = torch.where(self.resting[:, None, None, None], self.images, moved)
        self.moved.copy_(moved)

    def load(self, x: Tensor, moved: Tensor, labels: Tensor, resting: Tensor) -> None:
        """Take up a batch of n ≤ N images after its first step; what lies behind them is of no account."""
        mine = (self.x, self.moved, self.targets.labels, self.resting)
        for own, given in zip(mine, (x, moved, labels, resting), strict=True):
            own[: len(given)].copy_(given)


def graphs_run(device: torch.device) -> bool:
    """Whether steps may be recorded there: not on a ZeroGPU Space, which forks a process for every call."""
    return device.type == "cuda" and "SPACES_ZERO_GPU" not in os.environ


def step_graph(key: Hashable, x: Tensor, targets: Targets, motion: Motion) -> StepGraph | None:
    """The graph of such a step, recorded when a batch of that size comes a second time; None where there is none.

    key: all that decides what a step computes, but for the images x, their targets and their number.
    """
    recorded, count = targets.network.recorded, len(x)
    if motion.steps < SHORTEST or not graphs_run(targets.network.device):
        return None
    known = recorded.get(key)
    if isinstance(known, StepGraph) and len(known.rows) >= count > len(known.rows) // 2:
        return known
    if known != count:
        if not isinstance(known, StepGraph):
            recorded[key] = count
        return None
    try:
        recorded[key] = made = StepGraph(x, targets, motion)
    except RuntimeError:
        # A network that looks at its own results cannot be recorded, nor can what does not fit into memory.
        recorded[key] = NEVER
        return None
    for old in [one for one, graph in recorded.items() if isinstance(graph, StepGraph)][:-RECORDED]:
        del recorded[old]
    return made


def replayed_pgd(graph: StepGraph, x: Tensor, targets: Targets, motion: Motion) -> Iterator[Point]:
    """`targeted_pgd` of x (n, 3, H, W), all steps but the first, which settles the targets, by a graph."""
    rows, rests, count = torch.arange(len(x), device=x.device), motion.rule(targets), len(x)
    logits, gradient = targets.gradient(x, rows)
    resting = torch.zeros_like(rows, dtype=torch.bool) if rests is None else rests(logits, rows)
    yield Point(rows, x, logits, resting)
    moved = stepped(x, x, gradient, motion.ball, motion.step_size)
    graph.load(x, torch.where(resting[:, None, None, None], x, moved), targets.labels, resting)
    for _ in range(motion.steps - 1):
        graph.replay()
        targets.lost, targets.flat = graph.targets.lost[:count], graph.targets.flat[:count]
        resting = graph.resting[:count]
        yield Point(rows, graph.images[:count], graph.logits[:count], resting)
    moved = graph.moved[:count]
    logits = targets.logits(moved, rows)
    yield Point(rows, moved, logits, resting if rests is None else resting | rests(logits, rows))
