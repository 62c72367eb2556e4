"""How a room is connected to, as programs say it."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomful.rtc._enums import ContinualGatheringPolicy, DisconnectReason, IceServer, IceTransportType
from roomful.rtc._local import LocalServer
from roomful.rtc._presence import Way
from roomful.rtc.e2ee import E2EEOptions


@dataclass
class RtcConfiguration:
    """How media finds its way."""

    ice_transport_type: IceTransportType.ValueType = IceTransportType.TRANSPORT_ALL
    """All ways, or those through relays only, which a server in this process has none of. TRANSPORT_NOHOST is
    not offered."""
    continual_gathering_policy: ContinualGatheringPolicy.ValueType = (
        ContinualGatheringPolicy.GATHER_CONTINUALLY
    )
    """Makes no difference: addresses are gathered once for each connection that is made or made again."""
    ice_servers: list[IceServer] = field(default_factory=list)
    """STUN and TURN servers, instead of those that the server names. A server in this process needs none, and
    takes none."""


@dataclass
class DataStreamOptions:
    """What one takes of streams."""

    max_payload_byte_length: int | None = None
    """Bytes, unpacked, after which a stream ends with StreamError. None is 5 GB."""


@dataclass
class RoomOptions:
    """How to connect to a room."""

    auto_subscribe: bool = True
    """Subscribe to every track as it is published."""
    dynacast: bool = False
    """Pause the encodings of one's videos that nobody takes."""
    e2ee: E2EEOptions | None = None
    """Deprecated: as `encryption`, for media only."""
    encryption: E2EEOptions | None = None
    """Encrypt media and data from end to end."""
    rtc_config: RtcConfiguration | None = None
    connect_timeout: float | None = None
    """Seconds for each attempt at signalling, more than 0; 5 if None."""
    single_peer_connection: bool | None = None
    """One connection for both ways, where the server can; True if None."""
    data_stream: DataStreamOptions | None = None


class ConnectError(Exception):
    """A room could not be connected to; `message` says what failed: the address, TLS, the token, the room,
    the server, signalling, or ICE."""

    reason = DisconnectReason.JOIN_FAILURE

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def way_of(url: str | LocalServer, options: RoomOptions) -> Way:
    """Raises ConnectError for what is not offered."""
    from roomful.rtc.version import __version__  # Looks into the installed packages, which takes time.

    configuration = options.rtc_config or RtcConfiguration()
    if configuration.ice_transport_type == IceTransportType.TRANSPORT_NOHOST:
        raise ConnectError("ice_transport_type TRANSPORT_NOHOST is not offered: all ways, or relays only")
    relay_only = configuration.ice_transport_type == IceTransportType.TRANSPORT_RELAY
    if not isinstance(url, str) and (relay_only or configuration.ice_servers):
        raise ConnectError("a server in this process is reached without ICE, by no relays or ice_servers")
    timeout = 5.0 if options.connect_timeout is None else options.connect_timeout
    if not timeout > 0:
        raise ConnectError(f"connect_timeout is not more than no time: {timeout}")
    return Way(
        auto_subscribe=options.auto_subscribe,
        single=options.single_peer_connection is not False,
        signal_timeout=timeout,
        ice_servers=configuration.ice_servers,
        relay_only=relay_only,
        version=__version__,
    )
