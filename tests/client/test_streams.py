from __future__ import annotations

import asyncio
import contextlib
import gc
import zlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from ends import DEFLATE, End, Hall
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models

from roomful.rtc import _stream_content, _streams, data_stream
from roomful.rtc.data_stream import ByteStreamReader, StreamError, TextStreamReader

LIMIT = 20


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario, LIMIT)

    asyncio.run(bounded(), debug=True)


def texts_of(end: End, topic: str = "t") -> asyncio.Queue[tuple[TextStreamReader, str]]:
    queue: asyncio.Queue[tuple[TextStreamReader, str]] = asyncio.Queue()
    end.streams.text_handlers[topic] = lambda *opened: queue.put_nowait(opened)
    return queue


def bytes_of(end: End, topic: str = "t") -> asyncio.Queue[tuple[ByteStreamReader, str]]:
    queue: asyncio.Queue[tuple[ByteStreamReader, str]] = asyncio.Queue()
    end.streams.byte_handlers[topic] = lambda *opened: queue.put_nowait(opened)
    return queue


def header(stream_id: str = "s", **fields: Any) -> models.DataPacket:
    fields.setdefault("text_header", models.DataStream.TextHeader())
    return stamped(stream_header=models.DataStream.Header(stream_id=stream_id, topic="t", **fields))


def chunk(index: int, content: bytes, stream_id: str = "s") -> models.DataPacket:
    return stamped(
        stream_chunk=models.DataStream.Chunk(stream_id=stream_id, chunk_index=index, content=content)
    )


def trailer(stream_id: str = "s", **fields: Any) -> models.DataPacket:
    return stamped(stream_trailer=models.DataStream.Trailer(stream_id=stream_id, **fields))


def stamped(**value: Any) -> models.DataPacket:
    return models.DataPacket(participant_identity="ada", participant_sid="PA_ada", **value)


async def collected(reader: ByteStreamReader) -> bytes:
    return b"".join([chunk async for chunk in reader])


def test_a_short_text_is_one_packet_where_all_understand_that() -> None:
    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada"), hall.enter("ben")
        opened = texts_of(ben)
        info = await ada.streams.send_text("héllo", topic="t", attributes={"a": "1"}, reply_to_id="before")
        reader, sender = await opened.get()
        assert (sender, await reader.read_all(), hall.kinds()) == ("ada", "héllo", ["stream_header"])
        assert (reader.info.stream_id, reader.info.size, info.size) == (info.stream_id, 6, 6)
        assert (reader.info.attributes, reader.info.topic, reader.info.mime_type) == (
            {"a": "1"},
            "t",
            "text/plain",
        )
        assert hall.packets[0].stream_header.text_header.reply_to_stream_id == "before"

    run(scenario())


@pytest.mark.parametrize(
    ("protocols", "capable", "kinds", "compressed"),
    [
        ((2, 2), True, ["stream_header"], True),
        ((2, 2), False, ["stream_header"], False),
        ((2, 1), True, ["stream_header", "stream_chunk", "stream_trailer"], False),
    ],
)
def test_a_text_is_sent_as_all_its_receivers_understand(
    protocols: tuple[int, int], capable: bool, kinds: list[str], compressed: bool
) -> None:
    async def scenario() -> None:
        hall = Hall()
        ada = hall.enter("ada")
        opened = [
            texts_of(hall.enter(f"r{i}", protocol, *([DEFLATE] if capable else [])))
            for i, protocol in enumerate(protocols)
        ]
        await ada.streams.send_text("again and " * 50, topic="t")
        assert hall.kinds() == kinds
        assert (hall.packets[0].stream_header.compression == 1) == compressed
        for queue in opened:
            reader, _ = await queue.get()
            assert await reader.read_all() == "again and " * 50

    run(scenario())


def test_to_one_whom_nobody_knows_a_text_is_sent_as_of_old() -> None:
    async def scenario() -> None:
        hall = Hall()
        ada = hall.enter("ada")
        hall.enter("ben")
        await ada.streams.send_text("hi", destination_identities=["ben", "hidden"])
        assert hall.kinds() == ["stream_header", "stream_chunk", "stream_trailer"]

    run(scenario())


