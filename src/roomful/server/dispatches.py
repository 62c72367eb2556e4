"""The agents that a room asks for. They are kept with the room; nobody takes their jobs yet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from livekit.protocol import agent_dispatch

from roomful.server import ids
from roomful.server.errors import InvalidArgument, NotFound, ResourceExhausted
from roomful.server.sizes import check_attributes, check_metadata

if TYPE_CHECKING:
    from roomful.server.node import Node

#: Of one room.
MAX_DISPATCHES = 1000
#: Bytes.
MAX_DEPLOYMENT = 64


class Dispatches:
    def __init__(
        self, node: Node, room_name: str, configured: Iterable[agent_dispatch.RoomAgentDispatch]
    ) -> None:
        self._node = node
        self._room_name = room_name
        #: By id, in the order they were asked for.
        self._by_id: dict[str, agent_dispatch.AgentDispatch] = {}
        for wanted in configured:
            self._keep(wanted)

    def create(self, request: agent_dispatch.CreateAgentDispatchRequest) -> agent_dispatch.AgentDispatch:
        """Raises `InvalidArgument` for what is too large, `ResourceExhausted` when the room has too many."""
        check_dispatch(self._node, request)
        if len(self._by_id) >= MAX_DISPATCHES:
            raise ResourceExhausted(f"at most {MAX_DISPATCHES} dispatches a room")
        return _copy(self._keep(request))

    def delete(self, dispatch_id: str) -> agent_dispatch.AgentDispatch:
        dispatch = self._by_id.pop(dispatch_id, None)
        if dispatch is None:
            raise NotFound("dispatch ID not found")
        return dispatch

    def listed(self, dispatch_id: str) -> list[agent_dispatch.AgentDispatch]:
        """All of them, or the one of that id if there is one."""
        return [_copy(it) for it in self._by_id.values() if not dispatch_id or it.id == dispatch_id]

    def _keep(
        self, wanted: agent_dispatch.CreateAgentDispatchRequest | agent_dispatch.RoomAgentDispatch
    ) -> agent_dispatch.AgentDispatch:
        dispatch = agent_dispatch.AgentDispatch(
            id=self._node.ids.sid(ids.DISPATCH),
            agent_name=wanted.agent_name,
            room=self._room_name,
            metadata=wanted.metadata,
            state=agent_dispatch.AgentDispatchState(created_at=int(self._node.wall() * 1e9)),
            restart_policy=wanted.restart_policy,
            deployment=wanted.deployment,
            attributes=wanted.attributes,
        )
        self._by_id[dispatch.id] = dispatch
        return dispatch


def check_dispatch(
    node: Node, wanted: agent_dispatch.CreateAgentDispatchRequest | agent_dispatch.RoomAgentDispatch
) -> None:
    """Raises `InvalidArgument`."""
    deployment = wanted.deployment
    if len(deployment.encode()) > MAX_DEPLOYMENT:
        raise InvalidArgument(f"deployment exceeds {MAX_DEPLOYMENT} bytes")
    if any(character == "_" or character <= " " or character == "\x7f" for character in deployment):
        raise InvalidArgument("deployment contains a reserved, whitespace or control character")
    check_metadata(node.config.limit, wanted.metadata)
    check_attributes(node.config.limit, wanted.attributes)


def _copy(dispatch: agent_dispatch.AgentDispatch) -> agent_dispatch.AgentDispatch:
    copy = agent_dispatch.AgentDispatch()
    copy.CopyFrom(dispatch)
    return copy
