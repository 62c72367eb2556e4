"""`livekit.rtc` is `roomful.rtc` in programs that are run by roomful.as_livekit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from roomful import as_livekit

PROGRAM = """
import multiprocessing, os, subprocess, sys

from livekit import rtc
import livekit.rtc.room
import roomful.rtc.room

def say(where):
    from livekit import rtc
    from livekit.rtc._proto.track_pb2 import AudioTrackFeature
    assert AudioTrackFeature.TF_STEREO == rtc._proto.track_pb2.TF_STEREO
    print(where, rtc.__name__, rtc.__spec__.name, flush=True)

if __name__ == "__main__":
    assert livekit.rtc.room is roomful.rtc.room and rtc.Room is roomful.rtc.Room
    assert sys.next == "found"
    print(sys.argv[1:], sys.flags.dev_mode, sys.warnoptions, sys._xoptions, sys.stdout.write_through)
    for method in multiprocessing.get_all_start_methods():
        process = multiprocessing.get_context(method).Process(target=say, args=(method,))
        process.start()
        process.join()
    subprocess.run([sys.executable, "-c", "from livekit import rtc; print('run', rtc.__name__)"], check=True)
    try:
        from livekit.rtc._ffi_client import FfiClient
    except ImportError as error:
        print(error)
"""


def test_a_program_and_all_that_it_starts_have_it(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.next = 'found'")
    another = tmp_path / "as_livekit" / "startup"  # As of another installation.
    shutil.copytree(as_livekit.STARTUP, another)
    path = os.pathsep.join([str(another), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    options = ["-u", "-W", "ignore::UserWarning", "-X", "no_debug_ranges"]
    command = [sys.executable, *options, "-m", "roomful.as_livekit", "-X", "dev", str(program), "one", "two"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )
    ours = "roomful.rtc roomful.rtc"
    assert done.stdout.splitlines() == [
        "['one', 'two'] True ['default', 'ignore::UserWarning'] {'no_debug_ranges': True, 'dev': True} True",
        *(f"{method} {ours}" for method in ("fork", "spawn", "forkserver")),
        "run roomful.rtc",
        "roomful.rtc stands in for livekit.rtc here, and has no roomful.rtc._ffi_client",
    ], done.stderr


def test_it_is_too_late_once_theirs_is_imported() -> None:
    import livekit.rtc  # noqa: F401

    with pytest.raises(ImportError, match=r"livekit\.rtc is imported already"):
        as_livekit.install()


def test_it_says_how_it_is_called() -> None:
    done = subprocess.run([sys.executable, "-m", "roomful.as_livekit"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "usage: python -m roomful.as_livekit" in done.stderr
