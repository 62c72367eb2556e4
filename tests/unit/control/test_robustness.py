"""No client message can raise out, whatever is missing from it and whenever it comes."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from roomful.server.media import Event

from .world import Client, World, config

REQUESTS = [field.name for field in rtc.SignalRequest.DESCRIPTOR.fields]
#: Handled without an answer when there is nothing in them to do.
SILENT_WHEN_EMPTY = {
    "offer",
    "answer",
    "trickle",
    "subscription",
    "track_setting",
    "subscription_permission",
    "sync_state",
    "update_data_subscription",
}


def empty(kind: str) -> rtc.SignalRequest:
    request = rtc.SignalRequest()
    field = rtc.SignalRequest.DESCRIPTOR.fields_by_name[kind]
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(request, kind).SetInParent()
    else:
        setattr(request, kind, 0)
    return request


def filled(message: Message, without: str | None = None, depth: int = 0) -> Message:
    """Every field set to something, sub-messages too, but for one."""
    for field in message.DESCRIPTOR.fields:
        if field.name == without or field.containing_oneof or depth > 3:
            continue
        value: Any = getattr(message, field.name)
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if field.message_type.GetOptions().map_entry:
                continue
            filled(value.add() if field.is_repeated else value, None, depth + 1)
            if not field.is_repeated:
                value.SetInParent()
        elif field.is_repeated:
            value.append("TR_x" if field.type == FieldDescriptor.TYPE_STRING else 1)
        elif field.type == FieldDescriptor.TYPE_STRING:
            setattr(message, field.name, "TR_x")
        elif field.type == FieldDescriptor.TYPE_BYTES:
            setattr(message, field.name, b"x")
        else:
            setattr(message, field.name, 1)
    return message


def in_state(world: World, state: str) -> Client:
    client = world.join("ada")
    if state != "joined":
        client.connect()
    if state == "publishing":
        client.publish()
    if state == "left":
        client.send(leave=rtc.LeaveRequest())
    if state == "lost":
        client.session.connection_lost()
    client.read()
    return client


@pytest.mark.parametrize("state", ["joined", "active", "publishing", "left", "lost"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_every_request_without_its_content(world: World, kind: str, state: str) -> None:
    client = in_state(world, state)
    client.session.receive(empty(kind))
    replies = client.read()
    if state in ("left", "lost"):
        assert client.closed
    elif kind not in SILENT_WHEN_EMPTY:
        assert replies or client.closed
    failed = [it for it in replies if it.request_response.reason == rtc.RequestResponse.UNCLASSIFIED_ERROR]
    assert failed == []


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_request_with_each_field_left_out(kind: str) -> None:
    field = rtc.SignalRequest.DESCRIPTOR.fields_by_name[kind]
    if field.type != FieldDescriptor.TYPE_MESSAGE:
        return
    for missing in (None, *(it.name for it in field.message_type.fields)):
        world = World(config())
        client = in_state(world, "publishing")
        request = rtc.SignalRequest()
        getattr(request, kind).SetInParent()
        filled(getattr(request, kind), missing)
        client.session.receive(request)
        reasons = [it.reason for it in client.got("request_response")]
        assert rtc.RequestResponse.UNCLASSIFIED_ERROR not in reasons


def test_an_unknown_request_is_refused(world: World) -> None:
    client = in_state(world, "active")
    client.session.receive(rtc.SignalRequest())
    client.session.receive(rtc.SignalRequest.FromString(b"\xfa\x3f\x01x"))
    assert [it.reason for it in client.got("request_response")] == [rtc.RequestResponse.INVALID_REQUEST] * 2


def test_old_rust_clients_get_no_request_response(world: World) -> None:
    info = models.ClientInfo(sdk=models.ClientInfo.RUST, protocol=9)
    client = world.join("ada", client=info)
    client.session.receive(rtc.SignalRequest())
    assert client.all("request_response") == []


@pytest.mark.parametrize(
    "init",
    [
        r'{"candidate":"\ud800"}',
        "{",
        "[]",
        "1",
        '{"candidate":1}',
        '{"sdpMid":"0"}',
        "x" * 5000,
        "[" * 4000,
        "\x00",
    ],
)
def test_candidates_that_are_none_are_refused(world: World, init: str) -> None:
    client = in_state(world, "active")
    client.send(trickle=rtc.TrickleRequest(candidateInit=init))
    (response,) = client.got("request_response")
    assert response.reason == rtc.RequestResponse.INVALID_REQUEST
    assert response.HasField("trickle")
    assert world.media.named("remote_candidate") == []


def test_pings_are_answered_at_once_in_both_forms(world: World) -> None:
    client = in_state(world, "joined")
    client.send(ping=5)
    client.send(ping_req=rtc.Ping(timestamp=6))
    first, second = client.read()
    assert first.pong == ((1_700_000_000 + 100) * 1000)
    assert second.pong_resp.last_ping_timestamp == 6


def test_data_blobs_are_refused_with_their_request_id(world: World) -> None:
    client = in_state(world, "active")
    client.send(store_data_blob_request=rtc.StoreDataBlobRequest(request_id=4))
    client.send(get_data_blob_request=rtc.GetDataBlobRequest(request_id=5))
    assert [(it.request_id, it.reason) for it in client.got("request_response")] == [
        (4, rtc.RequestResponse.NOT_ALLOWED),
        (5, rtc.RequestResponse.NOT_ALLOWED),
    ]


def test_sync_state_applies_its_exceptions(world: World) -> None:
    bob = world.join("bob")
    sid = bob.publish("cam", type=models.TrackType.VIDEO).sid
    client = in_state(world, "active")
    client.send(
        sync_state=rtc.SyncState(
            subscription=rtc.UpdateSubscription(track_sids=[sid], subscribe=False), track_sids_disabled=[sid]
        )
    )
    assert world.media.named("set_subscription")[-1]["wish"] == "unsubscribed"
    assert world.media.named("set_track_settings")[-1]["disabled"]


def test_refusals_of_packets_are_told_at_most_once_a_second(world: World) -> None:
    client = in_state(world, "active")
    for _ in range(100):
        world.events(Event.Refused(client.number, "may not publish data"))
    assert [it.message for it in client.got("request_response")] == ["may not publish data"]
    world.pass_time(1.1)
    world.events(Event.Refused(client.number, "may not publish data"))
    assert len(client.got("request_response")) == 1


def test_events_of_what_is_gone_are_ignored(world: World) -> None:
    client = in_state(world, "publishing")
    before = len(world.media.commands)
    world.events(
        Event.Description(99, "publisher", "answer", "", 1, {}),
        Event.TrackBound(99, "0", "audio/opus", []),
        Event.TrackEnded(99),
        Event.Subscribed(client.number, 99, "audio/opus"),
        Event.Unsubscribed(99, 99),
        Event.SubscriptionFailed(99, 99, "codec_unsupported"),
        Event.Qualities(99, []),
        Event.Speakers(99, [(1, 1.0, True)]),
        Event.Quality(99, 9, 1.0),
        Event.Quality(client.number, 9, 1.0),
        Event.Liveness(99, False),
        Event.Overflow(99, ""),
        Event.Connection(99, "publisher", "failed", ""),
        Event.DataReady(99),
    )
    assert client.read() == []
    assert len(world.media.commands) == before


MANY = [f"TR_{number}" for number in range(10_001)]


@pytest.mark.parametrize(
    "request_",
    [
        {"subscription": rtc.UpdateSubscription(track_sids=MANY, subscribe=True)},
        {
            "subscription": rtc.UpdateSubscription(
                participant_tracks=[models.ParticipantTracks(track_sids=[sid]) for sid in MANY]
            )
        },
        {"track_setting": rtc.UpdateTrackSettings(track_sids=MANY)},
        {
            "subscription_permission": rtc.SubscriptionPermission(
                track_permissions=[rtc.TrackPermission(participant_sid="PA_x", track_sids=MANY)]
            )
        },
        {
            "update_data_subscription": rtc.UpdateDataSubscription(
                updates=[rtc.UpdateDataSubscription.Update(track_sid=sid) for sid in MANY]
            )
        },
        {"sync_state": rtc.SyncState(track_sids_disabled=MANY)},
        {"update_audio_track": rtc.UpdateLocalAudioTrack(features=[1] * len(MANY))},
    ],
)
def test_requests_that_list_too_much_are_refused_as_a_whole(world: World, request_: dict[str, Any]) -> None:
    client = in_state(world, "active")
    before = len(world.media.commands)
    client.send(**request_)
    (refusal,) = client.got("request_response")
    assert refusal.reason == rtc.RequestResponse.LIMIT_EXCEEDED
    assert refusal.message.endswith("lists more than 10000 things")
    assert len(world.media.commands) == before


def test_a_list_of_unknown_tracks_is_refused_once_and_for_its_rest(world: World) -> None:
    client = in_state(world, "active")
    client.send(subscription=rtc.UpdateSubscription(track_sids=MANY[:5_000], subscribe=True))
    (refusal,) = client.got("request_response")
    assert refusal.message == "at most 1000 tracks are waited for"


def test_a_join_with_tracks_without_end_announces_some(world: World) -> None:
    tracks = [rtc.AddTrackRequest(cid=str(number), type=models.TrackType.AUDIO) for number in range(5_000)]
    client = world.join("ada", add_track_requests=tracks)
    assert len(client.got("track_published")) == 256
    assert not client.closed


SHARED = World(config())


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.binary(max_size=60), max_size=5), st.sampled_from(REQUESTS))
def test_random_bytes_that_parse_do_no_harm(payloads: list[bytes], kind: str) -> None:
    client = SHARED.join("fuzz")
    field = rtc.SignalRequest.DESCRIPTOR.fields_by_name[kind]
    for payload in payloads:
        request = rtc.SignalRequest()
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            try:
                getattr(request, kind).ParseFromString(payload)
            except DecodeError:
                continue
            getattr(request, kind).SetInParent()
        client.session.receive(request)
    reasons = [it.reason for it in client.got("request_response")]
    assert rtc.RequestResponse.UNCLASSIFIED_ERROR not in reasons
