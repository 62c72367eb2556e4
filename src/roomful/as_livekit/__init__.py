"""Runs a program that imports `livekit.rtc` with `roomful.rtc` in its place, not a line of it changed.

$ python -m roomful.as_livekit agent.py start

From then on `livekit.rtc` and what is in it are the modules of `roomful.rtc`: in that process and in all that
it starts, spawned, forked or from a fork server, as livekit-agents starts those of its jobs. PyPI's `livekit`
may be installed, and is not loaded. Of `livekit.rtc`'s private modules only those are there that are here:
LiveKit's native library (`_ffi_client`) is refused by ImportError.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

__all__ = ["install"]

THEIRS, OURS = "livekit.rtc", "roomful.rtc"
#: Its sitecustomize.py, which every interpreter runs that finds it, calls `install`.
STARTUP = str(Path(__file__).with_name("startup"))


def install() -> None:
    """Does so for what is imported from now on, here and in processes that are started from now on: for
    programs that another one starts, such as a test's configuration.

    Raises:
        ImportError: `livekit.rtc` was imported before.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if THEIRS in sys.modules:
        raise ImportError(f"{THEIRS} is imported already: {OURS} can take its place only before", name=THEIRS)
    sys.meta_path.insert(0, _Finder())
    path = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one and one != STARTUP]
    os.environ["PYTHONPATH"] = os.pathsep.join([STARTUP, *path])


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != THEIRS and not name.startswith(f"{THEIRS}."):
            return None
        ours = OURS + name.removeprefix(THEIRS)
        if find_spec(ours) is None:
            raise ModuleNotFoundError(f"{OURS} stands in for {THEIRS} here, and has no {ours}", name=name)
        return ModuleSpec(name, _Loader(ours))


class _Loader(Loader):
    def __init__(self, ours: str) -> None:
        self._ours = ours

    def exec_module(self, module: ModuleType) -> None:
        """The import takes what stands under the name then: the one module there is, for its classes to be
        the same by both names."""
        sys.modules[module.__name__] = import_module(self._ours)
        if self._ours == OURS:
            # What a first connection imports: workers load their jobs' modules while nobody waits.
            import_module("websockets.asyncio.client")
