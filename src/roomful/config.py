"""The configuration, with LiveKit's own keys and defaults, so that a `livekit.yaml` works as it is.

It is strict: an unknown key is refused by name, and a key of LiveKit's that has no effect here yet is refused
when it differs from its default, so that nobody believes in a setting that does nothing.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from livekit.protocol.room import RoomConfiguration
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from roomful.absent import reason
from roomful.auth import MIN_SECRET_LENGTH

DEV_KEY = "devkey"
DEV_SECRET = "secret"


class ConfigError(Exception):
    """A configuration that cannot be used; the text names the key."""


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse_duration(value: Any) -> Any:
    """Go's notation ("500ms", "1m30s") in seconds.

    A bare number is refused, because LiveKit takes it as nanoseconds and nobody means that.
    """
    if isinstance(value, str):
        parts = list(_DURATION.finditer(value))
        if parts and "".join(part.group() for part in parts) == value:
            return sum(float(part.group(1)) * _UNITS[part.group(2)] for part in parts)
        if value == "0":
            return 0.0
    elif value == 0 and not isinstance(value, bool):
        return 0.0
    raise ValueError('a duration needs a unit, as in "5s" or "500ms"')


#: Seconds.
Duration = Annotated[float, BeforeValidator(parse_duration)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", validate_assignment=True, arbitrary_types_allowed=True, defer_build=True
    )


class _Open(BaseModel):
    """A table of tuning values whose keys LiveKit does not describe."""

    model_config = ConfigDict(extra="allow", defer_build=True)


def later(default: Any, *, also: Any = None) -> Any:
    """A key of LiveKit's that has no effect here yet. `also`: another value that says what is done anyway."""
    extra: dict[str, Any] = {"later": True, "also": also}
    if callable(default):
        return Field(default_factory=default, json_schema_extra=extra)
    return Field(default, json_schema_extra=extra)


class PortRange(_Section):
    """Ports from `start` to `end`, both included. Written `7882`, `"7882-7889"` or as a mapping."""

    start: int = Field(0, ge=0, le=65535)
    end: int = Field(0, ge=0, le=65535)


