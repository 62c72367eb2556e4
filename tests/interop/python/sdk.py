"""The client that people are on: PyPI's `livekit`, or ours, which has the same names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

#: Set by `performance.perform` for the process of a scenario.
VARIABLE = "SCENARIO_SDK"

if TYPE_CHECKING or os.environ.get(VARIABLE, "livekit") == "livekit":
    from livekit import rtc
else:
    from roomful import rtc

__all__ = ["rtc"]
