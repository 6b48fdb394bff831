"""Everything that a GPU has to show, in one run of a few minutes: what holds there, how fast, and how near its limits.

Needs torch, torchvision and this repository alone; peers that are installed are compared with. Without a GPU,
`--toy` runs all of it at sizes that say nothing. Writes JSON, and prints the tables as Markdown.

    PYTHONPATH=. python tests/benchmarks/on_gpu.py --output gpu.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from against_peers import NETWORKS, compare, pictures, quiet, seconds
from peers import CONTENDERS
from torch import Tensor
from torch.nn import functional as F

import bigroc_core as bc

sys.path.insert(0, str(Path(__file__).parents[1]))
from textbook import conv_net, some_images, textbook

Facts = dict[str, Any]


def samples(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images of cifar10-cgan, and their classes."""
    images, labels = bc.load_generator("cifar10-cgan").sample(count)
    assert labels is not None
    return images.to(device), labels.to(device)


# ------------------------------------------------------------------------------------------------------- what holds


def exact_is_the_textbook(device: torch.device, count: int) -> Facts:
    """float64, both norms: 1e-9 from the textbook loop, and inside the ball."""
    network, x = conv_net().to(device), some_images(7).to(device)
    labels = torch.arange(7, device=device) % 3
    furthest = 0.0
    for norm, eps in (("l2", 0.5), ("linf", 0.03)):
        wanted = textbook(network, x, labels, eps, 8, norm)
        result = bc.boost(network, x, labels, bc.BoostConfig(eps=eps, steps=8, norm=norm), batch_size=3)
        furthest = max(furthest, float((result.images - wanted).abs().max()))
        assert float((result.l2 if norm == "l2" else result.linf).max()) <= eps + 1e-9
    assert furthest <= 1e-9, furthest
    return {"furthest": furthest}


def exact_repeats_its_bits(device: torch.device, count: int) -> Facts:
    """float32: the same run gives the same bits, also while another thread computes fast, and on another stream."""
    classifier, (images, labels) = bc.load_classifier("cifar10-robust").to(device), samples(count, device)
    config = bc.BoostConfig(eps=1.0, steps=10)
    first = bc.boost(classifier, images, labels, config)
    assert float(first.l2.max()) <= 1 + 1e-6
    stop = threading.Event()

    def fast() -> None:
        while not stop.is_set():
            bc.boost(classifier, images, labels, config, precision="fast")

    beside = threading.Thread(target=fast)
    beside.start()
    try:
        again = [bc.boost(classifier, images, labels, config) for _ in range(3)]
    finally:
        stop.set()
        beside.join()
    if device.type == "cuda":
        with torch.cuda.stream(torch.cuda.Stream(device)):
            again.append(bc.boost(classifier, images.clone(), labels, config))
        torch.cuda.synchronize(device)
    assert all(torch.equal(one.images, first.images) for one in again)
    here = bc.boost(classifier.cpu(), images.cpu(), labels.cpu(), config)
    return {"runs": len(again), "loss_on_the_cpu": _loss(here), "loss": _loss(first)}


def fast_has_the_outcome_of_exact(device: torch.device, count: int) -> Facts:
    """The same classes reached, the loss within 2 %, the length within 1 %, with and without early stop."""
    told: Facts = {}
    for name in ("cifar10-robust", "cifar10-joint"):
        classifier, (images, labels) = bc.load_classifier(name).to(device), samples(4 * count, device)
        for stop_at in (None, 0.8):
            config = bc.BoostConfig(eps=1.5, steps=10, stop_at=stop_at)
            exact, fast = (
                bc.boost(classifier, images, labels, config, batch_size=count, precision=kind)
                for kind in ("exact", "fast")
            )
            alike = float((exact.logits_after.argmax(1) == fast.logits_after.argmax(1)).float().mean())
            loss, length = (abs(of(fast) / of(exact) - 1) for of in (_loss, lambda one: float(one.l2.mean())))
            told[f"{name}, stop at {stop_at}"] = {"alike": alike, "loss": loss, "length": length}
            assert float(fast.l2.max()) <= 1.5 + 1e-6
            assert alike >= 0.98, told
            assert length <= 0.01, told
            assert loss <= 0.02 or abs(_loss(fast) - _loss(exact)) <= 2e-3, told
    return told


