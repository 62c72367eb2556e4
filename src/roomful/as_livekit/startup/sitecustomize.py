"""Run by every interpreter that is started with this directory in its PYTHONPATH."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

with suppress(ModuleNotFoundError):  # An interpreter of another environment.
    from roomful.as_livekit import install

    install()

# The one that this one hides. Others of this package, as of another installation, would look for it again.
_ours = Path("as_livekit", "startup")
_next = PathFinder.find_spec(
    __name__, [place for place in sys.path if Path(*Path(place).resolve().parts[-2:]) != _ours]
)
if _next is not None and _next.loader is not None:
    _next.loader.exec_module(module_from_spec(_next))
