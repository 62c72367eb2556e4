"""Which ways to connect a client is left after others failed it: any, only TCP, only a relay over TLS.

A way is given up by evidence: the connection broke while signalling, over the same network, lived. A way that
a client was left with and that brought no connection is given up at once.
What is known of a client is kept for a while by room and identity, since who fails comes back with another
session perhaps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from livekit.protocol import models, rtc

from roomful.config import Config
from roomful.server.clients import version_of
from roomful.server.logs import get_logger
from roomful.server.media import Event, Target, Way

if TYPE_CHECKING:
    from roomful.server.participant import Participant

logger = get_logger("roomful.control")

#: "tcp": only TCP candidates are offered and taken. "relay": the client is told to use nothing but relays.
Preference = Literal["any", "tcp", "relay"]

#: Seconds that a connection must live: one that ends sooner is reason enough.
SHORT = 90.0
#: Seconds in which a second failure counts with the first.
WINDOW = 60.0
#: Seconds since the last signal frame that say that signalling lives.
RECENT_SIGNAL = 15.0
#: Seconds after which everything is tried again.
KEPT = 300.0
#: Clients remembered.
MAX_KEPT = 10_000

_SWIFT_WITH_TCP = (1, 0, 5)
_TARGETS: dict[int, Target] = {
    models.ReconnectReason.RR_PUBLISHER_FAILED: "publisher",
    models.ReconnectReason.RR_SUBSCRIBER_FAILED: "subscriber",
}


class Preferences:
    """What is known of the clients of a node."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.enabled = config.rtc.allow_tcp_fallback
        self.force_tcp = config.rtc.force_tcp
        self.has_tcp = config.rtc.tcp_port != 0
        self.has_tls = config.serves_turn and config.turn.tls_port != 0
        self._kept: dict[tuple[str, str], tuple[float, Preference]] = {}

    def get(self, room: str, identity: str) -> Preference:
        until, preference = self._kept.get((room, identity), (0.0, "any"))
        return preference if until > self.clock() else "any"

    def put(self, room: str, identity: str, preference: Preference) -> None:
        key = (room, identity)
        # The newest are last.
        self._kept.pop(key, None)
        if preference != "any":
            self._kept[key] = (self.clock() + KEPT, preference)
        while self._kept and (len(self._kept) > MAX_KEPT or self._oldest_is_over()):
            del self._kept[next(iter(self._kept))]

    def _oldest_is_over(self) -> bool:
        until, _ = next(iter(self._kept.values()))
        return until <= self.clock()


class Ways:
    """Those of one participant."""

    def __init__(self, known: Preferences, room: str, identity: str, client: models.ClientInfo) -> None:
        self._known = known
        self._key = (room, identity)
        self._client = client
        self.preference: Preference = known.get(room, identity)
        #: When each connection first came up since the client last looked for another way.
        self._connected_at: dict[str, float] = {}
        self._used: dict[str, Way] = {}
        self._last_failure = float("-inf")
        #: The client has not come back since the preference changed: what fails meanwhile is no news.
        self._changed = False
        #: Something connected since the preference is what it is.
        self._proven = False

    @property
    def tcp_only(self) -> bool:
        return self._known.force_tcp or self.preference == "tcp"

    def prefer(self, preference: Preference) -> None:
        self.preference = preference
        self._proven = False
        self._known.put(*self._key, preference)

    def connected(self, target: Target, way: Way | None) -> None:
        self._proven = True
        self._connected_at.setdefault(target, self._known.clock())
        if way is not None:
            self._used[target] = way

    def failed(self, target: Target, way: Way | None, *, signal_alive: bool) -> bool:
        """Whether the preference is another now. `signal_alive`: with the client's whole network down, no way
        is better than another."""
        if way is not None:
            self._used[target] = way
        if not self._known.enabled or self._changed:
            return False
        if not signal_alive:
            self._last_failure = float("-inf")
            return False
        if self.never_connected():
            return True
        now = self._known.clock()
        again = now - self._last_failure <= WINDOW
        self._last_failure = now
        return (again or self._is_short(target)) and self._change()

    def never_connected(self) -> bool:
        """The client is here and media is not. Whether that was for the way that it is left with, which is
        another now."""
        if not self._known.enabled or self._changed or self._proven or self.preference == "any":
            return False
        self.prefer("relay" if self.preference == "tcp" and self._known.has_tls else "any")
        return True

    def returned(self, reason: int) -> bool:
        """The client resumes, for a `livekit.ReconnectReason`. Whether the preference is another now."""
        preference = self.preference
        self.preference = self._known.get(*self._key)
        target = _TARGETS.get(reason)
        changed = self._changed
        self._changed = False
        # What failed was told by the media plane already, if the preference changed.
        if target is not None and not changed and self._known.enabled and self._is_short(target):
            self._change()
        self._changed = False
        self._connected_at.clear()
        return self.preference != preference

    def _is_short(self, target: Target) -> bool:
        """A connection that never came up is not: something else may be wrong with it."""
        at = self._connected_at.get(target)
        return at is not None and self._known.clock() - at < SHORT

    def _change(self) -> bool:
        preference = self._next()
        if preference == self.preference:
            return False
        self.prefer(preference)
        self._changed = True
        self._last_failure = float("-inf")
        return True

    def _next(self) -> Preference:
        """By the poorest way of the connections, as both are changed."""
        used = self._used.values()
        if "relay" in used:
            # There is nothing more permissive.
            return self.preference
        if "tcp" in used:
            return "relay" if self._known.has_tls else self.preference
        if "udp" in used and self.preference == "any":
            if self._known.has_tcp and _connects_by_tcp(self._client):
                return "tcp"
            return "relay" if self._known.has_tls else "any"
        return "any"


def _connects_by_tcp(client: models.ClientInfo) -> bool:
    if client.sdk == models.ClientInfo.GO:
        return False
    version = version_of(client)
    return client.sdk != models.ClientInfo.SWIFT or (version is not None and version >= _SWIFT_WITH_TCP)


def media_failed(participant: Participant, event: Event.Connection) -> None:
    if participant.ways.failed(event.target, event.way, signal_alive=_signal_lives(participant)):
        apply(participant)


def media_stayed_away(participant: Participant) -> None:
    """Though the client resumed."""
    if _signal_lives(participant) and participant.ways.never_connected():
        apply(participant)


def _signal_lives(participant: Participant) -> bool:
    now, last = participant.node.clock(), participant.last_signal
    return participant.session is not None and now - last < RECENT_SIGNAL


def prefer(participant: Participant, protocol: int) -> bool:
    """For tests of clients, a `livekit.CandidateProtocol`. False: the server has no such way."""
    known = participant.node.preferences
    preferences: dict[int, Preference] = {rtc.CandidateProtocol.UDP: "any"}
    if known.has_tcp:
        preferences[rtc.CandidateProtocol.TCP] = "tcp"
    if known.has_tls:
        preferences[rtc.CandidateProtocol.TLS] = "relay"
    if protocol not in preferences:
        return False
    participant.ways.prefer(preferences[protocol])
    apply(participant)
    return True


def apply(participant: Participant) -> None:
    """From the next ICE restart on. To use a relay the client is told with its next join or resume."""
    logger.info(
        "another way to connect is preferred",
        participant=participant.identity,
        sid=participant.sid,
        way=participant.ways.preference,
    )
    participant.node.media.set_tcp_only(participant=participant.id, tcp_only=participant.ways.tcp_only)
