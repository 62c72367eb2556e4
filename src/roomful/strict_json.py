"""JSON from somebody else: whatever is wrong with it is a `ValueError`."""

from __future__ import annotations

import json
from typing import Any

#: Values that a text may hold, roughly. Reading more stops the whole program for tens of milliseconds, as the
#: interpreter is not given up meanwhile; no message of ours has as many.
MAX_VALUES = 150_000


def check(text: str | bytes) -> None:
    """Raises `ValueError` for a text that takes too long to read."""
    if len(text) <= MAX_VALUES:
        return
    if isinstance(text, bytes):
        marks = sum(map(text.count, (b",", b"[", b"{")))
    else:
        marks = sum(map(text.count, (",", "[", "{")))
    if marks > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")


def loads(text: str | bytes) -> Any:
    """As `json.loads`, but what is nested too deeply or holds too much, and lone surrogates, which nothing
    can encode, are errors of the same kind as the others."""
    if isinstance(text, bytes):
        text = text.decode()
    check(text)
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value
