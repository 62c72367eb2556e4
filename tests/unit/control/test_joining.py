from __future__ import annotations

import base64
import hmac
import ipaddress
import re

import jwt
import pytest
from livekit.protocol import models, rtc
from livekit.protocol.room import RoomConfiguration

from roomful import auth
from roomful.server.join import Refusal

from .world import KEY, SECRET, WALL, World, config

State = models.ParticipantInfo.State


def test_join_is_the_first_message_and_complete(world: World) -> None:
    other = world.join("bob", token={"name": "Bob"})
    other.publish()
    client = world.join("ada", token={"metadata": "m", "attributes": {"a": "1"}})
    join = client.join
    assert client.kinds[0] == "join"
    assert join.room.sid.startswith("RM_")
    assert (join.room.name, join.room.num_participants) == ("demo", 2)
    assert join.participant.sid.startswith("PA_")
    assert (join.participant.identity, join.participant.state) == ("ada", State.JOINED)
    assert (join.participant.metadata, dict(join.participant.attributes)) == ("m", {"a": "1"})
    assert join.participant.version > 0
    assert join.participant.joined_at == int(WALL + 100)
    assert join.participant.permission.can_publish
    assert [it.identity for it in join.other_participants] == ["bob"]
    assert [track.source for track in join.other_participants[0].tracks] == [models.TrackSource.MICROPHONE]
    assert (join.ping_interval, join.ping_timeout) == (3, 13)
    assert (join.server_info.protocol, join.server_info.agent_protocol) == (17, 1)
    assert join.server_info.version == join.server_version
    assert join.server_info.node_id.startswith("ND_")
    assert len(join.sif_trailer) == 16
    assert join.sif_trailer == other.join.sif_trailer
    assert join.fast_publish
    assert [it.mime for it in join.enabled_publish_codecs][:2] == ["video/VP8", "video/H264"]
    assert not any("rtx" in it.mime for it in join.enabled_publish_codecs)
    assert list(join.ice_servers) == []


def test_the_media_plane_is_told_after_the_room_knows(world: World) -> None:
    world.join("ada", adaptive_stream=True, signal_address="10.0.0.1")
    names = [name for name, _ in world.media.commands]
    assert names == ["open_room", "add_participant"]
    added = world.media.named("add_participant")[0]
    assert (added["mode"], added["subscriber_primary"], added["sdk"]) == ("dual", True, "js")
    assert (added["adaptive_stream"], added["extra_address"]) == (True, "10.0.0.1")


def test_single_mode_has_no_primary_subscriber(world: World) -> None:
    client = world.join("ada", single_peer_connection=True)
    assert not client.join.subscriber_primary
    assert world.media.named("add_participant")[0]["mode"] == "single"


def test_old_protocols_and_those_who_may_not_subscribe_publish_on_the_primary(world: World) -> None:
    assert not world.join("old", protocol=2).join.subscriber_primary
    assert not world.join("speaker", grant={"can_subscribe": False}).join.subscriber_primary


def test_tracks_and_offer_in_the_join_are_handled_after_it(world: World) -> None:
    client = world.join(
        "ada",
        single_peer_connection=True,
        add_track_requests=[rtc.AddTrackRequest(cid="mic", source=models.TrackSource.MICROPHONE)],
        publisher_offer=rtc.SessionDescription(type="offer", sdp="v=0", id=3),
    )
    assert client.kinds == ["join", "track_published", "refresh_token"]
    names = [name for name, _ in world.media.commands]
    assert names == ["open_room", "add_participant", "expect_track", "remote_description"]
    assert world.media.named("remote_description")[0]["id"] == 3


def test_others_see_a_newcomer_at_once(world: World) -> None:
    first = world.join("ada")
    first.read()
    second = world.join("bob")
    (entry,) = first.entries()
    assert (entry.sid, entry.state) == (second.sid, State.JOINED)


def test_active_is_told_to_all_and_oneself(world: World) -> None:
    first, second = world.join("ada").connect(), world.join("bob")
    before = second.join.participant.version
    first.read()
    second.connect()
    for client in (first, second):
        entry = client.entries()[-1]
        assert (entry.sid, entry.state) == (second.sid, State.ACTIVE)
        assert entry.version > before


