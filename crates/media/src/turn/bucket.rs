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

/// How much everybody may have of something, before we know who they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    /// The time in which so much comes together as may be had at once.
    pub(crate) burst: Duration,
}

impl Rate {
    fn cost(self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }
}

const SLOTS: usize = 4096;

/// A token bucket for each network.
///
/// There are always as many: networks share them by a keyed hash, so that a flood from many names finds no
/// fresh ones, and nobody can choose whom to share with.
#[derive(Debug)]
pub(crate) struct Shares {
    key: hmac::Key,
    rate: Rate,
    buckets: Box<[Bucket]>,
}

impl Shares {
    pub(crate) fn new(key: &[u8; 32], rate: Rate, now: Instant) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            rate,
            buckets: vec![Bucket::full(now); SLOTS].into_boxed_slice(),
        }
    }

    /// Whether a network, by any name of it, may have one more.
    pub(crate) fn take(&mut self, now: Instant, network: &[u8]) -> bool {
        let tag = hmac::sign(&self.key, network);
        let slot = tag
            .as_ref()
            .first_chunk()
            .map_or(0, |it| u16::from_be_bytes(*it));
        let bucket = self.buckets.get_mut(usize::from(slot) % SLOTS);
        bucket.is_some_and(|bucket| bucket.take(now, self.rate.cost(), self.rate.burst))
    }
}

/// Answers to strangers of one network: a hundred clients behind one address may arrive together, and a
/// flood sent in somebody's name brings them no more than some kilobytes a second.
const ANSWERS: Rate = Rate {
    per_second: 50,
    burst: Duration::from_secs(8),
};
/// And to all that come by a proxy together.
const PROXIED_ANSWERS: Rate = Rate {
    per_second: 2_000,
    burst: Duration::from_secs(2),
};

/// What those may have who sent what nobody signed, by their network (IPv4 /24, IPv6 /48). Streams have other
/// shares than UDP, whose senders may be made up.
#[derive(Debug)]
pub(super) struct Strangers {
    shares: Shares,
    proxied: Bucket,
}

impl Strangers {
    pub(super) fn new(key: &[u8; 32], now: Instant) -> Self {
        Self {
            shares: Shares::new(key, ANSWERS, now),
            proxied: Bucket::full(now),
        }
    }

    /// Whether one more answer may go to a leg.
    pub(super) fn may_answer(&mut self, now: Instant, leg: Leg) -> bool {
        if let LegTransport::Proxied(_) = leg.transport {
            let (cost, burst) = (PROXIED_ANSWERS.cost(), PROXIED_ANSWERS.burst);
            return self.proxied.take(now, cost, burst);
        }
        let (family, network) = match leg.remote.ip().to_canonical() {
            IpAddr::V4(ip) => (4, u64::from(ip.to_bits() >> 8)),
            IpAddr::V6(ip) => (6, (ip.to_bits() >> 80) as u64),
        };
        let mut prefix = network.to_be_bytes();
        // The 48 bits of a network leave two bytes.
        prefix[0] = family;
        prefix[1] = u8::from(leg.transport == LegTransport::Udp);
        self.shares.take(now, &prefix)
    }
}
