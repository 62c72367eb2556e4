from __future__ import annotations

import pytest
from livekit.protocol import models, rtc
from livekit.protocol.room import CreateRoomRequest, SendDataRequest, UpdateParticipantRequest

from roomful.server.errors import ControlError, InvalidArgument, NotFound

from .world import Client, World, config

Gone = models.DisconnectReason
State = models.ParticipantInfo.State


@pytest.fixture
def quick() -> World:
    return World(config(room={"empty_timeout": 30, "departure_timeout": 7}))


def ping(world: World, client: Client, seconds: int) -> None:
    for _ in range(seconds):
        world.pass_time(1)
        client.send(ping=1)


def test_a_room_nobody_joins_closes_after_the_empty_timeout(quick: World) -> None:
    quick.control.create_room(CreateRoomRequest(name="demo"))
    quick.pass_time(29)
    assert len(quick.control.list_rooms()) == 1
    quick.pass_time(2)
    assert quick.control.list_rooms() == []


def test_after_the_last_one_left_it_stays_for_the_departure_timeout(quick: World) -> None:
    for _ in range(2):
        ada = quick.join("ada").connect()
        quick.pass_time(1000)
        ada.send(leave=rtc.LeaveRequest())
        quick.pass_time(6)
        assert len(quick.control.list_rooms()) == 1
    sid = quick.control.list_rooms()[0].sid
    quick.pass_time(2)
    assert quick.control.list_rooms() == []
    assert quick.join("ada").join.room.sid != sid


def test_agents_and_egress_neither_keep_a_room_open_nor_close_it(quick: World) -> None:
    agent = quick.join("agent", token={"kind": "agent"}).connect()
    egress = quick.join("egress", token={"kind": "egress"}).connect()
    assert agent.join.room.num_participants == 0
    quick.pass_time(20)
    egress.send(leave=rtc.LeaveRequest())
    quick.pass_time(9)
    assert not agent.closed
    ada = quick.join("ada").connect()
    quick.pass_time(1000)
    ada.send(leave=rtc.LeaveRequest())
    quick.pass_time(8)
    assert agent.closed
    assert [it.reason for it in agent.all("leave")] == [Gone.ROOM_CLOSED]
    assert quick.control.list_rooms() == []


def test_sip_and_ingress_count_like_people(quick: World) -> None:
    quick.join("phone", token={"kind": "sip"}).connect()
    quick.pass_time(1000)
    assert quick.control.list_rooms()[0].num_participants == 1


def test_counts_are_told_at_most_every_five_seconds(world: World) -> None:
    ada = world.join("ada").connect()
    world.pass_time(10)
    ada.read()
    for number in range(5):
        world.join(f"p{number}")
    assert len(ada.got("room_update")) == 1
    world.pass_time(4.9)
    assert ada.got("room_update") == []
    world.pass_time(0.2)
    (update,) = ada.got("room_update")
    assert update.room.num_participants == 6


def test_metadata_and_recording_are_told_at_once(world: World) -> None:
    ada = world.join("ada").connect()
    ada.read()
    room = world.control.update_room_metadata("demo", "news")
    assert room.metadata == "news"
    assert [it.room.metadata for it in ada.got("room_update")] == ["news"]
    recorder = world.join("rec", grant={"recorder": True})
    assert [it.room.active_recording for it in ada.got("room_update")] == [True]
    recorder.send(leave=rtc.LeaveRequest())
    assert [it.room.active_recording for it in ada.got("room_update")] == [False]
    assert not room.turn_password


def test_create_room_returns_the_one_there_is(world: World) -> None:
    request = CreateRoomRequest(name="demo", max_participants=3, metadata="m", empty_timeout=9)
    first = world.control.create_room(request)
    assert (first.max_participants, first.empty_timeout, first.departure_timeout) == (3, 9, 20)
    assert first.creation_time_ms // 1000 == first.creation_time
    again = world.control.create_room(CreateRoomRequest(name="demo", max_participants=9))
    assert (again.sid, again.max_participants) == (first.sid, 3)
    world.control.create_room(CreateRoomRequest(name="other"))
    assert [it.name for it in world.control.list_rooms(["other", "none"])] == ["other"]


