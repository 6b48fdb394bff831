"""Small weight files that say they are large: refused by one line before anything of that size is allocated."""

from __future__ import annotations

import io
import json
import os
import resource
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

import bigroc_core as bc
from bigroc_core.classifiers.architectures import new_network
from bigroc_core.classifiers.checkpoints import read_checkpoint

ARCH = "shufflenet_v2_x0_5"


def safetensors(path: Path, tensors: dict[str, dict[str, object]], body: bytes = b"") -> Path:
    header = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)
    return path


def state_with(**changed: Tensor) -> dict[str, Tensor]:
    return {**new_network(ARCH, 10).state_dict(), **{key.replace("__", "."): v for key, v in changed.items()}}


def head_of_a_million_classes(folder: Path) -> Path:
    """170 bytes."""
    return safetensors(
        folder / "a.safetensors",
        {
            "fc.weight": {"dtype": "F32", "shape": [1_000_000, 0], "data_offsets": [0, 0]},
            "conv1.0.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        },
        b"\0" * 4,
    )


def head_of_a_million_classes_in_a_whole_network(folder: Path) -> Path:
    path = folder / "a.pt"
    torch.save(state_with(fc__weight=torch.zeros(1_000_000, 0), fc__bias=torch.zeros(1_000_000)), path)
    return path


def biases_of_a_million_classes(folder: Path) -> Path:
    path = folder / "a.pt"
    torch.save(state_with(fc__bias=torch.zeros(1_000_000)), path)
    return path


def weights_of_stride_zero(folder: Path) -> Path:
    path = folder / "a.pt"
    torch.save({"state_dict": state_with(conv1__0__weight=torch.zeros(1).expand(20_000, 1_000_000))}, path)
    return path


def head_of_stride_zero(folder: Path) -> Path:
    path = folder / "a.pt"
    torch.save(state_with(fc__weight=torch.zeros(1, 1).expand(10_000_000, 1024)), path)
    return path


def float8(folder: Path) -> Path:
    path = folder / "a.pt"
    torch.save(state_with(fc__weight=torch.zeros(10, 1024).to(torch.float8_e4m3fn)), path)
    return path


def float8_safetensors(folder: Path) -> Path:
    state = state_with(fc__weight=torch.zeros(10, 1024).to(torch.float8_e4m3fn))
    tensors = {key: value.contiguous() for key, value in state.items()}
    from safetensors.torch import save_file

    save_file(tensors, folder / "a.safetensors")
    return folder / "a.safetensors"


def unknown_dtype(folder: Path) -> Path:
    return safetensors(folder / "a.safetensors", {"x": {"dtype": "F5", "shape": [2], "data_offsets": [0, 1]}}, b"\0")


def header_of_a_terabyte(folder: Path) -> Path:
    path = folder / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{" + b" " * 100)
    return path


def _archive(path: Path, pickle: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle)
        archive.writestr("a/version", "3")
        for name, content in members.items():
            archive.writestr(f"a/data/{name}", content)
    return path


def pickle_that_unpacks(folder: Path) -> Path:
    """100 KB that say they are 100 MiB."""
    return _archive(folder / "a.pt", b"\x80\x02" + b"N0" * (50 * 2**20) + b"N.")


def zip_on_several_disks(folder: Path) -> Path:
    """A directory that says it lies on seven disks, which the library refuses by raising where it need only say no."""
    torch.save({"x": torch.zeros(5)}, folder / "a.pt")
    data = bytearray((folder / "a.pt").read_bytes())
    end = data.rfind(b"PK\x05\x06")
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, 0, 7)
    (folder / "a.pt").write_bytes(data[: data.rfind(b"PK\x06\x07", 0, end)] + locator + data[end:])
    return folder / "a.pt"


def tensors_that_unpack(folder: Path) -> Path:
    buffer = io.BytesIO()
    torch.save({"x": torch.zeros(5_000_000)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        pickle = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    return _archive(folder / "a.pt", pickle, **{"0": b"\0" * 20_000_000})


def pickle_of_eight_gigabytes(folder: Path) -> Path:
    """Opcodes that call bytearray(8 GB)."""
    (folder / "a.pt").write_bytes(EIGHT_GIGABYTES)
    return folder / "a.pt"


EIGHT_GIGABYTES = b"\x80\x02cbuiltins\nbytearray\n\x8a\x05" + (8 * 2**30).to_bytes(5, "little") + b"\x85R."
HARMLESS = b"\x80\x02}.".ljust(len(EIGHT_GIGABYTES))


def _members(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def another_pickle_first(folder: Path) -> Path:
    """torch reads a/data.pkl."""
    members = ("a/x/data.pkl", HARMLESS), ("a/data.pkl", EIGHT_GIGABYTES), ("a/version", b"3")
    return _members(folder / "a.pt", *members)


def another_pickle_in_the_folder_that_torch_reads(folder: Path) -> Path:
    members = ("b/version", b"3"), ("a/data.pkl", HARMLESS), ("b/data.pkl", EIGHT_GIGABYTES)
    return _members(folder / "a.pt", *members)


def another_pickle_in_capitals(folder: Path) -> Path:
    """torch's reader knows no case."""
    members = ("a/data.pkl", HARMLESS), ("a/DATA.PKL", EIGHT_GIGABYTES), ("a/version", b"3")
    return _members(folder / "a.pt", *members)


def one_pickle_elsewhere(folder: Path) -> Path:
    return _members(folder / "a.pt", ("a/version", b"3"), ("b/data.pkl", HARMLESS))


def two_directories(folder: Path) -> Path:
    """Python's reader takes the directory right before the last record, torch's the one where that says."""
    path = _members(folder / "a.pt", ("a/data.pkl", HARMLESS), ("a/version", b"3"))
    harmless = path.read_bytes()
    evil = _members(path, ("a/data.pkl", EIGHT_GIGABYTES), ("a/version", b"3")).read_bytes()
    end = harmless.rindex(b"PK\x05\x06")
    record = bytearray(harmless[end:])
    record[16:20] = evil[evil.rindex(b"PK\x05\x06") :][16:20]
    path.write_bytes(evil[: evil.rindex(b"PK\x05\x06")] + harmless[:end] + record)
    return path


def two_large_directories(folder: Path) -> Path:
    """The same with the records of a large zip, whose size the small one need not say."""
    path = two_directories(folder)
    data = path.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    count, length, offset = struct.unpack("<HII", data[end + 10 : end + 20])
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, offset)
    path.write_bytes(data[:end] + large + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1) + data[end:])
    return path


def storage_beyond_its_record(folder: Path) -> Path:
    """A tensor of 4 MB whose bytes in the file are 40: reading it would read other memory."""
    buffer = io.BytesIO()
    torch.save({"x": torch.zeros(1_000_000)}, buffer)
    path = folder / "a.pt"
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"\0" * 40 if name.endswith("data/0") else old.read(name))
    return path


CASES = {
    case.__name__: (case, message)
    for case, message in (
        (head_of_a_million_classes, "fc.weight says that it is 1000000x0"),
        (head_of_a_million_classes_in_a_whole_network, "fc.weight says that it is 1000000x0"),
        (biases_of_a_million_classes, "head's fc.weight is 10x1024|head's fc.bias is 1000000"),
        (weights_of_stride_zero, "conv1.0.weight says that it is 20000x1000000"),
        (head_of_stride_zero, "fc.weight says that it is 10000000x1024"),
        (float8, "fc.weight is stored as float8_e4m3fn"),
        (float8_safetensors, "fc.weight is stored as float8_e4m3fn"),
        (unknown_dtype, "cannot be read as safetensors"),
        (header_of_a_terabyte, "its header says 1,099,511,627,776 bytes"),
        (pickle_that_unpacks, "say that they unpack to"),
        (zip_on_several_disks, "its zip directory is missing"),
        (tensors_that_unpack, "say that they unpack to"),
        (pickle_of_eight_gigabytes, "builtins.bytearray"),
        (another_pickle_first, "torch.save writes one list of tensors"),
        (another_pickle_in_the_folder_that_torch_reads, "torch.save writes one list of tensors"),
        (another_pickle_in_capitals, "torch.save writes one list of tensors"),
        (one_pickle_elsewhere, "torch.save writes one list of tensors"),
        (two_directories, "its zip directory is not where it says"),
        (two_large_directories, "its zip directory is not where it says"),
        (storage_beyond_its_record, "truncated or damaged"),
    )
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_file_that_says_more_than_it_holds_is_refused_by_one_line(tmp_path, name):
    make, message = CASES[name]
    with pytest.raises(ValueError, match=message) as refusal:
        bc.load_classifier(make(tmp_path), arch=ARCH)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 1_000


def test_none_of_them_takes_the_memory_that_it_asks_for(tmp_path):
    for name, (make, _) in CASES.items():
        (tmp_path / name).mkdir()
        make(tmp_path / name)
    root = Path(__file__).parents[2]
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert done.returncode == 0, done.stderr
    grown = json.loads(done.stdout)
    assert set(grown) == set(CASES)
    assert max(grown.values()) < 100, grown


def test_options_of_a_trainer_are_inert(tmp_path):
    import argparse

    torch.save({"model": {"w": torch.ones(2)}, "args": argparse.Namespace(lr=0.1)}, tmp_path / "a.pt")
    contents = read_checkpoint(tmp_path / "a.pt")
    assert torch.equal(contents["model"]["w"], torch.ones(2))
    assert not hasattr(contents["args"], "lr")


def test_a_name_that_is_not_utf_8_is_read_like_any_other(tmp_path):
    path = Path(str(tmp_path) + "/caf\udce9.pt")
    try:
        path.write_bytes(b"")
    except OSError:
        pytest.skip("this file system has only UTF-8 names")
    torch.save({"w": torch.ones(2)}, tmp_path / "plain.pt")
    path.write_bytes((tmp_path / "plain.pt").read_bytes())
    assert torch.equal(read_checkpoint(path)["w"], torch.ones(2))


def main(folder: Path) -> None:
    """Refuse every case in a process of its own, and print by how many MiB it grew over what a network needs."""
    torch.save(new_network(ARCH, 10).state_dict(), folder / "good.pt")
    bc.load_classifier(folder / "good.pt", arch=ARCH)
    grown = {}
    for name in CASES:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        path = next((folder / name).iterdir())
        try:
            bc.load_classifier(path, arch=ARCH)
        except ValueError:
            grown[name] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps(grown))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
