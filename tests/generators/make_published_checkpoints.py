"""Make checkpoints of random weights with the original libraries' own classes and save calls, and their own images.

    python make_published_checkpoints.py mimicry OUT         # needs torch-mimicry (pip install --no-deps torch-mimicry)
    python make_published_checkpoints.py biggan OUT SOURCE   # SOURCE: DiffAugment-biggan-cifar of data-efficient-gans

Beside every NAME.pth stands NAME.npz: latents, labels (conditional ones) and the images that the original class makes
of them in eval mode. BatchNorm statistics and gains are those of some training-mode passes, so that none is trivial.
Mimicry's package imports its metrics, which need TensorFlow, and BigGAN's code an augmentation: both are shimmed, since
no network needs them. Point BIGROC_PUBLISHED_CHECKPOINTS at OUT to have the tests compare.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

CLASSES = 10


def shim(*names: str) -> None:
    for name in names:
        module = types.ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]
        module.__getattr__ = lambda _name: None  # type: ignore[method-assign]
        sys.modules[name] = module


def settle(network: Any, labels: bool, embed: Any) -> None:
    """Give norms statistics and gains of their own."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if any(part in name for part in ("gain", "bias", "embed", ".b1.weight", ".b2.weight", "b5.weight")):
                parameter.add_(0.2 * torch.randn_like(parameter))
        network.train()
        for _ in range(5):
            z = torch.randn(16, network.nz if hasattr(network, "nz") else network.dim_z)
            y = torch.randint(0, CLASSES, (16,))
            network(z, embed(y)) if labels else network(z)
    network.eval()


def write_images(network: Any, path: Path, labels: bool, embed: Any) -> None:
    torch.manual_seed(2)
    z = torch.randn(12, network.nz if hasattr(network, "nz") else network.dim_z)
    y = torch.arange(12) % CLASSES
    with torch.no_grad():
        images = network(z, embed(y)) if labels else network(z)
    arrays = {"latents": z.numpy(), "images": images.numpy()}
    np.savez(path, **arrays, **({"labels": y.numpy()} if labels else {}))  # type: ignore[arg-type]


def mimicry(out: Path) -> None:
    shim("torch_mimicry.metrics", "torch_mimicry.datasets", "torch_mimicry.training")
    from torch_mimicry.nets.cgan_pd.cgan_pd_32 import CGANPDGenerator32
    from torch_mimicry.nets.infomax_gan.infomax_gan_32 import InfoMaxGANGenerator32
    from torch_mimicry.nets.sngan.sngan_32 import SNGANGenerator32
    from torch_mimicry.nets.ssgan.ssgan_32 import SSGANGenerator32
    from torch_mimicry.nets.wgan_gp.wgan_gp_32 import WGANGPGenerator32

    for name, made in (
        ("sngan", SNGANGenerator32),
        ("ssgan", SSGANGenerator32),
        ("infomax_gan", InfoMaxGANGenerator32),
        ("wgan_gp", WGANGPGenerator32),
        ("cgan_pd", CGANPDGenerator32),
    ):
        torch.manual_seed(0)
        conditional = name == "cgan_pd"
        network = made(num_classes=CLASSES) if conditional else made()
        settle(network, conditional, lambda y: y)
        # The library's own call, with an optimiser as its trainer has one.
        optimizer = torch.optim.Adam(network.parameters(), 2e-4, betas=(0.0, 0.9))
        network.save_checkpoint(
            directory=str(out), global_step=100000, optimizer=optimizer, name=f"{name}_netG_100000_steps.pth"
        )
        write_images(network, out / f"{name}_netG_100000_steps.npz", conditional, lambda y: y)


def biggan(out: Path, source: Path) -> None:
    sys.path.insert(0, str(source))
    shim("DiffAugment_pytorch")
    import BigGAN

    torch.manual_seed(0)
    network = BigGAN.Generator(
        G_ch=64,
        dim_z=128,
        resolution=32,
        n_classes=CLASSES,
        G_attn="0",
        G_shared=False,
        hier=False,
        G_init="N02",
        no_optim=True,
        G_activation=nn.ReLU(inplace=False),
        SN_eps=1e-8,
    )
    settle(network, True, network.shared)
    # As DiffAugment publishes it: the state dict alone.
    torch.save(network.state_dict(), out / "biggan-cifar10.pth")
    write_images(network, out / "biggan-cifar10.npz", True, network.shared)


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    mimicry(folder) if sys.argv[1] == "mimicry" else biggan(folder, Path(sys.argv[3]))
