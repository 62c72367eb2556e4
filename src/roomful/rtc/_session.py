"""One session of a client at a server: what is said in it, without sockets, threads or a clock.

A session begins with the server's join and lasts until somebody leaves, over any number of resumes; a full
reconnect makes another. Signal responses, the peer's events and requests go in; requests to the server,
commands to the peer and news for the room come out.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from livekit.protocol import models, rtc

from roomful.rtc._enums import known
from roomful.rtc._reliable import Received, Sent
from roomful.rtc.log import logger

Target: TypeAlias = Literal["publisher", "subscriber"]
Channel: TypeAlias = Literal["reliable", "lossy", "data_track"]
Action: TypeAlias = rtc.LeaveRequest.Action
DisconnectReason: TypeAlias = models.DisconnectReason

#: Sections to receive in that the first offer of a single connection has, of each kind.
FIRST_RECEIVERS = 3
#: Of sections whose tracks the server has named, the newest are remembered.
MAX_SECTIONS = 10_000
MAX_RTT_MS = 60_000
#: Bytes of news, and beside each, that wait for a room that is not ready yet.
MAX_HELD, HELD_OVERHEAD = 64 * 1024 * 1024, 1000
#: Requests that make up signalling itself, and must not wait until it is resumed.
PASSING = frozenset({"sync_state", "trickle", "offer", "answer", "simulate", "leave"})


class Peer(Protocol):
    """`roomful._core.Peer`, as far as a session commands it."""

    def set_ice_servers(
        self, servers: Sequence[tuple[list[str], str, str]], relay_only: bool = False
    ) -> None: ...
    def add_receivers(self, audio: int, video: int) -> None: ...
    def negotiate(self) -> None: ...
    def remote_description(self, target: Target, kind: str, sdp: str, id: int) -> None: ...
    def remote_candidate(self, target: Target, candidate: str) -> None: ...
    def restart_ice(self, target: Target) -> None: ...
    def open_channels(self) -> None: ...
    def send(self, channel: Channel, message: bytes) -> bool: ...
    def buffered(self, channel: Channel) -> int: ...
    def flush(self) -> None: ...


class Arrived(NamedTuple):
    """Media that the server begins to send."""

    target: Target
    mid: str
    #: Of the participant and the track; empty where the server does not say.
    participant: str
    sid: str


class Ended(NamedTuple):
    """A session cannot go on as it is."""

    action: Action
    reason: DisconnectReason
    why: str


def goodbye(leave: rtc.LeaveRequest) -> Ended:
    """What the server says by it, in words that this client knows."""
    action = known(Action, leave.action, Action.DISCONNECT)
    if action == Action.DISCONNECT and leave.can_reconnect:
        action = Action.RECONNECT  # As servers before protocol 13 say it.
    reason = known(DisconnectReason, leave.reason, DisconnectReason.UNKNOWN_REASON)
    name = DisconnectReason.Name(reason) if reason == leave.reason else str(leave.reason)
    return Ended(action, reason, f"server: it said goodbye: {name}")


class News(Protocol):
    """Who is told what happens in the session, in order."""

    def signalled(self, response: rtc.SignalResponse) -> None: ...
    def arrived(self, media: Arrived) -> None: ...
    def departed(self, target: Target, mid: str) -> None: ...
    def packet(self, packet: models.DataPacket, reliable: bool) -> None: ...
    def track_packet(self, packet: bytes) -> None: ...
    def peer_event(self, event: Any) -> None:
        """One that is about a published track."""
        ...


@dataclass
class Connection:
    """One of the peer connections."""

    state: str = "new"
    #: Which track the server sends in a section.
    tracks: Mapping[str, str] | None = None
    local: rtc.SessionDescription | None = None
    remote: rtc.SessionDescription | None = None


class Session:
    def __init__(
        self,
        peer: Peer,
        events: Any,
        news: News,
        *,
        single: bool,
        wall_ms: Callable[[], int],
        ice_servers: Iterable[Any] = (),
        relay_only: bool = False,
    ) -> None:
        """`events` has the classes of the peer's events, `wall_ms` tells the time of day; `ice_servers`, if
        any, are used instead of the server's."""
        self.peer = peer
        self.single = single
        self._news = news
        self._own_ice_servers = [(list(one.urls), one.username, one.password) for one in ice_servers]
        self._relay_only = relay_only
        self.join = rtc.JoinResponse()
        #: Set when the session has ended, or has to be resumed or begun anew.
        self.ended: Ended | None = None
        #: What will have ended the session if the server does not say: media may close before its goodbye.
        self.suspicion: Ended | None = None
        #: Called when `ended` is set or something that may be waited for has changed.
        self.on_change: Callable[[], None] = lambda: None
        self.first_offer: rtc.SessionDescription | None = None
        #: How many of our offers were answered.
        self.answers = 0
        #: How often the server has had all that was sent, and how often it was asked for.
        self.flushed = self._flushes = 0
        #: Open for writing.
        self.channels: set[str] = set()
        #: Of signalling, by the latest ping.
        self.rtt_ms = 0
        self._wall_ms = wall_ms

        self.connections: dict[str, Connection] = {"publisher": Connection()}
        if not single:
            self.connections["subscriber"] = Connection()
        self._publishing = single
        self._transmit: Callable[[rtc.SignalRequest], None] | None = None
        #: Requests that wait for the join or for the end of a resume; None while nothing has to.
        self._queue: deque[rtc.SignalRequest] | None = deque()
        #: News that waits until the room is ready for it.
        self._held: deque[Callable[[], None]] | None = deque()
        self._held_bytes = 0
        #: Connections that have yet to agree on a new path with the server.
        self._restarting: set[str] = set()
        self._sent = Sent()
        self._received = Received()
        self._of_signal: dict[str, Callable[[Any], None]] = {
            "offer": self._offer,
            "answer": self._answer,
            "trickle": self._trickle,
            "leave": self._leave,
            "media_sections_requirement": self._sections_wanted,
            "pong": lambda _: None,
            "pong_resp": self._pong,
        }
        self._of_peer: dict[type, Callable[[Any], None]] = {
            events.Description: self._description,
            events.Candidate: self._candidate,
            events.Connection: self._connection,
            events.ChannelOpen: self._channel_open,
            events.Data: self._data,
            events.BufferLow: lambda _: self.on_change(),
            events.Flushed: self._have_flushed,
            events.Track: self._track,
            events.TrackEnded: self._track_ended,
            events.Rejected: self._rejected,
            events.Fault: self._fault,
        }

    # ---- beginning, resuming, ending

    def prepare(self) -> None:
        """Before the join: with a single connection the first offer goes along with it."""
        if self._relay_only:
            self.peer.set_ice_servers(self._own_ice_servers, relay_only=True)
        self.peer.open_channels()
        if self.single:
            self.peer.add_receivers(FIRST_RECEIVERS, FIRST_RECEIVERS)
            self.negotiate()

    def joined(self, join: rtc.JoinResponse, transmit: Callable[[rtc.SignalRequest], None]) -> None:
        self.join = join
        self._use_ice_servers(join.ice_servers, join.client_configuration)
        self._transmit = transmit
        self.release_requests()
        if not self.single and (join.fast_publish or not join.subscriber_primary):
            self.negotiate()

    def release(self) -> None:
        """The room is ready: it is told what came so far, and all that comes."""
        while self._held:
            self._held.popleft()()
        self._held = None

    def signal_lost(self, why: str) -> None:
        self.hold_requests()
        self.end(Ended(Action.RESUME, DisconnectReason.UNKNOWN_REASON, why))

    def confirm(self) -> None:
        """The server has had the time to say goodbye."""
        suspicion, self.suspicion = self.suspicion, None
        if suspicion is not None and self.ended is None:
            self.end(suspicion)

    def hold_requests(self) -> None:
        """Until the end of a resume, of which they are no part."""
        self._transmit = None
        if self._queue is None:
            self._queue = deque()

    def resumed(
        self,
        reconnect: rtc.ReconnectResponse,
        state: rtc.SyncState,
        transmit: Callable[[rtc.SignalRequest], None],
    ) -> None:
        """The server knows the session still. Its connections find new paths, where the old ones broke."""
        self.ended = self.suspicion = None
        self._transmit = transmit
        self._use_ice_servers(reconnect.ice_servers, reconnect.client_configuration)
        self._complete(state)
        self.send(rtc.SignalRequest(sync_state=state))
        self._restarting.clear()
        if self._publishing:
            self._restarting.add("publisher")
            self.peer.restart_ice("publisher")
        if not self.single and self.join.subscriber_primary:
            self._restarting.add("subscriber")  # By an offer of the server.
        for message in self._sent.after(reconnect.last_message_seq):
            # What does not fit now was not let in by `send_packet` either, so there is always room.
            self.peer.send("reliable", message)

    def release_requests(self) -> None:
        """The resume is over."""
        waiting, self._queue = self._queue, None
        for request in waiting or ():
            self.send(request)

    def leave(self, reason: DisconnectReason) -> None:
        leave = rtc.LeaveRequest(reason=reason, action=Action.DISCONNECT)
        self.send(rtc.SignalRequest(leave=leave))

    @property
    def sid(self) -> str:
        return self.join.participant.sid

    @property
    def is_connected(self) -> bool:
        """Whether media can flow both ways, as far as there is any."""
        publisher, subscriber = self.connections["publisher"], self.connections.get("subscriber")
        if self._publishing and publisher.state != "connected":
            return False
        needed = subscriber is not None and self.join.subscriber_primary
        return not (needed and subscriber is not None and subscriber.state != "connected")

    @property
    def is_recovered(self) -> bool:
        """Whether a resume has done all that it must."""
        return self.is_connected and not self._restarting

    @property
    def is_broken(self) -> bool:
        """Whether media stopped for want of a path."""
        return any(one.state in ("disconnected", "failed", "closed") for one in self.connections.values())

    # ---- requests

    def send(self, request: rtc.SignalRequest) -> None:
        passing = request.WhichOneof("message") in PASSING
        if self._transmit is not None and (passing or self._queue is None):
            self._transmit(request)
        elif self._queue is not None and not (passing and self.sid):
            self._queue.append(request)

    def ping(self) -> None:
        if self._transmit is not None:
            ping = rtc.Ping(timestamp=self._wall_ms(), rtt=self.rtt_ms)
            self._transmit(rtc.SignalRequest(ping_req=ping))

    def negotiate(self) -> None:
        self._publishing = True
        self.peer.negotiate()

    def open_way(self) -> None:
        """Our own connection comes about when there is something to send, if not with the join."""
        if not self._publishing:
            self.negotiate()

    def can_send(self, channel: Channel) -> bool:
        return self.connections["publisher"].state == "connected" and channel in self.channels

    def send_packet(self, packet: models.DataPacket, *, reliable: bool) -> bool:
        """False when the channel is full; to be asked again at the next change."""
        if not reliable:
            return self.peer.send("lossy", packet.SerializeToString())
        packet.sequence = self._sent.next_sequence
        message = packet.SerializeToString()
        if not self.peer.send("reliable", message):
            return False
        self._sent.keep(message, unsent=self.peer.buffered("reliable"))
        return True

    def flush(self) -> int:
        """What `flushed` is at least when the server has all that was sent so far."""
        self._flushes += 1
        self.peer.flush()
        return self._flushes

    def _use_ice_servers(
        self, servers: Iterable[rtc.ICEServer], configuration: models.ClientConfiguration
    ) -> None:
        given = [(list(one.urls), one.username, one.credential) for one in servers]
        forced = configuration.force_relay == models.ClientConfigSetting.ENABLED
        self.peer.set_ice_servers(self._own_ice_servers or given, relay_only=self._relay_only or forced)

    def _complete(self, state: rtc.SyncState) -> None:
        """Adds what the session itself had before it broke."""
        ours, theirs = self.connections["publisher"], self.connections.get("subscriber")
        offer = ours.local if theirs is None else theirs.remote
        answer = ours.remote if theirs is None else theirs.local
        if offer is not None:
            state.offer.CopyFrom(offer)
        if answer is not None:
            state.answer.CopyFrom(answer)
        state.datachannel_receive_states.extend(self._received.states())

    # ---- from the server

    def receive(self, response: rtc.SignalResponse) -> None:
        kind = response.WhichOneof("message") or ""
        if (handler := self._of_signal.get(kind)) is not None:
            handler(getattr(response, kind))
        elif kind:
            self._tell(lambda: self._news.signalled(response), response.ByteSize())

    def _offer(self, offer: rtc.SessionDescription) -> None:
        connection = self.connections.get("subscriber")
        if connection is None:
            logger.warning("the server made an offer, which with one connection only the client does")
            return
        connection.remote, connection.tracks = offer, dict(offer.mid_to_track_id)
        self._restarting.discard("subscriber")
        self.peer.remote_description("subscriber", "offer", offer.sdp, offer.id)

    def _answer(self, answer: rtc.SessionDescription) -> None:
        connection = self.connections["publisher"]
        connection.remote = answer
        self.answers += 1
        tracks = {**(connection.tracks or {}), **answer.mid_to_track_id}
        connection.tracks = dict(islice(tracks.items(), max(len(tracks) - MAX_SECTIONS, 0), None))
        self._restarting.discard("publisher")
        self.peer.remote_description("publisher", "answer", answer.sdp, answer.id)
        self.on_change()

    def _trickle(self, trickle: rtc.TrickleRequest) -> None:
        try:
            candidate = json.loads(trickle.candidateInit)["candidate"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return
        subscriber = trickle.target == rtc.SignalTarget.SUBSCRIBER and not self.single
        if isinstance(candidate, str) and candidate:
            self.peer.remote_candidate("subscriber" if subscriber else "publisher", candidate)

    def _leave(self, leave: rtc.LeaveRequest) -> None:
        self.end(goodbye(leave))

    def _sections_wanted(self, wanted: rtc.MediaSectionsRequirement) -> None:
        if self.single:
            self.peer.add_receivers(wanted.num_audios, wanted.num_videos)
            self.negotiate()

    def _pong(self, pong: rtc.Pong) -> None:
        self.rtt_ms = min(max(self._wall_ms() - pong.last_ping_timestamp, 0), MAX_RTT_MS)

    # ---- from the peer

    def peer_event(self, event: Any) -> None:
        handler = self._of_peer.get(type(event))
        if handler is not None:
            handler(event)
        else:
            self._news.peer_event(event)

    def _description(self, event: Any) -> None:
        description = rtc.SessionDescription(type=event.kind, sdp=event.sdp, id=event.id)
        self.connections[event.target].local = description
        if event.kind == "answer":
            self.send(rtc.SignalRequest(answer=description))
        elif self.first_offer is None and self.single:
            self.first_offer = description
            self.on_change()
        else:
            self.send(rtc.SignalRequest(offer=description))

    def _candidate(self, event: Any) -> None:
        init = {"candidate": event.candidate, "sdpMid": event.mid, "sdpMLineIndex": event.mline}
        subscriber = event.target == "subscriber"
        target = rtc.SignalTarget.SUBSCRIBER if subscriber else rtc.SignalTarget.PUBLISHER
        self.send(
            rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit=json.dumps(init), target=target))
        )

    def _connection(self, event: Any) -> None:
        self.connections[event.target].state = event.state
        if event.state in ("failed", "closed"):
            why = f"ICE: the {event.target} connection is {event.state}: {event.detail}"
            ended = Ended(Action.RESUME, DisconnectReason.UNKNOWN_REASON, why)
            if event.state == "closed" and self._transmit is not None:
                self.suspicion = ended
            else:
                self.end(ended)
        self.on_change()

    def _have_flushed(self, _: Any) -> None:
        self.flushed += 1
        self.on_change()

    def _channel_open(self, event: Any) -> None:
        self.channels.add(event.channel)
        self.on_change()

    def _data(self, event: Any) -> None:
        if event.channel == "data_track":
            self._tell(lambda: self._news.track_packet(event.data), len(event.data))
            return
        try:
            packet = models.DataPacket.FromString(event.data)
        except Exception:
            logger.warning("a packet of %d bytes is no DataPacket", len(event.data))
            return
        reliable = event.channel == "reliable"
        if reliable and not self._received.is_new(packet.participant_sid, packet.sequence):
            return
        self._tell(lambda: self._news.packet(packet, reliable), len(event.data))

    def _track(self, event: Any) -> None:
        participant, _, stream = event.stream.partition("|")
        known = (self.connections[event.target].tracks or {}).get(event.mid, "")
        named = stream if stream.startswith("TR") else event.track
        mapped = self.single or not named.startswith("TR")
        sid = known or named if mapped else named
        media = Arrived(event.target, event.mid, participant, sid)
        self._tell(lambda: self._news.arrived(media))

    def _track_ended(self, event: Any) -> None:
        self._tell(lambda: self._news.departed(event.target, event.mid))

    def _rejected(self, event: Any) -> None:
        """Server and client do not agree on what there is: only a new beginning helps."""
        why = f"server: a description of it cannot be used: {event.reason}"
        self.end(Ended(Action.RECONNECT, DisconnectReason.STATE_MISMATCH, why))

    def _fault(self, event: Any) -> None:
        logger.error("the media of this client failed: %s", event.detail)
        self.end(Ended(Action.RECONNECT, DisconnectReason.UNKNOWN_REASON, event.detail))

    # ---- to the room

    def _tell(self, news: Callable[[], None], size: int = 0) -> None:
        """`size` in bytes."""
        if self._held is None:
            news()
            return
        self._held_bytes += size + HELD_OVERHEAD
        if self._held_bytes <= MAX_HELD:
            self._held.append(news)
        else:
            why = "server: it says more than can be kept before the room is ready"
            self.end(Ended(Action.DISCONNECT, DisconnectReason.UNKNOWN_REASON, why))

    def end(self, ended: Ended) -> None:
        """The most decisive word counts: a goodbye for good, else a new beginning, else a resume."""
        rank = (Action.RESUME, Action.RECONNECT, Action.DISCONNECT)
        if self.ended is None or rank.index(ended.action) > rank.index(self.ended.action):
            self.ended = ended
        self.on_change()
