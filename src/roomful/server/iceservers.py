"""The ICE servers that clients are told of, in livekit-server's order: our own TURN server, then others."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from livekit.protocol import rtc

from roomful.config import Config, TurnServer

#: Where whoever ends TLS in front of `turn.tls_port` listens.
TLS_PORT = 443


@dataclass(frozen=True)
class Relay:
    """Our TURN server as the media plane runs it."""

    secret: bytes
    #: This node's addresses, as clients are told of media.
    addresses: Sequence[str]
    #: Of UDP and TCP.
    port: int | None = None
    tls_port: int | None = None
    #: In development a client reaches media where it reaches signalling, whatever that address is.
    anywhere: bool = False

    def some(self, reached: str | None) -> list[str]:
        """One address of each family, as each costs the client an allocation.

        The one by which it came in, if that is one of ours, goes before others. Loopback is of use to who
        came in by it, or if there is nothing else."""
        found: dict[bool, str] = {}
        if reached and (self.anywhere or (reached in self.addresses and not ip_address(reached).is_loopback)):
            found[":" in reached] = reached
        others = [address for address in self.addresses if not ip_address(address).is_loopback]
        for address in others or ([] if found else self.addresses):
            found.setdefault(":" in address, address)
        return list(found.values())


class IceServers:
    def __init__(self, config: Config, relay: Relay | None = None) -> None:
        self._turn = config.turn
        self._relay = relay
        self._servers = config.rtc.turn_servers
        self._stun = [
            url if url.startswith(("stun:", "stuns:")) else f"stun:{url}" for url in config.rtc.stun_servers
        ]

    def for_participant(
        self, sid: str, reached: str | None, now: float, *, only_tls: bool = False
    ) -> list[rtc.ICEServer]:
        """With credentials of its own. `reached`: the address by which it reaches this node, if known. `now`:
        Unix time. `only_tls`: where UDP has failed, our own server is not to be asked by it.

        No public server is among them unasked: it would be told everybody's address."""
        servers = [self._own(self._relay, sid, reached, now, only_tls)] if self._relay else []
        servers += [_configured(server, sid, now) for server in self._servers]
        if self._stun:
            servers.append(rtc.ICEServer(urls=self._stun))
        return servers

    def _own(self, relay: Relay, sid: str, reached: str | None, now: float, only_tls: bool) -> rtc.ICEServer:
        urls = []
        if relay.port and not (only_tls and relay.tls_port):
            urls = [f"turn:{_host(it)}:{relay.port}?transport=udp" for it in relay.some(reached)]
        if relay.tls_port:
            port = TLS_PORT if self._turn.external_tls else relay.tls_port
            urls.append(f"turns:{_host(self._turn.domain)}:{port}?transport=tcp")
        username = f"{int(now) + self._turn.ttl_seconds}:{sid}"
        digest = hmac.new(relay.secret, username.encode(), hashlib.sha256).digest()
        return rtc.ICEServer(urls=urls, username=username, credential=base64.b64encode(digest).decode())


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address and not address.startswith("[") else address


def _configured(server: TurnServer, sid: str, now: float) -> rtc.ICEServer:
    scheme, transport = {"tls": ("turns", "tcp"), "udp": ("turn", "udp")}.get(
        server.protocol.lower(), ("turn", "tcp")
    )
    port = server.port or (5349 if scheme == "turns" else 3478)
    username, credential = server.username, server.credential
    if server.secret:
        # Credentials that the TURN server derives from the same secret.
        username = f"{int(now) + server.ttl}:{sid}"
        digest = hmac.new(server.secret.encode(), username.encode(), hashlib.sha1).digest()
        credential = base64.b64encode(digest).decode()
    return rtc.ICEServer(
        urls=[f"{scheme}:{_host(server.host)}:{port}?transport={transport}"],
        username=username,
        credential=credential,
    )
