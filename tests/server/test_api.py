from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from livekit import api
from livekit.protocol import room
from paper import PaperControl

import roomful

pytestmark = pytest.mark.asyncio
ROOMS = "/twirp/livekit.RoomService/"


def base(server: roomful.Server) -> str:
    return "http" + server.url.removeprefix("ws")


@pytest_asyncio.fixture
async def sdk(server: roomful.Server) -> AsyncIterator[api.LiveKitAPI]:
    key, secret = next(iter(server.keys.items()))
    async with api.LiveKitAPI(base(server), key, secret) as client:
        yield client


async def call(
    server: roomful.Server,
    path: str,
    body: object = None,
    headers: dict[str, str] | None = None,
    **grants: object,
) -> httpx.Response:
    token = server.token(identity="", **grants)  # type: ignore[arg-type]
    async with httpx.AsyncClient(
        base_url=base(server), headers={"authorization": f"Bearer {token}"}
    ) as client:
        return await client.post(path, json=body or {}, headers=headers)


async def test_livekits_own_client_manages_rooms(
    server: roomful.Server, sdk: api.LiveKitAPI, control: PaperControl
) -> None:
    created = await sdk.room.create_room(api.CreateRoomRequest(name="demo"))
    assert created.name == "demo"
    listed = await sdk.room.list_rooms(api.ListRoomsRequest(names=["demo"]))
    assert [one.name for one in listed.rooms] == ["demo"]
    assert not (await sdk.room.list_participants(api.ListParticipantsRequest(room="demo"))).participants
    await sdk.room.send_data(api.SendDataRequest(room="demo", data=b"hi", topic="t"))
    assert control.data[0].data == b"hi"
    await sdk.room.delete_room(api.DeleteRoomRequest(room="demo"))
    with pytest.raises(api.TwirpError) as missing:
        await sdk.room.delete_room(api.DeleteRoomRequest(room="demo"))
    assert (missing.value.code, missing.value.status) == ("not_found", 404)
    for action in (sdk.room.get_participant, sdk.room.remove_participant):
        with pytest.raises(api.TwirpError, match="participant does not exist"):
            await action(api.RoomParticipantIdentity(room="demo", identity="ada"))


async def test_json_answers_have_snake_case_and_defaults(server: roomful.Server) -> None:
    answer = await call(
        server, ROOMS + "CreateRoom", {"name": "demo", "emptyTimeout": 5, "future": 1}, room_create=True
    )
    assert answer.headers["content-type"] == "application/json"
    content = answer.json()
    assert content["name"] == "demo"
    assert content["num_participants"] == 0
    assert content["creation_time"] == "0"
    assert content["active_recording"] is False


@pytest.mark.parametrize(
    ("method", "grants"),
    [
        ("CreateRoom", {"room_list": True}),
        ("DeleteRoom", {"room_admin": True, "room": "demo"}),
        ("ListRooms", {"room_create": True}),
        ("ListParticipants", {"room_admin": True, "room": "other"}),
        ("GetParticipant", {"room_admin": False, "room": "demo"}),
        ("RemoveParticipant", {"room_create": True, "room_list": True}),
        ("SendData", {"room_admin": True, "room": "other"}),
        ("UpdateParticipant", {"room_admin": True, "room": "other"}),
        ("MoveParticipant", {"room_admin": True, "room": "demo", "destination_room": "x"}),
    ],
)
async def test_a_missing_grant_is_unauthenticated(
    server: roomful.Server, method: str, grants: dict[str, object]
) -> None:
    grants.setdefault("room_join", False)
    answer = await call(server, ROOMS + method, {"room": "demo", "destinationRoom": "y"}, **grants)
    assert answer.status_code == 401
    assert answer.json() == {"code": "unauthenticated", "msg": "permissions denied"}


async def test_an_admin_without_a_room_administers_none(server: roomful.Server) -> None:
    answer = await call(server, ROOMS + "ListParticipants", {"room": ""}, room_admin=True)
    assert answer.status_code == 401


