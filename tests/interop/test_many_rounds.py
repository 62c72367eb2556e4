"""Descriptions do not grow with the number of tracks that there have been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from livekit.protocol.rtc import SignalResponse
from python import scenarios  # noqa: F401
from python.performance import MODES, perform
from python.scenarios.publishing import MANY_ROUNDS
from servers import Server, ServerProcess, open_server
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

#: Seconds that a round may take.
ROUND = 1.0
#: Descriptions after which all sections are there that will be used again.
SETTLED = 6
#: By how much ids with more digits may lengthen a description.
DIGITS = 1.02

#: Sections and bytes.
Size = tuple[int, int]


@asynccontextmanager
async def relay(server: Server, sizes: dict[str, list[Size]]) -> AsyncIterator[Server]:
    """The server through a relay that notes the size of each description by the server, by who gets it."""

    async def handle(client: ServerConnection) -> None:
        assert client.request
        url, mine = server.url + client.request.path, list[Size]()
        token = {"authorization": client.request.headers["authorization"]}
        async with connect(url, additional_headers=token, max_size=None, compression=None) as upstream:

            async def forward() -> None:
                async for message in client:
                    await upstream.send(message)

            forwarding = asyncio.create_task(forward())
            try:
                async for message in upstream:
                    assert isinstance(message, bytes)
                    response = SignalResponse.FromString(message)
                    kind = response.WhichOneof("message")
                    if kind in ("offer", "answer"):
                        sdp = getattr(response, kind).sdp
                        mine.append((sdp.count("\nm="), len(sdp)))
                    elif kind == "join":
                        sizes[response.join.participant.identity] = mine
                    with suppress(ConnectionClosed):
                        await client.send(message)
            finally:
                forwarding.cancel()

    async with serve(handle, "127.0.0.1", 0, max_size=None, compression=None) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        key, secret = next(iter(server.keys.items()))
        yield ServerProcess(f"ws://127.0.0.1:{port}", key, secret)


@pytest.mark.parametrize("mode", MODES)
def test_a_description_stays_as_small_as_after_the_first_rounds(mode: str) -> None:
    sizes: dict[str, list[Size]] = {}

    async def play(server: Server) -> None:
        limit = 30 + ROUND * MANY_ROUNDS
        async with relay(server, sizes) as relayed:
            await asyncio.to_thread(perform, relayed, "publish_many_times", mode, limit)

    with open_server() as server:
        asyncio.run(play(server))
    for name in ("ada", "bob"):
        early, last = sizes[name][:SETTLED], sizes[name][-1]
        most = [max(size) for size in zip(*sizes[name], strict=True)]
        settled = [max(size) for size in zip(*early, strict=True)]
        print(
            mode, name, f"{len(sizes[name])} descriptions, sections and bytes: {early}, last {last}, {most=}"
        )
        assert len(sizes[name]) > MANY_ROUNDS
        assert most[0] == settled[0]
        assert most[1] < settled[1] * DIGITS
