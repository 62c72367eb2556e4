from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from google.protobuf.descriptor import ServiceDescriptor
from livekit import api
from livekit.protocol import egress, ingress, room, sip
from paper import PaperControl

import roomful
from roomful.auth import AccessToken, SipGrant

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


async def test_methods_to_come_are_unimplemented_and_others_bad_routes(
    server: roomful.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("roomful.server.api.rooms.RoomService.perform_rpc")
    rights = {"room_admin": True, "room": "demo", "room_join": False}
    later = await call(server, ROOMS + "PerformRpc", {"room": "demo"}, **rights)
    assert (later.status_code, later.json()["code"]) == (501, "unimplemented")
    for path in (ROOMS + "Nonsense", ROOMS, "/twirp/livekit.RoomService/authorize"):
        nowhere = await call(server, path)
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, "bad_route")
    assert (await call(server, "/twirp/livekit.Connector/DialWhatsAppCall")).status_code == 404
    async with httpx.AsyncClient(base_url=base(server)) as client:
        assert (await client.get(ROOMS + "ListRooms")).json()["code"] == "bad_route"
        assert (await client.post(ROOMS + "ListRooms", content=b"")).json()["code"] == "bad_route"


@pytest.mark.parametrize(
    ("service", "grants"),
    [
        (egress.DESCRIPTOR.services_by_name["Egress"], {"room_record": True}),
        (ingress.DESCRIPTOR.services_by_name["Ingress"], {"ingress_admin": True}),
        (sip.DESCRIPTOR.services_by_name["SIP"], {}),
    ],
    ids=["egress", "ingress", "sip"],
)
async def test_each_method_of_services_of_others_needs_redis_after_its_grant(
    server: roomful.Server, service: ServiceDescriptor, grants: dict[str, bool]
) -> None:
    key, secret = next(iter(server.keys.items()))
    allowed = AccessToken(key, secret).with_grants(**grants)
    if service.name == "SIP":
        allowed = allowed.with_sip_grants(SipGrant(admin=True, call=True))
    denied = AccessToken(key, secret).with_grants(room_list=True)
    text = f"{service.name.lower()} not connected (redis required)"
    async with httpx.AsyncClient(base_url=base(server)) as client:
        for method in service.methods:
            if method.name == "TransferSIPParticipant":
                continue
            for token, expected in (
                (allowed, (500, "internal", text)),
                (denied, (401, "unauthenticated", "permissions denied")),
            ):
                answer = await client.post(
                    f"/twirp/{service.full_name}/{method.name}",
                    json={},
                    headers={"authorization": f"Bearer {token.to_jwt()}"},
                )
                content = answer.json()
                assert (answer.status_code, content["code"], content["msg"]) == expected, method.name


async def test_livekits_own_client_hears_which_services_are_absent(sdk: api.LiveKitAPI) -> None:
    for name, asking in (
        ("egress", sdk.egress.list_egress(api.ListEgressRequest())),
        ("ingress", sdk.ingress.list_ingress(api.ListIngressRequest())),
        ("sip", sdk.sip.list_inbound_trunk(api.ListSIPInboundTrunkRequest())),
    ):
        with pytest.raises(api.TwirpError, match=rf"{name} not connected \(redis required\)") as error:
            await asking
        assert (error.value.code, error.value.status) == ("internal", 500)


async def test_a_transfer_names_its_participant_before_it_needs_sip(sdk: api.LiveKitAPI) -> None:
    for fields, code in (
        ({}, "invalid_argument"),
        ({"room_name": "demo"}, "invalid_argument"),
        ({"room_name": "demo", "participant_identity": "nobody"}, "not_found"),
    ):
        with pytest.raises(api.TwirpError) as error:
            await sdk.sip.transfer_sip_participant(api.TransferSIPParticipantRequest(**fields))
        assert error.value.code == code


async def test_livekits_own_client_manages_dispatches(sdk: api.LiveKitAPI) -> None:
    agents = sdk.agent_dispatch
    made = await agents.create_dispatch(api.CreateAgentDispatchRequest(room="demo", agent_name="a"))
    assert [it.id for it in await agents.list_dispatch("demo")] == [made.id]
    assert await agents.get_dispatch(made.id, "demo") == made
    assert (await agents.delete_dispatch(made.id, "demo")).id == made.id
    with pytest.raises(api.TwirpError) as error:
        await agents.delete_dispatch(made.id, "demo")
    assert (error.value.code, error.value.status) == ("not_found", 404)


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


async def test_who_may_only_join_is_refused_unread(control: PaperControl) -> None:
    async with roomful.Server({"limit": {"max_api_request_body_size": 1000}}) as server:
        token = server.token(identity="ada", room="demo")
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        async with httpx.AsyncClient(base_url=base(server), headers=headers) as client:
            answer = await client.post(ROOMS + "CreateRoom", content=b"x" * 1001)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


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
