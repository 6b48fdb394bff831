"""Boosting computes exactly on CUDA, and leaves the caller's settings as they were."""

import threading

import pytest
import torch

from bigroc_core.engine.exactness import exact_arithmetic

CUDA = torch.device("cuda")


def settings():
    cudnn = torch.backends.cudnn
    return (cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision, cudnn.deterministic, cudnn.benchmark)


EXACT = ("ieee", "ieee", True, False)


def test_settings_hold_inside_and_return_after_even_an_error():
    before = settings()
    assert before != EXACT
    seen = []

    def fail():
        with exact_arithmetic(CUDA):
            seen.append(settings())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [EXACT]
    assert settings() == before


def test_nothing_changes_on_a_cpu():
    before = settings()
    with exact_arithmetic(torch.device("cpu")):
        assert settings() == before


def test_overlapping_threads_stay_exact_until_the_last_leaves():
    before = settings()
    entered, leave = threading.Event(), threading.Event()

    def other():
        with exact_arithmetic(CUDA):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with exact_arithmetic(CUDA):
        thread.start()
        assert entered.wait(10)
    assert settings() == EXACT
    leave.set()
    thread.join()
    assert settings() == before
