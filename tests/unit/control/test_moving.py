from __future__ import annotations

import pytest
from livekit.protocol import models, rtc
from livekit.protocol.room import CreateRoomRequest, MoveParticipantRequest

from roomful.auth import verify
from roomful.server.errors import ControlError, FailedPrecondition, ResourceExhausted, Unavailable
from roomful.server.media import Event

from .world import KEY, SECRET, WALL, Client, World, config

State = models.ParticipantInfo.State


def move(world: World, identity: str = "ada", to: str = "next", room: str = "demo") -> None:
    world.control.move_participant(MoveParticipantRequest(room=room, identity=identity, destination_room=to))


def moved(client: Client) -> rtc.RoomMovedResponse:
    (response,) = client.got("room_moved")
    assert isinstance(response, rtc.RoomMovedResponse)
    return response


def room_of(token: str) -> str:
    """Which room a token is for."""
    video = verify(token, {KEY: SECRET}, now=WALL).video
    assert video is not None
    return video.room


def test_the_client_is_told_first_and_gets_a_token_for_the_new_room(world: World) -> None:
    there = world.join("there", room="next").connect()
    ada = world.join("ada", token={"metadata": "m"}).connect()
    world.join("bob").connect()
    ada.read()
    move(world)
    messages = ada.read()
    assert [it.WhichOneof("message") for it in messages][:2] == ["room_moved", "refresh_token"]
    response = messages[0].room_moved
    assert (response.room.name, response.room.sid) == ("next", there.join.room.sid)
    assert [it.identity for it in response.other_participants] == ["there"]
    own = response.participant
    assert (own.identity, own.metadata, own.state) == ("ada", "m", State.ACTIVE)
    assert own.sid.startswith("PA_")
    assert own.sid != ada.sid
    for token in (response.token, messages[1].refresh_token):
        assert room_of(token) == "next"
    assert not ada.closed


def test_the_old_room_sees_it_leave_and_the_new_one_sees_it_join_with_its_tracks(world: World) -> None:
    bob, there = world.join("bob").connect(), world.join("there", room="next").connect()
    ada = world.join("ada").connect()
    info = ada.publish()
    world.subscribe(bob, info.sid)
    bob.read()
    there.read()
    ada.read()
    events: list[tuple[str, str]] = []
    world.control.observe(lambda event: events.append((event.name, event.room.name)))
    move(world)
    assert [(it.sid, it.state) for it in bob.entries()] == [(ada.sid, State.DISCONNECTED)]
    sid = moved(ada).participant.sid
    entry = there.entries()[-1]
    assert (entry.sid, entry.state, [it.sid for it in entry.tracks]) == (sid, State.ACTIVE, [info.sid])
    assert events == [
        ("track_unpublished", "demo"),
        ("participant_left", "demo"),
        ("participant_joined", "next"),
        ("track_published", "next"),
    ]
    assert world.media.named("move_participant") == [
        {"participant": ada.number, "room": world.media.named("add_participant")[1]["room"], "sid": sid}
    ]
    assert world.media.named("remove_participant") == []
    assert [it.identity for it in world.control.list_participants("demo")] == ["bob"]
    assert [it.identity for it in world.control.list_participants("next")] == ["there", "ada"]
    assert {it.name: (it.num_participants, it.num_publishers) for it in world.control.list_rooms()} == {
        "demo": (1, 0),
        "next": (2, 1),
    }


def test_what_the_media_plane_said_before_the_move_does_not_count_after_it(world: World) -> None:
    bob, ada = world.join("bob").connect(), world.join("ada").connect()
    info = ada.publish()
    number = world.track(info.sid)
    world.subscribe(bob, info.sid)
    move(world)
    world.events(Event.Subscribed(bob.number, number, "audio/opus"))
    bob.read()
    world.events(Event.Speakers(world.media.named("open_room")[0]["room"], [(ada.number, 0.5, True)]))
    assert bob.got("speakers_changed") == []
    there = world.join("there", room="next").connect()
    world.subscribe(there, info.sid)
    there.read()
    world.events(Event.Speakers(world.media.named("open_room")[1]["room"], [(ada.number, 0.5, True)]))
    assert len(there.got("speakers_changed")) == 1


def test_who_moved_publishes_mutes_leaves_and_resumes_there(world: World) -> None:
    there = world.join("there", room="next").connect()
    ada = world.join("ada").connect()
    info = ada.publish()
    move(world)
    sid = moved(ada).participant.sid
    there.read()
    ada.send(mute=rtc.MuteTrackRequest(sid=info.sid, muted=True))
    assert there.entries()[-1].tracks[0].muted
    camera = ada.publish("cam", type=models.TrackType.VIDEO)
    assert {it.sid for it in there.entries()[-1].tracks} == {info.sid, camera.sid}
    # Some clients name the sid of their join for ever.
    back = world.resume(ada, room="next")
    assert back.kinds[0] == "reconnect"
    back.send(leave=rtc.LeaveRequest())
    assert [(it.sid, it.state) for it in there.entries()] == [(sid, State.DISCONNECTED)]
    world.pass_time(30)
    assert [it.name for it in world.control.list_rooms()] == ["next"]


