"""One signalling connection of one participant."""

from __future__ import annotations

from livekit.protocol import rtc

from roomful.server.outbox import Outbox


class Session:
    outbox: Outbox

    def receive(self, request: rtc.SignalRequest) -> None:
        """Handles one frame. Never raises."""

    def malformed(self, reason: str) -> None:
        """A frame that is no SignalRequest: ends this session."""

    def connection_lost(self) -> None:
        """The socket closed, from either side."""
