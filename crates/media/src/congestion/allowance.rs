//! How much a subscriber's link takes, as its receiver tells (REMB).
//!
//! The receiver's estimate follows what it is sent, up only slowly: a low one means something when more is
//! sent than that, and it fell or packets are lost. Whether there is room for more is found out by sending
//! more: first soon, then ever more rarely while it fails.

use std::time::{Duration, Instant};

/// Over which what is sent is measured.
const WINDOW: Duration = Duration::from_millis(500);
/// An estimate must stay below what is sent for so long: bursts of key frames pass.
const STRAIN: Duration = Duration::from_secs(1);
/// Share of what is sent, in percent, below which an estimate says that it is too much.
const STRAINED_BELOW: u64 = 85;
/// A fall of the estimate to less than that share, in percent, is no noise.
const FALLEN_TO: u64 = 97;
/// Loss that speaks of a full link, in 256ths.
const LOSSY: u8 = 26;
/// How long a fall or a loss counts.
const EVIDENCE: Duration = Duration::from_secs(5);
/// Share of an estimate that is given out, in percent.
const USED: u64 = 90;
/// After a change of layers estimates still speak of what was sent before.
const SETTLING: Duration = Duration::from_secs(2);
const SHORTEST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(80);
/// What is sent at least this long after a try was worth it.
const PROVEN: Duration = Duration::from_secs(10);

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Send no more than that many bits a second.
    Limit(u64),
    /// Send one layer more.
    Raise,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Allowance {
    sent: u64,
    since: Option<Instant>,
    /// Bits a second of the last whole window.
    rate: u64,
    estimate: u64,
    /// When the estimate fell or packets were lost.
    evidence: Option<Instant>,
    strained_since: Option<Instant>,
    deaf_until: Option<Instant>,
    /// When to send more than now, while less is sent than wanted.
    raise_at: Option<Instant>,
    raised_at: Option<Instant>,
    wait: Duration,
}

impl Allowance {
    /// Media was sent.
    pub fn sent(&mut self, now: Instant, bytes: usize) {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= WINDOW {
            self.rate = (self.sent as f64 * 8.0 / elapsed.as_secs_f64()) as u64;
            self.sent = 0;
            self.since = Some(now);
        }
        self.sent += bytes as u64;
    }

