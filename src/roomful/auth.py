"""Access tokens: JSON Web Tokens signed with HS256, as LiveKit's SDKs write them.

A token says who somebody is (identity, name, metadata, attributes, kind) and what they may do (`VideoGrant`).
`verify` turns one into `Claims`; `AccessToken` writes one.
"""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, Self, TypeVar

from livekit.protocol.models import ParticipantInfo, TrackSource
from livekit.protocol.room import RoomConfiguration

from roomful import strict_json

#: Clocks of a signer and ours may differ by this many seconds.
LEEWAY = 60.0
DEFAULT_TTL = timedelta(hours=6)
#: Shorter secrets are refused outside development.
MIN_SECRET_LENGTH = 32

_KINDS = {name.lower(): number for name, number in ParticipantInfo.Kind.items()}
_KIND_DETAILS = {name.lower(): number for name, number in ParticipantInfo.KindDetail.items()}
_SOURCES = {name.lower(): number for name, number in TrackSource.items() if number}


class TokenError(Exception):
    """A token that is not accepted. The text never holds the token itself."""


@dataclass(frozen=True, slots=True)
class VideoGrant:
    """What the holder may do with rooms. `None` for publishing, subscribing and data allows."""

    room_create: bool = False
    room_list: bool = False
    room_record: bool = False
    room_admin: bool = False
    room_join: bool = False
    room: str = ""
    destination_room: str = ""
    can_publish: bool | None = None
    can_subscribe: bool | None = None
    can_publish_data: bool | None = None
    #: "camera", "microphone", "screen_share", "screen_share_audio"; empty allows all.
    can_publish_sources: tuple[str, ...] = ()
    can_update_own_metadata: bool = False
    can_subscribe_metrics: bool = False
    can_manage_agent_session: bool = False
    ingress_admin: bool = False
    hidden: bool = False
    recorder: bool = False
    agent: bool = False

    @property
    def may_publish(self) -> bool:
        return self.can_publish is not False

    @property
    def may_subscribe(self) -> bool:
        return self.can_subscribe is not False

    @property
    def may_publish_data(self) -> bool:
        """As `may_publish` unless the token says otherwise."""
        return self.may_publish if self.can_publish_data is None else self.can_publish_data

    @property
    def sources(self) -> tuple[int, ...]:
        """`livekit.TrackSource` numbers of `can_publish_sources`. An unknown name is UNKNOWN: it allows
        nothing, and never makes the list empty, which would allow all."""
        return tuple(_SOURCES.get(name, 0) for name in self.can_publish_sources)


@dataclass(frozen=True, slots=True)
class SipGrant:
    admin: bool = False
    call: bool = False


@dataclass(frozen=True, slots=True)
class AgentGrant:
    admin: bool = False
    simulation_admin: bool = False
    database_admin: bool = False


@dataclass(frozen=True, slots=True)
class InferenceGrant:
    perform: bool = False


@dataclass(frozen=True, slots=True)
class ObservabilityGrant:
    write: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """The verified content of a token."""

    identity: str = ""
    name: str = ""
    metadata: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    #: `ParticipantInfo.Kind` in lower case; anything unknown counts as "standard".
    kind: str = "standard"
    kind_details: tuple[str, ...] = ()
    video: VideoGrant | None = None
    sip: SipGrant | None = None
    agent: AgentGrant | None = None
    inference: InferenceGrant | None = None
    observability: ObservabilityGrant | None = None
    room_config: RoomConfiguration | None = None
    room_preset: str = ""
    sha256: str = ""
    #: The key the token was signed with (`iss`).
    api_key: str = ""
    #: Unix time in seconds (`exp`); 0 when built here and not yet signed.
    expires_at: float = 0.0

    @property
    def kind_number(self) -> int:
        """`livekit.ParticipantInfo.Kind`."""
        return _KINDS[self.kind]

    @property
    def kind_detail_numbers(self) -> tuple[int, ...]:
        """`livekit.ParticipantInfo.KindDetail`, unknown names left out."""
        return tuple(_KIND_DETAILS[detail] for detail in self.kind_details if detail in _KIND_DETAILS)


#: Characters of a token's first part.
MAX_HEADER = 4096
_HEADER = {"typ": "JWT", "alg": "HS256"}


