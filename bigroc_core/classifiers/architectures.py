"""Networks by architecture name: those trained here, the `robustness` library's, torchvision's and timm's."""

from __future__ import annotations

import difflib
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from bigroc_core.classifiers.networks import NETWORKS, build_network
from bigroc_core.classifiers.robustness_networks import CIFAR_RESNETS
from bigroc_core.messages import short

RESNET_FEATURES = ("layer1", "layer2", "layer3", "layer4")
INCEPTIONS = ("googlenet", "inception_v3")
# Families whose modules of several resolutions have well-known names, fine to coarse.
_FEATURES = (
    RESNET_FEATURES,
    ("block1", "block2", "block3"),
    ("features.denseblock1", "features.denseblock2", "features.denseblock3", "features.denseblock4"),
)


def new_network(architecture: str, classes: int, **arguments: Any) -> nn.Module:
    """A network with random weights, the global random state left as it was.

    architecture: one trained here ("resnet9", ...), "cifar_resnet18" and the like (the `robustness` library's),
    a classification model of torchvision by its name there, "wide_resnet50_4" (as Salman et al. 2020 published
    it), or "timm:NAME". torchvision's two Inceptions come without auxiliary heads, which take no part in inference,
    and transform their input as its weights for them need. arguments: of the architectures trained here, and
    a ViT's image_size. Raises ValueError for an unknown one.
    """
    with torch.random.fork_rng(devices=[]):
        if architecture in NETWORKS:
            return build_network(architecture, classes=classes, **arguments)
        if architecture in CIFAR_RESNETS:
            return CIFAR_RESNETS[architecture](classes=classes)
        if architecture.startswith("timm:"):
            return _timm_network(architecture.removeprefix("timm:"), classes)
        return _torchvision_network(architecture, classes, arguments.get("image_size"))


def published_arguments(architecture: str) -> dict[str, Any]:
    """With what torchvision's default weights for an architecture need it built: ViTs take one size, which differs."""
    from torchvision import models

    if not architecture.startswith("vit_"):
        return {}
    return {"image_size": models.get_model_weights(architecture).DEFAULT.meta["min_size"][0]}


def expected_shapes(architecture: str) -> dict[str, torch.Size | None]:
    """The names of a network's weights with their shapes, None where these depend on how many classes there are.

    Nothing is allocated for it, where the network can be built so. Raises ValueError for an unknown architecture.
    """
    two, three = (empty_network(architecture, classes).state_dict() for classes in (2, 3))
    return {key: value.shape if value.shape == three[key].shape else None for key, value in two.items()}


def head_shape(architecture: str, name: str) -> torch.Size:
    """What follows the number of classes in the shape of a weight that depends on it: () for a bias."""
    return empty_network(architecture, 2).state_dict()[name].shape[1:]


@lru_cache(maxsize=32)
def empty_network(architecture: str, classes: int) -> nn.Module:
    """As `build_empty`, kept; not to be changed."""
    return build_empty(architecture, classes)


def build_empty(architecture: str, classes: int, **arguments: Any) -> nn.Module:
    """As `new_network`, but without numbers in its weights, where it can be built so."""
    try:
        with torch.device("meta"):
            return new_network(architecture, classes, **arguments)
    except (RuntimeError, NotImplementedError):  # some compute while they are built, which needs numbers
        return new_network(architecture, classes, **arguments)


def _torchvision_network(name: str, classes: int, image_size: Any = None) -> nn.Module:
    from torchvision import models

    if name in (f"wide_resnet50_{k}" for k in (3, 4, 5, 6)):  # torchvision itself stops at twice the width
        bottleneck, width = models.resnet.Bottleneck, 64 * int(name[-1])
        return models.ResNet(bottleneck, [3, 4, 6, 3], num_classes=classes, width_per_group=width)
    known = models.list_models(module=models)
    if name not in known:
        ours = [*NETWORKS, *CIFAR_RESNETS]
        raise ValueError(
            f"architecture {name[:80]!r} is not known{did_you_mean(name, [*known, *ours])}; give a "
            f"torchvision classification model, timm:NAME or one of {', '.join(ours)}"
        )
    build = partial(models.get_model, name, weights=None, num_classes=classes)
    if name in INCEPTIONS:
        return build(init_weights=False, aux_logits=False, transform_input=True)
    if image_size is not None and name.startswith("vit_"):
        try:
            return build(image_size=image_size)
        except (AssertionError, TypeError) as error:
            raise ValueError(f"{name} cannot be built for images of {short(image_size)} pixels a side") from error
    return build()


def _timm_network(name: str, classes: int) -> nn.Module:
    timm = import_timm(f"timm:{name}")
    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name[:80]!r}{did_you_mean(name, timm.list_models())}")
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes)
    except RuntimeError as error:
        if torch.get_default_device().type == "meta":
            raise  # an older timm computes while it builds: empty_network does without
        # An unknown tag behind the name.
        raise ValueError(f"timm cannot build {name!r}: {str(error).splitlines()[0][:200]}") from error
    return network


def import_timm(wanted: str) -> Any:
    """The timm package; ValueError saying what it was wanted for where it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"{wanted} needs the timm package, not installed here: pip install timm") from error
    return timm


def did_you_mean(name: str, known: list[str]) -> str:
    """ " (did you mean a, b?)" with the closest known names, or nothing."""
    close = difflib.get_close_matches(name, known, 3)
    return f" (did you mean {', '.join(close)}?)" if close else ""


def feature_names(network: nn.Module, wanted: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Names of the modules whose outputs serve as features, fine to coarse; empty where none are known.

    wanted: dotted module names to use instead; ValueError if the network has no such module.
    """
    modules = [name for name, _ in network.named_modules() if name]
    if wanted is not None:
        for name in wanted:
            if name not in modules:
                raise ValueError(
                    f"the network has no module {name!r} to take features from{did_you_mean(name, modules)}"
                )
        return tuple(wanted)
    if own := getattr(network, "feature_names", ()):
        return tuple(own)
    # Wrappers (a normalising layer before the network) put a prefix before the well-known names.
    for family in _FEATURES:
        for module in modules:
            prefix = module.removesuffix(family[0])
            whole = module == prefix + family[0] and (not prefix or prefix.endswith("."))
            if whole and all(prefix + name in modules for name in family):
                return tuple(prefix + name for name in family)
    info = getattr(network, "feature_info", None)
    levels = [level["module"] for level in (info if isinstance(info, list) else []) if level["module"]]
    return tuple(name for name in levels if name in modules)
