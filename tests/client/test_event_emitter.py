from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from roomful.rtc import EventEmitter


def test_handlers_run_in_their_order_with_as_many_arguments_as_they_take() -> None:
    emitter: EventEmitter[str] = EventEmitter()
    calls: list[Any] = []

    @emitter.on("said")
    def both(who: str, what: str) -> None:
        calls.append((who, what))

    emitter.on("said", lambda who: calls.append(who))
    emitter.on("said", lambda: calls.append(None))
    emitter.on("said", lambda *args: calls.append(args))
    emitter.on("said", both)
    emitter.emit("said", "ada", "hello")
    emitter.emit("unheard", 1)
    assert calls == [("ada", "hello"), "ada", None, ("ada", "hello")]


def test_one_that_raises_is_logged_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    emitter: EventEmitter[str] = EventEmitter()
    calls: list[int] = []

    @emitter.on("event")
    def wrong() -> None:
        raise ValueError("broken")

    @emitter.on("event")
    def wrongly_typed() -> None:
        len(5)  # type: ignore[arg-type]

    @emitter.on("event")
    def asks_a_cancelled_task() -> None:
        raise asyncio.CancelledError

    emitter.on("event", lambda: calls.append(1))
    emitter.emit("event")
    assert calls == [1]
    assert [record.exc_info is not None for record in caplog.records] == [True] * 3
    assert "broken" in caplog.text


def test_one_that_needs_more_arguments_raises_when_the_others_have_run() -> None:
    emitter: EventEmitter[str] = EventEmitter()
    calls: list[int] = []
    emitter.on("event", lambda a, b: calls.append(a + b))
    emitter.on("event", lambda a: calls.append(a))
    with pytest.raises(TypeError):
        emitter.emit("event", 1)
    assert calls == [1]


def test_once_is_once_and_off_removes_either() -> None:
    emitter: EventEmitter[str] = EventEmitter()
    calls: list[str] = []

    @emitter.once("event")
    def first(value: str) -> None:
        calls.append(value)
        emitter.emit("event", "from within")

    emitter.emit("event", "a", "more")
    emitter.emit("event", "b")
    assert calls == ["a"]

    emitter.once("event", first)
    emitter.on("event", first)
    emitter.off("event", first)
    emitter.off("event", first)
    emitter.off("never", first)
    emitter.emit("event", "c")
    assert calls == ["a"]


async def _coroutines(caplog: pytest.LogCaptureFixture) -> None:
    emitter: EventEmitter[str] = EventEmitter()
    calls: list[str] = []

    @emitter.on("event")
    async def later(value: str) -> None:
        await asyncio.sleep(0)
        calls.append(value)

    @emitter.once("event")
    async def wrong() -> None:
        raise ValueError("broken later")

    emitter.emit("event", "a", "more")
    emitter.emit("event", "b")
    assert calls == []
    await asyncio.wait(emitter._background.tasks)
    await asyncio.sleep(0)
    assert calls == ["a", "b"]
    assert "broken later" in caplog.text


def test_coroutine_functions_are_handlers_too(caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(_coroutines(caplog))


def test_a_coroutine_handler_without_a_loop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    emitter: EventEmitter[str] = EventEmitter()

    @emitter.on("event")
    async def handler() -> None: ...

    with caplog.at_level(logging.ERROR):
        emitter.emit("event")
    assert "event loop" in caplog.text