def test_whom_the_publisher_allowed_still_counts(world: World) -> None:
    there = world.join("there", room="next").connect()
    ada = world.join("ada").connect()
    ada.send(subscription_permission=rtc.SubscriptionPermission(all_participants=False))
    info = ada.publish()
    move(world)
    told = [it for it in world.media.named("set_subscription") if it["participant"] == there.number]
    assert [(it["track"], it["wish"]) for it in told] == [(world.track(info.sid), "unsubscribed")]
    assert [it.allowed for it in there.all("subscription_permission_update")] == [False]


def test_data_tracks_go_along(world: World) -> None:
    there = world.join("there", room="next", auto_subscribe_data_track=True).connect()
    bob = world.join("bob", auto_subscribe_data_track=True).connect()
    ada = world.join("ada").connect()
    ada.send(publish_data_track_request=rtc.PublishDataTrackRequest(pub_handle=3, name="d"))
    assert len(bob.got("data_track_subscriber_handles")) == 1
    move(world)
    assert [len(it.sub_handles) for it in bob.got("data_track_subscriber_handles")] == [0]
    (handles,) = there.all("data_track_subscriber_handles")
    (handle,) = handles.sub_handles.values()
    assert (handle.publisher_identity, handle.publisher_sid) == ("ada", moved(ada).participant.sid)


def test_whoever_has_the_identity_there_is_replaced(world: World) -> None:
    other = world.join("ada", room="next").connect()
    ada = world.join("ada").connect()
    move(world)
    assert [it.reason for it in other.all("leave")] == [models.DisconnectReason.DUPLICATE_IDENTITY]
    assert moved(ada).other_participants == []


@pytest.mark.parametrize(
    ("workers", "protocol", "kinds"),
    [(2, 17, ["room_moved", "refresh_token", "leave"]), (1, 15, ["refresh_token", "leave"])],
    ids=["on another media worker", "an old client"],
)
def test_who_cannot_follow_is_sent_to_the_new_room(
    world: World, workers: int, protocol: int, kinds: list[str]
) -> None:
    world.media.workers = workers
    for name in ("next", "demo"):
        world.control.create_room(CreateRoomRequest(name=name))
    first, second = (it["room"] for it in world.media.named("open_room"))
    assert first % 2 != second % 2
    ada = world.join("ada", protocol=protocol).connect()
    ada.read()
    move(world)
    messages = ada.read()
    assert [it.WhichOneof("message") for it in messages if it.WhichOneof("message") != "room_update"] == kinds
    token = next(it.refresh_token for it in messages if it.HasField("refresh_token"))
    assert room_of(token) == "next"
    assert messages[-1].leave.action == rtc.LeaveRequest.RECONNECT
    assert ada.closed
    assert world.control.list_participants("demo") == []


def test_a_room_made_by_a_move_is_on_the_same_worker(world: World) -> None:
    world.media.workers = 7
    ada = world.join("ada").connect()
    move(world)
    first, second = (it["room"] for it in world.media.named("open_room"))
    assert first % 7 == second % 7
    assert moved(ada).room.name == "next"


def test_refusals() -> None:
    world = World(config(room={"max_participants": 1}))
    ada = world.join("ada").connect()
    world.join("agent", token={"kind": "agent"}).connect()
    world.join("there", room="next").connect()

    def refused(identity: str = "ada", to: str = "next", room: str = "demo") -> ControlError:
        with pytest.raises(ControlError) as error:
            move(world, identity, to, room)
        return error.value

    assert refused(to="demo").code == "invalid_argument"
    assert refused(to="r" * 257).code == "invalid_argument"
    assert refused("nobody").code == "not_found"
    assert refused(room="nowhere").code == "not_found"
    assert isinstance(refused("agent", "third"), FailedPrecondition)
    assert isinstance(refused(), ResourceExhausted)
    ada.session.connection_lost()
    assert isinstance(refused(to="third"), Unavailable)
    assert [it.name for it in world.control.list_rooms()] == ["demo", "next"]


def test_a_client_that_did_not_hear_of_its_move_is_told_when_it_resumes(world: World) -> None:
    world.join("there", room="next").connect()
    ada = world.join("ada").connect()
    move(world)
    back = world.resume(ada)
    assert back.kinds[:2] == ["reconnect", "room_moved"]
    (response,) = back.all("room_moved")
    assert (response.room.name, [it.identity for it in response.other_participants]) == ("next", ["there"])
    assert {room_of(it) for it in back.all("refresh_token")} == {"next"}
    stranger = world.join("bob", reconnect=True, participant_sid=ada.sid)
    assert stranger.kinds == ["leave"]


def test_a_token_for_a_third_room_resumes_nobody_who_has_moved(world: World) -> None:
    ada = world.join("ada").connect()
    move(world)
    stranger = world.join("ada", room="third", reconnect=True, participant_sid=ada.sid)
    assert stranger.kinds == ["leave"]
    assert not ada.closed
