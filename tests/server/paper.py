"""A control plane of paper: everything around it is real, sockets included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from livekit.protocol import agent_dispatch, models, room, rtc

from roomful.server.errors import NotFound
from roomful.server.join import JoinParams
from roomful.server.outbox import Outbox


@dataclass
class PaperSession:
    params: JoinParams
    outbox: Outbox = field(default_factory=Outbox)
    received: list[rtc.SignalRequest] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    lost_event: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def lost(self) -> bool:
        return self.lost_event.is_set()

    def receive(self, request: rtc.SignalRequest) -> None:
        self.received.append(request)
        if request.WhichOneof("message") == "ping":
            self.outbox.push(rtc.SignalResponse(pong=request.ping).SerializeToString())
        if request.WhichOneof("message") == "leave":
            self.outbox.close()

    def malformed(self, reason: str) -> None:
        self.refused.append(reason)
        self.outbox.close()

    def connection_lost(self) -> None:
        self.lost_event.set()
        self.outbox.close()


class PaperControl:
    def __init__(self) -> None:
        self.on_earlier_deadline: Callable[[], None] | None = None
        self.sessions: list[PaperSession] = []
        self.joined = asyncio.Event()
        self.refusal: Exception | None = None
        self.rooms: dict[str, models.Room] = {}
        self.data: list[room.SendDataRequest] = []
        self.dispatches: dict[str, agent_dispatch.AgentDispatch] = {}

    def check_join(self, params: JoinParams) -> None:
        if self.refusal:
            raise self.refusal

    def join(self, params: JoinParams) -> PaperSession:
        self.check_join(params)
        session = PaperSession(params)
        join = rtc.JoinResponse(
            room=models.Room(name=params.room, sid="RM_paper"),
            participant=models.ParticipantInfo(identity=params.claims.identity, sid="PA_paper"),
        )
        session.outbox.push(rtc.SignalResponse(join=join).SerializeToString())
        self.sessions.append(session)
        self.joined.set()
        return session

    def media_events(self, events: Iterable[Any]) -> None: ...

    def next_deadline(self) -> float | None:
        return None

    def tick(self, now: float) -> None: ...

    def drain(self, on_empty: Callable[[], None]) -> None: ...

    def shutdown(self, action: rtc.LeaveRequest.Action = rtc.LeaveRequest.DISCONNECT) -> None:
        for session in self.sessions:
            leave = rtc.LeaveRequest(reason=models.DisconnectReason.SERVER_SHUTDOWN, action=action)
            session.outbox.push(rtc.SignalResponse(leave=leave).SerializeToString())
            session.outbox.close()

    def create_room(self, request: room.CreateRoomRequest) -> models.Room:
        return self.rooms.setdefault(request.name, models.Room(name=request.name, sid="RM_paper"))

    def list_rooms(self, names: Sequence[str] = ()) -> list[models.Room]:
        return [it for it in self.rooms.values() if not names or it.name in names]

    def delete_room(self, name: str) -> None:
        if self.rooms.pop(name, None) is None:
            raise NotFound("requested room does not exist")

    def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        return []

    def get_participant(self, name: str, identity: str) -> models.ParticipantInfo:
        raise NotFound("participant does not exist")

    def remove_participant(self, name: str, identity: str) -> None:
        raise NotFound("participant does not exist")

    def create_dispatch(
        self, request: agent_dispatch.CreateAgentDispatchRequest
    ) -> agent_dispatch.AgentDispatch:
        made = agent_dispatch.AgentDispatch(id="AD_paper", room=request.room, agent_name=request.agent_name)
        self.dispatches[made.id] = made
        return made

    def list_dispatches(self, name: str, dispatch_id: str = "") -> list[agent_dispatch.AgentDispatch]:
        return [it for it in self.dispatches.values() if not dispatch_id or it.id == dispatch_id]

    def delete_dispatch(self, name: str, dispatch_id: str) -> agent_dispatch.AgentDispatch:
        if dispatch_id not in self.dispatches:
            raise NotFound("dispatch ID not found")
        return self.dispatches.pop(dispatch_id)

    def send_data(self, request: room.SendDataRequest) -> None:
        self.data.append(request)


class PaperMedia:
    ports = (0,)

    def take_events(self) -> list[Any]:
        return []

    def close(self) -> None: ...
