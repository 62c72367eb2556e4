"""Data packets and frames of data tracks, encrypted from end to end."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from google.protobuf.message import DecodeError
from livekit.protocol import models

from roomful._core import EncryptionKeys
from roomful.rtc.e2ee import ENCRYPTED_KINDS, MAX_KEY_RING_SIZE, KeyProvider

_IV_SIZE = 12


class DataCipher:
    """Encrypts with our newest key, and decrypts with those of others."""

    def __init__(
        self,
        provider: KeyProvider,
        keys: EncryptionKeys,
        own_identity: Callable[[], str],
        *,
        packets: bool = True,
    ) -> None:
        """`packets`: whether data packets are encrypted, and none is taken that isn't."""
        self._packets = packets
        self._provider = provider
        self._keys = keys
        self._own_identity = own_identity

    def seal(self, packet: models.DataPacket) -> models.DataPacket:
        """The packet, encrypted if it is of a kind that is; it may be the same.

        Raises:
            ValueError: we have no key.
        """
        kind = packet.WhichOneof("value")
        if not self._packets or kind not in ENCRYPTED_KINDS:
            return packet
        payload = models.EncryptedPacketPayload()
        getattr(payload, kind).CopyFrom(getattr(packet, kind))
        key_index, iv, encrypted = self.encrypt(payload.SerializeToString())
        sealed = models.DataPacket()
        sealed.CopyFrom(packet)
        sealed.encrypted_packet.CopyFrom(
            models.EncryptedPacket(
                encryption_type=models.Encryption.Type.GCM,
                iv=iv,
                key_index=key_index,
                encrypted_value=encrypted,
            )
        )
        return sealed

    def open(self, packet: models.DataPacket) -> models.DataPacket | None:
        """The packet that is in an encrypted one, or one of a kind that is not encrypted; else None."""
        kind = packet.WhichOneof("value")
        if kind != "encrypted_packet":
            return None if self._packets and kind in ENCRYPTED_KINDS else packet
        return self._opened(packet, self._keys.open)

    def may_ratchet(self, packet: models.DataPacket) -> bool:
        """Whether a packet that is not opened may be by a key that follows from ours."""
        if packet.WhichOneof("value") != "encrypted_packet":
            return False
        sealed = packet.encrypted_packet
        return _is_whole(sealed.key_index, sealed.iv) and self._keys.may_ratchet(
            packet.participant_identity, sealed.key_index
        )

    def open_waiting(self, packet: models.DataPacket) -> models.DataPacket | None:
        """As `open` of an encrypted one, by keys that follow from ours too; each takes some time."""
        return self._opened(packet, self._keys.open_waiting)

    def forget(self, identity: str) -> None:
        """Which keys of a participant follow from ours: it has left."""
        self._keys.forget(identity)

    def _opened(
        self, packet: models.DataPacket, decrypt: Callable[[str, int, bytes, bytes], bytes | None]
    ) -> models.DataPacket | None:
        sealed = packet.encrypted_packet
        if not _is_whole(sealed.key_index, sealed.iv):
            return None
        plain = decrypt(packet.participant_identity, sealed.key_index, sealed.iv, sealed.encrypted_value)
        if plain is None:
            return None
        payload = models.EncryptedPacketPayload()
        try:
            payload.ParseFromString(plain)
        except DecodeError:
            return None
        kind = payload.WhichOneof("value")
        if kind is None:
            return None
        opened = models.DataPacket()
        opened.CopyFrom(packet)
        getattr(opened, kind).CopyFrom(getattr(payload, kind))
        return opened

    def encrypt(self, payload: bytes) -> tuple[int, bytes, bytes]:
        """The index of our key, a new IV and the encrypted payload.

        Raises:
            ValueError: we have no key.
        """
        identity, iv = self._own_identity(), secrets.token_bytes(_IV_SIZE)
        ring = self._provider._ring(identity)
        index = ring.current if ring is not None else 0
        sealed = self._keys.seal(identity, index, iv, payload)
        if sealed is None:
            raise ValueError("no key to encrypt with")
        return index, iv, sealed

    def decrypt(self, identity: str, key_index: int, iv: bytes, payload: bytes) -> bytes | None:
        """What `identity` has encrypted and may be lost; None if our key is another."""
        if not _is_whole(key_index, iv):
            return None
        return self._keys.open_lossy(identity, key_index, iv, payload)


def _is_whole(key_index: int, iv: bytes) -> bool:
    return key_index < MAX_KEY_RING_SIZE and len(iv) == _IV_SIZE