def verify(token: str, keys: Mapping[str, str], now: float | None = None, leeway: float = LEEWAY) -> Claims:
    """Checks signature and times of `token` against `keys` (key → secret) and returns what it says.

    `now` is Unix time in seconds. Raises `TokenError` with livekit-server's own wording where it has one.
    """
    now = time.time() if now is None else now
    try:
        header, payload, signed, mac = _take_apart(token)
    except ValueError:
        raise TokenError("invalid authorization token") from None
    if header.get("alg") != "HS256":
        raise TokenError("invalid authorization token: signing method is not HS256")
    if "crit" in header:
        # What must be understood, and is not (RFC 7515 §4.1.11).
        raise TokenError("invalid authorization token")
    api_key = _text(payload, "iss")
    secret = keys.get(api_key)
    if not secret:
        raise TokenError("invalid API key")
    if not hmac.compare_digest(hmac.digest(secret.encode(), signed, "sha256"), mac):
        raise TokenError("invalid authorization token: signature is invalid")

    expires_at = _time(payload, "exp")
    if expires_at is None:
        raise TokenError("invalid authorization token: exp claim is required")
    if now > expires_at + leeway:
        raise TokenError(f"invalid authorization token: token is expired, by {now - expires_at:.0f} s")
    not_before = _time(payload, "nbf")
    if not_before is not None and now < not_before - leeway:
        early = not_before - now
        raise TokenError(
            f"invalid authorization token: token is not valid yet, clocks differ by {early:.0f} s"
        )
    return replace(claims_from_payload(payload), api_key=api_key, expires_at=expires_at)


def sign(claims: Claims, key: str, secret: str, *, not_before: float | None = None) -> str:
    """Writes `claims` as a token that ends at `claims.expires_at`."""
    if claims.expires_at <= 0:
        raise ValueError("claims.expires_at must be set: a token without an end is refused")
    payload: dict[str, Any] = {"iss": key, "exp": int(claims.expires_at)}
    if claims.identity:
        payload["sub"] = claims.identity
    if not_before is not None:
        payload["nbf"] = int(not_before)
    payload.update(claims_to_payload(claims))
    signed = f"{_encode(_json(_HEADER))}.{_encode(_json(payload))}"
    return f"{signed}.{_encode(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def _take_apart(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    """Header, payload, what is signed, and the signature (RFC 7515 §3.1). Raises `ValueError`."""
    if token.find(".", 0, MAX_HEADER) < 0:
        # Read before anything is known of who sent it.
        raise ValueError("no header")
    header, payload, mac = token.split(".", 3)
    signed = token.rpartition(".")[0].encode("ascii")
    return _payload(_decode(header)), _payload(_decode(payload)), signed, _decode(mac)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def claims_from_payload(payload: Mapping[str, Any]) -> Claims:
    """Reads a token's JSON. Fields that are unknown are ignored, as newer SDKs add some."""
    kind = _text(payload, "kind").lower()
    return Claims(
        identity=_text(payload, "sub") or _text(payload, "jti"),
        name=_text(payload, "name"),
        metadata=_text(payload, "metadata"),
        attributes=_string_map(payload.get("attributes"), "attributes"),
        kind=kind if kind in _KINDS else "standard",
        kind_details=tuple(detail.lower() for detail in _strings(payload.get("kindDetails"), "kindDetails")),
        video=_grant(VideoGrant, payload.get("video"), "video"),
        sip=_grant(SipGrant, payload.get("sip"), "sip"),
        agent=_grant(AgentGrant, payload.get("agent"), "agent"),
        inference=_grant(InferenceGrant, payload.get("inference"), "inference"),
        observability=_grant(ObservabilityGrant, payload.get("observability"), "observability"),
        room_config=_room_config(payload.get("roomConfig")),
        room_preset=_text(payload, "roomPreset"),
        sha256=_text(payload, "sha256"),
    )


def claims_to_payload(claims: Claims) -> dict[str, Any]:
    """The token's JSON without `iss`, `sub` and times; what is empty is left out."""
    payload: dict[str, Any] = {
        "name": claims.name,
        "metadata": claims.metadata,
        "attributes": dict(claims.attributes),
        "kind": "" if claims.kind == "standard" else claims.kind,
        "kindDetails": list(claims.kind_details),
        "roomPreset": claims.room_preset,
        "sha256": claims.sha256,
    }
    for name in ("sip", "agent", "inference", "observability"):
        payload[name] = _grant_json(getattr(claims, name))
    payload = {name: value for name, value in payload.items() if value}
    if claims.video is not None:
        payload["video"] = _grant_json(claims.video)
    if claims.room_config is not None:
        from google.protobuf import json_format

        payload["roomConfig"] = json_format.MessageToDict(claims.room_config)
    return payload


