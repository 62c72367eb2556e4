"""Data packets and frames of data tracks, encrypted from end to end."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from google.protobuf.message import DecodeError
from livekit.protocol import models

from roomful._core import aes_gcm_open, aes_gcm_seal
from roomful.rtc.e2ee import KeyProvider

_IV_SIZE = 12
_ENCRYPTED = {field.name for field in models.EncryptedPacketPayload.DESCRIPTOR.fields}


class DataCipher:
    """Encrypts with our keys, and decrypts with those of others.

    AES-GCM comes from the extension, which has it for media anyway: a Python package for it would be larger
    than this client.
    """

    def __init__(self, keys: KeyProvider, own_identity: Callable[[], str]) -> None:
        self._keys = keys
        self._own_identity = own_identity

    def seal(self, packet: models.DataPacket) -> models.DataPacket:
        """The packet, encrypted if it is of a kind that is; it may be the same.

        Raises:
            ValueError: we have no key.
        """
        kind = packet.WhichOneof("value")
        if kind not in _ENCRYPTED:
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
        """The packet that is in an encrypted one; None if our key is another."""
        sealed = packet.encrypted_packet
        plain = self.decrypt(packet.participant_identity, sealed.key_index, sealed.iv, sealed.encrypted_value)
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
        ring = self._keys._ring(self._own_identity())
        key = ring.key(ring.current) if ring is not None else None
        if ring is None or key is None:
            raise ValueError("no key to encrypt with")
        iv = secrets.token_bytes(_IV_SIZE)
        return ring.current, iv, aes_gcm_seal(key, iv, payload)

    def decrypt(self, identity: str, key_index: int, iv: bytes, payload: bytes) -> bytes | None:
        """What `identity` has encrypted; None if our key is another."""
        ring = self._keys._ring(identity)
        key = ring.key(key_index) if ring is not None else None
        if key is None or len(iv) != _IV_SIZE:
            return None
        return aes_gcm_open(key, iv, payload)
