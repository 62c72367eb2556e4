"""The media plane. The caller chooses ids and never reuses them; commands on unknown ids are ignored."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, final

__all__ = [
    "AudioProcessor",
    "AudioQueue",
    "AudioSink",
    "Codec",
    "EncryptionKeys",
    "Event",
    "Exchange",
    "ExternalAddresses",
    "FrameSink",
    "Layer",
    "Mailbox",
    "Media",
    "OpusDecoder",
    "OpusEncoder",
    "Peer",
    "PeerEvent",
    "Probe",
    "Resampler",
    "convert_video",
    "fit_video",
    "mix",
    "take_log_lines",
    "turn_video",
]

Target: TypeAlias = Literal["publisher", "subscriber"]
SdpKind: TypeAlias = Literal["offer", "answer"]
ConnectionState: TypeAlias = Literal["connecting", "connected", "disconnected", "failed", "closed"]
Way: TypeAlias = Literal["udp", "tcp", "relay"]
MediaKind: TypeAlias = Literal["audio", "video"]
Wish: TypeAlias = Literal["default", "subscribed", "unsubscribed"]
LayerMode: TypeAlias = Literal["unused", "one_spatial_layer_per_stream", "multiple_spatial_layers_per_stream"]

class Event:
    """Media plane → control plane; one subclass a kind: `case Event.DataReady(participant):`."""

    @final
    class Description(Event):
        """A local description to relay. An answer has the offer's id. `mids`: mid → track sid of each
        section that sends."""

        __match_args__ = ("participant", "target", "kind", "sdp", "id", "mids")
        @property
        def participant(self) -> int: ...
        @property
        def target(self) -> Target: ...
        @property
        def kind(self) -> SdpKind: ...
        @property
        def sdp(self) -> str: ...
        @property
        def id(self) -> int: ...
        @property
        def mids(self) -> dict[str, str]: ...
        def __new__(
            cls, participant: int, target: Target, kind: SdpKind, sdp: str, id: int, mids: dict[str, str]
        ) -> Event.Description: ...

    @final
    class DescriptionRejected(Event):
        """A client description that cannot be used; says why."""

        __match_args__ = ("participant", "target", "id", "reason")
        @property
        def participant(self) -> int: ...
        @property
        def target(self) -> Target: ...
        @property
        def id(self) -> int: ...
        @property
        def reason(self) -> str: ...
        def __new__(
            cls, participant: int, target: Target, id: int, reason: str
        ) -> Event.DescriptionRejected: ...

    @final
    class Candidate(Event):
        """A local candidate, after the description it belongs to (RTCIceCandidateInit's fields)."""

        __match_args__ = ("participant", "target", "candidate", "mid", "mline", "last")
        @property
        def participant(self) -> int: ...
        @property
        def target(self) -> Target: ...
        @property
        def candidate(self) -> str: ...
        @property
        def mid(self) -> str: ...
        @property
        def mline(self) -> int: ...
        @property
        def last(self) -> bool: ...
        def __new__(
            cls, participant: int, target: Target, candidate: str, mid: str, mline: int, last: bool
        ) -> Event.Candidate: ...

    @final
    class Connection(Event):
        """`way`: how its path goes or went; None when it never had one."""

        __match_args__ = ("participant", "target", "state", "detail", "way")
        @property
        def participant(self) -> int: ...
        @property
        def target(self) -> Target: ...
        @property
        def state(self) -> ConnectionState: ...
        @property
        def detail(self) -> str: ...
        @property
        def way(self) -> Way | None: ...
        def __new__(
            cls,
            participant: int,
            target: Target,
            state: ConnectionState,
            detail: str,
            way: Way | None = None,
        ) -> Event.Connection: ...

    @final
    class DataReady(Event):
        """Reliable and lossy data channels to this participant are open."""

        __match_args__ = ("participant",)
        @property
        def participant(self) -> int: ...
        def __new__(cls, participant: int) -> Event.DataReady: ...

    @final
    class DataMissing(Event):
        """A reliable packet of this participant came, and one before it did not: answered by
        `Media.skip_missing_data` once that will not come."""

        __match_args__ = ("participant",)
        @property
        def participant(self) -> int: ...
        def __new__(cls, participant: int) -> Event.DataMissing: ...

    @final
    class Resumed(Event):
        """Answers `Media.resume`: the number of the participant's own last reliable packet that came with
        none missing before it."""

        __match_args__ = ("participant", "last_sequence")
        @property
        def participant(self) -> int: ...
        @property
        def last_sequence(self) -> int: ...
        def __new__(cls, participant: int, last_sequence: int) -> Event.Resumed: ...

    @final
    class Answered(Event):
        """A serialised `livekit.DataPacket` that the participant sent to the caller of a `Media.call`."""

        __match_args__ = ("participant", "caller", "packet")
        @property
        def participant(self) -> int: ...
        @property
        def caller(self) -> str: ...
        @property
        def packet(self) -> bytes: ...
        def __new__(cls, participant: int, caller: str, packet: bytes) -> Event.Answered: ...

    @final
    class MediaSections(Event):
        """Single mode: the client must add that many recvonly sections and offer; 0/0 asks for an offer
        only."""

        __match_args__ = ("participant", "audios", "videos")
        @property
        def participant(self) -> int: ...
        @property
        def audios(self) -> int: ...
        @property
        def videos(self) -> int: ...
        def __new__(cls, participant: int, audios: int, videos: int) -> Event.MediaSections: ...

    @final
    class TrackBound(Event):
        """A track is bound to an SDP section. `mime` was negotiated; `layers`: (rid, quality, ssrc)."""

        __match_args__ = ("track", "mid", "mime", "layers")
        @property
        def track(self) -> int: ...
        @property
        def mid(self) -> str: ...
        @property
        def mime(self) -> str: ...
        @property
        def layers(self) -> list[tuple[str, int, int]]: ...
        def __new__(
            cls, track: int, mid: str, mime: str, layers: list[tuple[str, int, int]]
        ) -> Event.TrackBound: ...

    @final
    class TrackEnded(Event):
        """Its section went away in the client's SDP."""

        __match_args__ = ("track",)
        @property
        def track(self) -> int: ...
        def __new__(cls, track: int) -> Event.TrackEnded: ...

    @final
    class Subscribed(Event):
        """The subscriber's section is bound and its transport connected."""

        __match_args__ = ("participant", "track", "mime")
        @property
        def participant(self) -> int: ...
        @property
        def track(self) -> int: ...
        @property
        def mime(self) -> str: ...
        def __new__(cls, participant: int, track: int, mime: str) -> Event.Subscribed: ...

    @final
    class Unsubscribed(Event):
        __match_args__ = ("participant", "track")
        @property
        def participant(self) -> int: ...
        @property
        def track(self) -> int: ...
        def __new__(cls, participant: int, track: int) -> Event.Unsubscribed: ...

    @final
    class SubscriptionFailed(Event):
        __match_args__ = ("participant", "track", "reason")
        @property
        def participant(self) -> int: ...
        @property
        def track(self) -> int: ...
        @property
        def reason(self) -> Literal["codec_unsupported"]: ...
        def __new__(
            cls, participant: int, track: int, reason: Literal["codec_unsupported"]
        ) -> Event.SubscriptionFailed: ...

    @final
    class Qualities(Event):
        """Dynacast: (codec without "video/", enabled LOW, MEDIUM, HIGH)."""

        __match_args__ = ("track", "codecs")
        @property
        def track(self) -> int: ...
        @property
        def codecs(self) -> list[tuple[str, tuple[bool, bool, bool]]]: ...
        def __new__(
            cls, track: int, codecs: list[tuple[str, tuple[bool, bool, bool]]]
        ) -> Event.Qualities: ...

    @final
    class AudioCodecs(Event):
        """Dynacast of audio, for tracks that have a backup codec: ("audio/opus", somebody is sent it)."""

        __match_args__ = ("track", "codecs")
        @property
        def track(self) -> int: ...
        @property
        def codecs(self) -> list[tuple[str, bool]]: ...
        def __new__(cls, track: int, codecs: list[tuple[str, bool]]) -> Event.AudioCodecs: ...

    @final
    class Speakers(Event):
        """Only those whose level or state changed: (participant, level 0..1, active)."""

        __match_args__ = ("room", "speakers")
        @property
        def room(self) -> int: ...
        @property
        def speakers(self) -> list[tuple[int, float, bool]]: ...
        def __new__(cls, room: int, speakers: list[tuple[int, float, bool]]) -> Event.Speakers: ...

    @final
    class Quality(Event):
        """`livekit.ConnectionQuality` number and score 0..5 (MOS); only changes."""

        __match_args__ = ("participant", "quality", "score")
        @property
        def participant(self) -> int: ...
        @property
        def quality(self) -> int: ...
        @property
        def score(self) -> float: ...
        def __new__(cls, participant: int, quality: int, score: float) -> Event.Quality: ...

    @final
    class Liveness(Event):
        """No authenticated packet on any of the participant's transports for 15 s, or again one."""

        __match_args__ = ("participant", "alive")
        @property
        def participant(self) -> int: ...
        @property
        def alive(self) -> bool: ...
        def __new__(cls, participant: int, alive: bool) -> Event.Liveness: ...

    @final
    class Overflow(Event):
        """The participant does not read what is sent to it; its transports are closed."""

        __match_args__ = ("participant", "detail")
        @property
        def participant(self) -> int: ...
        @property
        def detail(self) -> str: ...
        def __new__(cls, participant: int, detail: str) -> Event.Overflow: ...

    @final
    class Refused(Event):
        """A packet or request was refused for a reason that the client should learn or the log should
        say."""

        __match_args__ = ("participant", "detail")
        @property
        def participant(self) -> int: ...
        @property
        def detail(self) -> str: ...
        def __new__(cls, participant: int, detail: str) -> Event.Refused: ...

    @final
    class Fault(Event):
        """A fault inside the media plane; that participant's transports are closed."""

        __match_args__ = ("participant", "detail")
        @property
        def participant(self) -> int: ...
        @property
        def detail(self) -> str: ...
        def __new__(cls, participant: int, detail: str) -> Event.Fault: ...

@final
class Layer:
    """One declared layer of a track (`livekit.VideoLayer`); quality 0 LOW, 1 MEDIUM, 2 HIGH."""

    def __new__(
        cls, *, quality: int, rid: str = ..., width: int = 0, height: int = 0, bitrate: int = 0, ssrc: int = 0
    ) -> Layer: ...

@final
class Codec:
    """One codec variant of a track (`simulcast_codecs`). `mime` in lower case ("video/vp9") or empty."""

    def __new__(
        cls,
        *,
        mime: str = ...,
        cid: str = ...,
        layer_mode: LayerMode = "unused",
        layers: Sequence[Layer] = ...,
    ) -> Codec: ...

@final
class ExternalAddresses:
    """Ask STUN servers (`host:port`) for the addresses that ours are mapped to one by one."""

    def __new__(
        cls, *, stun_servers: Sequence[str], only: bool, advertise_internal: bool, validate: bool
    ) -> ExternalAddresses: ...

@final
class Exchange:
    """Where a media plane and the peers of the same process find each other."""

    def __new__(cls) -> Exchange: ...

@final
class Media:
    """Worker threads with their sockets. Methods queue commands, in order, and return at once."""

    def __new__(
        cls,
        *,
        udp_ports: Sequence[int],
        wake: Callable[[], object],
        tcp_port: int | None = None,
        tcp_optional: bool = False,
        turn_secret: bytes | None = None,
        turn_port: int | None = None,
        turn_tls_port: int | None = None,
        turn_bind: Sequence[str] = ...,
        turn_certificate: tuple[str, str] | None = None,
        turn_allocations: int = 12,
        turn_optional: bool = False,
        bind: Sequence[str] = ...,
        node_addresses: Sequence[str] = ...,
        allow_loopback: bool = False,
        interfaces_include: Sequence[str] = ...,
        interfaces_exclude: Sequence[str] = ...,
        networks_include: Sequence[str] = ...,
        networks_exclude: Sequence[str] = ...,
        external: ExternalAddresses | None = None,
        seed: int | None = None,
        offline: bool = False,
        exchange: Exchange | None = None,
    ) -> Media:
        """One worker a port; port 0 is any free one. `wake` is called from another thread, once per batch of
        events: give `lambda: loop.call_soon_threadsafe(drain)`. Raises OSError when a port is taken, unless
        `tcp_optional` or `turn_optional` says to go on without. `turn_secret`, of 32 bytes, starts the TURN
        server; `turn_certificate` names the files of the chain and its key: TLS is ended in front without.
        With `external` it waits some seconds for STUN servers to answer. Peers of this process come by the
        `exchange`; `offline` opens no sockets, for those alone, and starts one worker."""

    @property
    def ports(self) -> list[int]: ...
    @property
    def tcp_port(self) -> int | None:
        """Of ICE over TCP."""

    @property
    def turn_ports(self) -> tuple[int | None, int | None]:
        """Of TURN over UDP and TCP, and over TLS."""

    @property
    def addresses(self) -> list[str]:
        """Offered to everybody as candidates."""

    @property
    def fingerprint(self) -> str: ...
    def take_events(self) -> list[Event]: ...
    def close(self) -> None:
        """Closes all transports, joins the threads, closes the sockets; takes milliseconds."""

    def open_room(
        self,
        *,
        room: int,
        sid: str,
        codecs: Sequence[str],
        sync_streams: bool = False,
        active_level: int = 35,
        min_percentile: int = 40,
        update_interval_ms: int = 400,
        smooth_intervals: int = 2,
    ) -> None:
        """`codecs`: lower-case MIME, in order of preference."""

    def close_room(self, *, room: int) -> None: ...
    def add_participant(
        self,
        *,
        participant: int,
        room: int,
        identity: str,
        sid: str,
        mode: Literal["single", "dual"],
        subscriber_primary: bool = True,
        hidden: bool = False,
        can_publish: bool = True,
        can_subscribe: bool = True,
        can_publish_data: bool = True,
        agent: bool = False,
        auto_subscribe: bool = True,
        adaptive_stream: bool = False,
        ice_lite: bool = False,
        sdk: str = ...,
        protocol: int = 0,
        browser: str = ...,
        disabled_publish_codecs: Sequence[str] = ...,
        disabled_codecs: Sequence[str] = ...,
        extra_address: str | None = None,
        tcp_only: bool = False,
        in_process: bool = False,
    ) -> None:
        """`sdk`, `browser`, codecs in lower case. Dual mode with a primary subscriber offers at once."""

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
    def worker_of(self, *, room: int) -> int:
        """Only between rooms of one worker do `move_participant` and `forward_track` do anything."""

    def move_participant(self, *, participant: int, room: int, sid: str) -> None:
        """Connections and tracks go along; `sid` is the participant's in that room."""

    def remove_participant(self, *, participant: int) -> None: ...
    def remote_description(
        self, *, participant: int, target: Target, kind: SdpKind, sdp: str, id: int
    ) -> None: ...
    def remote_candidate(self, *, participant: int, target: Target, candidate: str) -> None:
        """`candidate`: RTCIceCandidateInit.candidate; empty ends them."""

    def set_tcp_only(self, *, participant: int, tcp_only: bool) -> None:
        """From the next ICE restart on, offer and take only TCP candidates, if there are any of ours."""

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
        kind: MediaKind,
        cid: str,
        codecs: Sequence[Codec] = ...,
        microphone: bool = False,
        stereo: bool = False,
        dtx: bool = True,
        red: bool = False,
        encrypted: bool = False,
        muted: bool = False,
    ) -> None: ...
    def mute_track(self, *, track: int, muted: bool) -> None: ...
    def remove_track(self, *, track: int) -> None: ...
    def forward_track(self, *, track: int, mirror: int, room: int, owner: int, sid: str) -> None:
        """Publishes a track in `room` too, as `mirror` of a participant that is nothing but this."""

    def set_subscription(self, *, participant: int, track: int, wish: Wish) -> None: ...
    def set_track_settings(
        self,
        *,
        participant: int,
        track: int,
        disabled: bool = False,
        quality: int = 2,
        width: int = 0,
        height: int = 0,
        fps: int = 0,
    ) -> None: ...
    def publish_data_track(
        self, *, participant: int, track: int, sid: str, publisher_handle: int
    ) -> None: ...
    def unpublish_data_track(self, *, track: int) -> None: ...
    def set_data_subscription(self, *, participant: int, track: int, handle: int | None) -> None:
        """`handle`: the subscriber's own, None unsubscribes."""

    def send_data(
        self, *, room: int, packet: bytes, reliable: bool, destinations: Sequence[int] = ...
    ) -> None:
        """`packet`: a serialised `livekit.DataPacket`; no destinations: everybody in the room."""

    def call(self, *, participant: int, caller: str, packets: Sequence[bytes]) -> None:
        """Sends packets reliably and reports what the participant sends to the identity `caller`."""

    def end_call(self, *, participant: int, caller: str) -> None: ...

