from __future__ import annotations

import base64
import hashlib
import hmac
import json
import warnings
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol.models import TrackSource

from roomful.auth import AccessToken, Claims, TokenError, VideoGrant, sign, verify

KEYS = {"one": "a" * 40, "two": "b" * 40}
NOW = 1_800_000_000.0


def signed(payload: dict[str, Any], secret: str = KEYS["one"], **changes: Any) -> str:
    payload = {"iss": "one", "sub": "ada", "exp": NOW + 60, **payload, **changes}
    return jwt.encode({name: value for name, value in payload.items() if value is not ...}, secret, "HS256")


def test_a_token_says_who_and_what() -> None:
    token = (
        AccessToken("two", KEYS["two"])
        .with_identity("ada")
        .with_name("Ada")
        .with_metadata("m")
        .with_attributes({"a": "b"})
        .with_kind("agent")
        .with_room("demo")
        .with_grants(can_publish=False, can_publish_sources=["camera"], hidden=True)
    )
    claims = verify(token.to_jwt(NOW), KEYS, NOW)
    assert (claims.identity, claims.name, claims.metadata, claims.kind) == ("ada", "Ada", "m", "agent")
    assert claims.attributes == {"a": "b"}
    assert claims.api_key == "two"
    assert claims.expires_at == NOW + 6 * 3600
    assert claims.video == VideoGrant(
        room_join=True, room="demo", can_publish=False, can_publish_sources=("camera",), hidden=True
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"exp": NOW - 61}, "invalid authorization token: token is expired, by 61 s"),
        ({"nbf": NOW + 90}, "invalid authorization token: token is not valid yet, clocks differ by 90 s"),
        ({"exp": ...}, "invalid authorization token: exp claim is required"),
        ({"exp": "soon"}, "invalid authorization token: exp has the wrong type"),
        ({"exp": True}, "invalid authorization token: exp has the wrong type"),
        ({"iss": "three"}, "invalid API key"),
        ({"iss": ...}, "invalid API key"),
        ({"iss": "two"}, "invalid authorization token: signature is invalid"),
        (
            {"video": {"canPublish": "false"}},
            "invalid authorization token: video.canPublish has the wrong type",
        ),
        (
            {"video": {"canPublishSources": [1]}},
            "invalid authorization token: video.canPublishSources has the wrong type",
        ),
        ({"video": []}, "invalid authorization token: video has the wrong type"),
        ({"attributes": {"a": 1}}, "invalid authorization token: attributes has the wrong type"),
        ({"roomConfig": "x"}, "invalid authorization token: roomConfig has the wrong type"),
    ],
)
def test_a_refusal_says_why_and_never_holds_the_token(change: dict[str, Any], text: str) -> None:
    token = signed({}, **change)
    with pytest.raises(TokenError) as refused:
        verify(token, KEYS, NOW)
    assert str(refused.value) == text
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("change", [{"nbf": NOW + 30}, {"exp": NOW - 30}])
def test_clocks_may_differ_by_a_minute(change: dict[str, Any]) -> None:
    assert verify(signed({}, **change), KEYS, NOW).identity == "ada"


