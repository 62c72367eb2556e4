//! One incoming stream: the state of one SSRC.

use std::time::{Duration, Instant};

use super::clock::{StreamClock, WallMicros};
use super::keyframe::KeyframeRequests;
use super::nack::NackGenerator;
use super::statistics::ReceiveStatistics;
use crate::codec::dependency::DependencyReader;
use crate::codec::{CodecKind, Detail, Meta};
use crate::rtp::{SequenceExtender, TimestampExtender};

/// Numbers below the highest within which duplicates are told from late packets.
const WINDOW: u64 = 1024;
/// A jump forward beyond this is a new start (RFC 3550, A.1).
const LONGEST_JUMP: u64 = 3000;

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) section: usize,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: Option<u32>,
    pub(super) layer: u8,
    pub(super) epoch: u32,
    pub(super) codec: CodecKind,
    pub(super) clock: StreamClock,
    pub(super) statistics: ReceiveStatistics,
    pub(super) nack: NackGenerator,
    pub(super) keyframes: KeyframeRequests,
    pub(super) last_arrival: Instant,
    /// Middle of the NTP time of the last sender report, and when it came.
    pub(super) last_report: Option<(u32, Instant)>,
    pub(super) tally: Tally,
    /// A packet came since the last receiver report.
    pub(super) heard: bool,
    pub(super) dependency: DependencyReader,
    /// FIR command number.
    pub(super) command: u8,
    /// Number and extended timestamp of the newest audio packet, which redundancy is measured by.
    pub(super) newest_audio: Option<(u64, u64)>,
    pub(super) timestamps: TimestampExtender,
    extender: SequenceExtender,
    /// Bit of each of the last numbers that arrived.
    seen: [u64; (WINDOW / 64) as usize],
    /// The number after one that was far too old: two in a row are a new start.
    restart_at: Option<u16>,
    /// Video: the newest packet and its timestamp, and the newest packet of the picture before.
    newest_video: Option<(u64, u32)>,
    picture_before: u64,
    /// Parameter sets come in the stream: a key picture begins with them.
    parameter_sets: bool,
}

/// What nobody but statistics asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Bytes of RTP headers with extensions and padding.
    pub(super) header_bytes: u64,
    pub(super) payload_bytes: u64,
    pub(super) resent_packets: u64,
    /// Of their payloads.
    pub(super) resent_bytes: u64,
    /// Packets of each kind of feedback.
    pub(super) nacks: u32,
    pub(super) plis: u32,
    pub(super) firs: u32,
    /// Of the last sender report: its NTP time as a wall clock, and what it counted.
    pub(super) sender: Option<(WallMicros, u32, u32)>,
    pub(super) sender_reports: u64,
}

/// How a packet's number relates to what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The newest one; those from `after` up to it are missing.
    Newest {
        sequence: u64,
        after: u64,
    },
    Late {
        sequence: u64,
    },
    /// The publisher started its numbers anew.
    Restarted {
        sequence: u64,
    },
    Duplicate,
    TooOld,
}

impl Stream {
    pub(super) fn new(
        now: Instant,
        section: usize,
        ssrc: u32,
        layer: u8,
        epoch: u32,
        codec: CodecKind,
        rate: u32,
    ) -> Self {
        Self {
            section,
            ssrc,
            rtx_ssrc: None,
            layer,
            epoch,
            codec,
            clock: StreamClock::new(rate),
            statistics: ReceiveStatistics::new(rate),
            nack: NackGenerator::default(),
            keyframes: KeyframeRequests::default(),
            last_arrival: now,
            last_report: None,
            tally: Tally::default(),
            heard: false,
            dependency: DependencyReader::default(),
            command: 0,
            newest_audio: None,
            timestamps: TimestampExtender::default(),
            extender: SequenceExtender::default(),
            seen: [0; (WINDOW / 64) as usize],
            restart_at: None,
            newest_video: None,
            picture_before: 0,
            parameter_sets: false,
        }
    }

    /// Files a newest video packet; returns the number of the newest packet that came of the picture before
    /// its own. What is missing in between may belong to either.
    pub(super) fn picture(&mut self, sequence: u64, timestamp: u32) -> u64 {
        if let Some((newest, of)) = self.newest_video.replace((sequence, timestamp))
            && of != timestamp
        {
            self.picture_before = newest;
        }
        self.picture_before
    }

    /// Whether a decoder can start at a packet. Without the parameter sets before it, it cannot start at a
    /// key picture of H.264 and H.265, unless they never come in the stream.
    pub(super) fn starts_decoding(&mut self, meta: &Meta) -> bool {
        let sets = match &meta.detail {
            Detail::H264(units) => units.sps,
            Detail::H265(units) => units.vps || units.sps,
            _ => return meta.keyframe,
        };
        self.parameter_sets |= sets;
        meta.keyframe && (sets || !self.parameter_sets)
    }

