"""Logs that nobody can flood."""

import logging
import time

#: Lines from one place that are let through in an interval of so many seconds.
BURST, INTERVAL = 20, 10.0


class Sparing(logging.Filter):
    """Of lines from one place, those beyond a burst are counted only; but lines for debugging all come."""

    def __init__(self) -> None:
        super().__init__()
        #: When an interval began, and the lines since then, by place.
        self._places: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        place, now = (record.pathname, record.lineno), time.monotonic()
        began, lines = self._places.get(place, (now, 0))
        if now - began >= INTERVAL:
            if lines > BURST:
                record.msg = f"{record.getMessage()} ({lines - BURST} more like this before)"
                record.args = ()
            began, lines = now, 0
        self._places[place] = began, lines + 1
        return lines < BURST

    def forget(self) -> None:
        self._places.clear()
