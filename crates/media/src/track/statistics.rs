//! Receive statistics of one stream as RFC 3550 defines them (6.4.1, A.3, A.8).

use std::time::{Duration, Instant};

const RATE_WINDOW: Duration = Duration::from_secs(1);

/// What a report block says, but for the sender report it refers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceptionReport {
    /// Of the packets since the last report, in 1/256.
    pub fraction_lost: u8,
    /// 24 bits, signed: duplicates make it negative.
    pub cumulative_lost: i32,
    pub highest_sequence: u32,
    /// In units of the stream's clock.
    pub jitter: u32,
}

#[derive(Clone, Debug)]
pub struct ReceiveStatistics {
    rate: u32,
    first: Option<u64>,
    highest: u64,
    pub packets: u64,
    pub bytes: u64,
    /// Start of the window that the rate is measured over, the bytes before it, and the rate of the last one.
    window: Option<(Instant, u64)>,
    rate_bits: u64,
    jitter: f64,
    transit: Option<(Instant, u32)>,
    reported_expected: u64,
    reported_packets: u64,
    scored_expected: u64,
    scored_packets: u64,
}

impl ReceiveStatistics {
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self {
            rate: rate.max(1),
            first: None,
            highest: 0,
            packets: 0,
            bytes: 0,
            window: None,
            rate_bits: 0,
            jitter: 0.0,
            transit: None,
            reported_expected: 0,
            reported_packets: 0,
            scored_expected: 0,
            scored_packets: 0,
        }
    }

    /// Counting goes on, numbering starts anew.
    #[must_use]
    pub(super) fn restarted(&self) -> Self {
        Self {
            jitter: self.jitter,
            ..Self::new(self.rate)
        }
    }

    /// A packet came on its own way; retransmissions don't count, as the path lost the packet all the same.
    pub fn received(&mut self, now: Instant, sequence: u64, timestamp: u32, bytes: usize) {
        self.first = Some(self.first.map_or(sequence, |first| first.min(sequence)));
        self.highest = self.highest.max(sequence);
        self.packets += 1;
        let (since, before) = *self.window.get_or_insert((now, self.bytes));
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= RATE_WINDOW {
            self.rate_bits = ((self.bytes - before) as f64 * 8.0 / elapsed.as_secs_f64()) as u64;
            self.window = Some((now, self.bytes));
        }
        self.bytes += bytes as u64;
        if let Some((before, earlier)) = self.transit {
            let arrived =
                now.saturating_duration_since(before).as_secs_f64() * f64::from(self.rate);
            let difference = (arrived - f64::from(timestamp.wrapping_sub(earlier) as i32)).abs();
            // A pause is not jitter.
            if difference < f64::from(self.rate) {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
        self.transit = Some((now, timestamp));
    }

    /// Packets that should have come by now.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.first.map_or(0, |first| self.highest - first + 1)
    }

    #[must_use]
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.packets)
    }

    #[must_use]
    pub fn jitter_ms(&self) -> f32 {
        (self.jitter * 1000.0 / f64::from(self.rate)) as f32
    }

    /// Bits a second that came lately.
    #[must_use]
    pub fn bitrate(&self) -> u64 {
        self.rate_bits
    }

    /// Packets expected and lost since the last call.
    pub fn since_scored(&mut self) -> (u64, u64) {
        let expected = self.expected().saturating_sub(self.scored_expected);
        let received = self.packets.saturating_sub(self.scored_packets);
        self.scored_expected = self.expected();
        self.scored_packets = self.packets;
        (expected, expected.saturating_sub(received))
    }

    /// The report since the last one.
    pub fn report(&mut self) -> ReceptionReport {
        let expected = self.expected();
        let since = expected.saturating_sub(self.reported_expected);
        let lost = since.saturating_sub(self.packets.saturating_sub(self.reported_packets));
        self.reported_expected = expected;
        self.reported_packets = self.packets;
        ReceptionReport {
            fraction_lost: (lost * 256).checked_div(since).unwrap_or(0).min(255) as u8,
            cumulative_lost: (expected as i64 - self.packets as i64).clamp(-0x80_0000, 0x7F_FFFF)
                as i32,
            // The extender starts at cycle 1; on the wire counting starts at 0.
            highest_sequence: self.highest.wrapping_sub(0x1_0000) as u32,
            jitter: self.jitter as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn loss_is_told_per_interval_and_in_total() {
        let now = Instant::now();
        let mut statistics = ReceiveStatistics::new(48_000);
        for sequence in (0..100u64).filter(|sequence| sequence % 4 != 3) {
            statistics.received(now, 65_536 + sequence, 0, 100);
        }
        // 99 was lost last, so 99 of the numbers are known of.
        let report = statistics.report();
        assert_eq!(report.cumulative_lost, 24);
        assert_eq!(report.fraction_lost, (24 * 256 / 99) as u8);
        assert_eq!(report.highest_sequence, 98);
        statistics.received(now, 65_536 + 99, 0, 100);
        assert_eq!(statistics.report().fraction_lost, 0);
    }

    #[test]
    fn jitter_is_that_of_the_spacing_and_not_of_pauses() {
        let start = Instant::now();
        let mut statistics = ReceiveStatistics::new(48_000);
        for index in 0..200u32 {
            let late = if index % 2 == 0 { 0 } else { 10 };
            let at = start + Duration::from_millis(u64::from(20 * index + late));
            statistics.received(at, u64::from(index), 960 * index, 50);
        }
        assert!(
            (9.0..11.0).contains(&statistics.jitter_ms()),
            "{}",
            statistics.jitter_ms()
        );
        statistics.received(start + Duration::from_secs(60), 200, 960 * 200, 50);
        assert!(statistics.jitter_ms() < 11.0);
    }
}
