"""Settings that are dropped in: those of a download, or of the page's own box, bring the Boost tab's controls back."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.datastructures import QueryParams

from bigroc_core.experiments.boost_files import made_with
from bigroc_core.experiments.requests import DEBIASED, ESTIMATED, GIVEN
from bigroc_core.experiments.snippets import IN_TURN
from bigroc_core.files import check_plain, read_json
from bigroc_core.limits import MAX_CARD_BYTES
from bigroc_core.sources import EXAMPLES, GENERATOR, UPLOAD
from bigroc_core.ui import links
from bigroc_core.ui.errors import explained, inform, warn
from bigroc_core.ui.forms import stale_js
from bigroc_core.ui.masks import said as said_of_masks

# What settings that leave it out stand for.
LEFT_OUT = {"target_classes": "", "precision": "exact"}
# As settings have them, and as the controls do.
WORDS = {word.lower(): word for word in (GENERATOR, UPLOAD, EXAMPLES, GIVEN, ESTIMATED, DEBIASED)}


def lay_out(boost: links.Restorable, masks: Sequence[Any]) -> None:
    """A box that takes settings.json, or the zip that holds it, and restores the tab's controls. masks: the control of
    masks and its note, which belonged to other images."""
    box = gr.File(
        label="Settings to restore: settings.json, or a download's zip",
        file_types=[".json", ".zip"],
        height=140,
        elem_id="settings-file",
    )

    def restore(file: str | None) -> list[Any]:
        """Bring the controls to a run's settings."""
        if not file:
            return [gr.skip()] * len(outputs)
        with explained():
            settings = settings_in(Path(file))
            values, problems = links.read(as_query(settings, boost.shared), boost.shared)
            updates = list(boost.apply(values))
            if problems:
                warn(f"Not all of {Path(file).name} could be restored: {'; '.join(problems[:5])}")
            for note in notes_on(settings):
                inform(note)
            return [*updates, None, said_of_masks(None)]

    outputs = [*boost.outputs, *masks]
    brought = box.upload(restore, box, outputs, api_visibility="private", show_progress="hidden")
    brought.success(None, js=stale_js("status", "compared-status"), api_visibility="private")


def settings_in(path: Path) -> dict[str, Any]:
    """What a settings.json says, or the one in a zip. ValueError, naming the file, where it is neither."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inside = archive.getinfo("settings.json")
                if inside.file_size > MAX_CARD_BYTES:
                    raise ValueError(f"its settings.json has over {MAX_CARD_BYTES:,} bytes")
                settings = json.loads(archive.read(inside).decode("utf-8"))
            check_plain(settings)
        else:
            settings = read_json(path)
    except KeyError:
        raise ValueError(f"{path.name}: holds no settings.json; expected a download of this page") from None
    except (ValueError, OSError, zipfile.BadZipFile, RecursionError) as error:
        raise ValueError(f"{path.name}: is no settings file of this page: {error}") from None
    if not isinstance(settings, dict) or "eps" not in settings or "classifier" not in settings:
        raise ValueError(f"{path.name}: is not what a boosting run is saved with; expected its settings.json")
    return settings


def as_query(settings: Mapping[str, Any], shared: Mapping[str, Any]) -> QueryParams:
    """A run's settings as a link has them; what no control stands for is left out."""
    pairs: list[tuple[str, str]] = []
    for name in shared:
        if name not in settings:
            continue
        value = settings[name]
        several = [] if value == IN_TURN else value if isinstance(value, list) else [value]
        pairs += [(name, _text(one)) for one in several] or [(name, "")]
    pairs += [(name, usual) for name, usual in LEFT_OUT.items() if name not in settings]
    return QueryParams(pairs)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return WORDS.get(value, value) if isinstance(value, str) else f"{value!r}"


def notes_on(settings: Mapping[str, Any]) -> list[str]:
    """What settings alone cannot bring back, and what has changed since."""
    notes = []
    if settings.get("source") == UPLOAD.lower():
        names = ", ".join(map(str, settings.get("files", [])[:5]))
        notes.append(f"The settings are restored; the images are not in them: add {names or 'them'} again.")
    if masked := settings.get("masks"):
        names = ", ".join(map(str, masked[:5])) if isinstance(masked, list) else "them"
        notes.append(f"The masks are not in the settings: add {names} again, or those in a download's masks folder.")
    made, now = settings.get("weights"), made_with(dict(settings))["weights"]
    other = [name for name in now if isinstance(made, dict) and made.get(name, now[name]) != now[name]]
    if other:
        notes.append(f"{', '.join(other)} has other weights here than when these settings were saved.")
    return notes
