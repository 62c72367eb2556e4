"""End-to-end encryption: keys, and which tracks are encrypted with them."""

from __future__ import annotations

import hashlib
import hmac
import operator
from collections.abc import Callable
from dataclasses import dataclass, field

from livekit.protocol import models

from roomful.rtc._enums import EncryptionType, KeyDerivationFunction

DEFAULT_RATCHET_SALT = b"LKFrameEncryptionKey"
DEFAULT_RATCHET_WINDOW_SIZE = 16
DEFAULT_FAILURE_TOLERANCE = -1
DEFAULT_KEY_RING_SIZE = 16
MAX_KEY_RING_SIZE = 256

#: Data packets that are encrypted where data is, by their kind.
ENCRYPTED_KINDS = frozenset(models.EncryptedPacketPayload.DESCRIPTOR.fields_by_name)

#: Bytes.
RATCHETED_SIZE = 32

_ITERATIONS = 100_000
_HKDF_INFO = bytes(128)


@dataclass
class KeyProviderOptions:
    """How keys are derived and kept. All participants of a room need the same."""

    shared_key: bytes | None = None
    """The first key of all participants; None for a key of each."""
    ratchet_salt: bytes = DEFAULT_RATCHET_SALT
    """Of the derivation, for ratcheting as well as for the keys that encrypt."""
    ratchet_window_size: int = DEFAULT_RATCHET_WINDOW_SIZE
    """How often a receiver tries to ratchet a key that doesn't fit."""
    failure_tolerance: int = DEFAULT_FAILURE_TOLERANCE
    """Frames that may fail before a key counts as wrong; -1 for any number."""
    key_ring_size: int = DEFAULT_KEY_RING_SIZE
    """Keys of a participant that are there at the same time, up to 256."""
    key_derivation_function: KeyDerivationFunction.ValueType = KeyDerivationFunction.PBKDF2

    def _check(self) -> None:
        """Raises TypeError, ValueError."""
        memoryview(self.ratchet_salt)
        for name in ("ratchet_window_size", "failure_tolerance", "key_ring_size"):
            if not -(2**31) <= operator.index(getattr(self, name)) < 2**31:
                raise ValueError(f"{name} is out of range: {getattr(self, name)}")
        if self.key_derivation_function not in KeyDerivationFunction.values():
            raise ValueError(f"unknown key_derivation_function: {self.key_derivation_function}")


@dataclass
class E2EEOptions:
    """End-to-end encryption of a room."""

    key_provider_options: KeyProviderOptions = field(default_factory=KeyProviderOptions)
    encryption_type: EncryptionType.ValueType = EncryptionType.GCM


class KeyRing:
    """The keys of one participant, by their index."""

    def __init__(self, options: KeyProviderOptions) -> None:
        size = options.key_ring_size if options.key_ring_size > 0 else DEFAULT_KEY_RING_SIZE
        self._options = options
        self._materials: list[bytes | None] = [None] * min(size, MAX_KEY_RING_SIZE)
        #: Index of the key that was set last, which encrypts.
        self.current = 0

    def set(self, material: bytes, index: int) -> None:
        material = bytes(memoryview(material))  # Of a number, bytes() would be as many zeros.
        if operator.index(index) >= 0:
            self.current = index % len(self._materials)
        self._materials[self.current] = material

    def material(self, index: int) -> bytes | None:
        """What a key was made of; index -1 is that of the newest."""
        index = self.current if index == -1 else index
        return self._materials[index] if 0 <= index < len(self._materials) else None

    def ratchet(self, index: int) -> bytes | None:
        """Replaces a key by one that follows from it, and from which it doesn't."""
        material = self.material(index)
        if material is None:
            return None
        material = ratcheted(material, self._options)
        self.set(material, index)
        return material


def ratcheted(material: bytes, options: KeyProviderOptions) -> bytes:
    """By PBKDF2 or HKDF (RFC 5869) with SHA-256, as browsers do it; the former takes tens of milliseconds."""
    if options.key_derivation_function == KeyDerivationFunction.PBKDF2:
        return hashlib.pbkdf2_hmac("sha256", material, options.ratchet_salt, _ITERATIONS, RATCHETED_SIZE)
    extracted = hmac.digest(options.ratchet_salt, material, "sha256")
    return hmac.digest(extracted, _HKDF_INFO + b"\x01", "sha256")


#: Told of a key: the participant's identity (None for everybody), its index and what it is made of.
KeyListener = Callable[[str | None, int, bytes], None]


