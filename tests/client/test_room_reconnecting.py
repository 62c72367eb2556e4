"""Connections that break, at a server of paper: what is said to it, and which events there are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.protocol import models, rtc
from scripted import Connection, Data, PaperPeer, ScriptedServer, Track, microphone, open_scripted, other
from watched import connected, tone, turns

from roomful.rtc import _connection
from roomful.rtc._enums import ConnectionState, DisconnectReason, SimulateScenarioKind
from roomful.rtc.participant import PublishTrackError
from roomful.rtc.track_publication import LocalTrackPublication

pytestmark = pytest.mark.asyncio

Action = rtc.LeaveRequest.Action


async def test_lost_signalling_is_resumed_without_a_sound(script: ScriptedServer) -> None:
    script.others = [other("bob", microphone()), other("eve")]
    room, log = await connected(script)
    room.remote_participants["bob"].track_publications["TR_mic"].set_subscribed(False)
    await room.local_participant.publish_data(b"one")
    await room.local_participant.publish_data(b"two")
    publication = await room.local_participant.publish_track(tone())
    packet = models.DataPacket(participant_sid="PA_bob", sequence=9)
    PaperPeer.made[0].emit(Data("reliable", packet.SerializeToString()))
    await turns(1)
    log.events.clear()

    script.others = [other("bob", microphone())]
    script.last_message_seq = 1
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    room.local_participant.set_track_subscription_permissions(allow_all_participants=True)
    await log.sees("reconnected")
    # Eve has left meanwhile, which nobody could say.
    assert log.events == [("participant_disconnected", "eve"), ("reconnected",)]
    seat = script.seat
    assert seat.resumes
    assert seat.join.participant_sid == "PA_ada1"
    await turns(1)
    assert [kind for kind in seat.kinds() if kind != "ping_req"][:2] == ["sync_state", "offer"]
    assert {"subscription_permission", "mute"} <= set(seat.kinds())  # What may have been lost.
    state = await seat.hears("sync_state")
    assert [one.track.sid for one in state.publish_tracks] == [publication.sid]
    assert list(state.subscription.track_sids) == ["TR_mic"]
    assert [(one.publisher_sid, one.last_seq) for one in state.datachannel_receive_states] == [("PA_bob", 9)]
    peer = PaperPeer.made[0]
    assert peer.called("restart_ice") == [("publisher",)]
    assert [one.sequence for one in peer.packets()] == [1, 2, 2]
    await room.disconnect()


async def test_reconnecting_is_told_of_when_media_breaks(script: ScriptedServer) -> None:
    room, log = await connected(script)
    log.events.clear()
    PaperPeer.made[0].emit(Connection("publisher", "failed"))
    await log.sees("reconnecting")
    seat = await script.seat_of(2)
    await seat.hears("offer")
    await turns(1)
    assert "reconnected" not in log.names
    PaperPeer.made[0].emit(Connection("publisher", "connected"))
    await log.sees("reconnected")
    assert log.events == [
        ("connection_state_changed", ConnectionState.CONN_RECONNECTING),
        ("reconnecting",),
        ("connection_state_changed", ConnectionState.CONN_CONNECTED),
        ("reconnected",),
    ]
    await room.disconnect()


async def test_what_is_unpublished_while_the_session_is_lost_is_not_published_again(
    script: ScriptedServer,
) -> None:
    room, log = await connected(script)
    me = room.local_participant
    publication = await me.publish_track(tone())
    kept = await me.publish_track(tone())
    before = [publication.sid, kept.sid]

    @room.on("reconnecting")
    async def withdraw() -> None:
        await me.unpublish_track(publication.sid)

    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await log.sees("local_track_republished")
    await turns(1)
    told = [event for event in log.events if event[0].startswith("local_track_") and event[-1] in before]
    assert told[-3:] == [
        *(("local_track_unpublished", sid) for sid in before),
        ("local_track_republished", kept.sid, before[1]),
    ]
    assert list(me.track_publications.values()) == [kept]
    assert publication.track is None
    await room.disconnect()


async def test_a_track_is_published_once_though_asked_twice_at_the_same_time(script: ScriptedServer) -> None:
    room, _ = await connected(script)
    me, track = room.local_participant, tone()
    first, second = await asyncio.gather(
        me.publish_track(track), me.publish_track(track), return_exceptions=True
    )
    assert isinstance(second, PublishTrackError)
    assert list(me.track_publications.values()) == [first]
    await me.unpublish_track(track.sid)
    await me.publish_track(track)
    await room.disconnect()


async def test_a_full_reconnect_is_as_if_everybody_had_left_and_come_back(script: ScriptedServer) -> None:
    script.others = [other("bob", microphone())]
    room, log = await connected(script)
    PaperPeer.made[0].emit(Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic"))
    track = tone()
    publication = await room.local_participant.publish_track(track)
    await turns(1)
    before = publication.sid
    log.events.clear()
    published: list[dict[str, LocalTrackPublication]] = []
    me = room.local_participant
    room.on("reconnected", lambda: published.append(dict(me.track_publications)))
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await log.sees("local_track_republished")
    assert published == [{}]
    assert log.events == [
        ("track_unsubscribed", "TR_mic", "TR_mic", "bob"),
        ("track_unpublished", "TR_mic", "bob"),
        ("participant_disconnected", "bob"),
        ("local_track_unpublished", before),
        ("connection_state_changed", ConnectionState.CONN_RECONNECTING),
        ("reconnecting",),
        ("connection_state_changed", ConnectionState.CONN_CONNECTED),
        ("reconnected",),
        ("participant_connected", "bob"),
        ("participant_active", "bob"),
        ("track_published", "TR_mic", "bob"),
        ("local_track_published", publication.sid, publication.sid),
        ("local_track_republished", publication.sid, before),
    ]
    assert publication.sid != before
    assert dict(room.local_participant.track_publications) == {publication.sid: publication}
    assert track.sid == publication.sid
    assert PaperPeer.made[0].closed
    assert len(PaperPeer.made[1].called("publish_audio")) == 1
    await room.disconnect()


@pytest.mark.parametrize("action", [Action.RESUME, Action.RECONNECT])
async def test_the_server_may_ask_to_come_again(script: ScriptedServer, action: Any) -> None:
    room, log = await connected(script)
    await script.seat.send(leave=rtc.LeaveRequest(action=action))
    await log.sees("reconnected")
    assert script.seat.resumes == (action == Action.RESUME)
    assert ("reconnecting" in log.names) == (action == Action.RECONNECT)
    await room.disconnect()


async def test_a_session_that_the_server_has_forgotten_begins_anew(script: ScriptedServer) -> None:
    room, log = await connected(script)
    leave = rtc.LeaveRequest(reason=models.DisconnectReason.STATE_MISMATCH, action=Action.RECONNECT)
    script.first.append(rtc.SignalResponse(leave=leave))
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    await log.sees("reconnected")
    assert [seat.resumes for seat in script.seats] == [False, True, False]
    assert room.local_participant.sid == "PA_ada2"
    await room.disconnect()


async def test_a_server_that_says_goodbye_at_a_reconnect_is_believed(script: ScriptedServer) -> None:
    _, log = await connected(script)
    leave = rtc.LeaveRequest(reason=models.DisconnectReason.DUPLICATE_IDENTITY, action=Action.DISCONNECT)
    script.first.append(rtc.SignalResponse(leave=leave))
    await script.seat.socket.close()
    await log.sees("disconnected", DisconnectReason.DUPLICATE_IDENTITY)


async def test_a_token_that_is_refused_at_a_reconnect_ends_it(script: ScriptedServer) -> None:
    room, log = await connected(script)
    await script.seat.send(refresh_token="a-newer-one")
    await turns(1)
    assert room._token == "a-newer-one"
    script.refusals.append((401, "no"))
    script.validations.append((401, "no"))
    await script.seat.socket.close()
    await log.sees("disconnected", DisconnectReason.JOIN_FAILURE)


async def test_a_server_that_is_away_is_waited_for(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_connection, "FIRST_DELAY", 0.01)
    room, log = await connected(script)
    assert script.server
    port = script.server.sockets[0].getsockname()[1]
    script.server.close()
    await script.server.wait_closed()
    async with open_scripted() as other_script:
        # The same address, another server, which knows nobody.
        url = other_script.url
        assert room._connection
        await asyncio.sleep(0.05)
        leave = rtc.LeaveRequest(action=Action.RECONNECT)
        other_script.first.append(rtc.SignalResponse(leave=leave))
        room._connection.url = url
        await log.sees("reconnected")
        assert port
        await room.disconnect()


async def test_a_silent_server_is_left(script: ScriptedServer) -> None:
    script.ping = (1, 1)
    script.deaf_to.add("ping_req")
    room, log = await connected(script)
    seat = script.seat
    script.deaf_to.clear()
    await log.sees("reconnected")
    assert script.seat is not seat
    await room.disconnect()


async def test_leaving_ends_a_reconnect(script: ScriptedServer) -> None:
    room, log = await connected(script)
    script.deaf_to.add("offer")
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await script.seat_of(2)
    await room.disconnect()
    assert log.events[-1] == ("disconnected", DisconnectReason.CLIENT_INITIATED)
    assert all(peer.closed for peer in PaperPeer.made)