    /// Less is sent than wanted.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.raise_at.is_some()
    }

    /// When [`Self::poll`] has something to say.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.raise_at
    }

    /// The receiver lost that many 256ths of a stream's packets.
    pub fn lost(&mut self, now: Instant, fraction: u8) {
        if fraction >= LOSSY {
            self.evidence = Some(now);
        }
    }

    /// The receiver's estimate, in bits a second.
    pub fn told(&mut self, now: Instant, estimate: u64) -> Option<Advice> {
        let before = std::mem::replace(&mut self.estimate, estimate);
        if estimate < before / 100 * FALLEN_TO {
            self.evidence = Some(now);
        }
        let evident = self
            .evidence
            .is_some_and(|at| now.saturating_duration_since(at) < EVIDENCE);
        let too_much = evident && estimate < self.rate / 100 * STRAINED_BELOW;
        if !too_much || self.deaf_until.is_some_and(|until| now < until) {
            self.strained_since = None;
            return None;
        }
        let since = *self.strained_since.get_or_insert(now);
        if now.saturating_duration_since(since) < STRAIN {
            return None;
        }
        let proven = |at: Instant| now.saturating_duration_since(at) >= PROVEN;
        self.wait = match self.raised_at.take() {
            Some(at) if !proven(at) => (self.wait * 2).min(LONGEST_WAIT),
            _ => SHORTEST_WAIT,
        };
        self.changed(now);
        self.raise_at = Some(now + self.wait);
        Some(Advice::Limit(estimate.saturating_mul(USED) / 100))
    }

    /// Whether it is time to try more.
    pub fn poll(&mut self, now: Instant) -> Option<Advice> {
        if self.raise_at.is_none_or(|at| now < at) {
            return None;
        }
        self.raised_at = Some(now);
        self.raise_at = Some(now + self.wait.max(SHORTEST_WAIT));
        self.changed(now);
        Some(Advice::Raise)
    }

    /// Everything wanted is sent again.
    pub fn unlimited(&mut self) {
        self.raise_at = None;
    }

    fn changed(&mut self, now: Instant) {
        self.strained_since = None;
        self.deaf_until = Some(now + SETTLING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends at a rate, of which what is above the link's is lost, and tells an estimate five times a second;
    /// the advice by when it came.
    fn run(
        allowance: &mut Allowance,
        now: &mut Instant,
        seconds: u64,
        rate: u64,
        link: u64,
        estimate: impl Fn(u64) -> u64,
    ) -> Vec<(Instant, Advice)> {
        let mut advice = Vec::new();
        for step in 0..seconds * 50 {
            allowance.sent(*now, (rate / 8 / 50) as usize);
            if step % 50 == 0 && rate > link {
                allowance.lost(*now, ((rate - link) * 255 / rate) as u8);
            }
            if step % 10 == 0 {
                let said = allowance.told(*now, estimate(step / 50));
                advice.extend(said.map(|said| (*now, said)));
            }
            let said = allowance.poll(*now);
            advice.extend(said.map(|said| (*now, said)));
            *now += 20 * MS;
        }
        advice
    }

    #[test]
    fn an_estimate_above_what_is_sent_changes_nothing_however_low() {
        let (mut allowance, mut now) = (Allowance::default(), Instant::now());
        assert!(run(&mut allowance, &mut now, 60, 100_000, 400_000, |_| 110_000).is_empty());
        assert!(!allowance.is_limited());
    }

    #[test]
    fn an_estimate_that_climbs_slowly_after_a_rise_of_layers_is_no_strain() {
        let (mut allowance, mut now) = (Allowance::default(), Instant::now());
        run(&mut allowance, &mut now, 20, 160_000, u64::MAX, |_| 240_000);
        // 8 % a second, as libwebrtc's climbs.
        let climbing = |second: u64| (240_000.0 * 1.08f64.powi(second as i32)) as u64;
        assert!(run(&mut allowance, &mut now, 25, 1_700_000, u64::MAX, climbing).is_empty());
    }

    #[test]
    fn a_short_strain_passes_and_a_lasting_one_limits() {
        let (mut allowance, mut now) = (Allowance::default(), Instant::now());
        let burst = |second| if second == 5 { 300_000 } else { 3_000_000 };
        assert!(run(&mut allowance, &mut now, 10, 2_000_000, u64::MAX, burst).is_empty());
        let advice = run(&mut allowance, &mut now, 2, 2_000_000, u64::MAX, |_| {
            400_000
        });
        assert_eq!(advice.len(), 1);
        assert_eq!(advice[0].1, Advice::Limit(360_000));
        assert!(allowance.is_limited());
    }

    #[test]
    fn tries_that_fail_become_rare() {
        let (mut allowance, mut now) = (Allowance::default(), Instant::now());
        let mut rate = 2_000_000;
        let mut tries = Vec::new();
        let start = now;
        while now < start + Duration::from_secs(300) {
            let advice = run(&mut allowance, &mut now, 1, rate, 400_000, |_| 400_000);
            for (at, advice) in advice {
                match advice {
                    Advice::Limit(_) => rate = 160_000,
                    Advice::Raise => {
                        rate = 600_000;
                        tries.push(at);
                    }
                }
            }
        }
        assert!((4..=7).contains(&tries.len()), "{}", tries.len());
        let pauses: Vec<Duration> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.is_sorted(), "{pauses:?}");
    }

    #[test]
    fn a_link_that_recovers_is_used_again() {
        let (mut allowance, mut now) = (Allowance::default(), Instant::now());
        run(&mut allowance, &mut now, 3, 2_000_000, 400_000, |_| 400_000);
        let advice = run(&mut allowance, &mut now, 7, 160_000, 400_000, |_| 240_000);
        assert_eq!(advice.last().map(|it| it.1), Some(Advice::Raise));
        allowance.unlimited();
        assert!(
            run(&mut allowance, &mut now, 60, 2_000_000, u64::MAX, |_| {
                3_000_000
            })
            .is_empty()
        );
    }
}
