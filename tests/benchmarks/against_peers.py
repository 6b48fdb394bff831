"""Boosting by this project beside other libraries: time, memory, agreement, and how near the arithmetic's own limit.

One process, one run: the contenders take turns, round by round, on the same network, images, ε, α, T and threads.
Ratios are medians of those within a round. The ceiling is the time that the network's own convolutions and matrix
products take alone, forward and gradient to the input, each in its best memory format.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peers import CONTENDERS, Attack, Setting
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import bigroc_core as bc
from bigroc_core.classifiers.architectures import new_network

# Side, classes, and images per batch on a CPU and on CUDA.
NETWORKS = {
    "cifar10-robust": (32, 10, 64, 2048),
    "cifar_resnet18": (32, 10, 16, 512),
    "cifar_resnet50": (32, 10, 8, 256),
    "resnet50": (224, 1000, 4, 128),
    "vit_b_16": (224, 1000, 4, 128),
}


class Normalised(nn.Module):
    """A network with its preprocessing, as all contenders get it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.5))
        self.register_buffer("std", torch.full((1, 3, 1, 1), 0.25))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def pictures(count: int, side: int, seed: int = 0) -> Tensor:
    """(count, 3, side, side) soft colours in [0, 1]."""
    draws = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.rand(count, 3, 8, 8, generator=draws), side, mode="bicubic").clamp(0, 1)


def network_named(name: str, device: torch.device) -> nn.Module:
    """cifar10-robust as it is; else random weights whose BatchNorm has seen pictures, so that nothing overflows."""
    if name == "cifar10-robust":
        return bc.load_classifier(name).to(device)
    side, classes, *_ = NETWORKS[name]
    torch.manual_seed(0)
    network = Normalised(new_network(name, classes=classes)).train().to(device)
    with torch.no_grad():
        for batch in range(5):
            network(pictures(16, side, batch + 1).to(device))
    return network.eval()


# -------------------------------------------------------------------------------------------------------- measuring


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


def best_of(work: Callable[[], Any], device: torch.device, times: int = 5) -> float:
    work()
    return min(seconds(work, device) for _ in range(times))


def ceiling(network: nn.Module, images: Tensor) -> float:
    """Seconds that one step's convolutions and matrix products take alone: forward and gradient to the input."""
    seen: list[tuple[nn.Module, Tensor]] = []
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [m.register_forward_pre_hook(lambda m, given: seen.append((m, given[0].detach()))) for m in layers]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    known: dict[tuple[Any, ...], float] = {}
    total = 0.0
    for layer, given in seen:
        key = (*given.shape, *layer.weight.shape, getattr(layer, "stride", None), getattr(layer, "groups", None))
        if key not in known:
            known[key] = _alone(layer, given)
        total += known[key]
    return total


def _alone(layer: nn.Module, given: Tensor) -> float:
    weight = layer.weight.detach()
    if isinstance(layer, nn.Linear):
        with torch.no_grad():
            gradient = torch.randn_like(given @ weight.T)
            return best_of(lambda: (given @ weight.T, gradient @ weight), given.device)
    found = []
    for form in (torch.contiguous_format, torch.channels_last):
        x, w = given.contiguous(memory_format=form), weight.contiguous(memory_format=form)
        shape: Any = (layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups)
        with torch.no_grad():
            gradient = torch.randn_like(torch.ops.aten.convolution(x, w, None, *shape)).contiguous(memory_format=form)
            forward = best_of(lambda: torch.ops.aten.convolution(x, w, None, *shape), x.device)  # noqa: B023
            backward = best_of(
                lambda: torch.ops.aten.convolution_backward(gradient, x, w, None, *shape, [True, False, False]),  # noqa: B023
                x.device,
            )
        found.append(forward + backward)
    return min(found)


def outcome(network: nn.Module, before: Tensor, after: Tensor, labels: Tensor) -> dict[str, float]:
    """What an attack reached: mean loss, mean p(y|x), mean ‖δ‖₂."""
    with torch.no_grad():
        logits = network(after)
    return {
        "loss": float(F.cross_entropy(logits, labels)),
        "p": float(logits.softmax(1).gather(1, labels[:, None]).mean()),
        "l2": float((after - before).flatten(1).norm(dim=1).mean()),
    }


def peak_memory(contender: str, options: argparse.Namespace, name: str) -> float:
    """MiB that a contender adds to a process that has the network loaded and has used it once."""
    words = [
        sys.executable,
        __file__,
        "--networks",
        name,
        "--memory-of",
        contender,
        "--steps",
        "3",
        "--threads",
        str(options.threads),
        "--device",
        options.device,
    ]
    if options.batch is not None:
        words += ["--batch", str(options.batch)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1])


def measure_memory(network: nn.Module, attack: Attack, images: Tensor, labels: Tensor) -> float:
    """MiB at the peak of an attack, beyond what stands there before."""
    with torch.no_grad():
        network(images[:1])
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        stands = torch.cuda.memory_allocated()
        attack(images, labels)
        return (torch.cuda.max_memory_allocated() - stands) / 2**20
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", "utf-8")  # the peak starts from here (Linux)
    stands = _status("VmRSS")
    attack(images, labels)
    return (_status("VmHWM") - stands) / 2**10


