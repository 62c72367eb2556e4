"""What the media of servers and clients, which is Rust, has for the log: written here, as `roomful.media`."""

from __future__ import annotations

import contextlib
import logging
import threading
import traceback

from roomful import _core
from roomful.sparing import Sparing

sparing = Sparing()
logger = logging.getLogger("roomful.media")
logger.addFilter(sparing)


def start() -> None:
    """Called when there are lines and nobody writes. What comes at the end of a program is written before."""
    threading.Thread(target=_write, name="roomful log", daemon=False).start()


def _write() -> None:
    while lines := _core.take_log_lines():
        for level, file, number, module, message in lines:
            if not logger.isEnabledFor(level):
                continue
            text, arguments = "%s: %s", (module, message)
            try:
                logger.handle(logger.makeRecord(logger.name, level, file, number, text, arguments, None))
            except BaseException:  # Of a filter or a handler of the program: the next line may do.
                with contextlib.suppress(Exception):
                    traceback.print_exc()
