"""`python -m roomful.as_livekit program.py`: as `python program.py`, with `roomful.rtc` as `livekit.rtc`."""

from __future__ import annotations

import os
import subprocess
import sys

from roomful.as_livekit import install


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: python -m roomful.as_livekit {program.py | -m module | -c command} [argument ...]")
    if sys.flags.ignore_environment or sys.flags.no_site:
        sys.exit("roomful.as_livekit does nothing for interpreters with -E, -I or -S: PYTHONPATH tells them")
    install()
    command = [sys.executable, *_options(), *sys.argv[1:]]
    if sys.platform == "win32":  # Its exec returns at once to whoever waits for this process.
        sys.exit(subprocess.call(command))
    os.execv(sys.executable, command)


def _options() -> list[str]:
    """Of this interpreter, as multiprocessing hands them on, and those that it leaves out."""
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    for name, value in sys._xoptions.items():
        options += ["-X", name if value is True else f"{name}={value}"]
    if getattr(sys.stdout, "write_through", False):
        options.append("-u")
    return options


main()
