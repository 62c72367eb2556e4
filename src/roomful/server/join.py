"""What a client asks for when it joins: the request of `/rtc` and `/rtc/v1` after its token was checked.

Here a request is only read. Whether its claims are enough is the control plane's to say.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from google.protobuf.message import DecodeError
from livekit.protocol.models import ClientInfo
from livekit.protocol.rtc import (
    AddTrackRequest,
    JoinRequest,
    SessionDescription,
    SyncState,
    WrappedJoinRequest,
)

from roomful import strict_json
from roomful.auth import Claims, VideoGrant
from roomful.server.clients import client_from_query, complete_client

#: Of an unpacked join request.
MAX_JOIN_REQUEST = 1024 * 1024

PERMISSION_DENIED = "permissions denied"


class Refusal(Exception):
    """A request refused with an HTTP status and a text for the person who sees it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(frozen=True, slots=True)
class JoinParams:
    claims: Claims
    room: str
    client: ClientInfo
    #: One peer connection, on which only the client offers. Selected by the presence of `join_request`.
    single_peer_connection: bool = False
    auto_subscribe: bool = True
    auto_subscribe_data_track: bool = False
    adaptive_stream: bool = False
    #: None leaves it to the configuration.
    subscriber_allow_pause: bool | None = None
    disable_ice_lite: bool = False
    reconnect: bool = False
    #: `livekit.ReconnectReason`
    reconnect_reason: int = 0
    #: Of the session to resume; set with `reconnect` only.
    participant_sid: str = ""
    #: Given with the join beside the token's; both need `can_update_own_metadata`.
    metadata: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    publisher_offer: SessionDescription | None = None
    add_track_requests: Sequence[AddTrackRequest] = ()
    sync_state: SyncState | None = None
    #: The local address by which the client reached the signalling socket.
    signal_address: str | None = None
    #: It is a room of this process, and has no address.
    in_process: bool = False


def parse_join(
    claims: Claims | None,
    query: Mapping[str, str],
    *,
    user_agent: str = "",
    address: str = "",
    signal_address: str | None = None,
    in_process: bool = False,
    needs_join_request: bool = False,
    strict: bool = False,
) -> JoinParams:
    """Reads a join. `needs_join_request` on `/rtc/v1`; `strict` when only validating. Raises `Refusal`."""
    if claims is None or claims.video is None:
        raise Refusal(401, PERMISSION_DENIED)
    wrapped = query.get("join_request", "")
    if needs_join_request and not wrapped:
        raise Refusal(400, "join_request is required")
    if wrapped:
        params = _from_join_request(claims, decode_join_request(wrapped))
    else:
        params = _from_query(claims, query, strict)
    complete_client(params.client, user_agent, address)
    publish = "" if wrapped else query.get("publish", "")
    if publish:
        claims = _publisher_claims(claims, claims.video, publish)
    return replace(
        params,
        claims=claims,
        room=claims.video.room if claims.video else "",
        signal_address=signal_address,
        in_process=in_process,
    )


def decode_join_request(text: str) -> JoinRequest:
    """Unpacks `join_request`: either base64 alphabet, padding optional, gzip or not. Raises `Refusal`."""
    try:
        packed = decode_base64(text)
    except ValueError:
        raise Refusal(400, "cannot base64 decode wrapped join request") from None
    try:
        wrapped = WrappedJoinRequest.FromString(packed)
    except DecodeError:
        raise Refusal(400, "cannot unmarshal wrapped join request") from None
    content = wrapped.join_request
    if wrapped.compression == WrappedJoinRequest.Compression.GZIP:
        content = _gunzip(content)
    elif wrapped.compression != WrappedJoinRequest.Compression.NONE:
        raise Refusal(400, "cannot read decompressed join request")
    if len(content) > MAX_JOIN_REQUEST:
        raise Refusal(400, "join request too large")
    try:
        return JoinRequest.FromString(content)
    except DecodeError:
        raise Refusal(400, "cannot unmarshal join request") from None


