"""What a failure means, and the setting that mends it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Way(Enum):
    """In the order in which clients prefer them."""

    UDP = "UDP"
    TURN_UDP = "TURN/UDP"
    TCP = "TCP"
    TURN_TLS = "TURN/TLS"


class Trouble(Enum):
    """What stood in the way."""

    NOT_OFFERED = "not offered by the server"
    UNRESOLVED = "the name has no address"
    NO_CONNECTION = "no connection"
    UNTRUSTED = "the certificate is refused"
    TURN = "the TURN server refuses"
    PEER = "the TURN server does not relay to the media"
    SILENCE = "no answer"
    BROKEN = "broken off"


@dataclass(frozen=True)
class Finding:
    """What came of one way."""

    way: Way
    #: Where it leads: an address, or the URL of a TURN server.
    target: str = ""
    trouble: Trouble | None = None
    #: How it is known, for people.
    cause: str = ""
    #: Milliseconds there and back, if it works.
    round_trip: float | None = None

    @property
    def works(self) -> bool:
        return self.trouble is None

    def remedy(self, offered: Sequence[str]) -> str:
        """What to change, where; `offered` are the addresses of the server's media."""
        if self.trouble is None:
            return ""
        return _REMEDIES[self.trouble][self.way].format(target=self.target, offered=_where(offered))


def _where(offered: Sequence[str]) -> str:
    text = ", ".join(offered) or "its media's addresses"
    if offered and all(_is_private(address) for address in offered):
        text += " (reached from within its own network only)"
    return text


def _is_private(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return False


def _all(text: str) -> dict[Way, str]:
    return dict.fromkeys(Way, text)


_FIREWALL_TURN = "open the port of {target} in the firewalls between (turn.udp_port, turn.tls_port)"
_REMEDIES: dict[Trouble, dict[Way, str]] = {
    Trouble.NOT_OFFERED: {
        Way.UDP: "turn rtc.force_tcp off, and set rtc.udp_port",
        Way.TURN_UDP: "set turn.enabled: true and turn.udp_port: 3478, or name servers in rtc.turn_servers",
        Way.TCP: "set rtc.tcp_port: 7881",
        Way.TURN_TLS: "set turn.enabled: true, turn.domain, turn.tls_port: 443, turn.cert_file "
        "and turn.key_file",
    },
    Trouble.UNRESOLVED: _all("give the name in {target} an address in DNS, or correct turn.domain"),
    Trouble.NO_CONNECTION: {
        **_all(_FIREWALL_TURN),
        Way.TCP: "open TCP {target} in the firewalls between (rtc.tcp_port); if the server has another "
        "address from here, set rtc.node_ip or rtc.use_external_ip",
    },
    Trouble.UNTRUSTED: _all(
        "set turn.cert_file to a certificate for turn.domain, with its chain, by an authority that clients "
        "trust; for one of your own, give --ca-file here"
    ),
    Trouble.TURN: _all(
        "credentials: join again; rtc.turn_servers: its secret must be the TURN server's. "
        "No answer: " + _FIREWALL_TURN
    ),
    Trouble.PEER: _all(
        "let the TURN server relay to {offered}: turn.allow_restricted_peer_cidrs of livekit-server, "
        "allowed-peer-ip of coturn"
    ),
    Trouble.SILENCE: {
        Way.UDP: "open UDP {offered} in the firewalls between (rtc.udp_port); if that is not the server's "
        "address from here, set rtc.node_ip or rtc.use_external_ip",
        Way.TCP: "something between takes the connection and does not pass ICE on: see that TCP {target} "
        "leads to the server itself",
        **dict.fromkeys(
            (Way.TURN_UDP, Way.TURN_TLS),
            "the TURN server does not reach {offered}: open UDP between the two, or set rtc.node_ip",
        ),
    },
    Trouble.BROKEN: _all("see that {target} leads to the server itself, and not to a proxy for HTTP"),
}
