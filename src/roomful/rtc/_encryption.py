"""What a room encrypts from end to end, and what it takes of others."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from livekit.protocol import models, rtc

from roomful.rtc._enums import EncryptionType
from roomful.rtc.e2ee import E2EEManager, E2EEOptions

if TYPE_CHECKING:
    from roomful.rtc._data_cipher import DataCipher
    from roomful.rtc._media_cipher import MediaCipher

logger = logging.getLogger(__name__)

#: Packets of one participant that wait for keys to be tried.
_MOST_WAITING = 1000

Take = Callable[[models.DataPacket | None], None]


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
        #: Of participants, by their identity, for whom keys are being tried.
        self._waiting: dict[str, deque[tuple[models.DataPacket, Take]]] = {}
        self._gone: set[str] = set()
        if options is None or self.manager.key_provider is None:
            return
        from roomful.rtc._data_cipher import DataCipher  # Of the extension, as the next.
        from roomful.rtc._media_cipher import MediaCipher, keys_of

        keys = keys_of(self.manager.key_provider)
        self.data = DataCipher(self.manager.key_provider, keys, lambda: self._identity, packets=packets)
        if options.encryption_type != EncryptionType.NONE:
            self.media = MediaCipher(self.manager, keys)

    def joined(self, join: rtc.JoinResponse) -> None:
        # Tasks of a session before are cancelled, perhaps before they began.
        self._waiting.clear()
        self._gone.clear()
        self._identity = join.participant.identity
        if self.media is not None:
            self.media.server_trailer = join.sif_trailer

    def seal(self, packet: models.DataPacket) -> models.DataPacket:
        """Raises ValueError without a key."""
        return self.data.seal(packet) if self.data is not None else packet

    def open(
        self,
        packet: models.DataPacket,
        take: Take,
        *,
        known: bool,
        start: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        """Gives the packet to `take`, or None for what is not to be taken.

        If a sender who is `known` may have ratcheted its key, that and what follows of this sender is given
        when keys have been tried, in a task that is given to `start`.
        """
        who = packet.participant_identity
        if (waiting := self._waiting.get(who)) is not None:
            if len(waiting) < _MOST_WAITING:
                waiting.append((packet, take))
            else:
                logger.warning("a packet of %s is lost while keys are tried", who)
            return
        opened = self._open(packet)
        if opened is None and known and self.data is not None and self.data.may_ratchet(packet):
            waiting = self._waiting[who] = deque([(packet, take)])
            start(self._try_keys(self.data, who, waiting), "keys to try")
        else:
            take(opened)

    def left(self, identity: str) -> None:
        """A participant has left, and with it what is known of its keys."""
        if identity in self._waiting:
            self._gone.add(identity)
        elif self.data is not None:
            self.data.forget(identity)

    def _open(self, packet: models.DataPacket) -> models.DataPacket | None:
        if self.data is not None:
            return self.data.open(packet)
        return packet if packet.WhichOneof("value") != "encrypted_packet" else None

    async def _try_keys(
        self, data: DataCipher, who: str, waiting: deque[tuple[models.DataPacket, Take]]
    ) -> None:
        try:
            while waiting:
                packet, take = waiting[0]
                opened = data.open(packet)
                if opened is None and data.may_ratchet(packet):
                    opened = await asyncio.to_thread(data.open_waiting, packet)
                waiting.popleft()
                try:
                    take(opened)
                except Exception:
                    logger.exception("a packet of %s cannot be taken", who)
        finally:
            if self._waiting.get(who) is waiting:
                del self._waiting[who]
            if who in self._gone:
                self._gone.discard(who)
                data.forget(who)

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