ProbeState: TypeAlias = Literal["connecting", "connected", "answer", "turn", "peer", "stream", "transport"]

@final
class Probe:
    """A client that only connects, one way. Its sockets are the caller's; addresses are `host:port`."""

    def __new__(cls) -> Probe: ...
    @property
    def offer(self) -> str:
        """What to send the server; `begin_…` takes its answer, and raises ValueError if it is unusable."""

    def begin_udp(self, answer: str, locals: Sequence[str]) -> None: ...
    def begin_tcp(self, answer: str, local: str, remote: str) -> None: ...
    def begin_relay(
        self,
        answer: str,
        local: str,
        server: str,
        *,
        stream: bool,
        username: str,
        password: str,
        ipv6: bool = False,
    ) -> None: ...
    def add_candidate(self, line: str) -> None: ...
    def handle(self, local: str, remote: str, data: bytes) -> None:
        """A datagram, or what was read of a stream."""

    def handle_timeout(self) -> float | None:
        """Runs what is due; seconds until it is to be called again."""

    def take(self) -> list[tuple[str, str, bytes]]:
        """What to send: from, to, bytes."""

    def progress(self) -> tuple[ProbeState, str]:
        """With "connecting" comes a diagnosis, with "connected" the round trip in ms, else what is in the
        way: of the TURN server itself, of media that it does not relay to, of the stream, of ICE or DTLS."""

    @property
    def relayed(self) -> str | None: ...
    def close(self) -> None:
        """Leaves: `take` then gives the goodbyes."""