@pytest.mark.parametrize("algorithm", ["none", "HS384", "HS512", "RS256", "hs256"])
def test_only_hs256_is_accepted(algorithm: str) -> None:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    signing = f"{part({'alg': algorithm})}.{part({'iss': 'one', 'exp': NOW + 60})}"
    digest = {"HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(algorithm, hashlib.sha256)
    mac = base64.urlsafe_b64encode(hmac.digest(KEYS["one"].encode(), signing.encode(), digest))
    with pytest.raises(TokenError):
        verify(f"{signing}.{mac.decode().rstrip('=')}", KEYS, NOW)
    with pytest.raises(TokenError):
        verify(f"{signing}.", KEYS, NOW)


def test_a_short_development_secret_signs_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        token = AccessToken("devkey", "secret").with_identity("ada").to_jwt(NOW)
        assert verify(token, {"devkey": "secret"}, NOW).identity == "ada"


def test_identity_falls_back_to_jti() -> None:
    assert verify(signed({}, sub=..., jti="eve"), KEYS, NOW).identity == "eve"


@pytest.mark.parametrize("name", ["emptyTimeout", "empty_timeout"])
def test_room_configuration_in_either_spelling_with_fields_from_the_future(name: str) -> None:
    config = {name: 7, "agents": [{"agentName": "x", "futureField": 1}], "other": {"deep": [1]}}
    claims = verify(signed({"roomConfig": config, "video": {"future": [1]}, "future": 1}), KEYS, NOW)
    assert claims.room_config is not None
    assert claims.room_config.empty_timeout == 7
    assert claims.room_config.agents[0].agent_name == "x"


def test_an_unknown_kind_is_standard() -> None:
    assert verify(signed({"kind": "robot"}), KEYS, NOW).kind == "standard"


def test_absent_rights_default_as_in_livekit() -> None:
    grant = VideoGrant()
    assert grant.may_publish
    assert grant.may_subscribe
    assert grant.may_publish_data
    assert not VideoGrant(can_publish=False).may_publish_data
    assert VideoGrant(can_publish=False, can_publish_data=True).may_publish_data


def test_an_unknown_source_allows_nothing_more() -> None:
    assert VideoGrant(can_publish_sources=("hologram",)).sources == (TrackSource.UNKNOWN,)


def test_a_token_without_end_is_not_signed() -> None:
    with pytest.raises(ValueError, match="without an end"):
        sign(Claims(identity="ada"), "one", KEYS["one"])


def test_a_join_token_needs_identity_and_room() -> None:
    with pytest.raises(ValueError, match="identity and a room"):
        AccessToken("one", KEYS["one"]).with_room("demo").to_jwt()


@settings(deadline=None)  # Machines that run tests are busy.
@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_refused_quietly(text: str) -> None:
    with pytest.raises(TokenError):
        verify(text, KEYS, NOW)


@settings(deadline=None)  # Machines that run tests are busy.
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda it: st.lists(it) | st.dictionaries(st.text(), it),
    )
)
def test_any_signed_content_is_read_or_refused(content: Any) -> None:
    for name in ("video", "roomConfig", "attributes", "kindDetails", "exp", "sub", "kind", "sip"):
        try:
            verify(signed({name: content}), KEYS, NOW)
        except TokenError:
            continue


def test_deep_nesting_is_refused() -> None:
    def part(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    deep = '{"iss":"one","exp":9e9,"video":' + "[" * 100_000 + "]" * 100_000 + "}"
    signing = f"{part(json.dumps({'alg': 'HS256', 'typ': 'JWT'}))}.{part(deep)}"
    mac = (
        base64.urlsafe_b64encode(hmac.digest(KEYS["one"].encode(), signing.encode(), "sha256"))
        .decode()
        .rstrip("=")
    )
    with pytest.raises(TokenError):
        verify(f"{signing}.{mac}", KEYS, NOW)


def test_a_header_that_is_none_of_ours_is_not_read() -> None:
    token = AccessToken("one", KEYS["one"]).with_identity("ada").to_jwt(NOW)
    verify(token, KEYS, NOW)
    header = json.dumps({"alg": "HS256", "typ": "JWT", "x": "x" * 5000}).encode()
    signing = f"{base64.urlsafe_b64encode(header).decode().rstrip('=')}.{token.split('.')[1]}"
    mac = base64.urlsafe_b64encode(hmac.digest(KEYS["one"].encode(), signing.encode(), "sha256"))
    with pytest.raises(TokenError):
        verify(f"{signing}.{mac.decode().rstrip('=')}", KEYS, NOW)


def test_livekits_own_sdk_and_ours_read_each_other() -> None:
    api = pytest.importorskip("livekit.api")
    theirs = (
        api.AccessToken("one", KEYS["one"])
        .with_identity("ada")
        .with_grants(api.VideoGrants(room_join=True, room="demo", can_publish_sources=["camera"]))
        .with_room_config(api.RoomConfiguration(max_participants=3))
        .to_jwt()
    )
    claims = verify(theirs, KEYS)
    assert claims.video is not None
    assert claims.video.can_publish_sources == ("camera",)
    assert claims.room_config is not None
    assert claims.room_config.max_participants == 3
    ours = AccessToken("one", KEYS["one"]).with_identity("eve").with_room("demo").to_jwt()
    read = api.TokenVerifier("one", KEYS["one"]).verify(ours)
    assert (read.identity, read.video.room) == ("eve", "demo")


@pytest.mark.parametrize("change", ["crit", "part", "mac", "letters"])
def test_what_is_signed_otherwise_is_refused(change: str) -> None:
    token = AccessToken("one", KEYS["one"]).with_identity("ada").to_jwt(NOW)
    head, payload, mac = token.split(".")
    if change == "crit":
        token = jwt.encode(
            {"iss": "one", "sub": "ada", "exp": NOW + 60}, KEYS["one"], "HS256", {"crit": ["x"], "x": 1}
        )
    elif change == "part":
        token = f"{token}.{mac}"
    elif change == "mac":
        token = f"{head}.{payload}."
    else:
        token = f"{head}.{payload[:-4]}!{payload[-4:]}.{mac}"
    with pytest.raises(TokenError):
        verify(token, KEYS, NOW)
