"""Deadlines of the control plane, on whatever clock it is given."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count


@dataclass(order=True, slots=True)
class Timer:
    deadline: float
    order: int
    action: Callable[[], None] | None = field(compare=False)
    timers: Timers = field(compare=False, repr=False)

    def cancel(self) -> None:
        if self.action is not None:
            self.action = None
            self.timers.cancelled()


#: Cancelled timers that may stay until their deadline beside as many that are not.
SLACK = 64


class Timers:
    """A heap of deadlines. Nothing runs by itself: the owner calls `run` at `next_deadline`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heap: list[Timer] = []
        self._order = count()
        #: No fewer than the heap has.
        self._cancelled = 0
        #: Called when a new deadline is the earliest, so that whoever sleeps until the old one wakes.
        self.on_earlier: Callable[[], None] | None = None

    def after(self, delay: float, action: Callable[[], None]) -> Timer:
        """Runs `action` once, `delay` seconds from now."""
        timer = Timer(self._clock() + delay, next(self._order), action, self)
        earliest = self.next_deadline()
        heapq.heappush(self._heap, timer)
        if self.on_earlier is not None and (earliest is None or timer.deadline < earliest):
            self.on_earlier()
        return timer

    def next_deadline(self) -> float | None:
        while self._heap and self._heap[0].action is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        return self._heap[0].deadline if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)

    def cancelled(self) -> None:
        """One more of ours is: when they are most of the heap they go, as a deadline may be hours away."""
        self._cancelled += 1
        if self._cancelled > len(self._heap) // 2 + SLACK:
            self._heap = [timer for timer in self._heap if timer.action is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def run(self, now: float) -> None:
        """Runs what is due at `now`, in order of deadline; what an action schedules runs next time."""
        due = []
        while self._heap and self._heap[0].deadline <= now:
            due.append(heapq.heappop(self._heap))
        for timer in due:
            action, timer.action = timer.action, None
            if action is not None:
                action()
