"""Packets of those whom signalling has not told of yet.

Data goes another way than signalling, and the first of somebody who has just come may be faster than the
news of them. It waits for that, for a moment only: some senders are hidden, and are never told of.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Container

from livekit.protocol import models

#: Seconds in which signalling tells of somebody.
TOLD_WITHIN = 0.5
#: Bytes that wait, of all of them.
MAX_HELD = 1024 * 1024
#: Senders who are known to be nobody's.
MAX_HIDDEN = 1000

Take = Callable[[models.DataPacket, bool], None]


class Strangers:
    """`take` is given the packets, in order, of each sender."""

    def __init__(self, take: Take) -> None:
        self._take = take
        #: By identity.
        self._held: dict[str, deque[tuple[models.DataPacket, bool]]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._bytes = 0
        self._hidden: set[str] = set()

    def hold(self, packet: models.DataPacket, reliable: bool) -> bool:
        """Whether it waits; else it is to be taken now, as one of nobody."""
        sender = packet.participant_identity
        if not sender or sender in self._hidden:
            return False
        if self._bytes + packet.ByteSize() > MAX_HELD:
            self._give_up(sender)
            return False
        if sender not in self._held:
            self._held[sender] = deque()
            loop = asyncio.get_running_loop()
            self._timers[sender] = loop.call_later(TOLD_WITHIN, self._give_up, sender)
        self._held[sender].append((packet, reliable))
        self._bytes += packet.ByteSize()
        return True

    def told_of(self, identities: Container[str]) -> None:
        """Those are there now."""
        self._hidden = {one for one in self._hidden if one not in identities}
        for sender in [one for one in self._held if one in identities]:
            self._release(sender)

    def clear(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._held.clear()
        self._hidden.clear()
        self._bytes = 0

    def _give_up(self, sender: str) -> None:
        if len(self._hidden) < MAX_HIDDEN:
            self._hidden.add(sender)
        self._release(sender)

    def _release(self, sender: str) -> None:
        if (timer := self._timers.pop(sender, None)) is not None:
            timer.cancel()
        held = self._held.pop(sender, deque())
        self._bytes -= sum(packet.ByteSize() for packet, _ in held)
        for packet, reliable in held:
            self._take(packet, reliable)
