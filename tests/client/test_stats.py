from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict

from roomful import rtc
from roomful.rtc._stats import connected, reports


def report(**entry: Any) -> rtc.stats.RtcStats:
    (made,) = reports([{"id": "X", "timestamp": 1_795_666_352_754_555, **entry}])
    assert made.IsInitialized()
    return made


def test_a_dictionary_is_a_message_of_its_kind() -> None:
    inbound = report(type="inbound-rtp", ssrc=7, kind="audio", packetsLost=-1, jitterBufferDelay=0.5)
    assert inbound.WhichOneof("stats") == "inbound_rtp"
    assert (inbound.inbound_rtp.rtc.id, inbound.inbound_rtp.rtc.timestamp) == ("X", 1_795_666_352_754_555)
    assert (inbound.inbound_rtp.stream.ssrc, inbound.inbound_rtp.received.packets_lost) == (7, -1)
    assert inbound.inbound_rtp.inbound.jitter_buffer_delay == 0.5
    assert inbound.inbound_rtp.inbound.HasField("frames_decoded")


def test_words_are_numbers_of_enumerations() -> None:
    pair = report(type="candidate-pair", state="in-progress").candidate_pair.candidate_pair
    assert pair.state == rtc.stats.PAIR_IN_PROGRESS
    candidate = report(type="local-candidate", candidateType="srflx", tcpType="passive").local_candidate
    assert candidate.candidate.candidate_type == rtc.stats.SRFLX
    assert candidate.candidate.tcp_type == rtc.stats.CANDIDATE_PASSIVE
    assert not candidate.candidate.HasField("relay_protocol")
    transport = report(type="transport", iceRole="controlled", dtlsState="connected").transport.transport
    assert (transport.ice_role, transport.dtls_state) == (
        rtc.stats.ICE_CONTROLLED,
        rtc.stats.DTLS_TRANSPORT_CONNECTED,
    )
    assert transport.dtls_role == rtc.stats.DTLS_UNKNOWN
    outbound = report(
        type="outbound-rtp",
        qualityLimitationReason="bandwidth",
        qualityLimitationDurations={"bandwidth": 1.5},
    ).outbound_rtp.outbound
    assert outbound.quality_limitation_reason == rtc.stats.LIMITATION_BANDWIDTH
    assert MessageToDict(outbound)["qualityLimitationDurations"] == [{"key": "bandwidth", "value": 1.5}]


def test_every_kind_is_complete_and_unknown_ones_are_left_out() -> None:
    kinds = [field.name.replace("_", "-") for field in rtc.stats.RtcStats.DESCRIPTOR.fields]
    made = reports([{"id": "X", "type": kind, "timestamp": 1} for kind in (*kinds, "future", "")])
    assert [report.WhichOneof("stats") for report in made] == [kind.replace("-", "_") for kind in kinds]
    assert all(report.IsInitialized() for report in made)


def test_what_a_report_refers_to_comes_with_it() -> None:
    entries = [
        {"id": "codec", "type": "codec", "transportId": "transport"},
        {"id": "in", "type": "inbound-rtp", "mid": "1", "codecId": "codec", "remoteId": "unknown"},
        {"id": "other", "type": "inbound-rtp", "mid": "2", "codecId": "codec"},
        {"id": "transport", "type": "transport", "selectedCandidatePairId": "pair"},
        {"id": "pair", "type": "candidate-pair", "transportId": "transport"},
        {"id": "channel", "type": "data-channel"},
    ]
    found = connected(entries, type="inbound-rtp", mid="1")
    assert [entry["id"] for entry in found] == ["codec", "in", "transport", "pair"]
    assert connected(entries, type="inbound-rtp", mid="3") == []
