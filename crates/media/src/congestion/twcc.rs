//! Transport-wide congestion control (draft-holmer-rmcat-transport-wide-cc-extensions-01): the record of
//! what was sent, and of what arrived.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::rtcp::{TransportFeedback, TransportFeedbackBuilder};

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

/// What was told of a sent packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Lost,
    Arrived,
}

/// The sent packets of a transport, newest last. Takes no memory until a number is used.
#[derive(Debug, Default)]
pub struct SendLedger {
    next: u16,
    sent: VecDeque<(SentPacket, Told)>,
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
        let packet = SentPacket { sequence, at, size };
        self.sent.push_back((packet, Told::Nothing));
    }

    /// What a feedback says that is news, of packets that are still remembered, in the order of their numbers:
    /// when each arrived on the receiver's clock, in microseconds, `None` for one that is lost. That one may be
    /// told to have arrived later: it was only overtaken.
    pub fn told<'a>(
        &'a mut self,
        feedback: &'a TransportFeedback<'_>,
    ) -> impl Iterator<Item = (SentPacket, Option<i64>)> + 'a {
        let mut arrivals = feedback.received().peekable();
        (0..feedback.status_count).filter_map(move |offset| {
            let sequence = feedback.base_sequence.wrapping_add(offset);
            let arrived = arrivals.next_if(|(number, _)| *number == sequence);
            let packet = self.news(sequence, arrived.is_some())?;
            Some((packet, arrived.map(|(_, at)| at)))
        })
    }

    /// Receivers that tell of a late packet tell of those after it again, some of them as if they were lost.
    pub(super) fn news(&mut self, sequence: u16, arrived: bool) -> Option<SentPacket> {
        let oldest = self.sent.front()?.0.sequence;
        let index = usize::from(sequence.wrapping_sub(oldest));
        let (packet, before) = self.sent.get_mut(index)?;
        let news = if arrived { Told::Arrived } else { Told::Lost };
        if *before == Told::Arrived || *before == news {
            return None;
        }
        *before = news;
        Some(*packet)
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
            let next = self.next.unwrap_or(*first);
            // Late packets are told of after all, by themselves: what was told of since would be told to be lost.
            let late = arrivals.iter().zip(*first..);
            let late = late
                .take_while(|((number, _), run)| number == run && *number < next)
                .count();
            let together = match late {
                0 => arrivals,
                late => arrivals.get(..late).unwrap_or_default(),
            };
            // A long hole is left out.
            let base = if late > 0 || first.saturating_sub(next) > LONGEST_HOLE {
                *first
            } else {
                next
            };
            // It takes one at least, as the base is near.
            let taken = self
                .builder
                .write(out, sender, media, base, together)
                .max(1);
            let told = arrivals.get(taken - 1).map_or(*last, |arrival| arrival.0);
            self.next = Some(next.max(told + 1));
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
    fn a_late_packet_costs_those_nothing_that_were_told_of_before() {
        let now = Instant::now();
        let mut ledger = ArrivalLedger::default();
        for sequence in [10, 12, 13, 14] {
            ledger.arrived(now, i64::from(sequence) * 1000, sequence);
        }
        told(&mut ledger, now + FEEDBACK_INTERVAL);
        for sequence in [11, 15, 17] {
            ledger.arrived(now, 20_000, sequence);
        }
        // Neither by the late packet nor after it.
        assert_eq!(
            told(&mut ledger, now + 2 * FEEDBACK_INTERVAL),
            [(11, vec![11]), (15, vec![15, 17])]
        );
        ledger.arrived(now, 30_000, 16);
        told(&mut ledger, now + 3 * FEEDBACK_INTERVAL);
        ledger.arrived(now, 40_000, 19);
        assert_eq!(
            told(&mut ledger, now + 4 * FEEDBACK_INTERVAL),
            [(18, vec![19])]
        );
    }

    #[test]
    fn what_is_told_of_a_sent_packet_counts_once() {
        let now = Instant::now();
        let mut ledger = SendLedger::default();
        for _ in 0..2 {
            let sequence = ledger.next_sequence();
            ledger.sent(now, sequence, 100);
        }
        assert!(ledger.news(0, true).is_some());
        assert_eq!(ledger.news(0, false), None);
        assert_eq!(ledger.news(0, true), None);
        // Lost, again, and come after all.
        assert!(ledger.news(1, false).is_some());
        assert_eq!(ledger.news(1, false), None);
        assert!(ledger.news(1, true).is_some());
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
        assert_eq!(ledger.news(last, true).unwrap().size, 2_999);
        assert_eq!(ledger.news(65_000, true), None);
        assert_eq!(ledger.news(last.wrapping_add(1), true), None);
    }
}
