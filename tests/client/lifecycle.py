"""Programs whose rooms come and go in unusual ways. Each is run alone, as `lifecycle.py NAME URL TOKEN…`;
what is left behind, or is written on the standard error stream, is a fault."""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from roomful import _core, rtc

RATE = 48_000
#: Seconds until everything is gone that has ended.
GONE_WITHIN = 5.0
ROUNDS = int(os.environ.get("CANCEL_ROUNDS", "25"))


def used() -> tuple[int, int, int]:
    """Open files, threads of the system, threads of Python."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), threading.active_count()


def nothing_left(before: tuple[int, int, int]) -> None:
    until = time.monotonic() + GONE_WITHIN
    while (now := used()) > before and time.monotonic() < until:
        gc.collect()
        time.sleep(0.02)
    assert all(left <= had for left, had in zip(now, before, strict=True)), (before, now)


async def entered(url: str, token: str) -> rtc.Room:
    room = rtc.Room()
    await room.connect(url, token)
    return room


def heard(room: rtc.Room, event: Any = "data_received") -> asyncio.Queue[Any]:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    room.on(event, queue.put_nowait)
    return queue


async def visit(url: str, token: str, other: str) -> None:
    """Two meet, and one hears the other."""
    room, another = await entered(url, token), await entered(url, other)
    data = heard(room)
    await another.local_participant.publish_data(b"hello")
    assert (await data.get()).data == b"hello"
    await asyncio.gather(room.disconnect(), another.disconnect())


async def play(source: rtc.AudioSource) -> None:
    """Without an end."""
    while True:
        await source.capture_frame(rtc.AudioFrame(bytes(RATE // 50), RATE, 1, RATE // 100))


def one_run_after_another(url: str, *tokens: str) -> None:
    before = used()
    for _ in range(2):
        asyncio.run(visit(url, *tokens[:2]))
        nothing_left(before)


def loops_in_threads(url: str, *tokens: str) -> None:
    failures: list[BaseException] = []

    def run(pair: Sequence[str]) -> None:
        try:
            asyncio.run(visit(url, *pair))
        except BaseException as error:
            failures.append(error)

    before = used()
    pairs = [tokens[start : start + 2] for start in range(0, 6, 2)]
    threads = [threading.Thread(target=run, args=(pair,)) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    nothing_left(before)


def a_child_of_a_fork(url: str, *tokens: str) -> None:
    """The parent is connected by a loop in another thread; the child begins anew."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def do(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    room = do(entered(url, tokens[0]))
    came, data = heard(room, "participant_connected"), heard(room)

    async def greet() -> None:
        child = await entered(url, tokens[1])
        answer = heard(child)
        await child.local_participant.publish_data(b"from the child")
        assert (await answer.get()).data == b"to the child"
        await child.disconnect()

    child = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(greet()))
    child.start()
    assert do(came.get()).identity == "1"
    assert do(data.get()).data == b"from the child"
    do(room.local_participant.publish_data(b"to the child"))
    child.join(30)
    assert child.exitcode == 0
    # And the parent is as it was.
    other = do(entered(url, tokens[2]))
    do(other.local_participant.publish_data(b"to the parent"))
    assert do(data.get()).data == b"to the parent"
    do(room.disconnect())
    do(other.disconnect())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def a_child_lets_go_of_what_its_parent_had(url: str, *tokens: str) -> None:
    """A media plane with all its threads, and a client."""
    before = used()
    held = {
        "media": _core.Media(udp_ports=[0, 0], tcp_port=0, wake=lambda: None),
        "peer": _core.Peer(single=True, wake=lambda: None),
        "closed": _core.Media(udp_ports=[0], tcp_port=0, wake=lambda: None),
    }

    def let_go() -> None:
        held["closed"].close()
        held.clear()
        gc.collect()

    child = multiprocessing.get_context("fork").Process(target=let_go)
    child.start()
    child.join(20)
    if child.exitcode is None:
        child.kill()
    assert child.exitcode == 0
    # And the parent's are as they were.
    visitor = _core.Peer(single=True, wake=lambda: None)
    visitor.close()
    held.clear()
    child.close()
    nothing_left(before)


def nobody_says_goodbye(url: str, *tokens: str) -> None:
    """Rooms, tracks and streams that are let go of, with the loop or before it ends."""
    before = used()

    async def forget() -> None:
        speaker, listener = await entered(url, tokens[0]), await entered(url, tokens[1])
        tracks = heard(listener, "track_subscribed")
        source = rtc.AudioSource(RATE, 1)
        await speaker.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("mic", source))
        playing = asyncio.create_task(play(source))
        track = await tracks.get()
        gc.collect()
        streams = len([one for one in gc.get_objects() if type(one) is rtc.AudioStream])
        stream = rtc.AudioStream(track)
        await anext(stream)
        del stream
        await asyncio.sleep(0)
        gc.collect()
        assert len([one for one in gc.get_objects() if type(one) is rtc.AudioStream]) == streams
        await listener.local_participant.stream_text(topic="t")
        playing.cancel()
        failed = rtc.Room()
        with suppress(rtc.ConnectError):
            await failed.connect(url, "no token")

    asyncio.run(forget())
    nothing_left(before)


