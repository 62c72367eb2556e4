"""How often something may happen for each of many, and how much each may hold: an address, a key, …"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable

#: Seconds' worth of the rate that may come at once: a crowd joins together.
BURST = 10.0
#: Buckets with something in them that are kept.
MAX_BUCKETS = 10_000
_ROUNDING = 1e-6


class Rate:
    """At most `per_second` for long, and ten seconds' worth at once, for each key. 0 is no limit."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._clock = clock
        #: When each bucket will be empty; those that are empty are left out sooner or later.
        self._empty_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._empty_at)

    def full(self, key: str) -> bool:
        """Whether `key` has to wait."""
        return self._empty_at.get(key, 0.0) > self._clock() + BURST - self._interval + _ROUNDING

    def take(self, key: str) -> None:
        if not self._interval:
            return
        now = self._clock()
        self._empty_at[key] = max(self._empty_at.pop(key, 0.0), now) + self._interval
        if len(self._empty_at) > MAX_BUCKETS:
            self._forget(now)

    def _forget(self, now: float) -> None:
        """What is empty, and for want of that the older half, so that this stays rare."""
        kept = {key: at for key, at in self._empty_at.items() if at > now}
        if len(kept) > MAX_BUCKETS // 2:
            kept = dict(list(kept.items())[MAX_BUCKETS // 2 :])
        self._empty_at = kept


class Holdings:
    """At most `most` at a time for each key. 0 is no limit."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._held: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: str) -> bool:
        """Whether `key` may have one more; then it has."""
        if self.most and self._held[key] >= self.most:
            return False
        self._held[key] += 1
        return True

    def give_back(self, key: str) -> None:
        self._held[key] -= 1
        if not self._held[key]:
            del self._held[key]


def network_of(address: str) -> str:
    """What one subscriber of a network has: an IPv4 address, or an IPv6 prefix of 64 bits."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
        ip = ip.ipv4_mapped
    return str(ip)
