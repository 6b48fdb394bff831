"""What boosting promises around Alg. 1: targets, early stop, streaming, batches, memory, and a module left alone."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from textbook import CLASSES, ConvNet, conv_net, some_images, textbook, transformer
from torch import Tensor, nn

from bigroc_core.boosting import BoostConfig, boost, boost_stream, logits_of
from bigroc_core.engine.batching import activation_bytes
from bigroc_core.engine.frozen import frozen_copy
from bigroc_core.losses import realism

FEW = BoostConfig(eps=0.8, steps=4)


class Recorder(nn.Module):
    """Passes images on and notes how many came at once, in a list that copies share."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        sizes: list[int] = []
        self.note = lambda x: sizes.append(len(x))
        self.read = lambda: sizes

    def forward(self, x: Tensor) -> Tensor:
        self.note(x)
        return self.network(x)

    def ready(self) -> Recorder:
        """With its private copy made, which looks at one image, and nothing noted yet."""
        with frozen_copy(self, some_images(1)):
            self.read().clear()
        return self


# --- targets ---------------------------------------------------------------------------------------------------


def test_labels_of_every_kind_mean_the_same():
    classifier, x = conv_net(), some_images(3)
    expected = boost(classifier, x, torch.tensor([2, 2, 2]), FEW)
    for labels in (
        [2, 2, 2],
        (2, 2, 2),
        np.array([2, 2, 2], dtype=np.int32),
        torch.tensor([2] * 3).byte(),
        2,
    ):
        result = boost(classifier, x, labels, FEW)
        assert torch.equal(result.images, expected.images)
        assert result.labels.dtype == torch.int64
        assert result.labels.tolist() == [2, 2, 2]


def test_without_labels_an_image_moves_towards_its_own_class():
    classifier, x = conv_net(), some_images(10)
    result = boost(classifier, x, config=FEW, batch_size=3)
    assert torch.equal(result.labels, logits_of(classifier, x).argmax(dim=1))
    assert torch.equal(result.images, boost(classifier, x, result.labels, FEW, batch_size=3).images)
    before, after = (F.cross_entropy(z, result.labels) for z in (result.logits_before, result.logits_after))
    assert after < before


def test_logits_and_sizes_are_those_of_the_images_returned():
    classifier, x = conv_net(), some_images(5)
    result = boost(classifier, x, 1, BoostConfig(eps=0.5, steps=5))
    network = copy.deepcopy(classifier).double().eval()
    assert torch.allclose(result.logits_before, network(x), atol=1e-12)
    assert torch.allclose(result.logits_after, network(result.images), atol=1e-12)
    assert torch.equal(result.steps_taken, torch.full((5,), 5))
    assert torch.allclose(result.l2, (result.images - x).flatten(1).norm(dim=1))
    assert torch.equal(result.linf, (result.images - x).flatten(1).abs().amax(dim=1))


# --- cost ------------------------------------------------------------------------------------------------------


def test_a_run_costs_one_pass_per_step_and_one_more():
    recorder = Recorder(conv_net())
    # The private copy is made once: it looks at one image to fold, at two and at one to see whether that differs.
    for looks in ([1, 2, 1], []):
        boost(recorder, some_images(6), config=BoostConfig(steps=5), batch_size=6)
        assert recorder.read() == looks + [6] * 6
        recorder.read().clear()


@pytest.mark.parametrize("stop_at", [None, 0.6])
def test_progress_counts_up_to_the_total(stop_at):
    seen: list[tuple[int, int]] = []
    config = BoostConfig(steps=4, eps=2, stop_at=stop_at)
    boost(conv_net(), some_images(5), 1, config, batch_size=2, progress=lambda *counts: seen.append(counts))
    done = [d for d, _ in seen]
    assert {t for _, t in seen} == {20}
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 20)