def an_exit_amid_all(url: str, *tokens: str) -> None:
    """The interpreter ends while a room is connected, and its loop was never closed."""
    import warnings

    warnings.simplefilter("ignore", ResourceWarning)  # The loop's own, which is right.
    loop = asyncio.new_event_loop()
    room = loop.run_until_complete(entered(url, tokens[0]))
    loop.run_until_complete(room.local_participant.publish_data(b"last words"))
    globals()["kept"] = (loop, room)


async def _one_after_another(room: rtc.Room) -> None:
    """All that a program may wait for."""
    me = room.local_participant
    source = rtc.AudioSource(RATE, 1)
    publication = await me.publish_track(rtc.LocalAudioTrack.create_audio_track("mic", source))
    await source.capture_frame(rtc.AudioFrame(bytes(RATE // 50), RATE, 1, RATE // 100))
    await me.publish_data(b"x" * 30_000)
    await me.send_text("y" * 100_000, topic="t")
    writer = await me.stream_bytes("file", topic="t")
    await writer.write(b"z" * 50_000)
    await writer.aclose()
    await me.publish_data_track(name="d")
    await me.set_metadata("m")
    with suppress(rtc.RpcError):
        await me.perform_rpc(destination_identity="witness", method="m", payload="p")
    await room.get_rtc_stats()
    await room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT)
    await me.unpublish_track(publication.sid)
    await asyncio.sleep(0.05)
    await room.disconnect()


def cancelled_anywhere(url: str, *tokens: str) -> None:
    choice = random.Random(7)
    before = used()

    async def run() -> None:
        tasks = asyncio.all_tasks()
        for _ in range(ROUNDS):
            room = await entered(url, tokens[0])
            work = asyncio.create_task(_one_after_another(room))
            await asyncio.wait([work], timeout=choice.uniform(0, 0.15))
            work.cancel()
            await asyncio.wait([work])
            if not work.cancelled():
                await work
            leaving = asyncio.create_task(room.disconnect())
            await asyncio.wait([leaving], timeout=choice.uniform(0, 0.01))
            leaving.cancel()
            await asyncio.wait([leaving])
            async with asyncio.timeout(5):
                await room.disconnect()
            assert not room.isconnected()
            assert asyncio.all_tasks() == tasks

    asyncio.run(run())
    nothing_left(before)


def a_hundred_rooms(url: str, *tokens: str) -> None:
    before = used()

    async def listen(room: rtc.Room) -> None:
        data, tracks = heard(room), heard(room, "track_subscribed")
        stream = rtc.AudioStream(await tracks.get())
        event = await anext(stream)
        assert event.frame.sample_rate == RATE
        await stream.aclose()
        assert (await data.get()).data == b"to all"

    async def run() -> None:
        rooms: list[rtc.Room] = []
        turns = asyncio.Semaphore(20)

        async def enter(token: str) -> None:
            async with turns:
                rooms.append(await entered(url, token))

        await asyncio.gather(*(enter(token) for token in tokens))
        speaker, *others = rooms
        listening = [asyncio.create_task(listen(room)) for room in others]
        await asyncio.sleep(0)
        source = rtc.AudioSource(RATE, 1)
        await speaker.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("mic", source))
        playing = asyncio.create_task(play(source))
        await speaker.local_participant.publish_data(b"to all")
        await asyncio.gather(*listening)
        playing.cancel()
        # All media of a process is one thread, with one that wakes.
        assert used()[1] - before[1] <= 3, (before, used())
        await asyncio.gather(*(room.disconnect() for room in rooms))

    asyncio.run(run())
    nothing_left(before)


SCENARIOS: dict[str, Callable[..., None]] = {
    scenario.__name__: scenario
    for scenario in (
        one_run_after_another,
        loops_in_threads,
        a_child_of_a_fork,
        a_child_lets_go_of_what_its_parent_had,
        nobody_says_goodbye,
        an_exit_amid_all,
        cancelled_anywhere,
        a_hundred_rooms,
    )
}


if __name__ == "__main__":
    # Warnings of what is slow, or is tried again, are no faults.
    logging.basicConfig(level=logging.ERROR)
    SCENARIOS[sys.argv[1]](*sys.argv[2:])
