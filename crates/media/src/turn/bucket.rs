//! Token buckets: how much of something passes in a time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use super::{Leg, LegTransport};

/// A token bucket that remembers no more than when it will be full again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    full_at: Instant,
}

impl Bucket {
    pub(super) fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes what refills in `cost`, of what refills in `capacity` as a whole; `false` if too little is left.
    pub(super) fn take(&mut self, now: Instant, cost: Duration, capacity: Duration) -> bool {
        let full_at = self.full_at.max(now) + cost;
        let enough = full_at.saturating_duration_since(now) <= capacity;
        if enough {
            self.full_at = full_at;
        }
        enough
    }
}

/// Answers to strangers of one network in a second, and at once: a hundred clients behind one address may
/// arrive together, and a flood sent in somebody's name brings them no more than some kilobytes a second.
const ANSWERS_PER_SECOND: u32 = 50;
const CAPACITY: Duration = Duration::from_secs(8);
const SLOTS: usize = 4096;

/// A token bucket for each network (IPv4 /24, IPv6 /48) that may have sent what nobody signed.
///
/// There are always as many: networks share them by a keyed hash, so that a flood from many names finds no
/// fresh ones, and nobody can choose whom to share with. Streams have others than UDP, whose senders
/// may be made up.
#[derive(Debug)]
pub(super) struct Strangers {
    key: hmac::Key,
    buckets: Box<[Bucket]>,
}

impl Strangers {
    pub(super) fn new(key: &[u8; 32], now: Instant) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            buckets: vec![Bucket::full(now); SLOTS].into_boxed_slice(),
        }
    }

    /// Whether one more answer may go to a leg.
    pub(super) fn may_answer(&mut self, now: Instant, leg: Leg) -> bool {
        let (family, network) = match leg.remote.ip().to_canonical() {
            IpAddr::V4(ip) => (4, u64::from(ip.to_bits() >> 8)),
            IpAddr::V6(ip) => (6, (ip.to_bits() >> 80) as u64),
        };
        let mut prefix = network.to_be_bytes();
        // The 48 bits of a network leave two bytes.
        prefix[0] = family;
        prefix[1] = u8::from(leg.transport == LegTransport::Udp);
        let tag = hmac::sign(&self.key, &prefix);
        let slot = tag
            .as_ref()
            .first_chunk()
            .map_or(0, |it| u16::from_be_bytes(*it));
        let bucket = self.buckets.get_mut(usize::from(slot) % SLOTS);
        let cost = Duration::from_secs(1) / ANSWERS_PER_SECOND;
        bucket.is_some_and(|bucket| bucket.take(now, cost, CAPACITY))
    }
}
