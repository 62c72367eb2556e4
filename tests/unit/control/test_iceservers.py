"""What clients are told of our own TURN server."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from roomful.config import Config, ConfigError, Turn, check_turn
from roomful.server.iceservers import IceServers, Relay

SECRET = bytes(range(32))
NOW = 1_700_000_000.5
ADDRESSES = ["203.0.113.7", "10.0.0.7", "2001:db8::7", "127.0.0.1"]


def told(
    turn: Turn | None = None, relay: Relay | None = None, reached: str | None = None, only_tls: bool = False
) -> list[str]:
    relay = relay or Relay(SECRET, ADDRESSES, 3478)
    servers = IceServers(Config(turn=turn or Turn()), relay)
    (own,) = servers.for_participant("PA_x", reached, NOW, only_tls=only_tls)
    return list(own.urls)


def test_one_address_of_each_family_is_told_and_ipv6_is_bracketed() -> None:
    urls = ["turn:203.0.113.7:3478?transport=udp", "turn:[2001:db8::7]:3478?transport=udp"]
    assert told() == urls


def test_the_address_by_which_a_client_came_in_comes_first_if_it_is_one_of_media() -> None:
    assert told(reached="10.0.0.7")[0] == "turn:10.0.0.7:3478?transport=udp"
    for in_front in ("192.0.2.9", "127.0.0.1"):  # A proxy's way to us, or what a NAT made of it.
        assert told(reached=in_front)[0] == "turn:203.0.113.7:3478?transport=udp"
    anywhere = Relay(SECRET, ADDRESSES, 3478, anywhere=True)
    assert told(relay=anywhere, reached="192.0.2.9")[0] == "turn:192.0.2.9:3478?transport=udp"


def test_loopback_is_told_only_where_there_is_nothing_else() -> None:
    local = Relay(SECRET, ["203.0.113.7", "::1"], 3478, anywhere=True)
    assert told(reached="127.0.0.1", relay=local) == ["turn:127.0.0.1:3478?transport=udp"]
    assert told(relay=Relay(SECRET, ["127.0.0.1"], 3478)) == ["turn:127.0.0.1:3478?transport=udp"]
    assert told(relay=Relay(SECRET, ["203.0.113.7", "::1"], 3478)) == ["turn:203.0.113.7:3478?transport=udp"]


def test_the_port_that_is_listened_on_is_told_of_tls() -> None:
    relay = Relay(SECRET, ADDRESSES, None, 5349)
    assert told(Turn(domain="turn.example.com"), relay) == ["turns:turn.example.com:5349?transport=tcp"]
    ended = Turn(domain="turn.example.com", external_tls=True)
    assert told(ended, relay) == ["turns:turn.example.com:443?transport=tcp"]


def test_who_failed_over_udp_is_told_of_tls_alone_where_there_is_tls() -> None:
    turn = Turn(domain="turn.example.com")
    both = Relay(SECRET, ADDRESSES, 3478, 5349)
    assert told(turn, both, only_tls=True) == ["turns:turn.example.com:5349?transport=tcp"]
    assert len(told(turn, Relay(SECRET, ADDRESSES, 3478), only_tls=True)) == 2


def test_credentials_are_a_participants_own_and_end() -> None:
    (own,) = IceServers(Config(turn=Turn(ttl_seconds=60)), Relay(SECRET, ADDRESSES, 3478)).for_participant(
        "PA_x", None, NOW
    )
    assert own.username == "1700000060:PA_x"
    digest = hmac.new(SECRET, own.username.encode(), hashlib.sha256).digest()
    assert own.credential == base64.b64encode(digest).decode()


def test_without_a_turn_server_nothing_is_told() -> None:
    assert IceServers(Config()).for_participant("PA_x", "203.0.113.7", NOW) == []


@pytest.mark.parametrize(
    ("turn", "named"),
    [
        (Turn(enabled=True), "turn.udp_port"),
        (Turn(enabled=True, tls_port=5349, external_tls=True), "turn.domain"),
        (Turn(enabled=True, tls_port=5349, domain="turn.example.com"), "turn.cert_file"),
    ],
)
def test_a_turn_server_that_cannot_work_is_refused_by_the_key_that_is_missing(turn: Turn, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        check_turn(Config(turn=turn))
    check_turn(Config(turn=turn.model_copy(update={"enabled": False})))


def test_in_development_there_is_one_unless_it_is_turned_off() -> None:
    assert Config(development=True).serves_turn
    assert not Config().serves_turn
    assert not Config(development=True, turn=Turn(enabled=False)).serves_turn
    check_turn(Config(development=True))
    with pytest.raises(ConfigError, match=r"turn\.domain"):
        check_turn(Config(development=True, turn=Turn(tls_port=5349)))
