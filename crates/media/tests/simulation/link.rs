//! One direction of a network path: delay, jitter, loss, reorder, duplication and a bottleneck.

use std::time::{Duration, Instant};

/// SplitMix64: all chance of a simulation, from its seed.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// In 0..1.
    pub fn fraction(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        // Drawn even when it cannot matter, so that one link's settings don't shift the others' chance.
        self.fraction() < probability
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.word() % end.max(1) as u64) as usize
    }
}

#[derive(Clone, Copy, Debug)]
pub struct LinkConfig {
    /// One way.
    pub delay: Duration,
    /// Up to that much is added, without changing the order.
    pub jitter: Duration,
    pub loss: f64,
    /// Share of datagrams that come `reorder_by` later than they should, overtaken by others.
    pub reorder: f64,
    pub reorder_by: Duration,
    pub duplicate: f64,
    /// Bits a second; `None` has no bottleneck.
    pub rate: Option<u64>,
    /// What would wait longer at the bottleneck is dropped.
    pub queue: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(30),
            duplicate: 0.0,
            rate: None,
            queue: Duration::from_millis(200),
        }
    }
}

/// What a link did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCount {
    pub sent: u64,
    pub lost: u64,
    pub overflowed: u64,
    pub duplicated: u64,
    pub bytes: u64,
}

pub struct Link {
    pub config: LinkConfig,
    pub count: LinkCount,
    /// Nothing passes.
    pub cut: bool,
    rng: Rng,
    /// The bottleneck is busy until then.
    busy: Option<Instant>,
    last_arrival: Option<Instant>,
}

impl Link {
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            count: LinkCount::default(),
            cut: false,
            rng: Rng::new(seed),
            busy: None,
            last_arrival: None,
        }
    }

    /// When a datagram of `bytes` sent at `now` arrives: never, once, or twice.
    pub fn send(&mut self, now: Instant, bytes: usize) -> impl Iterator<Item = Instant> + use<> {
        self.count.sent += 1;
        self.count.bytes += bytes as u64;
        let lost = self.rng.chance(self.config.loss);
        let reordered = self.rng.chance(self.config.reorder);
        let duplicated = self.rng.chance(self.config.duplicate);
        let jitter = self.config.jitter.mul_f64(self.rng.fraction());
        let arrival = if self.cut || lost {
            self.count.lost += 1;
            None
        } else {
            self.pass_bottleneck(now, bytes).map(|leaves| {
                let due = leaves + self.config.delay + jitter;
                if reordered {
                    return due + self.config.reorder_by;
                }
                let due = self.last_arrival.map_or(due, |last| due.max(last));
                self.last_arrival = Some(due);
                due
            })
        };
        let copy = arrival.filter(|_| duplicated);
        self.count.duplicated += u64::from(copy.is_some());
        arrival
            .into_iter()
            .chain(copy.map(|at| at + Duration::from_millis(1)))
    }

    fn pass_bottleneck(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate) = self.config.rate else {
            return Some(now);
        };
        let starts = self.busy.map_or(now, |busy| busy.max(now));
        if starts - now > self.config.queue {
            self.count.overflowed += 1;
            return None;
        }
        let leaves = starts + Duration::from_nanos(bytes as u64 * 8 * 1_000_000_000 / rate);
        self.busy = Some(leaves);
        Some(leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(config: LinkConfig, count: u64, every: Duration) -> (Vec<Duration>, LinkCount) {
        let start = Instant::now();
        let mut link = Link::new(config, 7);
        let mut all = Vec::new();
        for n in 0..count {
            all.extend(
                link.send(start + every * n as u32, 1_000)
                    .map(|at| at - start),
            );
        }
        (all, link.count)
    }

    #[test]
    fn a_link_delays_and_keeps_the_order_under_jitter() {
        let jitter = LinkConfig {
            jitter: Duration::from_millis(50),
            ..LinkConfig::default()
        };
        let (at, _) = arrivals(jitter, 1_000, Duration::from_millis(1));
        assert_eq!(at.len(), 1_000);
        assert!(at.is_sorted());
        assert!(at[0] >= Duration::from_millis(10) && at[999] <= Duration::from_millis(1_060));
    }

    #[test]
    fn a_link_loses_duplicates_and_reorders_its_share() {
        let config = LinkConfig {
            loss: 0.1,
            duplicate: 0.05,
            reorder: 0.02,
            ..LinkConfig::default()
        };
        let (at, count) = arrivals(config, 10_000, Duration::from_millis(1));
        assert!((900..1_100).contains(&count.lost), "{count:?}");
        assert!((350..550).contains(&count.duplicated), "{count:?}");
        assert!(!at.is_sorted());
    }

    #[test]
    fn a_bottleneck_queues_and_then_drops() {
        let config = LinkConfig {
            rate: Some(1_000_000),
            ..LinkConfig::default()
        };
        // 8 Mbit/s into 1 Mbit/s: an eighth passes, and waits no longer than the queue.
        let (at, count) = arrivals(config, 1_000, Duration::from_millis(1));
        assert!((140..160).contains(&at.len()), "{}", at.len());
        assert_eq!(count.overflowed + at.len() as u64, 1_000);
        assert!(
            at.last()
                .is_some_and(|last| *last < Duration::from_millis(1_230))
        );
    }

    #[test]
    fn a_seed_gives_the_same_path_again() {
        let config = LinkConfig {
            loss: 0.3,
            jitter: Duration::from_millis(9),
            ..LinkConfig::default()
        };
        let run = || arrivals(config, 500, Duration::from_millis(1));
        assert_eq!(run(), run());
    }
}
