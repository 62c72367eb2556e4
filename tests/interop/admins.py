"""LiveKit's own clients of the server API, by one way to call them: a method's name and its request.

Each is the SDK of another language, PyPI's `livekit-api` in this process and the others in programs of their
own. What an SDK has no method for goes by plain HTTP.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from google.protobuf import json_format, message_factory
from livekit import api
from livekit.protocol import agent_dispatch
from livekit.protocol import room as room_protocol
from peers import run_program
from servers import Server

from roomful.auth import AccessToken

HERE = Path(__file__).resolve().parent
_REQUESTS = {
    method.name: message_factory.GetMessageClass(method.input_type)
    for method in room_protocol.DESCRIPTOR.services_by_name["RoomService"].methods
}


class Refused(Exception):
    """The server's answer was an error."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


Calling = Callable[[str, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]


class Admin:
    def __init__(self, server: Server, calling: Calling, absent: frozenset[str] = frozenset()) -> None:
        self._server = server
        self._calling = calling
        self._absent = absent

    async def call(self, method: str, /, **request: Any) -> dict[str, Any]:
        """The answer as protojson. Raises `Refused`."""
        if method in self._absent:
            return await self._plainly(method, request)
        return await self._calling(method, request)

    async def refusal(self, method: str, /, **request: Any) -> str:
        """The code of the error that the request must get."""
        try:
            answer = await self.call(method, **request)
        except Refused as refused:
            return refused.code
        raise AssertionError(f"{method} was not refused: {answer}")

    async def _plainly(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        key, secret = next(iter(self._server.keys.items()))
        token = AccessToken(key, secret).with_grants(room_admin=True, room=request["room"]).to_jwt()
        url = "http" + self._server.url.removeprefix("ws")
        async with httpx.AsyncClient(
            base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=20
        ) as client:
            response = await client.post(f"/twirp/livekit.RoomService/{method}", json=request)
        content: dict[str, Any] = response.json()
        if response.status_code != 200:
            raise Refused(content["code"], content["msg"])
        return content


@asynccontextmanager
async def python(server: Server) -> AsyncIterator[Admin]:
    key, secret = next(iter(server.keys.items()))
    async with api.LiveKitAPI("http" + server.url.removeprefix("ws"), key, secret) as client:

        async def perform(method: str, request: dict[str, Any]) -> Any:
            agents, room = client.agent_dispatch, request.get("room", "")
            if method == "CreateDispatch":
                return await agents.create_dispatch(
                    json_format.ParseDict(request, api.CreateAgentDispatchRequest())
                )
            if method == "DeleteDispatch":
                return await agents.delete_dispatch(request["dispatchId"], room)
            if method == "ListDispatch":
                return agent_dispatch.ListAgentDispatchResponse(
                    agent_dispatches=await agents.list_dispatch(room)
                )
            call = getattr(client.room, re.sub("(?<!^)([A-Z])", r"_\1", method).lower())
            return await call(json_format.ParseDict(request, _REQUESTS[method]()))

        async def calling(method: str, request: dict[str, Any]) -> dict[str, Any]:
            try:
                answer = await perform(method, request)
            except api.TwirpError as error:
                raise Refused(error.code, error.message) from None
            return json_format.MessageToDict(answer) if answer is not None else {}

        yield Admin(server, calling, frozenset({"PerformRpc"}))


@asynccontextmanager
async def _program(server: Server, name: str, *command: str, absent: frozenset[str]) -> AsyncIterator[Admin]:
    key, secret = next(iter(server.keys.items()))
    url = "http" + server.url.removeprefix("ws")
    async with run_program(name, *command, url, key, secret) as peer:

        async def calling(method: str, request: dict[str, Any]) -> dict[str, Any]:
            answer: dict[str, Any] = await peer.call(method, request)
            if "code" in answer:
                raise Refused(answer["code"], answer["text"])
            content: dict[str, Any] = answer["answer"]
            return content

        yield Admin(server, calling, absent)


def node(server: Server) -> AbstractAsyncContextManager[Admin]:
    program = str(HERE / "node" / "admin.mjs")
    command = shutil.which("node") or str(Path(sys.executable).with_name("node"))
    return _program(server, "node", command, program, absent=frozenset({"PerformRpc"}))


def go(server: Server) -> AbstractAsyncContextManager[Admin]:
    program = str(HERE.parent.parent / ".cache" / "go-peer")
    return _program(server, "go", program, "admin", absent=frozenset({"PerformRpc"}))
