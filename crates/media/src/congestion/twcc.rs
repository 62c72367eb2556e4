//! Transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01): the record of
//! what was sent, and of what arrived.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::rtcp::TransportFeedbackBuilder;

/// Sent packets remembered for feedback; older ones are no longer reported by receivers.
const LEDGER: usize = 2048;
/// Between two feedback packets, while packets come.
pub const FEEDBACK_INTERVAL: Duration = Duration::from_millis(50);
/// A longer hole is left out of the feedback.
const LONGEST_HOLE: u64 = 1000;
/// A packet later than this is not told of any more.
const REORDER: u64 = 256;
/// So many arrivals are told of at once, however little time passed.
const MOST_ARRIVALS: usize = 200;

/// What was sent with a transport-wide number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentPacket {
    pub sequence: u16,
    pub at: Instant,
    /// RTP bytes before the seal.
    pub size: u16,
}

/// The sent packets of a transport, newest last. Takes no memory until a number is used.
#[derive(Debug, Default)]
pub struct SendLedger {
    next: u16,
    sent: VecDeque<SentPacket>,
}

impl SendLedger {
    pub(crate) fn next_sequence(&mut self) -> u16 {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        sequence
    }

    pub(crate) fn sent(&mut self, at: Instant, sequence: u16, size: u16) {
        if self.sent.len() >= LEDGER {
            self.sent.pop_front();
        }
        self.sent.push_back(SentPacket { sequence, at, size });
    }

    /// The packet a feedback speaks of, if it is still remembered.
    #[must_use]
    pub fn get(&self, sequence: u16) -> Option<SentPacket> {
        let oldest = self.sent.front()?.sequence;
        self.sent
            .get(usize::from(sequence.wrapping_sub(oldest)))
            .copied()
    }
}

/// What arrived, for the feedback to a publisher.
#[derive(Debug, Default)]
pub struct ArrivalLedger {
    extender: crate::rtp::SequenceExtender,
    /// First number that was not told of yet.
    next: Option<u64>,
    /// Numbers and arrivals in microseconds since the last feedback, by rising number.
    arrivals: Vec<(u64, i64)>,
    due: Option<Instant>,
    builder: TransportFeedbackBuilder,
}

impl ArrivalLedger {
    /// A packet with this transport-wide number arrived at `micros` on the server's clock.
    pub fn arrived(&mut self, now: Instant, micros: i64, sequence: u16) {
        let sequence = self.extender.extend(sequence);
        let next = *self.next.get_or_insert(sequence);
        if next.saturating_sub(sequence) > REORDER {
            return;
        }
        match self.arrivals.last() {
            Some((last, _)) if *last >= sequence => {
                if let Err(index) = self
                    .arrivals
                    .binary_search_by_key(&sequence, |arrival| arrival.0)
                {
                    self.arrivals.insert(index, (sequence, micros));
                }
            }
            _ => self.arrivals.push((sequence, micros)),
        }
        self.due.get_or_insert(now + FEEDBACK_INTERVAL);
        if self.arrivals.len() >= MOST_ARRIVALS {
            self.due = Some(now);
        }
    }

    /// When the next feedback is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Appends the feedback that is due, from `sender` about `media`.
    pub fn write(&mut self, now: Instant, sender: u32, media: u32, out: &mut Vec<u8>) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = None;
        let mut arrivals = self.arrivals.as_slice();
        while let (Some((first, _)), Some((last, _))) = (arrivals.first(), arrivals.last()) {
            // A late packet is told of after all; a long hole is left out.
            let next = self.next.unwrap_or(*first);
            let base = if first.saturating_sub(next) > LONGEST_HOLE {
                *first
            } else {
                next.min(*first)
            };
            let taken = self.builder.write(out, sender, media, base, arrivals);
            if taken == 0 {
                self.next = Some(last + 1);
                break;
            }
            let told = arrivals.get(taken - 1).map_or(*last, |arrival| arrival.0);
            self.next = Some(told + 1);
            arrivals = arrivals.get(taken..).unwrap_or_default();
        }
        self.arrivals.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::{RtcpPacket, parse_compound};

    fn told(ledger: &mut ArrivalLedger, now: Instant) -> Vec<(u16, Vec<u16>)> {
        let mut out = Vec::new();
        ledger.write(now, 1, 2, &mut out);
        if out.is_empty() {
            return Vec::new();
        }
        parse_compound(&out)
            .unwrap()
            .map(|packet| match packet.unwrap() {
                RtcpPacket::TransportFeedback(feedback) => (
                    feedback.base_sequence,
                    feedback.received().map(|(sequence, _)| sequence).collect(),
                ),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn feedback_tells_of_each_packet_once_and_of_holes() {
        let now = Instant::now();
        let mut ledger = ArrivalLedger::default();
        for (micros, sequence) in [65_534u16, 65_535, 1].into_iter().enumerate() {
            ledger.arrived(now, micros as i64 * 1000, sequence);
        }
        assert!(told(&mut ledger, now).is_empty());
        assert_eq!(
            told(&mut ledger, now + FEEDBACK_INTERVAL),
            [(65_534, vec![65_534, 65_535, 1])]
        );
        assert!(told(&mut ledger, now + 2 * FEEDBACK_INTERVAL).is_empty());
        ledger.arrived(now, 4000, 4);
        // The hole between the two is part of the next feedback.
        assert_eq!(
            told(&mut ledger, now + 3 * FEEDBACK_INTERVAL),
            [(2, vec![4])]
        );
    }

    #[test]
    fn a_late_packet_is_told_after_all() {
        let now = Instant::now();
        let mut ledger = ArrivalLedger::default();
        ledger.arrived(now, 0, 10);
        ledger.arrived(now, 1000, 12);
        told(&mut ledger, now + FEEDBACK_INTERVAL);
        ledger.arrived(now, 2000, 11);
        assert_eq!(
            told(&mut ledger, now + 3 * FEEDBACK_INTERVAL),
            [(11, vec![11])]
        );
    }

    #[test]
    fn a_hole_of_any_size_takes_bounded_space() {
        let now = Instant::now();
        let mut ledger = ArrivalLedger::default();
        ledger.arrived(now, 0, 0);
        ledger.arrived(now, 1000, 30_000);
        let told = told(&mut ledger, now + FEEDBACK_INTERVAL);
        assert_eq!(told, [(0, vec![0]), (30_000, vec![30_000])]);
    }

    #[test]
    fn sent_packets_are_found_across_the_wrap() {
        let now = Instant::now();
        let mut ledger = SendLedger {
            next: 65_000,
            ..Default::default()
        };
        for size in 0..3_000u16 {
            let sequence = ledger.next_sequence();
            ledger.sent(now, sequence, size);
        }
        let last = 65_000u16.wrapping_add(2_999);
        assert_eq!(ledger.get(last).unwrap().size, 2_999);
        assert_eq!(ledger.get(65_000), None);
        assert_eq!(ledger.get(last.wrapping_add(1)), None);
    }
}
