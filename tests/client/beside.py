"""A program that plays what stands on data packets between roomful.rtc and PyPI's `livekit`, each way.

It prints a line of JSON: what the receiving and calling side saw, by who plays whom.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

from livekit import rtc as livekit

import roomful
from roomful import rtc as roomful_rtc

SDKS: dict[str, Any] = {"livekit": livekit, "roomful": roomful_rtc}
PATIENCE = 60.0
LETTERS = "".join(chr(random.Random(1).randrange(32, 0x3000)) for _ in range(40_000))
NOISE = random.Random(1).randbytes(100_000)


def short(content: str | bytes) -> Any:
    raw = content.encode() if isinstance(content, str) else content
    return content if isinstance(content, str) and len(content) < 100 else [len(raw), zlib.crc32(raw)]


class Play:
    """Ada sends and calls, Ben receives and answers."""

    def __init__(self, ada: Any, ben: Any, key: bytes | None) -> None:
        self.key = key
        self.ada_sdk, self.ben_sdk = ada, ben
        self.ada, self.ben = ada.Room(), ben.Room()
        self.came: asyncio.Queue[Any] = asyncio.Queue()
        self.seen: list[Any] = []
        self.tasks: set[asyncio.Future[None]] = set()

    async def run(self, server: roomful.Server, room: str) -> list[Any]:
        self.ben.register_text_stream_handler("text", self.read)
        self.ben.register_byte_stream_handler("bytes", self.read)
        self.ben.on("data_received", lambda it: self.came.put_nowait([it.data.decode(), it.topic, it.kind]))
        await self.ben.connect(
            server.url, server.token(identity="ben", room=room), self.options(self.ben_sdk)
        )
        await self.ada.connect(
            server.url, server.token(identity="ada", room=room), self.options(self.ada_sdk)
        )
        met = asyncio.Event()
        self.ada.on("participant_connected", lambda _: met.set())
        if not self.ada.remote_participants:
            await met.wait()
        self.serve()
        for act in (self.packets, self.texts, self.bytes, self.calls, self.frames, self.leave):
            await asyncio.wait_for(act(), PATIENCE)
        await self.ben.disconnect()
        return self.seen

    def options(self, sdk: Any) -> Any:
        if self.key is None:
            return sdk.RoomOptions()
        keys = sdk.KeyProviderOptions(shared_key=self.key)
        return sdk.RoomOptions(encryption=sdk.E2EEOptions(key_provider_options=keys))

    def read(self, reader: Any, sender: str) -> None:
        async def collect() -> None:
            try:
                chunks = [chunk async for chunk in reader]
                info = reader.info
                content = short("".join(chunks) if info.topic == "text" else b"".join(chunks))
                self.came.put_nowait(
                    [sender, content, info.size, info.mime_type, info.attributes, getattr(info, "name", "")]
                )
            except (livekit.StreamError, roomful_rtc.StreamError) as error:
                self.came.put_nowait([sender, error.description])

        task = asyncio.ensure_future(collect())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def arrives(self) -> None:
        self.seen.append(await self.came.get())

    async def packets(self) -> None:
        await self.ada.local_participant.publish_data(b"reliable", topic="x")
        await self.arrives()
        await self.ada.local_participant.publish_data("lossy", reliable=False, destination_identities=["ben"])
        await self.arrives()

    async def texts(self) -> None:
        ada = self.ada.local_participant
        for text in ("short é", "€uro😀" * 20_000, LETTERS, ""):
            await ada.send_text(text, topic="text", attributes={"a": "1"})
            await self.arrives()
        writer = await ada.stream_text(topic="text", attributes={"a": "1", "b": "1"}, stream_id="mine")
        for piece in ("one ", "é" * 20_000, " two"):
            await writer.write(piece)
        await writer.aclose(attributes={"b": "2"})
        await self.arrives()
        writer = await ada.stream_text(topic="text")
        await writer.write("half")
        await writer.aclose(reason="lost the thread")
        await self.arrives()

    async def bytes(self) -> None:
        ada = self.ada.local_participant
        await ada.send_bytes(NOISE, topic="bytes", name="noise", mime_type="a/b")
        await self.arrives()
        await ada.send_bytes(bytes(1000), topic="bytes")
        await self.arrives()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.csv"
            path.write_bytes(b"1,2,3\n" * 40_000)
            for compress in (True, False):
                await ada.send_file(str(path), topic="bytes", attributes={"a": "1"}, compress=compress)
                await self.arrives()
        writer = await ada.stream_bytes("five", topic="bytes", total_size=5)
        await writer.write(b"12345")
        await writer.aclose()
        await self.arrives()

    def serve(self) -> None:
        async def echo(invocation: Any) -> str:
            return f"{invocation.payload} {invocation.caller_identity} {invocation.response_timeout}"

        async def refuse(invocation: Any) -> str:
            raise self.ben_sdk.RpcError(101, "m" * 300, "data")

        async def sleep(invocation: Any) -> str:
            await asyncio.sleep(60)
            return ""

        for method in (echo, refuse, sleep):
            self.ben.local_participant.register_rpc_method(method.__name__, method)

    async def calls(self) -> None:
        calls: list[tuple[str, str, float | None]] = [
            ("echo", "hé", None),
            ("echo", "x" * 50_000, 19),
            ("refuse", "", None),
            ("absent", "", None),
            ("sleep", "", 1),
        ]
        for method, payload, timeout in calls:
            try:
                answer = await self.ada.local_participant.perform_rpc(
                    destination_identity="ben", method=method, payload=payload, response_timeout=timeout
                )
                self.seen.append(short(answer))
            except self.ada_sdk.RpcError as error:
                self.seen.append([error.code, error.message, error.data])

    async def frames(self) -> None:
        published: asyncio.Queue[Any] = asyncio.Queue()
        unpublished: asyncio.Queue[str] = asyncio.Queue()
        self.ben.on("data_track_published", published.put_nowait)
        self.ben.on("data_track_unpublished", unpublished.put_nowait)
        local = await self.ada.local_participant.publish_data_track(name="numbers")
        remote = await published.get()
        self.seen.append([remote.info.name, remote.info.uses_e2ee, remote.publisher_identity])
        stream = remote.subscribe()
        reading = asyncio.ensure_future(stream.read())
        while not reading.done():  # until the subscription stands, frames are for nobody
            with contextlib.suppress(self.ada_sdk.PushFrameError):  # the one before is still on its way
                local.try_push(self.ada_sdk.DataTrackFrame(NOISE[:50_000], user_timestamp=7))
            await asyncio.wait([reading], timeout=0.1)
        frame = await reading
        self.seen.append([short(frame.payload), frame.user_timestamp])
        await local.unpublish()
        self.seen.append(await unpublished.get() == remote.info.sid)
        while await stream.read():
            pass
        try:
            local.try_push(self.ada_sdk.DataTrackFrame(b""))
        except self.ada_sdk.PushFrameError as error:
            self.seen.append(error.message)

    async def leave(self) -> None:
        """In the middle of a text."""
        writer = await self.ada.local_participant.stream_text(topic="text")
        await writer.write("half")
        await self.ada.local_participant.publish_data(b"behind it")
        await self.arrives()
        await self.ada.disconnect()
        await self.arrives()


async def main() -> None:
    async with roomful.Server() as server:
        plays = {
            f"{ada} to {ben}, {'encrypted' if key else 'plain'}": Play(SDKS[ada], SDKS[ben], key)
            for ada, ben in (("livekit", "livekit"), ("roomful", "livekit"), ("livekit", "roomful"))
            for key in (None, b"a key")
            if key is None or ada != ben
        }
        seen = await asyncio.gather(*(play.run(server, name) for name, play in plays.items()))
        json.dump(dict(zip(plays, seen, strict=True)), sys.stdout)


asyncio.run(main())
