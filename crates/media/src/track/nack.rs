//! Asking a publisher again for packets that did not arrive (RFC 4585, 6.2.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Reordered packets get this much time before they are asked for.
const PATIENCE: Duration = Duration::from_millis(5);
const SHORTEST_RETRY: Duration = Duration::from_millis(20);
const MOST_TRIES: u8 = 10;
/// Nobody waits longer than this for a packet.
const GIVE_UP: Duration = Duration::from_secs(1);
/// More missing packets than this are a gap that only a key frame closes.
pub const MOST_MISSING: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: u64,
    since: Instant,
    next: Instant,
    tries: u8,
}

/// The packets of one stream that are missing.
#[derive(Debug, Default)]
pub struct NackGenerator {
    missing: VecDeque<Missing>,
}

impl NackGenerator {
    /// Packets `from..to` were skipped. Returns false when the gap is too large to be filled.
    pub fn skipped(&mut self, now: Instant, from: u64, to: u64) -> bool {
        if to.saturating_sub(from) as usize > MOST_MISSING {
            self.missing.clear();
            return false;
        }
        for sequence in from..to {
            if self.missing.len() >= MOST_MISSING {
                self.missing.pop_front();
            }
            self.missing.push_back(Missing {
                sequence,
                since: now,
                next: now + PATIENCE,
                tries: 0,
            });
        }
        true
    }

    /// A packet below the highest arrived after all.
    pub fn arrived(&mut self, sequence: u64) {
        if let Ok(index) = self
            .missing
            .binary_search_by_key(&sequence, |missing| missing.sequence)
        {
            self.missing.remove(index);
        }
    }

    /// A key frame began at `sequence`: what was before it matters no more.
    pub fn forget_before(&mut self, sequence: u64) {
        while self
            .missing
            .front()
            .is_some_and(|missing| missing.sequence < sequence)
        {
            self.missing.pop_front();
        }
    }

    pub fn clear(&mut self) {
        self.missing.clear();
    }

    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.missing.iter().map(|missing| missing.next).min()
    }

    /// Appends the numbers to ask for now. `rtt` is the round trip to the publisher.
    pub fn poll(&mut self, now: Instant, rtt: Duration, numbers: &mut Vec<u16>) {
        self.missing.retain(|missing| {
            missing.tries < MOST_TRIES && now.saturating_duration_since(missing.since) < GIVE_UP
        });
        let retry = (rtt + rtt / 4).max(SHORTEST_RETRY);
        for missing in self
            .missing
            .iter_mut()
            .filter(|missing| missing.next <= now)
        {
            missing.tries += 1;
            missing.next = now + retry;
            numbers.push(missing.sequence as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    fn ask(nack: &mut NackGenerator, now: Instant) -> Vec<u16> {
        let mut numbers = Vec::new();
        nack.poll(now, RTT, &mut numbers);
        numbers
    }

    #[test]
    fn a_reordered_packet_is_never_asked_for() {
        let now = Instant::now();
        let mut nack = NackGenerator::default();
        nack.skipped(now, 5, 6);
        assert!(ask(&mut nack, now).is_empty());
        nack.arrived(5);
        assert!(ask(&mut nack, now + PATIENCE).is_empty());
        assert_eq!(nack.deadline(), None);
    }

    #[test]
    fn retries_are_spaced_by_the_round_trip_and_end() {
        let start = Instant::now();
        let mut nack = NackGenerator::default();
        nack.skipped(start, 65_535, 65_537);
        assert_eq!(ask(&mut nack, start + PATIENCE), [65_535, 0]);
        assert!(ask(&mut nack, start + PATIENCE + RTT).is_empty());
        assert_eq!(ask(&mut nack, start + PATIENCE + RTT * 5 / 4).len(), 2);
        let mut asked = 2;
        let mut now = start;
        while let Some(deadline) = nack.deadline() {
            now = deadline;
            asked += usize::from(!ask(&mut nack, now).is_empty());
        }
        assert!(now <= start + GIVE_UP + RTT * 2);
        assert!(asked <= usize::from(MOST_TRIES));
    }

    #[test]
    fn a_huge_gap_is_not_asked_for() {
        let now = Instant::now();
        let mut nack = NackGenerator::default();
        assert!(!nack.skipped(now, 0, 5_000));
        assert_eq!(nack.deadline(), None);
    }

    #[test]
    fn a_key_frame_ends_the_wait_for_what_was_before() {
        let now = Instant::now();
        let mut nack = NackGenerator::default();
        nack.skipped(now, 1, 4);
        nack.skipped(now, 10, 11);
        nack.forget_before(8);
        assert_eq!(ask(&mut nack, now + PATIENCE), [10]);
    }
}
