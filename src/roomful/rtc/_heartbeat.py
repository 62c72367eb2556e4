"""When to ping a server, and when to give it up."""

from __future__ import annotations

#: Seconds, for a server that names none.
INTERVAL, TIMEOUT = 5.0, 15.0
#: Whatever it names.
SHORTEST = 1.0


class Heartbeat:
    """Times are in seconds of any one clock. Whatever the server says counts as a sign of life."""

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self._interval = max(interval or INTERVAL, SHORTEST)
        self._timeout = max(timeout or TIMEOUT, self._interval)
        self._heard = now
        self._ping = now

    def heard(self, now: float) -> None:
        self._heard = now

    def is_dead(self, now: float) -> bool:
        return now - self._heard >= self._timeout

    def ping_due(self, now: float) -> bool:
        """Whether to ping now; asked once, as the next is due an interval later."""
        if now < self._ping:
            return False
        self._ping = now + self._interval
        return True

    @property
    def next(self) -> float:
        """When there is something to ask again."""
        return min(self._ping, self._heard + self._timeout)
