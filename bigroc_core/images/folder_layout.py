"""How the folders this project writes are laid out; reading and writing agree on it here."""

from __future__ import annotations

import re
from collections.abc import Sequence

# The hidden folder that holds the state of a run until it is complete.
STATE = ".bigroc-partial"


def class_folders(classes: Sequence[str]) -> tuple[str, ...]:
    """The folder name of each class: the class's own, with `_` for what file systems refuse.

    Where two would be the same (ImageNet has two cranes) the class's number is added.
    """
    plain = [re.sub(r'[/\\:*?"<>|\x00-\x1f]|^\.|[. ]$', "_", name) or "_" for name in classes]
    folded = [name.casefold() for name in plain]
    return tuple(f"{name} ({index})" if folded.count(name.casefold()) > 1 else name for index, name in enumerate(plain))
