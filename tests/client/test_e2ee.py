from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from livekit.protocol import models

from roomful.rtc import E2EEManager, E2EEOptions, KeyDerivationFunction, KeyProvider, KeyProviderOptions
from roomful.rtc._data_cipher import DataCipher
from roomful.rtc._encryption import Encryption
from roomful.rtc._media_cipher import keys_of

SHARED = KeyProviderOptions(shared_key=b"secret")


@pytest.mark.parametrize(
    ("function", "ratcheted"),
    [
        ("PBKDF2", "14ff4f61904663aad993812ea485edbd43b62cd4a3a4b503f1da617d8940eb3c"),
        ("HKDF", "aa171dcc5706c0ca29b39846258af84ba5c6962c0e6c92cfe0b17f0356feb5c6"),
    ],
)
def test_keys_are_derived_as_other_clients_do(function: str, ratcheted: str) -> None:
    """The values are those of livekit.rtc for the same key."""
    keys = KeyProvider(replace(SHARED, key_derivation_function=KeyDerivationFunction.Value(function)))
    assert keys.ratchet_shared_key(0).hex() == ratcheted
    assert keys.export_shared_key(0).hex() == ratcheted


def test_a_ring_has_keys_by_index() -> None:
    keys = KeyProvider(SHARED)
    assert [keys.export_shared_key(index) for index in (0, 1, -1, -2, 99)] == [
        b"secret",
        b"",
        b"secret",
        b"",
        b"",
    ]
    keys.set_shared_key(b"two", 3)
    keys.set_shared_key(b"far", 17)
    assert [keys.export_shared_key(index) for index in (1, 3, 17, -1)] == [b"far", b"two", b"", b"far"]
    keys.set_key("ben", b"his", 2)
    assert [keys.export_key("ben", 2), keys.export_key("ben", 0), keys.export_key("eve", 0)] == [
        b"his",
        b"",
        b"",
    ]
    assert (keys.ratchet_key("eve", 0), keys.ratchet_shared_key(9)) == (b"", b"")
    assert len(keys.ratchet_key("ben", 2)) == 32


@pytest.mark.parametrize("key", [16, "secret", [1, 2], None])
def test_a_key_is_of_bytes(key: Any) -> None:
    keys = KeyProvider(SHARED)
    with pytest.raises(TypeError):
        keys.set_shared_key(key, 0)
    with pytest.raises(TypeError):
        keys.set_key("ben", key, 0)
    assert (keys.export_shared_key(0), keys._rings) == (b"secret", {})
    keys.set_shared_key(memoryview(bytearray(b"two")), 0)
    assert keys.export_shared_key(0) == b"two"


@pytest.mark.parametrize("index", [-1, 256, 300])
def test_a_track_goes_on_by_its_key_when_there_is_none_with_an_index(index: int) -> None:
    manager, applied = E2EEManager(E2EEOptions(key_provider_options=SHARED)), []
    manager._track_added("ada", "TR_1", lambda *state: applied.append(state))
    (cryptor,) = manager.frame_cryptors()
    with pytest.raises(ValueError, match="out of range"):
        cryptor.set_key_index(index)
    assert (cryptor.key_index, applied) == (0, [(True, 0)])


def test_without_a_shared_key_each_has_its_own() -> None:
    keys = KeyProvider(KeyProviderOptions())
    keys.set_shared_key(b"ignored", 0)
    assert (keys.export_shared_key(0), keys.ratchet_shared_key(0), keys._ring("ada")) == (b"", b"", None)


def test_whoever_encrypts_media_is_told_of_every_key() -> None:
    told: list[tuple[str | None, int, bytes]] = []
    keys = KeyProvider(SHARED)
    keys.set_key("ben", b"his", 2)
    keys._subscribe(lambda *key: told.append(key))
    keys.set_shared_key(b"two", 1)
    ratcheted = keys.ratchet_key("ben", 2)
    assert told == [(None, 0, b"secret"), ("ben", 2, b"his"), (None, 1, b"two"), ("ben", 2, ratcheted)]


def test_tracks_are_encrypted_while_the_manager_is_enabled() -> None:
    manager = E2EEManager(E2EEOptions(key_provider_options=SHARED))
    assert manager.key_provider is not None
    manager.key_provider.set_shared_key(b"two", 1)
    applied: list[tuple[bool, int]] = []
    manager._track_added("ada", "TR_1", lambda *state: applied.append(state))
    (cryptor,) = manager.frame_cryptors()
    assert (cryptor.participant_identity, cryptor.track_sid, cryptor.key_index) == ("ada", "TR_1", 0)
    cryptor.set_key_index(1)
    manager.set_enabled(False)
    assert (manager.enabled, cryptor.enabled) == (False, False)
    assert applied == [(True, 0), (True, 1), (False, 1)]
    # Published again under another sid, it goes on by the same key.
    manager._track_added("ada", "TR_2", lambda *_: None, "TR_1")
    assert [(one.track_sid, one.key_index) for one in manager.frame_cryptors()] == [("TR_2", 1)]
    manager._track_removed("ada", "TR_2")
    assert manager.frame_cryptors() == []
    manager.key_provider.set_key("ben", b"his", 2)
    manager._track_added("ben", "TR_3", lambda *_: None)
    assert manager.frame_cryptors()[0].key_index == 2
    plain = E2EEManager(None)
    assert (plain.enabled, plain.key_provider, plain.options) == (False, None, None)