@pytest.mark.parametrize("protocol", [0, 2])
def test_long_texts_are_cut_between_characters(protocol: int) -> None:
    text = "a" + "é€😀" * 10_000

    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada"), hall.enter("ben", protocol)
        opened = texts_of(ben)
        await ada.streams.send_text(text, topic="t")
        reader, _ = await opened.get()
        assert await reader.read_all() == text
        contents = [packet.stream_chunk.content for packet in hall.packets[1:-1]]
        assert [len(content) for content in contents[:-1]] >= [14_997] * (len(contents) - 1)
        assert max(map(len, contents)) <= 15_000
        assert "".join(content.decode() for content in contents) == text
        assert [packet.stream_chunk.chunk_index for packet in hall.packets[1:-1]] == list(
            range(len(contents))
        )

    run(scenario())


def test_every_packet_goes_to_the_named_alone() -> None:
    async def scenario() -> None:
        hall = Hall()
        ada, _ben, eve = hall.enter("ada"), hall.enter("ben", 0), hall.enter("eve", 0)
        eve.receive = pytest.fail  # type: ignore[method-assign]
        await ada.streams.send_text("for ben", destination_identities=["ben"])
        writer = await ada.streams.stream_bytes("file", destination_identities=["ben"])
        await writer.write(b"for ben")
        await writer.aclose()
        assert {tuple(packet.destination_identities) for packet in hall.packets} == {("ben",)}

    run(scenario())


def test_compressed_text_in_chunks_is_put_together_again() -> None:
    text = "".join(f"{number:x}é " for number in range(20_000, 60_000))

    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada"), hall.enter("ben", 2, DEFLATE)
        opened = texts_of(ben)
        await ada.streams.send_text(text, topic="t")
        assert 3 < len(hall.packets) < len(text.encode()) // 15_000
        reader, _ = await opened.get()
        chunks = [chunk async for chunk in reader]
        assert len(chunks) > 1
        assert "".join(chunks) == text
        assert reader.info.size == len(text.encode())

    run(scenario())


def test_text_is_written_piece_by_piece_and_its_end_has_attributes() -> None:
    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada"), hall.enter("ben")
        opened = texts_of(ben)
        writer = await ada.streams.stream_text(
            topic="t", attributes={"a": "1", "b": "1"}, stream_id="mine", total_size=5
        )
        reader, _ = await opened.get()
        assert (writer.info.stream_id, reader.info.stream_id, writer.info.size) == ("mine", "mine", 5)
        waiting = asyncio.ensure_future(reader.__anext__())
        await writer.write("one ")
        assert await waiting == "one "
        await writer.write("")
        await writer.write("two")
        await writer.aclose(attributes={"b": "2"})
        assert reader.info.attributes == {"a": "1", "b": "1"}
        assert await reader.read_all() == "two"
        assert reader.info.attributes == {"a": "1", "b": "2"}
        with pytest.raises(RuntimeError, match="already closed"):
            await writer.aclose()
        with pytest.raises(RuntimeError, match="after stream is closed"):
            await writer.write("three")
        with pytest.raises(StopAsyncIteration):
            await reader.__anext__()

    run(scenario())


def test_a_reason_is_an_error_at_the_reader_behind_what_was_written() -> None:
    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada"), hall.enter("ben")
        opened = bytes_of(ben)
        writer = await ada.streams.stream_bytes("name", topic="t", mime_type="text/csv")
        await writer.write(b"1,2")
        await writer.aclose(reason="disk full", attributes={"at": "2"})
        reader, _ = await opened.get()
        assert (reader.info.name, reader.info.mime_type, reader.info.size) == ("name", "text/csv", 0)
        assert await reader.__anext__() == b"1,2"
        with pytest.raises(StreamError, match="stream closed abnormally: disk full") as caught:
            await reader.__anext__()
        assert isinstance(caught.value, ConnectionError)
        assert reader.info.attributes == {"at": "2"}

    run(scenario())


