"""The directory of rooms: what is asked for by name, and with which settings a room is made."""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import models, rtc
from livekit.protocol import room as room_protocol

from roomful.server.dispatches import MAX_DISPATCHES
from roomful.server.errors import InvalidArgument, NotFound
from roomful.server.node import Node, logger
from roomful.server.room import Room

_NUMBERS = (
    "empty_timeout",
    "departure_timeout",
    "max_participants",
    "min_playout_delay",
    "max_playout_delay",
)


class Rooms:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._by_name: dict[str, Room] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str) -> Room | None:
        return self._by_name.get(name)

    def get(self, name: str) -> Room:
        room = self._by_name.get(name)
        if room is None:
            raise NotFound("requested room does not exist")
        return room

    def named(self, names: Iterable[str]) -> list[Room]:
        """All rooms, or those of `names` that there are."""
        wanted = set(names)
        return [room for name, room in self._by_name.items() if not wanted or name in wanted]

    def settings(
        self, preset: str, own: room_protocol.RoomConfiguration | None
    ) -> room_protocol.RoomConfiguration:
        """The server's defaults, under the preset, under what was asked for. Raises `InvalidArgument`."""
        defaults = self._node.config.room
        settings = room_protocol.RoomConfiguration(
            empty_timeout=defaults.empty_timeout,
            departure_timeout=defaults.departure_timeout,
            max_participants=defaults.max_participants,
            sync_streams=defaults.sync_streams,
        )
        if preset:
            configured = defaults.room_configurations.get(preset)
            if configured is None:
                raise InvalidArgument(f"room preset {preset!r} is not configured")
            _override(settings, configured)
        if own is not None:
            _override(settings, own)
        if len(settings.agents) > MAX_DISPATCHES:
            raise InvalidArgument(f"agents: at most {MAX_DISPATCHES} dispatches a room")
        return settings

    def create(
        self, name: str, settings: room_protocol.RoomConfiguration, *, beside: Room | None = None
    ) -> Room:
        """`beside`: participants can move and be forwarded between the two, as one media worker has both."""
        number = self._node.ids.number()
        while beside is not None and not are_beside(self._node, beside.id, number):
            number = self._node.ids.number()
        room = Room(self._node, number, name, settings, self._forget)
        self._by_name[name] = room
        logger.info("room opened", room=name, sid=room.info.sid)
        return room

    def close_all(self, reason: models.DisconnectReason, action: rtc.LeaveRequest.Action) -> None:
        for room in list(self._by_name.values()):
            room.close(reason, action)

    def _forget(self, room: Room) -> None:
        if self._by_name.get(room.name) is room:
            del self._by_name[room.name]
        logger.info("room closed", room=room.name, sid=room.info.sid)


def are_beside(node: Node, first: int, second: int) -> bool:
    """Whether two rooms, by number, are on one media worker."""
    return node.media.worker_of(room=first) == node.media.worker_of(room=second)


def configuration_of(request: room_protocol.CreateRoomRequest) -> room_protocol.RoomConfiguration:
    configuration = room_protocol.RoomConfiguration(
        metadata=request.metadata,
        sync_streams=request.sync_streams,
        agents=request.agents,
        tags=request.tags,
        **{name: getattr(request, name) for name in _NUMBERS},
    )
    if request.HasField("egress"):
        configuration.egress.CopyFrom(request.egress)
    return configuration


def _override(settings: room_protocol.RoomConfiguration, own: room_protocol.RoomConfiguration) -> None:
    """What `own` sets (above 0, not empty) wins."""
    for name in _NUMBERS:
        if value := getattr(own, name):
            setattr(settings, name, value)
    if own.metadata:
        settings.metadata = own.metadata
    if own.sync_streams:
        settings.sync_streams = True
    if own.HasField("egress"):
        settings.egress.CopyFrom(own.egress)
    if own.agents:
        del settings.agents[:]
        settings.agents.extend(own.agents)
    settings.tags.update(own.tags)
