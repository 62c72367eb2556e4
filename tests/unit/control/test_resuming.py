"""Coming back on another signalling connection: what is told again, and that nobody else sees it."""

from __future__ import annotations

import pytest
from livekit.protocol import models, rtc

from roomful.auth import verify
from roomful.server.liveness import RESUME_TIMEOUT, VANISHED_AFTER
from roomful.server.media import Event

from .world import KEY, SECRET, WALL, Client, World

Gone = models.DisconnectReason
Action = rtc.LeaveRequest.Action
State = models.ParticipantInfo.State


@pytest.fixture
def observer(world: World) -> Client:
    client = world.join("eve").connect()
    client.read()
    return client


@pytest.fixture
def ada(world: World, observer: Client) -> Client:
    client = world.join("ada").connect()
    client.read()
    observer.read()
    return client


def states(client: Client) -> list[tuple[str, int]]:
    return [(info.identity, info.state) for info in client.entries()]


def test_the_messages_come_in_the_order_that_clients_expect(world: World, ada: Client) -> None:
    ada.session.connection_lost()
    back = world.resume(ada, last_sequence=42)
    assert back.kinds == ["reconnect", "update", "room_update", "refresh_token"]
    (reconnect,) = back.all("reconnect")
    assert reconnect.last_message_seq == 42
    assert reconnect.server_info.node_id
    (update,) = back.all("update")
    assert [(info.identity, info.sid) for info in update.participants][-1] == ("ada", ada.sid)


def test_nobody_else_sees_anything(world: World, ada: Client, observer: Client) -> None:
    ada.session.connection_lost()
    world.pass_time(10)
    world.resume(ada)
    world.pass_time(60)
    assert states(observer) == []


def test_who_changes_its_address_and_notices_by_its_pings_never_left(
    world: World, ada: Client, observer: Client
) -> None:
    """It closes nothing: its old socket and its media just fall silent, at once."""
    world.pass_time(20)
    ada.send(ping=1)
    lost = world.now
    until_noticed = ada.join.ping_timeout
    world.pass_time(until_noticed)
    assert world.now < lost + VANISHED_AFTER - 1, "no time to connect again"
    world.pass_time(1.5)
    world.events(Event.Liveness(ada.number, False))
    back = world.resume(ada)
    assert "reconnect" in back.kinds
    world.events(Event.Liveness(ada.number, True))
    world.pass_time(60)
    assert states(observer) == []


def test_nothing_comes_before_the_media_plane_has_answered(world: World, ada: Client) -> None:
    session = world.control.join(world.params("ada", reconnect=True, participant_sid=ada.sid))
    world.join("bob")
    assert session.outbox.drain() == []
    assert world.media.named("resume") == [{"participant": ada.number}]


def test_the_old_connection_ends_even_if_it_never_noticed(world: World, ada: Client) -> None:
    back = world.resume(ada)
    assert ada.closed
    assert ada.all("leave") == []
    ada.session.connection_lost()
    assert not back.closed
    back.read()
    back.send(ping=1)
    assert back.got("pong")


def test_no_sid_resumes_by_identity_and_a_stale_one_does_not(world: World, ada: Client) -> None:
    assert "reconnect" in world.resume(ada, participant_sid="").kinds
    stale = world.join("ada", reconnect=True, participant_sid="PA_other")
    (leave,) = stale.all("leave")
    assert (leave.reason, leave.action) == (Gone.STATE_MISMATCH, Action.RECONNECT)


def test_who_left_meanwhile_is_named_before_who_is_there(world: World, ada: Client) -> None:
    bob, cy = world.join("bob").connect(), world.join("cy").connect()
    ada.read()
    ada.send(ping=1)
    ada.session.connection_lost()
    bob.send(leave=rtc.LeaveRequest())
    cy.send(leave=rtc.LeaveRequest())
    world.join("cy").connect()
    world.pass_time(30)
    entries = states(world.resume(ada))
    assert entries == [
        ("bob", State.DISCONNECTED),
        ("eve", State.ACTIVE),
        ("cy", State.ACTIVE),
        ("ada", State.ACTIVE),
    ]


