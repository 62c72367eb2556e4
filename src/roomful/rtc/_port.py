"""What data packets go through, as those who send them see a room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from livekit.protocol import models, rtc


class PacketPort(Protocol):
    """The local participant, to streams, calls and data tracks."""

    @property
    def identity(self) -> str: ...

    @property
    def _server_version(self) -> str:
        """Empty while it is unknown."""
        ...

    async def _send_packet(self, packet: models.DataPacket, *, reliable: bool = True) -> None:
        """Sends a packet, waiting while its channel is full; raises when there is no connection."""
        ...

    def _send_track_packet(self, packet: bytes) -> bool:
        """Sends a packet of a data track; False if the channel is full or not open, and it is lost."""
        ...

    def _signal(self, request: rtc.SignalRequest) -> None:
        """Sends a request to the server."""
        ...

    def _recipients(self, identities: Sequence[str] = ()) -> list[models.ParticipantInfo]:
        """The others of these identities (all, if none is given); an identity nobody has is left out."""
        ...
