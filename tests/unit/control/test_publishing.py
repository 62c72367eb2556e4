from __future__ import annotations

import pytest
from livekit.protocol import models, rtc
from livekit.protocol.room import MuteRoomTrackRequest, UpdateParticipantRequest

from roomful.server.errors import FailedPrecondition
from roomful.server.media import Event

from .world import Client, World, add_track, config

Reason = rtc.RequestResponse.Reason
Source = models.TrackSource
VIDEO = models.TrackType.VIDEO


def offer(client: Client, number: int) -> None:
    client.send(offer=rtc.SessionDescription(type="offer", sdp="v=0", id=number))


def answer(world: World, client: Client, number: int) -> Event:
    return Event.Description(client.number, "publisher", "answer", "v=0", number, {})


def test_offer_answer_and_candidates_are_relayed(world: World) -> None:
    client = world.join("ada")
    client.read()
    offer(client, 9)
    sent = world.media.named("remote_description")[0]
    assert (sent["participant"], sent["target"], sent["kind"], sent["sdp"]) == (
        client.number,
        "publisher",
        "offer",
        "v=0",
    )
    client.send(trickle=rtc.TrickleRequest(candidateInit='{"candidate":"candidate:1 1 udp"}', final=True))
    assert [it["candidate"] for it in world.media.named("remote_candidate")] == ["candidate:1 1 udp", ""]
    world.events(
        Event.Description(client.number, "publisher", "answer", "v=1", 9, {"0": "TR_x"}),
        Event.Candidate(client.number, "publisher", "candidate:2", "0", 0, True),
    )
    described, trickled = client.read()
    assert (described.answer.type, described.answer.id, described.answer.sdp) == ("answer", 9, "v=1")
    assert dict(described.answer.mid_to_track_id) == {"0": "TR_x"}
    assert trickled.trickle.candidateInit == '{"candidate":"candidate:2","sdpMid":"0","sdpMLineIndex":0}'
    assert trickled.trickle.final


def test_dual_mode_relays_our_offer_and_its_answer(world: World) -> None:
    client = world.join("ada")
    world.events(Event.Description(client.number, "subscriber", "offer", "v=2", 41, {"1": "TR_y"}))
    (sent,) = client.got("offer")
    assert (sent.type, sent.id, dict(sent.mid_to_track_id)) == ("offer", 41, {"1": "TR_y"})
    client.send(answer=rtc.SessionDescription(type="answer", sdp="v=3", id=41))
    relayed = world.media.named("remote_description")[-1]
    assert (relayed["target"], relayed["kind"], relayed["id"]) == ("subscriber", "answer", 41)


def test_an_offer_left_unanswered_ends_in_a_full_reconnect(world: World) -> None:
    client = world.join("ada").connect()
    world.events(Event.Description(client.number, "subscriber", "offer", "v=2", 41, {}))
    world.pass_time(14)
    assert not client.closed
    world.pass_time(2)
    (leave,) = client.got("leave")
    assert (leave.reason, leave.action) == (
        models.DisconnectReason.STATE_MISMATCH,
        rtc.LeaveRequest.RECONNECT,
    )


def test_single_mode_asks_for_sections_and_takes_no_answer(world: World) -> None:
    client = world.join("ada", single_peer_connection=True)
    client.read()
    world.events(Event.MediaSections(client.number, 2, 1))
    (wanted,) = client.got("media_sections_requirement")
    assert (wanted.num_audios, wanted.num_videos) == (2, 1)
    client.send(answer=rtc.SessionDescription(sdp="v=0"))
    assert client.got("request_response")[0].reason == Reason.INVALID_REQUEST
    assert world.media.named("remote_description") == []


def test_a_rejected_description_says_why(world: World) -> None:
    client = world.join("ada")
    client.read()
    offer(client, 1)
    world.events(Event.DescriptionRejected(client.number, "publisher", 1, "no ICE credentials"))
    (response,) = client.got("request_response")
    assert "no ICE credentials" in response.message
    assert not client.closed


