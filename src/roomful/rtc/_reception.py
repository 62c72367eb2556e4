"""What arrives in one section of a connection, while a track is subscribed to."""

from __future__ import annotations

from typing import Any

from roomful.rtc._proto import stats_pb2 as stats


class Reception:
    """Nothing of it is decoded while no sink is attached."""

    def __init__(self, peer: Any, target: str, mid: str) -> None:
        self._peer = peer
        self._section = (target, mid)

    def attach(self, sink: Any) -> None:
        self._peer.hear(*self._section, sink)

    def detach(self, sink: Any) -> None:
        self._peer.stop(*self._section, sink)

    def statistics(self) -> list[stats.RtcStats]:
        return []