def test_concurrent_writes_are_not_mixed() -> None:
    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada"), hall.enter("ben")
        opened = bytes_of(ben)
        writer = await ada.streams.stream_bytes("n", topic="t")
        await asyncio.gather(*(writer.write(bytes([letter]) * 40_000) for letter in b"abc"))
        await writer.aclose()
        reader, _ = await opened.get()
        assert await collected(reader) == b"a" * 40_000 + b"b" * 40_000 + b"c" * 40_000

    run(scenario())


@pytest.mark.parametrize("protocol", [1, 2])
def test_bytes_arrive_whatever_they_are(protocol: int) -> None:
    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada"), hall.enter("ben", protocol, DEFLATE)
        opened = bytes_of(ben)
        for content in (b"", b"\x00\xff", bytes(100_000), bytes(range(256)) * 200, b"x" * 15_000):
            hall.packets.clear()
            info = await ada.streams.send_bytes(content, topic="t", name="n", mime_type="m/m", stream_id="id")
            reader, _ = await opened.get()
            assert await collected(reader) == content
            assert (info.name, info.mime_type, info.stream_id, info.size) == ("n", "m/m", "id", len(content))
            assert reader.info == info

        info = await ada.streams.send_bytes(b"", topic="t")
        assert (info.name, info.mime_type) == ("unknown", "application/octet-stream")

    run(scenario())


@pytest.mark.parametrize("capabilities", [(), (DEFLATE,)])
@pytest.mark.parametrize("size", [0, 20_000, 300_000])
def test_files_arrive(tmp_path: Path, size: int, capabilities: tuple[int, ...]) -> None:
    path = tmp_path / "table.csv"
    content = bytes(range(250)) * (size // 250)
    path.write_bytes(content)

    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada"), hall.enter("ben", 2, *capabilities)
        opened = bytes_of(ben)
        info = await ada.streams.send_file(str(path), topic="t")
        reader, _ = await opened.get()
        assert await collected(reader) == content
        assert (info.name, info.mime_type, info.size) == ("table.csv", "text/csv", size)
        assert (hall.packets[0].stream_header.compression == 1) == bool(capabilities)
        assert not hall.packets[0].stream_header.HasField("inline_content")
        with pytest.raises(StreamError, match="I/O error"):
            await ada.streams.send_file(str(tmp_path / "absent"))

    run(scenario())


def test_what_is_not_sent_is_an_error() -> None:
    async def scenario() -> None:
        hall = Hall()
        ada = hall.enter("ada")
        with pytest.raises(StreamError, match="header exceeds"):
            await ada.streams.send_text("x", attributes={"big": "x" * 15_000})
        writer = await ada.streams.stream_text()
        ada.connected = False
        with pytest.raises(StreamError, match="unable to send"):
            await writer.write("x")
        with pytest.raises(StreamError, match="unable to send"):
            await ada.streams.send_text("x")

    run(scenario())


def test_a_writer_that_nobody_holds_ends_its_stream() -> None:
    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada"), hall.enter("ben")
        opened = texts_of(ben)
        writer = await ada.streams.stream_text(topic="t")
        await writer.write("forgotten")
        del writer
        gc.collect()
        reader, _ = await opened.get()
        assert await reader.read_all() == "forgotten"

    run(scenario())


MISFORTUNES = {
    "a gap": (
        [header(), chunk(0, b"a"), chunk(2, b"c"), chunk(1, b"b"), trailer()],
        "a",
        "expected chunk index",
    ),
    "more than announced": (
        [header(total_length=2), chunk(0, b"abc"), trailer()],
        "",
        "exceeded total length",
    ),
    "less than announced": ([header(total_length=2), chunk(0, b"a"), trailer()], "a", "incomplete"),
    "longer than allowed": ([header(), chunk(0, b"a" * 60), chunk(1, b"a" * 60)], "a" * 60, "maximum size"),
    "announced as longer than allowed": ([header(total_length=101)], "", "maximum size"),
    "a bomb": (
        [header(compression=1, inline_content=zlib.compress(bytes(10**6), wbits=-15))],
        "",
        "maximum size",
    ),
    "data behind the compressed content": (
        [header(compression=1), chunk(0, zlib.compress(b"a", wbits=-15)), chunk(1, b"more")],
        "a",
        "behind the end",
    ),
    "data behind it in one": (
        [header(compression=1), chunk(0, zlib.compress(b"a", wbits=-15) + b"more")],
        "",
        "behind the end",
    ),
    "compressed content without its end": (
        [header(compression=1), chunk(0, zlib.compress(b"a" * 50, wbits=-15)[:-1]), trailer()],
        "a" * 50,
        "incomplete",
    ),
    "not deflated": ([header(compression=1), chunk(0, b"\xff\xff\xff")], "", "decompression failed"),
    "not text": ([header(), chunk(0, b"a"), chunk(1, b"\xff")], "a", "UTF-8 decoding error"),
    "half a character": ([header(), chunk(0, "é".encode()[:1]), trailer()], "", "UTF-8 decoding error"),
}


@pytest.mark.parametrize("misfortune", MISFORTUNES)
def test_a_broken_stream_ends_with_an_error_and_is_forgotten(misfortune: str) -> None:
    packets, read, error = MISFORTUNES[misfortune]

    async def scenario() -> None:
        ben = Hall().enter("ben", max_payload=100)
        opened = texts_of(ben)
        for packet in packets:
            ben.streams.handle(packet)
        reader, _ = await opened.get()
        got: list[str] = []

        async def collect() -> None:
            async for piece in reader:
                got.append(piece)

        with pytest.raises(StreamError, match=error):
            await collect()
        assert "".join(got) == read
        assert not ben.streams._open
        with pytest.raises(StreamError):
            await reader.__anext__()

    run(scenario())


def test_what_nobody_reads_is_bounded_for_each_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_stream, "MAX_UNREAD", 10_000)

    async def scenario() -> None:
        ben = Hall().enter("ben")
        opened = bytes_of(ben)
        kinds = {"byte_header": models.DataStream.ByteHeader(), "text_header": None}
        for index in range(4):
            ben.streams.handle(header(str(index), **kinds))
            ben.streams.handle(chunk(0, bytes(3000), str(index)))
        readers = [opened.get_nowait()[0] for _ in range(4)]
        assert sum(len(piece) for reader in readers for piece in reader._chunks) == 9000
        with pytest.raises(StreamError, match="wait to be read"):
            await readers[3].__anext__()
        another = header("other", **kinds)
        another.participant_sid = "PA_eve"
        ben.streams.handle(another)
        piece = chunk(0, bytes(9000), "other")
        piece.participant_sid = "PA_eve"
        ben.streams.handle(piece)
        assert await opened.get_nowait()[0].__anext__() == bytes(9000)
        # What is read, closed or let go of makes room.
        assert await readers[0].__anext__() == bytes(3000)
        readers[1].close()
        ben.streams.handle(trailer("2"))
        del readers[2:]
        gc.collect()
        ben.streams.handle(chunk(1, bytes(9000), "0"))
        assert await readers[0].__anext__() == bytes(9000)

    run(scenario())


