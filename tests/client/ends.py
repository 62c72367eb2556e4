"""Clients without a network: each one's packets are handed to the others as a server would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from livekit.protocol import models, rtc

from roomful.rtc._rpc import Rpc
from roomful.rtc._streams import Streams

DEFLATE = models.ClientInfo.Capability.CAP_COMPRESSION_DEFLATE_RAW


class Hall:
    """A room of fake ends, in which every packet is kept."""

    def __init__(self) -> None:
        self.ends: dict[str, End] = {}
        self.packets: list[models.DataPacket] = []

    def enter(
        self, identity: str, protocol: int = 2, *capabilities: int, max_payload: int | None = None
    ) -> End:
        end = End(self, identity, protocol, capabilities, max_payload)
        self.ends[identity] = end
        return end

    def kinds(self) -> list[str | None]:
        return [packet.WhichOneof("value") for packet in self.packets]


class End:
    """A local participant, as streams and calls see it."""

    def __init__(
        self,
        hall: Hall,
        identity: str,
        protocol: int,
        capabilities: Sequence[int],
        max_payload: int | None,
    ) -> None:
        self.hall = hall
        self.identity = identity
        self._server_version = "1.13.5"
        self.info = models.ParticipantInfo(
            sid=f"PA_{identity}",
            identity=identity,
            client_protocol=protocol,
            capabilities=capabilities,  # type: ignore[arg-type]
        )
        self.connected = True
        #: May swallow a packet, by returning True.
        self.swallow: Callable[[models.DataPacket], bool] = lambda packet: False
        self.streams = Streams(self, max_payload)
        self.rpc = Rpc(self, self.streams)

    async def _send_packet(self, packet: models.DataPacket, *, reliable: bool = True) -> None:
        await asyncio.sleep(0)  # a channel may be full
        if not self.connected:
            raise RuntimeError("not connected")
        sent = models.DataPacket()
        sent.CopyFrom(packet)
        sent.participant_sid, sent.participant_identity = self.info.sid, self.identity
        self.hall.packets.append(sent)
        if self.swallow(sent):
            return
        for identity, end in self.hall.ends.items():
            if end is not self and (
                not packet.destination_identities or identity in packet.destination_identities
            ):
                end.receive(sent)

    def receive(self, packet: models.DataPacket) -> None:
        kind = packet.WhichOneof("value") or ""
        if kind.startswith("stream_"):
            self.streams.handle(packet)
        elif kind.startswith("rpc_"):
            self.rpc.handle(packet)

    def _send_track_packet(self, packet: bytes) -> bool:
        return False

    def _signal(self, request: rtc.SignalRequest) -> None:
        raise NotImplementedError

    def _recipients(self, identities: Sequence[str] = ()) -> list[models.ParticipantInfo]:
        return [
            end.info
            for identity, end in self.hall.ends.items()
            if end is not self and (not identities or identity in identities)
        ]