class AccessToken:
    """Builds a token step by step.

    >>> AccessToken("devkey", "secret").with_identity("ada").with_room("demo").to_jwt()  # doctest: +SKIP
    """

    def __init__(self, api_key: str, api_secret: str, *, ttl: timedelta = DEFAULT_TTL) -> None:
        if not api_key or not api_secret:
            raise ValueError("a token needs an API key and its secret")
        self._key = api_key
        self._secret = api_secret
        self._ttl = ttl
        self._claims = Claims()

    def _with(self, **changes: Any) -> Self:
        self._claims = replace(self._claims, **changes)
        return self

    def with_identity(self, identity: str) -> Self:
        return self._with(identity=identity)

    def with_name(self, name: str) -> Self:
        return self._with(name=name)

    def with_metadata(self, metadata: str) -> Self:
        return self._with(metadata=metadata)

    def with_attributes(self, attributes: Mapping[str, str]) -> Self:
        return self._with(attributes=dict(attributes))

    def with_kind(self, kind: str) -> Self:
        if kind not in _KINDS:
            raise ValueError(f"unknown kind {kind!r}: one of {', '.join(sorted(_KINDS))}")
        return self._with(kind=kind)

    def with_kind_details(self, details: Sequence[str]) -> Self:
        return self._with(kind_details=tuple(details))

    def with_grants(self, **grants: Any) -> Self:
        """Sets fields of `VideoGrant` by name, keeping the others. An unknown name raises `TypeError`."""
        if "can_publish_sources" in grants:
            grants["can_publish_sources"] = tuple(grants["can_publish_sources"])
        return self._with(video=replace(self._claims.video or VideoGrant(), **grants))

    def with_room(self, room: str) -> Self:
        """May join `room`."""
        return self.with_grants(room_join=True, room=room)

    def with_sip_grants(self, grant: SipGrant) -> Self:
        return self._with(sip=grant)

    def with_room_config(self, config: RoomConfiguration) -> Self:
        return self._with(room_config=config)

    def with_room_preset(self, preset: str) -> Self:
        return self._with(room_preset=preset)

    def with_ttl(self, ttl: timedelta) -> Self:
        self._ttl = ttl
        return self

    def to_jwt(self, now: float | None = None) -> str:
        now = time.time() if now is None else now
        video = self._claims.video
        if video is not None and video.room_join and not (self._claims.identity and video.room):
            raise ValueError("a token to join needs an identity and a room")
        claims = replace(self._claims, expires_at=now + self._ttl.total_seconds())
        return sign(claims, self._key, self._secret, not_before=now)


_Grant = TypeVar("_Grant")
_JSON_TYPES = {"bool": bool, "bool | None": bool, "str": str}


def _payload(raw: bytes | str) -> dict[str, Any]:
    payload = strict_json.loads(raw)
    if not isinstance(payload, dict):
        raise ValueError("not an object")
    return payload


def _wrong_type(name: str) -> TokenError:
    return TokenError(f"invalid authorization token: {name} has the wrong type")


def _text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _wrong_type(name)
    return value


def _time(payload: Mapping[str, Any], name: str) -> float | None:
    value = payload.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise _wrong_type(name)
    return float(value)


def _strings(value: Any, name: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong_type(name)
    return tuple(value)


def _string_map(value: Any, name: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise _wrong_type(name)
    return value


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _grant(kind: type[_Grant], value: Any, name: str) -> _Grant | None:
    """A grant's fields by their JSON names. A wrong type refuses the token: a guess could widen a right."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _wrong_type(name)
    known: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]
        json_name = _camel(item.name)
        given = value.get(json_name)
        if given is None:
            continue
        if item.type == "tuple[str, ...]":
            known[item.name] = _strings(given, f"{name}.{json_name}")
        elif isinstance(given, _JSON_TYPES[str(item.type)]):
            known[item.name] = given
        else:
            raise _wrong_type(f"{name}.{json_name}")
    return kind(**known)


def _grant_json(grant: Any) -> dict[str, Any]:
    """Only what differs from the default, so that tokens stay short."""
    if grant is None:
        return {}
    values = {item.name: (getattr(grant, item.name), item.default) for item in fields(grant)}
    return {
        _camel(name): list(value) if isinstance(value, tuple) else value
        for name, (value, default) in values.items()
        if value != default
    }


def _room_config(value: Any) -> RoomConfiguration | None:
    """Camel or snake case, as SDKs write both; fields this version does not know are left out."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _wrong_type("roomConfig")
    # Few tokens have one.
    from google.protobuf import json_format

    try:
        return json_format.ParseDict(
            value, RoomConfiguration(), ignore_unknown_fields=True, max_recursion_depth=32
        )
    except (json_format.ParseError, TypeError, AttributeError, ValueError, RecursionError):
        raise _wrong_type("roomConfig") from None
