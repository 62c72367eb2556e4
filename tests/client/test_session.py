"""What is said in a session, without sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from livekit.protocol import models, rtc
from scripted import (
    EVENTS,
    Candidate,
    Connection,
    Data,
    Description,
    Fault,
    PaperPeer,
    Rejected,
    Track,
    TrackEnded,
    me,
)

from roomful.rtc._heartbeat import Heartbeat
from roomful.rtc._layers import encodings
from roomful.rtc._reliable import IN_FLIGHT, Received, Sent
from roomful.rtc._session import Arrived, Session

Action = rtc.LeaveRequest.Action


class Notes:
    """All that a room would be told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def signalled(self, response: rtc.SignalResponse) -> None:
        self.told.append(response.WhichOneof("message"))

    def arrived(self, media: Arrived) -> None:
        self.told.append(media)

    def departed(self, target: str, mid: str) -> None:
        self.told.append((target, mid))

    def packet(self, packet: models.DataPacket, reliable: bool) -> None:
        self.told.append((packet.user.payload, reliable))

    def track_packet(self, packet: bytes) -> None:
        self.told.append(packet)

    def peer_event(self, event: Any) -> None:
        self.told.append(event)


class World:
    def __init__(self, *, single: bool = True, join: bool = True, **joined: Any) -> None:
        self.peer = PaperPeer(single=single, wake=lambda: None)
        self.notes = Notes()
        self.session = Session(self.peer, EVENTS, self.notes, single=single, wall_ms=lambda: 1_000)  # type: ignore[arg-type]
        self.requests: list[rtc.SignalRequest] = []
        if join:
            self.session.prepare()
            self.run()
            self.session.joined(rtc.JoinResponse(participant=me(), **joined), self.requests.append)
            self.session.release()
            self.run()

    def run(self, *events: Any) -> None:
        self.peer.events.extend(events)
        while taken := self.peer.take_events():
            for event in taken:
                self.session.peer_event(event)

    def receive(self, **message: Any) -> None:
        self.session.receive(rtc.SignalResponse(**message))
        self.run()

    @property
    def kinds(self) -> list[str]:
        return [str(one.WhichOneof("message")) for one in self.requests]

    def answered(self) -> World:
        self.receive(answer=rtc.SessionDescription(type="answer", sdp="v=0", id=1))
        return self


def test_candidates_wait_for_the_join_that_brings_their_offer() -> None:
    world = World(join=False)
    world.session.prepare()
    world.run(Candidate("publisher", "candidate:1 1 udp 1 host 1 typ host", "0", 0))
    assert world.session.first_offer
    world.session.joined(rtc.JoinResponse(participant=me()), world.requests.append)
    assert world.kinds == ["trickle"]
    assert json.loads(world.requests[0].trickle.candidateInit) == {
        "candidate": "candidate:1 1 udp 1 host 1 typ host",
        "sdpMid": "0",
        "sdpMLineIndex": 0,
    }


def test_nobody_is_told_before_the_room_is_ready() -> None:
    world = World(join=False)
    world.session.prepare()
    world.run(Data("data_track", b"1"))
    world.receive(speakers_changed=rtc.SpeakersChanged())
    assert not world.notes.told
    world.session.release()
    assert world.notes.told == [b"1", "speakers_changed"]


@pytest.mark.parametrize(
    ("joined", "offers"),
    [({"subscriber_primary": True}, 0), ({"subscriber_primary": True, "fast_publish": True}, 1), ({}, 1)],
)
def test_with_two_connections_ours_is_made_as_the_server_wants(joined: Any, offers: int) -> None:
    world = World(single=False, **joined)
    assert world.kinds.count("offer") == offers
    world.session.open_way()
    world.run()
    assert world.kinds.count("offer") == 1


def test_an_answer_has_the_offers_id() -> None:
    world = World(single=False, subscriber_primary=True)
    assert not world.session.is_connected
    world.receive(offer=rtc.SessionDescription(type="offer", sdp="v=0", id=41))
    assert world.requests[-1].answer.id == 41
    assert world.session.is_connected


def test_more_sections_are_made_when_the_server_wants_them() -> None:
    world = World().answered()
    world.receive(media_sections_requirement=rtc.MediaSectionsRequirement(num_audios=2, num_videos=0))
    assert world.peer.called("add_receivers")[-1] == (2, 0)
    assert world.kinds == ["offer"]


