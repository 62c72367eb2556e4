"""Sound and pictures, encrypted from end to end: which tracks, and by which keys."""

from __future__ import annotations

from typing import Any

from roomful._core import FrameKeys
from roomful.rtc._enums import KeyDerivationFunction
from roomful.rtc.e2ee import E2EEManager, KeyProvider

_DERIVATIONS = {KeyDerivationFunction.PBKDF2: "pbkdf2", KeyDerivationFunction.HKDF: "hkdf"}


class MediaCipher:
    """Tells peers what the manager decides."""

    def __init__(self, manager: E2EEManager, keys: KeyProvider) -> None:
        options = keys.options
        self._manager = manager
        self._keys = FrameKeys(
            _DERIVATIONS[options.key_derivation_function],  # type: ignore[arg-type]
            options.ratchet_salt,
            max(options.ratchet_window_size, 0),
            options.failure_tolerance,
            max(options.key_ring_size, 0),
        )
        #: By which the server marks what it puts into tracks.
        self.server_trailer = b""
        keys._subscribe(self._keys.set)

    def sent(self, peer: Any, number: int, identity: str, sid: str) -> None:
        """A track is published."""

        def apply(enabled: bool, key_index: int) -> None:
            peer.encrypt(number, self._keys if enabled else None, identity, key_index)

        self._manager._track_added(identity, sid, apply)

    def received(self, peer: Any, section: tuple[str, str], identity: str, sid: str) -> None:
        """An encrypted track is subscribed to."""

        def apply(enabled: bool, key_index: int) -> None:
            peer.decrypt(*section, self._keys if enabled else None, identity, self.server_trailer)

        self._manager._track_added(identity, sid, apply)

    def gone(self, identity: str, sid: str) -> None:
        self._manager._track_removed(identity, sid)
