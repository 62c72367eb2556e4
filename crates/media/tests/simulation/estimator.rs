//! Estimates what a link takes from what comes over it, in the manner of libwebrtc's receivers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(500);
/// An estimate of a link that never showed its limit comes only then.
const FIRST: Duration = Duration::from_secs(5);

/// Down to 85 % of what comes when packets are lost, else up by 8 % a second, and never far above what comes.
#[derive(Default)]
pub struct Estimator {
    bytes: u64,
    /// Highest number of each stream.
    highest: BTreeMap<u32, u64>,
    received: u64,
    skipped: u64,
    since: Option<Instant>,
    began: Option<Instant>,
    bits: Option<f64>,
}

impl Estimator {
    /// Takes a packet; now and then returns a new estimate, in bits a second.
    pub fn receive(&mut self, now: Instant, ssrc: u32, sequence: u64, bytes: usize) -> Option<f64> {
        self.bytes += bytes as u64;
        self.received += 1;
        let highest = self.highest.entry(ssrc).or_insert(sequence);
        self.skipped += sequence.saturating_sub(*highest + 1);
        *highest = (*highest).max(sequence);
        let began = *self.began.get_or_insert(now);
        let since = *self.since.get_or_insert(now);
        let elapsed = now - since;
        if elapsed < INTERVAL {
            return None;
        }
        let came = self.bytes as f64 * 8.0 / elapsed.as_secs_f64();
        let lossy = self.skipped * 20 > self.received;
        (self.bytes, self.received, self.skipped) = (0, 0, 0);
        self.since = Some(now);
        let bits = match self.bits {
            _ if lossy => came * 0.85,
            None if now - began < FIRST => return None,
            None => came,
            Some(bits) => {
                let climbed = bits * 1.08f64.powf(elapsed.as_secs_f64());
                climbed.min((1.5 * came + 10_000.0).max(bits))
            }
        };
        self.bits = Some(bits);
        Some(bits)
    }
}