def decode_base64(text: str) -> bytes:
    """URL-safe or standard, with or without padding, a "+" perhaps turned into a space by a query parser.

    Raises `ValueError`.
    """
    text = text.translate(_TO_STANDARD).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


_TO_STANDARD = str.maketrans("-_ ", "+/+")


def _gunzip(packed: bytes) -> bytes:
    """Never holds more than the limit, however much is packed."""
    inflate = zlib.decompressobj(wbits=31)
    try:
        content = inflate.decompress(packed, MAX_JOIN_REQUEST + 1)
    except zlib.error:
        raise Refusal(400, "cannot read decompressed join request") from None
    if len(content) <= MAX_JOIN_REQUEST and not inflate.eof:
        raise Refusal(400, "cannot read decompressed join request")
    return content


def _from_join_request(claims: Claims, request: JoinRequest) -> JoinParams:
    settings = request.connection_settings
    allow_pause = settings.subscriber_allow_pause if settings.HasField("subscriber_allow_pause") else None
    return JoinParams(
        claims=claims,
        room="",
        client=request.client_info,
        single_peer_connection=True,
        auto_subscribe=settings.auto_subscribe,
        auto_subscribe_data_track=settings.auto_subscribe_data_track,
        adaptive_stream=settings.adaptive_stream,
        subscriber_allow_pause=allow_pause,
        disable_ice_lite=settings.disable_ice_lite,
        reconnect=request.reconnect,
        reconnect_reason=request.reconnect_reason,
        participant_sid=request.participant_sid if request.reconnect else "",
        metadata=request.metadata,
        attributes=dict(request.participant_attributes),
        publisher_offer=request.publisher_offer if request.HasField("publisher_offer") else None,
        add_track_requests=tuple(request.add_track_requests),
        sync_state=request.sync_state if request.HasField("sync_state") else None,
    )


def _from_query(claims: Claims, query: Mapping[str, str], strict: bool) -> JoinParams:
    attributes: dict[str, str] = {}
    if text := query.get("attributes", ""):
        try:
            attributes = _decode_attributes(text)
        except ValueError:
            if strict:
                raise Refusal(400, "cannot decode attributes") from None
    reason = query.get("reconnect_reason", "")
    reconnect = _flag(query, "reconnect")
    return JoinParams(
        claims=claims,
        room="",
        client=client_from_query(query),
        auto_subscribe=_flag(query, "auto_subscribe", default=True),
        auto_subscribe_data_track=_flag(query, "auto_subscribe_data_track"),
        adaptive_stream=_flag(query, "adaptive_stream"),
        subscriber_allow_pause=_flag(query, "subscriber_allow_pause")
        if query.get("subscriber_allow_pause")
        else None,
        disable_ice_lite=_flag(query, "disable_ice_lite"),
        reconnect=reconnect,
        reconnect_reason=int(reason) if len(reason) < 4 and reason.isdecimal() else 0,
        participant_sid=query.get("sid", "") if reconnect else "",
        attributes=attributes,
    )


def _flag(query: Mapping[str, str], name: str, default: bool = False) -> bool:
    text = query.get(name, "")
    return text in ("1", "true") if text else default


def _decode_attributes(text: str) -> dict[str, str]:
    attributes = strict_json.loads(decode_base64(text))
    if not isinstance(attributes, dict) or not all(isinstance(value, str) for value in attributes.values()):
        raise ValueError("not a map of strings")
    return attributes


def _publisher_claims(claims: Claims, grant: VideoGrant, suffix: str) -> Claims:
    """The old way to publish from a second connection: a participant of its own that hears nothing."""
    if not grant.may_publish:
        raise Refusal(401, PERMISSION_DENIED)
    return replace(claims, identity=f"{claims.identity}#{suffix}", video=replace(grant, can_subscribe=False))