def test_api_errors_have_their_codes(world: World) -> None:
    attempts: list[tuple[type[ControlError], str, object]] = [
        (NotFound, "not_found", lambda: world.control.delete_room("none")),
        (NotFound, "not_found", lambda: world.control.get_participant("none", "x")),
        (NotFound, "not_found", lambda: world.control.remove_participant("none", "x")),
        (NotFound, "not_found", lambda: world.control.update_room_metadata("none", "x")),
        (NotFound, "not_found", lambda: world.control.send_data(SendDataRequest(room="none"))),
        (
            InvalidArgument,
            "invalid_argument",
            lambda: world.control.create_room(CreateRoomRequest(name="x" * 300)),
        ),
        (
            InvalidArgument,
            "invalid_argument",
            lambda: world.control.create_room(CreateRoomRequest(name="x", room_preset="nope")),
        ),
        (
            InvalidArgument,
            "invalid_argument",
            lambda: world.control.send_data(SendDataRequest(room="demo", nonce=b"short")),
        ),
    ]
    for kind, code, attempt in attempts:
        with pytest.raises(kind) as error:
            attempt()  # type: ignore[operator]
        assert error.value.code == code
    assert world.control.list_participants("none") == []


def test_what_the_api_returns_is_a_copy(world: World) -> None:
    world.join("ada")
    world.control.list_rooms()[0].metadata = "changed"
    world.control.get_participant("demo", "ada").metadata = "changed"
    assert world.control.list_rooms()[0].metadata == ""
    assert world.control.get_participant("demo", "ada").metadata == ""


def test_server_data_goes_to_those_named(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    world.control.send_data(
        SendDataRequest(
            room="demo",
            data=b"x",
            topic="t",
            kind=models.DataPacket.LOSSY,
            destination_identities=["ada"],
            destination_sids=[bob.sid],
        )
    )
    sent = world.media.named("send_data")[0]
    assert (sent["destinations"], sent["reliable"]) == ([ada.number, bob.number], False)
    packet = models.DataPacket.FromString(sent["packet"])
    assert (packet.user.payload, packet.user.topic, packet.participant_identity) == (b"x", "t", "")
    world.control.send_data(SendDataRequest(room="demo", destination_identities=["nobody"]))
    world.control.send_data(SendDataRequest(room="demo", data=b"all"))
    assert [it["destinations"] for it in world.media.named("send_data")[1:]] == [[]]


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (SendDataRequest(room="demo", topic="t" * 257), "topic"),
        (SendDataRequest(room="demo", destination_identities=[""] * 10_001), "destinations"),
        (SendDataRequest(room="demo", destination_sids=["PA_1"], data=b"x" * 64_001), "data"),
        (SendDataRequest(room="demo", destination_identities=["ada", "x" * 40_000]), "destinations"),
    ],
    ids=["topic", "number", "data", "length"],
)
def test_server_data_that_no_client_could_read_is_refused(
    world: World, request_: SendDataRequest, named: str
) -> None:
    world.join("ada")
    with pytest.raises(InvalidArgument, match=named):
        world.control.send_data(request_)
    assert world.media.named("send_data") == []


def test_own_metadata_is_always_answered(world: World) -> None:
    ada = world.join(
        "ada", grant={"can_update_own_metadata": True}, token={"attributes": {"a": "1", "b": "2"}}
    )
    bob, old = world.join("bob"), world.join("old", protocol=14, grant={"can_update_own_metadata": True})
    for client in (ada, bob, old):
        client.read()
    request = rtc.UpdateParticipantMetadata(name="Ada", attributes={"a": "", "c": "3"}, request_id=5)
    ada.send(update_metadata=request)
    messages = ada.read()
    kinds = [str(it.WhichOneof("message")) for it in messages]
    assert kinds == ["update", "refresh_token", "request_response"]
    assert (messages[2].request_response.request_id, messages[2].request_response.reason) == (
        5,
        rtc.RequestResponse.OK,
    )
    (entry,) = bob.entries()
    assert (entry.name, dict(entry.attributes)) == ("Ada", {"b": "2", "c": "3"})
    bob.send(update_metadata=request)
    (refused,) = bob.got("request_response")
    assert (refused.request_id, refused.reason) == (5, rtc.RequestResponse.NOT_ALLOWED)
    old.send(update_metadata=request)
    assert old.got("request_response") == []