    /// Files a packet's number.
    pub(super) fn order(&mut self, sequence: u16) -> Order {
        let Some(highest) = self.extender.highest() else {
            let sequence = self.extender.extend(sequence);
            self.mark(sequence);
            return Order::Newest {
                sequence,
                after: sequence,
            };
        };
        let extended = self.extender.peek(sequence);
        if extended > highest {
            if extended - highest > LONGEST_JUMP {
                return self.restart(sequence);
            }
            self.extender.extend(sequence);
            self.restart_at = None;
            if extended - highest >= WINDOW {
                self.seen = Default::default();
            } else {
                (highest + 1..extended).for_each(|skipped| self.unmark(skipped));
            }
            self.mark(extended);
            return Order::Newest {
                sequence: extended,
                after: highest + 1,
            };
        }
        if highest - extended >= WINDOW {
            if self.restart_at == Some(sequence) {
                return self.restart(sequence);
            }
            self.restart_at = Some(sequence.wrapping_add(1));
            return Order::TooOld;
        }
        if self.is_marked(extended) {
            return Order::Duplicate;
        }
        self.mark(extended);
        Order::Late { sequence: extended }
    }

    /// Files the number of a packet that was sent again: one far away tells nothing of the stream.
    pub(super) fn order_repeated(&mut self, sequence: u16) -> Order {
        let far = self.extender.highest().is_some_and(|highest| {
            let extended = self.extender.peek(sequence);
            extended > highest + LONGEST_JUMP || extended + WINDOW <= highest
        });
        if far {
            Order::TooOld
        } else {
            self.order(sequence)
        }
    }

    /// A missing packet was rebuilt: when it comes after all it is a duplicate.
    pub(super) fn rebuilt(&mut self, sequence: u64) {
        self.mark(sequence);
        self.nack.arrived(sequence);
    }

    fn restart(&mut self, sequence: u16) -> Order {
        self.extender = SequenceExtender::default();
        self.seen = Default::default();
        self.restart_at = None;
        self.newest_audio = None;
        self.newest_video = None;
        self.picture_before = 0;
        self.timestamps = TimestampExtender::default();
        self.nack.clear();
        self.clock.reset();
        self.statistics = self.statistics.restarted();
        let sequence = self.extender.extend(sequence);
        self.mark(sequence);
        Order::Restarted { sequence }
    }

    fn word(sequence: u64) -> (usize, u64) {
        (
            (sequence / 64 % (WINDOW / 64)) as usize,
            1 << (sequence % 64),
        )
    }

    fn mark(&mut self, sequence: u64) {
        let (word, bit) = Self::word(sequence);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    fn unmark(&mut self, sequence: u64) {
        let (word, bit) = Self::word(sequence);
        if let Some(word) = self.seen.get_mut(word) {
            *word &= !bit;
        }
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let (word, bit) = Self::word(sequence);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Nothing came for `time`.
    pub(super) fn silent_for(&self, now: Instant, time: Duration) -> bool {
        now.saturating_duration_since(self.last_arrival) >= time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(Instant::now(), 0, 1, 0, 1, CodecKind::Vp8, 90_000)
    }

    #[test]
    fn duplicates_late_and_old_packets_are_told_apart() {
        let mut stream = stream();
        let Order::Newest {
            sequence: first, ..
        } = stream.order(65_530)
        else {
            panic!()
        };
        assert_eq!(
            stream.order(65_533),
            Order::Newest {
                sequence: first + 3,
                after: first + 1
            }
        );
        assert_eq!(
            stream.order(65_532),
            Order::Late {
                sequence: first + 2
            }
        );
        assert_eq!(stream.order(65_532), Order::Duplicate);
        assert_eq!(
            stream.order(1_000),
            Order::Newest {
                sequence: first + 1_006,
                after: first + 4
            }
        );
        assert_eq!(
            stream.order(65_531),
            Order::Late {
                sequence: first + 1
            }
        );
        assert_eq!(stream.order(64_000), Order::TooOld);
    }

    #[test]
    fn a_window_that_wrapped_forgets_what_it_skipped() {
        let mut stream = stream();
        for sequence in 0..1024u16 {
            stream.order(sequence);
        }
        let Order::Newest { sequence, .. } = stream.order(1030) else {
            panic!()
        };
        assert_eq!(
            stream.order(1026),
            Order::Late {
                sequence: sequence - 4
            }
        );
    }

    #[test]
    fn two_packets_of_a_new_count_are_a_restart() {
        let mut stream = stream();
        stream.order(30_000);
        assert_eq!(stream.order(5), Order::TooOld);
        assert!(matches!(stream.order(6), Order::Restarted { .. }));
        assert!(matches!(stream.order(7), Order::Newest { .. }));
        assert!(matches!(stream.order(20_000), Order::Restarted { .. }));
    }
}
