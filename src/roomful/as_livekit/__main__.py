"""`python -m roomful.as_livekit program.py`: as `python program.py`, with `roomful.rtc` as `livekit.rtc`."""

from __future__ import annotations

import os
import subprocess
import sys

from roomful.as_livekit import install


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: python -m roomful.as_livekit {program.py | -m module | -c command} [argument ...]")
    install()
    command = [sys.executable, *sys.argv[1:]]
    if sys.platform == "win32":  # Its exec returns at once to whoever waits for this process.
        sys.exit(subprocess.call(command))
    os.execv(sys.executable, command)


main()