def test_what_is_read_passes_however_well_it_was_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_stream, "MAX_UNREAD", 100_000)
    monkeypatch.setattr(_stream_content, "PIECE", 10_000)

    async def scenario() -> None:
        hall = Hall()
        ada, ben = hall.enter("ada", 2, DEFLATE), hall.enter("ben", 2, DEFLATE)
        opened, files = texts_of(ben), bytes_of(ben)
        text = "€" * 1_000_000
        await ada.streams.send_text(text, topic="t")
        assert sum(map(len, (packet.stream_chunk.content for packet in hall.packets))) < len(text) // 100
        reader, _ = opened.get_nowait()
        assert len(await reader.read_all()) == len(text)
        await ada.streams.send_bytes(bytes(1_000_000), topic="t")
        largest = total = 0
        async for piece in files.get_nowait()[0]:
            largest, total = max(largest, len(piece)), total + len(piece)
        assert total == 1_000_000
        assert largest == _stream_content.PIECE

    run(scenario())


def test_a_bomb_ends_where_more_is_read_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stream_content, "PIECE", 10_000)

    async def scenario() -> None:
        ben = Hall().enter("ben", max_payload=10 * _stream_content.PIECE)
        opened = bytes_of(ben)
        ben.streams.handle(
            header("bomb", compression=1, byte_header=models.DataStream.ByteHeader(), text_header=None)
        )
        ben.streams.handle(chunk(0, zlib.compress(bytes(100 * _stream_content.PIECE), wbits=-15), "bomb"))
        reader, _ = opened.get_nowait()
        for _ in range(10):
            assert len(await anext(reader)) == _stream_content.PIECE
        with pytest.raises(StreamError, match="exceeds maximum size"):
            await anext(reader)
        assert not ben.streams._open

    run(scenario())