def test_add_track_describes_the_track_to_publisher_and_media_plane(world: World) -> None:
    client = world.join("ada")
    info = client.add(
        "cam",
        type=VIDEO,
        name="my camera",
        width=1280,
        height=720,
        layers=[
            models.VideoLayer(quality=models.VideoQuality.HIGH, width=1280, height=720),
            models.VideoLayer(quality=models.VideoQuality.LOW, width=320, height=180),
            models.VideoLayer(quality=models.VideoQuality.OFF),
        ],
        simulcast_codecs=[
            rtc.SimulcastCodec(codec="vp9", cid="cam"),
            rtc.SimulcastCodec(codec="vp8"),
        ],
    )
    assert info.sid.startswith("TR_VC")
    assert (info.name, info.width, info.height, info.stream) == ("my camera", 1280, 720, "camera")
    assert [layer.quality for layer in info.layers] == [0, 2]
    assert [(it.mime_type, it.cid) for it in info.codecs] == [("video/VP9", "cam"), ("video/VP8", "")]
    modes = [it.video_layer_mode for it in info.codecs]
    assert modes == [
        models.VideoLayer.MULTIPLE_SPATIAL_LAYERS_PER_STREAM,
        models.VideoLayer.ONE_SPATIAL_LAYER_PER_STREAM,
    ]
    told = world.media.named("expect_track")[0]
    assert (told["sid"], told["kind"], told["cid"], told["stream"]) == (info.sid, "video", "cam", "camera")
    assert [repr(codec).count("video/vp9") for codec in told["codecs"]] == [1, 0]


def test_audio_features_and_sources_show_in_sid_and_command(world: World) -> None:
    client = world.join("ada")
    info = client.add("a", stereo=True, disable_dtx=True, disable_red=True, muted=True)
    assert info.sid.startswith("TR_AM")
    assert set(info.audio_features) == {
        models.AudioTrackFeature.TF_STEREO,
        models.AudioTrackFeature.TF_NO_DTX,
    }
    told = world.media.named("expect_track")[0]
    assert {name: told[name] for name in ("microphone", "stereo", "dtx", "red", "muted", "encrypted")} == {
        "microphone": True,
        "stereo": True,
        "dtx": False,
        "red": False,
        "muted": True,
        "encrypted": False,
    }
    screen = client.add("s", source=Source.SCREEN_SHARE_AUDIO, encryption=models.Encryption.GCM)
    assert screen.sid.startswith("TR_As")
    assert screen.stream == "screen"
    assert world.media.named("expect_track")[1]["encrypted"]
    assert client.add("u", source=Source.UNKNOWN).stream == "unknown"


def test_a_disabled_codec_is_replaced_by_an_enabled_one() -> None:
    world = World(config(room={"enabled_codecs": [{"mime": "video/H264"}, {"mime": "audio/opus"}]}))
    client = world.join("ada")
    info = client.add("cam", type=VIDEO, simulcast_codecs=[rtc.SimulcastCodec(codec="vp8", cid="cam")])
    assert [(it.mime_type, it.cid) for it in info.codecs] == [("video/H264", "cam")]


def test_no_codec_of_a_kind_is_refused() -> None:
    world = World(config(room={"enabled_codecs": [{"mime": "audio/opus"}]}))
    client = world.join("ada")
    client.send(add_track=add_track("cam", type=VIDEO))
    assert client.got("request_response")[0].reason == Reason.UNSUPPORTED_TYPE


