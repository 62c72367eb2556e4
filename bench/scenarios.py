"""The loads, and what is taken of each: every figure is better when it is smaller."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import load
from candidates import Running
from process import cpu_seconds, resident_bytes

#: By name: CPU in µs, memory in bytes, times in ms.
Figures = dict[str, float]

SETTLE_S = 3.0  #: Before memory is read, so that what joining allocated for a moment is gone.
AFTERMATH_S = 30.0  #: After all have left, before memory is read for the last time.


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    arguments: tuple[str, ...]
    measure: Callable[[Running, tuple[str, ...]], Figures]
    #: The ratios to livekit-server that we mean to reach, by figure.
    targets: dict[str, float] = field(default_factory=dict)


def forwarding(server: Running, arguments: tuple[str, ...]) -> Figures:
    """CPU of the server for each packet or message that reached a subscriber, and how late it came."""
    with load.running(server.url, arguments) as running:
        running.until("ready")
        time.sleep(SETTLE_S)
        running.go_on()
        running.until("measuring")
        before, start = cpu_seconds(server.pid), time.monotonic()
        result = running.until("measured")
        used, took = cpu_seconds(server.pid) - before, time.monotonic() - start
        memory = resident_bytes(server.pid)
        running.go_on()
        running.until("left")
    unit = "messages" if "messages_received" in result else "packets"
    received = result[f"{unit}_received"]
    figures = {
        "cpu_us": used * 1e6 / received,
        "latency_p50_ms": result["latency_p50_us"] / 1e3,
        "latency_p99_ms": result["latency_p99_us"] / 1e3,
        "lost_percent": 100 * max(0, result[f"{unit}_lost"]) / result[f"{unit}_expected"],
        "server_core_percent": 100 * used / took,
        "load_core_percent": 100 * result["own_cpu_s"] / took,
        "received_per_s": received / took,
        "rss_mb": memory / 1e6,
    }
    return figures


def joins(server: Running, arguments: tuple[str, ...]) -> Figures:
    with load.running(server.url, arguments) as running:
        running.until("ready")
        running.go_on()
        result = running.until("joins")
        running.go_on()
        running.until("left")
    figures = {}
    for name in ("signal_ms", "first_audio_ms", "first_keyframe_ms"):
        figures[name] = median(join[name] for join in result["joins"])
    return figures


def memory(server: Running, arguments: tuple[str, ...]) -> Figures:
    """Resident bytes for one participant more, between two counts of them; what stays when all have left."""
    empty = resident_bytes(server.pid)
    with load.running(server.url, arguments) as running:
        samples = []
        for _ in range(2):
            count = running.until("joined")["count"]
            time.sleep(SETTLE_S)
            samples.append((count, resident_bytes(server.pid)))
            running.go_on()
        if arguments[0] == "media":
            running.until("ready")
            running.go_on()
            running.until("measured")
            running.go_on()
        running.until("left")
    time.sleep(AFTERMATH_S)
    (few, at_few), (many, at_many) = samples
    return {
        "slope_kb": (at_many - at_few) / (many - few) / 1e3,
        "empty_mb": empty / 1e6,
        "full_mb": at_many / 1e6,
        "after_mb": resident_bytes(server.pid) / 1e6,
    }


def all_scenarios(seconds: int) -> list[Scenario]:
    during = ("--seconds", str(seconds))
    return [
        Scenario(
            "video",
            "1 video (VP8, 2 Mbit/s, 30 frames/s) to 40",
            ("media", "--publishers=1", "--subscribers=40", "--video", *during),
            forwarding,
            {"cpu_us": 0.40},
        ),
        Scenario(
            "audio",
            "5 audio (Opus, 32 kbit/s, 50 packets/s) to 40",
            ("media", "--publishers=5", "--subscribers=40", "--audio", *during),
            forwarding,
            {"cpu_us": 0.60},
        ),
        Scenario(
            "meeting",
            "a meeting of 10, each with video and audio",
            ("media", "--publishers=10", "--mutual", "--video", "--audio", *during),
            forwarding,
            {"cpu_us": 0.45},
        ),
        Scenario(
            "reliable",
            "100 reliable messages/s of 1 kB to 40",
            ("data", "--subscribers=40", "--rate=100", "--size=1000", *during),
            forwarding,
            {"cpu_us": 0.33},
        ),
        Scenario(
            "lossy",
            "100 lossy messages/s of 1 kB to 40",
            ("data", "--subscribers=40", "--rate=100", "--size=1000", "--lossy", *during),
            forwarding,
            {"cpu_us": 0.33},
        ),
        Scenario(
            "joins",
            "30 joins into a room with a publisher of audio and video",
            ("joins", "--count=30"),
            joins,
            {"first_audio_ms": 0.33, "first_keyframe_ms": 0.33},
        ),
        Scenario(
            "idle",
            "memory of an idle participant, from 50 to 100 of them",
            ("idle", "--count=100", "--step=50"),
            memory,
            {"slope_kb": 0.25},
        ),
        Scenario(
            "watchers",
            "memory of a video subscriber, from 20 to 40 of them",
            ("media", "--publishers=1", "--subscribers=40", "--step=20", "--video", "--seconds=1"),
            memory,
            {"slope_kb": 0.20},
        ),
    ]
