"""Coroutines that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from roomful.rtc.log import logger


class Background:
    """Tasks on the running loop, which itself keeps only weak references to them."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, Any], what: str) -> None:
        """Runs `coroutine`; what it raises is logged with `what` as its name."""
        try:
            task = asyncio.get_running_loop().create_task(coroutine)
        except RuntimeError:
            coroutine.close()
            logger.error("%s needs a running event loop", what)
            return
        self.tasks.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            self.tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("%s raised", what, exc_info=error)

        task.add_done_callback(done)

    def cancel(self) -> None:
        for task in list(self.tasks):
            task.cancel()
