"""What a room encrypts from end to end, and what it takes of others."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from roomful.rtc._enums import EncryptionType
from roomful.rtc.e2ee import E2EEManager, E2EEOptions

if TYPE_CHECKING:
    from roomful.rtc._data_cipher import DataCipher
    from roomful.rtc._media_cipher import MediaCipher


class Encryption:
    """Of one room, while it is connected."""

    def __init__(self, options: E2EEOptions | None, *, packets: bool) -> None:
        """`packets`: whether data packets are encrypted too. Raises TypeError, ValueError."""
        self.manager = E2EEManager(options)
        #: One's own, once it is known.
        self._identity = ""
        #: None where they are not encrypted.
        self.data: DataCipher | None = None
        self.media: MediaCipher | None = None
        if options is None or self.manager.key_provider is None:
            return
        from roomful.rtc._data_cipher import DataCipher  # Of the extension, as the next.
        from roomful.rtc._media_cipher import MediaCipher, keys_of

        keys = keys_of(self.manager.key_provider)
        self.data = DataCipher(self.manager.key_provider, keys, lambda: self._identity, packets=packets)
        if options.encryption_type != EncryptionType.NONE:
            self.media = MediaCipher(self.manager, keys)

    def joined(self, join: rtc.JoinResponse) -> None:
        self._identity = join.participant.identity
        if self.media is not None:
            self.media.server_trailer = join.sif_trailer

    def seal(self, packet: models.DataPacket) -> models.DataPacket:
        """Raises ValueError without a key."""
        return self.data.seal(packet) if self.data is not None else packet

    def open(self, packet: models.DataPacket) -> models.DataPacket | None:
        """None for what is not to be taken."""
        if self.data is not None:
            return self.data.open(packet)
        return packet if packet.WhichOneof("value") != "encrypted_packet" else None

    def refusal(self, encrypted: bool) -> str | None:
        """Why a track would be heard as noise, or be another's than everybody takes it for."""
        if encrypted and self.media is None:
            return "the track is encrypted from end to end, and this room is not"
        if not encrypted and self.media is not None and self.manager.enabled:
            return "the track is not encrypted from end to end, and this room is"
        return None


def encryption_of(everything: E2EEOptions | None, media: E2EEOptions | None) -> Encryption:
    """Of media and data, or of media alone; called by what programs call. Raises TypeError, ValueError."""
    if media is not None:
        warnings.warn(
            "options.e2ee is deprecated, use options.encryption instead", DeprecationWarning, stacklevel=3
        )
    return Encryption(everything or media, packets=everything is not None)
