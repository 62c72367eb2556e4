"""Where the client's modules say what went wrong without anybody to raise it to."""

import logging

logger = logging.getLogger("roomful.rtc")
