"""Statistics of rooms and tracks beside those of PyPI's `livekit`, which a program of its own gathers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "reporting.py"
#: What is not told here: libwebrtc's own measures, and what this client does not do.
UNTOLD = {
    "available_incoming_bitrate",
    "dtls_cipher",
    "freeze_count",
    "jitter_buffer_minimum_delay",  # of video: frames are given as soon as they are whole
    "jitter_buffer_target_delay",
    "qp_sum",
    "quality_limitation_durations",
    "total_freeze_duration",
    "total_packet_send_delay",
    "consent_requests_sent",
}
#: Those that the network or chance decides.
BY_CHANCE = {
    "concealed_samples",
    "concealment_events",
    "fec_packets_discarded",
    "fec_packets_received",
    "fraction_lost",
    "frames_dropped",
    "huge_frames_sent",
    "inserted_samples_for_deceleration",
    "jitter",
    "jitter_buffer_delay",  # within one machine a frame's packets come at one moment
    "total_assembly_time",
    "nack_count",
    "packets_discarded",
    "packets_lost",
    "pli_count",
    "removed_samples_for_acceleration",
    "retransmitted_bytes_received",
    "retransmitted_bytes_sent",
    "retransmitted_packets_received",
    "retransmitted_packets_sent",
    "silent_concealed_samples",
    "tcp_type",  # of ways over TCP, which are tried later here
}
TRACKS = ("microphone", "camera", "sound", "pictures")
GROWING = {
    "inbound_rtp": ("packets_received", "bytes_received", "jitter_buffer_emitted_count"),
    "outbound_rtp": ("packets_sent", "bytes_sent", "header_bytes_sent"),
    "remote_outbound_rtp": ("packets_sent", "bytes_sent", "reports_sent"),
    "transport": ("packets_sent", "bytes_sent", "packets_received", "bytes_received"),
}

Report = dict[str, Any]


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    ran = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, timeout=240, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


def members(reports: list[Report]) -> dict[tuple[str, str], set[str]]:
    """By kind, and audio or video."""
    found: dict[tuple[str, str], set[str]] = {}
    for report in reports:
        found.setdefault((report["kind"], report.get("media", "")), set()).update(report)
    return found


@pytest.mark.parametrize("who", ["ada", "ben"])
def test_a_room_reports_what_it_does_there(seen: dict[str, Any], who: str) -> None:
    theirs, ours = (members(seen[sdk]["later"][who]) for sdk in ("livekit", "roomful"))
    assert ours.keys() == theirs.keys()
    missing = {kind: theirs[kind] - ours[kind] - UNTOLD - BY_CHANCE for kind in theirs}
    assert not any(missing.values()), missing


@pytest.mark.parametrize("track", TRACKS)
def test_a_track_reports_what_it_does_there(seen: dict[str, Any], track: str) -> None:
    theirs, ours = ({(it["kind"], it.get("media")) for it in seen[sdk][track]} for sdk in seen)
    assert ours == theirs


def test_reports_refer_to_each_other(seen: dict[str, Any]) -> None:
    reports = {one["id"]: one for who in ("ada", "ben") for one in seen["roomful"]["later"][who]}
    inbound = [one for one in reports.values() if one["kind"] == "inbound_rtp"]
    assert {reports[one["codec_id"]]["mime_type"] for one in inbound} == {"audio/opus", "video/VP8"}
    assert all(reports[one["remote_id"]]["local_id"] == one["id"] for one in inbound)
    transport = reports[inbound[0]["transport_id"]]
    pair = reports[transport["selected_candidate_pair_id"]]
    assert pair["nominated"]
    assert reports[pair["local_candidate_id"]]["kind"] == "local_candidate"


@pytest.mark.parametrize("who", ["ada", "ben"])
def test_figures_grow_and_are_plausible(seen: dict[str, Any], who: str) -> None:
    first, later = ({one["id"]: one for one in seen["roomful"][when][who]} for when in ("first", "later"))
    for report in first.values():
        for name in GROWING.get(report["kind"], ()):
            if name in report:
                assert later[report["id"]][name] >= report[name] > 0
    for report in later.values():
        match report:
            case {"kind": "inbound_rtp", "media": "video"}:
                assert (report["frame_width"], report["frame_height"]) == (640, 360)
                assert 0 < report["frames_decoded"] <= report["frames_received"]
                assert 0 < report["frames_per_second"] < 30
                assert 0 < report["total_decode_time"] < 60
            case {"kind": "inbound_rtp", "media": "audio"}:
                assert 0.1 < report["audio_level"] < 0.4
                delay = report["jitter_buffer_delay"] / report["jitter_buffer_emitted_count"]
                assert 0 < delay < 1
            case {"kind": "outbound_rtp", "media": "video"}:
                assert report["rid"] in ("q", "h", "f")
                assert report["target_bitrate"] > 50_000
            case {"kind": "media_source", "media": "audio"}:
                assert 0.2 < report["audio_level"] < 0.3
                # A tone of 8000 of 32767: its loudest sample squared times its time.
                energy = report["total_audio_energy"] / report["total_samples_duration"]
                assert 0.04 < energy < 0.07
            case {"kind": "remote_inbound_rtp"}:
                assert 0 < report["round_trip_time"] < 1
            case {"kind": "candidate_pair", "nominated": True}:
                assert 0 < report["current_round_trip_time"] < 1
            case {"kind": "data_channel", "label": "_reliable"}:
                assert (report["messages_sent"], report["messages_received"]) == (1, 1)
