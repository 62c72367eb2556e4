"""A session with what carries it: a signalling link and a peer, on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from typing import Any

from livekit.protocol import models, rtc

from roomful.rtc._heartbeat import Heartbeat
from roomful.rtc._local import LocalServer
from roomful.rtc._proto import stats_pb2 as stats
from roomful.rtc._session import Ended, News, Session, goodbye
from roomful.rtc._signal import CLOSE_TIMEOUT, Join, Link, SignalError
from roomful.rtc.log import logger

#: Seconds.
MEDIA_TIMEOUT = 15.0
OFFER_TIMEOUT = 5.0
#: Between the end of media and the goodbye that explains it.
GOODBYE_WITHIN = 1.0
#: For what was sent before a goodbye, to arrive before it.
FLUSH_WITHIN = 1.0
#: For the goodbye of somebody who was cancelled while joining.
HASTE = 0.05


class Interrupted(Exception):
    """The session ended while something was awaited of it."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.why)
        self.ended = ended


@dataclass(frozen=True)
class Way:
    """How to connect."""

    auto_subscribe: bool = True
    single: bool = True
    #: Seconds for each attempt at signalling.
    signal_timeout: float = 5.0
    #: With urls, username and password; instead of those that the server names.
    ice_servers: Sequence[Any] = ()
    relay_only: bool = False
    version: str = ""


