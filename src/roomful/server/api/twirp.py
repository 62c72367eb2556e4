"""Twirp: `POST /twirp/<service>/<Method>`, protobuf or JSON, errors always JSON.

Services are found by their protobuf descriptors, so a method not built yet answers `unimplemented` and one
that does not exist `bad_route`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from starlette.responses import Response

from roomful.auth import Claims
from roomful.server import protojson
from roomful.server.errors import ControlError
from roomful.server.logs import get_logger

log = get_logger("roomful.api")

_STATUS: Mapping[str, int] = {
    "canceled": 408,
    "unknown": 500,
    "invalid_argument": 400,
    "malformed": 400,
    "deadline_exceeded": 408,
    "not_found": 404,
    "bad_route": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "unauthenticated": 401,
    "resource_exhausted": 429,
    "failed_precondition": 412,
    "aborted": 409,
    "out_of_range": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "dataloss": 500,
}
_JSON = "application/json"
_PROTOBUF = "application/protobuf"


class TwirpError(Exception):
    def __init__(self, code: str, text: str, meta: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.meta = dict(meta or {})

    def response(self) -> Response:
        body: dict[str, Any] = {"code": self.code, "msg": self.text}
        if self.meta:
            body["meta"] = self.meta
        return Response(json.dumps(body), _STATUS.get(self.code, 500), media_type=_JSON)


def permission_denied() -> TwirpError:
    """LiveKit answers every missing grant like a missing token."""
    return TwirpError("unauthenticated", "permissions denied")


class Service(Protocol):
    """Methods that are built are coroutines named after the protobuf's, in snake case."""

    descriptor: ServiceDescriptor

    def authorize(self, method: str, claims: Claims | None, request: Message) -> None:
        """Raises `permission_denied()`, or the answer that all methods of an absent service give."""


class Twirp:
    def __init__(self, services: list[Service]) -> None:
        self._services = {service.descriptor.full_name: service for service in services}

    async def call(
        self, path: str, *, http_method: str, headers: Mapping[str, str], claims: Claims | None, body: bytes
    ) -> Response:
        """`path` is what follows `/twirp/`. A service we never have is a plain 404."""
        service_name, _, method_name = path.partition("/")
        service = self._services.get(service_name)
        if service is None:
            return Response(status_code=404)
        try:
            return await self._call(service, method_name, http_method, headers, claims, body)
        except TwirpError as error:
            return error.response()
        except ControlError as error:
            return TwirpError(error.code, error.text).response()
        except Exception:
            log.exception("API method failed", method=path)
            return TwirpError("internal", "internal error").response()

    async def _call(
        self,
        service: Service,
        method_name: str,
        http_method: str,
        headers: Mapping[str, str],
        claims: Claims | None,
        body: bytes,
    ) -> Response:
        if http_method != "POST":
            raise TwirpError("bad_route", f'unsupported method "{http_method}" (only POST is allowed)')
        method = service.descriptor.methods_by_name.get(method_name)
        if method is None:
            raise TwirpError("bad_route", f'no handler for "{service.descriptor.full_name}/{method_name}"')
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in (_JSON, _PROTOBUF):
            raise TwirpError("bad_route", f'unexpected Content-Type: "{media_type}"')
        request = await _parse(method, media_type, body)
        service.authorize(method_name, claims, request)
        handler = getattr(service, _snake(method_name), None)
        if handler is None:
            raise TwirpError("unimplemented", f"{method_name} is not implemented yet")
        try:
            async with asyncio.timeout(_timeout(headers)):
                answer: Message = await handler(request)
        except TimeoutError:
            raise TwirpError("deadline_exceeded", "the time given by X-Twirp-Timeout-Ms is over") from None
        return await _answer(media_type, answer)


async def _parse(method: MethodDescriptor, media_type: str, body: bytes) -> Message:
    request: Message = message_factory.GetMessageClass(method.input_type)()
    try:
        if media_type == _PROTOBUF:
            request.ParseFromString(body)
        else:
            await protojson.parse(body or b"{}", request)
    except (DecodeError, ValueError):
        kind = "json" if media_type == _JSON else "protobuf"
        raise TwirpError("malformed", f"the {kind} request could not be decoded") from None
    return request


async def _answer(media_type: str, answer: Message) -> Response:
    if media_type == _PROTOBUF:
        return Response(answer.SerializeToString(), media_type=_PROTOBUF)
    text = await protojson.render(answer, as_in_proto=True)
    return Response(text, media_type=_JSON)


def _timeout(headers: Mapping[str, str]) -> float | None:
    text = headers.get("x-twirp-timeout-ms", "")
    return int(text) / 1000 if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