@final
class EncryptionKeys:
    """The keys of all participants of a session, and what encrypts and decrypts by them."""

    def __new__(
        cls,
        derivation: Literal["pbkdf2", "hkdf"],
        salt: bytes,
        ratchet_window: int,
        failure_tolerance: int,
        ring_size: int,
    ) -> EncryptionKeys:
        """`failure_tolerance`: -1 for any number."""

    def set(self, identity: str | None, index: int, material: bytes) -> None:
        """Sets a key of a participant, or of everybody."""

    def seal(self, identity: str, index: int, iv: bytes, message: bytes) -> bytes | None:
        """A message encrypted by a participant's key, its tag of 16 bytes behind it; None without that key.

        `iv`: 12 random bytes.
        """

    def forget(self, identity: str) -> None:
        """Forgets how a participant has ratcheted the keys of everybody: it has left."""

    def open(self, identity: str, key_index: int, iv: bytes, sealed: bytes) -> bytes | None:
        """The message that a participant has encrypted; None if none of the keys that there are fits."""

    def open_waiting(self, identity: str, key_index: int, iv: bytes, sealed: bytes) -> bytes | None:
        """As `open`, but ratchets our key as often as it may be, which takes some time."""

    def open_lossy(self, identity: str, key_index: int, iv: bytes, sealed: bytes) -> bytes | None:
        """As `open`, but our key is ratcheted meanwhile, for the messages that follow."""

    def may_ratchet(self, identity: str, key_index: int) -> bool:
        """Whether a key may have been ratcheted to one that has not been tried yet."""