def _port_range(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return {"start": value, "end": value}
    if isinstance(value, str):
        start, _, end = value.partition("-")
        try:
            value = {"start": int(start), "end": int(end or start)}
        except ValueError:
            raise ValueError('ports are written 7882 or "7882-7889"') from None
    if isinstance(value, dict) and value.get("end", 0) < value.get("start", 0):
        raise ValueError("the last port is below the first")
    return value


class NodeIP(_Section):
    ipv4: str = ""
    ipv6: str = ""


def _node_ip(value: Any) -> Any:
    """As a mapping, or as one or two addresses with a comma between them."""
    if isinstance(value, str):
        families: dict[str, str] = {}
        for address in filter(None, (part.strip() for part in value.split(","))):
            family = "ipv6" if ":" in address else "ipv4"
            if family in families:
                raise ValueError(f"more than one {family} address: {families[family]}, {address}")
            families[family] = address
        value = families
    if isinstance(value, dict):
        for family, parse in (("ipv4", ipaddress.IPv4Address), ("ipv6", ipaddress.IPv6Address)):
            if value.get(family):
                parse(value[family])
    return value


class Filter(_Section):
    """With both, only `includes` counts."""

    includes: list[str] = []
    excludes: list[str] = []


class NetworkFilter(Filter):
    """Networks as in "10.0.0.0/8", or single addresses."""

    @field_validator("includes", "excludes")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        return [str(ipaddress.ip_network(network, strict=False)) for network in networks]

    def allows(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        listed = any(ip in ipaddress.ip_network(network) for network in self.includes or self.excludes)
        return listed == bool(self.includes)


class TurnServer(_Section):
    host: str
    port: int = 0
    #: "udp", "tcp" or "tls"; empty: tcp.
    protocol: str = ""
    username: str = ""
    credential: str = ""
    secret: str = ""
    secret_file: str = ""
    #: Seconds. 0: four hours; at most a day.
    ttl: int = 14400

    @model_validator(mode="after")
    def _read_secret(self) -> TurnServer:
        if self.secret_file and not self.secret:
            try:
                # Not by assignment, which would validate again.
                self.__dict__["secret"] = _expand(self.secret_file).read_text().strip()
            except OSError as error:
                raise ValueError(f"secret_file {self.secret_file}: {error.strerror}") from None
            if not self.secret:
                raise ValueError(f"secret_file {self.secret_file} is empty")
        return self

    @field_validator("ttl")
    @classmethod
    def _bounded(cls, ttl: int) -> int:
        if ttl == 0:
            return 14_400
        return 300 if ttl < 0 else min(ttl, 86_400)


class BatchIO(_Section):
    batch_size: int = 0
    max_flush_interval: Duration = 0.0


class PliThrottle(_Section):
    low_quality: Duration = 0.5
    mid_quality: Duration = 1.0
    high_quality: Duration = 1.0


class StreamAllocator(_Section):
    min_channel_capacity: int = 0
    disable_etimation_unmanaged_tracks: bool = False
    probe_mode: str = "padding"
    probe_overage_pct: int = 120
    probe_min_bps: int = 200_000
    paused_min_wait: Duration = 5.0


class CongestionControl(_Section):
    enabled: bool = later(True)
    allow_pause: bool = later(False)
    stream_allocator: StreamAllocator = later(StreamAllocator)
    remote_bwe: _Open = later(_Open)
    use_send_side_bwe_interceptor: bool = later(False)
    use_send_side_bwe: bool = later(False)
    send_side_bwe_pacer: str = later("no-queue")
    send_side_bwe: _Open = later(_Open)


class ForwardStats(_Section):
    summary_interval: Duration = 0.0
    report_interval: Duration = 0.0
    report_window: Duration = 0.0


class RTC(_Section):
    #: Absent: in dev 7882, else one port of `port_range_start`..`port_range_end`. 0: any free port.
    udp_port: Annotated[PortRange | None, BeforeValidator(_port_range)] = None
    #: ICE over TCP. Absent: 7881, in dev only if that is free. 0: none.
    tcp_port: int | None = Field(None, ge=0, le=65535)
    port_range_start: int = Field(50000, ge=0, le=65535)
    port_range_end: int = Field(60000, ge=0, le=65535)
    node_ip: Annotated[NodeIP, BeforeValidator(_node_ip)] = Field(default_factory=NodeIP)
    use_external_ip: bool = False
    external_ip_only: bool = False
    skip_external_ip_validation: bool = False
    advertise_internal_ip: bool = False
    use_ice_lite: bool = False
    use_stun_port_as_ice: bool = later(False)
    stun_servers: list[str] = []
    turn_servers: list[TurnServer] = []
    interfaces: Filter = Field(default_factory=Filter)
    ips: NetworkFilter = Field(default_factory=NetworkFilter)
    enable_loopback_candidate: bool = False
    use_mdns: bool = later(False)
    #: Only TCP candidates are offered and taken.
    force_tcp: bool = False
    batch_io: BatchIO = later(BatchIO)
    sctp_min_cwnd: int = later(0)
    sctp_fast_rtx_wnd: int = later(0)
    sctp_cwnd_ca_step: int = later(0)
    host_acceptance_min_wait: Duration = later(0.0)
    srflx_acceptance_min_wait: Duration = later(0.0)
    prflx_acceptance_min_wait: Duration = later(0.0)
    relay_acceptance_min_wait: Duration = later(0.0)
    enable_warp: bool = later(False)
    strict_acks: bool = later(False)
    packet_buffer_size: int = later(500)
    packet_buffer_size_video: int = later(500)
    packet_buffer_size_audio: int = later(200)
    pli_throttle: PliThrottle = later(PliThrottle)
    congestion_control: CongestionControl = Field(default_factory=CongestionControl)
    allow_tcp_fallback: bool = True
    tcp_fallback_rtt_threshold: int = later(0)
    allow_udp_unstable_fallback: bool = later(False)
    reconnect_on_publication_error: bool = later(False)
    reconnect_on_subscription_error: bool = later(False)
    reconnect_on_data_channel_error: bool = later(False)
    data_channel_max_buffered_amount: int = later(0)
    datachannel_slow_threshold: int = later(0)
    datachannel_lossy_target_latency: Duration = later(0.0)
    datachannel_data_track_target_latency: Duration = later(0.1)
    forward_stats: ForwardStats = later(ForwardStats)
    enable_rtp_stream_restart_detection: bool = later(False)

    @model_validator(mode="after")
    def _tcp_can_be_forced(self) -> RTC:
        if self.force_tcp and self.tcp_port == 0:
            raise ValueError("force_tcp needs a tcp_port")
        return self


class RedisTls(_Section):
    enabled: bool = False
    insecure: bool = False
    server_name: str = ""
    ca_cert_file: str = ""
    client_cert_file: str = ""
    client_key_file: str = ""


class Redis(_Section):
    address: str = later("")
    username: str = later("")
    password: str = later("")
    db: int = later(0)
    use_tls: bool = later(False)
    tls: RedisTls = later(RedisTls)
    sentinel_master_name: str = later("")
    sentinel_username: str = later("")
    sentinel_password: str = later("")
    sentinel_addresses: list[str] = later(list)
    cluster_addresses: list[str] = later(list)
    dial_timeout: int = later(0)
    read_timeout: int = later(0)
    write_timeout: int = later(0)
    max_redirects: int | None = later(None)
    pool_timeout: Duration = later(0.0)
    pool_size: int = later(0)


class Audio(_Section):
    #: A frame at or below this many negative dBov is active.
    active_level: int = Field(35, ge=0, le=127)
    #: Percent of an interval that must be active.
    min_percentile: int = Field(40, ge=0, le=100)
    #: Milliseconds.
    update_interval: int = Field(400, ge=50)
    smooth_intervals: int = Field(2, ge=0)
    active_red_encoding: bool = later(False)
    enable_loss_proxying: bool = later(False)


class Video(_Section):
    dynacast_pause_delay: Duration = later(5.0)
    codec_regression_threshold: int = later(5)
    stream_tracker_manager: _Open = later(_Open)


class Codec(_Section):
    mime: str
    fmtp_line: str = ""


class PlayoutDelay(_Section):
    enabled: bool = False
    #: Milliseconds.
    min: int = 0
    max: int = 0


_CODECS = (
    *("audio/PCMU", "audio/PCMA", "audio/opus", "audio/red"),
    *("video/VP8", "video/H264", "video/VP9", "video/AV1", "video/H265", "video/rtx"),
)


def _room_configuration(value: Any) -> Any:
    if isinstance(value, RoomConfiguration):
        return value
    from google.protobuf import json_format

    try:
        return json_format.ParseDict(value, RoomConfiguration())
    except (json_format.ParseError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(str(error)) from None


class Room(_Section):
    auto_create: bool = True
    enabled_codecs: list[Codec] = Field(default_factory=lambda: [Codec(mime=mime) for mime in _CODECS])
    #: 0: no limit.
    max_participants: int = Field(0, ge=0)
    #: Seconds.
    empty_timeout: int = Field(300, ge=0)
    #: Seconds.
    departure_timeout: int = Field(20, ge=0)
    enable_remote_unmute: bool = False
    playout_delay: PlayoutDelay = later(PlayoutDelay)
    sync_streams: bool = False
    create_room_timeout: Duration = later(10.0)
    create_room_attempts: int = later(3)
    enable_full_room_in_webhooks: bool = later(False)
    #: Bytes.
    update_batch_target_size: int = Field(131_072, gt=0)
    #: Old names of those in `limit`.
    max_metadata_size: int = 0
    max_room_name_length: int = 0
    max_participant_identity_length: int = 0
    room_configurations: dict[str, Annotated[Any, BeforeValidator(_room_configuration)]] = {}


class Limit(_Section):
    """Sizes in bytes; 0 means no limit unless said otherwise."""

    #: Of the whole node.
    num_tracks: int = Field(0, ge=0)
    bytes_per_sec: float = later(0.0)
    subscription_limit_video: int = later(0)
    subscription_limit_audio: int = later(0)
    max_metadata_size: int = Field(524_288, ge=0)
    max_attributes_size: int = Field(65_536, ge=0)
    max_room_name_length: int = Field(256, ge=0)
    max_participant_identity_length: int = Field(256, ge=0)
    max_participant_name_length: int = Field(256, ge=0)
    max_data_blob_key_length: int = later(256)
    max_data_blobs_size: int = later(64_000)
    max_data_track_custom_encoding_length: int = Field(32, ge=0)
    signal_message_size_limit: int = Field(2 * 1024 * 1024, gt=0)
    agent_signal_message_size_limit: int = later(2 * 1024 * 1024)
    max_api_request_body_size: int = Field(10 * 1024 * 1024, gt=0)
    #: Ours: joins a second from one address (IPv6: one /64) and with one API key; ten times as many may come
    #: at once. Behind a proxy that hides its clients' addresses the first is for all of them.
    joins_per_sec_per_ip: float = Field(100.0, ge=0)
    joins_per_sec_per_key: float = Field(1000.0, ge=0)
    #: Ours: connections that one address (IPv6: one /64) may hold open to our own listener. A proxy may hold
    #: any number if its X-Forwarded-For is believed (the environment's FORWARDED_ALLOW_IPS, else 127.0.0.1).
    connections_per_ip: int = Field(2000, ge=0)
    #: Ours: request line and headers, which hold tokens with their metadata.
    max_request_head_size: int = Field(1024 * 1024, ge=8192)


class Turn(_Section):
    """The TURN server that is built in. It relays to this node's media and to nothing else."""

    #: Absent: only in dev, on UDP port 3478 if that is free.
    enabled: bool | None = None
    domain: str = ""
    cert_file: str = ""
    key_file: str = ""
    #: Told to clients as it is; with `external_tls` they are told 443, where TLS is ended in front.
    tls_port: int = Field(0, ge=0, le=65535)
    #: TCP is taken on it, too.
    udp_port: int = Field(0, ge=0, le=65535)
    #: Without effect, as are the lists of peers: no socket is opened to relay.
    relay_range_start: int = 0
    relay_range_end: int = 0
    external_tls: bool = False
    #: Empty: as media.
    bind_addresses: list[str] = []
    per_user_relay_allocation_limit: int = Field(12, ge=1)
    #: How long credentials may be used to allocate; those in use go on.
    ttl_seconds: int = Field(300, ge=1, le=86400)
    allow_restricted_peer_cidrs: list[str] = []
    deny_peer_cidrs: list[str] = []


class Ingress(_Section):
    rtmp_base_url: str = later("")
    whip_base_url: str = later("")


class UrlNotifier(_Section):
    num_workers: int = 10
    queue_size: int = 100


class ResourceUrlNotifier(_Section):
    max_age: Duration = 30.0
    max_depth: int = 200


class WebhookFilter(_Section):
    include_events: list[str] = []
    exclude_events: list[str] = []


class Webhook(_Section):
    urls: list[str] = later(list)
    api_key: str = later("")
    filter_params: WebhookFilter = later(WebhookFilter)
    url_notifier: UrlNotifier = later(UrlNotifier)
    resource_url_notifier: ResourceUrlNotifier = later(ResourceUrlNotifier)


class Region(_Section):
    name: str = ""
    lat: float = 0.0
    lon: float = 0.0


class NodeSelector(_Section):
    kind: str = later("any")
    sort_by: str = later("random")
    algorithm: str = later("lowest")
    cpu_load_limit: float = later(0.9)
    sysload_limit: float = later(0.9)
    regions: list[Region] = later(list)


class SignalRelay(_Section):
    retry_timeout: Duration = later(7.5)
    min_retry_interval: Duration = later(0.5)
    max_retry_interval: Duration = later(4.0)
    stream_buffer_size: int = later(1000)
    connect_attempts: int = later(3)


class Psrpc(_Section):
    max_attempts: int = later(3)
    timeout: Duration = later(3.0)
    backoff: Duration = later(2.0)
    buffer_size: int = later(1000)


class Agents(_Section):
    enable_user_data_recording: bool = later(False)
    enable_user_data_redaction: bool = later(False)
    target_load: float = later(0.7)


class Metric(_Section):
    timestamper_config: _Open = later(_Open)
    collector: _Open = later(_Open)
    reporter: _Open = later(_Open)


class NodeStats(_Section):
    stats_update_interval: Duration = later(2.0)
    stats_rate_measurement_intervals: list[Duration] = later(lambda: [10.0])
    stats_max_delay: Duration = later(30.0)


class Api(_Section):
    execution_timeout: Duration = later(2.0)
    check_interval: Duration = later(0.1)
    max_check_interval: Duration = later(300.0)
    enable_psrpc_for_get_list_participants: bool = later(False)


class Logging(_Section):
    #: "debug", "info", "warn" or "error"; empty: info, in dev debug.
    level: str = ""
    json_: bool = Field(False, alias="json")
    sample: bool = later(False)
    component_levels: dict[str, str] = {}
    pion_level: str = later("error")
    sample_initial: int = later(0)
    sample_interval: int = later(0)
    item_sample_seconds: int = later(0)
    item_sample_initial: int = later(0)
    item_sample_interval: int = later(0)

    @field_validator("level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.lower() not in ("", "debug", "info", "warn", "warning", "error"):
            raise ValueError("one of debug, info, warn, error")
        return level.lower()


class Prometheus(_Section):
    port: int = later(0)
    username: str = later("")
    password: str = later("")


class DebugHandler(_Section):
    port: int = later(0)


class Trace(_Section):
    jaeger_url: str = later("")


class Config(_Section):
    """A node's configuration. Every name is LiveKit's."""

    port: int = Field(7880, ge=0, le=65535)
    #: Empty: all, in dev 127.0.0.1 and ::1.
    bind_addresses: list[str] = []
    prometheus_port: int = later(0)
    prometheus: Prometheus = Field(default_factory=Prometheus)
    debug_handler: DebugHandler = Field(default_factory=DebugHandler)
    log_level: str = ""
    logging: Logging = Field(default_factory=Logging)
    #: API key → secret.
    keys: dict[str, str] = {}
    key_file: str = ""
    region: str = ""
    development: bool = False
    #: Ours: how long calls may go on after SIGTERM. Absent: until they end, as with livekit-server; in
    #: development `cli.DEV_DRAIN_TIMEOUT`.
    drain_timeout: Duration | None = None
    trace: Trace = Field(default_factory=Trace)
    rtc: RTC = Field(default_factory=RTC)
    redis: Redis = Field(default_factory=Redis)
    audio: Audio = Field(default_factory=Audio)
    video: Video = Field(default_factory=Video)
    room: Room = Field(default_factory=Room)
    limit: Limit = Field(default_factory=Limit)
    turn: Turn = Field(default_factory=Turn)
    ingress: Ingress = Field(default_factory=Ingress)
    sip: _Open = later(_Open)
    webhook: Webhook = Field(default_factory=Webhook)
    node_selector: NodeSelector = Field(default_factory=NodeSelector)
    signal_relay: SignalRelay = Field(default_factory=SignalRelay)
    psrpc: Psrpc = Field(default_factory=Psrpc)
    agents: Agents = Field(default_factory=Agents)
    metric: Metric = Field(default_factory=Metric)
    node_stats: NodeStats = Field(default_factory=NodeStats)
    api: Api = Field(default_factory=Api)
    enable_data_tracks: bool = True
    enable_participant_data_blob: bool = later(False)

    def model_post_init(self, _: Any, /) -> None:
        # Old names keep working; the new ones are what is read.
        for name in ("max_metadata_size", "max_room_name_length", "max_participant_identity_length"):
            if old := getattr(self.room, name):
                setattr(self.limit, name, old)
        if self.log_level:
            self.logging.level = self.log_level

    @property
    def serves_turn(self) -> bool:
        return self.development if self.turn.enabled is None else self.turn.enabled

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Config:
        """As `model_validate`, with an error that names the keys as they are written in the file."""
        try:
            return cls.model_validate(dict(data))
        except ValidationError as error:
            raise ConfigError(_explain(error)) from None


def load(
    text: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    ignore_unsupported: bool = False,
) -> tuple[Config, list[str]]:
    """Builds a configuration from YAML, then `LIVEKIT_…` variables, then flags; the later wins.

    `flags` maps dotted keys ("rtc.udp_port") to their text. Also returned: the keys set to something that has
    no effect here yet; without `ignore_unsupported` these raise `ConfigError`.
    """
    try:
        data = yaml.safe_load(text) if text else {}
    except yaml.YAMLError as error:
        raise ConfigError(f"the configuration is not YAML: {error}") from None
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise ConfigError("the configuration must be a mapping of keys to values")
    for path, value in _from_environment(os.environ if environ is None else environ):
        _put(data, path, value)
    known = dict(settings())
    for name, value in (flags or {}).items():
        if name not in known:
            raise ConfigError(f"unknown key: {name}")
        _put(data, name, value)
    config = Config.parse(data)
    if config.key_file:
        config.keys = {**config.keys, **read_key_file(config.key_file)}
    unsupported = unsupported_keys(config)
    if unsupported and not ignore_unsupported:
        raise ConfigError(
            "not supported yet: "
            + "; ".join(f"{name} ({reason(name)})" for name in unsupported)
            + ". Remove them, or pass --ignore-unsupported to be warned only"
        )
    return config, unsupported


def check_keys(config: Config) -> None:
    """Refuses a node without keys, and outside development secrets that can be guessed."""
    if not config.keys:
        raise ConfigError(
            "no keys: set `keys` in the configuration, LIVEKIT_KEYS or key_file "
            "(`roomful generate-keys` makes one, `roomful dev` needs none)"
        )
    if config.development:
        return
    short = [key for key, secret in config.keys.items() if len(secret) < MIN_SECRET_LENGTH]
    if short:
        raise ConfigError(
            f"the secret of {', '.join(short)} is shorter than {MIN_SECRET_LENGTH} characters; "
            "`roomful generate-keys` makes one"
        )


def check_turn(config: Config) -> None:
    """Refuses a TURN server that cannot be reached."""
    turn = config.turn
    if not config.serves_turn:
        return
    if turn.enabled and not turn.udp_port and not turn.tls_port:
        raise ConfigError(
            "turn.enabled needs turn.udp_port (usually 3478), turn.tls_port (usually 5349) or both"
        )
    if turn.tls_port and not turn.domain:
        raise ConfigError("turn.tls_port needs turn.domain, the name that the certificate is for")
    if turn.tls_port and not turn.external_tls and not (turn.cert_file and turn.key_file):
        raise ConfigError(
            "turn.tls_port needs turn.cert_file and turn.key_file (or turn.external_tls, TLS ended in front)"
        )


def parse_keys(text: str) -> dict[str, str]:
    """`key: secret`, one a line."""
    try:
        keys = yaml.safe_load(text)
    except yaml.YAMLError:
        keys = None
    if not isinstance(keys, dict) or not all(isinstance(secret, str | int) for secret in keys.values()):
        raise ConfigError("keys are written `key: secret`, one a line, with a space after the colon")
    return {str(key): str(secret) for key, secret in keys.items()}


def read_key_file(name: str) -> dict[str, str]:
    path = _expand(name)
    try:
        if os.name == "posix" and path.stat().st_mode & stat.S_IRWXO:
            raise ConfigError(f"key_file {path} can be read by others: chmod o= it")
        return parse_keys(path.read_text())
    except OSError as error:
        raise ConfigError(f"key_file {path}: {error.strerror}") from None


def _expand(name: str) -> Path:
    return Path(os.path.expandvars(name)).expanduser()


def unsupported_keys(config: Config) -> list[str]:
    """Dotted names of keys that differ from their default and have no effect here yet."""
    return list(_unsupported(config, ""))


def _unsupported(section: BaseModel, prefix: str) -> Iterator[str]:
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        path = f"{prefix}{info.alias or name}"
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("later"):
            default = info.get_default(call_default_factory=True)
            if value != default and value != info.json_schema_extra["also"]:
                yield path
        elif isinstance(value, BaseModel):
            yield from _unsupported(value, f"{path}.")


def settings() -> Iterator[tuple[str, FieldInfo]]:
    """Every key that takes a single value, as dotted name and field."""
    yield from _settings(Config, "")


def _settings(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in section.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, _Section) and kind not in (PortRange, NodeIP):
            yield from _settings(kind, f"{path}.")
        else:
            yield path, info


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """One variable a key (`LIVEKIT_RTC_UDP_PORT`), and the short names of livekit-server."""
    names = {"LIVEKIT_" + path.upper().replace(".", "_"): path for path, _ in settings()}
    names |= {"NODE_IP": "rtc.node_ip", "UDP_PORT": "rtc.udp_port"}
    names |= {"REDIS_HOST": "redis.address", "REDIS_PASSWORD": "redis.password"}
    names |= {"LIVEKIT_TURN_CERT": "turn.cert_file", "LIVEKIT_TURN_KEY": "turn.key_file"}
    for name, path in names.items():
        if value := environ.get(name):
            yield path, value


def _put(data: dict[str, Any], path: str, text: str) -> None:
    *sections, name = path.split(".")
    for section in sections:
        inner = data.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{section} must be a mapping of keys to values")
        data = inner
    if path == "keys":
        data[name] = parse_keys(text)
        return
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    # Text stays text where YAML would see a number or a date in it.
    data[name] = (
        text
        if isinstance(value, type(None)) or not isinstance(value, str | int | float | list | dict)
        else value
    )


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        path = _path(problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"unknown key: {path}")
        else:
            lines.append(f"{path}: {problem['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _path(parts: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in parts)