class KeyProvider:
    """The keys of a room's participants. Each has an index, `key_index` below `key_ring_size`: the one set
    last encrypts, and any that is there decrypts."""

    def __init__(self, options: KeyProviderOptions) -> None:
        """Raises TypeError, ValueError: an option or a key is none."""
        options._check()
        self._options = options
        self._shared: KeyRing | None = None
        self._rings: dict[str, KeyRing] = {}
        self._listeners: list[KeyListener] = []
        if options.shared_key is not None:
            self.set_shared_key(options.shared_key, 0)

    @property
    def options(self) -> KeyProviderOptions:
        """Those it was made with."""
        return self._options

    def set_shared_key(self, key: bytes, key_index: int) -> None:
        """Sets a key of everybody; it does nothing unless the options have a shared key.

        Raises:
            TypeError: the key is not of bytes.
        """
        if self._options.shared_key is None:
            return
        if self._shared is None:
            self._shared = KeyRing(self._options)
        for ring in (self._shared, *self._rings.values()):
            ring.set(key, key_index)
        self._tell(None, self._shared)

    def export_shared_key(self, key_index: int) -> bytes:
        """A shared key as it was set or ratcheted; empty if there is none."""
        return (self._shared.material(key_index) if self._shared else None) or b""

    def ratchet_shared_key(self, key_index: int) -> bytes:
        """Ratchets a shared key and returns the new one; empty if there is none."""
        material = self._shared.ratchet(key_index) if self._shared else None
        if self._shared is None or material is None:
            return b""
        for ring in self._rings.values():
            ring.set(material, key_index)
        self._tell(None, self._shared)
        return material

    def set_key(self, participant_identity: str, key: bytes, key_index: int) -> None:
        """Sets a key of one participant.

        Raises:
            TypeError: the key is not of bytes.
        """
        ring = self._rings.get(participant_identity) or KeyRing(self._options)
        ring.set(key, key_index)
        self._rings[participant_identity] = ring
        self._tell(participant_identity, ring)

    def export_key(self, participant_identity: str, key_index: int) -> bytes:
        """A participant's key as it was set or ratcheted; empty if there is none."""
        ring = self._rings.get(participant_identity)
        return (ring.material(key_index) if ring else None) or b""

    def ratchet_key(self, participant_identity: str, key_index: int) -> bytes:
        """Ratchets a participant's key and returns the new one; empty if there is none."""
        ring = self._rings.get(participant_identity)
        material = ring.ratchet(key_index) if ring else None
        if ring is None or material is None:
            return b""
        self._tell(participant_identity, ring)
        return material

    def _ring(self, identity: str) -> KeyRing | None:
        """The keys that a participant's frames and packets are encrypted with."""
        return self._rings.get(identity) or self._shared

    def _subscribe(self, listener: KeyListener) -> None:
        """Tells `listener` of every key, beginning with those that are there."""
        self._listeners.append(listener)
        for identity, ring in ((None, self._shared), *self._rings.items()):
            for index, material in enumerate(ring._materials if ring else ()):
                if material is not None:
                    listener(identity, index, material)

    def _tell(self, identity: str | None, ring: KeyRing) -> None:
        material = ring.material(-1)
        for listener in self._listeners:
            if material is not None:
                listener(identity, ring.current, material)


class FrameCryptor:
    """The encryption of one track's frames, by the key with the index `key_index`."""

    def __init__(
        self,
        participant_identity: str,
        track_sid: str,
        key_index: int,
        enabled: bool,
        apply: Callable[[bool, int], None],
    ) -> None:
        self._participant_identity = participant_identity
        self._track_sid = track_sid
        self._key_index = key_index
        self._enabled = enabled
        self._apply = apply

    @property
    def participant_identity(self) -> str:
        """Of whom the track is."""
        return self._participant_identity

    @property
    def track_sid(self) -> str:
        """Of the track."""
        return self._track_sid

    @property
    def key_index(self) -> int:
        """Of the key that frames are encrypted with; those that come say theirs."""
        return self._key_index

    @property
    def enabled(self) -> bool:
        """Whether the track is encrypted, or decrypted."""
        return self._enabled

    def set_enabled(self, enabled: bool) -> None:
        """Encrypts or decrypts frames from now on, or not."""
        self._enabled = enabled
        self._apply(self._enabled, self._key_index)

    def set_key_index(self, key_index: int) -> None:
        """Encrypts frames with another key from now on, that with the index `key_index`.

        Raises:
            ValueError: no key has that index, which is 0 to 255.
        """
        if not 0 <= operator.index(key_index) < MAX_KEY_RING_SIZE:
            raise ValueError(f"key_index is out of range: {key_index}")
        self._key_index = key_index
        self._apply(self._enabled, self._key_index)


class E2EEManager:
    """The end-to-end encryption of a room."""

    def __init__(self, options: E2EEOptions | None) -> None:
        self.options = options
        self._enabled = options is not None
        self._key_provider = KeyProvider(options.key_provider_options) if options is not None else None
        self._cryptors: dict[tuple[str, str], FrameCryptor] = {}

    @property
    def key_provider(self) -> KeyProvider | None:
        """None in a room without encryption."""
        return self._key_provider

    @property
    def enabled(self) -> bool:
        """Whether what is sent is encrypted."""
        return self._enabled

    def set_enabled(self, enabled: bool) -> None:
        """Encrypts and decrypts sound and pictures from now on, or not; data stays encrypted."""
        self._enabled = enabled
        for cryptor in self._cryptors.values():
            cryptor.set_enabled(enabled)

    def frame_cryptors(self) -> list[FrameCryptor]:
        """Those of all tracks that are encrypted."""
        return list(self._cryptors.values())

    def _track_added(
        self, identity: str, sid: str, apply: Callable[[bool, int], None], before: str = ""
    ) -> None:
        """`apply` is told whether the track is encrypted, and by which key, now and later.

        `before`: the sid of a track that goes on in this one.
        """
        ring = self._key_provider._ring(identity) if self._key_provider is not None else None
        # The first key, as PyPI's client has it; where there is none, the newest.
        index = ring.current if ring is not None and ring.material(0) is None else 0
        if (former := self._cryptors.pop((identity, before), None)) is not None:
            index = former.key_index
        cryptor = self._cryptors[identity, sid] = FrameCryptor(identity, sid, index, self._enabled, apply)
        cryptor.set_enabled(self._enabled)

    def _track_removed(self, identity: str, sid: str) -> None:
        self._cryptors.pop((identity, sid), None)