def test_an_exception_in_progress_cancels():
    recorder = Recorder(conv_net()).ready()

    def cancel(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        boost(recorder, some_images(2), 1, BoostConfig(steps=50), progress=cancel)
    assert len(recorder.read()) == 3


# --- early stop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4, 9])
def test_an_image_rests_at_the_first_point_that_is_sure_enough(batch_size):
    classifier, x = conv_net(), some_images(9)
    network = copy.deepcopy(classifier).double().eval()
    labels = torch.arange(9) % CLASSES
    labels[0] = network(x[:1]).argmax()
    p = float(network(x)[0].detach().softmax(dim=0)[labels[0]]) - 1e-13  # the first image starts just there
    steps, eps = 14, 3.0
    result = boost(classifier, x, labels, BoostConfig(eps=eps, steps=steps, stop_at=p), batch_size=batch_size)
    assert torch.equal(result.images[0], x[0])
    walk = [x] + [textbook(classifier, x, labels, eps, t, alpha=eps / steps) for t in range(1, steps + 1)]
    sure = [network(points).softmax(dim=1).gather(1, labels[:, None])[:, 0] >= p - 1e-12 for points in walk]
    for i in range(9):
        expected = next((t for t in range(steps) if sure[t][i]), steps)
        assert int(result.steps_taken[i]) == expected
        assert (result.images[i] - walk[expected][i]).abs().max() <= 1e-9
    assert len(set(result.steps_taken.tolist())) > 3  # the case is not a trivial one


def test_resting_images_cost_nothing_more():
    recorder = Recorder(conv_net()).ready()
    result = boost(recorder, some_images(9), 1, BoostConfig(eps=4, steps=15, stop_at=0.5), batch_size=9)
    passes = sum(recorder.read())
    assert passes == int((result.steps_taken + 1).sum())
    assert passes < 9 * 16


@pytest.mark.parametrize("l0", [1.2, [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5]])
def test_images_rest_once_they_read_as_real(l0):
    classifier, x = conv_net(), some_images(12)
    config = BoostConfig(eps=6, steps=25, loss="bce", stop_at="l0", l0=l0)
    result = boost(classifier, x, torch.arange(12) % CLASSES, config, batch_size=5)
    wanted = torch.as_tensor(l0, dtype=torch.float64).expand(CLASSES)[result.labels]
    rested = result.steps_taken < 25
    assert rested.any()
    assert (realism(result.logits_after, result.labels) >= wanted)[rested].all()
    untouched = realism(result.logits_before, result.labels) >= wanted
    assert untouched.any()
    assert torch.equal(result.steps_taken == 0, untouched)
    assert torch.equal(result.images[untouched], x[untouched])


def test_the_card_gives_the_reference_and_the_config_overrides_it():
    classifier, x = conv_net(), some_images(4)
    for l0 in (2.0, tuple(float(c) for c in range(CLASSES))):
        config = {"eps": 2.0, "steps": 5, "loss": "combined", "stop_at": "l0"}
        expected = boost(classifier, x, 3, BoostConfig(**config, l0=l0)).images
        carded = conv_net()
        carded.card = SimpleNamespace(l0=l0)
        assert torch.equal(boost(carded, x, 3, BoostConfig(**config)).images, expected)
        assert not torch.equal(boost(carded, x, 3, BoostConfig(**config, l0=0.1)).images, expected)


@pytest.mark.parametrize("config", [BoostConfig(loss="combined"), BoostConfig(stop_at="l0")])
def test_a_missing_reference_is_explained(config):
    with pytest.raises(ValueError, match=r"ℓ₀.*BoostConfig\(l0="):
        boost(conv_net(), some_images(1), 0, config)


@pytest.mark.parametrize("loss", ["bce", "ce-bce"])
def test_a_classifier_whose_card_has_no_reference_cannot_make_images_more_real(loss):
    plain = conv_net()
    plain.card = SimpleNamespace(l0=None, name="plain")
    with pytest.raises(ValueError, match=f"'{loss}'.*plain was not trained to tell real images.*joint model"):
        boost(plain, some_images(1), 0, BoostConfig(loss=loss))


# --- streaming -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        FEW,
        BoostConfig(eps=0.05, steps=5, norm="linf"),
        BoostConfig(eps=4, steps=12, stop_at=0.5),
        BoostConfig(steps=0),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_the_stream_ends_at_what_boost_returns(config, dtype, batch_size):
    classifier, x = transformer(), some_images(5, dtype=dtype)
    result = boost(classifier, x, config=config, batch_size=batch_size)
    snapshots = list(boost_stream(classifier, x, config=config, batch_size=batch_size))
    last = int(result.steps_taken.max())
    assert [s.step for s in snapshots] == list(range(last + 1))
    assert torch.equal(snapshots[0].images, x)
    assert torch.equal(snapshots[0].logits, result.logits_before)
    assert torch.equal(snapshots[-1].images, result.images)
    assert torch.equal(snapshots[-1].logits, result.logits_after)
    for snapshot in snapshots:
        assert snapshot.images.shape == x.shape
        assert torch.equal(snapshot.labels, result.labels)
        network = copy.deepcopy(classifier).to(dtype).eval()
        assert torch.allclose(snapshot.logits, network(snapshot.images), atol=1e-4)
        assert torch.equal(snapshot.resting & (result.steps_taken > snapshot.step), torch.zeros(5, dtype=torch.bool))


def test_every_thins_the_stream_but_keeps_its_end():
    classifier, x, config = conv_net(), some_images(3), BoostConfig(steps=7)
    full = list(boost_stream(classifier, x, 1, config))
    thinned = list(boost_stream(classifier, x, 1, config, every=3))
    assert [s.step for s in thinned] == [0, 3, 6, 7]
    assert all(torch.equal(s.images, full[s.step].images) for s in thinned)


def test_the_stream_can_be_closed_anywhere_and_keeps_nothing():
    recorder, x = Recorder(conv_net()).ready(), some_images(4)
    for steps_seen in range(4):
        stream = boost_stream(recorder, x, 1, BoostConfig(steps=50), batch_size=2)
        for _ in range(steps_seen):
            next(stream)
        held = weakref.ref(stream)
        stream.close()
        assert list(stream) == []
        del stream
        assert held() is None
    assert len(recorder.read()) == 2 * (0 + 1 + 2 + 3)
    alive = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert alive() is None  # the cache of private copies holds no module alive


def test_the_stream_shares_no_memory_with_anyone():
    classifier, x = conv_net(), some_images(3)
    expected = boost(classifier, x, 1, FEW).images
    mine = x.clone()
    stream = boost_stream(classifier, mine, 1, FEW)
    mine.zero_()
    for snapshot in stream:
        last = snapshot.images.clone()
        snapshot.images.zero_()
        snapshot.logits.zero_()
        snapshot.resting.fill_(True)
        snapshot.labels.zero_()
    assert torch.equal(last, expected)


# --- the caller's module ---------------------------------------------------------------------------------------


class Stashing(nn.Module):
    """Keeps its features on itself during forward, so that a shared copy would mix up two threads."""

    def __init__(self) -> None:
        super().__init__()
        self.network = conv_net()
        self.scale = torch.ones(())

    def forward(self, x: Tensor) -> Tensor:
        self.scale = 1 + x.detach().mean()
        logits = self.network(x)
        return logits * self.scale


def test_the_module_is_left_exactly_as_it_was():
    classifier = conv_net()
    classifier.body[1].eval()
    classifier.head.bias.requires_grad_(False)
    calls: list[int] = []
    classifier.register_forward_hook(lambda *_: calls.append(1))
    classifier(some_images(2, dtype=torch.float32)).sum().backward()
    state = copy.deepcopy(classifier.state_dict())
    gradients = {n: None if p.grad is None else p.grad.clone() for n, p in classifier.named_parameters()}
    identities = {n: (id(p), p.data_ptr(), p.dtype, p.stride()) for n, p in classifier.named_parameters()}
    demands = {n: p.requires_grad for n, p in classifier.named_parameters()}
    modes = {n: m.training for n, m in classifier.named_modules()}
    hooks = {n: dict(m._forward_hooks) for n, m in classifier.named_modules()}
    for dtype in (torch.float32, torch.float64):
        x = some_images(4, dtype=dtype).requires_grad_()
        given = x.detach().clone()
        result = boost(classifier, x, config=FEW)
        list(boost_stream(classifier, x, config=FEW))
        assert torch.equal(x, given)
        assert x.grad is None
        assert not result.images.requires_grad
        assert result.images.dtype == result.logits_after.dtype == result.l2.dtype == dtype
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    for name, parameter in classifier.named_parameters():
        same = parameter.grad is gradients[name] is None or torch.equal(parameter.grad, gradients[name])
        assert same
        assert (id(parameter), parameter.data_ptr(), parameter.dtype, parameter.stride()) == identities[name]
        assert parameter.requires_grad == demands[name]
    assert {n: m.training for n, m in classifier.named_modules()} == modes
    assert {n: dict(m._forward_hooks) for n, m in classifier.named_modules()} == hooks


def scaled(network: ConvNet) -> None:
    other = ConvNet()
    other.load_state_dict(network.state_dict())
    with torch.no_grad():
        other.head.weight.mul_(-2)
    network.load_state_dict(other.state_dict())


def optimised(network: ConvNet) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    network(some_images(8, dtype=torch.float32)).square().mean().backward()
    optimizer.step()


def data_written(network: ConvNet) -> None:
    network.head.weight.data.neg_()  # bumps no version counter, and changes no norm


def statistics_updated(network: ConvNet) -> None:
    network.train()
    network(some_images(8, dtype=torch.float32) * 0.2)


def activation_replaced(network: ConvNet) -> None:
    network.body[2] = nn.SiLU()


def attribute_changed(network: ConvNet) -> None:
    network.body[1].eps = 0.3


def hook_added(network: ConvNet) -> None:
    network.head.register_forward_hook(lambda module, inputs, output: output * 3)


def changed_to_double(network: ConvNet) -> None:
    network.double()
    with torch.no_grad():
        network.head.bias.add_(1)


@pytest.mark.parametrize(
    "change",
    [
        scaled,
        optimised,
        data_written,
        statistics_updated,
        activation_replaced,
        attribute_changed,
        hook_added,
        changed_to_double,
    ],
)
def test_a_changed_module_is_seen_as_it_is_now(change):
    classifier, x = conv_net(), some_images(4)
    before = boost(classifier, x, 1, FEW)
    change(classifier)
    after = boost(classifier, x, 1, FEW)
    network = copy.deepcopy(classifier).double().eval()
    assert torch.allclose(after.logits_before, network(x), atol=1e-9)
    assert (after.logits_before - before.logits_before).abs().max() > 1e-3


def test_the_private_copy_is_kept_while_the_module_stays_the_same():
    classifier, x = conv_net(), some_images(1, dtype=torch.float32)
    with frozen_copy(classifier, x) as first:
        with frozen_copy(classifier, x) as other:
            assert other is not first  # lent to one borrower at a time
        assert not any(p.requires_grad for p in first._network.parameters())
    classifier.eval()
    with frozen_copy(classifier, x.double()) as double, frozen_copy(classifier, x) as again:
        assert double.dtype == torch.float64
        assert again in (first, other)


@pytest.mark.parametrize("make", [conv_net, Stashing])
def test_two_threads_get_what_each_gets_alone(make):
    classifier = make()
    inputs = [some_images(6, seed=11), some_images(6, seed=12) * 0.5]
    config = BoostConfig(eps=1.0, steps=12)
    alone = [boost(classifier, x, 2, config).images for x in inputs]
    together: list[Tensor | None] = [None, None]
    barrier = threading.Barrier(2)

    def work(i: int) -> None:
        barrier.wait()
        together[i] = boost(classifier, inputs[i], 2, config).images

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, theirs in zip(together, alone, strict=True):
        assert (ours - theirs).abs().max() <= 1e-9


def test_the_callers_modes_change_nothing_and_stay_as_they_are():
    classifier, x = conv_net(), some_images(3, dtype=torch.float32)
    expected = boost(classifier, x, config=FEW).images
    with torch.no_grad():
        assert torch.equal(boost(classifier, x, config=FEW).images, expected)
        assert not torch.is_grad_enabled()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(boost(classifier, x, config=FEW).images, expected)
    with torch.inference_mode():
        mine, labels = x.clone(), boost(classifier, x, config=FEW).labels
        assert torch.equal(boost(classifier, mine, labels, FEW).images, expected)
        fresh = conv_net()
    assert torch.equal(boost(fresh, mine, labels, FEW).images, expected)
    for _ in boost_stream(classifier, x, config=FEW):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()


def test_networks_of_unusual_build_work():
    class Parameterless(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, c].mean(dim=(1, 2)) for c in range(3)], dim=1) * 10

    x = some_images(3)
    result = boost(Parameterless(), x, 1, FEW)
    assert (result.logits_after[:, 1] > result.logits_before[:, 1]).all()
    with pytest.warns(FutureWarning):
        normed = nn.Sequential(nn.Flatten(), torch.nn.utils.weight_norm(nn.Linear(768, 4)))
    normed(x.float())  # leaves a tensor with a history on the module, which refuses to be deep-copied
    assert boost(normed, x, 1, FEW).images.shape == x.shape
    strided = some_images(6).transpose(2, 3)[::2]
    compact = boost(conv_net(), strided.contiguous(), 1, FEW)
    assert torch.equal(boost(conv_net(), strided, 1, FEW).images, compact.images)


