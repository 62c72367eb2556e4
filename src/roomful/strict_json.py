"""JSON from somebody else: whatever is wrong with it is a `ValueError`."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """As `json.loads`, but what is nested too deeply, and lone surrogates, which nothing can encode, are
    errors of the same kind as the others."""
    if isinstance(text, bytes):
        text = text.decode()
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value