@pytest.mark.parametrize(
    ("single", "stream", "track", "sid"),
    [
        (True, "PA_bob|camera", "odd", "TR_mapped"),
        (True, "PA_bob|TR_stream", "TR_track", "TR_mapped"),
        (False, "PA_bob|TR_stream", "odd", "TR_stream"),
        (False, "PA_bob|camera", "TR_track", "TR_track"),
        (False, "PA_bob|camera", "odd", "TR_mapped"),
    ],
)
def test_a_section_is_known_by_its_map_or_its_names(single: bool, stream: str, track: str, sid: str) -> None:
    world = World(single=single, subscriber_primary=not single)
    mids = {"5": "TR_mapped"}
    description = rtc.SessionDescription(sdp="v=0", id=1, mid_to_track_id=mids)
    world.receive(**{"answer" if single else "offer": description})
    target = "publisher" if single else "subscriber"
    world.run(Track(target, "5", "audio", stream, track), TrackEnded(target, "5"))
    assert world.notes.told == [Arrived(target, "5", "PA_bob", sid), (target, "5")]  # type: ignore[arg-type]


def test_what_is_asked_during_a_resume_waits_for_its_end() -> None:
    world = World().answered()
    session = world.session
    session.signal_lost("gone")
    assert session.ended
    assert session.ended.action == Action.RESUME
    session.send(rtc.SignalRequest(mute=rtc.MuteTrackRequest(sid="TR_1")))
    session.send(rtc.SignalRequest(trickle=rtc.TrickleRequest()))  # Of a path that is given up.
    world.requests.clear()
    session.resumed(rtc.ReconnectResponse(), rtc.SyncState(), world.requests.append)
    world.run()
    assert session.ended is None
    assert world.kinds == ["sync_state", "offer"]
    assert not session.is_recovered
    world.answered()
    assert session.is_recovered
    session.release_requests()
    assert world.kinds == ["sync_state", "offer", "mute"]


def test_with_two_connections_a_resume_waits_for_the_servers_offer() -> None:
    world = World(single=False, subscriber_primary=True)
    world.receive(offer=rtc.SessionDescription(type="offer", sdp="v=0", id=1))
    world.session.signal_lost("gone")
    world.session.resumed(rtc.ReconnectResponse(), rtc.SyncState(), world.requests.append)
    assert not world.session.is_recovered
    assert not world.peer.called("restart_ice")  # There is nothing of ours to keep alive.
    world.receive(offer=rtc.SessionDescription(type="offer", sdp="v=0", id=2))
    assert world.session.is_recovered


def test_a_resume_tells_what_there_was() -> None:
    world = World().answered()
    world.session.signal_lost("gone")
    state = rtc.SyncState()
    world.session.resumed(rtc.ReconnectResponse(), state, world.requests.append)
    assert (state.offer.type, state.answer.type) == ("offer", "answer")


@pytest.mark.parametrize(
    ("news", "action"),
    [
        (Connection("publisher", "failed"), Action.RESUME),
        (Rejected("publisher", 1, "nonsense"), Action.RECONNECT),
        (Fault("a bug"), Action.RECONNECT),
    ],
)
def test_what_breaks_asks_for_as_little_as_helps(news: Any, action: Any) -> None:
    world = World().answered()
    world.run(news)
    assert world.session.ended
    assert world.session.ended.action == action


def test_the_most_decisive_goodbye_counts() -> None:
    world = World().answered()
    for said, action in (
        (rtc.LeaveRequest(action=Action.RESUME), Action.RESUME),
        (rtc.LeaveRequest(can_reconnect=True), Action.RECONNECT),
        (rtc.LeaveRequest(action=Action.RESUME), Action.RECONNECT),
        (rtc.LeaveRequest(action=Action.DISCONNECT), Action.DISCONNECT),
    ):
        world.receive(leave=said)
        assert world.session.ended
        assert world.session.ended.action == action


def test_media_may_close_before_the_goodbye_that_explains_it() -> None:
    world = World().answered()
    world.run(Connection("publisher", "closed"))
    assert world.session.ended is None
    world.receive(leave=rtc.LeaveRequest(action=Action.DISCONNECT))
    world.session.confirm()
    assert world.session.ended
    assert world.session.ended.action == Action.DISCONNECT
    world = World().answered()
    world.run(Connection("publisher", "closed"))
    world.session.confirm()
    assert world.session.ended
    assert world.session.ended.action == Action.RESUME


