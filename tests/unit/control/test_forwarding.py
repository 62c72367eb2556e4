from __future__ import annotations

import pytest
from livekit.protocol import models, rtc
from livekit.protocol.room import (
    CreateRoomRequest,
    ForwardParticipantRequest,
    MoveParticipantRequest,
    MuteRoomTrackRequest,
    UpdateParticipantRequest,
)

from roomful.server.errors import FailedPrecondition
from roomful.server.media import Event

from .world import Client, World

State = models.ParticipantInfo.State


def forward(world: World, to: str = "next", identity: str = "ada") -> None:
    world.control.forward_participant(
        ForwardParticipantRequest(room="demo", identity=identity, destination_room=to)
    )


@pytest.fixture
def ada(world: World) -> Client:
    return world.join("ada", token={"metadata": "m"}).connect()


@pytest.fixture
def there(world: World, ada: Client) -> Client:
    """Somebody in the room that `ada` is forwarded to."""
    return world.join("there", room="next").connect()


def test_the_other_room_sees_an_image_with_the_tracks(world: World, ada: Client, there: Client) -> None:
    info = ada.publish()
    there.read()
    events: list[tuple[str, str]] = []
    world.control.observe(lambda event: events.append((event.name, event.room.name)))
    forward(world)
    entry = there.entries()[-1]
    assert (entry.identity, entry.metadata, entry.state) == ("ada", "m", State.ACTIVE)
    assert list(entry.kind_details) == [models.ParticipantInfo.KindDetail.FORWARDED]
    assert [it.sid for it in entry.tracks] == [info.sid]
    assert entry.sid != ada.sid
    assert events == [("participant_joined", "next"), ("track_published", "next")]
    (command,) = world.media.named("forward_track")
    assert (command["track"], command["sid"]) == (world.track(info.sid), entry.sid)
    forward(world)
    assert len(world.media.named("forward_track")) == 1


def test_it_follows_what_the_real_one_does(world: World, ada: Client, there: Client) -> None:
    forward(world)
    info = ada.publish()
    assert [it.sid for it in there.entries()[-1].tracks] == [info.sid]
    ada.send(mute=rtc.MuteTrackRequest(sid=info.sid, muted=True))
    assert there.entries()[-1].tracks[0].muted
    world.control.update_participant(UpdateParticipantRequest(room="demo", identity="ada", name="Ada"))
    assert there.entries()[-1].name == "Ada"
    number = world.media.named("forward_track")[0]["mirror"]
    world.events(Event.TrackEnded(world.track(info.sid)))
    assert list(there.entries()[-1].tracks) == []
    assert {"track": number} in world.media.named("remove_track")


def test_somebody_there_listening_is_told_to_the_real_publisher(
    world: World, ada: Client, there: Client
) -> None:
    info = ada.publish()
    forward(world)
    mirror = world.media.named("forward_track")[0]
    ada.read()
    world.events(Event.Subscribed(there.number, mirror["mirror"], "audio/opus"))
    assert [it.track_sid for it in ada.got("track_subscribed")] == [info.sid]
    there.read()
    world.events(
        Event.Speakers(mirror["room"], [(mirror["owner"], 0.5, True)]), Event.Quality(ada.number, 1, 3.0)
    )
    (speakers,) = there.all("speakers_changed")
    (quality,) = there.all("connection_quality")
    assert {speakers.speakers[0].sid, quality.updates[0].participant_sid} == {mirror["sid"]}


@pytest.mark.parametrize("how", ["leaves", "moves", "is removed there"])
def test_it_ends_with_the_real_one_or_by_removal(world: World, ada: Client, there: Client, how: str) -> None:
    ada.publish()
    forward(world)
    mirror = world.media.named("forward_track")[0]["mirror"]
    there.read()
    if how == "leaves":
        ada.send(leave=rtc.LeaveRequest())
    elif how == "moves":
        world.control.move_participant(
            MoveParticipantRequest(room="demo", identity="ada", destination_room="third")
        )
    else:
        world.control.remove_participant("next", "ada")
        assert [it.identity for it in world.control.list_participants("demo")] == ["ada"]
        forward(world)
        world.control.remove_participant("next", "ada")
    entries = there.entries()
    assert (entries[-1].identity, entries[-1].state) == ("ada", State.DISCONNECTED)
    assert {"track": mirror} in world.media.named("remove_track")
    assert [it.identity for it in world.control.list_participants("next")] == ["there"]


def test_the_publishers_limits_hold_there(world: World, ada: Client, there: Client) -> None:
    info = ada.publish()
    forward(world)
    mirror = world.media.named("forward_track")[0]["mirror"]
    permission = rtc.SubscriptionPermission(all_participants=False)
    ada.send(subscription_permission=permission)
    told = [it for it in world.media.named("set_subscription") if it["participant"] == there.number]
    assert [(it["track"], it["wish"]) for it in told] == [(mirror, "unsubscribed")]
    permission.track_permissions.add(participant_identity="there", track_sids=[info.sid])
    ada.send(subscription_permission=permission)
    assert world.media.named("set_subscription")[-1]["wish"] == "default"


def test_it_is_acted_on_in_its_own_room_only(world: World, ada: Client, there: Client) -> None:
    info = ada.publish()
    forward(world)
    with pytest.raises(FailedPrecondition, match='"demo"'):
        world.control.update_participant(UpdateParticipantRequest(room="next", identity="ada", name="x"))
    with pytest.raises(FailedPrecondition):
        world.control.mute_published_track(
            MuteRoomTrackRequest(room="next", identity="ada", track_sid=info.sid, muted=True)
        )
    assert world.control.get_participant("next", "ada").identity == "ada"
    stranger = world.join("ada", room="next", reconnect=True)
    assert stranger.kinds == ["leave"]
    assert world.control.get_participant("next", "ada").kind_details != []


def test_whoever_joins_with_the_identity_takes_its_place(world: World, ada: Client, there: Client) -> None:
    forward(world)
    world.join("ada", room="next").connect()
    assert list(world.control.get_participant("next", "ada").kind_details) == []
    with pytest.raises(FailedPrecondition, match="identity"):
        forward(world)
    ada.send(leave=rtc.LeaveRequest())
    assert {it.identity for it in world.control.list_participants("next")} == {"there", "ada"}


def test_rooms_on_different_workers_are_refused_and_fresh_ones_are_not(world: World) -> None:
    world.media.workers = 2
    numbers = {}
    for name in ("a", "b", "c", "d"):
        world.control.create_room(CreateRoomRequest(name=name))
        numbers[name] = world.media.named("open_room")[-1]["room"] % 2
    world.join("ada")
    own = world.media.named("open_room")[-1]["room"] % 2
    assert set(numbers.values()) == {0, 1}
    for name, worker in numbers.items():
        if worker == own:
            forward(world, name)
        else:
            with pytest.raises(FailedPrecondition, match=r"rtc\.udp_port"):
                forward(world, name)
    forward(world, "fresh")
    assert world.media.named("open_room")[-1]["room"] % 2 == own
