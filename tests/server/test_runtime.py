from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from paper import PaperControl, PaperMedia

from roomful.config import Config
from roomful.server.join import Refusal
from roomful.server.runtime import EVENTS_A_TURN, Runtime

pytestmark = pytest.mark.asyncio


class BusyMedia(PaperMedia):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def take_events(self) -> list[Any]:
        events, self.events = self.events, []
        return events


@pytest.fixture
def media(monkeypatch: pytest.MonkeyPatch, control: PaperControl) -> BusyMedia:
    media = BusyMedia()
    monkeypatch.setattr(Runtime, "_open_media", lambda self, secret: media)
    return media


async def test_a_burst_of_media_events_leaves_turns_for_others(
    media: BusyMedia, control: PaperControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []
    done = asyncio.Event()

    def handle(events: list[Any]) -> None:
        order.extend(events)
        if order[-1] == 999:
            done.set()

    monkeypatch.setattr(control, "media_events", handle)
    runtime = Runtime(Config())
    await runtime.start()
    media.events = list(range(1000))
    thread = threading.Thread(target=runtime._wake)
    thread.start()
    thread.join()
    await asyncio.sleep(0)
    others: list[int] = []
    while not done.is_set():
        others.append(len(order))
        await asyncio.sleep(0)
    assert [event for event in order] == list(range(1000))
    assert len(others) >= 1000 // EVENTS_A_TURN
    await runtime.close()


async def test_the_timer_follows_an_earlier_deadline(
    media: BusyMedia, control: PaperControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadline: list[float | None] = [time.monotonic() + 3600]
    ticked = asyncio.Event()

    def tick(now: float) -> None:
        assert deadline[0] is not None
        assert now >= deadline[0]
        deadline[0] = None
        ticked.set()

    monkeypatch.setattr(control, "next_deadline", lambda: deadline[0])
    monkeypatch.setattr(control, "tick", tick)
    runtime = Runtime(Config())
    await runtime.start()
    deadline[0] = time.monotonic() + 0.02
    wake: Callable[[], None] | None = control.on_earlier_deadline
    assert wake is not None
    wake()
    async with asyncio.timeout(5):
        await ticked.wait()
    await runtime.close()


async def test_a_fault_in_a_rule_does_not_stop_the_others(
    media: BusyMedia, control: PaperControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def handle(events: list[Any]) -> None:
        if "bad" in events:
            raise ValueError("a bug")
        seen.extend(events)

    monkeypatch.setattr(control, "media_events", handle)
    runtime = Runtime(Config())
    await runtime.start()
    for event in ("bad", "good"):
        media.events = [event]
        runtime._wake()
        await asyncio.sleep(0)
    assert seen == ["good"]
    await runtime.close()


async def test_nobody_joins_a_node_that_closes(media: BusyMedia) -> None:
    runtime = Runtime(Config())
    await runtime.start()
    await runtime.close()
    with pytest.raises(Refusal) as refusal:
        await runtime.start()
    assert refusal.value.status == 503
    runtime._wake()
