from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from roomful.absent import REASONS, reason
from roomful.config import Config, ConfigError, check_keys, load, settings

SECRET = "s" * 32


def refused(text: str, **options: object) -> str:
    with pytest.raises(ConfigError) as error:
        load(text, environ={}, **options)  # type: ignore[arg-type]
    return str(error.value)


def test_a_livekit_yaml_is_read_as_it_is() -> None:
    config, unsupported = load(
        """
port: 7000
rtc:
  udp_port: 7882-7889
  tcp_port: 7881
  use_ice_lite: true
  node_ip: 192.0.2.1
  pli_throttle: {low_quality: 500ms}
keys: {key1: secret1}
room:
  max_participants: 10
  enabled_codecs: [{mime: audio/opus}, {mime: video/vp8}]
  room_configurations: {small: {maxParticipants: 2}}
logging: {json: true, level: debug}
audio: {update_interval: 500}
""",
        environ={},
    )
    assert config.port == 7000
    assert config.rtc.udp_port is not None
    assert (config.rtc.udp_port.start, config.rtc.udp_port.end) == (7882, 7889)
    assert config.rtc.node_ip.ipv4 == "192.0.2.1"
    assert config.keys == {"key1": "secret1"}
    assert config.room.room_configurations["small"].max_participants == 2
    assert config.logging.json_
    assert not unsupported


def test_defaults_are_livekits() -> None:
    config = Config()
    assert (config.port, config.room.empty_timeout, config.room.departure_timeout) == (7880, 300, 20)
    assert (config.limit.max_metadata_size, config.limit.max_attributes_size) == (524288, 65536)
    assert [codec.mime for codec in config.room.enabled_codecs][:3] == [
        "audio/PCMU",
        "audio/PCMA",
        "audio/opus",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rtcc: {}", "unknown key: rtcc"),
        ("room: {max_participant: 1}", "unknown key: room.max_participant"),
        (
            "rtc: {turn_servers: [{hots: x}]}",
            "rtc.turn_servers.0.host: Field required\nunknown key: rtc.turn_servers.0.hots",
        ),
        ("port: 70000", "port: Input should be less than or equal to 65535"),
        (
            "video: {dynacast_pause_delay: 5}",
            'video.dynacast_pause_delay: a duration needs a unit, as in "5s" or "500ms"',
        ),
        ("rtc: {udp_port: 9-8}", "rtc.udp_port: the last port is below the first"),
        (
            'rtc: {node_ip: "192.0.2.1, 192.0.2.2"}',
            "rtc.node_ip: more than one ipv4 address: 192.0.2.1, 192.0.2.2",
        ),
        (
            "rtc: {node_ip: example.org}",
            "rtc.node_ip: Expected 4 octets in 'example.org'",
        ),
        (
            "rtc: {ips: {includes: [10.0.0.0/33]}}",
            "rtc.ips.includes: '10.0.0.0/33' does not appear to be an IPv4 or IPv6 network",
        ),
        ("rtc: {force_tcp: true, tcp_port: 0}", "rtc: force_tcp needs a tcp_port"),
        (
            "rtc: {turn_servers: [{host: a, secret_file: /dev/null}]}",
            "rtc.turn_servers.0: secret_file /dev/null is empty",
        ),
        ("[1]", "the configuration must be a mapping of keys to values"),
    ],
)
def test_mistakes_are_refused_by_name(text: str, message: str) -> None:
    assert refused(text) == message


def test_not_yaml_is_refused() -> None:
    assert refused("a: [").startswith("the configuration is not YAML")


def test_a_key_without_effect_is_refused_only_when_it_differs() -> None:
    assert refused("redis: {address: localhost}").startswith(
        "not supported yet: redis.address (one node has all rooms). "
    )
    assert (
        load("redis: {address: ''}\nturn: {enabled: false, bind_addresses: [0.0.0.0]}", environ={})[1] == []
    )
    config, unsupported = load("ingress: {whip_base_url: x}", environ={}, ignore_unsupported=True)
    assert unsupported == ["ingress.whip_base_url"]
    assert config.ingress.whip_base_url == "x"


def test_no_ice_over_tcp_is_what_happens_anyway() -> None:
    assert load("rtc: {tcp_port: 0}", environ={})[1] == []


def test_environment_wins_over_the_file_and_flags_over_both() -> None:
    environ = {
        "LIVEKIT_ROOM_MAX_PARTICIPANTS": "2",
        "LIVEKIT_ROOM_EMPTY_TIMEOUT": "2",
        "LIVEKIT_KEYS": "a: b",
        "UDP_PORT": "7000-7001",
        "LIVEKIT_LOGGING_JSON": "true",
    }
    config, _ = load(
        "room: {max_participants: 1, empty_timeout: 1, departure_timeout: 1}",
        environ=environ,
        flags={"room.empty_timeout": "3"},
    )
    assert (config.room.max_participants, config.room.empty_timeout, config.room.departure_timeout) == (
        2,
        3,
        1,
    )
    assert config.keys == {"a": "b"}
    assert config.rtc.udp_port is not None
    assert config.rtc.udp_port.end == 7001
    assert config.logging.json_


