"""A room at a server of paper: what is said to it, and which events there are in which order."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
from livekit.protocol import models, rtc
from scripted import BufferLow, Data, PaperPeer, ScriptedServer, Track, TrackEnded, me, microphone, other
from watched import Log, connected, tone, turns

from roomful.rtc import _roster
from roomful.rtc._enums import SimulateScenarioKind
from roomful.rtc.encoded_video import EncodedVideoSource
from roomful.rtc.participant import PublishDataError, PublishTrackError, UnpublishTrackError
from roomful.rtc.room import Room
from roomful.rtc.rpc import RpcInvocationData
from roomful.rtc.track import LocalVideoTrack, RemoteAudioTrack
from roomful.rtc.track_publication import RemoteTrackPublication
from roomful.rtc.video_source import VideoSource

pytestmark = pytest.mark.asyncio


async def test_others_come_change_and_go_in_order(script: ScriptedServer) -> None:
    room, log = await connected(script)
    bob = other("bob", microphone(), version=1)
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[bob]))
    PaperPeer.made[0].emit(Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic"))
    await log.sees("track_subscribed")
    changed = other("bob", microphone(muted=True), version=2, name="Bob", metadata="m")
    changed.attributes.update({"mood": "fine"})
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[changed]))
    stale = other("bob", version=1)
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[stale]))
    gone = other("bob", state=models.ParticipantInfo.DISCONNECTED, version=3, disconnect_reason=4)
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[gone]))
    await log.sees("participant_disconnected")
    assert log.events[1:] == [
        ("participant_connected", "bob"),
        ("participant_active", "bob"),
        ("track_published", "TR_mic", "bob"),
        ("track_subscribed", "TR_mic", "TR_mic", "bob"),
        ("participant_name_changed", "bob", "", "Bob"),
        ("participant_metadata_changed", "bob", "", "m"),
        ("participant_attributes_changed", {"mood": "fine"}, "bob"),
        ("track_muted", "bob", "TR_mic"),
        ("track_unsubscribed", "TR_mic", "TR_mic", "bob"),
        ("track_unpublished", "TR_mic", "bob"),
        ("participant_disconnected", "bob"),
    ]
    assert not room.remote_participants
    await room.disconnect()


async def test_media_may_come_before_its_publication(script: ScriptedServer) -> None:
    room, log = await connected(script)
    PaperPeer.made[0].emit(Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic"))
    await turns(1)
    await script.seat.send(update=rtc.ParticipantUpdate(participants=[other("bob", microphone())]))
    await log.sees("track_subscribed", "TR_mic")
    track = room.remote_participants["bob"].track_publications["TR_mic"].track
    assert isinstance(track, RemoteAudioTrack)
    await room.disconnect()


MICROPHONE = Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic")


async def hearing_bob(script: ScriptedServer) -> tuple[Room, Log, RemoteTrackPublication]:
    script.others = [other("bob", microphone())]
    room, log = await connected(script)
    PaperPeer.made[0].emit(MICROPHONE)
    await log.sees("track_subscribed")
    return room, log, room.remote_participants["bob"].track_publications["TR_mic"]


async def test_a_subscription_is_given_up_and_asked_for_again(script: ScriptedServer) -> None:
    room, log, publication = await hearing_bob(script)
    publication.set_subscribed(False)
    assert publication.subscribed  # Until the event.
    await log.sees("track_unsubscribed")
    assert (publication.subscribed, publication.track) == (False, None)
    asked = await script.seat.hears("subscription")
    assert (list(asked.track_sids), asked.subscribe) == (["TR_mic"], False)
    PaperPeer.made[0].emit(MICROPHONE)  # Was on its way.
    PaperPeer.made[0].emit(TrackEnded("publisher", "3"))
    await turns(1)
    assert publication.track is None
    publication.set_subscribed(True)
    assert (await script.seat.hears("subscription", 2)).subscribe
    PaperPeer.made[0].emit(MICROPHONE)
    await turns(1)
    assert publication.track is not None
    await room.disconnect()


async def test_who_changes_their_mind_asks_when_the_server_has_ended_what_it_was_asked_to(
    script: ScriptedServer,
) -> None:
    room, log, publication = await hearing_bob(script)
    for wanted in (False, True, False, True):
        publication.set_subscribed(wanted)
    room.local_participant.set_track_subscription_permissions(allow_all_participants=True)
    await script.seat.hears("subscription_permission")
    assert script.seat.kinds().count("subscription") == 1
    PaperPeer.made[0].emit(TrackEnded("publisher", "3"))
    assert (await script.seat.hears("subscription", 2)).subscribe
    PaperPeer.made[0].emit(MICROPHONE)
    await turns(1)
    assert log.names.count("track_subscribed") == 2
    assert log.names.count("track_unsubscribed") == 1
    await room.disconnect()


async def test_what_the_server_never_ended_is_taken_up_again(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_roster, "ENDED_WITHIN", 0.01)
    room, log, publication = await hearing_bob(script)
    publication.set_subscribed(False)
    await log.sees("track_unsubscribed")
    publication.set_subscribed(True)
    assert (await script.seat.hears("subscription", 2)).subscribe
    assert log.names.count("track_subscribed") == 2
    assert publication.track is not None
    await room.disconnect()


async def test_what_came_while_it_was_unwanted_is_taken_up_at_once(script: ScriptedServer) -> None:
    """Servers that move a track to another section as it is given up do not tell of that section again."""
    room, log, publication = await hearing_bob(script)
    publication.set_subscribed(False)
    await log.sees("track_unsubscribed")
    PaperPeer.made[0].emit(TrackEnded("publisher", "3"), replace(MICROPHONE, mid="4"))
    await turns(1)
    assert publication.track is None
    publication.set_subscribed(True)
    assert publication.track is not None
    await room.disconnect()


async def test_a_track_that_moves_to_another_section_goes_on(script: ScriptedServer) -> None:
    room, log, publication = await hearing_bob(script)
    PaperPeer.made[0].emit(replace(MICROPHONE, mid="4"), TrackEnded("publisher", "3"))
    await turns(1)
    assert publication.track is not None
    assert log.names.count("track_subscribed") == 2
    await room.disconnect()


async def test_the_sections_of_a_single_connection_are_known_by_the_answer(script: ScriptedServer) -> None:
    script.others = [other("bob", microphone())]
    room, log = await connected(script)
    await script.seat.send(
        answer=rtc.SessionDescription(type="answer", sdp="v=0", mid_to_track_id={"5": "TR_mic"})
    )
    await turns(1)
    PaperPeer.made[0].emit(Track("publisher", "5", "audio", "PA_bob|camera", "whatever"))
    await log.sees("track_subscribed", "TR_mic")
    await room.disconnect()


async def test_speakers_are_told_of_whole(script: ScriptedServer) -> None:
    script.others = [other("bob"), other("eve")]
    room, log = await connected(script)

    async def speak(sid: str, level: float) -> None:
        speaker = models.SpeakerInfo(sid=sid, level=level, active=level > 0)
        await script.seat.send(speakers_changed=rtc.SpeakersChanged(speakers=[speaker]))

    await speak("PA_bob", 0.2)
    await speak("PA_eve", 0.5)
    await speak("PA_bob", 0)
    await log.sees("active_speakers_changed", ["eve"])
    assert [event[1] for event in log.events[1:]] == [["bob"], ["eve", "bob"], ["eve"]]
    await room.disconnect()


async def test_handlers_may_fail_and_may_be_coroutines(
    script: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    room, log = await connected(script)
    done = asyncio.Event()

    def fails(participant: Any) -> None:
        raise ValueError("of the program")

    async def waits(participant: Any) -> None:
        await asyncio.sleep(0)
        done.set()

    room.on("participant_connected", fails)
    room.on("participant_connected", waits)
    with caplog.at_level(logging.ERROR):
        await script.seat.send(update=rtc.ParticipantUpdate(participants=[other("bob")]))
        await asyncio.wait_for(done.wait(), 5)
    assert "ValueError: of the program" in caplog.text
    assert "participant_active" in log.names
    await room.disconnect()


# ---- oneself


async def test_a_track_is_announced_before_its_publication_is_told_of(script: ScriptedServer) -> None:
    room, log = await connected(script)
    track = tone()
    publication = await room.local_participant.publish_track(track)
    assert "local_track_published" not in log.names
    await asyncio.sleep(0)
    assert log.events[-1] == ("local_track_published", publication.sid, publication.sid)
    asked = await script.seat.hears("add_track")
    (call,) = PaperPeer.made[0].called("publish_audio")
    assert dict(call[2:])["cid"] == asked.cid
    assert (track.sid, publication.track) == (publication.sid, track)
    await script.seat.send(track_subscribed=rtc.TrackSubscribed(track_sid=publication.sid))
    await asyncio.wait_for(publication.wait_for_subscription(), 5)
    track.mute()
    assert (await script.seat.hears("mute")).muted
    await log.sees("track_muted", "ada", publication.sid)
    await script.seat.send(mute=rtc.MuteTrackRequest(sid=publication.sid, muted=False))
    await log.sees("track_unmuted")
    assert script.seat.kinds().count("mute") == 1
    await room.local_participant.unpublish_track(publication.sid)
    assert log.events[-1] == ("local_track_unpublished", publication.sid)
    assert publication.track is None
    with pytest.raises(UnpublishTrackError):
        await room.local_participant.unpublish_track(publication.sid)
    await room.disconnect()


@pytest.mark.parametrize("ends", ["unpublished", "left"])
async def test_nobody_waits_on_for_a_subscription_of_what_is_gone(script: ScriptedServer, ends: str) -> None:
    room, _ = await connected(script)
    publication = await room.local_participant.publish_track(tone())
    waiting = asyncio.create_task(publication.wait_for_subscription())
    await turns(1)
    if ends == "unpublished":
        await room.local_participant.unpublish_track(publication.sid)
    else:
        await room.disconnect()
    with pytest.raises(RuntimeError, match="before anybody subscribed"):
        await asyncio.wait_for(waiting, 5)
    await room.disconnect()


async def test_who_may_not_publish_hears_so_at_once(script: ScriptedServer) -> None:
    room, _ = await connected(script)
    script.deaf_to.add("add_track")
    publishing = asyncio.create_task(room.local_participant.publish_track(tone()))
    asked = await script.seat.hears("add_track")
    refusal = rtc.RequestResponse(reason=rtc.RequestResponse.NOT_ALLOWED, message="no", add_track=asked)
    await script.seat.send(request_response=refusal)
    with pytest.raises(PublishTrackError, match="NOT_ALLOWED"):
        await publishing
    await room.disconnect()


@pytest.mark.parametrize("kind", ["sound", "pictures", "encoded pictures"])
async def test_a_track_of_a_closed_source_is_refused(script: ScriptedServer, kind: str) -> None:
    room, _ = await connected(script)
    made = {"pictures": VideoSource, "encoded pictures": EncodedVideoSource}.get(kind)
    film = LocalVideoTrack.create_video_track("film", made(64, 64)) if made is not None else None
    track = film or tone()
    await track._source.aclose()
    with pytest.raises(PublishTrackError, match="source is closed"):
        await asyncio.wait_for(room.local_participant.publish_track(track), 5)
    assert not room.local_participant.track_publications
    await room.disconnect()


async def test_reliable_data_is_numbered_and_waits_for_room(script: ScriptedServer) -> None:
    room, _ = await connected(script)
    peer = PaperPeer.made[0]
    await room.local_participant.publish_data("one", topic="t", destination_identities=["bob"])
    peer.full = True
    waiting = asyncio.create_task(room.local_participant.publish_data(b"two"))
    await turns(1)
    assert not waiting.done()
    peer.full = False
    peer.emit(BufferLow("reliable"))
    await waiting
    first, second = peer.packets()
    assert [(one.sequence, one.user.payload) for one in (first, second)] == [(1, b"one"), (2, b"two")]
    assert (first.participant_identity, list(first.destination_identities)) == ("ada", ["bob"])
    with pytest.raises(PublishDataError, match="64000"):
        await room.local_participant.publish_data(b"x" * 64_000)
    await room.disconnect()


async def test_what_is_none_is_refused_where_it_is_given(script: ScriptedServer) -> None:
    room, _ = await connected(script)
    me: Any = room.local_participant
    for call in (
        lambda: me.publish_data(5),
        lambda: me.publish_data([1, 2]),
        lambda: me.publish_data(b"x", topic=None),
        lambda: me.send_bytes(5),
        lambda: me.send_text("x", topic=None),
        lambda: me.stream_bytes("x", topic=None),
        lambda: me.set_metadata(None),
        lambda: me.set_name(None),
        lambda: me.set_attributes(None),
    ):
        with pytest.raises(TypeError):
            await call()
    with pytest.raises(ValueError, match="99"):
        await room.simulate_scenario(99)  # type: ignore[arg-type]
    assert PaperPeer.made[0].packets() == []
    assert not {"update_metadata", "simulate"} & set(script.seat.kinds())
    await room.disconnect()


async def test_data_comes_once_with_its_sender(script: ScriptedServer) -> None:
    script.others = [other("bob")]
    room, log = await connected(script)
    packet = models.DataPacket(participant_identity="bob", participant_sid="PA_bob", sequence=4)
    packet.user.payload = b"hello"
    message = packet.SerializeToString()
    PaperPeer.made[0].emit(Data("reliable", message), Data("reliable", message), Data("lossy", b"\xff"))
    packet.ClearField("sequence")
    PaperPeer.made[0].emit(Data("lossy", packet.SerializeToString()))
    await turns(1)
    assert log.events[1:] == [("data_received", b"hello")] * 2
    await room.disconnect()


async def test_changes_of_oneself_wait_for_the_answer(script: ScriptedServer) -> None:
    room, log = await connected(script)
    await room.local_participant.set_attributes({"mood": "fine"})
    asked = await script.seat.hears("update_metadata")
    assert dict(asked.attributes) == {"mood": "fine"}
    await script.seat.send(
        update=rtc.ParticipantUpdate(participants=[models.ParticipantInfo(identity="ada", name="Ada")])
    )
    await log.sees("participant_name_changed", "ada", "", "Ada")
    await room.disconnect()


# ---- reconnecting


async def test_who_was_moved_is_in_another_room_with_the_same_tracks(script: ScriptedServer) -> None:
    script.others = [other("bob")]
    room, log = await connected(script)
    publication = await room.local_participant.publish_track(tone())
    await turns(1)
    log.events.clear()
    moved = rtc.RoomMovedResponse(
        room=models.Room(name="other", sid="RM_other"),
        token="of-the-other-room",
        participant=me("PA_moved"),
        other_participants=[other("eve")],
    )
    await script.seat.send(room_moved=moved)
    await log.sees("moved")
    assert log.names == [
        "participant_disconnected",
        "participant_connected",
        "participant_active",
        "room_updated",
        "moved",
    ]
    assert (room.name, room.local_participant.sid) == ("other", "PA_moved")
    assert publication.sid in room.local_participant.track_publications
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    await log.sees("reconnected")
    assert script.seat.join.participant_sid == "PA_moved"
    await room.disconnect()


async def test_methods_that_are_registered_are_known_by_name(script: ScriptedServer) -> None:
    """livekit-agents calls handlers that others have registered."""
    room, _ = await connected(script)
    me = room.local_participant

    @me.register_rpc_method("decorated")
    def decorated(invocation: RpcInvocationData) -> str:
        return invocation.payload

    assert me.register_rpc_method("given", decorated) is decorated
    assert me._rpc_handlers == {"decorated": decorated, "given": decorated}
    me.unregister_rpc_method("given")
    me.unregister_rpc_method("given")
    assert list(me._rpc_handlers) == ["decorated"]
    await room.disconnect()