def memory_is_halved(device: torch.device, count: int) -> Facts:
    """A batch that does not fit is halved until it does, and gives what small batches give."""
    if device.type != "cuda":
        return {"skipped": "no GPU"}
    classifier, (images, labels) = bc.load_classifier("cifar10-robust").to(device), samples(count, device)
    images, labels = (torch.cat([one] * 8) for one in (images, labels))
    config = bc.BoostConfig(eps=1.0, steps=2)
    small = bc.boost(classifier, images, labels, config, batch_size=256)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated(device) + 2**30) / total, device)
    try:
        large = bc.boost(classifier, images, labels, config, batch_size=len(images))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    assert (large.l2 - small.l2).abs().max() <= 1e-3
    return {"images": len(images), "peak_mib": torch.cuda.max_memory_allocated(device) / 2**20}


def results_come_back(device: torch.device, count: int) -> Facts:
    """Images on the CPU, a classifier on the GPU: results stand where the images do."""
    classifier, x = conv_net().to(device), some_images(5)
    result = bc.boost(classifier, x, config=bc.BoostConfig(steps=3))
    assert result.images.device == x.device
    away = bc.boost(conv_net(), x, config=bc.BoostConfig(steps=3))
    assert (result.images - away.images).abs().max() <= 1e-9
    return {}


def own_sizes(device: torch.device, count: int) -> Facts:
    """A view between image and network, in both precisions: the same bits twice, and equal outcomes."""
    classifier = bc.load_classifier("cifar10-robust").to(device)
    images, labels = pictures(12, 96).to(device), torch.arange(12, device=device) % 10
    config = bc.BoostConfig(eps=3.0, steps=10)
    first, second = (bc.boost(classifier, images, labels, config) for _ in range(2))
    fast = bc.boost(classifier, images, labels, config, batch_size=4, precision="fast")
    assert torch.equal(first.images, second.images)
    assert abs(_loss(fast) - _loss(first)) <= 0.02 * _loss(first) + 2e-3
    return {"loss": _loss(first), "fast": _loss(fast)}


CHECKS: list[Callable[[torch.device, int], Facts]] = [
    exact_is_the_textbook,
    exact_repeats_its_bits,
    fast_has_the_outcome_of_exact,
    memory_is_halved,
    results_come_back,
    own_sizes,
]


def _loss(result: bc.BoostResult) -> float:
    return float(F.cross_entropy(result.logits_after, result.labels))


def checked(device: torch.device, count: int) -> Facts:
    """Each check's facts, or what went wrong."""
    told: Facts = {}
    for check in CHECKS:
        began = time.perf_counter()
        try:
            told[check.__name__] = {"holds": True, **check(device, count)}
        except Exception as error:
            traceback.print_exc()
            told[check.__name__] = {"holds": False, "error": str(error)[:500] or type(error).__name__}
        told[check.__name__]["seconds"] = time.perf_counter() - began
        print(f"{check.__name__}: {json.dumps(told[check.__name__])}", flush=True)
    return told


# --------------------------------------------------------------------------------------------------------- how fast


def from_generator_to_file(count: int, precision: str, folder: Path) -> Facts:
    """Seconds of the whole command, from a generator to an .npz of 8-bit images."""
    from bigroc_core.__main__ import main

    words = ["boost", "generator:cifar10-cgan", str(folder / f"{precision}.npz"), "--count", str(count)]
    words += ["--classifier", "cifar10-robust", "--steps", "10", "--eps", "1", "--batch-size", "2000"]
    began = time.perf_counter()
    code = main([*words, "--precision", precision])
    spent = time.perf_counter() - began
    assert not code, code
    return {"images": count, "steps": 10, "seconds": spent, "images_per_second": count / spent}


