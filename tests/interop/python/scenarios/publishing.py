"""Tracks that come, go, are muted, and are subscribed to by hand."""

from __future__ import annotations

import os

from ..media import BLUE, RATE, RED, Colour, Tone
from ..sdk import rtc
from ..stage import Stage, scenario
from .media import CAMERA, MICROPHONE

ROUNDS = 15
#: More by the environment, where time allows.
MANY_ROUNDS = int(os.environ.get("PUBLISH_ROUNDS", "25"))


@scenario(recorded=True)
async def mute_and_unmute(stage: Stage) -> None:
    ada, bob = await stage.pair()
    publication = await ada.play(440)
    await bob.hears("ada", 440)
    await ada.sees_event("local_track_subscribed")
    for count in (1, 2):
        publication.track.mute()
        await bob.sees_event("track_muted", "ada", count=count)
        assert bob.publication("ada", MICROPHONE).muted
        await bob.until("hears silence", lambda: bob.sounds["ada"].has_faded())
        publication.track.unmute()
        await bob.sees_event("track_unmuted", "ada", count=count)
        await bob.hears_afresh("ada", 440)


@scenario()
async def a_muted_camera_comes_back_at_once(stage: Stage) -> None:
    ada, bob = await stage.pair()
    colour = Colour(RED)
    publication = await ada.show(colour)
    await bob.sees("ada", RED)
    publication.track.mute()
    await bob.sees_event("track_muted", "ada", "camera")
    colour.value = BLUE
    publication.track.unmute()
    await bob.sees("ada", BLUE)


@scenario(recorded=True)
async def publish_again_and_again(stage: Stage) -> None:
    ada, bob = await stage.pair()
    for count in range(1, ROUNDS + 1):
        publication = await ada.play(400 + 20 * count)
        await bob.sees_event("track_subscribed", "audio", count=count)
        # Only then is it settled whether the publisher is told before it takes the track away.
        await ada.sees_event("local_track_subscribed", count=count)
        await ada.me.unpublish_track(publication.sid)
        await bob.sees_event("track_unpublished", count=count)
    await ada.play(440)
    await bob.hears_afresh("ada", 440)
    await ada.sees_event("local_track_subscribed", count=ROUNDS + 1)


@scenario(alone=True)
async def publish_many_times(stage: Stage) -> None:
    ada, bob = await stage.pair()
    source = rtc.AudioSource(RATE, 1, queue_size_ms=200)
    ada.spawn(Tone(440).play(source))
    options = rtc.TrackPublishOptions(source=MICROPHONE)
    for count in range(1, MANY_ROUNDS + 1):
        track = rtc.LocalAudioTrack.create_audio_track("tone", source)
        publication = await ada.me.publish_track(track, options)
        await bob.sees_event("track_subscribed", "audio", count=count)
        if count < MANY_ROUNDS:
            await ada.me.unpublish_track(publication.sid)
            await bob.sees_event("track_unpublished", count=count)
    await bob.hears_afresh("ada", 440)


@scenario()
async def publish_in_haste(stage: Stage) -> None:
    """Unpublished before anybody could subscribe; the last one stays."""
    ada, bob = await stage.pair()
    for _ in range(ROUNDS):
        publication = await ada.play(600)
        await ada.me.unpublish_track(publication.sid)
    last = await ada.play(440)
    await bob.hears("ada", 440)
    await bob.until("only the last", lambda: list(bob.other("ada").track_publications) == [last.sid])


@scenario(recorded=True)
async def subscribe_by_hand(stage: Stage) -> None:
    ada = await stage.join("ada")
    bob = await stage.join("bob", {"auto_subscribe": False})
    await ada.meets_active("bob")
    await ada.play(440)
    await bob.sees_event("track_published", "microphone")
    publication = bob.publication("ada", MICROPHONE)
    assert not publication.subscribed
    publication.set_subscribed(True)
    await bob.hears("ada", 440)
    await ada.sees_event("local_track_subscribed")
    publication.set_subscribed(False)
    await bob.sees_event("track_unsubscribed", "audio")
    publication.set_subscribed(True)
    await bob.sees_event("track_subscribed", "audio", count=2)
    await bob.hears_afresh("ada", 440)


@scenario(recorded=True)
async def subscriptions_for_some_only(stage: Stage) -> None:
    ada, bob = await stage.pair()
    eve = await stage.join("eve")
    await ada.meets_active("eve")
    await bob.meets_active("eve")
    only_bob = rtc.ParticipantTrackPermission(participant_identity="bob", allow_all=True)
    ada.me.set_track_subscription_permissions(
        allow_all_participants=False, participant_permissions=[only_bob]
    )
    await ada.play(440)
    await bob.hears("ada", 440)
    await eve.sees_event("track_published", "microphone")
    assert eve.publication("ada", MICROPHONE).track is None
    ada.me.set_track_subscription_permissions(allow_all_participants=True)
    await eve.hears("ada", 440)
    ada.me.set_track_subscription_permissions(
        allow_all_participants=False, participant_permissions=[only_bob]
    )
    await eve.hears_no_more("ada")
    await bob.hears_afresh("ada", 440)


@scenario()
async def many_tracks_of_one_person(stage: Stage) -> None:
    """More than a single connection asks for at first."""
    ada, bob = await stage.pair()
    for number in range(6):
        await ada.play(400 + 100 * number, source=rtc.TrackSource.SOURCE_UNKNOWN)
    await bob.sees_event("track_subscribed", "audio", count=6)
    await ada.show(Colour(RED))
    await bob.sees("ada", RED)
    assert bob.publication("ada", CAMERA).subscribed
