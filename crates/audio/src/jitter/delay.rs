//! How late packets come, and what delay is enough for nearly all of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Timestamps tick at 48 kHz.
const TICKS_PER_MS: i64 = 48;
/// The fastest packet of so long is the line from which lateness is counted; the clocks of both ends drift
/// apart by less than a millisecond in it.
const WINDOW: Duration = Duration::from_secs(3);
/// Microseconds in a bucket of the histogram.
const BUCKET: i64 = 5_000;
/// One second; what is later counts as this late.
const BUCKETS: usize = 200;
/// The delay covers so much of the histogram.
const QUANTILE: f32 = 0.95;
/// What remains of a bucket's weight at the next interval: about half after ten seconds.
const FORGET: f32 = 0.966;
/// The latest packet of each interval goes into the histogram, so that a few packets in a hundred that are
/// always late count in full.
const INTERVAL: Duration = Duration::from_millis(500);
/// An interval ends early with a packet that is later than what is covered, so that two of them are enough to
/// cover them; those that come together, after the path stood still, count as one.
const BURST: Duration = Duration::from_millis(40);
/// Until there are measurements: as if so many intervals had seen the lateness of this bucket.
const PRIOR_INTERVALS: f32 = 2.0;
const PRIOR: usize = 7;

/// Lateness is relative: how much later than the fastest packets of the last seconds, by its timestamp, a
/// packet arrives. What the path takes at least can't be known and does not matter.
#[derive(Debug)]
pub(super) struct DelayEstimator {
    epoch: Instant,
    /// Timestamp at the epoch.
    first: u64,
    /// When a packet arrived less when it was sent, in microseconds since the epoch: those that may be the
    /// fastest in the window, rising.
    fastest: VecDeque<(Instant, i64)>,
    /// The line that lateness is counted from; within a bucket of the fastest.
    line: i64,
    /// Share of intervals whose latest packet was so late.
    histogram: [f32; BUCKETS],
    intervals: f32,
    interval_start: Instant,
    latest: i64,
}

impl DelayEstimator {
    pub(super) fn new(now: Instant, timestamp: u64) -> Self {
        let mut histogram = [0.0; BUCKETS];
        if let Some(bucket) = histogram.get_mut(PRIOR) {
            *bucket = 1.0;
        }
        Self {
            epoch: now,
            first: timestamp,
            fastest: VecDeque::from([(now, 0)]),
            line: 0,
            histogram,
            intervals: PRIOR_INTERVALS,
            interval_start: now,
            latest: 0,
        }
    }

    fn offset(&self, now: Instant, timestamp: u64) -> i64 {
        let elapsed = now.saturating_duration_since(self.epoch).as_micros() as i64;
        let ticks = timestamp.wrapping_sub(self.first) as i64;
        elapsed - ticks * 1_000 / TICKS_PER_MS
    }

    /// How long after the fastest packets' line a moment is for a timestamp, in microseconds. For a packet
    /// that arrives now: how late it is. For a sample that is played now: its delay.
    pub(super) fn lateness(&self, now: Instant, timestamp: u64) -> i64 {
        self.offset(now, timestamp) - self.line
    }

    /// Takes note of an arrival, in whatever order.
    pub(super) fn arrived(&mut self, now: Instant, timestamp: u64) {
        let offset = self.offset(now, timestamp);
        while self
            .fastest
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW)
        {
            self.fastest.pop_front();
        }
        while self.fastest.back().is_some_and(|(_, late)| *late >= offset) {
            self.fastest.pop_back();
        }
        self.fastest.push_back((now, offset));
        let fastest = self.fastest.front().map_or(offset, |(_, fastest)| *fastest);
        self.move_line(fastest);
        self.latest = self.latest.max(offset - self.line);
        let interval = now.saturating_duration_since(self.interval_start);
        if interval >= INTERVAL || (interval >= BURST && self.latest > self.target()) {
            self.count();
            self.interval_start = now;
        }
    }

    /// By whole buckets. When the path has become longer at once, what was counted from the old line is
    /// counted from the new one; clocks that drift move it a bucket at a time.
    fn move_line(&mut self, fastest: i64) {
        let moved = (fastest - self.line) / BUCKET;
        if moved == 0 {
            return;
        }
        self.line += moved * BUCKET;
        self.latest = (self.latest - moved * BUCKET).max(0);
        if moved < 2 {
            return;
        }
        let mut histogram = [0.0; BUCKETS];
        for (bucket, weight) in self.histogram.iter().enumerate() {
            if let Some(sum) = histogram.get_mut(bucket.saturating_sub(moved as usize)) {
                *sum += weight;
            }
        }
        self.histogram = histogram;
    }

    fn count(&mut self) {
        self.intervals += 1.0;
        // The first intervals weigh more, so that five seconds on nothing is left of what was assumed.
        let keep = FORGET.min(1.0 - 2.0 / (self.intervals + 1.0));
        for weight in &mut self.histogram {
            *weight *= keep;
        }
        let bucket = ((self.latest / BUCKET).max(0) as usize).min(BUCKETS - 1);
        if let Some(weight) = self.histogram.get_mut(bucket) {
            *weight += 1.0 - keep;
        }
        self.latest = 0;
    }

    /// Microseconds. At least two buckets: the line is as exact as one.
    pub(super) fn target(&self) -> i64 {
        let mut sum = 0.0;
        let covered = self
            .histogram
            .iter()
            .position(|weight| {
                sum += weight;
                sum >= QUANTILE
            })
            .unwrap_or(BUCKETS - 1);
        (covered as i64 + 1).max(2) * BUCKET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    fn ms(value: f32) -> Duration {
        Duration::from_secs_f32(value / 1_000.0)
    }

    /// Feeds packets each 20 ms, each as late as told; gives the target in ms.
    fn target_after(seconds: u32, late: impl Fn(u32) -> f32) -> f32 {
        let start = Instant::now();
        let mut estimator = DelayEstimator::new(start + ms(late(0)), 0);
        for n in 1..seconds * 50 {
            estimator.arrived(start + FRAME * n + ms(late(n)), u64::from(n) * 960);
        }
        estimator.target() as f32 / 1_000.0
    }

    #[test]
    fn a_steady_stream_needs_next_to_nothing() {
        assert!(target_after(1, |_| 0.0) >= 40.0);
        assert!(target_after(30, |_| 0.0) <= 10.0);
        assert!(target_after(30, |n| (n % 5) as f32) <= 10.0);
    }

    #[test]
    fn jitter_is_covered() {
        let mut random = fastrand::Rng::with_seed(1);
        let late: Vec<f32> = (0..1_500).map(|_| random.f32() * 60.0).collect();
        let target = target_after(30, |n| late[n as usize]);
        assert!((55.0..=65.0).contains(&target), "{target}");
    }

    #[test]
    fn clocks_that_drift_and_a_longer_path_are_no_jitter() {
        // 200 parts in a million, a slow and a fast clock.
        assert!(target_after(60, |n| n as f32 * 0.004) <= 10.0);
        assert!(target_after(60, |n| 1_000.0 - n as f32 * 0.004) <= 10.0);
        // Another path, 100 ms longer, and back: 4 seconds later nothing is left of it.
        let path = |n| if n > 500 { 100.0 } else { 0.0 };
        assert!(target_after(14, path) <= 10.0);
        let back = |n| if n < 500 { 100.0 } else { 0.0 };
        assert!(target_after(40, back) <= 10.0);
    }
}