def test_departures_are_remembered_for_one_who_is_away_long(world: World, ada: Client) -> None:
    world.join("bob").connect().send(leave=rtc.LeaveRequest())
    ada.send(ping=1)
    ada.session.connection_lost()
    world.join("cy").connect().send(leave=rtc.LeaveRequest())
    world.pass_time(300)
    for number in range(150):
        world.join(f"passer-by {number}").send(leave=rtc.LeaveRequest())
    gone = [identity for identity, state in states(world.resume(ada)) if state == State.DISCONNECTED]
    assert "cy" in gone
    assert "passer-by 149" in gone


def test_more_departures_than_are_kept_need_a_full_reconnect(
    world: World, ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomful.server.announcements.FEW_DEPARTURES", 5)
    monkeypatch.setattr("roomful.server.announcements.MOST_DEPARTURES", 5)
    ada.send(ping=1)
    ada.session.connection_lost()
    world.pass_time(10)
    for number in range(6):
        world.join(f"passer-by {number}").send(leave=rtc.LeaveRequest())
    refused = world.join("ada", reconnect=True, participant_sid=ada.sid)
    assert [it.action for it in refused.all("leave")] == [Action.RECONNECT]


def test_a_hidden_one_is_not_told_of_itself(world: World, observer: Client) -> None:
    ghost = world.join("ghost", grant={"hidden": True}).connect()
    back = world.resume(ghost, grant={"hidden": True})
    assert [identity for identity, _ in states(back)] == ["eve"]


def test_two_connections_are_offered_a_restart_and_one_is_not(world: World, ada: Client) -> None:
    world.resume(ada)
    assert world.media.named("restart_ice") == [{"participant": ada.number, "target": "subscriber"}]
    single = world.join("bob", single_peer_connection=True).connect()
    world.resume(single)
    assert len(world.media.named("restart_ice")) == 1


def test_an_offer_without_an_answer_does_not_end_who_is_away(
    world: World, ada: Client, observer: Client
) -> None:
    world.events(Event.Description(ada.number, "subscriber", "offer", "v=0", 1, {}))
    ada.session.connection_lost()
    world.events(Event.Description(ada.number, "subscriber", "offer", "v=0", 2, {}))
    world.pass_time(120)
    assert "reconnect" in world.resume(ada).kinds
    assert states(observer) == []


def test_state_is_told_again(world: World, ada: Client, observer: Client) -> None:
    pending = ada.add("cam", type=models.TrackType.VIDEO)
    info = observer.publish("mic")
    observer.send(subscription_permission=rtc.SubscriptionPermission(all_participants=False))
    ada.session.connection_lost()
    back = world.resume(ada)
    assert [it.track.sid for it in back.all("track_published")] == [pending.sid]
    permissions = back.all("subscription_permission_update")
    assert [(it.track_sid, it.allowed) for it in permissions] == [(info.sid, False)]


def test_who_fell_silent_meanwhile_is_told(world: World, ada: Client, observer: Client) -> None:
    info = observer.publish("mic")
    world.subscribe(ada, info.sid)
    room = world.media.named("open_room")[0]["room"]
    world.events(Event.Speakers(room, [(observer.number, 0.5, True)]))
    ada.send(ping=1)
    ada.session.connection_lost()
    world.pass_time(1)
    world.events(Event.Speakers(room, [(observer.number, 0.0, False)]))
    (speakers,) = world.resume(ada).all("speakers_changed")
    assert [(it.sid, it.active) for it in speakers.speakers] == [(observer.sid, False)]


def test_that_somebody_listens_is_told_to_who_may_have_missed_it(
    world: World, ada: Client, observer: Client
) -> None:
    """Clients wait for it."""
    early, late = ada.publish("mic"), ada.publish("cam", type=models.TrackType.VIDEO)
    world.subscribe(observer, early.sid)
    world.pass_time(1)
    ada.send(ping=1)
    world.pass_time(1)
    ada.session.connection_lost()
    world.subscribe(observer, late.sid)
    assert [it.track_sid for it in world.resume(ada).all("track_subscribed")] == [late.sid]


def test_layers_wanted_of_a_publisher_are_told_again(world: World, ada: Client) -> None:
    info = ada.publish("cam", type=models.TrackType.VIDEO)
    ada.session.connection_lost()
    world.events(Event.Qualities(world.track(info.sid), [("vp8", (True, False, False))]))
    (update,) = world.resume(ada).all("subscribed_quality_update")
    assert [quality.enabled for quality in update.subscribed_qualities] == [True, False, False]


def test_media_dead_and_signal_alive_asks_for_a_resume(world: World, ada: Client, observer: Client) -> None:
    world.events(Event.Liveness(ada.number, False))
    (leave,) = ada.got("leave")
    assert (leave.reason, leave.action) == (Gone.CONNECTION_TIMEOUT, Action.RESUME)
    assert not ada.closed
    world.events(Event.Connection(ada.number, "subscriber", "failed", "no consent"))
    world.pass_time(14)
    assert ada.got("leave") == []
    back = world.resume(ada)
    world.events(Event.Liveness(ada.number, True))
    world.pass_time(60)
    assert states(observer) == []
    assert not back.closed


def test_media_that_does_not_follow_a_resume_needs_a_full_reconnect(
    world: World, ada: Client, observer: Client
) -> None:
    world.events(Event.Liveness(ada.number, False))
    back = world.resume(ada)
    world.pass_time(14)
    back.send(ping=1)
    world.pass_time(1.1)
    assert [it.action for it in back.all("leave")] == [Action.RECONNECT]
    assert states(observer) == [("ada", State.DISCONNECTED)]


def test_who_only_talks_and_does_not_resume_must_reconnect(world: World, ada: Client) -> None:
    world.events(Event.Liveness(ada.number, False))
    for _ in range(4):
        world.pass_time(4)
        ada.send(ping=1)
    assert [it.action for it in ada.all("leave")] == [Action.RESUME, Action.RECONNECT]


def test_who_does_not_come_back_is_gone_15_seconds_later(world: World, ada: Client, observer: Client) -> None:
    world.events(Event.Liveness(ada.number, False))
    world.pass_time(14.9)
    assert states(observer) == []
    world.pass_time(0.2)
    assert states(observer) == [("ada", State.DISCONNECTED)]


def test_a_socket_lost_before_the_answer_counts_as_lost_signal(
    world: World, ada: Client, observer: Client
) -> None:
    ada.session.connection_lost()
    world.control.join(world.params("ada", reconnect=True)).connection_lost()
    world.events(Event.Resumed(ada.number, 0), Event.Liveness(ada.number, False))
    world.pass_time(15.1)
    assert states(observer) == [("ada", State.DISCONNECTED)]


def test_removed_while_coming_back(world: World, ada: Client) -> None:
    session = world.control.join(world.params("ada", reconnect=True))
    world.control.remove_participant("demo", "ada")
    world.events(Event.Resumed(ada.number, 0))
    frames = [rtc.SignalResponse.FromString(frame) for frame in session.outbox.drain()]
    assert [frame.leave.reason for frame in frames] == [Gone.PARTICIPANT_REMOVED]
    assert session.outbox.closed


def test_state_that_cannot_be_needs_a_full_reconnect(world: World, ada: Client, observer: Client) -> None:
    info = ada.publish("mic")
    back = world.resume(ada)
    known = rtc.TrackPublishedResponse(cid="mic", track=info)
    back.send(sync_state=rtc.SyncState(publish_tracks=[known]))
    assert back.all("leave") == []
    unknown = rtc.TrackPublishedResponse(cid="x", track=models.TrackInfo(sid="TR_unknown"))
    back.send(sync_state=rtc.SyncState(publish_tracks=[known, unknown]))
    assert [it.action for it in back.all("leave")] == [Action.RECONNECT]


def test_reliable_data_is_replayed_from_what_was_received(world: World, ada: Client) -> None:
    back = world.resume(ada)
    received = [rtc.DataChannelReceiveState(publisher_sid="PA_x", last_seq=7)]
    back.send(sync_state=rtc.SyncState(datachannel_receive_states=received))
    assert world.media.named("replay_data") == [{"participant": ada.number, "received": [("PA_x", 7)]}]


def test_old_livekit_client_is_not_sent_a_reconnect(world: World) -> None:
    old = models.ClientInfo(sdk=models.ClientInfo.JS, version="1.6.2", protocol=9)
    ada = world.join("ada", client=old).connect()
    assert world.resume(ada, client=old).kinds[0] == "update"


def test_a_permission_changed_through_the_api_outlives_an_older_token(world: World, ada: Client) -> None:
    world.events(Event.Liveness(ada.number, True))
    participant = world.control._participant("demo", "ada")
    participant.permission.can_publish = False
    world.resume(ada)
    assert not participant.permission.can_publish


@pytest.mark.parametrize(
    "scenario", ["disconnect_signal_on_resume", "disconnect_signal_on_resume_no_messages"]
)
def test_simulated_broken_resumes(world: World, ada: Client, observer: Client, scenario: str) -> None:
    ada.send(simulate=rtc.SimulateScenario(**{scenario: True}))  # type: ignore[arg-type]
    ada.session.connection_lost()
    broken = world.resume(ada)
    assert broken.closed
    broken.session.connection_lost()
    assert ("reconnect" in broken.kinds) == (scenario == "disconnect_signal_on_resume")
    assert "reconnect" in world.resume(ada).kinds
    assert states(observer) == []


@pytest.mark.parametrize(
    ("identity", "sid_of"), [("bob", "ada"), ("ada", "eve"), ("stranger", "ada"), ("stranger", "")]
)
def test_nobody_resumes_in_somebody_elses_session(
    world: World, ada: Client, observer: Client, identity: str, sid_of: str
) -> None:
    bob = world.join("bob").connect()
    sids = {"ada": ada.sid, "eve": observer.sid, "": ""}
    stranger = world.join(identity, reconnect=True, participant_sid=sids[sid_of])
    (leave,) = stranger.all("leave")
    assert (leave.reason, leave.action) == (Gone.STATE_MISMATCH, Action.RECONNECT)
    assert stranger.kinds == ["leave"]
    assert stranger.closed
    assert not any(client.closed for client in (ada, bob, observer))
    assert world.media.named("resume") == []


def test_a_token_for_another_room_finds_nobody(world: World, ada: Client) -> None:
    elsewhere = world.join("ada", room="another", reconnect=True, participant_sid=ada.sid)
    assert elsewhere.kinds == ["leave"]
    assert [room.name for room in world.control.list_rooms()] == ["demo"]
    assert not ada.closed


def test_of_two_resumes_at_once_the_later_one_has_the_session(
    world: World, ada: Client, observer: Client
) -> None:
    first = world.control.join(world.params("ada", reconnect=True, participant_sid=ada.sid))
    back = world.resume(ada)
    world.events(Event.Resumed(ada.number, 0))
    assert first.outbox.closed
    assert first.outbox.drain() == []
    assert back.kinds.count("reconnect") == 1
    first.connection_lost()
    ada.session.connection_lost()
    world.pass_time(60)
    back.send(ping=1)
    assert back.got("pong")
    assert not back.closed
    assert states(observer) == []


def test_resumes_without_end_leave_one_session(world: World, ada: Client, observer: Client) -> None:
    backs = [world.resume(ada) for _ in range(200)]
    assert [back.closed for back in backs] == [True] * 199 + [False]
    assert states(observer) == []
    assert len(world.control.list_participants("demo")) == 2


def test_a_refreshed_token_resumes(world: World, ada: Client) -> None:
    (first,) = world.resume(ada).all("refresh_token")
    claims = verify(first, {KEY: SECRET}, now=WALL + world.now)
    again = world.resume(ada, claims=claims)
    assert again.kinds[0] == "reconnect"


def test_state_with_somebody_elses_track_as_ones_own_needs_a_full_reconnect(
    world: World, ada: Client, observer: Client
) -> None:
    theirs = observer.publish("mic")
    back = world.resume(ada)
    lie = rtc.TrackPublishedResponse(cid="mic", track=models.TrackInfo(sid=theirs.sid))
    back.send(sync_state=rtc.SyncState(publish_tracks=[lie]))
    assert [it.action for it in back.all("leave")] == [Action.RECONNECT]
    assert [info.sid for info in world.control.get_participant("demo", "eve").tracks] == [theirs.sid]


def test_state_without_anything_changes_nothing(world: World, ada: Client) -> None:
    info = ada.publish("mic")
    back = world.resume(ada)
    back.send(sync_state=rtc.SyncState())
    assert back.all("leave") == []
    assert [it.sid for it in world.control.get_participant("demo", "ada").tracks] == [info.sid]


@pytest.mark.parametrize(
    "state",
    [
        rtc.SyncState(datachannel_receive_states=[rtc.DataChannelReceiveState(publisher_sid="x")] * 10_001),
        rtc.SyncState(publish_tracks=[rtc.TrackPublishedResponse(cid="x")] * 10_001),
    ],
    ids=["received", "published"],
)
def test_state_that_lists_too_much_is_refused_as_a_whole(
    world: World, ada: Client, state: rtc.SyncState
) -> None:
    back = world.resume(ada)
    back.send(sync_state=state)
    assert [it.reason for it in back.got("request_response")] == [rtc.RequestResponse.LIMIT_EXCEEDED]
    assert world.media.named("replay_data") == []
    assert not back.closed


def test_a_hidden_one_is_in_nothing_that_a_resume_tells(world: World, ada: Client) -> None:
    ghost = world.join("ghost", grant={"hidden": True}).connect()
    track = ghost.publish("mic")
    ada.session.connection_lost()
    back = world.resume(ada)
    told = b"".join(frame.SerializeToString() for frame in back.read())
    assert ada.sid.encode() in told
    assert ghost.sid.encode() not in told
    assert track.sid.encode() not in told


def test_who_comes_anew_while_the_old_session_hangs_leaves_before_it_arrives(
    world: World, ada: Client, observer: Client
) -> None:
    old = ada.sid
    ada.session.connection_lost()
    anew = world.join("ada").connect()
    observer.session.connection_lost()
    back = world.resume(observer)
    entries = [(info.sid, info.state) for info in back.entries() if info.identity == "ada"]
    assert entries[-1] == (anew.sid, State.ACTIVE)
    assert (old, State.ACTIVE) not in entries
    assert [info.sid for info in world.control.list_participants("demo")].count(anew.sid) == 1
    assert old not in [info.sid for info in world.control.list_participants("demo")]


def test_data_waits_for_what_a_client_without_signalling_keeps_back(world: World, ada: Client) -> None:
    ada.send(ping=1)
    world.events(Event.DataMissing(ada.number))
    world.pass_time(20)
    ada.session.connection_lost()
    back = world.resume(ada)
    world.pass_time(RESUME_TIMEOUT - 1)
    back.send(ping=1)
    assert world.media.named("skip_missing_data") == []


def test_data_does_not_wait_when_the_client_shows_that_it_is_not_resuming(world: World, ada: Client) -> None:
    ada.send(ping=1)
    world.pass_time(RESUME_TIMEOUT)
    world.events(Event.DataMissing(ada.number))
    assert world.media.named("skip_missing_data") == []
    ada.send(ping=1)
    ada.send(ping=1)
    assert world.media.named("skip_missing_data") == [{"participant": ada.number}]


def test_what_is_still_missing_long_after_a_resume_will_not_come(world: World, ada: Client) -> None:
    ada.send(ping=1)
    back = world.resume(ada)
    world.events(Event.DataMissing(ada.number))
    back.send(ping=1)
    assert world.media.named("skip_missing_data") == []
    world.events(Event.Liveness(ada.number, True))
    world.pass_time(RESUME_TIMEOUT)
    back.send(ping=1)
    assert world.media.named("skip_missing_data") == [{"participant": ada.number}]


def test_data_of_a_client_that_never_pings_does_not_wait(world: World, ada: Client) -> None:
    world.events(Event.DataMissing(ada.number))
    assert world.media.named("skip_missing_data") == [{"participant": ada.number}]