# --- memory ----------------------------------------------------------------------------------------------------


class Cramped(nn.Module):
    """Runs out of memory when more than `room` images come at once."""

    def __init__(self, network: nn.Module, room: int, error: type[RuntimeError] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.network = network
        self.room = room
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.room:
            raise self.error("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.network(x)


class Wasteful(nn.Module):
    """Asks the CPU allocator for what no machine has, unless a single image comes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        torch.empty((len(x) - 1) * 2**55, dtype=torch.uint8)
        return self.network(x)


@pytest.mark.parametrize("stop_at", [None, 0.7])
@pytest.mark.parametrize("room", [1, 3])
def test_a_batch_that_does_not_fit_is_halved_and_nothing_is_lost(room, stop_at):
    network, x = conv_net(), some_images(11)
    config = BoostConfig(eps=1.2, steps=8, stop_at=stop_at)
    expected = boost(network, x, config=config)
    assert len(set(expected.steps_taken.tolist())) > (2 if stop_at else 0)
    for batch_size in (None, 4):
        recorder = Recorder(Cramped(network, room)).ready()
        result = boost(recorder, x, config=config, batch_size=batch_size)
        assert (result.images - expected.images).abs().max() <= 1e-9
        assert torch.equal(result.labels, expected.labels)
        assert torch.equal(result.steps_taken, expected.steps_taken)
        assert sum(size > room for size in recorder.read()) <= 3  # it is not tried again and again
        *_, last = boost_stream(recorder, x, config=config, batch_size=batch_size)
        assert torch.equal(last.images, result.images)
    assert torch.allclose(logits_of(Cramped(network, room), x), expected.logits_before, atol=1e-12)


def test_the_cpu_allocators_own_refusal_is_understood():
    network, x = conv_net(), some_images(3)
    expected = boost(network, x, 1, FEW)
    assert (boost(Wasteful(network), x, 1, FEW).images - expected.images).abs().max() <= 1e-9


def test_when_not_even_one_image_fits_it_says_so():
    for call in (boost, logits_of):
        with pytest.raises(MemoryError, match="a single image does not fit"):
            call(Cramped(conv_net(), 0), some_images(3))


def test_other_failures_of_the_classifier_are_passed_on():
    class Failing(Cramped):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        boost(Failing(conv_net(), 0), some_images(2))


def test_the_estimate_of_memory_counts_activations_and_not_weights():
    def estimate(classifier: nn.Module, size: int) -> int:
        x = torch.rand(1, 3, size, size)
        with frozen_copy(classifier, x) as network:
            return activation_bytes(network, x)

    body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    heavy = nn.Sequential(*body, nn.Linear(8, 20_000))
    kept = 8 * 64 * 64 * 4  # what sigmoid keeps
    assert kept <= estimate(body, 64) <= 3 * kept
    assert estimate(body, 128) >= 3.5 * estimate(body, 64)
    assert estimate(heavy, 64) < estimate(body, 64) + 20_000 * 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_results_come_back_to_the_images():
    classifier, x = conv_net().cuda(), some_images(5)
    result = boost(classifier, x, config=FEW)
    assert result.images.device == x.device
    assert (result.images - boost(conv_net(), x, config=FEW).images).abs().max() <= 1e-9
    assert torch.equal(list(boost_stream(classifier, x, config=FEW))[-1].images, result.images)


# --- bad input -------------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ("eps", "step_size") for value in (-1, NAN, INF, 1e30, "1", True)),
        *(("steps", value) for value in (-1, NAN, INF, 10**9, 2.5, "3", None, True)),
        *(("stop_at", value) for value in (0, -0.5, 1.5, NAN, "l1", True)),
        *(("l0", value) for value in (-1, NAN, INF, 1e30, "2", [], [1, NAN])),
        ("eps", None),
        ("norm", "l1"),
        ("norm", 2),
        ("loss", "hinge"),
        ("gradient", "sign"),
        ("gradient", None),
    ],
)
def test_bad_settings_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=rf"^{field}.* must be .*not"):
        BoostConfig(**{field: value})


def test_settings_are_values():
    config = BoostConfig(eps=np.float32(0.5), steps=np.int64(7), l0=[1, 2.5], stop_at=1)
    assert config == BoostConfig(eps=0.5, steps=7, l0=(1.0, 2.5), stop_at=1.0)
    assert hash(config) == hash(BoostConfig(eps=0.5, steps=7, l0=np.array([1, 2.5]), stop_at=1.0))
    assert config.alpha == pytest.approx(0.5 / 7)
    assert BoostConfig(eps=1, steps=0).alpha == 1
    assert BoostConfig(step_size=0.2).alpha == 0.2
    with pytest.raises(FrozenInstanceError):
        config.eps = 2.0
    with pytest.raises(TypeError):
        BoostConfig(1.0)


GOOD = some_images(2)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GOOD.numpy(), "ndarray"),
        (GOOD[0], "shape"),
        (GOOD[:, :1], "shape"),
        (GOOD.permute(0, 2, 3, 1), "shape"),
        (GOOD[:0], "shape"),
        (GOOD[..., :0], "shape"),
        (GOOD.half(), "float16.*float()"),
        (GOOD.bfloat16(), "bfloat16"),
        ((GOOD * 255).byte(), "uint8.*255"),
        (GOOD * 255, "pixels run from"),
        (GOOD - 0.1, "pixels run from"),
        (torch.where(GOOD > 0.9, NAN, GOOD), "NaN"),
        (torch.where(GOOD > 0.9, INF, GOOD), "infinite"),
    ],
)
def test_bad_images_are_refused(images, message):
    for call in (boost, boost_stream, logits_of):  # the stream at the call, not at its first snapshot
        with pytest.raises(ValueError, match=f"images must be.*{message}"):
            call(conv_net(), images)


@pytest.mark.parametrize(
    "arguments",
    [
        {"labels": [0]},
        {"labels": [[0, 1]]},
        {"labels": [0.0, 1.0]},
        {"labels": [True, False]},
        {"labels": "cat"},
        {"labels": ["cat", "dog"]},
        {"labels": [0, -1]},
        {"labels": [0, CLASSES]},
        {"labels": CLASSES},
        {"labels": [0, 1], "debias": torch.zeros(CLASSES)},
        {"debias": torch.zeros(CLASSES - 1)},
        {"debias": torch.zeros(1, CLASSES)},
        {"debias": torch.full((CLASSES,), NAN)},
        {"debias": "none"},
        {"batch_size": 0},
        {"batch_size": -3},
        {"batch_size": 1.5},
        {"config": {"eps": 1.0}},
        {"config": BoostConfig(loss="combined", l0=[1.0, 2.0])},
    ],
)
def test_bad_arguments_are_refused_by_name(arguments):
    name = next(iter(arguments))
    for call in (boost, lambda *a, **k: list(boost_stream(*a, **k))):
        with pytest.raises(ValueError, match="l0" if isinstance(arguments[name], BoostConfig) else name):
            call(conv_net(), GOOD, **arguments)


def test_a_classifier_that_knows_its_classes_refuses_at_once():
    recorder = Recorder(conv_net())
    recorder.classes = ("a", "b", "c")
    with pytest.raises(ValueError, match="3 classes"):
        boost_stream(recorder, GOOD, [0, 3])
    assert recorder.read() == []


@pytest.mark.parametrize("every", [0, -1, 1.5, None])
def test_every_must_be_positive(every):
    with pytest.raises(ValueError, match="every"):
        boost_stream(conv_net(), GOOD, every=every)


class Odd(nn.Module):
    """A network that returns what `answer` makes of its logits."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.network = conv_net()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.network(x))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda z: {"logits": z}, "dict"),
        (lambda z: ({}, z), "tuple"),
        (lambda z: z[:, 0], "returned"),
        (lambda z: z[:1], "returned"),
        (lambda z: z.detach(), "no gradient"),
        (lambda z: z / 0, "not all finite"),
    ],
)
def test_bad_classifiers_are_refused(answer, message):
    with pytest.raises(ValueError, match=message):
        boost(Odd(answer), GOOD)


def test_a_function_is_not_a_classifier():
    with pytest.raises(ValueError, match="must be a torch"):
        boost(lambda x: x, GOOD)
