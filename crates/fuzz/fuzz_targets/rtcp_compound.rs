//! RTCP compounds: everything in every packet is visited.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::rtp::rtcp::{RtcpPacket, parse_compound};

fuzz_target!(|data: &[u8]| {
    let Ok(compound) = parse_compound(data) else {
        return;
    };
    for packet in compound.flatten() {
        // The work that a packet causes is bounded by its size.
        let items = match packet {
            RtcpPacket::SenderReport { blocks, .. } | RtcpPacket::ReceiverReport { blocks, .. } => {
                blocks
                    .iter()
                    .filter_map(|block| block.round_trip(u64::MAX / 3))
                    .count()
            }
            RtcpPacket::Sdes(sdes) => sdes.cnames().count(),
            RtcpPacket::Bye(bye) => bye.sources().count(),
            RtcpPacket::Nack(nack) => nack.sequences().count() / 17,
            RtcpPacket::TransportFeedback(feedback) => feedback.received().count(),
            RtcpPacket::Fir(fir) => fir.entries().count(),
            RtcpPacket::Remb(remb) => remb.ssrcs().count(),
            RtcpPacket::Pli { .. } | RtcpPacket::Other { .. } => 0,
        };
        assert!(items <= data.len());
    }
});
