"""Plays that wait more than they work: several at once, each in networks of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

#: On a machine of two cores.
AT_ONCE = 3


def play_together(plays: Mapping[str, Callable[[], Coroutine[Any, Any, T]]]) -> Callable[[str], T]:
    """Plays all. What is returned gives the outcome of one, or raises what it raised."""

    async def play_all() -> list[T | BaseException]:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(play: Callable[[], Coroutine[Any, Any, T]]) -> T:
            async with turn:
                return await play()

        return await asyncio.gather(*map(one, plays.values()), return_exceptions=True)

    outcomes = dict(zip(plays, asyncio.run(play_all()), strict=True))

    def outcome(name: str) -> T:
        found = outcomes[name]
        if isinstance(found, BaseException):
            raise found
        return found

    return outcome
