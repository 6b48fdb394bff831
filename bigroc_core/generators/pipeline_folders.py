"""A diffusers pipeline from its folder or Hub repository, put together here so that no file of it is ever run.

model_index.json names the pipeline's class and its parts' classes. They are looked up in diffusers and transformers by
name, as strings, and nowhere else; diffusers' own reader would also import Python files that lie in the folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bigroc_core.classifiers.checkpoints import weights_only
from bigroc_core.files import read_json

INDEX = "model_index.json"
_LIBRARIES = ("diffusers", "transformers")
_KINDS = ("diffusion_pytorch_model", "model", "pytorch_model")


@dataclass(frozen=True)
class PipelineParts:
    """What model_index.json says. parts: library and class by name; settings: what else the class is built with."""

    pipeline: str
    parts: dict[str, tuple[str, str]]
    settings: dict[str, Any]


def read_pipeline(where: str, dtype: torch.dtype) -> tuple[Any, tuple[str, ...]]:
    """The pipeline in a folder or of a Hub repository, and notes of what was chosen among its files.

    Raises ValueError, one line, for a folder that is no pipeline, or names classes that are not diffusers' or
    transformers'; ConnectionError for a repository that cannot be fetched.
    """
    try:
        import diffusers
    except ImportError as error:
        raise ValueError(f"{where} needs the package diffusers, which is missing: pip install diffusers") from error
    folder = Path(where) if Path(where).is_dir() else _fetched(where)
    problem = f"{where} cannot be read as a diffusers pipeline"
    try:
        index = read_index(folder)
        pipeline_class = _class_of("diffusers", index.pipeline, (diffusers.DiffusionPipeline,))
        accepted = inspect.signature(pipeline_class.__init__).parameters
        # Others, such as pipelines, look for classes themselves, also in files of the folder that they are read from.
        kinds = (torch.nn.Module, diffusers.SchedulerMixin)
        notes: list[str] = []
        built: dict[str, Any] = {name: value for name, value in index.settings.items() if name in accepted}
        with weights_only(), _without_bars():
            for name, (library, kind) in index.parts.items():
                if name not in accepted:
                    raise ValueError(f"{index.pipeline} has no part {name!r}")
                built[name], told = _part(folder / name, _class_of(library, kind, kinds), dtype)
                notes += [f"{name}: {one}" for one in told]
            if missing := [n for n, p in accepted.items() if _is_required(n, p) and built.get(n) is None]:
                raise ValueError(f"a {index.pipeline} needs {' and '.join(missing)}, which {INDEX} does not name")
            pipeline = pipeline_class(**built)
    except Exception as error:  # diffusers and what it builds on raise anything for a damaged file
        raise ValueError(f"{problem}: {_line(error)}") from error
    return pipeline, tuple(notes)


def _is_required(name: str, parameter: inspect.Parameter) -> bool:
    named = parameter.kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return name != "self" and named and parameter.default is inspect.Parameter.empty


def read_index(folder: Path) -> PipelineParts:
    """model_index.json of a folder; ValueError, saying what is wrong with it."""
    entries = read_json(folder / INDEX)
    if not isinstance(entries, dict) or not isinstance(entries.get("_class_name"), str):
        raise ValueError(f"{INDEX} names no pipeline: _class_name must be the name of a class of diffusers")
    parts, settings = {}, {}
    for name, value in entries.items():
        if name.startswith("_"):
            continue
        if not (
            isinstance(value, list) and len(value) == 2 and all(one is None or isinstance(one, str) for one in value)
        ):
            settings[name] = value
        elif None in value:
            settings[name] = None
        elif not name.isidentifier():
            raise ValueError(f"{INDEX} names a part {name[:60]!r}, which is no name of a folder")
        else:
            parts[name] = (value[0], value[1])
    return PipelineParts(entries["_class_name"], parts, settings)


def _class_of(library: str, name: str, parents: tuple[type, ...]) -> Any:
    """A class of diffusers or transformers by its name, one of its parents among these; ValueError for any other."""
    if library not in _LIBRARIES:
        raise ValueError(
            f"it takes {name[:60]!r} from {library[:60]!r}; only classes of {' and '.join(_LIBRARIES)} are used"
        )
    try:
        found = getattr(__import__(library), name) if name.isidentifier() and not name.startswith("_") else None
    except (ImportError, AttributeError, RuntimeError) as error:
        raise ValueError(f"it needs {library}'s {name[:60]}, which is not here: {_line(error)}") from error
    if not isinstance(found, type) or not hasattr(found, "from_pretrained") or not issubclass(found, parents):
        raise ValueError(f"{library} has no such class {name[:60]!r}")
    return found


def _part(folder: Path, kind: Any, dtype: torch.dtype) -> tuple[Any, list[str]]:
    """One part from its own folder, with notes."""
    if not issubclass(kind, torch.nn.Module):
        return kind.from_pretrained(str(folder), local_files_only=True), []
    stem, variant, safe, files = _weights(folder)
    _check_size(folder, kind, files)
    options: dict[str, Any] = {"use_safetensors": safe, "variant": variant, "local_files_only": True}
    if kind.__module__.startswith("diffusers"):
        options |= {"low_cpu_mem_usage": False, "torch_dtype": dtype}  # a cast of its networks it warns of
    notes = [f"only the variant {variant} of {stem} is there, and is taken"] if variant else []
    return kind.from_pretrained(str(folder), **options).to(dtype).eval(), notes


def _weights(folder: Path) -> tuple[str, str | None, bool, list[Path]]:
    """The weights to take among those in a part's folder: their stem, variant, whether they are safetensors, files."""
    found: dict[tuple[bool, str | None, str], list[Path]] = {}
    for path in sorted(folder.glob("*")):
        stem = next(
            (kind for kind in _KINDS if path.name.startswith(f"{kind}.") or path.name.startswith(f"{kind}-")), None
        )
        if stem is None or path.suffix not in (".safetensors", ".bin"):
            continue
        # NAME.safetensors, NAME.VARIANT.safetensors, NAME-00001-of-00002.safetensors, NAME.VARIANT-00001-of-…
        middle = path.name.removeprefix(stem).removesuffix(path.suffix).split("-", 1)[0].strip(".")
        found.setdefault((path.suffix == ".bin", middle or None, stem), []).append(path)
    if not found:
        raise ValueError(f"{folder.name} has no weights, as .safetensors or .bin")
    # safetensors first, and no variant; of variants averages first.
    bins, variant, stem = min(found, key=lambda k: (k[0], k[1] is not None, "non_ema" in (k[1] or ""), k[1] or ""))
    return stem, variant, not bins, found[bins, variant, stem]