@pytest.mark.parametrize(
    "request_",
    [
        rtc.UpdateParticipantMetadata(name="n" * 257),
        rtc.UpdateParticipantMetadata(metadata="m" * 524_289),
        rtc.UpdateParticipantMetadata(attributes={"a": "v" * 65_536}),
    ],
)
def test_own_metadata_has_limits(world: World, request_: rtc.UpdateParticipantMetadata) -> None:
    ada = world.join("ada", grant={"can_update_own_metadata": True})
    ada.read()
    ada.send(update_metadata=request_)
    (refused,) = ada.got("request_response")
    assert refused.reason == rtc.RequestResponse.LIMIT_EXCEEDED
    assert refused.ByteSize() < 500
    assert world.control.get_participant("demo", "ada").version == ada.join.participant.version


def test_attributes_do_not_grow_by_many_small_updates(world: World) -> None:
    ada = world.join("ada", grant={"can_update_own_metadata": True})
    for number in range(100):
        ada.send(update_metadata=rtc.UpdateParticipantMetadata(attributes={str(number): "v" * 1000}))
    info = world.control.get_participant("demo", "ada")
    assert info.ByteSize() < 70_000


def test_permission_by_api_replaces_and_is_seen(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    ada.read()
    bob.read()
    request = UpdateParticipantRequest(room="demo", identity="ada", metadata="m")
    request.permission.can_subscribe = True
    info = world.control.update_participant(request)
    assert (info.permission.can_publish, info.permission.can_subscribe) == (False, True)
    assert bob.entries()[-1].permission == info.permission
    assert ada.got("refresh_token") != []
    told = world.media.named("update_permissions")[0]
    assert (told["participant"], told["can_publish"], told["can_subscribe"]) == (ada.number, False, True)


def test_large_rooms_gather_those_who_publish_nothing(world: World) -> None:
    watcher = world.join("watcher").connect()
    for number in range(50):
        world.join(f"p{number}")
    world.pass_time(1)
    watcher.read()
    quiet, loud = world.join("quiet"), world.join("loud")
    assert watcher.entries() == []
    loud.publish()
    assert [it.identity for it in watcher.entries()] == ["loud"]
    world.pass_time(1)
    assert [it.identity for it in watcher.entries()] == ["quiet"]
    assert "quiet" in [it.identity for it in loud.join.other_participants]
    assert [it.identity for it in quiet.entries()] != []


def test_large_rooms_show_an_old_session_leaving_before_the_new_one(world: World) -> None:
    watcher = world.join("watcher").connect()
    for number in range(51):
        world.join(f"p{number}")
    old = world.join("ada")
    world.pass_time(1)
    watcher.read()
    new = world.join("ada")
    late = world.join("late")
    new.publish()
    entries = [(it.sid, it.state) for it in watcher.entries() if it.identity == "ada"]
    assert entries == [(old.sid, State.DISCONNECTED), (new.sid, State.JOINED)]
    world.pass_time(2)
    # Whoever came after both knows the new one only: to it, the old leaving would be the new one's.
    assert new.sid in [it.sid for it in late.join.other_participants]
    assert old.sid not in [it.sid for update in late.all("update") for it in update.participants]


def test_long_updates_are_split(world: World) -> None:
    watcher = world.join("watcher").connect()
    for number in range(51):
        world.join(f"p{number}")
    world.pass_time(1)
    watcher.read()
    for number in range(20):
        world.join(f"big{number}", token={"metadata": "m" * 20_000})
    world.pass_time(1)
    updates = watcher.got("update")
    assert len(updates) > 1
    assert max(it.ByteSize() for it in updates) < 150_000
    assert sum(len(it.participants) for it in updates) == 20
