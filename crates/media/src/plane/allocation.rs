//! A subscriber's link divided: audio first, then the video that is shown largest.

use std::cmp::Reverse;
use std::time::Instant;

use super::Plane;
use crate::api::MediaKind;
use crate::congestion::allowance::Advice;

/// A video subscription of a limited connection.
struct Share {
    sub: usize,
    wanted: u8,
    /// Bits a second of each layer that is there, by ascending quality.
    layers: Vec<(u8, u64)>,
}

impl Plane {
    /// A receiver tells how many bits a second its link takes.
    pub(super) fn take_estimate(&mut self, now: Instant, key: usize, estimate: u64) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let advice = connection.allowance.told(now, estimate);
        self.follow_advice(now, key, advice);
    }

    pub(super) fn allowance_due(&mut self, now: Instant, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let advice = connection.allowance.poll(now);
        self.follow_advice(now, key, advice);
    }

    fn follow_advice(&mut self, now: Instant, key: usize, advice: Option<Advice>) {
        match advice {
            Some(Advice::Limit(bits)) => self.allocate(now, key, bits),
            Some(Advice::Raise) => self.raise(now, key),
            None => {}
        }
    }

    fn allocate(&mut self, now: Instant, key: usize, bits: u64) {
        let (audio, shares) = self.shares(now, key);
        let lowest = |share: &Share| share.layers.first().map_or(0, |(_, bits)| *bits);
        let base: u64 = shares.iter().map(lowest).sum();
        // The lowest layer of each is sent in any case.
        let mut left = bits.saturating_sub(audio + base);
        let mut caps = Vec::new();
        for share in &shares {
            let affordable = share.layers.iter().rfind(|(layer, bits)| {
                *layer <= share.wanted && bits.saturating_sub(lowest(share)) <= left
            });
            let Some((layer, bits)) = affordable.or(share.layers.first()) else {
                continue;
            };
            left = left.saturating_sub(bits.saturating_sub(lowest(share)));
            caps.push((share.sub, (*layer < share.wanted).then_some(*layer)));
        }
        let limited = caps.iter().any(|(_, cap)| cap.is_some());
        for (sub, cap) in caps {
            self.cap(now, sub, cap);
        }
        if !limited {
            self.lift(now, key);
        }
    }

    /// The link takes all that is wanted, and whatever may be wanted next is tried.
    fn lift(&mut self, now: Instant, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.allowance.unlimited();
        let subs: Vec<usize> = connection.by_ssrc.values().copied().collect();
        subs.into_iter().for_each(|sub| self.cap(now, sub, None));
    }

    /// One layer more for the first that lacks one.
    fn raise(&mut self, now: Instant, key: usize) {
        let (_, shares) = self.shares(now, key);
        for share in &shares {
            let cap = self
                .subs
                .get(share.sub)
                .and_then(|sub| sub.forward.as_ref()?.cap());
            let Some(cap) = cap.filter(|cap| *cap < share.wanted) else {
                continue;
            };
            let above = share.layers.iter().find(|(layer, _)| *layer > cap);
            let next = above.map_or(share.wanted, |(layer, _)| *layer);
            self.cap(now, share.sub, (next < share.wanted).then_some(next));
            return;
        }
        self.lift(now, key);
    }

    fn cap(&mut self, now: Instant, key: usize, cap: Option<u8>) {
        if let Some(forward) = self.subs.get_mut(key).and_then(|sub| sub.forward.as_mut()) {
            forward.set_cap(cap);
        }
        self.follow_wishes(now, key);
    }

    /// Bits a second of a connection's audio, and its video by priority.
    fn shares(&mut self, now: Instant, key: usize) -> (u64, Vec<Share>) {
        let Some(connection) = self.connections.get(key) else {
            return (0, Vec::new());
        };
        let mut audio = 0;
        let mut shares = Vec::new();
        for sub_key in connection.by_ssrc.values() {
            let Some(sub) = self.subs.get(*sub_key) else {
                continue;
            };
            let (Some(tag), Some(forward)) = (sub.variant, &sub.forward) else {
                continue;
            };
            let (Some(variant), Some(wanted)) = (self.variants.get(tag), forward.wanted()) else {
                continue;
            };
            let Some(source) = variant
                .connection
                .and_then(|connection| self.connections.get(connection))
            else {
                continue;
            };
            if variant.codec.kind() == MediaKind::Audio {
                audio += source.receiver.bitrate(now, tag as u32, 0);
                continue;
            }
            let table = &variant.layers.table;
            let count = table.len().max(1) as u8;
            let layers = (0..count).filter_map(|layer| {
                let bits = if variant.layers.svc {
                    // Each layer below the highest is about a third of the one above it.
                    let whole = source.receiver.bitrate(now, tag as u32, 0);
                    whole / 3u64.pow(u32::from(count - 1 - layer))
                } else {
                    source.receiver.bitrate(now, tag as u32, layer)
                };
                (bits > 0).then_some((layer, bits))
            });
            let size = table
                .get(usize::from(wanted))
                .map_or(0, |layer| u64::from(layer.width) * u64::from(layer.height));
            let order = (Reverse(size), sub.track);
            shares.push((
                order,
                Share {
                    sub: *sub_key,
                    wanted,
                    layers: layers.collect(),
                },
            ));
        }
        shares.sort_by_key(|(order, _)| *order);
        (audio, shares.into_iter().map(|(_, share)| share).collect())
    }
}
