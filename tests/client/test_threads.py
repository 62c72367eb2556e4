"""What is asked of a room from a thread that is not its loop's."""

from __future__ import annotations

import asyncio

import pytest
from livekit.protocol import models
from scripted import PaperPeer, ScriptedServer, Track, microphone, other
from watched import Source

from roomful.rtc import VideoQuality
from roomful.rtc.room import Room
from roomful.rtc.track import LocalAudioTrack

pytestmark = pytest.mark.asyncio


async def test_tracks_are_muted_subscribed_to_and_permitted_from_any_thread(script: ScriptedServer) -> None:
    camera = models.TrackInfo(sid="TR_cam", type=models.TrackType.VIDEO, simulcast=True)
    script.others = [other("bob", microphone(), camera)]
    room, happened = Room(), asyncio.Queue[str]()
    room.on("track_muted", lambda participant, publication: happened.put_nowait("muted"))
    room.on("track_unsubscribed", lambda track, publication, bob: happened.put_nowait("unsubscribed"))
    await room.connect(script.url, "token")
    PaperPeer.made[0].emit(Track("publisher", "1", "audio", "PA_bob|", "TR_mic"))
    track = LocalAudioTrack.create_audio_track("tone", Source())
    await room.local_participant.publish_track(track)
    bob = room.remote_participants["bob"].track_publications

    def ask() -> None:
        track.mute()
        bob["TR_mic"].set_subscribed(False)
        bob["TR_cam"].set_video_quality(VideoQuality.VIDEO_QUALITY_LOW)  # type: ignore[attr-defined]
        room.local_participant.set_track_subscription_permissions(allow_all_participants=False)

    await asyncio.to_thread(ask)
    assert (await script.seat.hears("mute")).muted
    assert not (await script.seat.hears("subscription")).subscribe
    assert (await script.seat.hears("track_setting")).track_sids == ["TR_cam"]
    assert not (await script.seat.hears("subscription_permission")).all_participants
    async with asyncio.timeout(5):
        assert {await happened.get(), await happened.get()} == {"muted", "unsubscribed"}
    assert room.local_participant.track_publications[track.sid].muted
    await room.disconnect()
