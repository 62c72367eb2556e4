from __future__ import annotations

import asyncio

from roomful.server.outbox import Outbox
from roomful.server.timers import Timers


def test_the_first_frame_always_fits_and_the_bound_ends_the_queue() -> None:
    outbox, ended = Outbox(max_bytes=10), []
    outbox.on_overflow = lambda: ended.append(True)
    outbox.push(b"x" * 100)
    assert outbox.drain() == [b"x" * 100]
    outbox.push(b"12345")
    outbox.push(b"12345")
    outbox.push(b"6")
    outbox.push(b"7")
    assert (outbox.closed, outbox.overflowed, ended) == (True, True, [True])
    assert outbox.drain() == []


def test_many_small_frames_are_bounded_too() -> None:
    outbox = Outbox(max_frames=3)
    for _ in range(4):
        outbox.push(b"")
    assert outbox.overflowed


def test_waiting_ends_with_a_frame_or_the_end() -> None:
    async def run() -> list[list[bytes]]:
        outbox, seen = Outbox(), []

        async def pump() -> None:
            while True:
                await outbox.wait()
                seen.append(outbox.drain())
                if outbox.closed:
                    return

        task = asyncio.ensure_future(pump())
        await asyncio.sleep(0)
        outbox.push(b"a")
        outbox.push(b"b")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        outbox.push(b"bye")
        outbox.close()
        outbox.push(b"late")
        await task
        return seen

    assert asyncio.run(run()) == [[b"a", b"b"], [b"bye"]]


def test_timers_run_in_order_and_not_after_being_cancelled() -> None:
    now, ran, earlier = 0.0, [], []
    timers = Timers(lambda: now)
    timers.on_earlier = lambda: earlier.append(timers.next_deadline())
    timers.after(2, lambda: ran.append("two"))
    timers.after(1, lambda: ran.append("one"))
    timers.after(3, lambda: ran.append("three"))
    timers.after(0.5, lambda: ran.append("never")).cancel()
    assert timers.next_deadline() == 1
    assert earlier == [2, 1, 0.5]
    timers.run(2)
    assert ran == ["one", "two"]
    assert timers.next_deadline() == 3


def test_a_timer_may_cancel_another_that_is_due() -> None:
    timers = Timers(lambda: 0.0)
    timers.after(1, lambda: second.cancel())
    second = timers.after(1, lambda: (_ for _ in ()).throw(AssertionError))
    timers.run(5)
    assert timers.next_deadline() is None


def test_what_an_action_starts_runs_the_next_time() -> None:
    ran: list[int] = []
    timers = Timers(lambda: 0.0)

    def again() -> None:
        ran.append(1)
        timers.after(0, again)

    timers.after(0, again)
    timers.run(0)
    timers.run(0)
    assert len(ran) == 2


def test_cancelled_timers_do_not_stay_until_their_deadline() -> None:
    timers = Timers(lambda: 0.0)
    ran: list[int] = []
    for number in range(3000):
        timers.after(5, lambda number=number: ran.append(number)).cancel()  # type: ignore[misc]
        timers.after(5_000_000 + number, lambda: None).cancel()
        if number % 100 == 0:
            timers.after(10, lambda number=number: ran.append(number))  # type: ignore[misc]
    assert len(timers) < 300
    timers.run(10)
    assert ran == list(range(0, 3000, 100))
