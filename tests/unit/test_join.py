from __future__ import annotations

import base64
import contextlib
import gzip
import zlib
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol.models import ClientInfo
from livekit.protocol.rtc import JoinRequest, WrappedJoinRequest

from roomful.auth import Claims, VideoGrant
from roomful.server.join import MAX_JOIN_REQUEST, JoinParams, Refusal, decode_join_request, parse_join

GRANT = VideoGrant(room_join=True, room="demo")
CLAIMS = Claims(identity="ada", video=GRANT)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0"


def wrap(content: bytes, compression: int = WrappedJoinRequest.NONE) -> bytes:
    return WrappedJoinRequest(
        compression=compression,  # type: ignore[arg-type]
        join_request=content,
    ).SerializeToString()


def refused(text: str) -> tuple[int, str]:
    with pytest.raises(Refusal) as refusal:
        decode_join_request(text)
    return refusal.value.status, refusal.value.text


def parse(query: dict[str, str], claims: Claims | None = CLAIMS, **options: bool) -> JoinParams:
    return parse_join(claims, query, user_agent=FIREFOX, address="192.0.2.1", **options)


def test_defaults_of_the_query() -> None:
    params = parse({})
    assert params.room == "demo"
    assert not params.single_peer_connection
    assert params.auto_subscribe
    assert not params.auto_subscribe_data_track
    assert not params.adaptive_stream
    assert params.subscriber_allow_pause is None
    assert not params.reconnect


def test_every_parameter_of_the_query() -> None:
    params = parse(
        {
            "auto_subscribe": "0",
            "adaptive_stream": "true",
            "subscriber_allow_pause": "0",
            "disable_ice_lite": "1",
            "reconnect": "1",
            "reconnect_reason": "2",
            "sid": "PA_x",
            "protocol": "16",
            "sdk": "python",
            "version": "1.2.1",
            "capabilities": "CAP_PACKET_TRAILER, CAP_FUTURE",
            "attributes": base64.urlsafe_b64encode(b'{"a": "b"}').decode(),
        }
    )
    assert not params.auto_subscribe
    assert params.adaptive_stream
    assert params.subscriber_allow_pause is False
    assert params.disable_ice_lite
    assert (params.reconnect, params.reconnect_reason, params.participant_sid) == (True, 2, "PA_x")
    assert (params.client.sdk, params.client.protocol) == (ClientInfo.PYTHON, 16)
    assert list(params.client.capabilities) == [ClientInfo.CAP_PACKET_TRAILER]
    assert params.attributes == {"a": "b"}
    assert params.client.browser == ""


def test_the_user_agent_fills_in_what_browsers_leave_out() -> None:
    client = parse({"sdk": "js"}).client
    assert (client.browser, client.browser_version, client.os) == ("Firefox", "153.0", "Linux")
    assert client.address == "192.0.2.1"


def test_a_sid_counts_only_with_reconnect() -> None:
    assert parse({"sid": "PA_x"}).participant_sid == ""


def test_undecodable_attributes_matter_only_when_validating() -> None:
    assert parse({"attributes": "!"}).attributes == {}
    with pytest.raises(Refusal, match="cannot decode attributes"):
        parse({"attributes": "!"}, strict=True)


def test_publish_makes_a_participant_of_its_own_that_hears_nothing() -> None:
    claims = parse({"publish": "screen"}).claims
    assert claims.identity == "ada#screen"
    assert claims.video is not None
    assert claims.video.can_subscribe is False
    with pytest.raises(Refusal, match="permissions denied"):
        parse({"publish": "x"}, Claims(identity="ada", video=VideoGrant(room_join=True, can_publish=False)))


@pytest.mark.parametrize("claims", [None, Claims(identity="ada")])
def test_without_a_video_grant_nobody_joins(claims: Claims | None) -> None:
    with pytest.raises(Refusal, match="permissions denied") as refusal:
        parse({}, claims)
    assert refusal.value.status == 401


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("encode", [base64.urlsafe_b64encode, base64.b64encode])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("escaped", [False, True])
def test_join_requests_in_every_form_that_sdks_send(
    zipped: bool, encode: object, padded: bool, escaped: bool
) -> None:
    # Metadata chosen for all of "+", "/" and padding to occur.
    for filler in ("~~~???", "~~~???>", "~~~???>>"):
        request = JoinRequest(metadata=filler, client_info=ClientInfo(protocol=17))
        content = request.SerializeToString()
        packed = wrap(gzip.compress(content), WrappedJoinRequest.GZIP) if zipped else wrap(content)
        text = encode(packed).decode()  # type: ignore[operator]
        if not padded:
            text = text.rstrip("=")
        if not escaped:
            # As it stands in a query, "+" reads as a space.
            text = parse_qs(f"join_request={text}")["join_request"][0]
        assert decode_join_request(text) == request


def test_absent_connection_settings_subscribe_to_nothing() -> None:
    params = parse(
        {
            "join_request": base64.urlsafe_b64encode(
                wrap(JoinRequest(metadata="m").SerializeToString())
            ).decode()
        }
    )
    assert params.single_peer_connection
    assert not params.auto_subscribe
    assert params.publisher_offer is None
    assert params.sync_state is None


def test_undecodable_join_requests_are_told_apart() -> None:
    def b64(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode()

    assert refused("ü") == (400, "cannot base64 decode wrapped join request")
    assert refused("a") == (400, "cannot base64 decode wrapped join request")
    assert refused(b64(b"\xff\xff")) == (400, "cannot unmarshal wrapped join request")
    assert refused(b64(wrap(b"\xff\xff"))) == (400, "cannot unmarshal join request")
    assert refused(b64(wrap(b"no gzip", WrappedJoinRequest.GZIP))) == (
        400,
        "cannot read decompressed join request",
    )
    cut = gzip.compress(b"x" * 1000)[:-9]
    assert refused(b64(wrap(cut, WrappedJoinRequest.GZIP))) == (400, "cannot read decompressed join request")
    assert refused(b64(wrap(b"", 7))) == (400, "cannot read decompressed join request")


def test_a_gzip_bomb_is_refused_without_being_unpacked() -> None:
    zip_ = zlib.compressobj(9, wbits=31)
    bomb = b"".join(zip_.compress(b"\0" * 1_000_000) for _ in range(500)) + zip_.flush()
    text = base64.urlsafe_b64encode(wrap(bomb, WrappedJoinRequest.GZIP)).decode()
    assert len(text) < MAX_JOIN_REQUEST
    assert refused(text) == (400, "join request too large")


@given(st.text())
def test_any_text_is_a_join_request_or_refused(text: str) -> None:
    with contextlib.suppress(Refusal):
        decode_join_request(text)


@given(st.binary())
def test_any_bytes_are_a_join_request_or_refused(raw: bytes) -> None:
    for packed in (raw, wrap(raw), wrap(raw, WrappedJoinRequest.GZIP), wrap(gzip.compress(raw), 1)):
        with contextlib.suppress(Refusal):
            decode_join_request(base64.urlsafe_b64encode(packed).decode())
