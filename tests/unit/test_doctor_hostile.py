"""Whatever a server says, the doctor comes to an end with findings or with an error for people."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from livekit.protocol import models, rtc
from websockets.exceptions import ConnectionClosedError

from roomful.doctor import SignallingError, Way, carriers, examination, examine, signalling

CANDIDATE = "candidate:1 1 udp 1 {} {} typ host"
texts = st.text(max_size=30)
addresses = st.sampled_from(["127.0.0.1", "::1", "10.0.0", "name.local", "", "127.0.0.1%lo", "\0"])
ports = st.sampled_from(["9", "0", "65536", "-1", "x", "٣", "9" * 5000, ""])
lines = st.builds(CANDIDATE.format, addresses, ports) | texts
inits = (
    st.sampled_from(
        ["", "[]", "1", "null", '"a"', "{", '{"candidate":1}', "[" * 10_000, r'{"candidate":"\ud800"}']
    )
    | lines.map(lambda line: '{"candidate":"' + line.replace("\\", "").replace('"', "") + '"}')
    | texts
)
sdps = texts | lines.map(lambda line: f"v=0\r\na={line}\r\n")
urls = (
    st.builds("{}:{}:{}{}".format, st.sampled_from(["turn", "turns", "TURN"]), addresses, ports, texts)
    | texts
)
messages = st.one_of(
    sdps.map(lambda sdp: rtc.SignalResponse(answer=rtc.SessionDescription(type="answer", sdp=sdp))),
    inits.map(lambda init: rtc.SignalResponse(trickle=rtc.TrickleRequest(candidateInit=init))),
    st.just(rtc.SignalResponse(leave=rtc.LeaveRequest(reason=99))),  # type: ignore[arg-type]
    st.just(rtc.SignalResponse(pong=1)),
).map(rtc.SignalResponse.SerializeToString)
frames = st.lists(messages | st.binary(max_size=20) | texts, max_size=6)
ice_servers = st.lists(
    st.builds(rtc.ICEServer, urls=st.lists(urls, max_size=2), username=texts, credential=texts), max_size=2
)


class Server:
    """A connection to one that says what it was told to, and is gone."""

    def __init__(self, says: list[bytes | str]) -> None:
        self.says = list(says)

    async def send(self, frame: bytes) -> None:
        rtc.SignalRequest.FromString(frame)

    async def recv(self) -> bytes | str:
        if not self.says:
            raise ConnectionClosedError(None, None)
        return self.says.pop(0)

    async def close(self) -> None: ...


@pytest.fixture(scope="module", autouse=True)
def _impatient() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for module in (carriers, examination, signalling):
            patch.setattr(module, "PATIENCE", 0.02)
        patch.setattr(socket, "getaddrinfo", _look_up)
        yield


def _look_up(host: str, port: int, *arguments: Any, **named: Any) -> Any:
    """Nobody is asked for made-up names."""
    host.encode("idna")
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        raise socket.gaierror("unknown") from None
    return [(family, socket.SOCK_DGRAM, 0, "", (host, port))]


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def run(says: Callable[[], list[bytes | str]]) -> str:
    async def connect(*_: object, **__: object) -> Server:
        return Server(says())

    async def main() -> str:
        try:
            found = await examine("ws://server", lambda way: "token", tls=NO_TLS)
        except SignallingError as error:
            return str(error)
        assert {it.way for it in found.findings} == set(Way)
        for finding in found.findings:
            finding.remedy(found.udp)
        return "examined"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signalling, "connect", connect)
        return asyncio.run(main())


def joined(servers: list[rtc.ICEServer]) -> bytes:
    info = models.ServerInfo(version="1", debug_info="\x1b[2J")
    return rtc.SignalResponse(
        join=rtc.JoinResponse(server_info=info, ice_servers=servers)
    ).SerializeToString()


ANSWER = rtc.SignalResponse(answer=rtc.SessionDescription(type="answer", sdp="v=0\r\n")).SerializeToString()
FINAL = rtc.SignalResponse(trickle=rtc.TrickleRequest(final=True)).SerializeToString()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(servers=ice_servers, said=frames)
@example(servers=[], said=[ANSWER, FINAL])
@example(servers=[rtc.ICEServer(urls=["turn:127.0.0.1:x", "turns:[::1]:65536"])], said=[ANSWER, FINAL])
def test_any_server_is_examined_or_refused(servers: list[rtc.ICEServer], said: list[bytes | str]) -> None:
    assert run(lambda: [joined(servers), *said, ANSWER, FINAL])


@pytest.mark.parametrize("first", [b"\xff", "{}", b"", ANSWER], ids=["garbage", "text", "nothing", "answer"])
def test_what_is_no_join_is_said_in_words(first: bytes | str) -> None:
    assert "server" in run(lambda: [first])


def test_a_reason_from_the_future_is_a_number() -> None:
    leave = rtc.SignalResponse(leave=rtc.LeaveRequest(reason=99)).SerializeToString()  # type: ignore[arg-type]
    assert run(lambda: [joined([]), leave]) == "the server sent us away: 99"


def test_an_answer_that_is_none_is_a_finding_of_each_way() -> None:
    trickle = rtc.SignalResponse(
        trickle=rtc.TrickleRequest(candidateInit='["candidate"]')
    ).SerializeToString()
    assert run(lambda: [joined([]), trickle, ANSWER, FINAL]) == "examined"