def bandwidth(device: torch.device) -> float:
    """Bytes read and written a second by a large copy."""
    source = torch.randn(2**28 if device.type == "cuda" else 2**22, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    times = [seconds(lambda: target.copy_(source), device) for _ in range(5)]
    return 2 * source.nbytes / statistics.median(times)


def page_answers(count: int) -> Facts:
    """Seconds from click to done through the page's endpoint, where gradio is installed."""
    try:
        import gradio_client

        from bigroc_core.ui.page import build_page
    except ImportError as error:
        return {"skipped": f"not installed ({error.name})"}
    page = build_page()
    _, url, _ = page.queue().launch(prevent_thread_lock=True, quiet=True)
    try:
        client = gradio_client.Client(url, verbose=False)
        spent = []
        for seed in range(4):
            began = time.perf_counter()
            client.predict(count=count, seed=seed, api_name="/boost")
            spent.append(time.perf_counter() - began)
    finally:
        page.close()
    return {"images": count, "first": spent[0], "seconds": statistics.median(spent[1:])}


def table(found: list[Facts]) -> str:
    """The README's: milliseconds an image takes, ours beside the peers', as Markdown."""
    lines = [
        "| network | contender | images × steps a second | time, ours fast = 1 | loss | ‖δ‖₂ |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        quickest = one["rows"].get("ours, fast", one["rows"]["ours"])["seconds"]
        for name, row in sorted(one["rows"].items(), key=lambda pair: pair[1]["seconds"]):
            lines.append(
                f"| {one['network']}, batch {one['batch']} | {name} | {row['image_steps_per_second']:,.0f} | "
                f"{row['seconds'] / quickest:.2f} | {row['loss']:.4f} | {row['l2']:.3f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, and show everything that there is time for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="sizes that say nothing, for a run without a GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--peers", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=400, help="begin no further network after so long")
    parser.add_argument("--images", type=int, default=50_000, help="from generator to file")
    parser.add_argument("--output", type=Path, help="also write everything as JSON, as it comes")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    toy, began = options.toy, time.perf_counter()
    told: Facts = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "toy": toy,
    }

    def note(name: str, value: Any) -> None:
        told[name] = value
        if options.output is not None:
            options.output.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")

    with quiet():
        note("checks", checked(device, 8 if toy else 256))
        note("bandwidth", bandwidth(device))
        found: list[Facts] = []
        wanted = argparse.Namespace(
            device=options.device,
            peers=options.peers,
            steps=2 if toy else 10,
            rounds=1 if toy else options.rounds,
            batch=2 if toy else None,
            threads=torch.get_num_threads(),
            memory=False,
            memory_of=None,
            matrix_rate=None,
            ceiling=not toy,
        )
        for name in options.networks:
            if time.perf_counter() - began > options.seconds:
                print(f"{name}: left out, for want of time")
                continue
            try:
                found.append(compare(name, wanted))
                wanted.matrix_rate = found[-1].get("matrix_rate")
            except Exception as error:
                traceback.print_exc()
                told.setdefault("failures", {})[name] = str(error)[:500]
            note("networks", found)
        with tempfile.TemporaryDirectory() as folder:
            for precision in ("fast", "exact"):
                count = 20 if toy else options.images
                note(f"to file, {precision}", from_generator_to_file(count, precision, Path(folder)))
                print(f"to file, {precision}: {told[f'to file, {precision}']}", flush=True)
        note("page", page_answers(2 if toy else 16))
    note("seconds", time.perf_counter() - began)
    print(table(found))
    print({name: value for name, value in told.items() if name not in ("checks", "networks")})
    if not all(check["holds"] for check in told["checks"].values()) or "failures" in told:
        sys.exit("something does not hold; see above")


if __name__ == "__main__":
    main()