def cipher(provider: KeyProvider, identity: str, **options: bool) -> DataCipher:
    return DataCipher(provider, keys_of(provider), lambda: identity, **options)


def packet(**value: object) -> models.DataPacket:
    return models.DataPacket(participant_identity="ada", destination_identities=["ben"], **value)  # type: ignore[arg-type]


def test_packets_are_sealed_and_opened() -> None:
    ada, ben = cipher(KeyProvider(SHARED), "ada"), cipher(KeyProvider(SHARED), "ben")
    plain = packet(user=models.UserPacket(payload=b"hidden", topic="t"))
    sealed = ada.seal(plain)
    assert b"hidden" not in sealed.SerializeToString()
    assert (sealed.destination_identities, sealed.encrypted_packet.encryption_type) == (["ben"], 1)
    assert ada.seal(plain).encrypted_packet.iv != sealed.encrypted_packet.iv
    assert ben.open(sealed) == plain
    digit = packet(sip_dtmf=models.SipDTMF(code=1))
    assert ada.seal(digit) is digit

    for wrong in (KeyProvider(replace(SHARED, shared_key=b"other")), KeyProvider(KeyProviderOptions())):
        assert cipher(wrong, "eve").open(sealed) is None
    with pytest.raises(ValueError, match="no key"):
        cipher(KeyProvider(KeyProviderOptions()), "eve").seal(plain)
    assert ben.open(plain) is None
    for lenient in (ben.open(digit), cipher(KeyProvider(SHARED), "ben", packets=False).open(plain)):
        assert lenient in (digit, plain)
    index, iv, nonsense = ada.encrypt(b"\xff\xff")
    encrypted = models.EncryptedPacket(key_index=index, iv=iv, encrypted_value=nonsense)
    assert ben.open(packet(encrypted_packet=encrypted)) is None
    for fault in ({"iv": b"short"}, {"key_index": 2**32 - 1}, {"encrypted_value": b"short"}):
        faulty = models.EncryptedPacket(key_index=index, iv=iv, encrypted_value=nonsense)
        faulty.MergeFrom(models.EncryptedPacket(**fault))  # type: ignore[arg-type]
        assert ben.open(packet(encrypted_packet=faulty)) is None


@pytest.mark.asyncio
async def test_packets_of_who_has_ratcheted_keep_their_order_and_no_stranger_costs_a_key() -> None:
    hkdf = replace(SHARED, key_derivation_function=KeyDerivationFunction.HKDF)
    keys = KeyProvider(hkdf)
    ada = cipher(keys, "ada")
    ben = Encryption(E2EEOptions(hkdf), packets=True)
    plain = [packet(user=models.UserPacket(payload=bytes([number]))) for number in range(3)]
    before = ada.seal(plain[0])
    for _ in range(3):
        keys.ratchet_shared_key(0)
    taken: list[models.DataPacket | None] = []
    async with asyncio.TaskGroup() as tasks:

        def start(task: Coroutine[Any, Any, None], _name: str) -> None:
            tasks.create_task(task)

        # By the first key each is opened at once, by another only of those who are known.
        ben.open(before, taken.append, known=False, start=start)
        ben.open(ada.seal(plain[1]), taken.append, known=False, start=start)
        assert taken == [plain[0], None]
        for one in (ada.seal(plain[1]), ada.seal(plain[2]), before):
            ben.open(one, taken.append, known=True, start=start)
        ben.left("ada")
        assert len(taken) == 2
    assert taken[2:] == [plain[1], plain[2], None]
    ben.open(before, taken.append, known=True, start=start)
    assert taken[-1] == plain[0]


def test_each_encrypts_with_its_newest_own_key() -> None:
    keys = KeyProvider(KeyProviderOptions(key_derivation_function=KeyDerivationFunction.HKDF))
    keys.set_key("ada", b"hers", 1)
    keys.set_key("ben", b"his", 2)
    index, iv, encrypted = cipher(keys, "ada").encrypt(b"x")
    assert index == 1
    assert cipher(keys, "ben").decrypt("ada", index, iv, encrypted) == b"x"
    assert cipher(keys, "ben").decrypt("ben", 2, iv, encrypted) is None
