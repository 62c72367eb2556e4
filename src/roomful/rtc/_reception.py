"""What arrives in one section of a connection, while a track is subscribed to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomful.rtc._proto import stats_pb2 as stats

if TYPE_CHECKING:
    from roomful._core import EncryptionKeys


class Reception:
    """Nothing of it is decoded while no sink is attached: an AudioSink or, of video, a FrameSink."""

    def __init__(self, peer: Any, target: str, mid: str, *, stream: str, video: bool) -> None:
        """Sound and pictures of the same stream are played in step."""
        self._peer = peer
        self._section = (target, mid)
        self._video = video
        peer.synchronize(target, mid, stream)

    def attach(self, sink: Any) -> None:
        (self._peer.see if self._video else self._peer.hear)(*self._section, sink)

    def detach(self, sink: Any) -> None:
        self._peer.stop(*self._section, sink)

    def want_key_frame(self) -> None:
        self._peer.want_key_frame(*self._section)

    def decrypt(self, keys: EncryptionKeys | None, identity: str, server_trailer: bytes) -> None:
        self._peer.decrypt(*self._section, keys, identity, server_trailer)

    def statistics(self) -> list[stats.RtcStats]:
        from roomful.rtc._stats import connected, reports

        target, mid = self._section
        publisher, subscriber = self._peer.statistics()
        entries = publisher if target == "publisher" else subscriber
        return reports(connected(entries, type="inbound-rtp", mid=mid))
