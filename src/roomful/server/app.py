"""The ASGI application: every HTTP and WebSocket endpoint of a node.

It may be mounted under a prefix in another application. Tokens are checked in front of all paths.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from roomful.auth import Claims, TokenError, verify
from roomful.config import Config
from roomful.server.api.absent import EgressService, IngressService, SipService
from roomful.server.api.agents import AgentDispatchService, Dispatches
from roomful.server.api.rooms import Rooms, RoomService
from roomful.server.api.twirp import Twirp
from roomful.server.join import JoinParams, Refusal, parse_join
from roomful.server.logs import get_logger, hide_tokens
from roomful.server.page import Page, dev_token
from roomful.server.signalling import Session, SignalConnection

log = get_logger("roomful.http")

#: Of a request; SDKs send about fifteen.
MAX_QUERY_FIELDS = 100
#: Seconds that a request's body may take.
BODY_TIMEOUT = 30.0

_ANY_ORIGIN = {"access-control-allow-origin": "*"}


class Control(Rooms, Dispatches, Protocol):
    """The control plane as its HTTP front sees it."""

    def check_join(self, params: JoinParams) -> None: ...
    def join(self, params: JoinParams) -> Session: ...


class Runtime(Protocol):
    """Starts the control plane at the first request, and knows whom to say goodbye to."""

    @property
    def connections(self) -> set[SignalConnection]: ...
    async def start(self) -> Control: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Call:
    """One request: what every endpoint needs of it."""

    path: str
    scope: Scope
    query: Mapping[str, str]
    headers: Headers
    claims: Claims | None


class App:
    def __init__(self, config: Config, runtime: Runtime) -> None:
        hide_tokens()
        self._config = config
        self._runtime = runtime
        self._page = Page.find() if config.development else None
        self._twirp: Twirp | None = None
        self._http_app = CORSMiddleware(
            self._http,
            allow_origin_regex=".*",  # The answer names the origin, as LiveKit's does.
            allow_private_network=True,  # Browsers ask before a public page may reach a server at home.
            allow_methods=["OPTIONS", "HEAD", "GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=["*"],
            max_age=86400,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._http_app(scope, receive, send)
            case "websocket":
                await self._websocket(scope, receive, send)
            case "lifespan":
                await self._lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            call = self._authenticate(scope)
            response = await self._respond(call, receive)
        except Refusal as refusal:
            response = self._refused(scope, refusal)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, call: _Call, receive: Receive) -> Response:
        match call.path:
            case "/" | "":
                return self._root(call)
            case "/rtc/validate" | "/rtc/v1/validate":
                return await self._validate(call)
        if call.path.startswith("/twirp/"):
            return await self._api(call, receive)
        if self._config.development and call.path == "/dev/token":
            return dev_token(call.scope, call.headers, call.query, self._config.keys)
        if self._page is not None:
            return self._page.respond(call.path)
        return Response(status_code=404)

    def _root(self, call: _Call) -> Response:
        """Health, for whoever does not ask for a page."""
        if self._page is not None and "text/html" in call.headers.get("accept", ""):
            return self._page.index()
        return PlainTextResponse("OK")

    async def _validate(self, call: _Call) -> Response:
        """A join's own answer without joining."""
        try:
            params = self._parse_join(call, "/rtc/v1/validate", strict=True)
            (await self._runtime.start()).check_join(params)
        except Refusal as refusal:
            return PlainTextResponse(refusal.text, refusal.status, _ANY_ORIGIN)
        return PlainTextResponse("success", headers=_ANY_ORIGIN)

    async def _api(self, call: _Call, receive: Receive) -> Response:
        if self._twirp is None:
            control = await self._runtime.start()
            self._twirp = Twirp(
                [
                    RoomService(control),
                    AgentDispatchService(control),
                    EgressService(),
                    IngressService(),
                    SipService(control),
                ]
            )
        # Nobody without a right to any of it makes us read: the answer is the same.
        body = await self._body(Request(call.scope, receive)) if _may_administer(call.claims) else b""
        return await self._twirp.call(
            call.path.removeprefix("/twirp/"),
            http_method=call.scope["method"],
            headers=call.headers,
            claims=call.claims,
            body=body,
        )

    async def _body(self, request: Request) -> bytes:
        limit = self._config.limit.max_api_request_body_size
        too_large = Refusal(413, f"request body is over limit.max_api_request_body_size {limit}")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise too_large
        except TimeoutError:
            raise Refusal(408, f"the request's body did not come within {BODY_TIMEOUT:.0f} s") from None
        return bytes(body)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            session = await self._join(self._authenticate(scope))
        except Refusal as refusal:
            await _deny(refusal, scope, receive, send)
            return
        connection = SignalConnection(
            session, scope, receive, send, max_frame=self._config.limit.signal_message_size_limit
        )
        self._runtime.connections.add(connection)
        try:
            await connection.run()
        finally:
            self._runtime.connections.discard(connection)

    async def _join(self, call: _Call) -> Session:
        if call.path not in ("/rtc", "/rtc/v1"):
            raise Refusal(404, "")
        params = self._parse_join(call, "/rtc/v1", strict=False)
        return (await self._runtime.start()).join(params)

    def _parse_join(self, call: _Call, needs_join_request: str, *, strict: bool) -> JoinParams:
        client = call.scope.get("client")
        return parse_join(
            call.claims,
            call.query,
            user_agent=call.headers.get("user-agent", ""),
            address=client[0] if client else "",
            signal_address=_reached_address(call, by_name=self._config.development),
            in_process="roomful.local" in call.scope.get("extensions", {}),
            needs_join_request=call.path == needs_join_request,
            strict=strict,
        )

    def _authenticate(self, scope: Scope) -> _Call:
        """Raises `Refusal` for a head that is too large or a token that is not good."""
        _check_head(scope, self._config.limit.max_request_head_size)
        headers = Headers(scope=scope)
        query: dict[str, str] = {}
        text = scope["query_string"].decode("latin-1")
        if text.count("&") >= MAX_QUERY_FIELDS:
            raise Refusal(400, f"more than {MAX_QUERY_FIELDS} query parameters")
        for name, value in parse_qsl(text, keep_blank_values=True):
            query.setdefault(name, value)
        token = query.get("access_token", "")
        authorization = headers.get("authorization")
        if authorization:
            if not authorization.startswith("Bearer "):
                raise Refusal(401, "invalid authorization header. Must start with Bearer ")
            token = authorization.removeprefix("Bearer ")
        claims = None
        if token:
            try:
                claims = verify(token, self._config.keys)
            except TokenError as error:
                raise Refusal(401, str(error)) from None
        return _Call(_path(scope), scope, query, headers, claims)

    def _refused(self, scope: Scope, refusal: Refusal) -> Response:
        headers = _ANY_ORIGIN if _path(scope).endswith("/validate") else None
        return PlainTextResponse(refusal.text, refusal.status, headers)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Only when the application itself is what the server runs; a mounted one gets no such events."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._runtime.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._runtime.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _path(scope: Scope) -> str:
    """The path below the prefix we are mounted under, a doubled slash in front reduced."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root):
        path = path[len(root) :]
    return path[1:] if path.startswith("//") else path


def _may_administer(claims: Claims | None) -> bool:
    """Whether there is anything in the API that these claims may allow."""
    if claims is None:
        return False
    video, sip = claims.video, claims.sip
    rights = (
        (video.room_create, video.room_list, video.room_admin, video.room_record, video.ingress_admin)
        if video
        else ()
    )
    return any(rights) or (sip is not None and (sip.admin or sip.call))


def _reached_address(call: _Call, *, by_name: bool) -> str | None:
    """Our address as the client knows it: the socket's or, as ports may be mapped, the Host header's."""
    server = call.scope.get("server")
    reached = str(server[0]) if server else None
    if not by_name:
        return reached
    try:
        named = ip_address(urlsplit(f"//{call.headers.get('host', '')}").hostname or "")
    except ValueError:
        return reached
    scoped = isinstance(named, IPv6Address) and named.scope_id
    return reached if scoped or named.is_unspecified or named.is_multicast else str(named)


def _check_head(scope: Scope, limit: int) -> None:
    if len(scope["query_string"]) + len(scope["path"]) > limit:
        raise Refusal(414, f"request line is over limit.max_request_head_size {limit}")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > limit:
        raise Refusal(431, f"request headers are over limit.max_request_head_size {limit}")


async def _deny(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses before the upgrade, as a plain HTTP answer where the server can."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await PlainTextResponse(refusal.text, refusal.status, _ANY_ORIGIN)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.text[:120]})