@pytest.mark.parametrize(
    ("grant", "identity", "room", "status", "text"),
    [
        ({"room_join": False}, "ada", "demo", 401, "permissions denied"),
        ({}, "", "demo", 400, "identity cannot be empty"),
        ({}, "ada", "", 400, "no room name"),
        ({}, "a" * 257, "demo", 400, "identity length exceeds limits: max length 256"),
        ({}, "ada", "r" * 257, 400, "room name length exceeds limits: max length 256"),
    ],
)
def test_refusals(
    world: World, grant: dict[str, bool], identity: str, room: str, status: int, text: str
) -> None:
    params = world.params(identity, room=room, grant=grant)
    for attempt in (world.control.check_join, world.control.join):
        with pytest.raises(Refusal) as refused:
            attempt(params)
        assert (refused.value.status, refused.value.text) == (status, text)
    assert world.media.commands == []


def test_no_video_grant_is_refused(world: World) -> None:
    with pytest.raises(Refusal, match="permissions denied"):
        world.control.join(world.params(claims=auth.Claims(identity="ada")))


def test_join_metadata_needs_the_right_to_change_it(world: World) -> None:
    with pytest.raises(Refusal) as refused:
        world.join("ada", metadata="mine")
    assert refused.value.status == 401
    client = world.join(
        "ada",
        grant={"can_update_own_metadata": True},
        token={"metadata": "theirs", "attributes": {"a": "1", "b": "2"}},
        metadata="mine",
        attributes={"a": "3", "b": "", "c": "4"},
    )
    participant = client.join.participant
    assert participant.metadata == "mine"
    assert dict(participant.attributes) == {"a": "3", "b": "2", "c": "4"}


def test_metadata_of_300_kb_is_fine_and_over_the_limit_is_not(world: World) -> None:
    assert len(world.join("ada", token={"metadata": "x" * 300_000}).join.participant.metadata) == 300_000
    with pytest.raises(Refusal) as refused:
        world.join("bob", token={"metadata": "x" * 600_000})
    assert refused.value.status == 400


def test_absent_room_without_auto_create_is_404() -> None:
    world = World(config(room={"auto_create": False}))
    with pytest.raises(Refusal) as refused:
        world.join("ada")
    assert (refused.value.status, refused.value.text) == (404, "requested room does not exist")
    world.join("ada", grant={"room_create": True})
    world.join("bob")


def test_full_room_names_itself_and_its_limit() -> None:
    world = World(config(room={"max_participants": 2}))
    world.join("ada")
    world.join("bob")
    for attempt in (world.control.check_join, world.control.join):
        with pytest.raises(Refusal) as refused:
            attempt(world.params("eve"))
        assert (refused.value.status, refused.value.text) == (
            403,
            'room "demo" is full: max_participants 2',
        )
    world.join("agent", token={"kind": "agent"})
    world.join("recorder", grant={"recorder": True})
    # Coming back replaces the own session.
    world.join("bob")


def test_node_over_its_tracks_is_503_with_the_limit() -> None:
    world = World(config(limit={"num_tracks": 2}))
    ada, bob = world.join("ada"), world.join("bob")
    info = ada.publish()
    world.subscribe(bob, info.sid)
    with pytest.raises(Refusal) as refused:
        world.control.check_join(world.params("eve"))
    assert (refused.value.status, refused.value.text) == (503, "node is at its limit: limit.num_tracks 2")
    world.events()
    ada.send(leave=rtc.LeaveRequest())
    world.join("eve")


def test_room_settings_take_token_over_preset_over_defaults() -> None:
    world = World(
        config(
            room={
                "max_participants": 9,
                "room_configurations": {
                    "big": {"empty_timeout": 77, "departure_timeout": 66, "metadata": "p"}
                },
            }
        )
    )
    room = world.join(
        "ada",
        token={
            "room_preset": "big",
            "room_config": RoomConfiguration(departure_timeout=5, metadata="t"),
        },
    ).join.room
    assert (room.empty_timeout, room.departure_timeout) == (77, 5)
    assert (room.max_participants, room.metadata) == (9, "t")
    later = world.join("bob", token={"room_config": RoomConfiguration(departure_timeout=1)}).join.room
    assert later.departure_timeout == 5


def test_unknown_preset_is_refused_only_when_it_would_make_the_room(world: World) -> None:
    with pytest.raises(Refusal) as refused:
        world.join("ada", token={"room_preset": "nope"})
    assert refused.value.status == 400
    world.join("bob")
    world.join("ada", token={"room_preset": "nope"})


