from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from roomful.server.media import Event
from roomful.server.node import RoomEvent

from .world import Client, World

Gone = models.DisconnectReason
State = models.ParticipantInfo.State
Action = rtc.LeaveRequest


def departures(client: Client) -> list[tuple[str, int]]:
    return [(it.identity, it.disconnect_reason) for it in client.entries() if it.state == State.DISCONNECTED]


@pytest.fixture
def observer(world: World) -> Client:
    client = world.join("eve").connect()
    client.read()
    return client


def keep_pinging(world: World, client: Client, seconds: int) -> None:
    for _ in range(seconds // 5):
        world.pass_time(5)
        client.send(ping_req=rtc.Ping(timestamp=1))


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (Gone.UNKNOWN_REASON, Gone.CLIENT_INITIATED),
        (Gone.ROOM_DELETED, Gone.CLIENT_INITIATED),
        (Gone.USER_UNAVAILABLE, Gone.USER_UNAVAILABLE),
        (Gone.USER_REJECTED, Gone.USER_REJECTED),
        (Gone.AGENT_ERROR, Gone.AGENT_ERROR),
    ],
)
def test_leave_closes_at_once_and_keeps_some_reasons(
    world: World, observer: Client, said: int, seen: int
) -> None:
    ada = world.join("ada")
    ada.send(leave=rtc.LeaveRequest(reason=said))  # type: ignore[arg-type]
    assert ada.closed
    assert ada.all("leave") == []
    assert departures(observer) == [("ada", seen)]
    assert world.media.named("remove_participant") == [{"participant": ada.number}]
    ada.send(add_track=rtc.AddTrackRequest(cid="late"))
    ada.session.connection_lost()
    assert world.media.named("expect_track") == []


def test_removal_and_deletion_say_their_reason(world: World, observer: Client) -> None:
    ada = world.join("ada")
    world.control.remove_participant("demo", "ada")
    assert [it.reason for it in ada.all("leave")] == [Gone.PARTICIPANT_REMOVED]
    assert departures(observer) == [("ada", Gone.PARTICIPANT_REMOVED)]
    world.control.delete_room("demo")
    assert [it.reason for it in observer.got("leave")] == [Gone.ROOM_DELETED]
    assert observer.closed
    assert world.control.list_rooms() == []
    assert len(world.media.named("close_room")) == 1


def test_shutdown_tells_everybody_and_leaves_nothing(world: World) -> None:
    clients = [world.join("ada"), world.join("bob", room="other")]
    clients[0].publish()
    world.control.shutdown()
    for client in clients:
        (leave,) = client.got("leave")
        assert (leave.reason, leave.action) == (Gone.SERVER_SHUTDOWN, Action.DISCONNECT)
        assert client.closed
    assert world.control.next_deadline() is None
    assert len(world.media.named("close_room")) == 2


def test_a_socket_lost_before_media_ends_the_session(world: World, observer: Client) -> None:
    ada = world.join("ada")
    ada.session.connection_lost()
    assert departures(observer) == [("ada", Gone.SIGNAL_CLOSE)]


def test_a_lost_socket_alone_removes_nobody_with_media(world: World, observer: Client) -> None:
    world.join("ada").connect().session.connection_lost()
    keep_pinging(world, observer, 600)
    assert departures(observer) == []


def test_gone_15_seconds_after_the_last_sign_of_life(world: World, observer: Client) -> None:
    ada = world.join("ada").connect()
    ada.session.connection_lost()
    keep_pinging(world, observer, 100)
    # The media plane says it 15 s after the last packet: nothing else is left to wait for.
    world.events(Event.Liveness(ada.number, False))
    world.pass_time(0.1)
    assert departures(observer) == [("ada", Gone.CONNECTION_TIMEOUT)]


def test_signal_frames_are_a_sign_of_life(world: World, observer: Client) -> None:
    ada = world.join("ada").connect()
    observer.send(ping=1)
    world.events(Event.Liveness(ada.number, False))
    ada.send(ping=1)
    world.pass_time(14.9)
    assert departures(observer) == []
    world.pass_time(0.2)
    assert departures(observer) == [("ada", Gone.CONNECTION_TIMEOUT)]


def test_media_that_comes_back_is_one_too(world: World, observer: Client) -> None:
    ada = world.join("ada").connect()
    ada.send(ping=1)
    world.events(Event.Liveness(ada.number, False))
    world.pass_time(10)
    world.events(Event.Liveness(ada.number, True))
    world.pass_time(100)
    assert departures(observer) == []


def test_never_active_is_a_join_failure_after_a_minute(world: World, observer: Client) -> None:
    ada = world.join("ada")
    keep_pinging(world, ada, 55)
    assert departures(observer) == []
    keep_pinging(world, ada, 5)
    assert [it.reason for it in ada.all("leave")] == [Gone.JOIN_FAILURE]
    assert departures(observer) == [("ada", Gone.JOIN_FAILURE)]


def test_a_transport_that_never_came_up_asks_for_a_full_reconnect(world: World, observer: Client) -> None:
    ada = world.join("ada")
    world.events(Event.Connection(ada.number, "subscriber", "failed", "no consent"))
    (leave,) = ada.got("leave")
    assert (leave.reason, leave.action) == (Gone.CONNECTION_TIMEOUT, Action.RECONNECT)
    assert departures(observer) == [("ada", Gone.CONNECTION_TIMEOUT)]