def _check_size(folder: Path, kind: Any, files: list[Path]) -> None:
    """ValueError where the part's settings ask for more weights than its files can hold; allocates nothing."""
    stored = sum(path.stat().st_size for path in files)
    settings = read_json(folder / "config.json")
    if not isinstance(settings, dict):
        raise ValueError(f"{folder.name}/config.json is no JSON object")
    if not hasattr(kind, "from_config") or not kind.__module__.startswith("diffusers"):
        return
    with torch.device("meta"):
        network = kind.from_config({key: value for key, value in settings.items() if not key.startswith("_")})
    wanted = sum(parameter.numel() for parameter in network.parameters())
    if wanted > stored:
        raise ValueError(f"{folder.name} has {wanted:,} weights by its config.json, and files of {stored:,} bytes")


def _fetched(repository: str) -> Path:
    """The folder of a Hub repository's pipeline in the local cache, without any of its code."""
    try:
        from huggingface_hub import get_hf_file_metadata, hf_hub_url, snapshot_download, try_to_load_from_cache

        if not isinstance(try_to_load_from_cache(repository, INDEX), str):
            # Asked once: the download itself would retry for half a minute before it says that there is no network.
            get_hf_file_metadata(hf_hub_url(repository, INDEX), timeout=10)
        folder = Path(snapshot_download(repository, allow_patterns=[INDEX]))
        parts = list(_named_parts(folder))
        patterns = [f"{part}/*.json" for part in parts]
        for weights in ("{kind}.safetensors", "{kind}-*.safetensors", "*.safetensors", "*.bin"):
            kinds = _KINDS if "{kind}" in weights else ("",)
            patterns += [f"{part}/{weights.format(kind=kind)}" for part in parts for kind in kinds]
            folder = Path(snapshot_download(repository, allow_patterns=patterns, ignore_patterns=["*.py"]))
            parts = [
                part for part in parts if (folder / part / "config.json").is_file() and not _has_weights(folder / part)
            ]
            if not parts:
                break
        return folder
    except Exception as error:  # diffusers, huggingface_hub and their HTTP client each have exceptions of their own
        raise ConnectionError(
            f"the diffusers pipeline {repository} could not be fetched from the Hugging Face Hub: {_line(error)}. "
            "Without a network the embedded generators serve (python -m bigroc_core generators)"
        ) from error


def _named_parts(folder: Path) -> Iterator[str]:
    yield from read_index(folder).parts


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without diffusers' progress bars, which would stand among the lines of our commands."""
    from diffusers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _line(error: BaseException) -> str:
    text = str(error).strip()[:2_000].splitlines() or [type(error).__name__]
    return "".join(character if character.isprintable() else "?" for character in text[0][:200])


def classes_in(settings: Mapping[str, Any]) -> int:
    """How many classes a network's settings embed, a null class among them; 0 for an unconditional one."""
    count = settings.get("num_class_embeds") or settings.get("num_embeds_ada_norm")
    return int(count or 0)
