"""Protobuf messages as JSON. The conversion is Python, some microseconds a value: what is large is converted
in a thread, so that nobody else waits for it."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from google.protobuf.message import Message

from roomful import strict_json

#: Nested deeper than this is no message of ours.
MAX_DEPTH = 64
#: Bytes that take less than a few milliseconds.
SMALL = 4096

_Message = TypeVar("_Message", bound=Message)


async def parse(text: str | bytes, message: _Message) -> _Message:
    """Reads `text` into `message`; fields that it does not know are skipped.

    Raises `ValueError`.
    """
    strict_json.check(text)
    if len(text) <= SMALL:
        return _parse(text, message)
    return await asyncio.to_thread(_parse, text, message)


async def render(message: Message, *, as_in_proto: bool = False) -> str:
    """`as_in_proto`: names as the protobuf has them, and every field. `message` must not change meanwhile."""
    if message.ByteSize() <= SMALL:
        return _render(message, as_in_proto)
    return await asyncio.to_thread(_render, message, as_in_proto)


def _parse(text: str | bytes, message: _Message) -> _Message:
    # Most clients and servers speak protobuf.
    from google.protobuf import json_format

    try:
        return json_format.Parse(text, message, ignore_unknown_fields=True, max_recursion_depth=MAX_DEPTH)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json_format.ParseError as error:
        raise ValueError(str(error)) from None


def _render(message: Message, as_in_proto: bool) -> str:
    from google.protobuf import json_format

    return json_format.MessageToJson(
        message,
        preserving_proto_field_name=as_in_proto,
        always_print_fields_with_no_presence=as_in_proto,
        indent=None,
    )
