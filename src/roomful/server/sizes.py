"""What the configuration's `limit` says of texts that others are told of. A limit of 0 is none."""

from __future__ import annotations

from collections.abc import Mapping

from roomful.config import Limit
from roomful.server.errors import InvalidArgument


def attributes_size(attributes: Mapping[str, str]) -> int:
    """Bytes of keys and values."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in attributes.items())


def check_metadata(limit: Limit, metadata: str) -> None:
    longest = limit.max_metadata_size
    if longest and len(metadata.encode()) > longest:
        raise InvalidArgument(f"metadata size exceeds limits: max size {longest}")


def check_attributes(limit: Limit, attributes: Mapping[str, str]) -> None:
    longest = limit.max_attributes_size
    if longest and attributes_size(attributes) > longest:
        raise InvalidArgument(f"attribute size exceeds limits: max size {longest}")


def check_name(limit: Limit, name: str) -> None:
    """Of a participant, as others see it."""
    longest = limit.max_participant_name_length
    if longest and len(name.encode()) > longest:
        raise InvalidArgument(f"name length exceeds limits: max length {longest}")


def check_room_name(limit: Limit, name: str) -> None:
    longest = limit.max_room_name_length
    if longest and len(name.encode()) > longest:
        raise InvalidArgument(f"room name length exceeds limits: max length {longest}")