def test_others_learn_of_a_track_once_it_is_bound(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    bob.read()
    ada.read()
    info = ada.add("mic")
    assert bob.entries() == []
    offer(ada, 1)
    world.events(Event.TrackBound(world.track(info.sid), "3", "audio/red", []))
    (entry,) = bob.entries()
    (track,) = entry.tracks
    assert (track.sid, track.mid, track.mime_type) == (info.sid, "3", "audio/red")
    assert entry.is_publisher
    assert ada.entries() == []
    assert bob.join.room.num_publishers == 0
    assert world.control.list_rooms()[0].num_publishers == 1


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"type": models.TrackType.DATA}, Reason.UNSUPPORTED_TYPE),
        ({"type": 9}, Reason.UNSUPPORTED_TYPE),
        ({"type": VIDEO}, Reason.NOT_ALLOWED),
        ({"sid": "TR_none"}, Reason.NOT_FOUND),
        ({"name": "n" * 10_000}, Reason.LIMIT_EXCEEDED),
    ],
)
def test_add_track_refusals(world: World, wanted: dict[str, object], reason: int) -> None:
    client = world.join("ada", grant={"can_publish_sources": ("microphone",)})
    client.read()
    client.send(add_track=add_track("x", **{"source": Source.CAMERA if "type" in wanted else 2, **wanted}))
    (response,) = client.got("request_response")
    expected = Reason.NOT_ALLOWED if wanted.get("type") == VIDEO else reason
    assert response.reason == expected
    assert response.message
    assert world.media.named("expect_track") == []


def test_publishing_without_the_right_is_answered(world: World) -> None:
    client = world.join("ada", grant={"can_publish": False})
    client.read()
    client.send(add_track=add_track("mic"))
    (response,) = client.got("request_response")
    assert (response.reason, response.add_track.cid) == (Reason.NOT_ALLOWED, "mic")


def test_as_many_tracks_may_be_pending_as_a_participant_may_have(world: World) -> None:
    """Clients ask for all at once, and take no refusal for a reason to ask later."""
    client = world.join("ada")
    for number in range(256):
        client.add(f"t{number}")
    client.send(add_track=add_track("more"))
    assert client.got("request_response")[0].reason == Reason.LIMIT_EXCEEDED


def test_pending_tracks_that_were_given_up_make_way(world: World) -> None:
    """As of publishes that were cancelled once the server had answered."""
    client = world.join("ada")
    first, *_ = [client.add(f"t{number}") for number in range(256)]
    world.pass_time(3)
    client.send(add_track=add_track("soon"))
    assert client.got("request_response")[0].reason == Reason.LIMIT_EXCEEDED
    offer(client, 1)
    world.pass_time(2)
    client.send(add_track=add_track("during an offer"))
    assert client.got("request_response")[0].reason == Reason.LIMIT_EXCEEDED
    world.events(answer(world, client, 1))
    removed = world.track(first.sid)
    client.send(add_track=add_track("real"))
    unpublished, published = (it for it in client.read() if it.WhichOneof("message").startswith("track_"))
    assert unpublished.track_unpublished.track_sid == first.sid
    assert published.track_published.cid == "real"
    assert world.media.named("remove_track") == [{"track": removed}]


def test_ten_thousand_tracks_are_bounded(world: World) -> None:
    client = world.join("ada")
    for number in range(10_000):
        client.send(add_track=add_track(f"t{number}"))
        for sent in client.got("track_published"):
            world.events(Event.TrackBound(world.media.commands[-1][1]["track"], "0", "audio/opus", []))
            assert sent.cid == f"t{number}"
    assert len(world.media.named("expect_track")) == 256
    assert not client.closed


