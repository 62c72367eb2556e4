"""Requests that the server answers, each by an answer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from itertools import count
from typing import Any

from livekit.protocol import models, rtc

from roomful.rtc._connection import Connection

#: Seconds in which a server answers.
TRACK_TIMEOUT = 10.0
UPDATE_TIMEOUT = 5.0

Reason = rtc.RequestResponse.Reason


class Unanswered(Exception):
    """The server said nothing."""


class Replaced(Exception):
    """The session in which it was asked is over, and the answer will not come."""


class Denied(Exception):
    """The server's answer is no; says why."""

    def __init__(self, why: str, reason: int) -> None:
        super().__init__(why)
        self.reason = reason


class Requests:
    def __init__(self) -> None:
        self.connection: Connection | None = None
        self._ids = count(1)
        self._waiting: dict[Hashable, asyncio.Future[Any]] = {}

    async def add_track(self, connection: Connection, request: rtc.AddTrackRequest) -> models.TrackInfo:
        """Raises Denied, Unanswered, Replaced."""
        info = await self._ask(
            connection, ("track", request.cid), rtc.SignalRequest(add_track=request), TRACK_TIMEOUT
        )
        assert isinstance(info, models.TrackInfo)
        return info

    async def update(self, request: rtc.UpdateParticipantMetadata) -> str:
        """Of oneself. Returns why it was refused, or nothing. Raises Left, Unanswered."""
        if self.connection is None:
            raise Unanswered("the room is not connected")
        await self.connection.settled()
        request.request_id = next(self._ids)
        try:
            await self._ask(
                self.connection,
                request.request_id,
                rtc.SignalRequest(update_metadata=request),
                UPDATE_TIMEOUT,
            )
        except (Denied, Replaced) as error:
            return str(error)
        return ""

    def track_published(self, response: rtc.TrackPublishedResponse) -> None:
        self._answer(("track", response.cid), response.track)

    def answered(self, response: rtc.RequestResponse) -> None:
        """`request_response`: what it is about is named by its id or, where it has none, repeated in it."""
        if response.reason == Reason.QUEUED:
            return
        key: Hashable = response.request_id
        if response.WhichOneof("request") == "add_track":
            key = ("track", response.add_track.cid)
        if response.reason == Reason.OK:
            if isinstance(key, int):  # A track is not published before its answer says as what.
                self._answer(key, None)
        else:
            known = response.reason in Reason.values()
            name = Reason.Name(response.reason) if known else str(response.reason)
            self._answer(
                key, Denied(f"{name}: {response.message}" if response.message else name, response.reason)
            )

    def session_ended(self) -> None:
        """Nothing more is answered of what was asked so far."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Replaced("the session was replaced by another"))

    async def _ask(
        self, connection: Connection, key: Hashable, request: rtc.SignalRequest, within: float
    ) -> object:
        waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        connection.send(request)
        try:
            async with asyncio.timeout(within):
                return await waiting
        except TimeoutError:
            raise Unanswered("no response received from the server") from None
        finally:
            del self._waiting[key]

    def _answer(self, key: Hashable, answer: object) -> None:
        waiting = self._waiting.get(key)
        if waiting is None or waiting.done():
            return
        if isinstance(answer, Exception):
            waiting.set_exception(answer)
        else:
            waiting.set_result(answer)