Channel: TypeAlias = Literal["reliable", "lossy", "data_track", "unlabelled"]

EncryptionState: TypeAlias = Literal[
    "ok", "encryption_failed", "decryption_failed", "missing_key", "key_ratcheted"
]

class PeerEvent:
    """A client's media → its session; one subclass a kind: `case PeerEvent.Data(channel, data):`."""
    @final
    class Description(PeerEvent):
        """A local description to send. An answer has the offer's id."""

        __match_args__ = ("target", "kind", "sdp", "id")
        @property
        def target(self) -> Target: ...
        @property
        def kind(self) -> SdpKind: ...
        @property
        def sdp(self) -> str: ...
        @property
        def id(self) -> int: ...
        def __new__(cls, target: Target, kind: SdpKind, sdp: str, id: int) -> PeerEvent.Description: ...

    @final
    class Candidate(PeerEvent):
        """A local candidate that the last description does not hold (RTCIceCandidateInit's fields)."""

        __match_args__ = ("target", "candidate", "mid", "mline")
        @property
        def target(self) -> Target: ...
        @property
        def candidate(self) -> str: ...
        @property
        def mid(self) -> str: ...
        @property
        def mline(self) -> int: ...
        def __new__(cls, target: Target, candidate: str, mid: str, mline: int) -> PeerEvent.Candidate: ...

    @final
    class Connection(PeerEvent):
        """`way`: how its path goes or went, None when it never had one."""

        __match_args__ = ("target", "state", "detail", "way")
        @property
        def target(self) -> Target: ...
        @property
        def state(self) -> ConnectionState: ...
        @property
        def detail(self) -> str: ...
        @property
        def way(self) -> Way | None: ...
        def __new__(
            cls, target: Target, state: ConnectionState, detail: str, way: Way | None = None
        ) -> PeerEvent.Connection: ...

    @final
    class ChannelOpen(PeerEvent):
        """One of our own channels can be written to."""

        __match_args__ = ("channel",)
        @property
        def channel(self) -> Channel: ...
        def __new__(cls, channel: Channel) -> PeerEvent.ChannelOpen: ...

    @final
    class Data(PeerEvent):
        """A message of the server's."""

        __match_args__ = ("channel", "data")
        @property
        def channel(self) -> Channel: ...
        @property
        def data(self) -> bytes: ...
        def __new__(cls, channel: Channel, data: bytes) -> PeerEvent.Data: ...

    @final
    class Flushed(PeerEvent):
        """The server has all that was sent."""

        __match_args__ = ()
        def __new__(cls) -> PeerEvent.Flushed: ...

    @final
    class BufferLow(PeerEvent):
        """A channel that refused a message has room again."""

        __match_args__ = ("channel",)
        @property
        def channel(self) -> Channel: ...
        def __new__(cls, channel: Channel) -> PeerEvent.BufferLow: ...

    @final
    class Track(PeerEvent):
        """The server sends in a section: its msid, and the codec it prefers."""

        __match_args__ = ("target", "mid", "kind", "stream", "track", "mime")
        @property
        def target(self) -> Target: ...
        @property
        def mid(self) -> str: ...
        @property
        def kind(self) -> MediaKind: ...
        @property
        def stream(self) -> str: ...
        @property
        def track(self) -> str: ...
        @property
        def mime(self) -> str: ...
        def __new__(
            cls, target: Target, mid: str, kind: MediaKind, stream: str, track: str, mime: str
        ) -> PeerEvent.Track: ...

    @final
    class TrackEnded(PeerEvent):
        __match_args__ = ("target", "mid")
        @property
        def target(self) -> Target: ...
        @property
        def mid(self) -> str: ...
        def __new__(cls, target: Target, mid: str) -> PeerEvent.TrackEnded: ...

    @final
    class KeyFrame(PeerEvent):
        """A layer of a published track is to begin anew."""

        __match_args__ = ("track", "layer")
        @property
        def track(self) -> int: ...
        @property
        def layer(self) -> int: ...
        def __new__(cls, track: int, layer: int) -> PeerEvent.KeyFrame: ...

    @final
    class Bitrate(PeerEvent):
        """What a layer of a published video track may use, in bits a second; 0: nothing."""

        __match_args__ = ("track", "layer", "bits")
        @property
        def track(self) -> int: ...
        @property
        def layer(self) -> int: ...
        @property
        def bits(self) -> int: ...
        def __new__(cls, track: int, layer: int, bits: int) -> PeerEvent.Bitrate: ...

    @final
    class Sealing(PeerEvent):
        """How the encryption of a published track fares, when that changes."""

        __match_args__ = ("track", "state")
        @property
        def track(self) -> int: ...
        @property
        def state(self) -> EncryptionState: ...
        def __new__(cls, track: int, state: EncryptionState) -> PeerEvent.Sealing: ...

    @final
    class Opening(PeerEvent):
        """How the decryption of what comes in a section fares, when that changes."""

        __match_args__ = ("target", "mid", "state")
        @property
        def target(self) -> Target: ...
        @property
        def mid(self) -> str: ...
        @property
        def state(self) -> EncryptionState: ...
        def __new__(cls, target: Target, mid: str, state: EncryptionState) -> PeerEvent.Opening: ...

    @final
    class Rejected(PeerEvent):
        """A description of the server's, or what it has for a track of ours, cannot be used; says why."""

        __match_args__ = ("target", "id", "reason")
        @property
        def target(self) -> Target: ...
        @property
        def id(self) -> int: ...
        @property
        def reason(self) -> str: ...
        def __new__(cls, target: Target, id: int, reason: str) -> PeerEvent.Rejected: ...

    @final
    class Fault(PeerEvent):
        """A fault in the media of this client: nothing follows."""

        __match_args__ = ("detail",)
        @property
        def detail(self) -> str: ...
        def __new__(cls, detail: str) -> PeerEvent.Fault: ...

