"""The command as people run it: a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from livekit.protocol import models, rtc
from websockets.sync.client import ClientConnection, connect

from roomful.auth import AccessToken, verify
from roomful.config import DEV_KEY, DEV_SECRET

COMMAND = [sys.executable, "-m", "roomful.cli"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")} | {
    "COLUMNS": "100",
    "NO_COLOR": "1",
}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env={**ENVIRONMENT, **environment}, capture_output=True, text=True, timeout=30
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def running(
    *arguments: str, ready: str, under: Sequence[str] = ()
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    process = subprocess.Popen(
        [*under, *COMMAND, *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if ready in line:
                break
        else:
            pytest.fail("ended early: " + "".join(lines))
        yield process, lines
    finally:
        process.kill()
        process.communicate()


def test_help_names_every_command() -> None:
    answer = run("--help")
    assert answer.returncode == 0
    for command in ("dev", "serve", "token", "room", "doctor"):
        assert re.search(rf"\b{command} ", answer.stdout)


def test_a_token_is_all_that_is_printed() -> None:
    answer = run("token", "--room", "demo", "--identity", "ada", "--name", "Ada", "--no-publish", "--admin")
    assert answer.returncode == 0
    claims = verify(answer.stdout.strip(), {"devkey": "secret"})
    assert claims.video is not None
    assert (claims.identity, claims.name, claims.video.room) == ("ada", "Ada", "demo")
    assert (claims.video.can_publish, claims.video.room_admin) == (False, True)


def test_dev_greets_serves_and_stops_cleanly() -> None:
    port = free_port()
    with running("dev", "--port", str(port), "--rtc.udp_port", "0", ready="Ctrl-C") as (process, lines):
        text = "".join(lines)
        assert f"ws://localhost:{port}" in text
        assert "devkey" in text
        assert "roomful token --room demo --identity ada" in text
        assert httpx.get(f"http://localhost:{port}/").text == "OK"
        given = httpx.get(
            f"http://localhost:{port}/dev/token", params={"room": "demo", "identity": "ada"}
        ).json()
        assert given["url"] == f"ws://localhost:{port}"
        claims = verify(given["token"], {"devkey": "secret"})
        assert claims.video is not None
        assert (claims.identity, claims.video.room) == ("ada", "demo")
        listed = run("room", "list", "--url", f"ws://localhost:{port}")
        assert (listed.returncode, listed.stdout.strip()) == (0, "no rooms")
        missing = run("room", "delete", "nowhere", "--url", f"ws://localhost:{port}")
        assert (missing.returncode, missing.stderr.strip()) == (1, "roomful: requested room does not exist")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        assert rest.strip().endswith("stopping")
        assert "Traceback" not in rest


@contextmanager
def in_a_call(port: int) -> Iterator[ClientConnection]:
    token = AccessToken(DEV_KEY, DEV_SECRET).with_identity("ada").with_room("demo").to_jwt()
    with connect(f"ws://localhost:{port}/rtc?access_token={token}&protocol=17") as client:
        assert received(client).HasField("join")
        yield client


def received(client: ClientConnection) -> rtc.SignalResponse:
    frame = client.recv(timeout=10)
    assert isinstance(frame, bytes)
    return rtc.SignalResponse.FromString(frame)


@contextmanager
def draining(*options: str) -> Iterator[tuple[subprocess.Popen[str], ClientConnection]]:
    """A server with somebody in a call, after its first SIGTERM."""
    port = free_port()
    arguments = ("dev", "--port", str(port), "--rtc.udp_port", "0", *options)
    with running(*arguments, ready="Ctrl-C") as (process, _), in_a_call(port) as client:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        for line in process.stdout:
            if "draining" in line:
                break
        yield process, client


def test_after_sigterm_calls_may_end_by_themselves() -> None:
    with draining("--drain-timeout", "1h") as (process, client):
        client.send(rtc.SignalRequest(leave=rtc.LeaveRequest()).SerializeToString())
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(("timeout", "again"), [("1h", True), ("0", False)])
def test_after_a_second_sigterm_or_the_deadline_they_are_told_to_reconnect(timeout: str, again: bool) -> None:
    with draining("--drain-timeout", timeout) as (process, client):
        if again:
            process.send_signal(signal.SIGTERM)
        while not (frame := received(client)).HasField("leave"):
            pass
        assert frame.leave.reason == models.DisconnectReason.SERVER_SHUTDOWN
        assert frame.leave.action == rtc.LeaveRequest.RECONNECT
        assert process.wait(timeout=10) == 0


def test_a_taken_port_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = run("dev", "--port", str(port), "--rtc.udp_port", "0")
    assert answer.returncode == 1
    assert f"port {port} is in use" in answer.stderr
    assert "--port" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_taken_port_of_the_media_plane_is_explained_by_its_key() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = run("dev", "--port", "0", "--rtc.udp_port", "0", "--rtc.tcp_port", port)
    assert answer.returncode == 1
    assert "--rtc.tcp_port" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_serve_takes_a_livekit_yaml(tmp_path: Path) -> None:
    file = tmp_path / "livekit.yaml"
    port = free_port()
    file.write_text(
        f"port: {port}\nbind_addresses: [127.0.0.1]\nkeys: {{k: {'s' * 32}}}\n"
        "rtc: {udp_port: 0}\nredis: {address: localhost}\nlogging: {json: true}\n"
    )
    refused = run("serve", "--config", str(file))
    assert refused.returncode == 1
    assert "not supported yet: redis.address" in refused.stderr
    with running("serve", "--config", str(file), "--ignore-unsupported", ready='"listening"') as (
        process,
        lines,
    ):
        assert '"key": "redis.address"' in lines[0]
        assert httpx.get(f"http://127.0.0.1:{port}/").text == "OK"
        assert httpx.get(f"http://127.0.0.1:{port}/dev/token?room=a&identity=b").status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (["serve"], {}, "no keys"),
        (["serve"], {"LIVEKIT_KEYS": "k: short"}, "shorter than 32 characters"),
        (["serve", "--rtc.nonsense", "1"], {}, "unknown key: rtc.nonsense"),
        (["serve", "--config", "/nowhere.yaml"], {}, "No such file"),
        (["room", "list", "--url", "http://127.0.0.1:1"], {}, "cannot reach"),
        (["token", "--room", "a", "--identity", "b", "--valid-for", "5"], {}, "a duration needs a unit"),
    ],
)
def test_mistakes_are_explained_in_a_line(
    arguments: list[str], environment: dict[str, str], text: str
) -> None:
    answer = run(*arguments, **environment)
    assert answer.returncode == 1
    assert text in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits")
def test_without_file_descriptors_the_log_names_the_limit_and_the_server_comes_back() -> None:
    """And the limit that a process begins with is raised to the one that it may have."""
    port = free_port()
    arguments = ["serve", "--keys", f"key: {'s' * 32}", "--bind", "127.0.0.1", "--port", str(port)]
    limited = ["sh", "-c", 'ulimit -Sn 60 && ulimit -Hn 150 && exec "$@"', "sh"]
    url = f"http://127.0.0.1:{port}/"
    ports = ("--rtc.udp_port", "0", "--rtc.tcp_port", "0")
    with running(*arguments, *ports, ready="listening", under=limited) as (process, _):
        assert process.stdout is not None
        with ExitStack() as held:
            for _ in range(200):
                held.enter_context(socket.create_connection(("127.0.0.1", port)))
            began = time.monotonic()
            while "cannot be accepted" not in (line := process.stdout.readline()):
                assert line, "the server ended"
            assert "open files 150 (ulimit -n" in line
            while "cannot be accepted" not in process.stdout.readline():
                pass
            # Not at every turn of its loop.
            assert time.monotonic() - began > 0.5
        assert httpx.get(url, timeout=20).text == "OK"
