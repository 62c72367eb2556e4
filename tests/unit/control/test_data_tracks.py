from __future__ import annotations

import pytest
from livekit.protocol import models, rtc
from livekit.protocol.room import UpdateParticipantRequest

from .world import Client, World, config

Reason = rtc.RequestResponse.Reason


def publish(client: Client, handle: int = 1, name: str = "position") -> models.DataTrackInfo:
    client.read()
    client.send(publish_data_track_request=rtc.PublishDataTrackRequest(pub_handle=handle, name=name))
    (response,) = client.got("publish_data_track_response")
    info: models.DataTrackInfo = response.info
    return info


def subscribe(client: Client, sid: str, wanted: bool = True) -> None:
    update = rtc.UpdateDataSubscription.Update(track_sid=sid, subscribe=wanted)
    client.send(update_data_subscription=rtc.UpdateDataSubscription(updates=[update]))


def handles(client: Client) -> dict[int, str]:
    received = client.got("data_track_subscriber_handles")
    return {handle: track.track_sid for handle, track in received[-1].sub_handles.items()}


def test_a_data_track_is_announced_and_subscribed_by_handle(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    bob.read()
    info = publish(ada)
    assert info.sid.startswith("DTR_")
    told = world.media.named("publish_data_track")[0]
    assert (told["participant"], told["publisher_handle"], told["sid"]) == (ada.number, 1, info.sid)
    (entry,) = bob.entries()
    assert [it.sid for it in entry.data_tracks] == [info.sid]
    subscribe(bob, info.sid)
    (received,) = bob.got("data_track_subscriber_handles")
    ((handle, track),) = received.sub_handles.items()
    assert (track.publisher_identity, track.publisher_sid, track.track_sid) == ("ada", ada.sid, info.sid)
    assert world.media.named("set_data_subscription") == [
        {"participant": bob.number, "track": world.track(info.sid), "handle": handle}
    ]
    subscribe(bob, info.sid, False)
    assert handles(bob) == {}
    assert world.media.named("set_data_subscription")[-1]["handle"] is None


def test_auto_subscription_is_by_the_subscribers_wish(world: World) -> None:
    ada = world.join("ada")
    first = publish(ada)
    bob = world.join("bob", auto_subscribe_data_track=True)
    eve = world.join("eve")
    second = publish(ada, 2, "other")
    assert set(handles(bob).values()) == {first.sid, second.sid}
    assert eve.got("data_track_subscriber_handles") == []


@pytest.mark.parametrize(
    ("handle", "name", "reason"),
    [
        (0, "x", Reason.INVALID_HANDLE),
        (65_536, "x", Reason.INVALID_HANDLE),
        (1, "", Reason.INVALID_NAME),
        (1, "n" * 257, Reason.INVALID_NAME),
        (7, "x", Reason.DUPLICATE_HANDLE),
        (1, "taken", Reason.DUPLICATE_NAME),
    ],
)
def test_refusals(world: World, handle: int, name: str, reason: int) -> None:
    ada = world.join("ada")
    publish(ada, 7, "taken")
    ada.send(publish_data_track_request=rtc.PublishDataTrackRequest(pub_handle=handle, name=name))
    (response,) = ada.got("request_response")
    assert response.reason == reason
    assert response.publish_data_track.pub_handle == handle


def test_without_the_right_or_the_feature_they_are_refused() -> None:
    world = World(config())
    ada = world.join("ada", grant={"can_publish_data": False})
    ada.read()
    request = rtc.PublishDataTrackRequest(pub_handle=1, name="x")
    ada.send(publish_data_track_request=request)
    assert ada.got("request_response")[0].reason == Reason.NOT_ALLOWED
    world = World(config(enable_data_tracks=False))
    ada = world.join("ada")
    ada.read()
    ada.send(publish_data_track_request=request)
    assert ada.got("request_response")[0].reason == Reason.NOT_ALLOWED


def test_unpublishing_ends_it_for_all(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    info = publish(ada)
    subscribe(bob, info.sid)
    bob.read()
    ada.send(unpublish_data_track_request=rtc.UnpublishDataTrackRequest(pub_handle=1))
    assert [it.info.sid for it in ada.got("unpublish_data_track_response")] == [info.sid]
    messages = bob.read()
    assert [it.WhichOneof("message") for it in messages][:2] == ["data_track_subscriber_handles", "update"]
    assert list(messages[1].update.participants[0].data_tracks) == []
    ada.send(unpublish_data_track_request=rtc.UnpublishDataTrackRequest(pub_handle=1))
    assert ada.got("request_response")[0].reason == Reason.NOT_FOUND
    publish(ada)


def test_losing_the_right_ends_them(world: World) -> None:
    ada = world.join("ada")
    info = publish(ada)
    permission = models.ParticipantPermission(can_publish=True, can_subscribe=True)
    request = UpdateParticipantRequest(room="demo", identity="ada", permission=permission)
    world.control.update_participant(request)
    assert [it.info.sid for it in ada.got("unpublish_data_track_response")] == [info.sid]
    assert list(world.control.get_participant("demo", "ada").data_tracks) == []


def test_track_permissions_hold_for_data_tracks(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    info = publish(ada)
    subscribe(bob, info.sid)
    bob.read()
    ada.send(subscription_permission=rtc.SubscriptionPermission())
    assert handles(bob) == {}
    subscribe(bob, info.sid)
    assert bob.got("request_response")[0].reason == Reason.NOT_ALLOWED
    ada.send(subscription_permission=rtc.SubscriptionPermission(all_participants=True))
    assert list(handles(bob).values()) == [info.sid]


def test_unknown_and_own_tracks_are_not_found(world: World) -> None:
    ada = world.join("ada")
    info = publish(ada)
    subscribe(ada, info.sid)
    subscribe(ada, "DTR_none")
    assert [it.reason for it in ada.got("request_response")] == [Reason.NOT_FOUND] * 2


def test_a_publisher_leaving_frees_the_handles(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    subscribe(bob, publish(ada).sid)
    bob.read()
    ada.send(leave=rtc.LeaveRequest())
    assert handles(bob) == {}
