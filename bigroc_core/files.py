"""Settings as JSON that people read: one line per entry."""

from __future__ import annotations

import json
from typing import Any


def one_line_each(entries: dict[str, Any]) -> str:
    """JSON with one line per entry."""
    lines = (f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"
