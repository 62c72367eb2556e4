"""What a client writes into the log: its own lines and those of its media, and no secrets."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest
from servers import open_server

from roomful import _core, rtc


class Lines(logging.Handler):
    """What `roomful.media` writes, whichever thread does."""

    def __init__(self) -> None:
        super().__init__()
        self.came: SimpleQueue[logging.LogRecord] = SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        self.came.put(record)

    def until(self, word: str) -> logging.LogRecord:
        while word not in (record := self.came.get(timeout=20)).getMessage():
            pass
        return record


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines = Lines()
    logger = logging.getLogger("roomful.media")
    logger.addHandler(lines)
    yield lines
    logger.removeHandler(lines)


@contextmanager
def asking_for(*hosts: str) -> Iterator[None]:
    """Names that are not known, of which the media has a line each to say."""
    peer = _core.Peer(single=True, wake=lambda: None)
    peer.set_ice_servers([([f"turn:{host}.invalid" for host in hosts], "user", "secret")])
    yield
    peer.close()


def test_lines_of_the_media_are_written_whatever_loops_have_ended(lines: Lines) -> None:
    def closed() -> None:
        raise RuntimeError("the loop is closed")

    older = _core.Peer(single=True, wake=closed)
    with asking_for("nowhere"):
        line = lines.until("nowhere.invalid")
    assert line.levelno == logging.WARNING
    assert line.getMessage().startswith("roomful_media::")
    assert line.pathname.endswith(".rs")
    assert "secret" not in line.getMessage()
    older.close()


def test_a_handler_that_raises_costs_no_further_line(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    def raising(record: logging.LogRecord) -> bool:
        if "one.invalid" in record.getMessage():
            raise ValueError("of the program")
        return True

    lines.addFilter(raising)
    with asking_for("one", "another"):
        lines.until("another.invalid")
    assert "of the program" in capsys.readouterr().err


FORKED = """
import logging, os, queue
from roomful import _core

came = queue.SimpleQueue()
class Lines(logging.Handler):
    def emit(self, record):
        came.put(record.getMessage())

logging.getLogger("roomful.media").addHandler(Lines())

def told_of(host):
    peer = _core.Peer(single=True, wake=lambda: None)
    peer.set_ice_servers([([f"turn:{host}.invalid"], "user", "secret")])
    while host not in came.get(timeout=20):
        pass
    peer.close()

told_of("before")
if not (child := os.fork()):
    told_of("child")
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
told_of("after")
"""


def test_the_child_of_a_fork_has_lines_of_its_own() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)


ENDING = """
import sys, time
from roomful import _core

def wake():
    for _ in range(100_000):
        pass

peer = _core.Peer(single=True, wake=wake)
peer.set_ice_servers([([f"turn:{number}.invalid" for number in range(4)], "user", "secret")])
peer.open_channels()
peer.negotiate()
time.sleep(float(sys.argv[1]) / 1000)
"""


def test_a_program_may_end_while_the_media_has_something_to_say() -> None:
    for milliseconds in range(12):
        ended = subprocess.run(
            [sys.executable, "-c", ENDING, str(milliseconds)], capture_output=True, timeout=60
        )
        assert ended.returncode == 0, ended.stderr[-500:]


@pytest.mark.asyncio
async def test_no_secret_is_in_any_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with open_server() as server:
        key = rtc.KeyProviderOptions(shared_key=b"the shared key")
        options = rtc.RoomOptions(encryption=rtc.E2EEOptions(key_provider_options=key))
        token = server.token(identity="ada", room="demo")
        room = rtc.Room()
        await room.connect(server.url, token, options)
        await room.local_participant.publish_data(b"the payload")
        await room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
        async with asyncio.timeout(20):
            again = asyncio.Event()
            room.on("reconnected", again.set)
            await again.wait()
        await room.disconnect()
        for single in (True, False):
            with pytest.raises(rtc.ConnectError):
                await rtc.Room().connect(
                    server.url, f"{token}x", rtc.RoomOptions(single_peer_connection=single)
                )
    written = "\n".join(record.getMessage() + str(record.exc_info or "") for record in caplog.records)
    assert "reconnecting" in written
    for secret in (
        token,
        token[-20:],
        "ice-pwd",
        "a=fingerprint",
        "the shared key",
        "the payload",
        "Bearer",
    ):
        assert secret not in written, secret
