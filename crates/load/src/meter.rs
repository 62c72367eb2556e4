//! What is counted: packets or messages sent and received, and how long they took.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::mark::{Mark, nanos};

/// Packets of the last moment of a measurement may still be on their way: they don't count as lost.
const TAIL: Duration = Duration::from_millis(200);

/// Counts of one measurement. Everything counts by when it happened; only losses by when a packet was sent.
#[derive(Default)]
pub(crate) struct Meter {
    /// Nanoseconds of [`nanos`] between which packets sent are checked for loss.
    checked: Option<(u64, u64)>,
    measuring: bool,
    sent: u64,
    expected: u64,
    received: u64,
    bytes: u64,
    checked_expected: u64,
    checked_received: u64,
    /// Microseconds.
    latencies: Vec<u32>,
    /// Messages that a full channel refused.
    pub(crate) refused: u64,
    key_frames: u64,
    cpu: Option<Duration>,
}

impl Meter {
    /// Starts to measure for a time.
    pub(crate) fn start(&mut self, now: Instant, time: Duration) {
        let end = nanos(now + time.saturating_sub(TAIL));
        *self = Self {
            checked: Some((nanos(now), end)),
            measuring: true,
            cpu: cpu_time(),
            ..Self::default()
        };
    }

    fn is_checked(&self, sent: u64) -> bool {
        self.checked
            .is_some_and(|(start, end)| (start..end).contains(&sent))
    }

    /// A packet was sent that `listeners` clients are to receive.
    pub(crate) fn sent(&mut self, at: u64, listeners: u64) {
        if self.measuring {
            self.sent += 1;
            self.expected += listeners;
            if self.is_checked(at) {
                self.checked_expected += listeners;
            }
        }
    }

    /// A key frame was asked for.
    pub(crate) fn key_frame_requested(&mut self) {
        self.key_frames += u64::from(self.measuring);
    }

    /// A packet arrived with `bytes` of payload.
    pub(crate) fn received(&mut self, now: Instant, mark: Mark, bytes: usize) {
        if self.measuring {
            self.received += 1;
            self.bytes += bytes as u64;
            if self.is_checked(mark.sent) {
                self.checked_received += 1;
            }
            let micros = nanos(now).saturating_sub(mark.sent) / 1_000;
            self.latencies.push(micros.try_into().unwrap_or(u32::MAX));
        }
    }

    /// Ends the measurement: its report, with `unit` (packets, messages) in the names.
    pub(crate) fn finish(&mut self, unit: &str) -> Map<String, Value> {
        let cpu = cpu_time().zip(self.cpu).map(|(end, start)| end - start);
        self.measuring = false;
        self.latencies.sort_unstable();
        let mut report = Map::new();
        let mut put = |name: String, value: Value| report.insert(name, value);
        put(format!("{unit}_sent"), self.sent.into());
        put(format!("{unit}_received"), self.received.into());
        put(format!("{unit}_expected"), self.expected.into());
        let lost = self.checked_expected as i64 - self.checked_received as i64;
        put(format!("{unit}_lost"), lost.into());
        put("bytes_received".into(), self.bytes.into());
        for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            let value = percentile(&self.latencies, share);
            put(format!("latency_{name}_us"), json!(value));
        }
        put("key_frames_requested".into(), self.key_frames.into());
        put("refused".into(), self.refused.into());
        put("own_cpu_s".into(), json!(cpu.map(|cpu| cpu.as_secs_f64())));
        report
    }
}

/// The value that `share` of the sorted values don't exceed (nearest rank).
pub(crate) fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// CPU time of the thread that does everything, on Linux.
pub(crate) fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanos = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(at: Instant) -> Mark {
        Mark {
            track: 0,
            key: false,
            sent: nanos(at),
        }
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&values, 0.5), Some(50));
        assert_eq!(percentile(&values, 0.99), Some(99));
        assert_eq!(percentile(&values, 1.0), Some(100));
        assert_eq!(percentile(&[7], 0.5), Some(7));
        assert_eq!(percentile::<u32>(&[], 0.5), None);
    }

    #[test]
    fn only_what_happens_while_measuring_counts() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.sent(nanos(start), 2);
        meter.start(start, Duration::from_secs(2));
        let later = start + Duration::from_secs(1);
        meter.sent(nanos(later), 2);
        meter.received(later + Duration::from_millis(3), mark(later), 100);
        let report = meter.finish("packets");
        meter.sent(nanos(later), 2);
        assert_eq!(report["packets_sent"], 1);
        assert_eq!(report["packets_expected"], 2);
        assert_eq!(report["packets_received"], 1);
        assert_eq!(report["packets_lost"], 1);
        assert_eq!(report["bytes_received"], 100);
        assert_eq!(report["latency_p50_us"], 3_000);
        assert_eq!(meter.finish("packets")["packets_sent"], 1);
    }

    #[test]
    fn packets_on_their_way_at_the_ends_are_not_lost() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.start(start, Duration::from_secs(2));
        // Sent before the start, received after it; sent shortly before the end and not received yet.
        let before = start.checked_sub(Duration::from_millis(1)).unwrap();
        meter.received(start, mark(before), 100);
        meter.sent(nanos(start + Duration::from_millis(1_999)), 1);
        assert_eq!(meter.finish("packets")["packets_lost"], 0);
    }
}