@pytest.mark.parametrize("compression", [0, 1])
def test_others_have_their_turn_while_much_is_read(compression: int) -> None:
    content = bytes(20_000_000)
    if compression:
        content = zlib.compress(content, wbits=-15)

    async def scenario() -> None:
        ben = Hall().enter("ben")
        opened = bytes_of(ben)
        ben.streams.handle(
            header(compression=compression, byte_header=models.DataStream.ByteHeader(), text_header=None)
        )
        for index in range(0, len(content), 15_000):
            ben.streams.handle(chunk(index // 15_000, content[index : index + 15_000]))
        ben.streams.handle(trailer())
        reading = asyncio.ensure_future(collected(opened.get_nowait()[0]))
        turns = 0
        while not reading.done():
            turns += 1
            await asyncio.sleep(0)
        assert len(await reading) == 20_000_000
        assert turns > 15

    run(scenario())


def test_streams_that_are_open_are_bounded_for_each_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        ben = Hall().enter("ben")
        opened = texts_of(ben)
        for index in range(_streams.MAX_OPEN + 5):
            ben.streams.handle(header(str(index)))
        assert len(ben.streams._open) == opened.qsize() == _streams.MAX_OPEN
        ben.streams.handle(trailer("7"))
        ben.streams.handle(header("again"))
        assert opened.qsize() == _streams.MAX_OPEN + 1
        monkeypatch.setattr(_streams, "MAX_OPEN_OF_ALL", _streams.MAX_OPEN)
        another = header("other")
        another.participant_sid = "PA_eve"
        ben.streams.handle(another)
        assert opened.qsize() == _streams.MAX_OPEN + 1

    run(scenario())


def test_repeated_chunks_characters_in_two_and_strange_packets_do_no_harm() -> None:
    async def scenario() -> None:
        ben = Hall().enter("ben")
        opened = texts_of(ben)
        euro = "€".encode()
        for packet in [
            chunk(0, b"without a header"),
            trailer(),
            header(compression=7),
            stamped(stream_header=models.DataStream.Header(stream_id="neither", topic="t")),
            header(total_length=4),
            chunk(0, b"a" + euro[:1]),
            header(total_length=4),
            chunk(0, b"a" + euro[:1]),
            chunk(1, euro[1:]),
            trailer(),
            trailer(),
        ]:
            ben.streams.handle(packet)
        reader, _ = await opened.get()
        assert await reader.read_all() == "a€"
        assert opened.empty()

    run(scenario())


PACKETS = st.one_of(
    st.builds(
        lambda stream_id, total, compression, inline, text: header(
            stream_id,
            total_length=total,
            compression=compression,
            inline_content=inline,
            text_header=models.DataStream.TextHeader() if text else None,
            byte_header=None if text else models.DataStream.ByteHeader(),
        ),
        st.sampled_from("ab"),
        st.none() | st.integers(0, 2**64 - 1),
        st.integers(0, 2),
        st.none() | st.binary(max_size=20),
        st.booleans(),
    ),
    st.builds(chunk, st.integers(0, 3), st.binary(max_size=20), st.sampled_from("ab")),
    st.builds(
        lambda stream_id, reason: trailer(stream_id, reason=reason),
        st.sampled_from("ab"),
        st.text(max_size=3),
    ),
)


@given(st.lists(st.tuples(PACKETS, st.booleans()), max_size=8))
@settings(deadline=None, max_examples=50)
def test_whatever_comes_ends_in_content_or_a_stream_error(
    packets: list[tuple[models.DataPacket, bool]],
) -> None:
    async def scenario() -> None:
        ben = Hall().enter("ben", max_payload=1000)
        opened: list[TextStreamReader | ByteStreamReader] = []
        for handlers in (ben.streams.text_handlers, ben.streams.byte_handlers):
            handlers["t"] = lambda reader, identity: opened.append(reader)  # type: ignore[assignment]
        for packet, encrypted in packets:
            ben.streams.handle(packet, encrypted)
        ben.streams.close()
        for reader in opened:
            with contextlib.suppress(StreamError):
                async for _ in reader:
                    pass
        assert not ben.streams._open

    asyncio.run(scenario())


def test_nobody_writes_into_the_stream_of_another() -> None:
    async def scenario() -> None:
        ben = Hall().enter("ben")
        opened = texts_of(ben)
        ben.streams.handle(header())
        forged = chunk(0, b"forged")
        forged.participant_sid = "PA_eve"
        ben.streams.handle(forged)
        ben.streams.handle(chunk(0, b"true"))
        ben.streams.handle(trailer())
        reader, _ = await opened.get()
        assert await reader.read_all() == "true"

    run(scenario())


def test_plain_chunks_of_an_encrypted_stream_are_refused() -> None:
    async def scenario() -> None:
        ben = Hall().enter("ben")
        opened = texts_of(ben)
        ben.streams.handle(header(), encrypted=True)
        ben.streams.handle(chunk(0, b"a"), encrypted=True)
        ben.streams.handle(chunk(1, b"b"))
        reader, _ = await opened.get()
        assert await reader.__anext__() == "a"
        with pytest.raises(StreamError, match="encryption type mismatch"):
            await reader.__anext__()

    run(scenario())


def test_those_who_leave_and_a_disconnected_room_fail_what_was_coming() -> None:
    async def scenario() -> None:
        hall = Hall()
        ada, ben, eve = hall.enter("ada"), hall.enter("ben"), hall.enter("eve")
        opened, held = texts_of(ben), []
        for sender in (ada, eve):
            writer = await sender.streams.stream_text(topic="t")
            await writer.write(sender.identity)
            held.append(writer)
        of_ada, of_eve = (await opened.get())[0], (await opened.get())[0]
        ben.streams.participant_left("ada", "PA_ada")
        assert await of_ada.__anext__() == "ada"
        with pytest.raises(StreamError, match="ada unexpectedly disconnected"):
            await of_ada.__anext__()
        assert await of_eve.__anext__() == "eve"
        waiting = asyncio.ensure_future(of_eve.read_all())
        await asyncio.sleep(0)
        ben.streams.close()
        with pytest.raises(StreamError, match="Disconnected while receiving"):
            await waiting

    run(scenario())


def test_a_closed_reader_gets_nothing_more_and_wakes_who_waits() -> None:
    async def scenario() -> None:
        ben = Hall().enter("ben")
        opened = texts_of(ben)
        ben.streams.handle(header())
        reader, _ = await opened.get()
        waiting = [asyncio.ensure_future(reader.__anext__()) for _ in range(2)]
        await asyncio.sleep(0)
        reader.close()
        await reader.aclose()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [StopAsyncIteration, StopAsyncIteration]
        ben.streams.handle(chunk(0, b"late"))
        assert await reader.read_all() == ""
        assert not ben.streams._open

    run(scenario())


def test_handlers_may_be_coroutines_and_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        ben = Hall().enter("ben")
        got: asyncio.Queue[str] = asyncio.Queue()

        async def handler(reader: TextStreamReader, identity: str) -> None:
            got.put_nowait(identity + await reader.read_all())

        ben.streams.text_handlers["t"] = handler
        ben.streams.handle(header(inline_content=b"!"))
        assert await got.get() == "ada!"
        ben.streams.text_handlers["t"] = lambda reader, identity: 1 / 0
        ben.streams.handle(header(inline_content=b"!"))
        cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        ben.streams.text_handlers["t"] = lambda reader, identity: cancelled.result()
        ben.streams.handle(header(inline_content=b"!"))
        ben.streams.text_handlers.clear()
        ben.streams.handle(header(inline_content=b"!"))
        assert "ZeroDivisionError" in caplog.text
        assert "CancelledError" in caplog.text

    run(scenario())
