"""Text and byte streams, which clients build of data packets."""

from __future__ import annotations

from ..stage import Stage, scenario

#: More than one chunk; with characters of every length in UTF-8.
LONG_TEXT = "aé€😀" * 5_000
FILE = bytes(range(256)) * 800


@scenario()
async def texts(stage: Stage) -> None:
    ada, bob = await stage.pair()
    bob.accept_streams("chat")
    info = await ada.me.send_text("😀😀😀", topic="chat", attributes={"mood": "fine"})
    await bob.until("a text", lambda: bob.texts)
    sender, text, received = bob.texts[0]
    assert (sender, text) == ("ada", "😀😀😀")
    assert (received.stream_id, received.topic) == (info.stream_id, "chat")
    assert received.attributes["mood"] == "fine"
    await ada.me.send_text(LONG_TEXT, topic="chat")
    await bob.until("a long text", lambda: len(bob.texts) == 2)
    assert bob.texts[1][1] == LONG_TEXT
    await ada.me.send_text(LONG_TEXT, topic="chat", compress=False, destination_identities=["bob"])
    await bob.until("a long text without compression", lambda: len(bob.texts) == 3)
    assert bob.texts[2][1] == LONG_TEXT


@scenario()
async def a_text_word_by_word(stage: Stage) -> None:
    ada, bob = await stage.pair()
    bob.accept_streams("chat")
    writer = await ada.me.stream_text(topic="chat")
    for word in ("one ", "two ", "three"):
        await writer.write(word)
    await writer.aclose()
    await bob.until("a text", lambda: bob.texts)
    assert bob.texts[0][:2] == ("ada", "one two three")


@scenario()
async def files(stage: Stage) -> None:
    ada, bob = await stage.pair()
    bob.accept_streams("files")
    writer = await ada.me.stream_bytes("notes.bin", total_size=len(FILE), topic="files")
    await writer.write(FILE)
    await writer.aclose()
    await bob.until("a file", lambda: bob.files)
    sender, content, info = bob.files[0]
    assert (sender, info.name, info.size) == ("ada", "notes.bin", len(FILE))
    assert content == FILE
    await ada.me.send_bytes(FILE, name="again.bin", topic="files")
    await bob.until("another file", lambda: len(bob.files) == 2)
    assert bob.files[1][1] == FILE
