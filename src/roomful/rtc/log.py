"""Where the client's modules say what went wrong without anybody to raise it to."""

import logging

from roomful.sparing import Sparing

sparing = Sparing()
logger = logging.getLogger("roomful.rtc")
logger.addFilter(sparing)
