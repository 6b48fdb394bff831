"""Make the generated parts of docs/ anew: `python tools/write_docs.py`.

docs/api.md is read from signatures and docstrings by griffe; docs/models.md and docs/generators.md end, below a mark,
with what the cards in checkpoints/ say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MARK = "<!-- from here on made by tools/write_docs.py -->\n"
sys.path.insert(0, str(ROOT))

from bigroc_core import embedded_classifiers, embedded_generators  # noqa: E402
from bigroc_core.card_text import accuracy, markdown, mebibytes_of, parameters_of  # noqa: E402
from bigroc_core.cards import Card  # noqa: E402

API_HEAD = """# Python API

Made from signatures and docstrings by `python tools/write_docs.py`. `import bigroc_core as bc` has all of it but what
stands under a module's name. It is stable: only ever extended. Images are (N, 3, H, W) in [0, 1]; bad input is a
`ValueError` that says what to do. P1 and P2 are the two papers of the [README](../README.md).
"""
# What is public besides `bigroc_core.__all__`.
MODULES = {
    "bigroc_core.evaluation": ("ImageStream",),
    "bigroc_core.images": ("Sheet", "read_image", "encode_png", "to_uint8", "from_uint8"),
    "bigroc_core.debiasing": ("class_histogram", "histogram_entropy"),
    "bigroc_core.hub": ("HubModel",),
    "bigroc_core.figures": ("figure",),
}


def api() -> str:
    """docs/api.md: every public name with its signature and docstring, as they stand in the source."""
    from griffe import GriffeLoader

    package = GriffeLoader(search_paths=[str(ROOT)]).load("bigroc_core")
    exported = [str(one).strip("'\"") for one in package.exports or ()]
    parts = [API_HEAD, *(_entry(package[name]) for name in exported)]
    for module, names in MODULES.items():
        parts.append(f"## `{module}`\n")
        parts += [_entry(package[f"{module.removeprefix('bigroc_core.')}.{name}"], 3) for name in names]
    return "\n".join(parts)


def _entry(alias: Any, level: int = 2) -> str:
    made = alias.final_target if alias.is_alias else alias
    head = f"{'#' * level} `{alias.name}`\n"
    text = _docstring(made)
    if made.is_function:
        return f"{head}\n```python\n{_signature(made)}\n```\n\n{text}"
    fields = [
        f"    {one.name}: {_quoted(one.annotation)}"
        + (f" = {_quoted(one.value)}" if one.value is not None else "")
        + _comment(one)
        for one in made.members.values()
        if one.is_attribute and not one.name.startswith("_") and one.annotation and "property" not in one.labels
    ]
    code = "\n".join([f"class {made.name}:", *(fields or ["    ..."])])
    members = [
        _entry(one, level + 1)
        for one in made.members.values()
        if not one.name.startswith("_") and one.is_function and one.docstring
    ]
    return f"{head}\n```python\n{code}\n```\n\n{text}" + "".join(f"\n{one}" for one in members)


def _quoted(code: Any) -> str:
    # As ruff has it, which formats code in pages too.
    return str(code).replace("'", '"')


def _docstring(made: Any) -> str:
    """Its paragraphs; those that list arguments, one to a line, as a list."""
    if made.docstring is None:
        return ""
    paragraphs = made.docstring.value.split("\n\n")
    return "\n\n".join(_as_list(one) if _is_list(one) else one for one in paragraphs) + "\n"


def _is_list(paragraph: str) -> bool:
    first = paragraph.split(":")[0]
    return ":" in paragraph and all(word.isidentifier() for word in first.split(", "))


def _as_list(paragraph: str) -> str:
    lines: list[str] = []
    for line in paragraph.split("\n"):
        if _is_list(line) and not line.startswith(" "):
            names, _, rest = line.partition(":")
            lines.append(f"- `{names}`:{rest}")
        else:
            lines.append("  " + line.strip())
    return "\n".join(lines)


def _signature(made: Any) -> str:
    """As in the source, without the body."""
    lines = []
    for line in made.lines[next(i for i, line in enumerate(made.lines) if line.lstrip().startswith("def ")) :]:
        lines.append(line)
        if line.rstrip().endswith(":"):
            break
    indent = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[indent:] for line in lines).rstrip(":").removeprefix("def ")


def _comment(field: Any) -> str:
    source = field.parent.filepath.read_text("utf-8").split("\n")[field.lineno - 1]
    return f"  # {source.split('  # ', 1)[1]}" if "  # " in source else ""


def models() -> str:
    """What docs/models.md says of the embedded classifiers."""
    cards = embedded_classifiers().values()
    head = "| name | what it is | role | robust | parameters | clean | under PGD |\n|---|---|---|---|---|---|---|\n"
    rows = "".join(
        f"| [`{card.name}`](#{card.name}) | {card.title} | {card.role} | {'yes' if card.robust else 'no'} "
        f"| {parameters_of(card.name) / 1e6:.2f} M | {' | '.join(accuracy(card) or ('–', '–'))} |\n"
        for card in cards
    )
    return _that_come_along(head + rows, cards)


def generators() -> str:
    """What docs/generators.md says of the embedded generators."""
    cards = embedded_generators().values()
    head = "| name | what it is | classes | pixels | MiB | ε, T recommended |\n|---|---|---|---|---|---|\n"
    rows = "".join(
        f"| [`{card.name}`](#{card.name}) | {card.title} | {len(card.classes) if card.conditional else 'none'} "
        f"| {card.input_size[0]}×{card.input_size[1]} | {mebibytes_of(card.name):.1f} | {_preset(card)} |\n"
        for card in cards
    )
    return _that_come_along(head + rows, cards)


def _that_come_along(table: str, cards: Iterable[Card]) -> str:
    return f"\n## Those that come along\n\n{table}\n" + "\n".join(map(_model, cards))


def _preset(card: Card) -> str:
    preset = card.presets.get("default")
    return f"{preset['eps']:g}, {preset['steps']}" if preset else "–"


def _model(card: Card) -> str:
    return f"### {card.name}\n\n{markdown(card)}"


def _below_mark(name: str, made: Callable[[], str]) -> str:
    head, mark, _ = (DOCS / name).read_text("utf-8").partition(MARK)
    if not mark:
        raise ValueError(f"docs/{name} has lost its mark {MARK!r}")
    return head + mark + made().rstrip() + "\n"


def pages() -> Iterable[tuple[Path, str]]:
    """Each page that is made here, with the text that it should have."""
    yield DOCS / "api.md", api()
    yield DOCS / "models.md", _below_mark("models.md", models)
    yield DOCS / "generators.md", _below_mark("generators.md", generators)


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))
