"""Numbered packets of the reliable channel: sent again after a resume, and handed on once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from livekit.protocol import rtc

#: Bytes that are kept beyond what the channel has not sent yet: what was on its way as the path broke.
IN_FLIGHT = 1024 * 1024
#: Senders that are remembered; who came back under another sid begins anew.
SENDERS = 1000


class Sent:
    """The latest packets, for a server that says which it has."""

    def __init__(self) -> None:
        self.next_sequence = 1
        self._kept: deque[bytes] = deque()
        self._bytes = 0

    def keep(self, message: bytes, *, unsent: int) -> None:
        """The packet numbered `next_sequence` was handed to a channel that holds back `unsent` bytes."""
        self.next_sequence += 1
        self._kept.append(message)
        self._bytes += len(message)
        while self._bytes > unsent + IN_FLIGHT and len(self._kept) > 1:
            self._bytes -= len(self._kept.popleft())

    def after(self, sequence: int) -> Iterator[bytes]:
        """Those that a server lacks whose latest is `sequence`. The others are forgotten."""
        first = self.next_sequence - len(self._kept)
        for _ in range(min(sequence + 1 - first, len(self._kept))):
            self._bytes -= len(self._kept.popleft())
        return iter(tuple(self._kept))


class Received:
    """The latest number of each sender."""

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}

    def is_new(self, sender: str, sequence: int) -> bool:
        """Packets without a number, or of nobody, cannot be told apart."""
        if not sender or not sequence:
            return True
        if sequence <= self._latest.get(sender, 0):
            return False
        self._latest.pop(sender, None)  # To the end: the first is whom nothing came from for longest.
        self._latest[sender] = sequence
        if len(self._latest) > SENDERS:
            del self._latest[next(iter(self._latest))]
        return True

    def states(self) -> list[rtc.DataChannelReceiveState]:
        return [
            rtc.DataChannelReceiveState(publisher_sid=sender, last_seq=latest)
            for sender, latest in self._latest.items()
        ]
