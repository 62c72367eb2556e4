"""Keeps a room connected: joins, resumes what broke, joins anew where that fails, and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import random
from functools import partial
from typing import Protocol

from livekit.protocol import models, rtc

from roomful.rtc._enums import SimulateScenarioKind, known
from roomful.rtc._local import LocalServer
from roomful.rtc._presence import HASTE, MEDIA_TIMEOUT, Interrupted, Presence, Way
from roomful.rtc._session import Action, Channel, DisconnectReason, Ended, News
from roomful.rtc._signal import NoSinglePath, ServerGone, SignalError
from roomful.rtc.log import logger

#: Of a first join, beside the first attempt; and the seconds before each.
RETRIES = (0.1, 0.3, 1.0)
NO_MEDIA = f"no connection to the server's media within {MEDIA_TIMEOUT:g} s"
#: Of a reconnect.
ATTEMPTS = 10
#: Seconds before the second attempt, doubled before each further, up to the limit; up to half less by chance.
FIRST_DELAY, LONGEST_DELAY = 0.3, 7.0
#: Seconds after which a connection counts as sound. Of those that broke before, so many in a row are made
#: again at once, and each next one after a longer delay.
SOUND_AFTER, AT_ONCE = 10.0, 5
#: Seconds in which a server that cannot be reached is still asked to resume: it keeps a session no longer.
RESUME_WITHIN = 15.0

_SIMULATED = {
    SimulateScenarioKind.SIMULATE_SPEAKER: rtc.SimulateScenario(speaker_update=3),
    SimulateScenarioKind.SIMULATE_NODE_FAILURE: rtc.SimulateScenario(node_failure=True),
    SimulateScenarioKind.SIMULATE_SERVER_LEAVE: rtc.SimulateScenario(server_leave=True),
    SimulateScenarioKind.SIMULATE_MIGRATION: rtc.SimulateScenario(migration=True),
    SimulateScenarioKind.SIMULATE_FORCE_TCP: rtc.SimulateScenario(
        switch_candidate_protocol=rtc.CandidateProtocol.TCP
    ),
    SimulateScenarioKind.SIMULATE_FORCE_TLS: rtc.SimulateScenario(
        switch_candidate_protocol=rtc.CandidateProtocol.TLS
    ),
    SimulateScenarioKind.SIMULATE_DISCONNECT_SIGNAL_ON_RESUME: rtc.SimulateScenario(
        disconnect_signal_on_resume=True
    ),
}


class JoinError(Exception):
    """There is no way into the room; says what failed."""


class Left(Exception):
    """The connection has ended for good."""

    def __init__(self, reason: DisconnectReason) -> None:
        self.reason = known(DisconnectReason, reason, DisconnectReason.UNKNOWN_REASON)
        super().__init__(f"disconnected: {DisconnectReason.Name(self.reason)}")


class Resident(News, Protocol):
    """The room, as its connection sees it."""

    def sync_state(self) -> rtc.SyncState: ...
    def interrupted(self) -> None:
        """Media stopped, and comes back when the resume ends. May be told more than once."""
        ...

    def resumed(self) -> None: ...
    def restarting(self) -> None:
        """The session is lost, with all that was known by it."""
        ...

    def rejoined(self, join: rtc.JoinResponse) -> None: ...
    def disconnected(self, reason: DisconnectReason) -> None: ...


class Connection:
    def __init__(self, url: str | LocalServer, token: str, way: Way, room: Resident) -> None:
        self.url = url
        #: The latest, as servers renew it.
        self.token = token
        self._way = way
        self._single = way.single
        self._room = room
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._turns: dict[Channel, asyncio.Lock] = {"reliable": asyncio.Lock(), "lossy": asyncio.Lock()}
        self._leaving = DisconnectReason.CLIENT_INITIATED
        self._left: Left | None = None
        self.presence: Presence | None = None

    async def join(self) -> rtc.JoinResponse:
        """Raises JoinError. Cancelled, it leaves nothing and nobody."""
        for delay in (*RETRIES, None):
            try:
                return await self._enter()
            except SignalError as error:
                if error.is_final or delay is None:
                    raise JoinError(str(error)) from error
                logger.warning("cannot join, trying again: %s", error)
            except Interrupted as interrupted:
                if interrupted.ended.action == Action.DISCONNECT or delay is None:
                    raise JoinError(interrupted.ended.why) from interrupted
                logger.warning("cannot join, trying again: %s", interrupted)
            except TimeoutError:
                if delay is None:
                    raise JoinError(f"ICE: {NO_MEDIA}") from None
                logger.warning("cannot join, trying again: ICE: %s", NO_MEDIA)
            await asyncio.sleep(delay)
        raise AssertionError

    async def abandon(self) -> None:
        """Instead of `start`, after a join that nobody waits for any more."""
        if self.presence is not None:
            await self.presence.close(DisconnectReason.CLIENT_INITIATED, grace=HASTE)

    def start(self) -> None:
        """After the join: from now on the connection keeps itself."""
        self._settled.set()
        self._task = asyncio.get_running_loop().create_task(self._keep(), name="roomful connection")
        self._task.add_done_callback(lambda _: self.abort())

    async def flush(self) -> None:
        """Before leaving: what was sent is to arrive. Waits for no reconnect."""
        if self.presence is not None and self._settled.is_set() and self._left is None:
            await self.presence.flush()

    async def leave(self, reason: DisconnectReason) -> None:
        """Returns when nothing is left. Any number of times, also at once."""
        if self._task is None:
            return
        await asyncio.sleep(0)  # A task that is cancelled before its first step does nothing.
        if not self._task.done():
            self._leaving = reason
            self._task.cancel()
        await asyncio.wait([self._task])

    def abort(self) -> None:
        """The loop has ended while the connection was kept, or before."""
        if self._left is None and self.presence is not None:
            self._left = Left(self._leaving)
            self.presence.abort()
            with contextlib.suppress(RuntimeError):  # Who waits on a closed loop cannot be woken.
                self._settled.set()
            self._room.disconnected(self._leaving)

    def send(self, request: rtc.SignalRequest) -> None:
        """During a resume it waits for its end; during a full reconnect it is void."""
        if self.presence is not None:
            self.presence.session.send(request)

    async def send_packet(self, packet: models.DataPacket, *, reliable: bool, within: float) -> None:
        """In turn. Waits, `within` seconds, for a channel to send by, and for as long as it takes while that
        is full. Raises Left, TimeoutError.
        """
        channel: Channel = "reliable" if reliable else "lossy"
        async with self._turns[channel]:
            while True:
                presence = await self.opened(channel, within)
                try:
                    await presence.until(partial(presence.session.send_packet, packet, reliable=reliable))
                    return
                except Interrupted:
                    await asyncio.sleep(0)  # Until the connection itself has seen it.

    async def opened(self, channel: Channel, within: float) -> Presence:
        """With a channel of ours that can be sent by. Raises Left, TimeoutError."""
        while True:
            presence = await self.settled()
            presence.session.open_way()
            try:
                await presence.until(partial(presence.session.can_send, channel), within)
                return presence
            except Interrupted:
                await asyncio.sleep(0)

    def send_track_packet(self, packet: bytes) -> bool:
        session = self.presence.session if self.presence is not None else None
        return (
            session is not None and session.can_send("data_track") and session.peer.send("data_track", packet)
        )

    async def settled(self) -> Presence:
        """The presence, once nothing is being reconnected. Raises Left."""
        await self._settled.wait()
        if self._left is not None:
            raise self._left
        assert self.presence is not None
        return self.presence

    async def simulate(self, scenario: SimulateScenarioKind.ValueType) -> None:
        """Plays a fault. Raises Left."""
        kinds = SimulateScenarioKind
        presence = await self.settled()
        request = _SIMULATED.get(scenario)
        if request is not None:
            presence.session.send(rtc.SignalRequest(simulate=request))
        if scenario in (kinds.SIMULATE_SIGNAL_RECONNECT, kinds.SIMULATE_DISCONNECT_SIGNAL_ON_RESUME):
            await presence.break_signal()
        elif scenario in (kinds.SIMULATE_FULL_RECONNECT, kinds.SIMULATE_FORCE_TCP, kinds.SIMULATE_FORCE_TLS):
            why = "a full reconnect was asked for"
            presence.session.end(Ended(Action.RECONNECT, DisconnectReason.CLIENT_INITIATED, why))

    async def _enter(self) -> rtc.JoinResponse:
        try:
            return await self._enter_by(self._single)
        except NoSinglePath:
            self._single = False
            return await self._enter_by(False)

    async def _enter_by(self, single: bool) -> rtc.JoinResponse:
        server = None if isinstance(self.url, str) else self.url
        presence = Presence(self._room, self._way, single=single, server=server)
        join = await presence.join(self.url, self.token)
        self.presence = presence
        return join

    async def _keep(self) -> None:
        assert self.presence is not None
        reason = DisconnectReason.UNKNOWN_REASON
        goodbye: DisconnectReason | None = None
        loop = asyncio.get_running_loop()
        relapses = 0
        try:
            while True:
                presence, began = self.presence, loop.time()
                ended = await presence.until_ended()
                relapses = relapses + 1 if loop.time() - began < SOUND_AFTER else 0
                self._settled.clear()
                presence.on_change = self._watch_media
                await self._recover(ended, _delay(relapses - AT_ONCE) if relapses > AT_ONCE else 0.0)
                presence.on_change = lambda: None
                self._settled.set()
        except Left as left:
            reason = left.reason
        except asyncio.CancelledError:
            reason = goodbye = self._leaving
        except Exception:
            logger.exception("the connection failed")
        finally:
            if self._left is None:  # Else it was aborted, and the room may have another connection.
                self._left = Left(reason)
                try:
                    await self.presence.close(goodbye)
                finally:
                    self._settled.set()
                    self._room.disconnected(reason)

    async def _recover(self, ended: Ended, pause: float) -> None:
        """Returns when the room is connected again; begins after `pause` seconds. Raises Left."""
        if ended.action == Action.DISCONNECT:
            raise Left(ended.reason)
        logger.warning("reconnecting: %s", ended.why)
        self._watch_media()
        if pause:
            await asyncio.sleep(pause)
        loop = asyncio.get_running_loop()
        began = loop.time()
        fresh = ended.action == Action.RECONNECT
        told = asked = False
        for attempt in range(ATTEMPTS):
            if attempt and not asked:
                await asyncio.sleep(_delay(attempt))
            try:
                if not fresh:
                    await self._resume()
                    return
                if not told:
                    told = True
                    self._room.restarting()
                await self._restart()
                return
            except SignalError as error:
                why: Exception = error
                if error.leave is not None and error.leave.action == Action.DISCONNECT:
                    raise Left(error.leave.reason) from error
                if isinstance(error, ServerGone):
                    raise Left(DisconnectReason.SERVER_SHUTDOWN) from error
                if error.is_forbidden:
                    raise Left(DisconnectReason.JOIN_FAILURE) from error
                # Who was not reached may know the session still.
                asked = error.leave is not None and not fresh
                reached = error.leave is not None or error.status
                fresh = fresh or bool(reached) or loop.time() - began > RESUME_WITHIN
            except Interrupted as interrupted:
                why, asked = interrupted, False
                if interrupted.ended.action == Action.DISCONNECT:
                    raise Left(interrupted.ended.reason) from interrupted
                fresh = True
            except TimeoutError:
                asked = False
                why = TimeoutError(f"ICE: {NO_MEDIA}")
                fresh = True
            logger.warning("reconnecting failed (%d of %d): %s", attempt + 1, ATTEMPTS, why)
        raise Left(ended.reason)

    async def _resume(self) -> None:
        assert self.presence is not None
        await self.presence.resume(self.url, self.token, self._room.sync_state)
        self._room.resumed()

    def _watch_media(self) -> None:
        """A resume is told of only if it can be noticed."""
        if self.presence is not None and self.presence.session.is_broken:
            self._room.interrupted()

    async def _restart(self) -> None:
        assert self.presence is not None
        await self.presence.close(DisconnectReason.CLIENT_INITIATED, grace=HASTE)
        join = await self._enter()
        self._room.rejoined(join)


def _delay(attempt: int) -> float:
    """Seconds before an attempt, so that not all clients of a server come back at once."""
    doublings = min(attempt - 1, 10)
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0**doublings) * random.uniform(0.5, 1.0)
