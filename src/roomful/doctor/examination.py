"""Tries the four ways, each by a join of its own, so that one does not help another."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from livekit.protocol import rtc

from roomful._core import Probe
from roomful.doctor import carriers, signalling
from roomful.doctor.advice import Finding, Trouble, Way

if TYPE_CHECKING:
    from roomful._core import ProbeState

#: Seconds for ICE and DTLS: more than an open way ever takes, and what a person waits for four of. The URLs
#: of a way share them, as servers send away who is without media for 15.
PATIENCE = 8.0
#: Of ICE servers; the rest is not tried.
MAX_URLS = 20


@dataclass(frozen=True)
class TurnUrl:
    """One URL of `ice_servers`, with its credentials (RFC 7065)."""

    url: str
    username: str
    credential: str

    @property
    def way(self) -> Way | None:
        scheme = self.url.partition(":")[0].lower()
        if scheme == "turns":
            return Way.TURN_TLS
        return Way.TURN_UDP if scheme == "turn" and self._transport == "udp" else None

    @property
    def _transport(self) -> str:
        query = parse_qs(self.url.partition("?")[2])
        return query.get("transport", ["udp"])[0].lower()

    @property
    def address(self) -> tuple[str, int]:
        """Raises `ValueError` when it has none."""
        scheme, _, rest = self.url.partition("?")[0].partition(":")
        host, colon, port = rest.rpartition(":")
        if not colon or rest.endswith("]"):
            host, port = rest, "5349" if scheme.lower() == "turns" else "3478"
        return host.strip("[]"), carriers.parse_port(port)


@dataclass
class Examination:
    """All that was found."""

    url: str
    #: Name and version of the server.
    server: str = ""
    #: Milliseconds until it let us in.
    join_time: float = 0.0
    #: What the server's media is offered as, by protocol.
    udp: list[str] = field(default_factory=list)
    tcp: list[str] = field(default_factory=list)
    ice_servers: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Every way that the server offers works."""
        offered = [it for it in self.findings if it.trouble is not Trouble.NOT_OFFERED]
        return bool(offered) and all(it.works for it in offered)


@dataclass(frozen=True)
class _Negotiated:
    """One join: what the probe needs of it."""

    probe: Probe
    answer: str
    candidates: list[str]
    turn: list[TurnUrl]

    def addresses(self, protocol: str) -> list[str]:
        """Of the server's candidates: all UDP ones, and those TCP ones that may be connected to."""
        found = []
        for line in self.candidates:
            words = line.removeprefix("candidate:").split()
            if len(words) < 8 or words[1] != "1" or words[2].lower() != protocol:
                continue
            if protocol == "udp" or "passive" in words:
                try:
                    found.append(carriers.join_address(_ip(words[4]), carriers.parse_port(words[5])))
                except ValueError:
                    continue
        return list(dict.fromkeys(found))


async def examine(
    url: str,
    token: Callable[[Way], str],
    *,
    tls: ssl.SSLContext | None = None,
    report: Callable[[Finding], None] = lambda _: None,
) -> Examination:
    """Tries each way with a token of its own. `tls` says which certificates of TURN/TLS are trusted.

    Raises SignallingError when the server does not let us in at all."""
    examination = Examination(url)
    tls = tls or ssl.create_default_context()
    for way in Way:
        for finding in await _try(examination, way, token(way), tls):
            examination.findings.append(finding)
            report(finding)
    return examination


async def _try(examination: Examination, way: Way, token: str, tls: ssl.SSLContext) -> list[Finding]:
    before = time.monotonic()
    async with signalling.join(examination.url, token) as signal:
        examination.join_time = (time.monotonic() - before) * 1000
        examination.server = _name(signal.joined)
        probe = Probe()
        answer = await signal.negotiate(probe.offer)
        turn = [
            TurnUrl(one, server.username, server.credential)
            for server in signal.joined.ice_servers
            for one in server.urls
        ][:MAX_URLS]
        negotiated = _Negotiated(probe, answer, signal.candidates, turn)
        examination.udp = negotiated.addresses("udp")
        examination.tcp = negotiated.addresses("tcp")
        examination.ice_servers = [one.url for one in turn]
        match way:
            case Way.UDP:
                trying = _by_udp(negotiated)
            case Way.TCP:
                trying = _by_tcp(negotiated)
            case _:
                trying = _by_turn(negotiated, way, tls)
        try:
            return [await trying]
        except ValueError as error:
            # The probe cannot read the server's answer.
            return [Finding(way, trouble=Trouble.BROKEN, cause=str(error))]


def _name(joined: rtc.JoinResponse) -> str:
    version = joined.server_info.version or joined.server_version
    # Both name themselves in what they say for debugging, if at all.
    return f"{joined.server_info.debug_info} {version}".strip()


