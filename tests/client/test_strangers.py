"""Data is faster than the news of who sends it."""

from __future__ import annotations

import asyncio

import pytest
from livekit.protocol import models, rtc
from scripted import Data, PaperPeer, ScriptedServer, other

from roomful.rtc import _strangers
from roomful.rtc.room import DataPacket, Room

pytestmark = pytest.mark.asyncio


class Hearer:
    """Somebody in a room, who notes of whom data is."""

    def __init__(self) -> None:
        self.room = Room()
        self.heard: list[tuple[str | None, bytes]] = []
        self.order: list[str] = []
        self._news = asyncio.Event()
        self.room.on("data_received", self._hear)
        self.room.on("participant_connected", lambda participant: self.order.append(participant.identity))

    def _hear(self, packet: DataPacket) -> None:
        self.heard.append((packet.participant.identity if packet.participant else None, packet.data))
        self.order.append(packet.data.decode())
        self._news.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()


async def connected(script: ScriptedServer) -> Hearer:
    hearer = Hearer()
    await hearer.room.connect(script.url, "token")
    return hearer


def packet(sender: str, text: str) -> Data:
    content = models.DataPacket(participant_identity=sender, user=models.UserPacket(payload=text.encode()))
    return Data("reliable", content.SerializeToString())


async def test_the_first_data_of_who_comes_has_its_sender_and_follows_the_news_of_them(
    script: ScriptedServer,
) -> None:
    hearer = await connected(script)
    PaperPeer.made[0].emit(packet("bob", "one"), packet("bob", "two"), packet("", "of the server"))
    await hearer.until(1)
    assert hearer.heard == [(None, b"of the server")]
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[other("bob")]))
    await hearer.until(3)
    assert hearer.heard[1:] == [("bob", b"one"), ("bob", b"two")]
    assert hearer.order == ["of the server", "bob", "one", "two"]
    await hearer.room.disconnect()


async def test_data_of_who_is_never_told_of_is_of_nobody_and_waits_once(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_strangers, "TOLD_WITHIN", 0.05)
    hearer = await connected(script)
    PaperPeer.made[0].emit(packet("hidden", "one"))
    await hearer.until(1)
    monkeypatch.setattr(_strangers, "TOLD_WITHIN", 60.0)
    PaperPeer.made[0].emit(packet("hidden", "two"))
    await hearer.until(2)
    assert hearer.heard == [(None, b"one"), (None, b"two")]
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[other("hidden")]))
    PaperPeer.made[0].emit(packet("another", "three"))
    await hearer.room.disconnect()
    assert len(hearer.heard) == 2


async def test_what_waits_is_bounded(script: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_strangers, "MAX_HELD", 200)
    hearer = await connected(script)
    PaperPeer.made[0].emit(*(packet("bob", f"{number} {'x' * 80}") for number in range(3)))
    await hearer.until(3)
    assert [data[:1] for _, data in hearer.heard] == [b"0", b"1", b"2"]
    await hearer.room.disconnect()