def test_a_backup_codec_joins_the_track(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    info = ada.publish("cam", type=VIDEO, simulcast_codecs=[rtc.SimulcastCodec(codec="vp9", cid="cam")])
    bob.read()
    ada.read()
    backup = [rtc.SimulcastCodec(codec="vp8", cid="backup")]
    ada.send(add_track=add_track("backup", type=VIDEO, sid=info.sid, simulcast_codecs=backup))
    (published,) = ada.got("track_published")
    assert published.cid == "backup"
    assert published.track.sid == info.sid
    assert [it.mime_type for it in published.track.codecs] == ["video/VP9", "video/VP8"]
    first, second = world.media.named("expect_track")
    assert first["track"] == second["track"]
    assert len(second["codecs"]) == 1
    world.events(Event.TrackBound(first["track"], "5", "video/vp8", []))
    (entry,) = bob.entries()
    assert [(it.mime_type, it.mid) for it in entry.tracks[0].codecs] == [
        ("video/VP9", "0"),
        ("video/VP8", "5"),
    ]
    assert entry.tracks[0].mime_type == "video/VP9"


def test_a_bound_cid_is_queued_until_its_track_ends(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    first = ada.publish("mic")
    ada.read()
    for _ in range(4):
        ada.send(add_track=add_track("mic"))
    reasons = [it.reason for it in ada.got("request_response")]
    assert reasons == [Reason.QUEUED, Reason.QUEUED, Reason.QUEUED, Reason.LIMIT_EXCEEDED]
    bob.read()
    world.events(Event.TrackEnded(world.track(first.sid)))
    (published,) = ada.got("track_published")
    assert published.track.sid != first.sid
    assert [list(entry.tracks) for entry in bob.entries()] == [[]]


def test_two_hundred_publishes_given_up_midway_are_each_answered(world: World) -> None:
    """AddTrack, offer, removal before the answer, AddTrack again: no pending entry stays behind."""
    client = world.join("ada")
    answered = 0
    for number in range(200):
        client.read()
        client.send(add_track=add_track("x"))
        offer(client, number * 2)
        offer(client, number * 2 + 1)
        client.send(add_track=add_track("x"))
        world.events(answer(world, client, number * 2), answer(world, client, number * 2 + 1))
        kinds = [str(it.WhichOneof("message")) for it in client.read()]
        assert kinds.count("track_published") >= 1
        answered += kinds.count("track_published")
    live = {it["track"] for it in world.media.named("expect_track")}
    live -= {it["track"] for it in world.media.named("remove_track")}
    assert len(live) == 1
    assert answered >= 200
    world.events(Event.TrackBound(live.pop(), "0", "audio/opus", []))
    assert len(world.control.get_participant("demo", "ada").tracks) == 1


def test_publishing_again_before_the_first_offer_replaces_it(world: World) -> None:
    client = world.join("ada")
    first, second = client.add("x"), client.add("x")
    assert first.sid != second.sid
    assert world.media.named("remove_track") == [{"track": world.track(first.sid)}]
    world.events(Event.TrackBound(world.track(first.sid), "0", "audio/opus", []))
    assert list(world.control.get_participant("demo", "ada").tracks) == []


def test_unpublish_is_told_to_others_only(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    info = ada.publish()
    ada.read()
    bob.read()
    world.events(Event.TrackEnded(world.track(info.sid)))
    (entry,) = bob.entries()
    assert list(entry.tracks) == []
    assert not entry.is_publisher
    assert ada.got("track_unpublished") == []


def test_mute_reaches_media_plane_and_others(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    info = ada.publish()
    ada.read()
    bob.read()
    ada.send(mute=rtc.MuteTrackRequest(sid=info.sid, muted=True))
    assert world.media.named("mute_track") == [{"track": world.track(info.sid), "muted": True}]
    (entry,) = bob.entries()
    assert entry.tracks[0].muted
    assert ada.read() == []
    ada.send(mute=rtc.MuteTrackRequest(sid="TR_none", muted=True))
    (response,) = ada.got("request_response")
    assert (response.reason, response.mute.sid) == (Reason.NOT_FOUND, "TR_none")


def test_a_pending_track_can_be_muted(world: World) -> None:
    ada = world.join("ada")
    info = ada.add()
    ada.send(mute=rtc.MuteTrackRequest(sid=info.sid, muted=True))
    world.events(Event.TrackBound(world.track(info.sid), "0", "audio/opus", []))
    assert world.control.get_participant("demo", "ada").tracks[0].muted


def test_mute_by_the_server_is_told_to_the_publisher_too(world: World) -> None:
    ada = world.join("ada")
    info = ada.publish()
    ada.read()
    request = MuteRoomTrackRequest(room="demo", identity="ada", track_sid=info.sid, muted=True)
    muted = world.control.mute_published_track(request)
    assert muted is not None
    assert muted.muted
    kinds = [it.WhichOneof("message") for it in ada.read()]
    assert kinds == ["mute", "update"]
    request.muted = False
    with pytest.raises(FailedPrecondition, match="remote unmute not enabled"):
        world.control.mute_published_track(request)
    request.track_sid, request.muted = "TR_none", True
    assert world.control.mute_published_track(request) is None


def test_publisher_may_change_its_track_settings(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    mic, camera = ada.publish("mic"), ada.publish("cam", type=VIDEO)
    bob.read()
    ada.read()
    feature = models.AudioTrackFeature.TF_NOISE_SUPPRESSION
    ada.send(update_audio_track=rtc.UpdateLocalAudioTrack(track_sid=mic.sid, features=[feature]))
    ada.send(update_video_track=rtc.UpdateLocalVideoTrack(track_sid=camera.sid, width=64, height=48))
    audio, video = bob.entries()[-1].tracks
    assert list(audio.audio_features) == [feature]
    assert (video.width, video.height) == (64, 48)
    ada.send(update_audio_track=rtc.UpdateLocalAudioTrack(track_sid=camera.sid))
    ada.send(update_video_track=rtc.UpdateLocalVideoTrack(track_sid=mic.sid))
    ada.send(update_layers=rtc.UpdateVideoLayers(track_sid=mic.sid))
    assert [it.reason for it in ada.got("request_response")] == [Reason.NOT_FOUND] * 3


def test_track_subscribed_comes_once_and_not_for_hidden_ones(world: World) -> None:
    ada, bob, eve = world.join("ada"), world.join("bob"), world.join("eve")
    spy = world.join("spy", grant={"hidden": True})
    info = ada.publish()
    ada.read()
    world.subscribe(spy, info.sid)
    assert ada.got("track_subscribed") == []
    world.subscribe(bob, info.sid)
    world.subscribe(eve, info.sid)
    (told,) = ada.got("track_subscribed")
    assert told.track_sid == info.sid


def test_dynacast_tells_codecs_and_the_legacy_qualities(world: World) -> None:
    ada = world.join("ada")
    info = ada.publish("cam", type=VIDEO)
    ada.read()
    number = world.track(info.sid)
    world.events(
        Event.Qualities(number, [("vp9", (True, True, False)), ("vp8", (False, False, False))]),
        Event.AudioCodecs(number, [("audio/pcmu", False), ("audio/opus", True)]),
    )
    video, audio = ada.read()
    update = video.subscribed_quality_update
    assert update.track_sid == info.sid
    assert [it.codec for it in update.subscribed_codecs] == ["vp9", "vp8"]
    assert [(it.quality, it.enabled) for it in update.subscribed_qualities] == [
        (0, True),
        (1, True),
        (2, False),
    ]
    codecs = audio.subscribed_audio_codec_update.subscribed_audio_codecs
    assert [(it.codec, it.enabled) for it in codecs] == [("audio/pcmu", False), ("audio/opus", True)]


def test_revoked_sources_are_unpublished_and_the_rest_stays(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    camera = ada.publish("cam", type=VIDEO)
    mic = ada.publish("mic")
    screen = ada.publish("screen", type=VIDEO, source=Source.SCREEN_SHARE)
    world.subscribe(bob, mic.sid)
    ada.read()
    bob.read()
    permission = models.ParticipantPermission(
        can_publish=True, can_subscribe=True, can_publish_data=True, can_publish_sources=[Source.MICROPHONE]
    )
    request = UpdateParticipantRequest(room="demo", identity="ada", permission=permission)
    world.control.update_participant(request)
    messages = ada.read()
    gone = [it.track_unpublished.track_sid for it in messages if it.HasField("track_unpublished")]
    assert gone == [camera.sid, screen.sid]
    assert messages[-1].WhichOneof("message") == "refresh_token"
    last = bob.entries()[-1]
    assert [track.sid for track in last.tracks] == [mic.sid]
    assert list(last.permission.can_publish_sources) == [Source.MICROPHONE]
    removed = [it["track"] for it in world.media.named("remove_track")]
    assert removed == [world.track(camera.sid), world.track(screen.sid)]
    assert world.media.named("set_subscription") == []
    # A publish that is refused now works again once the right is back.
    ada.send(add_track=add_track("cam", type=VIDEO))
    assert ada.got("request_response")[0].reason == Reason.NOT_ALLOWED
    del request.permission.can_publish_sources[:]
    world.control.update_participant(request)
    assert ada.publish("cam", type=VIDEO).sid != camera.sid
