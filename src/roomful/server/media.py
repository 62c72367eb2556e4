"""The media plane as the control plane sees it: commands by name, so that tests can record them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from roomful._core import Codec, Event, Layer

__all__ = ["Codec", "Event", "Kind", "Layer", "LayerMode", "MediaPlane", "Target", "Way", "Wish"]

Target = Literal["publisher", "subscriber"]
Way = Literal["udp", "tcp", "relay"]
Kind = Literal["audio", "video"]
Wish = Literal["default", "subscribed", "unsubscribed"]
LayerMode = Literal["unused", "one_spatial_layer_per_stream", "multiple_spatial_layers_per_stream"]


class MediaPlane(Protocol):
    """`roomful._core.Media` without its life cycle. Commands on ids that are gone are ignored."""

    def open_room(
        self,
        *,
        room: int,
        sid: str,
        codecs: Sequence[str],
        sync_streams: bool,
        active_level: int,
        min_percentile: int,
        update_interval_ms: int,
        smooth_intervals: int,
    ) -> None: ...

    def close_room(self, *, room: int) -> None: ...

    def add_participant(
        self,
        *,
        participant: int,
        room: int,
        identity: str,
        sid: str,
        mode: Literal["single", "dual"],
        subscriber_primary: bool,
        hidden: bool,
        can_publish: bool,
        can_subscribe: bool,
        can_publish_data: bool,
        agent: bool,
        auto_subscribe: bool,
        adaptive_stream: bool,
        ice_lite: bool,
        sdk: str,
        protocol: int,
        browser: str,
        disabled_publish_codecs: Sequence[str],
        disabled_codecs: Sequence[str],
        extra_address: str | None,
        tcp_only: bool,
        in_process: bool,
    ) -> None: ...

    def update_permissions(
        self,
        *,
        participant: int,
        hidden: bool,
        can_publish: bool,
        can_subscribe: bool,
        can_publish_data: bool,
        agent: bool,
    ) -> None: ...

    def worker_of(self, *, room: int) -> int: ...

    def move_participant(self, *, participant: int, room: int, sid: str) -> None: ...

    def remove_participant(self, *, participant: int) -> None: ...

    def remote_description(
        self, *, participant: int, target: Target, kind: Literal["offer", "answer"], sdp: str, id: int
    ) -> None: ...

    def remote_candidate(self, *, participant: int, target: Target, candidate: str) -> None: ...

    def set_tcp_only(self, *, participant: int, tcp_only: bool) -> None: ...

    def restart_ice(self, *, participant: int, target: Target) -> None: ...

    def resume(self, *, participant: int) -> None: ...

    def skip_missing_data(self, *, participant: int) -> None: ...

    def replay_data(self, *, participant: int, received: Sequence[tuple[str, int]]) -> None: ...

    def expect_track(
        self,
        *,
        participant: int,
        track: int,
        sid: str,
        stream: str,
        kind: Kind,
        cid: str,
        codecs: Sequence[Codec],
        microphone: bool,
        stereo: bool,
        dtx: bool,
        red: bool,
        encrypted: bool,
        muted: bool,
    ) -> None: ...

    def mute_track(self, *, track: int, muted: bool) -> None: ...

    def remove_track(self, *, track: int) -> None: ...

    def forward_track(self, *, track: int, mirror: int, room: int, owner: int, sid: str) -> None: ...

    def set_subscription(self, *, participant: int, track: int, wish: Wish) -> None: ...

    def set_track_settings(
        self,
        *,
        participant: int,
        track: int,
        disabled: bool,
        quality: int,
        width: int,
        height: int,
        fps: int,
    ) -> None: ...

    def publish_data_track(
        self, *, participant: int, track: int, sid: str, publisher_handle: int
    ) -> None: ...

    def unpublish_data_track(self, *, track: int) -> None: ...

    def set_data_subscription(self, *, participant: int, track: int, handle: int | None) -> None: ...

    def send_data(self, *, room: int, packet: bytes, reliable: bool, destinations: Sequence[int]) -> None: ...

    def call(self, *, participant: int, caller: str, packets: Sequence[bytes]) -> None: ...

    def end_call(self, *, participant: int, caller: str) -> None: ...