def test_a_closed_connection_and_socket_are_a_leave(world: World, observer: Client) -> None:
    ada, bob = world.join("ada").connect(), world.join("bob").connect()
    world.events(Event.Connection(ada.number, "subscriber", "closed", ""))
    assert departures(observer) == []
    ada.session.connection_lost()
    bob.session.connection_lost()
    world.events(Event.Connection(bob.number, "subscriber", "closed", ""))
    assert departures(observer) == [("ada", Gone.CLIENT_INITIATED), ("bob", Gone.CLIENT_INITIATED)]


@pytest.mark.parametrize("event", [Event.Overflow, Event.Fault])
def test_media_trouble_ends_that_client_alone(
    world: World, observer: Client, event: type[Event.Overflow | Event.Fault]
) -> None:
    ada = world.join("ada").connect()
    world.events(event(ada.number, "why"))
    assert [it.action for it in ada.got("leave")] == [Action.RECONNECT]
    assert departures(observer) == [("ada", Gone.STATE_MISMATCH)]
    assert not observer.closed


def test_a_client_that_never_reads_goes_alone(world: World, observer: Client) -> None:
    deaf = world.join("deaf", grant={"can_update_own_metadata": True}).connect()
    deaf.read()
    metadata = "x" * 400_000
    for number in range(40):
        world.control.update_room_metadata("demo", f"{number}{metadata}")
        observer.read()
    assert deaf.closed
    assert deaf.session.outbox.drain() == []
    world.pass_time(0)
    assert departures(observer) == [("deaf", Gone.SIGNAL_CLOSE)]
    assert not observer.closed


def test_a_malformed_frame_ends_that_session(world: World, observer: Client) -> None:
    ada = world.join("ada")
    ada.session.malformed("not a SignalRequest")
    assert [it.message for it in ada.all("request_response")] == ["not a SignalRequest"]
    assert [it.reason for it in ada.all("leave")] == [Gone.STATE_MISMATCH]
    assert departures(observer) == [("ada", Gone.STATE_MISMATCH)]


def test_simulated_ends(world: World, observer: Client) -> None:
    def simulate(identity: str, **scenario: object) -> Client:
        client = world.join(identity).connect()
        client.send(simulate=rtc.SimulateScenario(**scenario))  # type: ignore[arg-type]
        return client

    failed, migrated = simulate("node", node_failure=True), simulate("migrate", migration=True)
    left, reconnects = (
        simulate("server", server_leave=True),
        simulate("full", leave_request_full_reconnect=True),
    )
    assert failed.closed
    assert failed.all("leave") == migrated.all("leave") == []
    assert [(it.reason, it.action) for it in left.all("leave")] == [(Gone.SERVER_SHUTDOWN, Action.DISCONNECT)]
    assert [it.action for it in reconnects.all("leave")] == [Action.RECONNECT]
    assert [reason for _, reason in departures(observer)] == [
        Gone.SERVER_SHUTDOWN,
        Gone.MIGRATION,
        Gone.SERVER_SHUTDOWN,
        Gone.STATE_MISMATCH,
    ]


def test_simulated_speaker_and_unknown_scenarios(world: World) -> None:
    ada = world.join("ada").connect()
    ada.send(simulate=rtc.SimulateScenario(speaker_update=3))
    ada.read()
    world.pass_time(3)
    (changed,) = ada.got("speakers_changed")
    assert changed.speakers[0].sid == ada.sid
    ada.send(simulate=rtc.SimulateScenario(subscriber_bandwidth=1))
    ada.send(simulate=rtc.SimulateScenario())
    assert len(ada.got("request_response")) == 2
    ada.send(simulate=rtc.SimulateScenario(switch_candidate_protocol=rtc.CandidateProtocol.UDP))
    assert world.media.named("restart_ice") == [{"participant": ada.number, "target": "subscriber"}]


def test_room_events_are_numbered_and_in_order(world: World) -> None:
    events: list[RoomEvent] = []
    world.control.observe(events.append)
    ada = world.join("ada").connect()
    ada.publish()
    ada.send(leave=rtc.LeaveRequest())
    world.join("never").session.connection_lost()
    world.pass_time(20)
    assert [event.name for event in events] == [
        "room_started",
        "participant_joined",
        "track_published",
        "track_unpublished",
        "participant_left",
        "participant_connection_aborted",
        "room_finished",
    ]
    assert [event.number for event in events] == list(range(1, 8))
    assert [event.room.num_participants for event in events] == [0, 1, 1, 0, 0, 0, 0]
    left = events[4].participant
    assert left is not None
    assert left.disconnect_reason == Gone.CLIENT_INITIATED


def test_an_observer_that_fails_harms_nobody(world: World) -> None:
    def fail(event: RoomEvent) -> None:
        raise RuntimeError(event.name)

    world.control.observe(fail)
    assert world.join("ada").join.participant.identity == "ada"


def test_lists_agree_with_events(world: World) -> None:
    def check(event: RoomEvent) -> None:
        (room,) = world.control.list_rooms() or [event.room]
        assert room.num_participants == len(world.control.list_participants("demo"))
        assert event.room.num_participants == room.num_participants
        checked.append(event.name)

    checked: list[str] = []
    world.control.observe(check)
    for _ in range(20):
        ada, bob = world.join("ada").connect(), world.join("bob").connect()
        ada.send(leave=rtc.LeaveRequest())
        bob.send(leave=rtc.LeaveRequest())
    assert checked.count("participant_left") == 40
