"""The files that readers of models meet: how to make a small valid one of each kind, and how to read it."""

from __future__ import annotations

import dataclasses
import io
import json
import random
import struct
import zipfile
from functools import cache
from pathlib import Path

import torch
import torchvision  # noqa: F401 - loaded where a file names one of its networks, and no fault of that file
from fuzz import Format
from mutating import VALUES, json_with_a_mutated_value, mutated
from safetensors.torch import load, save
from torch import nn

from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.checkpoints import read_checkpoint
from bigroc_core.classifiers.networks import build_network
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.classifiers.state_dicts import load_weights, state_dict_of
from bigroc_core.models_file import read_models
from bigroc_core.training.checkpoint import half


@cache
def _network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)).eval()


def _contents(rng: random.Random) -> object:
    state = {f"module.{key}": value for key, value in _network().state_dict().items()}
    return rng.choice((state, {"model": state, "epoch": 3}, {"state_dict": state, "mean": torch.ones(3)}))


def _safetensors(_rng: random.Random) -> bytes:
    return save({f"model.{key}": value for key, value in _network().state_dict().items()})


def _mutated_tensors(data: bytes, rng: random.Random) -> bytes:
    """A whole file of which one tensor is another, or the header is changed."""
    if rng.random() < 0.4:
        return _mutated_header(data, rng)
    tensors = load(data)
    key = rng.choice(sorted(tensors))
    value = tensors.pop(key)
    kinds = (torch.float8_e4m3fn, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.complex64)
    changed = (
        lambda: value.to(rng.choice(kinds)),
        lambda: value.reshape(-1),
        lambda: value.reshape(*value.shape, 1),
        lambda: torch.zeros(rng.choice((10**6, 2**40)), 0),
        lambda: torch.full_like(value, rng.choice((float("nan"), float("inf")))) if value.ndim else value,
    )
    if rng.random() < 0.9:
        tensors[rng.choice((key, key, mutated(key.encode(), rng).decode("latin-1")))] = rng.choice(
            changed
        )().contiguous()
    return save(tensors)


def _mutated_header(data: bytes, rng: random.Random) -> bytes:
    length = struct.unpack("<Q", data[:8])[0]
    header = json_with_a_mutated_value(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _torch_zip(rng: random.Random) -> bytes:
    stream = io.BytesIO()
    torch.save(_contents(rng), stream)
    return stream.getvalue()


def _torch_legacy(rng: random.Random) -> bytes:
    stream = io.BytesIO()
    torch.save(_contents(rng), stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def _mutated_member(data: bytes, rng: random.Random) -> bytes:
    """A whole zip of which one member, most often the pickle, is changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickles = [name for name in members if name.endswith("data.pkl")]
    name = rng.choice((*sorted(members), *(pickles * 5)))
    members[name] = mutated(members[name], rng)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return stream.getvalue()


def _read_weights(path: Path) -> object:
    shapes = {key: value.shape for key, value in _network().state_dict().items()}
    state = state_dict_of(read_checkpoint(path), "the checkpoint", shapes)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    load_weights(network, state.weights, "the checkpoint and its network")
    return state


def _card(rng: random.Random) -> bytes:
    card = Card(
        name="tiny",
        kind="classifier",
        architecture="resnet9",
        arguments={"width": 1, "activation": "silu"},
        classes=CIFAR10_CLASSES,
        l0=rng.choice((None, 1.5, (0.5,) * 10)),
        training={"recipe": {"epochs": 3}},
        presets={"default": {"eps": 1.0, "steps": 3}},
        robust=True,
    )
    return json.dumps(dataclasses.asdict(card)).encode()


def _read_card(path: Path) -> object:
    weights = path.with_suffix(".safetensors")
    if not weights.is_file():
        weights.write_bytes(save(half(build_network("resnet9", classes=10, width=1).state_dict())))
    return load_classifier(weights)


_TOML = """\
[[classifier]]
name = "birds"
source = "weights/birds.pth"
arch = "resnet50"
classes = ["robin", "wren"]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
input_size = 224
robust = true
l0 = [1.5, 2]
preset = "p1-adm-g-256"

[[generator]]
name = "mine"
source = "pipelines/mine?num_inference_steps=2"
classes = 3
preset = { eps = 3.0, steps = 7 }
"""


def _toml(_rng: random.Random) -> bytes:
    return _TOML.encode()


def _mutated_line(data: bytes, rng: random.Random) -> bytes:
    """TOML of which one value is another, or one line is left out, doubled or moved."""
    lines = data.decode().splitlines()
    at = rng.randrange(len(lines))
    key, equals, _ = lines[at].partition(" = ")
    kind = rng.randrange(4)
    if equals and kind:
        value = json.dumps(rng.choice([one for one in VALUES if one is not None and one != {"a": None}]))
        lines[at] = f"{key} = {value.replace('NaN', 'nan').replace('Infinity', 'inf')}"
    elif kind % 2:
        lines.insert(rng.randrange(len(lines)), lines[at])
    else:
        del lines[at]
    return "\n".join(lines).encode()


WEIGHT_FORMATS = {
    "safetensors": Format(
        "a.safetensors", _safetensors, _read_weights, "cannot be read as safetensors|is empty|neither", _mutated_tensors
    ),
    "torch-zip": Format(
        "a.pt", _torch_zip, _read_weights, "zip directory|is empty|neither safetensors|no data.pkl", _mutated_member
    ),
    "torch-legacy": Format("a.pth", _torch_legacy, _read_weights, "is empty|neither safetensors"),
    "card": Format("tiny.json", _card, _read_card, "cannot be read: ", json_with_a_mutated_value),
    "models.toml": Format("models.toml", _toml, read_models, "is not TOML|cannot be read", _mutated_line),
}
