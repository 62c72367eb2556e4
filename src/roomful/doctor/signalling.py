"""Joining a room just far enough to negotiate one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from roomful import strict_json

#: Seconds for the connection, and for each answer.
PATIENCE = 10.0
#: Seconds without another candidate after which there is none.
QUIET = 1.0
#: Of one server: whoever sends more wants something else.
MAX_CANDIDATES = 100
#: Characters of a refusal that people are shown.
MAX_REFUSAL = 300


class SignallingError(Exception):
    """The server cannot be reached or does not let us in; the text is for people."""


@dataclass
class Signalling:
    """A participant that says only what it must."""

    socket: ClientConnection
    joined: rtc.JoinResponse
    candidates: list[str] = field(default_factory=list)

    async def negotiate(self, offer: str) -> str:
        """The answer to an offer; the server's candidates are then all there."""
        description = rtc.SessionDescription(type="offer", sdp=offer, id=1)
        await self.socket.send(rtc.SignalRequest(offer=description).SerializeToString())
        answer = ""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    patience = QUIET if answer else PATIENCE
                    message = await asyncio.wait_for(_receive(self.socket), patience)
                    if message.HasField("answer"):
                        answer = message.answer.sdp
                    elif message.HasField("trickle") and message.trickle.target == rtc.SignalTarget.PUBLISHER:
                        if line := _candidate(message.trickle.candidateInit):
                            self.candidates.append(line)
                        if answer and (message.trickle.final or len(self.candidates) >= MAX_CANDIDATES):
                            break
                    elif message.HasField("leave"):
                        reason = _reason(message.leave.reason)
                        raise SignallingError(f"the server sent us away: {reason}")
        except TimeoutError:
            if not answer:
                raise SignallingError("the server did not answer an offer") from None
        self.candidates += [line[2:] for line in answer.splitlines() if line.startswith("a=candidate:")]
        del self.candidates[MAX_CANDIDATES:]
        return answer


@asynccontextmanager
async def join(url: str, token: str) -> AsyncIterator[Signalling]:
    """Joins the token's room, and leaves it at the end."""
    base = url.replace("http", "ws", 1) if url.startswith("http") else url
    address = f"{base.rstrip('/')}/rtc?protocol=16&auto_subscribe=0&sdk=python&version=1.0.0"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        socket = await connect(address, additional_headers=headers, open_timeout=PATIENCE, max_size=1 << 22)
    except InvalidStatus as error:
        body = (error.response.body or b"").decode(errors="replace").strip()[:MAX_REFUSAL]
        raise SignallingError(f"{url} refuses the join: HTTP {error.response.status_code} {body}") from None
    except (OSError, ValueError, TimeoutError, WebSocketException) as error:
        raise SignallingError(f"cannot reach {url}: {error or type(error).__name__}") from None
    try:
        try:
            try:
                message = await asyncio.wait_for(_receive(socket), PATIENCE)
            except TimeoutError:
                raise SignallingError(f"{url} takes the join and says nothing") from None
            if not message.HasField("join"):
                raise SignallingError(f"{url} does not speak LiveKit's protocol")
            yield Signalling(socket, message.join)
            leave = rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED)
            await socket.send(rtc.SignalRequest(leave=leave).SerializeToString())
        except WebSocketException as error:
            raise SignallingError(f"{url} closed the connection: {error}") from None
    finally:
        await socket.close()


async def _receive(socket: ClientConnection) -> rtc.SignalResponse:
    message = await socket.recv()
    if isinstance(message, str):
        raise SignallingError("the server speaks JSON to a client that did not ask for it")
    try:
        return rtc.SignalResponse.FromString(message)
    except DecodeError:
        raise SignallingError("the server does not speak LiveKit's protocol") from None


def _candidate(init: str) -> str:
    """The candidate line of an RTCIceCandidateInit; empty if there is none in it."""
    try:
        value = strict_json.loads(init or "{}")
    except ValueError:
        return ""
    line = value.get("candidate") if isinstance(value, dict) else None
    return line if isinstance(line, str) else ""


def _reason(number: int) -> str:
    """A newer server may have one that we do not know."""
    known = models.DisconnectReason
    return known.Name(number) if number in known.values() else str(number)
