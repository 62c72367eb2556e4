//! Outgoing RTP time of a subscription: strictly forward over switches of layer and source.

use std::time::Instant;

use crate::rtp::sequence::newer_timestamp;
use crate::track::clock::WallMicros;
use crate::track::packet::MediaPacket;

/// Wall clocks that disagree with arrival by more than this are not believed.
const LONGEST_DISAGREEMENT: i64 = 2_000_000;

/// The newest packet sent.
#[derive(Clone, Copy, Debug)]
struct Newest {
    outgoing: u32,
    wall: WallMicros,
    synced: bool,
    arrival: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Outgoing minus incoming.
    offset: u32,
    rate: u32,
    newest: Option<Newest>,
    /// Ticks that earlier switches had to push time ahead, to be made up for.
    ahead: i64,
}

impl Timeline {
    /// Another stream begins with this packet. The distance to the newest packet sent is that of their
    /// capture times where sender reports tell both, otherwise that of their arrivals.
    pub(super) fn switch(&mut self, now: Instant, packet: &MediaPacket) {
        self.rate = if packet.codec.is_video() {
            90_000
        } else {
            packet.codec.clock_rate()
        };
        let Some(newest) = self.newest else {
            self.offset = 0;
            return;
        };
        let arrived = now.saturating_duration_since(newest.arrival).as_micros() as i64;
        let captured = packet.wall - newest.wall;
        let both =
            packet.synced && newest.synced && (captured - arrived).abs() < LONGEST_DISAGREEMENT;
        let micros = if both { captured } else { arrived };
        let ideal = micros * i64::from(self.rate) / 1_000_000 - self.ahead;
        let ticks = ideal.max(1);
        self.ahead = ticks - ideal;
        self.offset = newest
            .outgoing
            .wrapping_add(ticks as u32)
            .wrapping_sub(packet.timestamp);
    }

    #[inline]
    pub(super) fn map(&mut self, packet: &MediaPacket, is_newest: bool) -> u32 {
        let outgoing = packet.timestamp.wrapping_add(self.offset);
        let forward = self
            .newest
            .is_none_or(|newest| newer_timestamp(outgoing, newest.outgoing));
        if is_newest && forward {
            self.newest = Some(Newest {
                outgoing,
                wall: packet.wall,
                synced: packet.synced,
                arrival: packet.arrival,
            });
        }
        outgoing
    }

    /// RTP time at a moment of the server's clock, and how long ago the newest packet was captured.
    pub(super) fn at(&self, wall: WallMicros) -> Option<(u32, i64)> {
        let newest = self.newest?;
        let age = wall - newest.wall;
        let ticks = age * i64::from(self.rate) / 1_000_000;
        Some((newest.outgoing.wrapping_add(ticks as u32), age))
    }
}