class Presence:
    """Closes itself when joining fails or is cancelled. Everything runs on the loop that made it."""

    def __init__(self, news: News, way: Way, *, single: bool, server: LocalServer | None = None) -> None:
        """`server` is in this process, and reached without a network."""
        core: Any = import_module("roomful._core")  # Where the machine's code begins: not at import.
        self._loop = asyncio.get_running_loop()
        self._way = way
        self._link: Link | None = None
        self._heartbeat: Heartbeat | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._doubt: asyncio.TimerHandle | None = None
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}
        self._track_ids = count(1)
        self._closed = False
        #: Called at every change, before whoever waits for one.
        self.on_change: Callable[[], None] = lambda: None
        carrier = {} if server is None else {"exchange": server.exchange}
        self.peer = core.Peer(single=single, wake=_waker(self), **carrier)
        self.session = Session(
            self.peer,
            core.PeerEvent,
            news,
            single=single,
            wall_ms=lambda: time.time_ns() // 1_000_000,
            ice_servers=way.ice_servers,
            relay_only=way.relay_only,
        )
        self.session.on_change = self._changed

    def next_track_id(self) -> int:
        return next(self._track_ids)

    async def join(self, url: str | LocalServer, token: str) -> rtc.JoinResponse:
        """Returns when media can flow. Raises SignalError, Interrupted, TimeoutError (media)."""
        try:
            session = self.session
            session.prepare()
            if session.single:
                await self._first_offer()
            link, first = await Link.open(
                url, token, self._request(offer=session.first_offer), within=self._way.signal_timeout
            )
            self._link = link
            if first.HasField("leave"):
                raise _left(first.leave)
            if not first.HasField("join") or not first.join.HasField("participant"):
                raise SignalError("server", "it does not begin with a join")
            session.joined(first.join, link.send)
            self._attend(link, first.join)
            await self.until(lambda: session.is_connected, MEDIA_TIMEOUT)
            return first.join
        except BaseException:
            await self.close(models.DisconnectReason.CLIENT_INITIATED, grace=HASTE)
            raise

    async def resume(
        self, url: str | LocalServer, token: str, sync_state: Callable[[], rtc.SyncState]
    ) -> None:
        """Connects to the same session again. Raises SignalError, Interrupted, TimeoutError (media)."""
        session = self.session
        session.hold_requests()
        await self._hang_up()
        link, first = await Link.open(
            url, token, self._request(sid=session.sid), within=self._way.signal_timeout
        )
        self._link = link
        if first.HasField("leave"):
            raise _left(first.leave)
        reconnect = first.reconnect if first.HasField("reconnect") else rtc.ReconnectResponse()
        session.resumed(reconnect, sync_state(), link.send)
        if not first.HasField("reconnect"):
            session.receive(first)  # An older server goes on at once.
        self._attend(link, session.join)
        await self.until(lambda: session.is_recovered, MEDIA_TIMEOUT)
        session.release_requests()

    async def until(self, holds: Callable[[], bool], within: float | None = None) -> None:
        """Returns when it holds. Raises Interrupted if the session ends first; TimeoutError after `within`
        seconds."""
        if self.session.ended is not None:
            raise Interrupted(self.session.ended)
        if holds():
            return
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting[waiting] = holds
        try:
            async with asyncio.timeout(within):
                await waiting
        finally:
            del self._waiting[waiting]

    async def until_ended(self) -> Ended:
        try:
            await self.until(lambda: False)
        except Interrupted as interrupted:
            return interrupted.ended
        raise AssertionError

    async def flush(self) -> None:
        """Returns when the server has what was sent, or does not say so in time."""
        if not self.session.is_connected:
            return
        flush = self.session.flush()
        with contextlib.suppress(Interrupted, TimeoutError):
            await self.until(lambda: self.session.flushed >= flush, FLUSH_WITHIN)

    async def break_signal(self) -> None:
        """As if the network did, once what waits is sent."""
        if self._link is not None:
            await self._link.break_off()

    def statistics(self) -> tuple[list[stats.RtcStats], list[stats.RtcStats]]:
        """Of the publisher's and the subscriber's connection."""
        from roomful.rtc._stats import reports

        publisher, subscriber = self.peer.statistics()
        return reports(publisher), reports(subscriber)

    async def close(self, reason: models.DisconnectReason | None, *, grace: float = CLOSE_TIMEOUT) -> None:
        """Any number of times. Says goodbye if there is a reason, and leaves nothing."""
        self._closed = True
        if reason is not None and self.session.sid:
            self.session.leave(reason)
        self.session.on_change = lambda: None
        try:
            await self._hang_up(grace)
        finally:
            self.peer.close()
            ended = self.session.ended or Ended(
                rtc.LeaveRequest.Action.DISCONNECT, models.DisconnectReason.CLIENT_INITIATED, "disconnected"
            )
            for waiting in self._waiting:
                if not waiting.done():
                    waiting.set_exception(Interrupted(ended))

    def abort(self) -> None:
        """As `close`, without a word; the loop may be closed."""
        self._closed = True
        self.session.on_change = lambda: None
        self._stop_heartbeat()
        if self._link is not None:
            with contextlib.suppress(RuntimeError):
                self._link.abort()
        self.peer.close()

    def take_events(self) -> None:
        if self._closed:
            return
        for event in self.peer.take_events():
            try:
                self.session.peer_event(event)
            except Exception:
                logger.exception("an event of the peer failed: %s", type(event).__name__)

    async def _first_offer(self) -> None:
        try:
            await self.until(lambda: self.session.first_offer is not None, OFFER_TIMEOUT)
        except TimeoutError:
            raise SignalError("client", f"it could make no offer within {OFFER_TIMEOUT:g} s") from None

    def _request(self, *, sid: str = "", offer: rtc.SessionDescription | None = None) -> Join:
        return Join(
            single=self.session.single,
            auto_subscribe=self._way.auto_subscribe,
            sid=sid,
            offer=offer,
            version=self._way.version,
        )

    def _attend(self, link: Link, join: rtc.JoinResponse) -> None:
        """From here on the link is listened to, and pings keep it."""
        self._heartbeat = Heartbeat(join.ping_interval, join.ping_timeout, self._loop.time())
        link.start(self._received, self._lost)
        self._keep_alive()

    def _received(self, response: rtc.SignalResponse) -> None:
        if self._heartbeat is not None:
            self._heartbeat.heard(self._loop.time())
        self.session.receive(response)

    def _lost(self, why: str) -> None:
        self._stop_heartbeat()
        self.session.signal_lost(why)

    def _keep_alive(self) -> None:
        now = self._loop.time()
        if self._heartbeat is None:
            return
        if self._heartbeat.is_dead(now):
            if self._link is not None:
                self._link.abort()
            self._lost("the server was silent for too long")
            return
        if self._heartbeat.ping_due(now):
            self.session.ping()
        self._beat = self._loop.call_at(self._heartbeat.next, self._keep_alive)

    def _confirm(self) -> None:
        self._doubt = None
        self.session.confirm()

    def _stop_heartbeat(self) -> None:
        self._heartbeat = None
        for timer in (self._beat, self._doubt):
            if timer is not None:
                timer.cancel()
        self._doubt = None

    async def _hang_up(self, grace: float = 0.0) -> None:
        self._stop_heartbeat()
        link, self._link = self._link, None
        if link is not None:
            await link.close(grace)

    def _changed(self) -> None:
        self.on_change()
        if self.session.suspicion is not None and self._doubt is None:
            self._doubt = self._loop.call_later(GOODBYE_WITHIN, self._confirm)
        ended = self.session.ended
        for waiting, holds in self._waiting.items():
            if waiting.done():
                continue
            if ended is not None:
                waiting.set_exception(Interrupted(ended))
            elif holds():
                waiting.set_result(None)


def _left(leave: rtc.LeaveRequest) -> SignalError:
    ended = goodbye(leave)
    name = models.DisconnectReason.Name(ended.reason)
    leave = rtc.LeaveRequest(action=ended.action, reason=ended.reason)
    return SignalError("server", f"it said goodbye at once: {name}", leave=leave)


def _waker(presence: Presence) -> Callable[[], None]:
    """Called by a thread of the peer; holds neither the presence nor a loop that has closed."""
    loop, known = asyncio.get_running_loop(), weakref.ref(presence)

    def take() -> None:
        if (presence := known()) is not None:
            presence.take_events()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed, and so is all that ran on it.
            loop.call_soon_threadsafe(take)

    return wake
