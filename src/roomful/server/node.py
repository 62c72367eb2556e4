"""What every part of the control plane shares: configuration, clocks, ids, and who is who by number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from livekit.protocol import models

from roomful.config import Config
from roomful.server.fallback import Preferences
from roomful.server.iceservers import IceServers
from roomful.server.ids import Ids
from roomful.server.logs import get_logger
from roomful.server.media import MediaPlane
from roomful.server.rates import Rate
from roomful.server.timers import Timers

if TYPE_CHECKING:
    from roomful.server.participant import Participant
    from roomful.server.publications import Publication
    from roomful.server.room import Room

logger = get_logger("roomful.control")


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """A change of a room, numbered from 1 in each room. Names are those of LiveKit's webhooks."""

    number: int
    name: str
    room: models.Room
    participant: models.ParticipantInfo | None = None
    track: models.TrackInfo | None = None


@dataclass(slots=True)
class Node:
    config: Config
    media: MediaPlane
    #: Monotonic seconds.
    clock: Callable[[], float]
    #: Unix time in seconds.
    wall: Callable[[], float]
    ids: Ids
    timers: Timers
    sid: str
    ice_servers: IceServers
    rooms: dict[int, Room] = field(default_factory=dict)
    participants: dict[int, Participant] = field(default_factory=dict)
    #: Media tracks, by the number that the media plane knows.
    tracks: dict[int, Publication] = field(default_factory=dict)
    #: Tracks being forwarded to somebody, counted by `limit.num_tracks` beside the published ones.
    subscriptions: int = 0
    #: Nobody new is taken; who is here may go on and resume.
    draining: bool = False
    #: Called when the last participant has left.
    on_empty: Callable[[], None] | None = None
    #: Joins by network address and by API key.
    joins_by_ip: Rate = field(init=False)
    joins_by_key: Rate = field(init=False)
    #: Ways to connect that clients were left with.
    preferences: Preferences = field(init=False)
    observers: list[Callable[[RoomEvent], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        limit = self.config.limit
        self.joins_by_ip = Rate(limit.joins_per_sec_per_ip, self.clock)
        self.joins_by_key = Rate(limit.joins_per_sec_per_key, self.clock)
        self.preferences = Preferences(self.config, self.clock)

    def wall_ms(self) -> int:
        return int(self.wall() * 1000)

    def notify(self, event: RoomEvent) -> None:
        for observer in self.observers:
            try:
                observer(event)
            except Exception:
                # An observer is the application's code: its faults are its own.
                logger.exception("an observer failed", room_event=event.name)