async def _by_udp(negotiated: _Negotiated) -> Finding:
    remotes = negotiated.addresses("udp")
    if not remotes:
        return Finding(Way.UDP, trouble=Trouble.NOT_OFFERED, cause="no UDP candidate")
    async with carriers.datagrams(remotes) as carrier:
        if not carrier.sockets:
            return Finding(Way.UDP, trouble=Trouble.SILENCE, cause="no route to " + ", ".join(remotes))
        negotiated.probe.begin_udp(negotiated.answer, list(carrier.sockets))
        return await _conclude(negotiated, Way.UDP, ", ".join(remotes), carrier)


async def _by_tcp(negotiated: _Negotiated) -> Finding:
    remotes = negotiated.addresses("tcp")
    if not remotes:
        return Finding(Way.TCP, trouble=Trouble.NOT_OFFERED, cause="no passive TCP candidate")
    causes = []
    for remote in remotes:
        try:
            async with carriers.stream(*carriers.split_address(remote)) as carrier:
                negotiated.probe.begin_tcp(negotiated.answer, carrier.local, carrier.remote)
                return await _conclude(negotiated, Way.TCP, remote, carrier)
        except (OSError, TimeoutError) as error:
            causes.append(f"{remote}: {_text(error)}")
    return Finding(Way.TCP, ", ".join(remotes), Trouble.NO_CONNECTION, "; ".join(causes))


async def _by_turn(negotiated: _Negotiated, way: Way, tls: ssl.SSLContext) -> Finding:
    urls = [url for url in negotiated.turn if url.way is way]
    if not urls:
        return Finding(way, trouble=Trouble.NOT_OFFERED, cause=f"no URL for {way.value} in ice_servers")
    finding, patience = None, PATIENCE / len(urls)
    for url in urls:
        finding = await _by_url(negotiated, way, url, tls, patience)
        if finding.works:
            break
    assert finding is not None
    return finding


async def _by_url(
    negotiated: _Negotiated, way: Way, url: TurnUrl, tls: ssl.SSLContext, patience: float
) -> Finding:
    try:
        host, port = url.address
    except ValueError as error:
        return Finding(way, url.url, Trouble.UNRESOLVED, str(error))

    def begin(local: str, server: str, *, stream: bool) -> None:
        negotiated.probe.begin_relay(
            negotiated.answer,
            local,
            server,
            stream=stream,
            username=url.username,
            password=url.credential,
        )

    try:
        if way is Way.TURN_TLS:
            async with carriers.stream(host, port, tls) as carrier:
                begin(carrier.local, carrier.remote, stream=True)
                return await _conclude(negotiated, way, url.url, carrier, patience)
        server = await _resolve(host, port)
        async with carriers.datagrams([server]) as sockets:
            if not sockets.sockets:
                return Finding(way, url.url, Trouble.NO_CONNECTION, f"no route to {server}")
            begin(next(iter(sockets.sockets)), server, stream=False)
            return await _conclude(negotiated, way, url.url, sockets, patience)
    except (socket.gaierror, UnicodeError) as error:
        return Finding(way, url.url, Trouble.UNRESOLVED, f"{host}: {_text(error)}")
    except ssl.SSLCertVerificationError as error:
        return Finding(way, url.url, Trouble.UNTRUSTED, error.verify_message)
    except (OSError, TimeoutError) as error:
        return Finding(way, url.url, Trouble.NO_CONNECTION, _text(error))


def _ip(text: str) -> str:
    """An address: names are not looked up, as clients do not look up those of servers."""
    return str(ipaddress.ip_address(text))


async def _resolve(host: str, port: int) -> str:
    loop = asyncio.get_running_loop()
    (_, _, _, _, address), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    return carriers.join_address(str(address[0]), port)


_TROUBLES: dict[ProbeState, Trouble] = {
    "turn": Trouble.TURN,
    "peer": Trouble.PEER,
    "stream": Trouble.BROKEN,
    "answer": Trouble.BROKEN,
}


async def _conclude(
    negotiated: _Negotiated, way: Way, target: str, carrier: carriers.Carrier, patience: float = PATIENCE
) -> Finding:
    """Gives the begun probe the server's candidates, and sees what comes of it."""
    probe = negotiated.probe
    for line in _unique(negotiated.candidates):
        probe.add_candidate(line)
    state, text = await carriers.drive(probe, carrier, patience)
    relayed = probe.relayed
    probe.close()
    carriers.flush(probe, carrier)
    if state == "connected":
        return Finding(way, target, round_trip=float(text) if text else None)
    if state == "connecting" and way in (Way.TURN_UDP, Way.TURN_TLS) and not relayed:
        return Finding(way, target, Trouble.NO_CONNECTION, "no answer from the TURN server")
    return Finding(way, target, _TROUBLES.get(state, Trouble.SILENCE), text)


def _unique(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))


def _text(error: BaseException) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
