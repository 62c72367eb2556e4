from __future__ import annotations

import pytest

from roomful.doctor.advice import Finding, Trouble, Way
from roomful.doctor.examination import Examination, TurnUrl


@pytest.mark.parametrize(
    ("url", "way", "address"),
    [
        ("turn:203.0.113.7:3478?transport=udp", Way.TURN_UDP, ("203.0.113.7", 3478)),
        ("turn:turn.example.org", Way.TURN_UDP, ("turn.example.org", 3478)),
        ("turn:[2001:db8::7]:443?transport=udp", Way.TURN_UDP, ("2001:db8::7", 443)),
        ("turn:[2001:db8::7]", Way.TURN_UDP, ("2001:db8::7", 3478)),
        ("turns:turn.example.org:443?transport=tcp", Way.TURN_TLS, ("turn.example.org", 443)),
        ("turns:turn.example.org", Way.TURN_TLS, ("turn.example.org", 5349)),
        ("turn:turn.example.org?transport=tcp", None, ("turn.example.org", 3478)),
        ("stun:stun.example.org", None, ("stun.example.org", 3478)),
    ],
)
def test_urls_of_ice_servers_are_read(url: str, way: Way | None, address: tuple[str, int]) -> None:
    parsed = TurnUrl(url, "", "")
    assert (parsed.way, parsed.address) == (way, address)


@pytest.mark.parametrize("url", ["turn:a:x", "turn:a:", "turns:[::1]:99999", "turn:a:0", "turn:a:\u00b2"])
def test_an_url_without_a_port_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        _ = TurnUrl(url, "", "").address


@pytest.mark.parametrize("trouble", Trouble)
@pytest.mark.parametrize("way", Way)
def test_every_trouble_of_every_way_names_what_mends_it(way: Way, trouble: Trouble) -> None:
    remedy = Finding(way, "TARGET", trouble).remedy(["203.0.113.7:7882"])
    assert remedy
    assert "{" not in remedy


def test_media_with_private_addresses_only_is_pointed_at() -> None:
    silent = Finding(Way.UDP, "10.0.0.5:7882", Trouble.SILENCE)
    assert "own network only" in silent.remedy(["10.0.0.5:7882", "[fd00::5]:7882"])
    assert "own network only" not in silent.remedy(["10.0.0.5:7882", "8.8.8.8:7882"])


def test_a_server_is_healthy_when_all_that_it_offers_works() -> None:
    works, missing = Finding(Way.UDP), Finding(Way.TCP, trouble=Trouble.NOT_OFFERED)
    silent = Finding(Way.TURN_UDP, trouble=Trouble.SILENCE)
    assert Examination("ws://here", findings=[works, missing]).healthy
    assert not Examination("ws://here", findings=[works, silent]).healthy
    assert not Examination("ws://here", findings=[missing]).healthy
