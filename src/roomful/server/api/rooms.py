"""RoomService: rooms and participants from the outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from livekit.protocol import models, room

from roomful.auth import Claims
from roomful.server.api.twirp import permission_denied


class Rooms(Protocol):
    """The control plane as this API sees it. Its errors are `ControlError`s."""

    def create_room(self, request: room.CreateRoomRequest) -> models.Room: ...
    def list_rooms(self, names: Sequence[str] = ()) -> list[models.Room]: ...
    def delete_room(self, name: str) -> None: ...
    def list_participants(self, name: str) -> list[models.ParticipantInfo]: ...
    def get_participant(self, name: str, identity: str) -> models.ParticipantInfo: ...
    def remove_participant(self, name: str, identity: str) -> None: ...
    def send_data(self, request: room.SendDataRequest) -> None: ...


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
            name = getattr(request, "room", "")
            allowed = grant.room_admin and bool(name) and name == grant.room
        if method in ("ForwardParticipant", "MoveParticipant"):
            allowed = allowed and getattr(request, "destination_room", "") == grant.destination_room
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

    async def send_data(self, request: room.SendDataRequest) -> room.SendDataResponse:
        self._rooms.send_data(request)
        return room.SendDataResponse()
