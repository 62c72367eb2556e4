"""Realtime rooms for Python: a LiveKit-compatible server in one pip install.

>>> async with roomful.Server() as server:  # doctest: +SKIP
...     token = server.token(identity="ada", room="demo")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roomful.auth import AccessToken, VideoGrant
    from roomful.config import Config, ConfigError
    from roomful.server.embedded import Server

__all__ = ["AccessToken", "Config", "ConfigError", "Server", "VideoGrant"]

_HOMES = {
    "AccessToken": "roomful.auth",
    "Config": "roomful.config",
    "ConfigError": "roomful.config",
    "Server": "roomful.server.embedded",
    "VideoGrant": "roomful.auth",
}


def __getattr__(name: str) -> Any:
    """Imports on first use: a command line's help should not wait for a server."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)
