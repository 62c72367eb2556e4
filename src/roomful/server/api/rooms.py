"""RoomService: rooms and participants from the outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from livekit.protocol import models, room

from roomful.auth import Claims
from roomful.server.api.twirp import permission_denied
from roomful.server.errors import ControlError


class Call(Protocol):
    """A remote procedure call under way."""

    on_end: Callable[[str | ControlError], None]

    def cancel(self) -> None: ...


class Rooms(Protocol):
    """The control plane as this API sees it. Its errors are `ControlError`s."""

    def create_room(self, request: room.CreateRoomRequest) -> models.Room: ...
    def list_rooms(self, names: Sequence[str] = ()) -> list[models.Room]: ...
    def delete_room(self, name: str) -> None: ...
    def list_participants(self, name: str) -> list[models.ParticipantInfo]: ...
    def get_participant(self, name: str, identity: str) -> models.ParticipantInfo: ...
    def remove_participant(self, name: str, identity: str) -> None: ...
    def mute_published_track(self, request: room.MuteRoomTrackRequest) -> models.TrackInfo | None: ...
    def update_participant(self, request: room.UpdateParticipantRequest) -> models.ParticipantInfo: ...
    def update_subscriptions(self, request: room.UpdateSubscriptionsRequest) -> None: ...
    def send_data(self, request: room.SendDataRequest) -> None: ...
    def update_room_metadata(self, name: str, metadata: str) -> models.Room: ...
    def forward_participant(self, request: room.ForwardParticipantRequest) -> None: ...
    def move_participant(self, request: room.MoveParticipantRequest) -> None: ...
    def perform_rpc(self, request: room.PerformRpcRequest) -> Call: ...


class RoomService:
    descriptor: ServiceDescriptor = room.DESCRIPTOR.services_by_name["RoomService"]

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def authorize(self, method: str, claims: Claims | None, request: Message) -> None:
        grant = claims.video if claims else None
        if grant is None:
            raise permission_denied()
        if method in ("CreateRoom", "DeleteRoom"):
            allowed = grant.room_create
        elif method == "ListRooms":
            allowed = grant.room_list
        else:
            allowed = grant.room_admin and _is_named(getattr(request, "room", ""), grant.room)
        if method in ("ForwardParticipant", "MoveParticipant"):
            destination = getattr(request, "destination_room", "")
            allowed = allowed and _is_named(destination, grant.destination_room)
        if not allowed:
            raise permission_denied()

    async def create_room(self, request: room.CreateRoomRequest) -> models.Room:
        return self._rooms.create_room(request)

    async def list_rooms(self, request: room.ListRoomsRequest) -> room.ListRoomsResponse:
        return room.ListRoomsResponse(rooms=self._rooms.list_rooms(list(request.names)))

    async def delete_room(self, request: room.DeleteRoomRequest) -> room.DeleteRoomResponse:
        self._rooms.delete_room(request.room)
        return room.DeleteRoomResponse()

    async def list_participants(self, request: room.ListParticipantsRequest) -> room.ListParticipantsResponse:
        return room.ListParticipantsResponse(participants=self._rooms.list_participants(request.room))

    async def get_participant(self, request: room.RoomParticipantIdentity) -> models.ParticipantInfo:
        return self._rooms.get_participant(request.room, request.identity)

    async def remove_participant(
        self, request: room.RoomParticipantIdentity
    ) -> room.RemoveParticipantResponse:
        self._rooms.remove_participant(request.room, request.identity)
        return room.RemoveParticipantResponse()

    async def mute_published_track(self, request: room.MuteRoomTrackRequest) -> room.MuteRoomTrackResponse:
        return room.MuteRoomTrackResponse(track=self._rooms.mute_published_track(request))

    async def update_participant(self, request: room.UpdateParticipantRequest) -> models.ParticipantInfo:
        return self._rooms.update_participant(request)

    async def update_subscriptions(
        self, request: room.UpdateSubscriptionsRequest
    ) -> room.UpdateSubscriptionsResponse:
        self._rooms.update_subscriptions(request)
        return room.UpdateSubscriptionsResponse()

    async def send_data(self, request: room.SendDataRequest) -> room.SendDataResponse:
        self._rooms.send_data(request)
        return room.SendDataResponse()

    async def update_room_metadata(self, request: room.UpdateRoomMetadataRequest) -> models.Room:
        return self._rooms.update_room_metadata(request.room, request.metadata)

    async def forward_participant(
        self, request: room.ForwardParticipantRequest
    ) -> room.ForwardParticipantResponse:
        self._rooms.forward_participant(request)
        return room.ForwardParticipantResponse()

    async def move_participant(self, request: room.MoveParticipantRequest) -> room.MoveParticipantResponse:
        self._rooms.move_participant(request)
        return room.MoveParticipantResponse()

    async def perform_rpc(self, request: room.PerformRpcRequest) -> room.PerformRpcResponse:
        ended = asyncio.get_running_loop().create_future()
        call = self._rooms.perform_rpc(request)
        call.on_end = ended.set_result
        try:
            answer: str | ControlError = await ended
        finally:
            call.cancel()
        if isinstance(answer, ControlError):
            raise answer
        return room.PerformRpcResponse(payload=answer)


def _is_named(asked: str, granted: str) -> bool:
    return bool(asked) and asked == granted
