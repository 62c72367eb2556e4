"""Sound and pictures, encrypted from end to end: which tracks, and by which keys."""

from __future__ import annotations

from typing import Any, Literal

from roomful._core import EncryptionKeys
from roomful.rtc._enums import KeyDerivationFunction
from roomful.rtc.e2ee import DEFAULT_KEY_RING_SIZE, E2EEManager, KeyProvider
from roomful.rtc.track import Received

_DERIVATIONS: dict[int, Literal["pbkdf2", "hkdf"]] = {
    KeyDerivationFunction.PBKDF2: "pbkdf2",
    KeyDerivationFunction.HKDF: "hkdf",
}


def keys_of(provider: KeyProvider) -> EncryptionKeys:
    """All that the provider has and will have."""
    options = provider.options
    keys = EncryptionKeys(
        _DERIVATIONS[options.key_derivation_function],
        options.ratchet_salt,
        max(options.ratchet_window_size, 0),
        options.failure_tolerance,
        options.key_ring_size if options.key_ring_size > 0 else DEFAULT_KEY_RING_SIZE,
    )
    provider._subscribe(keys.set)
    return keys


class MediaCipher:
    """Tells peers what the manager decides."""

    def __init__(self, manager: E2EEManager, keys: EncryptionKeys) -> None:
        self._manager = manager
        self._keys = keys
        #: By which the server marks what it puts into tracks.
        self.server_trailer = b""

    def sent(self, peer: Any, number: int, identity: str, sid: str, before: str = "") -> None:
        """A track is published, perhaps again: `before` was its sid."""

        def apply(enabled: bool, key_index: int) -> None:
            peer.encrypt(number, self._keys if enabled else None, identity, key_index)

        self._manager._track_added(identity, sid, apply, before)

    def received(self, received: Received, identity: str, sid: str) -> None:
        """A track is subscribed to."""

        def apply(enabled: bool, key_index: int) -> None:
            received.decrypt(self._keys if enabled else None, identity, self.server_trailer)

        self._manager._track_added(identity, sid, apply)

    def gone(self, identity: str, sid: str) -> None:
        self._manager._track_removed(identity, sid)
