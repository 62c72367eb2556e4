//! What was received of each stream so far.

use std::time::Instant;

use super::Receiver;
use crate::codec::CodecKind;
use crate::track::clock::WallMicros;

/// The last report of a stream's sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    pub arrived: Instant,
    /// By the sender's clock.
    pub wall: WallMicros,
    pub packets: u32,
    /// Of payloads.
    pub octets: u32,
    /// How many reports there were.
    pub count: u64,
}

/// What was received of one stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamStatistics {
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    pub codec: CodecKind,
    /// With those that came again.
    pub packets: u64,
    /// Of headers with their extensions and padding, and of payloads.
    pub header_bytes: u64,
    pub payload_bytes: u64,
    /// Packets that the path lost, whether they came again or not; negative when some came twice.
    pub lost: i64,
    /// Seconds.
    pub jitter: f64,
    pub resent_packets: u64,
    pub resent_bytes: u64,
    pub nacks: u32,
    pub plis: u32,
    pub firs: u32,
    pub last_arrival: Instant,
    pub sender: Option<SenderReport>,
}

impl Receiver {
    /// Of all streams of a track.
    pub fn statistics(&self, tag: u32) -> impl Iterator<Item = StreamStatistics> {
        let sections = self.sections.iter();
        sections
            .filter(move |(_, section)| section.description.tag == tag)
            .flat_map(|(_, section)| section.streams.iter().flatten())
            .filter_map(|key| self.streams.get(*key))
            .map(|stream| {
                let (counted, tally) = (&stream.statistics, &stream.tally);
                StreamStatistics {
                    ssrc: stream.ssrc,
                    rtx_ssrc: stream.rtx_ssrc,
                    codec: stream.codec,
                    packets: counted.packets + tally.resent_packets,
                    header_bytes: tally.header_bytes,
                    payload_bytes: tally.payload_bytes,
                    lost: counted.expected() as i64 - counted.packets as i64,
                    jitter: f64::from(counted.jitter_ms()) / 1_000.0,
                    resent_packets: tally.resent_packets,
                    resent_bytes: tally.resent_bytes,
                    nacks: tally.nacks,
                    plis: tally.plis,
                    firs: tally.firs,
                    last_arrival: stream.last_arrival,
                    sender: stream.last_report.zip(tally.sender).map(
                        |((_, arrived), (wall, packets, octets))| SenderReport {
                            arrived,
                            wall,
                            packets,
                            octets,
                            count: tally.sender_reports,
                        },
                    ),
                }
            })
    }
}
