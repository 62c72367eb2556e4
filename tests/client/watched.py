"""What a test sees of a room at a server of paper."""

from __future__ import annotations

import asyncio
from typing import Any

from scripted import ScriptedServer

from roomful.rtc.room import EventTypes, Room, RoomOptions
from roomful.rtc.track import LocalAudioTrack

QUIET = {"token_refreshed"}


class Source:
    """Of sound, as far as its publication goes."""

    num_channels = 1
    _queue = "a queue"
    _closed = False

    async def aclose(self) -> None:
        self._closed = True

    def _until_heard(self) -> float:
        return 0.0


class Log:
    """Every event of a room, by name and what it is about."""

    def __init__(self, room: Room) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._news = asyncio.Event()
        for name in EventTypes.__args__:  # type: ignore[attr-defined]
            room.on(name, self._noting(name))

    def _noting(self, name: str) -> Any:
        def note(*arguments: Any) -> None:
            if name not in QUIET:
                self.events.append((name, *map(_plain, arguments)))
                self._news.set()

        return note

    @property
    def names(self) -> list[str]:
        return [event[0] for event in self.events]

    async def sees(self, *event: Any) -> None:
        async with asyncio.timeout(5):
            while not any(one[: len(event)] == event for one in self.events):
                self._news.clear()
                await self._news.wait()


def _plain(argument: Any) -> Any:
    for name in ("identity", "sid", "data"):
        if hasattr(argument, name):
            return getattr(argument, name)
    return [_plain(one) for one in argument] if isinstance(argument, list) else argument


async def connected(script: ScriptedServer, **options: Any) -> tuple[Room, Log]:
    room = Room()
    log = Log(room)
    await room.connect(script.url, "token", RoomOptions(**options))
    await asyncio.sleep(0)
    return room, log


def tone() -> LocalAudioTrack:
    return LocalAudioTrack.create_audio_track("tone", Source())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0.01)


# ---- joining
