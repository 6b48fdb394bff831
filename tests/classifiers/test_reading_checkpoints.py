"""Checkpoint files from anywhere: what is read, what is refused, and that nothing in them ever runs."""

from __future__ import annotations

import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from bigroc_core.classifiers.checkpoints import load_weights, read_checkpoint, state_dict_of


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self):
        return os.system, (f"touch {self.flag}",)


def _write_zip(bomb: object, path: Path) -> None:
    torch.save({"model": bomb}, path)


def _write_legacy(bomb: object, path: Path) -> None:
    torch.save({"model": bomb}, path, _use_new_zipfile_serialization=False)


def _write_pickle(bomb: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(bomb))


@pytest.mark.parametrize("write", [_write_zip, _write_legacy, _write_pickle])
def test_a_pickle_bomb_is_refused_by_name_and_does_not_go_off(tmp_path, write):
    flag, path = tmp_path / "went-off", tmp_path / "bomb.pt"
    write(Bomb(flag), path)
    with pytest.raises(ValueError, match=rf"{os.system.__module__}\.system") as refusal:
        read_checkpoint(path)
    assert "\n" not in str(refusal.value)
    assert not flag.exists()
    pickle.loads(pickle.dumps(Bomb(flag)))
    assert flag.exists(), "the bomb of this test is a dud"


def test_the_environment_cannot_switch_unpickling_on(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    _write_zip(Bomb(tmp_path / "went-off"), tmp_path / "bomb.pt")
    with pytest.raises(ValueError):
        read_checkpoint(tmp_path / "bomb.pt")
    assert not (tmp_path / "went-off").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_scalars_beside_the_weights_are_no_obstacle(tmp_path, zipped):
    contents = {"model": {"weight": torch.arange(6.0)}, "epoch": 3, "best": np.float64(0.91), "n": np.int64(7)}
    torch.save(contents, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    state = state_dict_of(read_checkpoint(tmp_path / "c.pt"), "c.pt")
    assert torch.equal(state.weights["weight"], torch.arange(6.0))


def test_the_allow_list_is_not_left_behind_for_others(tmp_path):
    torch.save({"best": np.float64(0.91)}, tmp_path / "c.pt")
    read_checkpoint(tmp_path / "c.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "c.pt", weights_only=True)


def test_two_threads_may_read_at_once(tmp_path):
    torch.save({"weight": torch.ones(1000), "best": np.float64(0.91)}, tmp_path / "c.pt")
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(read_checkpoint, [tmp_path / "c.pt"] * 64))
    assert all(torch.equal(result["weight"], torch.ones(1000)) for result in results)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_anywhere_is_one_clear_line(tmp_path, kind):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    state = {"a.weight": torch.randn(40, 40), "a.bias": torch.randn(40)}
    if kind == "safetensors":
        save_file(state, whole)
    else:
        torch.save(state, whole, _use_new_zipfile_serialization=kind == "zip")
    contents = whole.read_bytes()
    for length in [0, 1, 3, 9, *range(20, len(contents) - 1, len(contents) // 40), len(contents) - 1]:
        cut.write_bytes(contents[:length])
        with pytest.raises(ValueError, match="cut") as refusal:
            state_dict_of(read_checkpoint(cut), str(cut))
        assert "\n" not in str(refusal.value)


def test_files_of_other_kinds_are_named_as_such(tmp_path):
    path = tmp_path / "file"
    path.write_text("just some text, long enough to be looked at")
    with pytest.raises(ValueError, match="neither safetensors nor"):
        read_checkpoint(path)
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "pickle")
    with pytest.raises(ValueError, match="tar format"):
        read_checkpoint(path)
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(path)
    with pytest.raises(ValueError, match="no checkpoint file"):
        read_checkpoint(tmp_path / "absent")


WEIGHTS = {"conv.weight": torch.ones(2, 3, 1, 1), "fc.weight": torch.ones(2, 2)}


@pytest.mark.parametrize(
    "contents",
    [
        WEIGHTS,
        {"model": WEIGHTS, "epoch": 3},
        {"state_dict": {f"module.{key}": value for key, value in WEIGHTS.items()}},
        {"state_dict": {f"model.{key}": value for key, value in WEIGHTS.items()}, "lr": 0.1},
        {
            "model": {
                f"module.{place}.{key}": value
                for place in ("model", "attacker.model")
                for key, value in WEIGHTS.items()
            }
        },
        {"model": {f"module.attacker.model.{key}": value for key, value in WEIGHTS.items()}},
    ],
    ids=["bare", "model", "DataParallel", "wrapped", "AttackerModel", "attacker alone"],
)
def test_wrappers_are_undone(contents):
    assert list(state_dict_of(contents, "c").weights) == list(WEIGHTS)


def test_a_network_whose_own_parts_are_called_model_keeps_their_names():
    state = {"model.weight": torch.ones(1), "head.weight": torch.ones(1)}
    assert list(state_dict_of(state, "c").weights) == list(state)


@pytest.mark.parametrize("contents", [[1, 2], {}, {"epoch": 3}, {"model": {"weight": [1.0, 2.0]}}, torch.ones(2)])
def test_contents_without_weights_are_refused(contents):
    with pytest.raises(ValueError, match="holds no state dict"):
        state_dict_of(contents, "c")


def test_weights_that_do_not_fit_are_listed_briefly():
    network = nn.Sequential(*(nn.Linear(2, 2) for _ in range(8)))
    with pytest.raises(ValueError, match=r"16 missing \(0.weight, 0.bias, 1.weight and 13 more\).*1 unexpected \(x\)"):
        load_weights(network, {"x": torch.ones(1)}, "c and n")
    fitting = network.state_dict()
    with pytest.raises(ValueError, match=r"1 of another shape \(0.bias is 3, not 2\)"):
        load_weights(network, {**fitting, "0.bias": torch.ones(3)}, "c and n")
    with pytest.raises(ValueError, match=r"1 not finite \(0.bias\)"):
        load_weights(network, {**fitting, "0.bias": torch.tensor([1.0, torch.nan])}, "c and n")


def test_half_precision_files_compute_in_single_precision():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    stored = {key: value.half() for key, value in network.state_dict().items() if "num_batches" not in key}
    load_weights(network, stored, "c and n")
    assert all(value.dtype == torch.float32 for value in network.parameters())
