"""AgentDispatchService: the agents that a room asks for."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from livekit.protocol import agent_dispatch

from roomful.auth import Claims
from roomful.server.api.twirp import permission_denied


class Dispatches(Protocol):
    """The control plane as this API sees it. Its errors are `ControlError`s."""

    def create_dispatch(
        self, request: agent_dispatch.CreateAgentDispatchRequest
    ) -> agent_dispatch.AgentDispatch: ...
    def delete_dispatch(self, name: str, dispatch_id: str) -> agent_dispatch.AgentDispatch: ...
    def list_dispatches(self, name: str, dispatch_id: str = "") -> list[agent_dispatch.AgentDispatch]: ...


class AgentDispatchService:
    descriptor: ServiceDescriptor = agent_dispatch.DESCRIPTOR.services_by_name["AgentDispatchService"]

    def __init__(self, dispatches: Dispatches) -> None:
        self._dispatches = dispatches

    def authorize(self, method: str, claims: Claims | None, request: Message) -> None:
        grant = claims.video if claims else None
        name = getattr(request, "room", "")
        if grant is None or not grant.room_admin or not name or name != grant.room:
            raise permission_denied()

    async def create_dispatch(
        self, request: agent_dispatch.CreateAgentDispatchRequest
    ) -> agent_dispatch.AgentDispatch:
        return self._dispatches.create_dispatch(request)

    async def delete_dispatch(
        self, request: agent_dispatch.DeleteAgentDispatchRequest
    ) -> agent_dispatch.AgentDispatch:
        return self._dispatches.delete_dispatch(request.room, request.dispatch_id)

    async def list_dispatch(
        self, request: agent_dispatch.ListAgentDispatchRequest
    ) -> agent_dispatch.ListAgentDispatchResponse:
        dispatches = self._dispatches.list_dispatches(request.room, request.dispatch_id)
        return agent_dispatch.ListAgentDispatchResponse(agent_dispatches=dispatches)
