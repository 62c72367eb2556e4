//! Numbered packets of a sender that came while an earlier one is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Packet;
use super::backlog::size;

/// What the number of a refused packet takes, about.
const REFUSED: usize = 64;

/// By number, bounded in bytes by its user. Those that were refused are known by their number alone: they are
/// not missing.
#[derive(Default)]
pub(super) struct Early {
    packets: BTreeMap<u32, Option<Arc<Packet>>>,
    kept: usize,
    pub(super) bytes: usize,
}

impl Early {
    /// Nothing waits to be passed on.
    pub(super) fn is_empty(&self) -> bool {
        self.kept == 0
    }

    pub(super) fn has(&self, sequence: u32) -> bool {
        self.packets.contains_key(&sequence)
    }

    pub(super) fn keep(&mut self, packet: Arc<Packet>) {
        self.put(packet.sequence, Some(packet));
    }

    pub(super) fn keep_refused(&mut self, sequence: u32) {
        self.put(sequence, None);
    }

    fn put(&mut self, sequence: u32, packet: Option<Arc<Packet>>) {
        self.count(packet.as_ref(), usize::wrapping_add);
        if let Some(earlier) = self.packets.insert(sequence, packet) {
            self.count(earlier.as_ref(), usize::wrapping_sub);
        }
    }

    fn count(&mut self, packet: Option<&Arc<Packet>>, change: fn(usize, usize) -> usize) {
        self.kept = change(self.kept, usize::from(packet.is_some()));
        self.bytes = change(self.bytes, packet.map_or(REFUSED, |it| size(it)));
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.packets
            .first_key_value()
            .map(|(sequence, _)| *sequence)
    }

    pub(super) fn last(&self) -> Option<u32> {
        self.packets.last_key_value().map(|(sequence, _)| *sequence)
    }

    /// `None` for one that was refused, or when there is none.
    pub(super) fn take_first(&mut self) -> Option<Arc<Packet>> {
        let (_, packet) = self.packets.pop_first()?;
        self.count(packet.as_ref(), usize::wrapping_sub);
        packet
    }
}