def test_resuming_what_is_gone_is_answered_with_a_leave_to_reconnect(world: World) -> None:
    client = world.join("ada", reconnect=True, participant_sid="PA_x")
    (leave,) = client.all("leave")
    assert client.kinds == ["leave"]
    assert client.closed
    assert leave.reason == models.DisconnectReason.STATE_MISMATCH
    assert leave.action == rtc.LeaveRequest.RECONNECT
    assert world.media.commands == []
    client.send(offer=rtc.SessionDescription(sdp="v=0"))
    client.session.malformed("x")
    client.session.connection_lost()
    assert world.media.commands == []


def test_leave_of_old_protocols_has_no_action(world: World) -> None:
    (leave,) = world.join("ada", reconnect=True, protocol=12).all("leave")
    assert (leave.can_reconnect, leave.action) == (True, rtc.LeaveRequest.DISCONNECT)


def test_duplicate_identity_old_session_leaves_before_the_new_one_joins(world: World) -> None:
    observer, old = world.join("eve"), world.join("ada")
    observer.read()
    new = world.join("ada")
    (leave,) = old.all("leave")
    assert (leave.reason, leave.action) == (
        models.DisconnectReason.DUPLICATE_IDENTITY,
        rtc.LeaveRequest.DISCONNECT,
    )
    assert old.closed
    assert [(it.sid, it.state) for it in observer.entries()] == [
        (old.sid, State.DISCONNECTED),
        (new.sid, State.JOINED),
    ]
    assert [it.identity for it in new.join.other_participants] == ["eve"]
    assert [it.sid for it in world.control.list_participants("demo")] == [observer.sid, new.sid]
    # The old socket's late end concerns nobody.
    old.session.connection_lost()
    assert len(world.control.list_participants("demo")) == 2


#: RFC 7064 §3.1 and RFC 7065 §3.1, with a literal IPv6 address only in brackets (RFC 3986 §3.2.2).
_ICE_URL = re.compile(
    r"(?:stuns?|(turns?)):(?P<host>\[[0-9a-f:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>\d{1,5}))?(?(1)\?transport=(?:udp|tcp)|)"
)


def test_configured_turn_and_stun_servers_reach_the_client() -> None:
    world = World(
        config(
            rtc={
                "stun_servers": ["stun.example.org:3478", "stun:[2001:db8::8]:3478"],
                "turn_servers": [
                    {"host": "2001:db8::7", "port": 443, "protocol": "tls", "secret": "s"},
                    {"host": "turn.example.org", "username": "u", "credential": "c"},
                    {"host": "[2001:db8::7]", "protocol": "udp"},
                ],
            }
        )
    )
    turn, static, bracketed, stun = world.join("ada").join.ice_servers
    assert turn.urls == ["turns:[2001:db8::7]:443?transport=tcp"]
    # What coturn computes with `use-auth-secret`.
    bob = world.join("bob").join
    expected = hmac.new(b"s", bob.ice_servers[0].username.encode(), "sha1").digest()
    assert bob.ice_servers[0].username == f"{int(WALL + 100 + 14400)}:{bob.participant.sid}"
    assert bob.ice_servers[0].credential == base64.b64encode(expected).decode()
    assert static.urls == ["turn:turn.example.org:3478?transport=tcp"]
    assert (static.username, static.credential) == ("u", "c")
    assert bracketed.urls == ["turn:[2001:db8::7]:3478?transport=udp"]
    assert stun.urls == ["stun:stun.example.org:3478", "stun:[2001:db8::8]:3478"]
    for url in (*turn.urls, *static.urls, *bracketed.urls, *stun.urls):
        parts = _ICE_URL.fullmatch(url)
        assert parts, url
        if parts["host"].startswith("["):
            ipaddress.IPv6Address(parts["host"][1:-1])


