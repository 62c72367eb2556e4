"""Other ways to connect, after those that a client had have failed."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.protocol import models, rtc

from roomful.server.fallback import KEPT, MAX_KEPT, Preferences
from roomful.server.media import Event, Way

from .world import Client, World, config

TLS = {"turn": {"enabled": True, "domain": "turn.example.org", "tls_port": 5349}}
RR = models.ReconnectReason


def alive(client: Client) -> None:
    client.send(ping=1)


def up(client: Client, way: Way = "udp") -> Client:
    client.world.events(Event.Connection(client.number, "subscriber", "connected", "", way))
    return client


def broken(client: Client, way: Way | None = "udp") -> None:
    alive(client)
    client.world.events(Event.Connection(client.number, "subscriber", "failed", "silence", way))


def old(client: Client) -> Client:
    """Its connection is no short-lived one."""
    for _ in range(20):
        client.world.pass_time(5)
        alive(client)
    return client


def tcp_only(world: World) -> list[bool]:
    return [it["tcp_only"] for it in world.media.named("set_tcp_only")]


def relay_forced(client: Client) -> bool:
    join = client.all("join") or client.all("reconnect")
    forced: int = join[-1].client_configuration.force_relay
    return forced == models.ClientConfigSetting.ENABLED


def test_a_connection_that_broke_soon_goes_over_tcp_when_its_client_comes_back(world: World) -> None:
    ada = up(world.join("ada"))
    broken(ada)
    assert tcp_only(world) == [True]
    (leave,) = ada.got("leave")
    assert leave.action == rtc.LeaveRequest.RESUME
    back = world.resume(ada)
    assert not relay_forced(back)
    # Its new description names TCP alone.
    names = [name for name, _ in world.media.commands]
    assert names.index("set_tcp_only") < names.index("restart_ice")


def test_the_next_session_of_the_same_identity_in_the_room_begins_over_tcp(world: World) -> None:
    ada = up(world.join("ada"))
    broken(ada)
    ada.send(leave=rtc.LeaveRequest())
    again, elsewhere, bob = world.join("ada"), world.join("ada", room="other"), world.join("bob")
    added = {it["participant"]: it["tcp_only"] for it in world.media.named("add_participant")}
    assert [added[it.number] for it in (again, elsewhere, bob)] == [True, False, False]
    assert [it.join.fast_publish for it in (again, elsewhere)] == [False, True]


def test_everything_is_tried_again_later(world: World) -> None:
    broken(up(world.join("ada")))
    world.pass_time(KEPT + 1)
    world.join("ada")
    assert world.media.named("add_participant")[-1]["tcp_only"] is False


def test_a_long_lived_connection_may_break_once_in_a_minute(world: World) -> None:
    ada = old(up(world.join("ada")))
    broken(ada)
    back = old(up(world.resume(ada)))
    broken(back)
    assert tcp_only(world) == []
    world.pass_time(10)
    broken(back)
    assert tcp_only(world) == [True]


def test_with_the_whole_network_gone_no_way_is_given_up(world: World) -> None:
    silent, gone = up(world.join("silent")), up(world.join("gone"))
    gone.session.connection_lost()
    world.pass_time(14)
    world.events(Event.Connection(gone.number, "subscriber", "failed", "silence", "udp"))
    world.pass_time(1)
    world.events(Event.Connection(silent.number, "subscriber", "failed", "silence", "udp"))
    assert tcp_only(world) == []


def test_a_client_that_noticed_first_counts_too(world: World) -> None:
    ada, bob = up(world.join("ada")), up(world.join("bob"))
    for client, reason in ((ada, RR.RR_SUBSCRIBER_FAILED), (bob, RR.RR_SIGNAL_DISCONNECTED)):
        client.session.connection_lost()
        world.resume(client, reconnect_reason=reason)
    assert world.media.named("set_tcp_only") == [{"participant": ada.number, "tcp_only": True}]


@pytest.mark.parametrize(
    ("way", "settings", "then"),
    [
        ("udp", {}, "tcp"),
        ("tcp", {}, "any"),
        ("relay", TLS, "any"),
        ("tcp", TLS, "relay"),
        ("udp", {"rtc": {"tcp_port": 0}}, "any"),
        ("udp", {"rtc": {"tcp_port": 0}, **TLS}, "relay"),
        ("udp", {"rtc": {"allow_tcp_fallback": False}, **TLS}, "any"),
    ],
)
def test_what_comes_after_a_way(way: Way, settings: dict[str, Any], then: str) -> None:
    world = World(config(**settings))
    ada = up(world.join("ada"), way)
    broken(ada, way)
    back = world.resume(ada)
    assert world.media.named("set_tcp_only")[-1:] == (
        [{"participant": ada.number, "tcp_only": then == "tcp"}] if then != "any" else []
    )
    assert relay_forced(back) == (then == "relay")


def test_by_way_of_tcp_to_a_relay_over_tls() -> None:
    world = World(config(**TLS))
    ada = up(world.join("ada"))
    broken(ada)
    # What still fails of the old connections says nothing of the new way.
    broken(ada)
    back = up(world.resume(ada), "tcp")
    broken(back, "tcp")
    assert tcp_only(world) == [True, False]
    assert relay_forced(world.resume(back))
    assert relay_forced(world.join("ada"))


@pytest.mark.parametrize(("settings", "forced"), [(TLS, True), ({}, False)])
def test_tcp_that_brings_no_connection_is_given_up_at_once(settings: dict[str, Any], forced: bool) -> None:
    world = World(config(**settings))
    ada, bob = up(world.join("ada")), up(world.join("bob"))
    for client in (ada, bob):
        broken(client)
    # Ada resumes and gets no media, bob begins anew and gets none.
    back = world.resume(ada)
    world.pass_time(10)
    alive(back)
    world.pass_time(5)
    assert back.got("leave")[-1].action == rtc.LeaveRequest.RECONNECT
    bob.send(leave=rtc.LeaveRequest())
    broken(world.join("bob"), None)
    for identity in ("ada", "bob"):
        again = world.join(identity)
        assert world.media.named("add_participant")[-1]["tcp_only"] is False
        assert relay_forced(again) == forced
    # A relay that does not connect either leaves every way open.
    broken(again, None)
    assert not relay_forced(world.join("bob"))


def test_tcp_is_kept_where_the_whole_network_was_gone(world: World) -> None:
    ada = up(world.join("ada"))
    broken(ada)
    world.resume(ada)
    world.pass_time(15)
    world.join("ada")
    assert world.media.named("add_participant")[-1]["tcp_only"] is True


@pytest.mark.parametrize(
    ("sdk", "version", "over_tcp"),
    [("GO", "2.9.0", False), ("SWIFT", "1.0.4", False), ("SWIFT", "1.0.5", True), ("RUST", "", True)],
)
def test_clients_that_cannot_connect_by_tcp_are_not_sent_there(
    world: World, sdk: str, version: str, over_tcp: bool
) -> None:
    info = models.ClientInfo(sdk=models.ClientInfo.SDK.Value(sdk), version=version, protocol=17)
    broken(up(world.join("ada", client=info)))
    assert tcp_only(world) == [True] * over_tcp


def test_forced_tcp_is_for_everybody() -> None:
    world = World(config(rtc={"force_tcp": True}))
    world.join("ada")
    assert world.media.named("add_participant")[-1]["tcp_only"] is True


def test_a_client_may_ask_for_a_way_that_there_is(world: World) -> None:
    ada = up(world.join("ada"))
    for protocol in (rtc.CandidateProtocol.TCP, rtc.CandidateProtocol.TLS):
        ada.send(simulate=rtc.SimulateScenario(switch_candidate_protocol=protocol))
    assert tcp_only(world) == [True]
    assert len(world.media.named("restart_ice")) == 1
    (refused,) = ada.got("request_response")
    assert refused.reason == rtc.RequestResponse.UNSUPPORTED_TYPE


def test_no_more_clients_are_remembered_than_fit() -> None:
    now = 0.0
    known = Preferences(config(), lambda: now)
    for number in range(MAX_KEPT + 1):
        known.put("demo", str(number), "tcp")
    assert (known.get("demo", "0"), known.get("demo", "1")) == ("any", "tcp")
    known.put("demo", "1", "any")
    assert known.get("demo", "1") == "any"
