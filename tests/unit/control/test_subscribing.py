from __future__ import annotations

from livekit.protocol import models, rtc
from livekit.protocol.room import UpdateParticipantRequest

from roomful.server.media import Event

from .world import Client, World

Reason = rtc.RequestResponse.Reason


def wishes(world: World, client: Client) -> list[tuple[int, str]]:
    return [
        (it["track"], it["wish"])
        for it in world.media.named("set_subscription")
        if it["participant"] == client.number
    ]


def permit(client: Client, *identities: str) -> None:
    client.send(
        subscription_permission=rtc.SubscriptionPermission(
            track_permissions=[
                rtc.TrackPermission(participant_identity=identity, all_tracks=True) for identity in identities
            ]
        )
    )


def test_no_command_without_an_exception(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    ada.publish()
    world.join("eve")
    assert wishes(world, bob) == []


def test_explicit_wishes_become_exceptions_once(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    sid = ada.publish().sid
    track = world.track(sid)
    for subscribe in (False, False, True):
        bob.send(subscription=rtc.UpdateSubscription(track_sids=[sid], subscribe=subscribe))
    assert wishes(world, bob) == [(track, "unsubscribed"), (track, "subscribed")]


def test_wishes_by_participant_count_too(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    sid = ada.publish().sid
    tracks = models.ParticipantTracks(participant_sid=ada.sid, track_sids=[sid])
    bob.send(subscription=rtc.UpdateSubscription(participant_tracks=[tracks]))
    assert wishes(world, bob) == [(world.track(sid), "unsubscribed")]


def test_an_unknown_track_is_waited_for_a_minute(world: World) -> None:
    bob = world.join("bob").connect()
    bob.read()
    bob.send(subscription=rtc.UpdateSubscription(track_sids=["TR_none"], subscribe=True))
    world.pass_time(59)
    assert bob.got("subscription_response") == []
    world.pass_time(2)
    (response,) = bob.got("subscription_response")
    assert (response.track_sid, response.err) == ("TR_none", models.SubscriptionError.SE_TRACK_NOTFOUND)


def test_wishes_for_unknown_tracks_are_bounded(world: World) -> None:
    bob = world.join("bob")
    bob.read()
    sids = [f"TR_{number}" for number in range(1200)]
    bob.send(subscription=rtc.UpdateSubscription(track_sids=sids, subscribe=True))
    assert {it.reason for it in bob.got("request_response")} == {Reason.LIMIT_EXCEEDED}
    bob.send(track_setting=rtc.UpdateTrackSettings(track_sids=sids, disabled=True))
    assert {it.reason for it in bob.got("request_response")} == {Reason.LIMIT_EXCEEDED}


def test_settings_are_passed_on_with_only_real_qualities(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    sid = ada.publish("cam", type=models.TrackType.VIDEO).sid
    bob.send(
        track_setting=rtc.UpdateTrackSettings(track_sids=[sid], width=320, height=180, fps=15, quality=1)
    )
    bob.send(track_setting=rtc.UpdateTrackSettings(track_sids=[sid], quality=3))
    first, second = world.media.named("set_track_settings")
    assert {key: first[key] for key in ("disabled", "quality", "width", "height", "fps")} == {
        "disabled": False,
        "quality": 1,
        "width": 320,
        "height": 180,
        "fps": 15,
    }
    assert (second["disabled"], second["quality"]) == (True, 2)


def test_a_failed_subscription_is_told(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    sid = ada.publish().sid
    bob.read()
    world.events(Event.SubscriptionFailed(bob.number, world.track(sid), "codec_unsupported"))
    (response,) = bob.got("subscription_response")
    assert (response.track_sid, response.err) == (sid, models.SubscriptionError.SE_CODEC_UNSUPPORTED)


def test_a_publisher_limits_its_subscribers(world: World) -> None:
    ada, bob, eve = world.join("ada"), world.join("bob"), world.join("eve")
    sid = ada.publish().sid
    track = world.track(sid)
    bob.read()
    eve.read()
    permit(ada, "eve")
    assert wishes(world, bob) == [(track, "unsubscribed")]
    assert wishes(world, eve) == []
    (told,) = bob.got("subscription_permission_update")
    assert (told.participant_sid, told.track_sid, told.allowed) == (ada.sid, sid, False)
    assert eve.got("subscription_permission_update") == []
    # An explicit wish does not get round it.
    bob.send(subscription=rtc.UpdateSubscription(track_sids=[sid], subscribe=True))
    assert wishes(world, bob)[-1] == (track, "unsubscribed")
    ada.send(subscription_permission=rtc.SubscriptionPermission(all_participants=True))
    assert wishes(world, bob)[-1] == (track, "subscribed")
    assert bob.got("subscription_permission_update")[-1].allowed


def test_limits_hold_for_later_tracks_and_later_joins(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    permit(ada)
    first = ada.publish("one")
    bob.read()
    late = world.join("late")
    assert wishes(world, bob) == [(world.track(first.sid), "unsubscribed")]
    assert wishes(world, late) == [(world.track(first.sid), "unsubscribed")]
    kinds = late.kinds
    assert kinds.index("join") < kinds.index("subscription_permission_update")
    names = [name for name, _ in world.media.commands]
    assert names.index("set_subscription") > names.index("expect_track")
    second = ada.publish("two")
    updates = [it.WhichOneof("message") for it in bob.read()]
    assert updates.index("update") < updates.index("subscription_permission_update")
    assert (world.track(second.sid), "unsubscribed") in wishes(world, bob)


def test_limits_by_sid_and_by_track(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    one, two = ada.publish("one"), ada.publish("two")
    ada.send(
        subscription_permission=rtc.SubscriptionPermission(
            track_permissions=[rtc.TrackPermission(participant_sid=bob.sid, track_sids=[one.sid])]
        )
    )
    assert wishes(world, bob) == [(world.track(two.sid), "unsubscribed")]


def test_recorders_bypass_the_limits(world: World) -> None:
    ada = world.join("ada")
    recorder, egress = world.join("rec", grant={"recorder": True}), world.join("eg", token={"kind": "egress"})
    ada.publish()
    permit(ada)
    assert wishes(world, recorder) == []
    assert wishes(world, egress) == []


def test_losing_and_regaining_the_right_to_subscribe_keeps_the_wishes(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob", auto_subscribe=False)
    sid = ada.publish().sid
    track = world.track(sid)
    bob.send(subscription=rtc.UpdateSubscription(track_sids=[sid], subscribe=True))
    permission = models.ParticipantPermission(can_publish=True, can_subscribe=False)
    request = UpdateParticipantRequest(room="demo", identity="bob", permission=permission)
    world.control.update_participant(request)
    assert not world.media.named("update_permissions")[-1]["can_subscribe"]
    request.permission.can_subscribe = True
    world.control.update_participant(request)
    assert wishes(world, bob) == [(track, "subscribed"), (track, "default"), (track, "subscribed")]


def test_speakers_reach_their_listeners_and_themselves(world: World) -> None:
    ada, bob, eve = world.join("ada"), world.join("bob"), world.join("eve")
    sid = ada.publish().sid
    world.subscribe(bob, sid)
    for client in (ada, bob, eve):
        client.read()
    room = world.media.named("open_room")[0]["room"]
    world.events(Event.Speakers(room, [(ada.number, 0.5, True), (bob.number, 0.9, True)]))
    for client in (ada, bob):
        (changed,) = client.got("speakers_changed")
        assert [(it.sid, it.level, it.active) for it in changed.speakers] == [(ada.sid, 0.5, True)]
    assert eve.got("speakers_changed") == []
    # Whoever subscribes to somebody speaking learns it at once.
    world.subscribe(eve, sid)
    (changed,) = eve.got("speakers_changed")
    assert changed.speakers[0].active
    world.events(Event.Unsubscribed(eve.number, world.track(sid)))
    (changed,) = eve.got("speakers_changed")
    assert (changed.speakers[0].level, changed.speakers[0].active) == (0, False)
    world.events(Event.Speakers(room, [(ada.number, 0.0, False)]))
    (changed,) = bob.got("speakers_changed")
    assert not changed.speakers[0].active
    assert eve.got("speakers_changed") == []


def speaking(world: World) -> tuple[Client, Client, str, int]:
    ada, bob = world.join("ada"), world.join("bob")
    sid = ada.publish().sid
    world.subscribe(bob, sid)
    room = world.media.named("open_room")[0]["room"]
    world.events(Event.Speakers(room, [(ada.number, 0.5, True)]))
    bob.read()
    return ada, bob, sid, room


def silent(client: Client, speaker: Client) -> bool:
    return [
        (it.sid, it.level, it.active) for changed in client.got("speakers_changed") for it in changed.speakers
    ] == [(speaker.sid, 0.0, False)]


def test_a_muted_speaker_is_silent_at_once_and_stays_so(world: World) -> None:
    ada, bob, sid, room = speaking(world)
    ada.send(mute=rtc.MuteTrackRequest(sid=sid, muted=True))
    assert silent(bob, ada)
    # Levels that were on their way come too late.
    world.events(
        Event.Speakers(room, [(ada.number, 0.6, True)]), Event.Speakers(room, [(ada.number, 0.0, False)])
    )
    assert bob.got("speakers_changed") == []


def test_a_speaker_who_unpublishes_is_silent(world: World) -> None:
    ada, bob, sid, _ = speaking(world)
    world.events(Event.TrackEnded(world.track(sid)))
    assert silent(bob, ada)


def test_a_speaker_who_leaves_is_silent(world: World) -> None:
    ada, bob, _, _ = speaking(world)
    ada.send(leave=rtc.LeaveRequest())
    assert silent(bob, ada)


def test_quality_goes_to_oneself_and_subscribers(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob", protocol=10)
    old, eve = world.join("old", protocol=4), world.join("eve")
    sid = ada.publish().sid
    world.subscribe(bob, sid)
    world.subscribe(old, sid)
    for client in (ada, bob, old, eve):
        client.read()
    lost = models.ConnectionQuality.LOST
    world.events(Event.Quality(ada.number, lost, 0.0), Event.Quality(bob.number, 2, 4.5))
    (own,) = ada.got("connection_quality")
    assert [(it.participant_sid, it.quality) for it in own.updates] == [(ada.sid, lost)]
    (theirs,) = bob.got("connection_quality")
    assert {it.participant_sid: it.quality for it in theirs.updates} == {
        ada.sid: models.ConnectionQuality.POOR,
        bob.sid: models.ConnectionQuality.EXCELLENT,
    }
    assert old.got("connection_quality") == []
    assert eve.got("connection_quality") == []
    world.subscribe(eve, sid)
    (first,) = eve.got("connection_quality")
    assert first.updates[0].participant_sid == ada.sid


def test_nobody_hears_of_the_hidden(world: World) -> None:
    ada, spy = world.join("ada"), world.join("spy", grant={"hidden": True})
    ada.read()
    sid = spy.publish().sid
    spy.connect()
    world.subscribe(ada, sid)
    room = world.media.named("open_room")[0]["room"]
    world.events(Event.Speakers(room, [(spy.number, 0.5, True)]), Event.Quality(spy.number, 1, 3.0))
    spy.send(mute=rtc.MuteTrackRequest(sid=sid, muted=True))
    late = world.join("late")
    spy.send(leave=rtc.LeaveRequest())
    seen = b"".join(it.SerializeToString() for it in [*ada.read(), *late.read()])
    assert spy.sid.encode() not in seen
    assert sid.encode() not in seen
    assert "ada" in [it.identity for it in spy.join.other_participants]


def test_an_admin_sees_the_hidden(world: World) -> None:
    spy = world.join("spy", grant={"hidden": True})
    assert [it.sid for it in world.control.list_participants("demo")] == [spy.sid]


def test_becoming_hidden_looks_like_leaving(world: World) -> None:
    ada, bob = world.join("ada"), world.join("bob")
    bob.read()
    permission = models.ParticipantPermission(can_subscribe=True, hidden=True)
    request = UpdateParticipantRequest(room="demo", identity="ada", permission=permission)
    world.control.update_participant(request)
    (entry,) = bob.entries()
    assert (entry.sid, entry.state) == (ada.sid, models.ParticipantInfo.State.DISCONNECTED)
    request.permission.hidden = False
    world.control.update_participant(request)
    assert bob.entries()[-1].state == models.ParticipantInfo.State.JOINED