def test_browsers_and_devices_get_what_is_known_not_to_work(world: World) -> None:
    def client(browser: str, **fields: str) -> rtc.JoinResponse:
        info = models.ClientInfo(sdk=models.ClientInfo.JS, protocol=17, browser=browser, **fields)
        return world.join(browser + "".join(fields.values()), client=info).join

    safari = client("Safari", browser_version="18.4")
    assert [it.mime for it in safari.client_configuration.disabled_codecs.codecs] == ["video/AV1"]
    assert [it.mime for it in safari.client_configuration.disabled_codecs.publish] == ["video/VP9"]
    firefox = client("Firefox", os="Linux")
    assert "video/H264" not in [it.mime for it in firefox.enabled_publish_codecs]
    assert world.media.named("add_participant")[-1]["disabled_publish_codecs"] == ["video/h264"]
    for phone in (
        client("Firefox Mobile", os="Android"),
        client("", os="android", device_model="Xiaomi 2201117TI"),
    ):
        assert "video/H264" not in [it.mime for it in phone.enabled_publish_codecs]
    assert not client("", os="android", device_model="Pixel 9").HasField("client_configuration")
    assert not client("Chrome").HasField("client_configuration")


def test_refreshed_token_lives_on_with_what_is_true_now(world: World) -> None:
    client = world.join(
        "ada",
        grant={"can_update_own_metadata": True, "can_publish_sources": ("camera", "microphone")},
        token={"attributes": {"a": "1"}, "kind": "agent", "room_config": RoomConfiguration(metadata="r")},
    )
    assert client.kinds.index("refresh_token") > 0
    client.read()
    client.send(update_metadata=rtc.UpdateParticipantMetadata(attributes={"a": "2"}, name="Ada"))
    claims = auth.verify(client.got("refresh_token")[-1], {KEY: SECRET}, now=WALL + world.now)
    assert (claims.identity, claims.name, claims.attributes, claims.kind) == (
        "ada",
        "Ada",
        {"a": "2"},
        "agent",
    )
    assert claims.expires_at >= WALL + 6 * 3600
    assert claims.video is not None
    assert claims.video.room == "demo"
    assert claims.video.can_publish_sources == ("camera", "microphone")
    assert claims.room_config is not None
    assert claims.room_config.metadata == "r"


def test_tokens_come_every_five_minutes_and_live_ten(world: World) -> None:
    client = world.join("ada").connect()
    client.read()
    world.pass_time(299)
    assert client.got("refresh_token") == []
    world.pass_time(6 * 3600)
    tokens = client.got("refresh_token")
    assert len(tokens) == 6 * 3600 // 300
    last = auth.verify(tokens[-1], {KEY: SECRET}, now=WALL + world.now)
    assert last.expires_at >= WALL + world.now - 300 + 600 - 1


def test_a_field_from_the_future_in_the_room_configuration_is_no_obstacle(world: World) -> None:
    payload = {
        "iss": KEY,
        "sub": "ada",
        "exp": int(WALL) + 3600,
        "video": {"roomJoin": True, "room": "demo", "futureGrant": 1},
        "roomConfig": {
            "maxParticipants": 4,
            "agents": [{"agentName": "helper", "futureField": 1}],
            "futureField": {"a": 1},
        },
    }
    long = "s" * 32
    claims = auth.verify(jwt.encode(payload, long, algorithm="HS256"), {KEY: long}, now=WALL)
    assert world.join(claims=claims).join.room.max_participants == 4


def test_joins_over_the_rate_are_503_with_the_setting_and_by_address_alone() -> None:
    world = World(config(limit={"joins_per_sec_per_ip": 1}))

    def join(number: int, address: str) -> None:
        info = models.ClientInfo(sdk=models.ClientInfo.JS, protocol=17, address=address)
        world.join(f"{address} {number}", client=info)

    for number in range(10):
        join(number, "192.0.2.1")
    with pytest.raises(Refusal) as refused:
        join(10, "192.0.2.1")
    assert (refused.value.status, refused.value.text) == (
        503,
        "too many joins from one address: limit.joins_per_sec_per_ip 1",
    )
    join(0, "192.0.2.2")
    world.pass_time(1)
    join(11, "192.0.2.1")


def test_joins_over_the_rate_of_a_key_are_503_with_the_setting() -> None:
    world = World(config(limit={"joins_per_sec_per_key": 0.5}))
    for number in range(5):
        world.join(str(number))
    with pytest.raises(Refusal) as refused:
        world.control.check_join(world.params("late"))
    assert (refused.value.status, refused.value.text) == (
        503,
        "too many joins with one API key: limit.joins_per_sec_per_key 0.5",
    )
