"""Logging: the standard library's, with fields by name and no token in any line.

As a library nothing is configured: lines go to the loggers named `roomful…` and the application decides. The
command line calls `configure`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

_SECRETS = (
    # A JSON Web Token, also the beginning of one; "eyJ" is '{"' in base64.
    (re.compile(r"eyJ[A-Za-z0-9_-]{6,}(?:\.[A-Za-z0-9_-]*){0,2}"), "[token]"),
    (re.compile(r"((?:access_token|join_request)=)[^&\s\"']+"), r"\1[hidden]"),
    (re.compile(r"(Bearer )[^\s\"']+", re.IGNORECASE), r"\1[hidden]"),
)
#: Loggers of servers under which we run: they log request lines with their query, and at debug level frames.
_FOREIGN = (
    "roomful.uvicorn",
    "uvicorn",
    "uvicorn.access",
    "uvicorn.asgi",
    "uvicorn.error",
    "websockets",
    "websockets.server",
    "websockets.protocol",
    "hypercorn.access",
    "hypercorn.error",
)


def redact(text: str) -> str:
    """`text` without tokens."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class _Redactor(logging.Filter):
    """Changes records, never drops one. Arguments stay in place: uvicorn's formatter unpacks them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg = redact(record.msg)
        if isinstance(record.args, tuple):
            record.args = tuple(_redact_argument(argument) for argument in record.args)
        elif isinstance(record.args, Mapping):
            record.args = {name: _redact_argument(value) for name, value in record.args.items()}
        return True


def _redact_argument(argument: object) -> object:
    if argument is None or isinstance(argument, int | float):
        return argument
    text = str(argument)
    redacted = redact(text)
    return argument if redacted == text else redacted


_redactor = _Redactor()


def hide_tokens() -> None:
    """Keeps tokens out of the lines of the server we run under, also when it is somebody else's."""
    for name in _FOREIGN:
        logging.getLogger(name).addFilter(_redactor)


class Logger:
    """Takes fields by name: `log.info("joined", room=…)`.

    They are in the text, for whatever handler the application has; ours gets them apart too.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """An error with the exception that is being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(self, level: int, event: str, fields: dict[str, object], *, exc_info: bool = False) -> None:
        if not self._logger.isEnabledFor(level):
            return
        event = redact(event)
        fields = {name: redact(it) if isinstance(it, str) else it for name, it in fields.items()}
        text = " ".join([event, *(f"{name}={value}" for name, value in fields.items())])
        extra = {"event": event, "fields": fields}
        self._logger.log(level, "%s", text, exc_info=exc_info, extra=extra, stacklevel=3)


def get_logger(name: str) -> Logger:
    return Logger(name)


class _Json(logging.Formatter):
    """One JSON object a line, with LiveKit's names for the common fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "level": record.levelname.lower(),
            "ts": round(record.created, 3),
            "logger": record.name,
            "msg": redact(getattr(record, "event", None) or record.getMessage()),
        }
        line |= {name: value for name, value in getattr(record, "fields", {}).items() if name not in line}
        if record.exc_info:
            line["error"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False)


class _Plain(logging.Formatter):
    """For people: time, level, message, fields; in colour on a terminal."""

    _COLOURS: Mapping[str, str] = {
        "DEBUG": "2",
        "INFO": "32",
        "WARNING": "33",
        "ERROR": "31",
        "CRITICAL": "31;1",
    }

    def __init__(self, colour: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname.lower().ljust(7)
        if self._colour:
            level = f"\x1b[{self._COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        line = f"{self.formatTime(record, self.datefmt)} {level} {redact(record.getMessage())}"
        if record.exc_info:
            line += "\n" + redact(self.formatException(record.exc_info))
        return line


def configure(
    level: str = "info", *, as_json: bool = False, components: Mapping[str, str] | None = None
) -> None:
    """Sends every logger's lines to standard error. For programs that are the server, never for a library."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if as_json else _Plain(sys.stderr.isatty()))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("roomful").setLevel(_number(level))
    for component, its_level in (components or {}).items():
        logging.getLogger(f"roomful.{component}").setLevel(_number(its_level))
    hide_tokens()


def _number(level: str) -> int:
    return {
        "debug": logging.DEBUG,
        "warn": logging.WARNING,
        "warning": logging.WARNING,
        "error": logging.ERROR,
    }.get(level.lower(), logging.INFO)
