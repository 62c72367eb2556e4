"""What a room that is encrypted from end to end does at a server of paper, and one that is not."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.protocol import models
from scripted import Data, Opening, PaperPeer, ScriptedServer, Track, microphone, other
from watched import Log, connected, tone, turns

from roomful.rtc import (
    E2EEOptions,
    EncryptionType,
    KeyProviderOptions,
    Room,
    RoomOptions,
    SimulateScenarioKind,
)
from roomful.rtc._data_cipher import DataCipher
from roomful.rtc._media_cipher import keys_of
from roomful.rtc.e2ee import KeyProvider

pytestmark = pytest.mark.asyncio

KEY = KeyProviderOptions(shared_key=b"secret", key_derivation_function=1)
ARRIVAL = Track("publisher", "3", "audio", "PA_bob|TR_mic", "TR_mic")


async def encrypted(script: ScriptedServer, *tracks: models.TrackInfo) -> tuple[Room, Log]:
    script.others = [other("bob", *tracks)]
    return await connected(script, encryption=E2EEOptions(key_provider_options=KEY))


def sealed_microphone(sid: str = "TR_mic") -> models.TrackInfo:
    return microphone(sid, encryption=models.Encryption.Type.GCM)


def as_packet(sender: str = "bob", **value: Any) -> Data:
    return Data("reliable", models.DataPacket(participant_identity=sender, **value).SerializeToString())


async def test_an_encrypted_track_is_opened_from_its_first_packet(script: ScriptedServer) -> None:
    room, log = await encrypted(script, sealed_microphone())
    PaperPeer.made[0].emit(ARRIVAL)
    await log.sees("track_subscribed")
    (told,) = PaperPeer.made[0].called("decrypt")
    assert (told[:2], told[2] is not None, told[3]) == (("publisher", "3"), True, "bob")
    (cryptor,) = room.e2ee_manager.frame_cryptors()
    assert (cryptor.participant_identity, cryptor.track_sid, cryptor.enabled) == ("bob", "TR_mic", True)
    cryptor.set_enabled(False)
    assert PaperPeer.made[0].called("decrypt")[1][2] is None
    await room.disconnect()


async def test_a_plain_track_is_not_heard_in_an_encrypted_room(script: ScriptedServer) -> None:
    room, log = await encrypted(script, microphone())
    PaperPeer.made[0].emit(ARRIVAL)
    await log.sees("track_subscription_failed", "bob", "TR_mic")
    await refused(script, room, log)


async def test_an_encrypted_track_is_not_heard_in_a_plain_room(script: ScriptedServer) -> None:
    script.others = [other("bob", sealed_microphone())]
    room, log = await connected(script)
    PaperPeer.made[0].emit(ARRIVAL)
    await log.sees("track_subscription_failed", "bob", "TR_mic")
    await refused(script, room, log)


async def refused(script: ScriptedServer, room: Room, log: Log) -> None:
    asked = await script.seat.hears("subscription")
    assert (list(asked.track_sids), asked.subscribe) == (["TR_mic"], False)
    assert "track_subscribed" not in log.names
    assert room.remote_participants["bob"].track_publications["TR_mic"].track is None
    await room.disconnect()


async def test_a_plain_track_falls_silent_when_encryption_is_enabled(script: ScriptedServer) -> None:
    room, log = await encrypted(script, microphone())
    room.e2ee_manager.set_enabled(False)
    PaperPeer.made[0].emit(ARRIVAL)
    await log.sees("track_subscribed")
    room.e2ee_manager.set_enabled(True)
    assert [call[2] is not None for call in PaperPeer.made[0].called("decrypt")] == [False, True]
    await room.disconnect()


async def test_what_is_published_is_encrypted_before_it_is_offered(script: ScriptedServer) -> None:
    room, _ = await encrypted(script)
    publication = await room.local_participant.publish_track(tone())
    request = await script.seat.hears("add_track")
    assert (request.encryption, request.disable_red) == (models.Encryption.Type.GCM, True)
    names = [call[0] for call in PaperPeer.made[0].calls]
    assert names.index("encrypt") == names.index("publish_audio") + 1
    assert room.e2ee_manager.frame_cryptors()[0].track_sid == publication.sid
    await room.local_participant.unpublish_track(publication.sid)
    assert room.e2ee_manager.frame_cryptors() == []
    await room.disconnect()


async def test_a_track_that_cannot_be_encrypted_is_not_sent(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, _ = await encrypted(script)
    monkeypatch.setattr(PaperPeer, "encrypt", fail, raising=False)
    with pytest.raises(OverflowError):
        await room.local_participant.publish_track(tone())
    peer = PaperPeer.made[0]
    assert (len(peer.called("publish_audio")), len(peer.called("unpublish"))) == (1, 1)
    assert (room.e2ee_manager.frame_cryptors(), room.local_participant.track_publications) == ([], {})
    await room.disconnect()


def fail(*_: Any) -> None:
    raise OverflowError


async def test_a_track_that_cannot_be_published_again_keeps_no_other_back(
    script: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, log = await encrypted(script)
    bad = await room.local_participant.publish_track(tone())
    good = await room.local_participant.publish_track(tone())
    cryptor = room.e2ee_manager.frame_cryptors()[0]
    cryptor._apply = lambda *_: None
    cryptor.set_key_index(7)

    def encrypt(peer: PaperPeer, number: int, keys: Any, identity: str, key_index: int) -> None:
        peer.calls.append(("encrypt", number, key_index))
        if key_index == 7:
            fail()

    monkeypatch.setattr(PaperPeer, "encrypt", encrypt, raising=False)
    await room.simulate_scenario(SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await log.sees("local_track_republished")
    await turns(1)
    assert dict(room.local_participant.track_publications) == {good.sid: good}
    assert (bad.track and bad.track.sid, room._publisher._lost) == ("TR_unknown", {})
    (failed,) = (number for number, index in PaperPeer.made[1].called("encrypt") if index == 7)
    assert PaperPeer.made[1].called("unpublish") == [(failed,)]
    await room.disconnect()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"shared_key": "secret"}, TypeError),
        ({"shared_key": 16}, TypeError),
        ({"ratchet_salt": None}, TypeError),
        ({"ratchet_salt": "salt"}, TypeError),
        ({"failure_tolerance": 2**40}, ValueError),
        ({"ratchet_window_size": 2**40}, ValueError),
        ({"key_ring_size": 2**40}, ValueError),
        ({"key_derivation_function": 7}, ValueError),
    ],
)
async def test_keys_are_looked_at_before_the_room_is_joined(
    script: ScriptedServer, options: dict[str, Any], error: type[Exception]
) -> None:
    room = Room()
    keys = KeyProviderOptions(**{"shared_key": b"secret", **options})
    with pytest.raises(error):
        await room.connect(
            script.url, "token", RoomOptions(encryption=E2EEOptions(key_provider_options=keys))
        )
    assert (script.seats, PaperPeer.made, room.isconnected()) == ([], [], False)


async def test_plain_data_is_not_taken_in_an_encrypted_room(script: ScriptedServer) -> None:
    room, log = await encrypted(script, sealed_microphone())
    assert room.remote_participants["bob"]._encrypted
    provider = KeyProvider(KEY)
    bob = DataCipher(provider, keys_of(provider), lambda: "bob")
    hidden = models.DataPacket(user=models.UserPacket(payload=b"hidden"))
    texts: list[str] = []
    room.register_text_stream_handler("t", lambda _, who: texts.append(who))
    header = models.DataStream.Header(stream_id="s", topic="t", text_header={})
    PaperPeer.made[0].emit(
        as_packet(sip_dtmf=models.SipDTMF(code=1, digit="1")),
        as_packet(encrypted_packet=bob.seal(hidden).encrypted_packet),
        as_packet(stream_header=header),
        as_packet(rpc_request=models.RpcRequest(id="1", method="absent", version=1)),
        as_packet(user=models.UserPacket(payload=b"plain")),
        as_packet("", user=models.UserPacket(payload=b"of the server")),
    )
    await log.sees("participant_encryption_status_changed", "bob", False)
    await turns()
    data = [event for event in log.events if event[0] in {"sip_dtmf_received", "data_received"}]
    assert [event[0] for event in data] == ["sip_dtmf_received", "data_received"]
    assert data[1] == ("data_received", b"hidden")
    assert texts == []
    assert not PaperPeer.made[0].packets()
    await room.disconnect()


async def test_how_encryption_fares_is_told(script: ScriptedServer) -> None:
    room, log = await encrypted(script, sealed_microphone())
    PaperPeer.made[0].emit(ARRIVAL)
    await log.sees("track_subscribed")
    PaperPeer.made[0].emit(Opening("publisher", "3", "missing_key"), Opening("publisher", "9", "ok"))
    await log.sees("e2ee_state_changed", "bob")
    assert log.names.count("e2ee_state_changed") == 1
    await room.disconnect()


async def test_data_may_be_encrypted_alone(script: ScriptedServer) -> None:
    script.others = [other("bob", microphone())]
    options = E2EEOptions(key_provider_options=KEY, encryption_type=EncryptionType.NONE)
    room, log = await connected(script, encryption=options)
    PaperPeer.made[0].emit(ARRIVAL)
    await log.sees("track_subscribed")
    await room.local_participant.publish_track(tone())
    assert not PaperPeer.made[0].called("encrypt")
    assert not PaperPeer.made[0].called("decrypt")
    await room.local_participant.publish_data(b"hidden")
    (sent,) = PaperPeer.made[0].packets()
    assert sent.WhichOneof("value") == "encrypted_packet"
    await room.disconnect()