@final
class Mailbox:
    """A place for one object, between threads. A newer one takes its place."""

    def __new__(cls) -> Mailbox: ...
    def put(self, item: object) -> bool:
        """Whether there was one that nobody took."""
    def take(self, timeout: float | None) -> tuple[Any, float]:
        """Waits for an object, for so many seconds at most; None after that, and when the box is closed. With
        it the seconds that the interpreter was then waited for: others who want it get it, even if there is
        no waiting."""
    def close(self) -> None:
        """Ends the waiting."""

@final
class FrameSink:
    """A bounded queue of encoded frames. When it is full, what lies before the newest key frame is dropped;
    without one everything, and a key frame is asked for."""

    def __new__(cls, wake: Callable[[], object], capacity: int) -> FrameSink:
        """`wake` is called from another thread, once per batch of frames."""

    def take(self) -> list[tuple[Any, int, bool, str, int]]:
        """Frame, RTP time that does not wrap, whether it is a key frame, codec ("vp8", "opus", …), clockwise
        degrees that it is to be turned by (0, 90, 180, 270) of each. Those of codec "plain" were passed as
        they are, by `Peer.send_plain`; others are bytes."""

    def decoded(self, width: int, height: int, key: bool, seconds: float) -> None:
        """Tells of a picture, for statistics: its size, and the seconds that decoding it took."""

    def close(self) -> None: ...

