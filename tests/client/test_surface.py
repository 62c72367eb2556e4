"""`roomful.rtc` beside `livekit.rtc`, name by name."""

from __future__ import annotations

import enum
import inspect
from types import ModuleType
from typing import Any, get_args

import pytest
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message
from livekit import rtc as theirs

from roomful import rtc as ours

#: Not there yet. What comes must be taken out of here.
MISSING: set[str] = set()

#: Exported there only where its library of audio devices is installed.
WHERE_DEVICES_ARE = {"MediaDevices"}

#: Names of a class that are of its making there, and not for programs.
PRIVATE_THERE: dict[str, set[str]] = {
    "ByteStreamReader": {"__init__"},
    "DataTrackStream": {"__init__"},
    "LocalAudioTrack": {"__init__"},
    "LocalParticipant": {"__init__"},
    "LocalVideoTrack": {"__init__"},
    "RemoteAudioTrack": {"__init__"},
    "RemoteTrackPublication": {"__init__"},
    "RemoteVideoTrack": {"__init__"},
    "E2EEManager": {"__init__"},
    "FrameCryptor": {"__init__"},
    "KeyProvider": {"__init__"},
    "LocalDataTrack": {"__init__"},
    "PlatformAudioSource": {"__init__"},
    "RemoteDataTrack": {"__init__"},
    "TextStreamReader": {"__init__"},
}


def test_every_name_is_exported_and_nothing_else() -> None:
    assert set(theirs.__all__) - MISSING == set(ours.__all__) & set(theirs.__all__)
    assert set(ours.__all__) - set(theirs.__all__) <= WHERE_DEVICES_ARE
    assert not MISSING & set(ours.__all__), "there now: take it out of MISSING"
    assert set(theirs.__all__) >= MISSING
    assert all(hasattr(ours, name) for name in ours.__all__)


@pytest.mark.parametrize("name", sorted(set(ours.__all__) & set(theirs.__all__)))
def test_a_name_is_the_same_thing(name: str) -> None:
    compare(getattr(theirs, name), getattr(ours, name))


def compare(their: Any, our: Any) -> None:
    if isinstance(their, EnumTypeWrapper):
        assert our.items() == their.items()
        assert our.DESCRIPTOR.name == their.DESCRIPTOR.name
    elif isinstance(their, ModuleType):
        compare_modules(their, our)
    elif inspect.isclass(their) and issubclass(their, Message):
        compare_messages(their.DESCRIPTOR, our.DESCRIPTOR)
    elif inspect.isclass(their) and issubclass(their, enum.Enum):
        assert {member.name: member.value for member in our} == {m.name: m.value for m in their}
    elif inspect.isclass(their):
        compare_classes(their, our)
    elif kinds := get_args(their):
        assert [kind.__name__ for kind in get_args(our)] == [kind.__name__ for kind in kinds]
    elif callable(their):
        assert signature(our) == signature(their)
    elif not isinstance(their, str):
        assert our == their


def compare_modules(their: ModuleType, our: ModuleType) -> None:
    for name, value in vars(their).items():
        if not name.startswith("_") and name != "DESCRIPTOR":
            compare(value, getattr(our, name))


def compare_messages(their: Any, our: Any) -> None:
    def fields(message: Any) -> dict[str, tuple[Any, ...]]:
        return {
            field.name: (field.type, field.is_repeated, field.has_presence, field.message_type is not None)
            for field in message.fields
        }

    assert fields(our) == fields(their)
    assert [oneof.name for oneof in our.oneofs] == [oneof.name for oneof in their.oneofs]
    for name, nested in their.nested_types_by_name.items():
        compare_messages(nested, our.nested_types_by_name[name])
    for name, nested in their.enum_types_by_name.items():
        assert {v.name: v.number for v in our.enum_types_by_name[name].values} == {
            v.name: v.number for v in nested.values
        }


def compare_classes(their: type, our: type) -> None:
    private = PRIVATE_THERE.get(their.__name__, set())
    for base in (Exception, str, int):
        assert issubclass(our, base) == issubclass(their, base)
    for name, value in inspect.getmembers(their):
        if (name.startswith("_") and name != "__init__") or name in private:
            continue
        mine = getattr(our, name, None)
        where = f"{their.__name__}.{name}"
        if isinstance(value, property):
            assert isinstance(mine, property), where
            assert (mine.fset is None) == (value.fset is None), where
        elif inspect.isclass(value):
            compare(value, mine)
        elif callable(value):
            assert callable(mine), where
            assert signature(mine) == signature(value), where
            assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(value), where
        elif not name.startswith("_"):
            assert mine == value or type(mine) is type(value), where


def signature(function: Any) -> list[tuple[str, Any, str]]:
    """Names, kinds and defaults; the values of defaults are compared as they print, but for their address."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return []
    return [(p.name, p.kind, printed(p.default)) for p in parameters]


def printed(value: Any) -> str:
    return type(value).__name__ if " at 0x" in repr(value) else repr(value)