def _status(entry: str) -> int:
    """A line of Linux' account of this process, in KiB."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(entry)).split()[1])


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large bf16 matrix product."""
    a, b = (torch.randn(8192, 8192, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * 8192**3 / best_of(lambda: a @ b, device)


# --------------------------------------------------------------------------------------------------------- the table


def contenders(
    network: nn.Module, setting: Setting, wanted: list[str], device: torch.device
) -> Iterator[tuple[str, Attack | str]]:
    """By name an attack, or why there is none. On CUDA every peer once more under bf16 autocast."""
    for name in wanted:
        try:
            attack = CONTENDERS[name](network, setting)
        except ImportError as error:
            yield name, f"not installed ({error.name or error})"
            continue
        yield name, attack
        if device.type == "cuda" and not name.startswith("ours"):
            yield f"{name}, bf16", _autocast(attack)


def _autocast(attack: Attack) -> Attack:
    def run(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return attack(images, labels).float()

    return run


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' warnings between the lines of the table."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def compare(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One network's table, printed and as data."""
    device = torch.device(options.device)
    side, classes, on_cpu, on_cuda = NETWORKS[name]
    batch = options.batch or (on_cuda if device.type == "cuda" else on_cpu)
    network = network_named(name, device)
    images = pictures(batch, side).to(device)
    labels = (torch.arange(batch) % classes).to(device)
    eps = 2.0 if side == 32 else 6.0
    setting = Setting(eps, options.steps, 1.5 * eps / options.steps, classes, side)
    if options.memory_of is not None:
        print(measure_memory(network, CONTENDERS[options.memory_of](network, setting), images, labels))
        return {}
    print(f"\n{name}: {batch} images of {side}×{side}, ε {eps:g}, T {options.steps}, α {setting.alpha:.3g}, {device}")
    attacks: dict[str, Attack] = {}
    missing: dict[str, str] = {}
    for one, attack in contenders(network, setting, options.peers, device):
        if isinstance(attack, str):
            missing[one] = attack
        else:
            attacks[one] = attack
    times: dict[str, list[float]] = {one: [] for one in attacks}
    reached: dict[str, dict[str, float]] = {}
    for one, attack in attacks.items():  # the first calls of each do not count: ours records steps at the second
        attack(images, labels)
        reached[one] = outcome(network, images, attack(images, labels), labels)
    for _ in range(options.rounds):
        for one, attack in attacks.items():
            times[one].append(seconds(lambda: attack(images, labels), device))  # noqa: B023
    with FlopCounterMode(display=False) as counter:
        network(images.clone().requires_grad_()).sum().backward()
    alone = ceiling(network, images) if options.ceiling else math.nan
    memory = {one: peak_memory(one, options, name) for one in attacks if one in CONTENDERS} if options.memory else {}
    median = {one: statistics.median(values) for one, values in times.items()}
    rows = {}
    for one in attacks:
        ratios = [theirs / own for theirs, own in zip(times[one], times["ours"], strict=True)]
        rows[one] = {
            "seconds": median[one],
            "over_ours": statistics.median(ratios),
            "image_steps_per_second": batch * options.steps / median[one],
            "peak_mib": memory.get(one),
            **reached[one],
        }
    print(f"{'':20}{'seconds':>9}{'× ours':>8}{'img-steps/s':>13}{'peak MiB':>10}{'loss':>10}{'p(y|x)':>9}{'‖δ‖₂':>8}")
    for one, row in rows.items():
        peak = "–" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        print(
            f"{one:20}{row['seconds']:9.3f}{row['over_ours']:8.2f}{row['image_steps_per_second']:13.1f}{peak:>10}"
            f"{row['loss']:10.4f}{row['p']:9.4f}{row['l2']:8.4f}"
        )
    for one, why in missing.items():
        print(f"{one:20}{why}")
    # A run takes T steps forward and back, and one more pass forward for the logits of what it reached.
    share = alone * options.steps / median["ours"]
    if options.ceiling:
        print(f"ceiling: {1e3 * alone:.1f} ms a step; ours reaches {share:.0%} of it")
    result = {
        "network": name,
        "batch": batch,
        "rows": rows,
        "missing": missing,
        "ceiling_seconds_per_step": alone,
        "share_of_ceiling": share,
    }
    if device.type == "cuda":
        quickest = min(median[one] for one in attacks if one.startswith("ours"))
        rate = counter.get_total_flops() * options.steps / quickest
        chip = options.matrix_rate or matrix_rate(device)
        print(f"{torch.cuda.get_device_name(device)}: {rate / 1e12:.1f} TFLOP/s, {rate / chip:.0%} of its bf16 product")
        result |= {"flops": rate, "matrix_rate": chip}
    return result


def main() -> None:
    """Parse the command line and compare on every network asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--peers", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="PGD steps T")
    parser.add_argument("--batch", type=int, help="images; default: by network and device")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="do not measure peak memory")
    parser.add_argument("--no-ceiling", dest="ceiling", action="store_false", help="do not time the layers alone")
    parser.add_argument("--output", type=Path, help="also write everything as JSON")
    parser.set_defaults(matrix_rate=None)
    parser.add_argument("--memory-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if "ours" not in options.peers:
        options.peers.insert(0, "ours")
    with quiet() if options.memory_of is None else nullcontext():
        if options.memory_of is None:
            print(f"torch {torch.__version__}, {options.threads} threads, {platform.processor() or platform.machine()}")
        found = [compare(name, options) for name in options.networks]
    if options.output is not None:
        options.output.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
