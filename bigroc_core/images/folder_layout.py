"""How the folders this project writes are laid out; reading and writing agree on it here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

# The hidden folder that holds the state of a run until it is complete.
STATE = ".bigroc-partial"
# In it, the file that is there first and goes last.
SETTINGS = "settings.json"
# The hidden file that a finished output folder keeps, so that a folder around it is read without it.
MARKER = ".bigroc-output"


# File systems take 255 bytes; the class's number may be added.
MOST_BYTES = 200


def class_folders(classes: Sequence[str]) -> tuple[str, ...]:
    """The folder name of each class: the class's own, with `_` for what file systems refuse and bytes that are no text.

    Where two would be the same (ImageNet has two cranes) the class's number is added.
    """
    plain = [re.sub(r'[/\\:*?"<>|\x00-\x1f\ud800-\udfff]|^\.|[. ]$', "_", name) or "_" for name in classes]
    short = [name.encode()[:MOST_BYTES].decode(errors="ignore").rstrip(". ") for name in plain]
    often = Counter(name.casefold() for name in short)
    return tuple(f"{name} ({index})" if often[name.casefold()] > 1 else name for index, name in enumerate(short))
