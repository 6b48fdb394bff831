"""Make a genuine checkpoint with the `robustness` library: its own model, its own training loop, its own save (dill).

    python make_robustness_checkpoint.py CIFAR_OR_IMAGENET ARCH OUT

writes OUT/checkpoint.pt.latest (what `robustness.train.train_model` saves after one epoch over two random batches,
so that the BatchNorm statistics are not trivial), OUT/inputs-and-logits.npz (images in [0, 1] and the library's own
logits for them) and OUT/keys.json (names and shapes of the checkpoint's weights, globals its pickle names).

Run it in an environment of its own: the library (1.2.1.post2) needs `dill`, `cox` and others that this project does
not, and neither imports with today's torchvision (`torchvision.models.utils` is gone) nor runs without CUDA (it calls
`.cuda()` everywhere). Both are mended below before it is imported. With torch already at hand this is enough:

    pip install --no-deps robustness dill cox gitpython gitdb smmap tables tensorboardX
    pip install pandas tqdm matplotlib scipy protobuf py3nvml xmltodict

and then, for tests/classifiers/test_robustness_checkpoints.py: BIGROC_ROBUSTNESS_CHECKPOINT=OUT python -m pytest
"""

from __future__ import annotations

import json
import pickletools
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import nn


def mend_what_the_library_expects() -> None:
    """What the library expects of a torchvision of 2019 and of a machine with CUDA."""
    utils = types.ModuleType("torchvision.models.utils")
    utils.load_state_dict_from_url = torch.hub.load_state_dict_from_url
    sys.modules["torchvision.models.utils"] = utils
    if not torch.cuda.is_available():
        nn.Module.cuda = lambda self, *_, **__: self
        torch.Tensor.cuda = lambda self, *_, **__: self


def globals_named(path: Path) -> list[str]:
    """Every global the file's pickle names, read opcode by opcode without running any of it."""
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        opcodes = pickletools.genops(archive.read(name))
        named = {str(argument) for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"}
    return sorted(name.replace(" ", ".") for name in named)


def main(dataset_name: str, architecture: str, out: Path) -> None:
    mend_what_the_library_expects()
    from cox.utils import Parameters
    from robustness import datasets, defaults, model_utils, train

    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    dataset = {"cifar": datasets.CIFAR, "imagenet": datasets.ImageNet}[dataset_name](str(out))
    size, classes = (32, 10) if dataset_name == "cifar" else (64, 1000)
    model, _ = model_utils.make_and_restore_model(arch=architecture, dataset=dataset)

    def loader() -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.rand(8, 3, size, size), torch.randint(classes, (8,))) for _ in range(2)]

    arguments = Parameters(
        {
            "out_dir": str(out),
            "epochs": 1,
            "adv_train": 0,
            "adv_eval": 0,
            "lr": 0.01,
            "step_lr": 50,
            "mixed_precision": 0,
            "log_iters": 1,
            "save_ckpt_iters": -1,
        }
    )
    arguments = defaults.check_and_fill_args(arguments, defaults.TRAINING_ARGS, type(dataset))
    trained = train.train_model(arguments, model, (loader(), loader()))

    images = torch.rand(4, 3, size, size)
    with torch.no_grad():
        logits, _ = trained.eval().module(images)
    np.savez(out / "inputs-and-logits.npz", images=images.numpy(), logits=logits.numpy())

    path = out / "checkpoint.pt.latest"
    contents = torch.load(path, map_location="cpu", weights_only=False)
    description = {
        "library": "robustness 1.2.1.post2",
        "dataset": dataset_name,
        "architecture": architecture,
        "entries": sorted(contents),
        "globals": globals_named(path),
        "shapes": {key: list(value.shape) for key, value in contents["model"].items()},
    }
    (out / "keys.json").write_text(json.dumps(description) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