def test_a_disconnected_path_is_no_end_yet() -> None:
    world = World().answered()
    world.run(Connection("publisher", "disconnected"))
    assert world.session.ended is None
    assert world.session.is_broken


def test_relays_alone_are_used_where_the_server_says_so() -> None:
    configuration = models.ClientConfiguration(force_relay=models.ClientConfigSetting.ENABLED)
    servers = [rtc.ICEServer(urls=["turn:host"], username="u", credential="p")]
    world = World(client_configuration=configuration, ice_servers=servers)
    call = world.peer.called("set_ice_servers")[0]
    assert call == ([(["turn:host"], "u", "p")], ("relay_only", True))


def test_what_is_nonsense_harms_nothing() -> None:
    world = World().answered()
    world.receive(trickle=rtc.TrickleRequest(candidateInit="{"))
    world.receive(trickle=rtc.TrickleRequest(candidateInit='["candidate"]'))
    world.receive(offer=rtc.SessionDescription(type="offer", sdp="v=0"))
    world.session.receive(rtc.SignalResponse())
    world.run(Data("reliable", b"\xff"), Description("publisher", "answer", "", 1))
    assert world.session.ended is None
    assert not world.notes.told


def test_the_round_trip_of_a_ping_goes_with_the_next() -> None:
    world = World().answered()
    world.session.ping()
    world.receive(pong_resp=rtc.Pong(last_ping_timestamp=970))
    world.session.ping()
    assert [one.ping_req.rtt for one in world.requests] == [0, 30]


def test_a_server_that_names_no_sensible_interval_is_not_flooded() -> None:
    heartbeat = Heartbeat(-1, -1, now=100)
    assert heartbeat.ping_due(100)
    assert not heartbeat.ping_due(100.5)
    assert heartbeat.next == 101


def test_a_heartbeat_pings_and_gives_up_in_time() -> None:
    heartbeat = Heartbeat(5, 15, now=100)
    assert heartbeat.ping_due(100)
    assert not heartbeat.ping_due(104.9)
    assert heartbeat.next == 105
    assert heartbeat.ping_due(105)
    heartbeat.heard(106)
    assert not heartbeat.is_dead(120.9)
    assert heartbeat.is_dead(121)


def test_packets_are_kept_for_as_long_as_they_may_be_missing() -> None:
    sent = Sent()
    message = bytes(IN_FLIGHT // 4)
    for _ in range(8):
        sent.keep(message, unsent=0)
    assert sent.next_sequence == 9
    assert len(list(sent.after(0))) == 4
    assert len(list(sent.after(7))) == 1
    assert not list(sent.after(8))
    for _ in range(8):
        sent.keep(message, unsent=IN_FLIGHT)
    assert len(list(sent.after(8))) == 8


def test_a_packet_is_new_once() -> None:
    received = Received()
    assert received.is_new("PA_bob", 1)
    assert not received.is_new("PA_bob", 1)
    assert received.is_new("PA_bob", 3)
    assert not received.is_new("PA_bob", 2)
    assert received.is_new("PA_eve", 1)
    assert all(received.is_new("", 1) and received.is_new("PA_eve", 0) for _ in range(2))
    assert {(one.publisher_sid, one.last_seq) for one in received.states()} == {("PA_bob", 3), ("PA_eve", 1)}


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        ((1280, 720), {}, [("f", 1280, 3_000_000), ("h", 640, 450_000), ("q", 320, 160_000)]),
        ((640, 480), {}, [("h", 640, 450_000), ("q", 480, 225_000)]),
        ((320, 180), {}, [("", 320, 180_000)]),
        ((1280, 720), {"simulcast": False, "codec": "vp9"}, [("", 1280, 2_550_000)]),
        ((1920, 1080), {"screen": True}, [("h", 1920, 3_000_000), ("q", 960, 150_000)]),
        ((640, 360), {"bitrate": 77, "frames": 9.0}, [("h", 640, 77), ("q", 640, 450_000)]),
    ],
)
def test_encodings_are_those_of_other_clients(
    size: tuple[int, int], options: dict[str, Any], expected: list[tuple[str, int, int]]
) -> None:
    chosen = {"codec": "vp8", "screen": False, "simulcast": True, **options}
    assert [(one.rid, one.width, one.bitrate) for one in encodings(*size, **chosen)] == expected
