"""Numbers within bounds, in one vocabulary: what passes, and what the refusal says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bigroc_core.checks import number, whole


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.float32(3), torch.tensor(3)])
def test_whole_numbers_of_every_kind_are_the_same(value):
    assert whole(value, "steps", 0, 5) == 3
    assert type(whole(value, "steps", 0, 5)) is int


@pytest.mark.parametrize("value", [-1, 6, 2.5, "3", None, True, float("nan"), float("inf"), [3], 10**30])
def test_what_is_no_whole_number_within_its_bounds_is_refused_with_name_and_bounds(value):
    with pytest.raises(ValueError, match=r"^steps must be a whole number from 0 to 5, not "):
        whole(value, "steps", 0, 5)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), np.int8(1)])
def test_numbers_of_every_kind_are_floats(value):
    assert number(value, "eps", 0.5, 1) == float(value)
    assert type(number(value, "eps", 0.5, 1)) is float


@pytest.mark.parametrize("value", [0.49, 1.01, "1", None, True, float("nan"), float("inf"), [1.0]])
def test_what_is_no_number_within_its_bounds_is_refused_with_name_and_bounds(value):
    with pytest.raises(ValueError, match=r"^eps must be a number from 0\.5 to 1, not "):
        number(value, "eps", 0.5, 1)
