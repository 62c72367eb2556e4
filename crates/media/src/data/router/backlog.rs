//! Packets kept for members that cannot take them now.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Packet;

/// Bookkeeping of a kept packet, counted against the byte bounds beside its payload.
const PACKET_OVERHEAD: usize = 128;

/// Packets in order, bounded in bytes and time; the oldest go first.
#[derive(Default)]
pub(super) struct Backlog {
    packets: VecDeque<(Instant, Arc<Packet>)>,
    pub(super) bytes: usize,
}

impl Backlog {
    pub(super) fn push(
        &mut self,
        now: Instant,
        packet: &Arc<Packet>,
        max_bytes: usize,
        keep: Duration,
    ) {
        self.expire(now, keep);
        self.packets.push_back((now, packet.clone()));
        self.bytes += size(packet);
        while self.bytes > max_bytes && self.drop_oldest() {}
    }

    pub(super) fn expire(&mut self, now: Instant, keep: Duration) {
        while self.expiry(keep).is_some_and(|expiry| expiry <= now) && self.drop_oldest() {}
    }

    pub(super) fn expiry(&self, keep: Duration) -> Option<Instant> {
        self.packets.front().map(|(at, _)| *at + keep)
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, packet)) = self.packets.pop_front() else {
            return false;
        };
        self.bytes -= size(&packet);
        if self.packets.is_empty() {
            // Memory goes back when a burst is over.
            self.packets = VecDeque::new();
        }
        true
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Packet>> {
        self.packets.iter().map(|(_, packet)| packet)
    }
}

pub(super) fn size(packet: &Packet) -> usize {
    packet.data.len()
        + PACKET_OVERHEAD
        + packet.destinations.as_ref().map_or(0, |ids| ids.len() * 8)
}
