"""The control plane's front: what the HTTP and WebSocket shell, the API and the media plane talk to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from livekit.protocol import models, room

from roomful.config import Config
from roomful.server.join import JoinParams
from roomful.server.media import Event, MediaPlane
from roomful.server.session import Session


class ControlPlane:
    """Every rule of every room, without sockets and without a clock of its own."""

    def __init__(
        self,
        config: Config,
        media: MediaPlane,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        random: Random,
    ) -> None: ...

    #: Called when `next_deadline` became earlier.
    on_earlier_deadline: Callable[[], None] | None

    def check_join(self, params: JoinParams) -> None:
        """Raises the `Refusal` that `join` would raise."""
        raise NotImplementedError

    def join(self, params: JoinParams) -> Session:
        """Starts a session. Its first message (join, or leave for a resume that can't be) is in its outbox."""
        raise NotImplementedError

    def media_events(self, events: Iterable[Event]) -> None: ...

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, on the given clock."""

    def tick(self, now: float) -> None: ...

    def shutdown(self, reason: models.DisconnectReason = models.DisconnectReason.SERVER_SHUTDOWN) -> None: ...

    def create_room(self, request: room.CreateRoomRequest) -> models.Room:
        raise NotImplementedError

    def list_rooms(self, names: Sequence[str] = ()) -> list[models.Room]:
        raise NotImplementedError

    def delete_room(self, name: str) -> None: ...

    def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        raise NotImplementedError

    def get_participant(self, name: str, identity: str) -> models.ParticipantInfo:
        raise NotImplementedError

    def remove_participant(self, name: str, identity: str) -> None: ...

    def send_data(self, request: room.SendDataRequest) -> None: ...