async def test_without_a_token_the_api_answers_as_twirp(server: roomful.Server) -> None:
    async with httpx.AsyncClient(base_url=base(server)) as client:
        answer = await client.post(ROOMS + "ListRooms", json={})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_methods_to_come_are_unimplemented_and_others_bad_routes(server: roomful.Server) -> None:
    rights = {"room_admin": True, "room": "demo", "room_join": False}
    later = await call(server, ROOMS + "MutePublishedTrack", {"room": "demo"}, **rights)
    assert (later.status_code, later.json()["code"]) == (501, "unimplemented")
    for path in (ROOMS + "Nonsense", ROOMS, "/twirp/livekit.RoomService/authorize"):
        nowhere = await call(server, path)
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, "bad_route")
    assert (await call(server, "/twirp/livekit.Connector/DialWhatsAppCall")).status_code == 404
    async with httpx.AsyncClient(base_url=base(server)) as client:
        assert (await client.get(ROOMS + "ListRooms")).json()["code"] == "bad_route"
        assert (await client.post(ROOMS + "ListRooms", content=b"")).json()["code"] == "bad_route"


async def test_services_of_others_need_redis_after_their_grant(server: roomful.Server) -> None:
    for path, grants, text in (
        ("Egress/ListEgress", {"room_record": True}, "egress not connected (redis required)"),
        ("Ingress/ListIngress", {"ingress_admin": True}, "ingress not connected (redis required)"),
    ):
        answer = await call(server, f"/twirp/livekit.{path}", {}, **grants)
        assert (answer.status_code, answer.json()) == (500, {"code": "internal", "msg": text})
        assert (await call(server, f"/twirp/livekit.{path}", {}, room_list=True)).status_code == 401
    assert (await call(server, "/twirp/livekit.SIP/ListSIPTrunk", {}, room_list=True)).status_code == 401


@pytest.mark.parametrize("kind", ["application/json", "application/protobuf"])
@pytest.mark.parametrize("body", [b"\xff\xff", b"[1]", b'{"names": 7}', b"[" * 50_000])
async def test_malformed_requests_are_said_to_be(server: roomful.Server, kind: str, body: bytes) -> None:
    token = server.token(identity="", room_list=True)
    async with httpx.AsyncClient(base_url=base(server)) as client:
        headers = {"authorization": f"Bearer {token}", "content-type": kind}
        answer = await client.post(ROOMS + "ListRooms", content=body, headers=headers)
    if kind == "application/json" or body == b"\xff\xff":
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    else:
        assert answer.status_code in (200, 400)


async def test_a_body_over_the_limit_names_the_setting(control: PaperControl) -> None:
    async with roomful.Server({"limit": {"max_api_request_body_size": 1000}}) as server:
        token = server.token(identity="", room_create=True)

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(20):
                yield b"x" * 100

        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        async with httpx.AsyncClient(base_url=base(server), headers=headers) as client:
            for content in (b"x" * 1001, chunks()):
                answer = await client.post(ROOMS + "CreateRoom", content=content)
                assert answer.status_code == 413
                assert answer.text == "request body is over limit.max_api_request_body_size 1000"


async def test_a_clients_deadline_is_honoured(
    server: roomful.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forever(self: object, request: room.ListRoomsRequest) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("roomful.server.api.rooms.RoomService.list_rooms", forever)
    answer = await call(server, ROOMS + "ListRooms", {}, {"X-Twirp-Timeout-Ms": "50"}, room_list=True)
    assert (answer.status_code, answer.json()["code"]) == (408, "deadline_exceeded")


async def test_a_fault_does_not_leak_its_text(
    server: roomful.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: object, request: room.ListRoomsRequest) -> None:
        raise ValueError("inner secret")

    monkeypatch.setattr("roomful.server.api.rooms.RoomService.list_rooms", broken)
    answer = await call(server, ROOMS + "ListRooms", {}, room_list=True)
    assert answer.status_code == 500
    assert json.loads(answer.text) == {"code": "internal", "msg": "internal error"}
