"""Runs the control plane and the media plane on an event loop: wake-ups, timers, beginning and end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import threading
import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from livekit.protocol.rtc import LeaveRequest

from roomful.config import Config
from roomful.server.join import Refusal
from roomful.server.logs import get_logger
from roomful.server.signalling import SignalConnection

if TYPE_CHECKING:
    from roomful._core import Event, Exchange, Media
    from roomful.server.control import ControlPlane

log = get_logger("roomful.server")

DEV_UDP_PORT = 7882
TCP_PORT = 7881
#: Asked for our own address by `rtc.use_external_ip` when none are configured, as livekit-server does.
STUN_SERVERS = ("global.stun.twilio.com:3478", "stun.l.google.com:19302", "stun1.l.google.com:19302")
DEV_TURN_PORT = 3478
#: Media events handled before signalling gets its turn.
EVENTS_A_TURN = 256
#: Seconds that clients have to take their goodbye.
CLOSE_TIMEOUT = 0.5


class Runtime:
    """Starts with the first call of `start`, on the loop that calls it, and lives until `close`."""

    def __init__(self, config: Config, *, offline: bool = False) -> None:
        self._config = config
        #: Nobody comes by a network: no sockets are opened.
        self._offline = offline
        self._loop: asyncio.AbstractEventLoop | None = None
        self._claiming = threading.Lock()
        self._control: ControlPlane | None = None
        self._media: Media | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._events: list[Event] = []
        self._starting = asyncio.Lock()
        self._closed = False
        self._connections: set[SignalConnection] = set()
        #: Set when the last participant of a draining server has left.
        self._empty = asyncio.Event()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The one that it runs on, once it has started or is about to."""
        return self._loop

    def claim(self) -> asyncio.AbstractEventLoop:
        """The loop that it runs on. Of callers in several threads, the first one's, unless that closed
        before the start."""
        with self._claiming:
            if self._loop is None or (self._control is None and self._loop.is_closed()):
                self._loop = asyncio.get_running_loop()
            return self._loop

    @cached_property
    def exchange(self) -> Exchange:
        """How rooms of this process reach our media."""
        from roomful._core import Exchange

        return Exchange()

    @property
    def connections(self) -> set[SignalConnection]:
        """Open signal connections; whoever carries one adds it and takes it out."""
        return self._connections

    @property
    def media_ports(self) -> list[int]:
        """UDP ports of the media plane; none before the start."""
        return self._media.ports if self._media else []

    async def start(self) -> ControlPlane:
        """The control plane. Two first calls start one."""
        if self._closed:
            raise Refusal(503, "the server is shutting down")
        if self.claim() is not asyncio.get_running_loop():
            raise RuntimeError("a roomful server belongs to one event loop: it was started on another")
        if self._control is None:
            async with self._starting:
                if self._control is None:
                    await self._start()
        # Nobody knows how long that took.
        if self._control is None or self._closed:
            raise Refusal(503, "the server is shutting down")
        return self._control

    async def _start(self) -> None:
        secret = secrets.token_bytes(32)
        if self._config.rtc.use_external_ip and not self._offline:
            # STUN servers are asked, and waited for.
            media = await asyncio.to_thread(self._open_media, secret)
        else:
            media = self._open_media(secret)
        if self._closed:
            media.close()
            return
        self._media, self._control = media, self._open_control(media, secret)
        self._control.on_earlier_deadline = self._schedule
        self._schedule()
        # What came before there was anybody to take it; only the first of a batch wakes us.
        self._take_events()

    async def drain(self, within: float | None) -> None:
        """Takes nobody new and returns when the last participant has left. After `within` seconds (None: no
        limit) those still here are told to reconnect. May be called again to end it sooner."""
        if self._control is None:
            # Nobody ever came: nobody shall.
            self._closed = True
            return
        self._control.drain(self._empty.set)
        try:
            async with asyncio.timeout(within):
                await self._empty.wait()
        except TimeoutError:
            log.info("participants are told to reconnect", after_seconds=within)
        # Closed meanwhile, there is nobody left to tell.
        if self._control is not None:
            self._control.shutdown(LeaveRequest.RECONNECT)
            await self._end_connections()

    async def close(self) -> None:
        """Says goodbye to everybody and frees everything, in bounded time. May be called more than once."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._control is not None:
            self._control.shutdown()
        await self._end_connections()
        if self._media is not None:
            self._media.close()
        self._control = self._media = self._timer = None
        self._events.clear()

    async def _end_connections(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._wait_ended()
        for connection in self._connections:
            log.debug("client did not take its goodbye", after_seconds=CLOSE_TIMEOUT)
            connection.abandon()
        await self._wait_ended()

    async def _wait_ended(self) -> None:
        for connection in list(self._connections):
            await connection.ended.wait()

    def _open_control(self, media: Media, secret: bytes) -> ControlPlane:
        from roomful.server.control import ControlPlane
        from roomful.server.iceservers import Relay

        port, tls_port = media.turn_ports
        relay = None
        if port or tls_port:
            relay = Relay(secret, media.addresses, port, tls_port, anywhere=self._config.development)
        return ControlPlane(
            self._config,
            media,
            clock=time.monotonic,
            wall=time.time,
            random=random.SystemRandom(),
            relay=relay,
        )

    def _open_media(self, secret: bytes) -> Media:
        from roomful._core import ExternalAddresses, Media

        if self._offline:
            return Media(udp_ports=[], offline=True, exchange=self.exchange, wake=self._wake)
        rtc, turn = self._config.rtc, self._config.turn
        in_dev = turn.enabled is None and self._config.development
        turn_port = DEV_TURN_PORT if in_dev and not turn.udp_port else turn.udp_port
        addresses = [address for address in (rtc.node_ip.ipv4, rtc.node_ip.ipv6) if address]
        external = None
        if rtc.use_external_ip:
            external = ExternalAddresses(
                stun_servers=[_host_and_port(server) for server in rtc.stun_servers or STUN_SERVERS],
                only=rtc.external_ip_only,
                advertise_internal=rtc.advertise_internal_ip,
                validate=not rtc.skip_external_ip_validation,
            )
        for ports in self._udp_ports():
            try:
                return Media(
                    udp_ports=ports,
                    tcp_port=(TCP_PORT if rtc.tcp_port is None else rtc.tcp_port) or None,
                    tcp_optional=rtc.tcp_port is None and self._config.development,
                    turn_secret=secret if self._config.serves_turn else None,
                    turn_port=turn_port or None,
                    turn_tls_port=turn.tls_port or None,
                    turn_bind=turn.bind_addresses,
                    turn_certificate=None
                    if turn.external_tls or not turn.cert_file
                    else (turn.cert_file, turn.key_file),
                    turn_allocations=turn.per_user_relay_allocation_limit,
                    turn_optional=in_dev,
                    wake=self._wake,
                    node_addresses=addresses,
                    allow_loopback=rtc.enable_loopback_candidate or self._config.development,
                    interfaces_include=rtc.interfaces.includes,
                    interfaces_exclude=rtc.interfaces.excludes,
                    networks_include=rtc.ips.includes,
                    networks_exclude=rtc.ips.excludes,
                    external=external,
                    exchange=self.exchange,
                )
            except OSError as error:
                failure = error
        raise failure

    def _udp_ports(self) -> Sequence[list[int]]:
        """What to try: the ports configured, else one of the range that is free."""
        rtc = self._config.rtc
        if rtc.udp_port is not None:
            return [list(range(rtc.udp_port.start, rtc.udp_port.end + 1))]
        if self._config.development:
            return [[DEV_UDP_PORT]]
        ports = range(rtc.port_range_start, rtc.port_range_end + 1)
        return [[port] for port in random.sample(ports, min(32, len(ports)))]

    def _wake(self) -> None:
        """From a thread of the media plane: there are events."""
        loop = self._loop
        if loop is not None:
            # Closed: nobody is left to hear of them.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._take_events)

    def _take_events(self) -> None:
        if self._media is None or self._closed:
            return
        busy = bool(self._events)
        self._events += self._media.take_events()
        if not busy:
            self._handle_events()

    def _handle_events(self) -> None:
        """A slice of what came in, so that a burst does not starve signalling."""
        if self._control is None or self._loop is None:
            return
        turn, self._events = self._events[:EVENTS_A_TURN], self._events[EVENTS_A_TURN:]
        try:
            self._control.media_events(turn)
        except Exception:
            log.exception("media events failed")
        if self._events:
            self._loop.call_soon(self._handle_events)

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._control is None or self._loop is None or self._closed:
            return
        deadline = self._control.next_deadline()
        if deadline is not None:
            self._timer = self._loop.call_later(max(0.0, deadline - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._control is None:
            return
        try:
            self._control.tick(time.monotonic())
        except Exception:
            log.exception("timer failed")
        self._schedule()


def _host_and_port(server: str) -> str:
    """Of a STUN server as configured: a URL or a bare host is one too."""
    server = server.removeprefix("stun:")
    host, _, port = server.rpartition(":")
    return server if host and port.isdecimal() and not host.endswith(":") else f"{server}:3478"
