"""Statistics of a connection, from W3C's dictionaries to the messages that programs read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from roomful.rtc._proto.stats_pb2 import RtcStats

_ZEROS: dict[int, Any] = {FieldDescriptor.CPPTYPE_STRING: "", FieldDescriptor.CPPTYPE_BOOL: False}


def reports(entries: Iterable[Mapping[str, Any]]) -> list[RtcStats]:
    """Reports of the kinds that there are messages for.

    Args:
        entries: dictionaries of webrtc-stats, with `id`, `type` ("inbound-rtp") and `timestamp`, the
            latter in microseconds since 1970. What one doesn't have is zero, as it is there.
    """
    return [report for entry in entries if (report := _report(entry)) is not None]


def connected(entries: Sequence[Mapping[str, Any]], **members: Any) -> list[Mapping[str, Any]]:
    """Entries that have these members, and all that they refer to."""
    known = {entry["id"]: entry for entry in entries}
    wanted = [entry for entry in entries if all(entry.get(name) == it for name, it in members.items())]
    found: dict[str, Mapping[str, Any]] = {}
    while wanted:
        entry = wanted.pop()
        if entry["id"] not in found:
            found[entry["id"]] = entry
            references = (it for name, it in entry.items() if name.endswith("Id"))
            wanted += [known[it] for it in references if it in known]
    return [entry for entry in entries if entry["id"] in found]


def _report(entry: Mapping[str, Any]) -> RtcStats | None:
    kind = str(entry.get("type", "")).replace("-", "_")
    if kind not in RtcStats.DESCRIPTOR.fields_by_name:
        return None
    report = RtcStats()
    parts = getattr(report, kind)
    parts.SetInParent()
    for part in parts.DESCRIPTOR.fields:
        _fill(getattr(parts, part.name), entry)
    return report


def _fill(message: Message, entry: Mapping[str, Any]) -> None:
    message.SetInParent()
    for field in message.DESCRIPTOR.fields:
        value = entry.get(_w3c_name(field.name))
        if field.is_repeated:
            for key, item in (value or {}).items():
                getattr(message, field.name).add(key=key, value=item)
        elif field.enum_type is not None:
            number = _number(field.enum_type, value)
            if number is None and field.is_required:
                number = _number(field.enum_type, "unknown") or 0
            if number is not None:
                setattr(message, field.name, number)
        elif value is not None:
            setattr(message, field.name, value)
        elif field.is_required:
            setattr(message, field.name, _ZEROS.get(field.cpp_type, 0))


def _w3c_name(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _number(enum: Any, value: Any) -> int | None:
    """Of "in-progress" where the names are PAIR_WAITING, PAIR_IN_PROGRESS and so on."""
    if value is None:
        return None
    wanted = re.sub(r"\W", "_", str(value)).upper()
    for item in enum.values:
        if item.name == wanted or item.name.endswith(f"_{wanted}"):
            return int(item.number)
    return None
