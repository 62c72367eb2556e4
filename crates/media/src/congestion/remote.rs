//! What a path takes, estimated by who receives: from when packets were sent by the sender's clock (abs-send-time)
//! and when they came. For senders that estimate nothing themselves, and are told by REMB.

use std::time::{Duration, Instant};

use super::estimator::{Estimator, EstimatorConfig};
use super::twcc::{FEEDBACK_INTERVAL, SentPacket};
use crate::rtp::extension::AbsSendTime;

/// What is told until the path is known, in bits a second.
const START: u64 = 1_000_000;
/// Packets that are looked at together, however little time passed.
const MOST_WAITING: usize = 500;
/// After such a pause the sender's clock may have come round.
const PAUSE: Duration = Duration::from_secs(20);
/// An estimate that falls below so many percent of what was told last is told at once.
const FALLEN_TO: u64 = 97;

/// See the module.
#[derive(Debug)]
pub struct RemoteEstimate {
    estimator: Estimator,
    last: Option<Last>,
    waiting: Vec<(SentPacket, Option<i64>)>,
    due: Instant,
    told: u64,
}

/// The newest packet.
#[derive(Clone, Copy, Debug)]
struct Last {
    came: Instant,
    clock: AbsSendTime,
    /// On our own clock, shifted by an unknown time.
    sent: Instant,
}

impl RemoteEstimate {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let config = EstimatorConfig {
            start: START,
            ..EstimatorConfig::default()
        };
        Self {
            estimator: Estimator::new(config),
            last: None,
            waiting: Vec::new(),
            due: now,
            told: u64::MAX,
        }
    }

    /// A packet of `size` bytes came at `micros` of our clock.
    pub fn arrived(&mut self, now: Instant, micros: i64, clock: AbsSendTime, size: u16) {
        let sent = match self.last {
            Some(last) if now.saturating_duration_since(last.came) < PAUSE => {
                let step = clock.micros_since(last.clock);
                let size = Duration::from_micros(step.unsigned_abs());
                let sent = match step >= 0 {
                    true => last.sent.checked_add(size),
                    false => last.sent.checked_sub(size),
                };
                sent.unwrap_or(now)
            }
            _ => now,
        };
        let came = now;
        self.last = Some(Last { came, clock, sent });
        let packet = SentPacket {
            sequence: 0,
            at: sent,
            size,
        };
        self.waiting.push((packet, Some(micros)));
        if now >= self.due || self.waiting.len() >= MOST_WAITING {
            self.due = now + FEEDBACK_INTERVAL;
            self.estimator.feedback(now, self.waiting.drain(..));
        }
    }

    /// Whether it has fallen since it was told.
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        self.estimator.target() < self.told / 100 * FALLEN_TO
    }

    /// Bits a second to tell; `None` when there is nothing to tell by.
    pub fn tell(&mut self) -> Option<u64> {
        self.last?;
        self.told = self.estimator.target();
        Some(self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender that knows no end, a bottleneck, and what is told.
    struct Path {
        start: Instant,
        now: Instant,
        estimate: RemoteEstimate,
    }

    impl Path {
        fn told(&mut self, seconds: u64, rate: u64, room: u64) -> u64 {
            let time = |rate| Duration::from_micros(1_200 * 8 * 1_000_000 / rate);
            let end = self.now + Duration::from_secs(seconds);
            let mut free = self.now;
            while self.now < end {
                self.now += time(rate);
                if free.saturating_duration_since(self.now) > Duration::from_millis(300) {
                    continue;
                }
                free = free.max(self.now) + time(room);
                // The clock comes round in between.
                let sent = (self.now - self.start).as_micros() as u64 + 60_000_000;
                let came = (free - self.start).as_micros() as i64;
                let sent = AbsSendTime::from_micros(sent);
                self.estimate.arrived(free, came, sent, 1_200);
            }
            self.estimate.tell().unwrap()
        }
    }

    #[test]
    fn a_receiver_tells_of_a_path_that_takes_all_and_of_one_that_does_not() {
        let now = Instant::now();
        let mut path = Path {
            start: now,
            now,
            estimate: RemoteEstimate::new(now),
        };
        assert_eq!(path.estimate.tell(), None);
        let free = path.told(10, 2_000_000, 20_000_000);
        assert!(free > 2_000_000, "{free}");
        let full = path.told(3, 2_000_000, 800_000);
        assert!((300_000..900_000).contains(&full), "{full}");
        assert!(!path.estimate.has_fallen());
        let again = path.told(10, 700_000, 20_000_000);
        assert!(again > full, "{again}");
    }

    #[test]
    fn a_sender_with_a_mad_clock_does_no_harm() {
        let now = Instant::now();
        let mut estimate = RemoteEstimate::new(now);
        for step in 0..100_000u32 {
            let clock = AbsSendTime(step.wrapping_mul(0x9E37_79B9) & 0xFF_FFFF);
            let at = now + Duration::from_micros(u64::from(step) * 10);
            estimate.arrived(at, i64::from(step) * 10, clock, u16::MAX);
            assert!(estimate.waiting.len() <= MOST_WAITING);
        }
        assert!(estimate.tell().is_some());
    }
}