def test_a_node_may_have_an_address_of_each_family() -> None:
    config, _ = load('rtc: {node_ip: "192.0.2.1,2001:db8::7"}', environ={})
    assert (config.rtc.node_ip.ipv4, config.rtc.node_ip.ipv6) == ("192.0.2.1", "2001:db8::7")
    assert load("", environ={"NODE_IP": "2001:db8::7"})[0].rtc.node_ip.ipv6 == "2001:db8::7"


def test_networks_are_written_with_or_without_a_prefix() -> None:
    config, _ = load("rtc: {ips: {includes: [10.1.2.3/8, 192.0.2.1], excludes: [2001:db8::/32]}}", environ={})
    assert config.rtc.ips.includes == ["10.0.0.0/8", "192.0.2.1/32"]
    assert config.rtc.ips.excludes == ["2001:db8::/32"]


def test_the_secret_of_a_turn_server_may_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish\n")
    servers = f"{{host: a, secret_file: {secret}, ttl: 0}}, {{host: b, secret: c, ttl: 1000000}}"
    text = f"rtc: {{turn_servers: [{servers}]}}"
    first, second = load(text, environ={})[0].rtc.turn_servers
    assert (first.secret, first.ttl) == ("swordfish", 14_400)
    assert (second.secret, second.ttl) == ("c", 86_400)


def test_an_unknown_flag_is_refused_by_name() -> None:
    assert refused("", flags={"room.max_participant": "1"}) == "unknown key: room.max_participant"


@pytest.mark.parametrize("text", ["key:secret", "just text", "[a]"])
def test_keys_in_another_form_are_explained(text: str) -> None:
    assert "a space after the colon" in refused("", flags={"keys": text})


def test_text_that_looks_like_a_number_stays_text() -> None:
    assert load("", environ={"LIVEKIT_REGION": "eu"})[0].region == "eu"
    assert load("", environ={"LIVEKIT_KEYS": "a: 12345"})[0].keys == {"a": "12345"}


def test_a_key_file_must_be_closed_to_others(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"k: {SECRET}")
    file.chmod(0o604)
    assert "can be read by others" in refused(f"key_file: {file}")
    file.chmod(0o600)
    assert load(f"key_file: {file}", environ={})[0].keys == {"k": SECRET}
    assert "No such file" in refused("key_file: /nowhere/keys")


def test_short_secrets_are_for_development_only() -> None:
    with pytest.raises(ConfigError, match="no keys"):
        check_keys(Config())
    with pytest.raises(ConfigError, match=re.escape("the secret of k is shorter than 32 characters")):
        check_keys(Config(keys={"k": "s" * 31, "l": SECRET}))
    check_keys(Config(keys={"k": SECRET}))
    check_keys(Config(keys={"devkey": "secret"}, development=True))


def test_old_names_of_limits_still_count() -> None:
    assert load("room: {max_metadata_size: 7}", environ={})[0].limit.max_metadata_size == 7
    assert load("log_level: warn", environ={})[0].logging.level == "warn"


def test_sections_are_not_shared_between_configurations() -> None:
    first, second = Config(), Config()
    first.room.max_participants = 5
    first.bind_addresses.append("x")
    assert second.room.max_participants == 0
    assert second.bind_addresses == []


def test_every_single_key_has_a_flag() -> None:
    names = [name for name, _ in settings()]
    assert len(names) == len(set(names))
    assert {"port", "rtc.udp_port", "logging.json", "rtc.congestion_control.allow_pause", "keys"} <= set(
        names
    )


def test_every_key_without_effect_says_why_and_is_in_the_documentation() -> None:
    def without_effect(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
        for name, info in section.model_fields.items():
            extra, kind = info.json_schema_extra, info.annotation
            if isinstance(extra, dict) and extra.get("later"):
                yield f"{prefix}{info.alias or name}"
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from without_effect(kind, f"{prefix}{info.alias or name}.")

    keys = list(without_effect(Config))
    assert [key for key in keys if not reason(key)] == []
    assert [it for it in REASONS if not any(f"{key}.".startswith(f"{it}.") for key in keys)] == []
    documented = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
    for name, text in REASONS.items():
        (line,) = [it for it in documented.splitlines() if f"`{name}`" in it and it.startswith("|")]
        assert text in line
