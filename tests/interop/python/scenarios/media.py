"""Sound by its frequency, pictures by their colour."""

from __future__ import annotations

from typing import Any

from livekit import api

from ..media import BLUE, GREEN, RED, YELLOW, Colour
from ..sdk import rtc
from ..stage import Person, Stage, scenario

MICROPHONE = rtc.TrackSource.SOURCE_MICROPHONE
CAMERA = rtc.TrackSource.SOURCE_CAMERA


@scenario(recorded=True)
async def tone(stage: Stage) -> None:
    ada, bob = await stage.pair()
    publication = await ada.play(440)
    await bob.hears("ada", 440)
    await ada.sees_event("local_track_subscribed")
    assert publication.sid == bob.publication("ada", MICROPHONE).sid


@scenario()
async def two_voices_at_once(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await ada.play(440)
    await bob.play(1000)
    await bob.hears("ada", 440)
    await ada.hears("bob", 1000)


@scenario()
async def stereo_without_red_or_dtx(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await ada.play(660, red=False, dtx=False)
    await bob.hears("ada", 660)


async def show_two_colours(stage: Stage, codec: int) -> None:
    ada, bob = await stage.pair()
    colour = Colour(RED)
    await ada.show(colour, video_codec=codec)
    await bob.sees("ada", RED, width=320)
    colour.value = BLUE
    await bob.sees("ada", BLUE)
    mime_type = bob.publication("ada", CAMERA).mime_type
    assert mime_type.lower() == f"video/{rtc.VideoCodec.Name(codec).lower()}", mime_type


@scenario(recorded=True)
async def colours_in_vp8(stage: Stage) -> None:
    await show_two_colours(stage, rtc.VideoCodec.VP8)


@scenario()
async def colours_in_h264(stage: Stage) -> None:
    await show_two_colours(stage, rtc.VideoCodec.H264)


@scenario()
async def colours_in_vp9(stage: Stage) -> None:
    await show_two_colours(stage, rtc.VideoCodec.VP9)


@scenario()
async def colours_in_av1(stage: Stage) -> None:
    await show_two_colours(stage, rtc.VideoCodec.AV1)


@scenario()
async def everything_both_ways(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await ada.play(440)
    await ada.show(Colour(GREEN))
    await bob.show(Colour(YELLOW))
    await bob.play(880)
    await bob.hears("ada", 440)
    await bob.sees("ada", GREEN)
    await ada.hears("bob", 880)
    await ada.sees("bob", YELLOW)


@scenario()
async def a_screen_beside_the_camera(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await ada.show(Colour(RED))
    await bob.sees("ada", RED)
    await ada.show(Colour(BLUE), 640, 360, source=rtc.TrackSource.SOURCE_SCREENSHARE)
    await bob.sees("ada", BLUE, width=640)
    assert {one.source for one in bob.other("ada").track_publications.values()} == {
        CAMERA,
        rtc.TrackSource.SOURCE_SCREENSHARE,
    }


@scenario()
async def simulcast_layers_as_asked(stage: Stage) -> None:
    """The subscriber asks for the lowest layer, then for the highest."""
    ada, bob = await stage.pair()
    await ada.show(Colour(GREEN), 960, 540, simulcast=True, video_codec=rtc.VideoCodec.VP8)
    await bob.sees("ada", GREEN)
    publication = bob.publication("ada", CAMERA)
    assert publication.simulcasted
    publication.set_video_quality(rtc.VideoQuality.VIDEO_QUALITY_LOW)
    await bob.until("a small picture", lambda: bob.pictures["ada"].width <= 320)
    publication.set_video_quality(rtc.VideoQuality.VIDEO_QUALITY_HIGH)
    await bob.sees("ada", GREEN, width=960)


@scenario(recorded=True)
async def the_latecomer_hears(stage: Stage) -> None:
    ada = await stage.join("ada")
    await ada.play(440)
    await is_listed(stage, ada)
    bob = await stage.join("bob")
    await bob.hears("ada", 440)
    await ada.sees_event("local_track_subscribed", "audio")
    await ada.sees_event("participant_active", "bob")


@scenario()
async def the_latecomer_sees(stage: Stage) -> None:
    """At once, though the picture stands still: a key frame is asked for."""
    ada = await stage.join("ada")
    await ada.show(Colour(BLUE))
    await is_listed(stage, ada)
    for name in ("bob", "carl"):
        person = await stage.join(name)
        await person.sees("ada", BLUE)


async def is_listed(stage: Stage, person: Person) -> None:
    """Others who come now find the person's track."""
    async with stage.api() as lk:

        async def tracks() -> bool:
            listed = await lk.room.list_participants(api.ListParticipantsRequest(room=stage.room))
            return any(one.tracks for one in listed.participants)

        await person.glance("a track in the list", tracks)


@scenario()
async def a_speaker_is_noticed(stage: Stage) -> None:
    ada, bob = await stage.pair()
    await ada.play(440)
    await bob.sees_event("active_speakers_changed", ["ada"])
    await bob.sees_event("connection_quality_changed", "ada")


async def packets(person: Person, identity: str, source: int) -> Any:
    """What the statistics say of somebody's track: packets that came, frames that were decoded."""
    track = person.publication(identity, source).track
    if track is None:
        return None
    for one in await track.get_stats():
        if one.HasField("inbound_rtp"):
            return one.inbound_rtp
    return None