@final
class AudioQueue:
    """Samples to be sent by a published track. It drains by the clock, whether somebody sends from it or
    not."""

    def __new__(cls, sample_rate: int, channels: int, capacity_ms: int) -> AudioQueue: ...
    def push(self, data: bytes | bytearray | memoryview) -> float:
        """Native 16-bit samples, interleaved; taken as a whole. Seconds to wait before trying again when they
        do not fit, else 0."""

    @property
    def queued(self) -> float:
        """Seconds of what waits."""

    def clear(self) -> None: ...

@final
class AudioSink:
    """A bounded queue of frames of samples that were heard; the oldest is dropped when it is full."""

    def __new__(
        cls, wake: Callable[[], object], sample_rate: int, channels: int, capacity: int, frame_ms: int = 10
    ) -> AudioSink:
        """`wake` is called from another thread, once per batch of frames. Raises ValueError for what cannot
        be had: a rate, channels, a number below 0, frames of more than a minute."""

    def take(self) -> list[bytes]:
        """Frames of native 16-bit samples, interleaved."""

    def close(self) -> None: ...

@final
class Peer:
    """The media of one session of a client: its peer connections, tracks and data channels. Methods queue, in
    order, and return at once; after `close` they do nothing. With one connection that is "publisher"."""

    def __new__(cls, *, single: bool, wake: Callable[[], object], exchange: Exchange | None = None) -> Peer:
        """`wake` is called from another thread, once per batch of events. With an `exchange` the server is in
        this process, and there are no sockets. Raises OSError without sockets that it needs."""

    def take_events(self) -> list[PeerEvent]: ...
    def close(self) -> None:
        """Says goodbye and closes the sockets; takes milliseconds."""

    def set_ice_servers(
        self, servers: Sequence[tuple[Sequence[str], str, str]], relay_only: bool = False
    ) -> None:
        """URLs, username, credential."""

    def add_receivers(self, audio: int, video: int) -> None:
        """Sections more that only receive, in the next offer."""

    def negotiate(self) -> None:
        """Offers on the publisher connection, at once or when the offer before is answered."""

    def remote_description(self, target: Target, kind: SdpKind, sdp: str, id: int) -> None:
        """What is wrong with it comes as `Rejected`."""

    def remote_candidate(self, target: Target, candidate: str) -> None: ...
    def restart_ice(self, target: Target) -> None:
        """Fresh credentials: for the publisher connection in an offer that is made at once, in place of one
        that waits for its answer."""

    def open_channels(self) -> None:
        """On the publisher connection, before its first offer."""

    def send(self, channel: Channel, message: bytes) -> bool:
        """False: the channel is full, and `BufferLow` follows."""

    def buffered(self, channel: Channel) -> int: ...
    def flush(self) -> None:
        """`Flushed` follows when the server has acknowledged all messages, or there is none to do so."""

    def publish_audio(
        self,
        track: int,
        source: AudioQueue,
        *,
        cid: str,
        stream: str,
        bitrate: int | None = None,
        dtx: bool = True,
        red: bool = True,
        stereo: bool = False,
    ) -> None:
        """The track that publishes from a queue last has it."""

    def publish_opus(
        self, track: int, *, cid: str, stream: str, red: bool = True, stereo: bool = False
    ) -> None:
        """An audio track made of `send_opus`."""

    def send_opus(
        self, track: int, payload: bytes, *, timestamp: int, level: int = 127, voice: bool = False
    ) -> None:
        """`timestamp` in samples of 48 kHz; `level` in dB below the loudest."""

    def publish_video(
        self, track: int, *, cid: str, stream: str, codec: str, layers: Sequence[tuple[str, int]]
    ) -> None:
        """`codec`: MIME type, with or without "video/"; `layers`: rid and highest bitrate, by ascending
        quality."""

    def send_frame(
        self,
        track: int,
        layer: int,
        frame: bytes,
        *,
        timestamp_us: int,
        key: bool,
        age: float = 0.0,
        size: tuple[int, int] = ...,
        seconds: float = 0.0,
        captured: tuple[int, int, int] = ...,
    ) -> None:
        """VP8 and VP9 as they are, H.264 as a byte stream (Annex B), AV1 as OBUs with sizes.

        `age` is seconds since its capture, 0 for what comes encoded. `size`, the `seconds` that encoding took
        and what was `captured` (width, height, pictures so far) are for statistics."""

    def statistics(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """W3C's dictionaries (webrtc-stats) of the publisher's and the subscriber's connection, as they are
        now; empty after `close`."""

    def send_plain(self, track: int, frame: object) -> None:
        """Passes a picture as it is to those in this process, beside encoded ones for others. Does nothing
        where the server is reached over a network."""

    def encrypt(
        self, track: int, keys: EncryptionKeys | None, identity: str = "", key_index: int = 0
    ) -> None:
        """Encrypts what is sent of a track from now on, or no longer."""

    def decrypt(
        self,
        target: Target,
        mid: str,
        keys: EncryptionKeys | None,
        identity: str = "",
        server_trailer: bytes = ...,
    ) -> None:
        """Decrypts what is received in a section from now on, or no longer. `server_trailer` marks what the
        server puts in."""

    def unpublish(self, track: int) -> None: ...
    def set_muted(self, track: int, muted: bool) -> None: ...
    def use_layers(self, track: int, layers: Sequence[int]) -> None:
        """Only these layers of a video track are of use: the others get no share of the bitrate."""

    def see(self, target: Target, mid: str, sink: FrameSink) -> None:
        """Gives what is received in a section to a sink instead of whoever had it before."""

    def hear(self, target: Target, mid: str, sink: AudioSink) -> None:
        """Plays what is received in a section to a sink, beside others that hear it. It is decoded once, and
        only while somebody hears it."""

    def stop(self, target: Target, mid: str, sink: AudioSink | FrameSink | None = None) -> None:
        """Ends what `see` or `hear` began; without a sink for all of a section's."""

    def want_key_frame(self, target: Target, mid: str) -> None: ...
    def synchronize(self, target: Target, mid: str, stream: str) -> None:
        """What is received in a section is played in step with what is received in others of that stream."""

Samples: TypeAlias = bytes | bytearray | memoryview
"""Bytes (a memoryview cast to "B") of native 16-bit integers, interleaved by channel."""

@final
class OpusEncoder:
    """48 kHz. ValueError where Opus can't do it."""

    def __new__(
        cls,
        *,
        channels: int = 1,
        frame_samples: int = 960,
        bitrate: int | None = None,
        fec: bool = True,
        expected_loss: int = 0,
        dtx: bool = False,
        application: Literal["voip", "audio", "low_delay"] = "voip",
    ) -> OpusEncoder:
        """`frame_samples` of one channel; `expected_loss` in percent; `bitrate` in bits per second."""

    def encode(self, data: Samples) -> bytes:
        """Exactly one frame. A byte or two is silence, with `dtx`."""

    def set_bitrate(self, bitrate: int | None) -> None: ...
    def set_expected_loss(self, percent: int) -> None: ...

@final
class OpusDecoder:
    """48 kHz. ValueError for malformed packets."""

    def __new__(cls, *, channels: int = 1) -> OpusDecoder: ...
    def decode(self, packet: bytes) -> bytearray: ...
    def decode_fec(self, next_packet: bytes, samples: int) -> bytearray:
        """The `samples` (of one channel) before `next_packet`, by the copy that it carries."""

    def conceal(self, samples: int) -> bytearray: ...

@final
class Resampler:
    """8 to 192 kHz. In all, `round(input * output_rate / input_rate)` samples come out."""

    def __new__(
        cls,
        input_rate: int,
        output_rate: int,
        *,
        channels: int = 1,
        quality: Literal["quick", "low", "medium", "high", "very_high"] = "medium",
    ) -> Resampler: ...
    def push(self, data: Samples) -> bytearray: ...
    def flush(self) -> bytearray:
        """The rest; the next push begins anew."""

@final
class AudioProcessor:
    """Whole multiples of 10 ms, in place. ValueError for other lengths."""

    def __new__(
        cls,
        *,
        echo_cancellation: bool = False,
        noise_suppression: bool = False,
        high_pass_filter: bool = False,
        auto_gain_control: bool = False,
    ) -> AudioProcessor: ...
    def process_stream(self, data: Samples, sample_rate: int, channels: int) -> None: ...
    def process_reverse_stream(self, data: Samples, sample_rate: int, channels: int) -> None: ...
    def set_stream_delay_ms(self, delay_ms: int) -> None:
        """0 to 500; RuntimeError beyond, with the nearest taken."""

def mix(streams: Sequence[Samples]) -> bytearray:
    """The sums, which saturate; as long as the longest."""

def take_log_lines() -> list[tuple[int, str, int, str, str]]:
    """Level as in `logging`, file, number of the line in it, module and message of each that waits. Who gets
    nothing is to end: `roomful.media_log.start` is called for the next."""

def convert_video(
    data: bytes | bytearray | memoryview,
    width: int,
    height: int,
    from_type: int,
    to_type: int,
    flip_y: bool = False,
) -> bytearray:
    """A picture in another form (numbers of `VideoBufferType`), upside down if `flip_y`."""

def fit_video(
    data: bytes, size: tuple[int, int], type: int, sizes: Sequence[tuple[int, int]]
) -> tuple[list[bytes], float]:
    """A picture of a form (numbers of `VideoBufferType`) as I420 in each of `sizes` (width, height), and the
    seconds that the interpreter was waited for afterwards."""

def turn_video(
    data: bytes | bytearray | memoryview, size: tuple[int, int], type: int, quarters: int
) -> bytes:
    """A picture of a form (numbers of `VideoBufferType`) as I420, turned clockwise by so many quarters."""
